"""An event loop that does not wait: when nothing else can happen, its time passes at once.

Tests: tests/testing/stress/test_stage.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Iterator


class _Selector(selectors.DefaultSelector):
    """Waits only as long as `wait` says, if the loop waits for a time and for no file."""

    def __init__(self, wait: Callable[[float], float]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or len(self.get_map()) > 1:  # one file is the loop's own, by which it is woken
            return super().select(timeout)
        return super().select(0) or super().select(self._wait(timeout))


class PassingLoop(asyncio.SelectorEventLoop):
    """Its time is what `now` says. `wait` is told for how long it would wait, and says for how long it must."""

    def __init__(self, now: Callable[[], float], wait: Callable[[float], float]) -> None:
        super().__init__(_Selector(wait))
        self._now = now

    def time(self) -> float:
        """Seconds."""
        return self._now()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self._make = make

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self._make()


@contextlib.contextmanager
def passing(now: Callable[[], float], wait: Callable[[float], float]) -> Iterator[None]:
    """Let each loop that is made meanwhile be such a one."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy(lambda: PassingLoop(now, wait)))
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
