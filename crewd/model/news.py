"""What of all that is recorded is news to the owner of a run: ends, questions, notices, urgent words.

Tests: tests/client/test_news.py, tests/test_news.py.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from crewd.model import events as ev
from crewd.model.message_kinds import MAILBOX_KINDS
from crewd.model.reasons import NoticeKind
from crewd.model.statuses import RunStatus


class Severity(IntEnum):
    """How much it matters."""

    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4


class NewsItem(msgspec.Struct, frozen=True):
    """One piece of news. `seq` is that of its event: a client that has seen it never needs it again."""

    seq: int
    at: float
    run: str
    name: str
    task: str
    kind: str
    severity: Severity
    text: str = ""


NEWS_TYPES = ("run.ended", "ask.opened", "notice.raised", "message.accepted")
"""The types of events that can be news."""
_OF_STATUS = {
    RunStatus.COMPLETED: Severity.INFO,
    RunStatus.CANCELLED: Severity.WARNING,
    RunStatus.FAILED: Severity.ERROR,
    RunStatus.CANCEL_INCOMPLETE: Severity.CRITICAL,
}
_OF_NOTICE = {
    NoticeKind.LONG_RUNNING: Severity.INFO,
    NoticeKind.NEEDS_ATTENTION: Severity.WARNING,
    NoticeKind.REPEATED_FAILURES: Severity.WARNING,
    NoticeKind.PARKED: Severity.ERROR,
    NoticeKind.DEAD_LETTER: Severity.ERROR,
    NoticeKind.UNUSUAL: Severity.INFO,
    NoticeKind.BLOCKED: Severity.WARNING,
    NoticeKind.INEFFECTIVE: Severity.WARNING,
}


def news_of(event: ev.Event, name: str, *, single: bool = False) -> NewsItem | None:
    """The news in an event of the run called `name`, which is `single` (see `Workflow`); None if there is none.

    Each thing is told once: that the only step of a run has failed for good is told with its cause, and not again as its end.
    """

    def item(kind: str, severity: Severity, text: str) -> NewsItem:
        return NewsItem(event.seq, event.at, event.run, name, event.task, kind, severity, text)

    match event.body:
        case ev.RunEnded(status=RunStatus.FAILED) if single:
            return None
        case ev.RunEnded(status, reason):
            return item(status.value, _OF_STATUS.get(status, Severity.WARNING), reason)
        case ev.AskOpened(question=question):
            return item("question", Severity.WARNING, question)
        case ev.NoticeRaised(kind=kind, text=text):
            return item(kind, _OF_NOTICE[NoticeKind(kind)], text)
        case ev.MessageAccepted(kind=kind, direction="out", text=text, terms=terms) if kind in MAILBOX_KINDS:
            return item("message", Severity.WARNING, text) if terms.priority == "urgent" else None
        case _:
            return None
