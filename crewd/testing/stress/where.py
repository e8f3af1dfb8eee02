"""Which line of the worker's own code is calling, and which function of the SDK it calls.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import sys

_BETWEEN = {"contextlib", "asyncio", "threading", "concurrent"}


def where() -> tuple[str, str]:
    """(`ctx.safe_point`, `jobs.py:12`), as far as the stack shows them; on a helper thread the line is not there."""
    call = ""
    frame = sys._getframe(1)  # noqa: SLF001 (there is no other way to name a line)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module in {"crewd.worker.context", "crewd.worker.aio"}:
            if not frame.f_code.co_name.startswith("_"):
                call = f"ctx.{frame.f_code.co_name}"
        elif module == "crewd.worker.operation":
            call = "ctx.operation"
        elif module.partition(".")[0] not in {"crewd", *_BETWEEN}:
            return call, f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return call, ""


def from_worker() -> bool:
    """Whether the function that asks was called by code that is not crewd's."""
    return not str(sys._getframe(2).f_globals.get("__name__")).startswith("crewd.")  # noqa: SLF001
