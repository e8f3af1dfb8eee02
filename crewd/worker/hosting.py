"""What a worker process has for its code, whichever runtime that has: its order, its connection, and the way it ends.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crewd.clock import SystemChance
from crewd.model.errors import UsageError
from crewd.model.ids import IdSource
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason
from crewd.model.redact import clip
from crewd.protocol.reports import Outcome
from crewd.worker.call import write_output
from crewd.worker.context import Context
from crewd.worker.hooks import after_end
from crewd.worker.link import Link, WorkerSocket

if TYPE_CHECKING:
    from crewd.clock import SystemClock
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.protocol.reports import Report
    from crewd.worker.desk import Desk
    from crewd.worker.link import Waker

UNSENT_REPORTS = "unsent_reports"


class Hosting(msgspec.Struct, frozen=True):
    """See the module's text. `raw` is the bootstrap as it came; `lines` is what a warm process has prepared: one, or none."""

    bootstrap: Bootstrap
    raw: bytes
    desk: Desk
    clock: SystemClock
    waker: Waker
    lines: list[WorkerSocket]

    def connect(self, capabilities: tuple[str, ...], pid: int = 0) -> Link:
        """Say hello to crewd, and what this worker takes. `pid` is the process that does the work, if it is another one."""
        line = self.lines.pop() if self.lines else WorkerSocket(self.bootstrap.endpoint)
        link = Link(self.bootstrap, capabilities, self.desk, self.clock, self.waker, line, pid)
        link.start()
        return link

    def context(self, link: Link) -> Context:
        """What the worker's code is given."""
        return Context(self.bootstrap, self.desk, link, IdSource(self.clock, SystemChance()))

    def end(self, outcome: Outcome, link: Link) -> Outcome:
        """Ask its hooks, report the outcome, wait until it is durable, and hang up.

        What may not be durable is on disk before it is sent.
        """
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # the code may have closed or replaced it
                stream.flush()
        if self.bootstrap.worker.hooks:
            outcome = after_end(self.bootstrap, self.desk, outcome)
        self.desk.finish()
        try:
            self.desk.report(outcome)
        except UsageError as error:
            outcome = Outcome(outcome="failed", reason=FailureReason.RAISED, error=clip(error.message, NOTE_CHARS_MAX))
            self.desk.report(outcome)
        waiting: list[Report] = self.desk.waiting()
        try:
            write_output(Path(self.bootstrap.directory) / UNSENT_REPORTS, msgspec.msgpack.encode(waiting))
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                traceback.print_exc()  # the disk is full: the report below is the only copy then
        self.desk.wait_durable()  # the guardian ends a worker whose crewd stays away
        link.stop()
        return outcome


def begin_session() -> None:
    """The worker's own code begins. A zygote of an older crewd has made the session already."""
    if os.getsid(0) != os.getpid():
        os.setsid()
