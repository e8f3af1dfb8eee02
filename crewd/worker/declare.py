"""What a worker function says of itself: which messages it takes. crewd refuses what is not declared, with the reason.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__crewd_capabilities__"


@overload
def worker(function: F, /) -> F: ...
@overload
def worker(*, steer: bool = True, follow_up: bool = True, message: bool = False) -> Callable[[F], F]: ...
def worker(
    function: F | None = None, /, *, steer: bool = True, follow_up: bool = True, message: bool = False
) -> F | Callable[[F], F]:
    """Declare that the function calls `ctx.safe_point()` (steer), `ctx.natural_stop()` (follow_up), `ctx.messages()`."""

    def mark(marked: F) -> F:
        declared = (("steer", steer), ("follow_up", follow_up), ("message", message))
        names = tuple(name for name, on in declared if on)
        setattr(marked, _ATTRIBUTE, names)
        return marked

    return mark if function is None else mark(function)


def capabilities_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """What a function declared; a plain function takes neither steers nor follow-ups."""
    declared: tuple[str, ...] = getattr(function, _ATTRIBUTE, ())
    return declared
