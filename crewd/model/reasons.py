"""Why something ended or was refused: values that travel with the fact, never inferred from prose.

Tests: tests/supervisor/test_admission.py, tests/supervisor/attempt/test_watch.py.
"""

from __future__ import annotations

from enum import StrEnum

TERMINATED = "terminated"
"""What a worker says when TERM came to it and no order of crewd's."""


class CancelReason(StrEnum):
    """Why a cancel was asked for."""

    CALLER_CANCELLED = "caller_cancelled"
    LEADER_INTERRUPTED = "leader_interrupted"
    PROVIDER_TIMEOUT = "provider_timeout"
    WORKER_TIMEOUT = "worker_timeout"
    TOOL_TIMEOUT = "tool_timeout"
    SHUTDOWN = "shutdown"
    RUN_TIMEOUT = "run_timeout"
    BUDGET_USED = "budget_used"
    PARENT_ENDED = "parent_ended"
    REJECTED = "rejected"


class RefusalReason(StrEnum):
    """Why a message settled as refused."""

    CANCELLED = "cancelled"
    ENDED = "worker_ended"
    NOT_SUPPORTED = "not_supported"
    ALREADY_ANSWERED = "already_answered"
    NO_SUCH_ASK = "no_such_ask"
    BY_WORKER = "refused_by_worker"
    STDIN_CLOSED = "stdin_closed"
    DOES_NOT_FIT = "does_not_fit"
    NOT_RUNNING = "not_running"
    ATTEMPT_OVER = "attempt_is_over"
    TURN_OVER = "turn_is_over"
    NO_SUCH_TURN = "no_such_turn"
    BUDGET_USED = "budget_used"


class UnknownReason(StrEnum):
    """Why nobody can say whether a message was carried out."""

    WORKER_ENDED = "worker_ended_before_confirming"


class FailureReason(StrEnum):
    """Why an attempt failed."""

    RAISED = "raised"
    EXIT_CODE = "exit_code"
    KILLED = "killed_by_signal"
    VANISHED = "exited_without_result"
    SPAWN_FAILED = "spawn_failed"
    START_BUSY = "start_busy"
    OUTPUT_LOST = "output_lost"
    NOT_JSON = "not_json"
    NO_END = "no_end"
    TOO_LARGE = "too_large"
    START_TIMEOUT = "start_timeout"
    LOST = "lost"
    ORPHANED = "orphaned"
    LIMIT = "limit_exceeded"
    UNRESPONSIVE = "unresponsive"
    INEFFECTIVE = "ineffective_worker"
    HOOK = "blocked_by_hook"


class NoticeKind(StrEnum):
    """What people should look at."""

    NEEDS_ATTENTION = "needs_attention"
    LONG_RUNNING = "long_running"
    REPEATED_FAILURES = "repeated_failures"
    PARKED = "parked"
    DEAD_LETTER = "dead_letter"
    UNUSUAL = "unusual_end"
    BLOCKED = "blocked"
    INEFFECTIVE = "ineffective_worker"


class BlockReason(StrEnum):
    """Why a run starts nothing more until somebody approves of it."""

    PLAN_APPROVAL = "plan_approval"
    INEFFECTIVE = "ineffective_worker"
    PLAN_UNFIT = "plan_unfit"
    HOOK = "blocked_by_hook"
    EXECUTION_OFF = "execution_disabled"


class Liveness(StrEnum):
    """How long a worker has given no sign."""

    HEALTHY = "healthy"
    WARN = "warn"
    STALE = "stale"
    DEAD = "dead"


class SkipReason(StrEnum):
    """Why a task never started."""

    DEPENDENCY_FAILED = "dependency_failed"
    RUN_CANCELLED = "run_cancelled"
