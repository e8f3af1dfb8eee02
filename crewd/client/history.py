"""The history of a run as a tree, and where each event came from. Pure: events in, lines and values out.

A run's trunk holds its own events; what crewd does for a task and each attempt of it are branches that hang on the event they
follow. So a retry hangs on the failure that it retries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crewd.model import events as ev
from crewd.model.adaptive import with_step
from crewd.model.events import Event
from crewd.model.workflow import Workflow


class HistoryLine(NamedTuple):
    """An event and how deep its branch hangs: the trunk is at 0."""

    depth: int
    event: Event


class HistoryLink(NamedTuple):
    """A step of a trace: an event, and how the one before it (in the trace) came of it."""

    how: str
    event: Event


def tree(events: Sequence[Event]) -> list[HistoryLine]:
    """The events as a tree: a branch stands, one step deeper, below the event that it hangs on; each branch in its order.

    Events whose parents are not among these begin at depth 0.
    """
    known = {event.seq for event in events}
    children: dict[int, list[Event]] = {}
    for event in events:
        children.setdefault(event.parent if event.parent in known else 0, []).append(event)
    lines: list[HistoryLine] = []
    waiting: list[HistoryLine] = [HistoryLine(0, event) for event in reversed(children.get(0, []))]
    while waiting:
        line = waiting.pop()
        lines.append(line)
        below = children.get(line.event.seq, [])
        same = [HistoryLine(line.depth, each) for each in below if each.branch == line.event.branch]
        others = [HistoryLine(line.depth + 1, each) for each in below if each.branch != line.event.branch]
        waiting += [*reversed(same), *reversed(others)]
    return lines


def why(events: Sequence[Event], seq: int) -> list[HistoryLink]:
    """The event `seq` of a run and what led to it, back to the run's beginning. Empty if it is not among these."""
    at = {event.seq: event for event in events}
    event = at.get(seq)
    trace: list[HistoryLink] = []
    how = ""
    while event is not None:
        trace.append(HistoryLink(how, event))
        how, event = _cause(event, events, at)
    return trace


def _cause(event: Event, events: Sequence[Event], at: dict[int, Event]) -> tuple[str, Event | None]:
    """What led to this event: always an earlier one."""
    earlier = [each for each in events if each.seq < event.seq]
    body = event.body
    if event.causation and not isinstance(body, ev.MessageAccepted):
        for each in reversed(earlier):
            if isinstance(each.body, ev.MessageAccepted) and each.body.id == event.causation:
                return f"because of message {each.body.id}", each
    if isinstance(body, ev.RunEnded):
        last = next((each for each in reversed(earlier) if isinstance(each.body, ev.TaskEnded)), None)
        if last is not None:
            return "when the last task had ended", last
    if isinstance(body, ev.AttemptCancelRequested):
        asked = (each for each in reversed(earlier) if isinstance(each.body, ev.RunCancelRequested | ev.TaskCancelRequested))
        found = next((each for each in asked if each.task in {"", event.task}), None)
        if found is not None:
            return "because of", found
    parent = at.get(event.parent)
    if isinstance(body, ev.AttemptReserved) and parent is not None and not parent.task:
        needed = _needed(event, earlier)
        last = next((each for each in reversed(earlier) if isinstance(each.body, ev.TaskEnded) and each.task in needed), None)
        if last is not None:
            return "when what it depends on had ended", last
    return "after", parent


def _needed(event: Event, earlier: Sequence[Event]) -> frozenset[str]:
    """The tasks that this event's task depends on."""
    step_id = event.task.partition("/")[2]
    workflow = Workflow("", ())
    for each in earlier:
        if isinstance(each.body, ev.RunCreated) and each.run == event.run:
            workflow = each.body.workflow
        elif isinstance(each.body, ev.TaskAdded) and each.run == event.run:
            workflow = with_step(workflow, each.body.adaptive, each.body.step)
    return frozenset(f"{event.run}/{name}" for step in workflow.steps if step.id == step_id for name in step.depends_on)


def origin(event: Event) -> str:
    """Who or what is behind an event, in words."""
    said = f"request {event.causation}" if isinstance(event.body, ev.RunCreated | ev.MessageAccepted) else event.causation
    return ", ".join(text for text in (event.provenance, said) if text)


class Try(NamedTuple):
    """An attempt as its events tell it. Times are wall-clock seconds; `ended_at` is None while it lives."""

    task: str
    epoch: int
    hangs_on: str
    begun_at: float
    ended_at: float | None
    end: str
    reason: str
    error: str


def tries(events: Sequence[Event]) -> Iterator[Try]:
    """The attempts of a run in the order in which they began, each with the event that it hangs on."""
    at = {event.seq: event for event in events}
    ends = {(event.task, event.epoch): event for event in events if isinstance(event.body, ev.AttemptEnded)}
    for event in events:
        if not isinstance(event.body, ev.AttemptReserved):
            continue
        parent, end = at.get(event.parent), ends.get((event.task, event.epoch))
        body = end.body if end is not None and isinstance(end.body, ev.AttemptEnded) else None
        yield Try(
            event.task, event.epoch, parent.type if parent is not None else "", event.at, end.at if end is not None else None,
            body.status.value if body is not None else "", body.reason if body is not None else "",
            body.error if body is not None else "",
        )  # fmt: skip
