"""What a worker may use, how often it is tried and whether it is started again: values of its spec, checked at the door.

A bound of 0 means that there is none. What is above a ceiling is refused, not dropped.

Tests: tests/test_lifecycle.py, tests/supervisor/run/test_tries.py.
"""

from __future__ import annotations

import fnmatch
from typing import Literal

import msgspec

from crewd.model.errors import UsageError
from crewd.model.permanent import check_texts, is_permanent

SECONDS_MAX = 1_440 * 60.0
"""A day (1,440 minutes)."""
TRIES_MAX = 100
TURNS_MAX = 10_000
CHILDREN_MAX = 1_000
PROCESSES_DEFAULT = 4_096
"""More than builds need, and less than a machine has pids (32,768 where nobody has raised that)."""
OUTPUT_BYTES_KEPT = 64 << 20
RUN_OUTPUT_BYTES_KEPT = 4 << 30
RUN_STORE_BYTES_MAX = 8 << 30
"""Events, rows and artifacts of one run: no run fills the disk by itself."""
REPORTS_MAX = 1_000_000
"""Of one attempt: each is an event in the log for ever."""
PERMANENT_EXIT_CODE = 78
"""A command that exits so says that another try would end the same way (EX_CONFIG of sysexits)."""
RestartPolicy = Literal["temporary", "transient", "permanent"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds of one attempt; the one that is reached ends it, with its name in the error.

    `task_seconds` from its start, `quiet_seconds` without a sign of progress, `operation_seconds` for each operation it
    opens; `turns`, `tokens` and `cost` as the worker reports them; `memory_bytes` (resident), `cpu_seconds` and `processes`
    of its whole process tree; `output_bytes` kept of each of its two output files (the oldest bytes go first);
    `children` are live runs that it has started itself. `reports` are what it writes into the history.
    """

    task_seconds: float = 0.0
    quiet_seconds: float = 0.0
    operation_seconds: float = 0.0
    turns: int = 0
    tokens: int = 0
    cost: float = 0.0
    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    processes: int = PROCESSES_DEFAULT
    output_bytes: int = OUTPUT_BYTES_KEPT
    children: int = 100
    reports: int = REPORTS_MAX


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a task is tried, and what is never tried again.

    Before try n+1 the task waits `backoff_seconds` x `factor`^(n-1), give or take `jitter` of it, at most `cap_seconds`.
    `permanent` are patterns of error classes (`ValueError`, `json.*`) besides `PermanentError`; `permanent_codes` are exit
    codes of commands. `permanent_texts` are words that are looked for in the error, without regard to case; None is the table
    of `permanent.py`, unless crewd.toml has words of its own.
    """

    attempts: int = 1
    backoff_seconds: float = 1.0
    factor: float = 2.0
    jitter: float = 0.3
    cap_seconds: float = 300.0
    permanent: tuple[str, ...] = ()
    permanent_codes: tuple[int, ...] = (PERMANENT_EXIT_CODE,)
    permanent_texts: tuple[str, ...] | None = None

    def wait_seconds(self, tries: int, chance: float) -> float:
        """How long to wait after the `tries`-th try has failed; `chance` is uniform between 0 and 1."""
        return _back_off(self.backoff_seconds, self.factor, self.cap_seconds, tries) * (1 + self.jitter * (2 * chance - 1))

    def hopeless(self, error_class: str, exit_code: int | None, error: str = "") -> bool:
        """Whether another try would end the same way."""
        if exit_code is not None and exit_code in self.permanent_codes:
            return True
        if is_permanent(error, self.permanent_texts):
            return True
        names = {error_class, error_class.rpartition(".")[2]} - {""}
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in ("PermanentError", *self.permanent))


class Restarts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whether a worker that has ended is started again (OTP's words), and when crewd gives that up and parks it.

    `transient` after an abnormal end, `permanent` after every end, `temporary` never. More than `restarts_max` ends within
    `period_seconds` park it. The wait before a restart doubles from `backoff_seconds` to `cap_seconds`, give or take 30 %,
    and starts again when the worker has lived for `healthy_seconds`; the window does not.
    """

    policy: RestartPolicy = "temporary"
    restarts_max: int = 5
    period_seconds: float = 60.0
    backoff_seconds: float = 0.2
    cap_seconds: float = 30.0
    healthy_seconds: float = 10.0

    def wait_seconds(self, row: int, chance: float) -> float:
        """How long to wait before the `row`-th restart in a row; `chance` is uniform between 0 and 1."""
        return _back_off(self.backoff_seconds, 2.0, self.cap_seconds, row) * (1 + 0.3 * (2 * chance - 1))


def _back_off(first: float, factor: float, cap: float, row: int) -> float:
    exponent = min(max(0, row - 1), 64)
    return float(min(cap, first * factor**exponent))


def check_policy(step: str, limits: Limits, retry: Retry, restarts: Restarts) -> None:
    """UsageError for what makes no sense; its values name the `field`."""
    for name, most in (
        ("task_seconds", SECONDS_MAX), ("quiet_seconds", SECONDS_MAX), ("operation_seconds", SECONDS_MAX), ("turns", TURNS_MAX),
        ("tokens", 1 << 62), ("cost", 1e12), ("memory_bytes", 1 << 62), ("cpu_seconds", 1e12), ("processes", 1 << 22),
        ("output_bytes", 1 << 62), ("children", CHILDREN_MAX),
        ("reports", 1 << 62),
    ):  # fmt: skip
        _check(step, "limits", name, getattr(limits, name), 0, most)
    _check(step, "limits", "output_bytes", limits.output_bytes, 4096, 1 << 62)
    if not 1 <= retry.attempts <= TRIES_MAX:
        what = f"step {step}: {retry.attempts - 1} retries ({retry.attempts} attempts) are not possible"
        raise UsageError(what, hint=f"0 to {TRIES_MAX - 1} retries, which is 1 to {TRIES_MAX} attempts", field="retries")
    _check(step, "retries", "backoff_seconds", retry.backoff_seconds, 0, SECONDS_MAX)
    _check(step, "retries", "factor", retry.factor, 1, 100)
    _check(step, "retries", "jitter", retry.jitter, 0, 1)
    _check(step, "retries", "cap_seconds", retry.cap_seconds, 0, SECONDS_MAX)
    _check_cap(step, "retries", retry.backoff_seconds, retry.cap_seconds)
    check_texts(f"step {step}", retry.permanent_texts or ())
    _check(step, "restart", "restarts_max", restarts.restarts_max, 0, 1_000)
    _check(step, "restart", "period_seconds", restarts.period_seconds, 0.001, SECONDS_MAX)
    _check(step, "restart", "restart backoff_seconds", restarts.backoff_seconds, 0.001, SECONDS_MAX)
    _check(step, "restart", "restart cap_seconds", restarts.cap_seconds, 0.001, SECONDS_MAX)
    _check_cap(step, "restart", restarts.backoff_seconds, restarts.cap_seconds)
    if retry.attempts > 1 and restarts.policy != "temporary":
        hint = "retries are for tasks that end, restarts for services"
        raise UsageError(f"step {step} has both retries and a restart policy", hint=hint, field="restart")


def _check_cap(step: str, field: str, first: float, most: float) -> None:
    if first > most:
        what = f"step {step}: {field}: backoff_seconds {first:g} is more than cap_seconds {most:g}"
        raise UsageError(what, hint=f"cap_seconds: {first:g} or more", field=field)


def _check(step: str, field: str, name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"step {step}: {name} {value:g} is not possible", hint=f"{least:g} to {most:g}", field=field)
