"""What one worker did under one history, as a record: the only thing that the laws look at.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

End = Literal["completed", "cancelled", "failed", "crashed", "vanished", "stuck"]
"""How an act ended: by its own word; killed on purpose; gone without a word; or still running when patience was over."""
HEAD_BYTES = 1 << 20
"""How many bytes of each file are kept to compare."""


class Point(msgspec.Struct, frozen=True):
    """A call of the worker to its channel, and the line of its code that made it."""

    number: int
    call: str
    where: str


class AskedQuestion(msgspec.Struct, frozen=True):
    """A question of the worker, the point before it, and its answer; None if nobody answered."""

    text: str
    at: int
    answer: str | None


class SentMessage(msgspec.Struct, frozen=True):
    """A message of the history and its receipt."""

    kind: str
    text: str
    at: int
    delivered: bool
    applied: bool
    outcome: str
    reason: str


class Act(msgspec.Struct, frozen=True):
    """One incarnation of the worker: from its start to its end or to its crash.

    `stop_seconds` lie between the cancel and the end, `points_after` is how often it came back to its channel in between.
    `idle`: it waited for messages when the history had none left, and was cancelled for that. `cancel_raised`: `Cancelled` was
    raised in its code, and `points_ignored` is how often it came back to its channel after that. `signalled`: it has a context
    and did not stop until its grace was over and it was sent TERM. `checkpoint` is the last one that it saved, `stack` where
    its threads were if it had to be killed. `held` are the files that it had open when its cancel fired.
    `gap_seconds` is the longest real time between two of its points, after the point `gap_after`; waiting is not counted.
    """

    end: End
    reason: str = ""
    error: str = ""
    result: Any = None
    points: tuple[Point, ...] = ()
    sent: tuple[SentMessage, ...] = ()
    cancelled_at: int = 0
    grace_seconds: float = 0.0
    stop_seconds: float = 0.0
    points_after: int = 0
    idle: bool = False
    threads: tuple[str, ...] = ()
    answered: int = 0
    cancel_raised: bool = False
    points_ignored: int = 0
    signalled: bool = False
    checkpoint: Any = None
    stack: str = ""
    held: tuple[str, ...] = ()
    gap_seconds: float = 0.0
    gap_after: int = 0
    asked: tuple[AskedQuestion, ...] = ()


class File(msgspec.Struct, frozen=True):
    """A file that was left: its size and its first bytes."""

    size: int
    head: bytes
    sha256: str

    def begins(self, other: File) -> bool:
        """Whether this is a beginning of the other, and not all of it."""
        return self.size < other.size and other.head.startswith(self.head)


class Trial(msgspec.Struct, frozen=True):
    """All acts of one history in one folder, and what was left when the last one was over.

    `files` are those in the folders `work` (where it ran), `shared` and `attempt` (`ctx.directory`), by relative path.
    `resumed` is the act that followed a cancel without being disturbed, as `crew resume` would start it, and `resumed_files`
    what was there after it; only for histories that do nothing but cancel and crash. `given` are files that were there before
    the worker; `untouched` those of the last act to which nobody wrote while it was resumed, though they may be gone then.
    """

    acts: tuple[Act, ...]
    files: dict[str, File]
    temporary: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    output: str = ""
    applied: tuple[str, ...] | None = None
    resumed: Act | None = None
    resumed_files: dict[str, File] = {}
    given: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()

    @property
    def last(self) -> Act:
        """The act that ended it."""
        return self.acts[-1]

    @property
    def points(self) -> tuple[Point, ...]:
        """Of all acts."""
        return tuple(point for act in self.acts for point in act.points)

    @property
    def sent(self) -> tuple[SentMessage, ...]:
        """Of all acts."""
        return tuple(sent for act in self.acts for sent in act.sent)
