"""A control message as worker code holds it.

Tests: tests/test_others.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from crewd.model.arguments import checked
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import RefusalReason
from crewd.model.redact import clip
from crewd.protocol.reports import ReportBody, Settled


class Letter(msgspec.Struct, frozen=True):
    """A message of the worker's mailbox: to be read, and nothing else. `sender` is a client, or a worker as `TASK#EPOCH`."""

    id: str
    text: str
    sender: str = ""


@dataclass(slots=True)
class Message:
    """A steer or follow-up that was handed over (its receipt says `applied`). It settles once.

    Say `done` or `refuse`, or nothing: then it is done when the code comes back for the next one or returns.
    """

    id: str
    kind: str
    text: str
    _report: Callable[[ReportBody], object] = field(repr=False)
    settled: bool = False

    @checked
    def done(self, note: str = "") -> None:
        """It was carried out; `note` goes into the receipt."""
        self._settle(Settled(id=self.id, outcome="done", note=clip(note, NOTE_CHARS_MAX)))

    @checked
    def refuse(self, note: str = "") -> None:
        """It was read and will not be carried out."""
        self._settle(Settled(id=self.id, outcome="refused", reason=RefusalReason.BY_WORKER, note=clip(note, NOTE_CHARS_MAX)))

    def _settle(self, body: Settled) -> None:
        if not self.settled:
            self.settled = True
            self._report(body)
