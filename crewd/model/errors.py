"""Errors say whose fault it is and what to do. They carry values, survive pickling, and travel as `ErrorInfo`.

Each class is one `code`; the client's exit codes (`EXIT_CODES`) and the wire read the same table.

Tests: tests/client/test_cli.py, tests/test_reachability.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True):
    """An error on the wire: a stable `code`, a sentence, what to do about it, and values."""

    code: str
    message: str
    hint: str = ""
    values: dict[str, str | int | float | bool | None] = {}


class CrewdError(Exception):
    """The root of every error that crewd raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    receipt: Any = None
    """The `crewd.Receipt` so far, of a message for which crewd has answered with this; else None."""

    def __init__(self, message: str, *, hint: str = "", **values: str | float | bool | None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.values = values

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.values))

    @property
    def info(self) -> ErrorInfo:
        """The same error as it travels."""
        return ErrorInfo(self.code, self.message, self.hint, dict(self.values))


def _rebuild(kind: type[CrewdError], message: str, hint: str, values: dict[str, str | float | bool | None]) -> CrewdError:
    return kind(message, hint=hint, **values)


class PeerError(CrewdError):
    """The other side broke the rules: drop the peer's frame, keep going."""

    code = "malformed"
    exit_code = 2


class Oversized(PeerError):
    """A frame or a field is larger than the protocol allows."""

    code = "oversized"


class UnsupportedVersion(PeerError):
    """The peer speaks a version that this side does not read."""

    code = "unsupported_version"


class UnknownKind(PeerError):
    """The frame's kind is not one that this socket answers."""

    code = "unknown_kind"


class NotPermitted(PeerError):
    """The peer's role or token does not allow this."""

    code = "not_permitted"
    exit_code = 77


class Forbidden(PeerError):
    """The peer is known, and its role is not enough for this; saying hello again does not help."""

    code = "forbidden"
    exit_code = 77


class UsageError(CrewdError):
    """Our caller broke the rules: raised at once, naming the argument."""

    code = "usage"
    exit_code = 2


def unencodable(error: UnicodeEncodeError) -> UsageError:
    """The error for a text that is not UTF-8, as file names and arguments may be. It shows what stands there."""
    around = error.object[max(0, error.start - 20) : error.end + 20].encode("utf-8", "backslashreplace").decode()
    hint = "crewd's texts, names and arguments are UTF-8; let a shell name the file: sh -c 'cat caf*'"
    return UsageError(f"'{around}' is not UTF-8", hint=hint)


class NotFound(UsageError):
    """No such run, task, message or question."""

    code = "not_found"
    exit_code = 4


class Refused(UsageError):
    """Understood, and not possible in the present state: the reason is a value."""

    code = "refused"
    exit_code = 5


class Conflict(Refused):
    """The same id was used before with other content."""

    code = "conflict"


class Unavailable(CrewdError):
    """Something that crewd needs is not available now: retry with back-off, then give up."""

    code = "unavailable"
    exit_code = 69


class Busy(Unavailable):
    """A bounded queue is full: the same request may succeed a moment later."""

    code = "busy"


class StoreUnavailable(Unavailable):
    """The store cannot promise anything now (disk full, I/O error): no new work is admitted."""

    code = "store_unavailable"


class StoreDamaged(StoreUnavailable):
    """The database file is not what crewd wrote: nothing is written to it any more, and nothing of it is thrown away."""

    code = "store_damaged"
    exit_code = 65


class DaemonUnreachable(Unavailable):
    """No daemon answered on this home."""

    code = "daemon_unreachable"


class DeadlineExceeded(CrewdError):
    """The caller's deadline passed. Of a message, `receipt` says how far it has come."""

    code = "deadline_exceeded"
    exit_code = 124


class RunFailed(CrewdError):
    """The run ended as failed."""

    code = "run_failed"
    exit_code = 1


class RunCancelled(CrewdError):
    """The run ended as cancelled (or `cancel_incomplete`, then `survivors` is not zero)."""

    code = "run_cancelled"
    exit_code = 3


class InvariantError(CrewdError):
    """crewd has broken a rule of its own: stop this actor or process and let its supervisor decide."""

    code = "internal"
    exit_code = 70


ERRORS: dict[str, type[CrewdError]] = {
    kind.code: kind
    for kind in (
        CrewdError, PeerError, Oversized, UnsupportedVersion, UnknownKind, NotPermitted, Forbidden, UsageError, NotFound,
        Refused, Conflict, Unavailable, Busy, StoreUnavailable, StoreDamaged, DaemonUnreachable, DeadlineExceeded,
        RunFailed, RunCancelled, InvariantError,
    )
}  # fmt: skip


def from_info(info: ErrorInfo) -> CrewdError:
    """The exception that an `ErrorInfo` describes; a code of a newer peer becomes plain `CrewdError`."""
    return ERRORS.get(info.code, CrewdError)(info.message, hint=info.hint, **info.values)
