"""Makes a worker process, which is forked from a warm one, look to its code like a Python that was started for it alone."""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

from crewd.clock import SystemChance
from crewd.model.reasons import FailureReason
from crewd.protocol.reports import Outcome
from crewd.worker.call import text_of
from crewd.worker.token import Cancelled


def begin() -> None:
    """Before the code is imported: signals, standard input, `__main__` and multiprocessing are as after `python -c`."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler), (signal.SIGPIPE, signal.SIG_IGN),
        (getattr(signal, "SIGXFSZ", None), signal.SIG_IGN),
    ):  # fmt: skip
        if number is not None:
            signal.signal(number, handler)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    if "" not in sys.path:
        sys.path.insert(0, "")
    sys.modules["__main__"] = types.ModuleType("__main__")
    _begin_multiprocessing()


def _begin_multiprocessing() -> None:
    """This is the main process of its own tree, and its children look for modules where it does: in its working directory.

    multiprocessing remembers both from when it was imported, which was in the process that this one was forked from.
    """
    from multiprocessing import process, util

    class MainProcess(process.BaseProcess):
        def __init__(self) -> None:  # as multiprocessing makes its own, of which no class is left in a child
            self._identity: tuple[int, ...] = ()
            self._name = "MainProcess"
            self._parent_pid = self._popen = None
            self._config = {"authkey": vars(process)["AuthenticationString"](SystemChance().bytes(32)), "semprefix": "/mp"}

        def close(self) -> None:
            """The main process cannot be closed."""

    try:
        directory = str(Path.cwd())
    except OSError:  # it is gone, or may not be read: multiprocessing takes it so, too
        directory = None
    inner: dict[str, Any] = process.__dict__
    inner |= {
        "ORIGINAL_DIR": directory, "_current_process": MainProcess(), "_parent_process": None, "_children": set()
    }  # fmt: skip
    vars(util)["_finalizer_registry"].clear()


def end(outcome: Outcome) -> Outcome:
    """After the code has returned: wait for its threads, then call what it has registered with `atexit`, as Python does.

    A cancel that comes meanwhile is how it has ended. What a callback raises is printed, and changes nothing.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 (what the interpreter itself calls)
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()  # noqa: SLF001 (as above; it has printed the exception)
    except Cancelled as cancelled:
        return Outcome(outcome="cancelled", reason=cancelled.reason)
    except BaseException as error:  # noqa: BLE001 (an interrupt of the wait, raised by whatever handler the code has set)
        traceback.print_exc()
        if outcome.outcome == "completed":
            text = f"while its threads were waited for: {text_of(error)}"
            return Outcome(outcome="failed", reason=FailureReason.RAISED, error=text)
    return outcome
