"""Statuses, each in one enum with one table of legal moves; every set of statuses is derived from the tables.

Rule 1: a status is terminal exactly when nothing follows it. Terminal is absorbing.
Rule 2: identity is always legal, so that a repeated fact changes nothing.
A status enters these tables only together with its producer and its consumer.

Tests: tests/supervisor/run/test_tries.py, tests/supervisor/gateway/test_standing.py.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """The states of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCEL_INCOMPLETE = "cancel_incomplete"


class TaskStatus(StrEnum):
    """The states of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    BACKOFF = "backoff"
    PARKED = "parked"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCEL_INCOMPLETE = "cancel_incomplete"
    SKIPPED = "skipped"


class AttemptStatus(StrEnum):
    """The states of an attempt: reserved before spawn, ended when its process tree is verified empty."""

    RESERVED = "reserved"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCEL_INCOMPLETE = "cancel_incomplete"
    LOST = "lost"


_RUN_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.CANCEL_INCOMPLETE})
RUN_MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: _RUN_ENDS | {RunStatus.BLOCKED},
    RunStatus.BLOCKED: _RUN_ENDS | {RunStatus.RUNNING},
    **dict.fromkeys(_RUN_ENDS, frozenset()),
}

_TASK_ENDS = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.CANCEL_INCOMPLETE, TaskStatus.SKIPPED}
)
TASK_MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.QUEUED: frozenset(
        {TaskStatus.RUNNING, TaskStatus.CLAIMED, TaskStatus.CANCELLED, TaskStatus.SKIPPED, TaskStatus.FAILED}
    ),
    TaskStatus.RUNNING: (_TASK_ENDS - {TaskStatus.SKIPPED}) | {TaskStatus.WAITING, TaskStatus.BACKOFF, TaskStatus.PARKED},
    TaskStatus.WAITING: (_TASK_ENDS - {TaskStatus.SKIPPED}) | {TaskStatus.RUNNING, TaskStatus.BACKOFF, TaskStatus.PARKED},
    TaskStatus.BACKOFF: frozenset({TaskStatus.RUNNING, TaskStatus.CLAIMED, TaskStatus.CANCELLED}),
    TaskStatus.PARKED: frozenset({TaskStatus.QUEUED, TaskStatus.CLAIMED, TaskStatus.CANCELLED}),
    TaskStatus.CLAIMED: frozenset({TaskStatus.QUEUED, TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    **dict.fromkeys(_TASK_ENDS, frozenset()),
}
RUN_REOPENS = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.COMPLETED})
TASK_REQUEUES = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED, TaskStatus.PARKED})
"""Terminal absorbs everything but an explicit retry or resume: what these may be taken back from. A run whose
cancel left survivors is not among them: what is left of it may still be at work."""
TASK_BARRED = frozenset({TaskStatus.RUNNING, TaskStatus.WAITING})
"""What is queued again when a hook has ended its attempt."""

_ATTEMPT_ENDS = frozenset(
    {
        AttemptStatus.COMPLETED,
        AttemptStatus.FAILED,
        AttemptStatus.CANCELLED,
        AttemptStatus.CANCEL_INCOMPLETE,
        AttemptStatus.LOST,
    }
)
ATTEMPT_MOVES: dict[AttemptStatus, frozenset[AttemptStatus]] = {
    AttemptStatus.RESERVED: frozenset(
        {AttemptStatus.STARTING, AttemptStatus.ENDING, AttemptStatus.CANCELLED, AttemptStatus.FAILED, AttemptStatus.LOST}
    ),
    AttemptStatus.STARTING: (_ATTEMPT_ENDS - {AttemptStatus.COMPLETED}) | {AttemptStatus.RUNNING, AttemptStatus.ENDING},
    AttemptStatus.RUNNING: _ATTEMPT_ENDS | {AttemptStatus.WAITING, AttemptStatus.ENDING},
    AttemptStatus.WAITING: _ATTEMPT_ENDS | {AttemptStatus.RUNNING, AttemptStatus.ENDING},
    AttemptStatus.ENDING: _ATTEMPT_ENDS,
    **dict.fromkeys(_ATTEMPT_ENDS, frozenset()),
}

RUN_TERMINAL = frozenset(s for s, after in RUN_MOVES.items() if not after)
TASK_TERMINAL = frozenset(s for s, after in TASK_MOVES.items() if not after)
ATTEMPT_TERMINAL = frozenset(s for s, after in ATTEMPT_MOVES.items() if not after)
TASK_LIVE = frozenset({TaskStatus.RUNNING, TaskStatus.WAITING})


def run_may_move(before: RunStatus, after: RunStatus) -> bool:
    """Whether a run may go from `before` to `after`."""
    return before == after or after in RUN_MOVES[before]


def task_may_move(before: TaskStatus, after: TaskStatus) -> bool:
    """Whether a task may go from `before` to `after`."""
    return before == after or after in TASK_MOVES[before]


def attempt_may_move(before: AttemptStatus, after: AttemptStatus) -> bool:
    """Whether an attempt may go from `before` to `after`."""
    return before == after or after in ATTEMPT_MOVES[before]
