"""The lines of a plain function as points: it has no context, so a cancel or a crash can only come between two of its lines.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import contextlib
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from crewd.worker.call import wants_context

if TYPE_CHECKING:
    from types import FrameType


def is_plain(function: Callable[..., Any]) -> bool:
    """Whether it takes no context."""
    return not wants_context(function, {})


@contextlib.contextmanager
def lines_of(function: Callable[..., Any], tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with `file.py:12` before each line of the function's own file, on this thread, while the `with` lasts.

    What `tell` raises is raised in that line; from the next call on it is called again. Nothing is told if the function is not
    written in Python.
    """
    code = getattr(inspect.unwrap(function), "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is None:
        yield
        return
    short = code.co_filename.rpartition("/")[2]

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line" and linecache.getline(code.co_filename, frame.f_lineno).strip() != "try:":  # nothing happens there
            tell(f"{short}:{frame.f_lineno}")
        return trace

    def trace_again(frame: FrameType | None, _event: str, _arg: object) -> None:
        """Python traces no more when the tracing function has raised. With the next call it is set again."""
        if sys.gettrace() is trace:
            return
        sys.settrace(trace)
        while frame is not None:
            if frame.f_code.co_filename == code.co_filename:
                frame.f_trace = trace
            frame = frame.f_back

    before, profiled = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(trace_again)
    try:
        yield
    finally:
        sys.setprofile(profiled)
        sys.settrace(before)
