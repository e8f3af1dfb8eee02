"""A Python callable, in this process.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason
from crewd.model.redact import clip
from crewd.protocol.reports import Outcome
from crewd.worker import alone
from crewd.worker.call import class_of, hear_term, load, run_call
from crewd.worker.declare import capabilities_of
from crewd.worker.hosting import begin_session

if TYPE_CHECKING:
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Import it, say what it takes, and call it."""
    try:
        begin_session()
        alone.begin()
        function = load(host.bootstrap.worker.call)
    except BaseException as error:  # noqa: BLE001 (user code runs at import)
        traceback.print_exc()
        text = clip(f"{type(error).__name__}: {error}", NOTE_CHARS_MAX)
        failed = Outcome(outcome="failed", reason=FailureReason.RAISED, error=text, error_class=class_of(error))
        return host.end(failed, host.connect(()))
    link = host.connect(capabilities_of(function))
    context = host.context(link)
    hear_term(host.desk.token, interrupt=True)
    outcome = alone.end(run_call(function, host.bootstrap, context))
    hear_term(host.desk.token, interrupt=False)  # what follows must not be cut short: the last reports
    return host.end(outcome, link)
