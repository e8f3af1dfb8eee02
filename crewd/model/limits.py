"""Every bound of the wire, with its unit and its reason.

Tests: tests/test_reachability.py.
"""

from __future__ import annotations

FRAME_BYTES_MAX = 1 << 20
"""One ZeroMQ frame (MAXMSGSIZE); larger payloads travel as file references."""
REPORT_BYTES_MAX = FRAME_BYTES_MAX // 2
"""One report of a worker, of which a frame holds several."""
FRAMES_MAX = 4
"""Frames of a message after the identity; more is malformed."""
TEXT_CHARS_MAX = 65_536
"""A steer's, follow-up's or answer's text."""
INLINE_BYTES_MAX = 32_768
"""A result or argument above this is kept as a file of the attempt."""
INPUT_BYTES_MAX = 262_144
"""A command's input that travels with its run; more is read from a file."""
ARGUMENT_BYTES_MAX = 131_071
"""One argument or variable of a program (Linux: 32 pages, less the NUL)."""
RUN_BYTES_MAX = FRAME_BYTES_MAX * 3 // 4
"""Of a run's workflow, goal and variables: who asks for the run gets it in one frame, with all that grows with its work."""
GOAL_BYTES_MAX = 120_000
"""A run's goal: it must fit into a variable of a command's environment."""
ENV_BYTES_MAX = 524_288
"""Variables that a run brings from its caller: a frame holds them, and execve(2) takes them beside the arguments."""
PLACED_CHARS_MAX = 1_000_000
"""Of a step's text and arguments, with the goal and the inputs in them."""
SECRETS_BYTES_MAX = 40_000
"""Secrets of one run, together: they travel to the worker in one packet and are never written to a file."""
PASSED_BYTES_MAX = 30_000
"""Variables of the caller that a run brings and that are not kept: the secrets travel beside them."""
RESULT_BYTES_MAX = 64 << 20
"""A result that a client reads whole."""
NOTE_CHARS_MAX = 2_048
"""A progress note, a reason's note, a question."""
ORDERS_MAX = 16
"""Requests of which a run remembers that they were carried out: approvals, retries and the like."""
NAME_CHARS_MAX = 64
"""A run's, step's, operation's or artifact's name."""
MAILBOX_MAX = 256
"""Unsettled messages of one attempt; the next one is refused as busy."""
LABELS_MAX = 16
"""Labels of one run."""
CONCURRENCY_MAX = 8
"""Steps of one run at once, where neither its workflow nor the configuration says anything else."""
STEPS_MAX = 1_000
"""Steps of one workflow."""
ROLES_MAX = 32
"""Roles of one team, or of one workflow."""
RUNS_LIVE_MAX = 2_000
"""Runs that have not ended; the next one is refused as busy."""
WORKERS_MAX = 1_000
"""Living workers of one home."""
WARM_MAX = 64
"""Processes that wait for a worker's work."""
OPERATIONS_OPEN_MAX = 64
"""Operations one attempt may hold open."""
ARTIFACTS_MAX = 256
"""Artifacts of one attempt."""
ARTIFACT_BYTES_MAX = 256 << 20
"""One artifact: as much as a part of a bundle holds."""
LOG_CHUNK_BYTES_MAX = 262_144
"""One answer to a log read."""
CHOICES_MAX = 64
"""Of one question."""
ROWS_MAX = 500
"""Rows in one answer; the caller pages."""
REPORTS_UNACKED_MAX = 1_024
"""Reports a worker keeps until crewd has confirmed them; at the bound the worker's code waits (back-pressure)."""
GRACE_SECONDS_DEFAULT = 5.0
"""Time a graceful cancel gives the worker's own code."""
GRACE_SECONDS_SHORT = 3.0
"""The same when crewd itself ends a worker: a limit, a timeout, a shutdown."""
EXIT_SECONDS = 10.0
"""A worker that has said how it ended goes by itself within this, or is ended."""
DRAIN_SECONDS = 1.0
"""The same for one that gives no sign any more: no output, no report, no open operation."""
ATTENTION_COOLDOWN_SECONDS = 60.0
"""Between the end of a notice and the next one of its kind for the same attempt."""
LONG_RUNNING_SECONDS = 600.0
"""After this people are told once that an attempt takes long."""
FAILURES_IN_A_ROW = 3
"""Operations that fail one after the other until people are told."""
CHECKPOINT_BYTES_MAX = 32_768
"""A checkpoint above this belongs into a file of the worker's own."""
DEPTH_MAX = 100
"""The ceiling of how deep workers may start workers; the configuration says how deep they do."""
GRACE_SECONDS_MAX = 3_600.0
LEASE_SECONDS_DEFAULT = 300.0
"""A claim without a word of its holder."""
LEASE_SECONDS_MAX = 86_400.0
CLAIM_TOKEN_CHARS = (16, 128)
"""The least and the most characters of a claim's token."""
TERM_SECONDS_GRACEFUL = 3.0
"""TERM to KILL after a graceful period."""
TERM_SECONDS_NOW = 0.15
"""TERM to KILL on `now`."""
KILL_SECONDS = 5.0
"""How long KILL is repeated before survivors are reported (D state)."""
ORPHAN_GRACE_SECONDS_DEFAULT = 600.0
"""A `keep` worker's life without crewd."""
START_SECONDS_MAX = 30.0
"""From spawn to ready without any use of the processor; slow starts are common, so this is not the run's time-out."""
START_SECONDS_LONGEST = 600.0
"""From spawn to ready, however slow the machine is."""
WARNINGS_MAX = 8
"""Warnings of one outcome."""
