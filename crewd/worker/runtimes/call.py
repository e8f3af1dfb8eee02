"""A Python callable, in this process.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING

from crewd.model.reasons import FailureReason
from crewd.protocol.reports import Outcome
from crewd.worker import alone
from crewd.worker.call import class_of, hear_term, load, run_call, text_of
from crewd.worker.declare import capabilities_of
from crewd.worker.hosting import begin_session

if TYPE_CHECKING:
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Import it, say what it takes, and call it."""
    own = os.getpid()
    try:
        begin_session()
        alone.begin()
        function = load(host.bootstrap.worker.call)
    except BaseException as error:  # noqa: BLE001 (user code runs at import)
        traceback.print_exc()
        failed = Outcome(outcome="failed", reason=FailureReason.RAISED, error=text_of(error), error_class=class_of(error))
        _leave_if_forked(own, failed)
        return host.end(failed, host.connect(()))
    _leave_if_forked(own, Outcome(outcome="completed"))
    link = host.connect(capabilities_of(function))
    context = host.context(link)
    hear_term(host.desk.token, interrupt=True)
    outcome = alone.end(run_call(function, host.bootstrap, context))
    _leave_if_forked(own, outcome)
    hear_term(host.desk.token, interrupt=False)  # what follows must not be cut short: the last reports
    return host.end(outcome, link)


def _leave_if_forked(worker: int, outcome: Outcome) -> None:
    """End a process that the worker's code has forked, and that comes back here, as Python does: only the worker reports."""
    if os.getpid() == worker:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(0 if outcome.outcome == "completed" else outcome.exit_code or 1)
