"""Makes answers fit one frame: what a run may hold is more than that. Pure.

What is left out is named in the answer, and can be asked for by itself: a result with `await_end`, an artifact's bytes with
`read_artifact`, older runs with `before`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from crewd.model.limits import FRAME_BYTES_MAX, NOTE_CHARS_MAX
from crewd.model.rows import AskRow, MessageRow, NoticeRow, RunRow, TaskRow
from crewd.model.workflow import Workflow
from crewd.protocol import replies as rl

T = TypeVar("T")
ANSWER_BYTES_MAX = FRAME_BYTES_MAX * 15 // 16
_TABLES = ("operations", "messages", "artifacts", "attempts", "asks", "notices", "usage", "progress", "backlogs", "tasks")
"""Of `ShowReply`, the one that is shortened first at the beginning."""
_encoder = msgspec.msgpack.Encoder()


def size_of(value: object) -> int:
    """How many bytes it has on the wire."""
    return len(_encoder.encode(value))


def fitting(rows: Iterable[T], most: int = FRAME_BYTES_MAX // 2) -> list[T]:
    """As many rows from the first one on, at least one, as have `most` bytes together."""
    kept: list[T] = []
    size = 0
    for row in rows:
        size += size_of(row)
        if size > most and kept:
            break
        kept.append(row)
    return kept


def in_list(run: RunRow) -> RunRow:
    """A run without what grows with its workflow and its work."""
    outline = Workflow(name=run.workflow.name, steps=(), labels=run.workflow.labels)
    return replace(run, workflow=outline, goal=head_of(run.goal), env={}, hooks=(), below={}, orders=(), undelivered=())


def in_lists(task: TaskRow) -> TaskRow:
    """A task without its result."""
    return replace(task, result=None)


def brief(row: MessageRow) -> MessageRow:
    """A message with the head of its text, for lists."""
    return replace(row, text=head_of(row.text))


def head_of(text: str) -> str:
    """The beginning of a text, and a sign that there is more of it."""
    return text if len(text) <= NOTE_CHARS_MAX else text[:NOTE_CHARS_MAX] + " …"


def inbox(asks: Sequence[AskRow], notices: Sequence[NoticeRow], messages: Sequence[MessageRow]) -> rl.InboxReply:
    """The oldest of each: the others come when these are answered, closed or read."""
    kept = (
        fitting(asks, ANSWER_BYTES_MAX // 2), fitting(notices, ANSWER_BYTES_MAX // 4),
        fitting(map(brief, messages), ANSWER_BYTES_MAX // 4),
    )  # fmt: skip
    more = len(kept[0]) < len(asks) or len(kept[1]) < len(notices) or len(kept[2]) < len(messages)
    return rl.InboxReply(asks=tuple(kept[0]), notices=tuple(kept[1]), messages=tuple(kept[2]), more=more)


def shown(reply: rl.ShowReply) -> rl.ShowReply:
    """The answer as it is if it fits; else without its largest results and artifacts' bytes, then without its oldest rows."""
    size = size_of(reply)
    reply, size = _without(reply, size, "tasks", "result", None)
    reply, size = _without(reply, size, "artifacts", "data", b"")
    for table in _TABLES:
        rows = getattr(reply, table)
        if size <= ANSWER_BYTES_MAX or not rows:
            continue
        of_table = sum(map(size_of, rows))
        kept = tuple(reversed(fitting(reversed(rows), max(0, ANSWER_BYTES_MAX - size + of_table))))
        reply = replace(reply, **{table: kept}, shortened=(*reply.shortened, table))
        size = size_of(reply)
    return reply


def _without(reply: rl.ShowReply, size: int, table: str, field: str, empty: object) -> tuple[rl.ShowReply, int]:
    """The largest values of a field of these rows are left out until the answer fits."""
    rows, left_out = list(getattr(reply, table)), list(reply.left_out)
    largest = sorted(((size_of(getattr(row, field)), place) for place, row in enumerate(rows)), reverse=True)
    for bytes_of, place in largest:
        if size <= ANSWER_BYTES_MAX or bytes_of <= _WORTH_IT:
            break
        left_out.append(rows[place].id)
        rows[place] = replace(rows[place], **{field: empty})
        size -= bytes_of - len(rows[place].id) - 3
    return replace(reply, **{table: tuple(rows)}, left_out=tuple(left_out)), size


_WORTH_IT = 64
"""Bytes: the id of what is left out takes as many."""
