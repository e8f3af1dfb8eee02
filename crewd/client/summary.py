"""How runs stand, in a text of a bounded size, for a leader that has lost its context. Pure.

What workers and people wrote stands in fences that it cannot close: it is data, and no instruction. The same values give the
same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import msgspec

from crewd.model.claimable import to_claim
from crewd.model.redact import clip
from crewd.model.rows import RunRow, TaskRow
from crewd.model.statuses import RUN_TERMINAL, TASK_TERMINAL, RunStatus, TaskStatus
from crewd.protocol.replies import ShowReply

RUNS_MAX = 10
ITEMS_MAX = 80
"""Tasks, questions and notices of all runs together."""
CHARS_DEFAULT = 8_000
CHARS_LEAST = 500
RESULTS_MAX = 5
GOAL_CHARS = 400
LINE_CHARS = 200
_TELLING = (TaskStatus.WAITING, TaskStatus.PARKED, TaskStatus.BACKOFF, TaskStatus.CLAIMED)
"""Statuses of a live task that are shown as the status of its run."""


def status_words(run: RunRow, tasks: Sequence[TaskRow]) -> str:
    """How a run stands: as one of its live tasks does that waits for somebody or something, else as the run itself."""
    stands = {task.status for task in tasks if task.status not in TASK_TERMINAL and task.started_at}
    return next((each.value for each in _TELLING if each in stands), run.status.value)


def run_summary(found: ShowReply, now: float, chars: int = CHARS_DEFAULT, items: int = ITEMS_MAX) -> str:
    """A run: what it is for, how its tasks stand, what waits for somebody, its latest results, and what can be done next.

    `now` is wall-clock time. The text has at most `chars` characters and names at most `items` tasks, questions and notices.
    """
    run = found.run
    until = run.ended_at if run.status in RUN_TERMINAL and run.ended_at is not None else now
    lines = [f"## {run.name}: {status_words(run, found.tasks)}, {max(0, round(until - run.created_at))} s ({run.id})"]
    if run.reason:
        lines.append(f"reason: {_line(run.reason)}")
    lines += [f"blocked: {_line(block.text)}" for block in run.blocks]
    if run.goal:
        lines += ["", "Its goal:", fenced(clip(run.goal, GOAL_CHARS))]
    shown = sorted(found.tasks, key=_urgency)[:items]
    lines += ["", *_table(shown), *([f"... and {len(found.tasks) - len(shown)} more"] if len(shown) < len(found.tasks) else [])]
    asks = [ask for ask in found.asks if ask.unanswered][: max(0, items - len(shown))]
    for ask in asks:
        lines += ["", f"Question {ask.id} of {_step(ask.task)} ({ask.kind}):", fenced(clip(ask.question, LINE_CHARS))]
    notices = [notice for notice in found.notices if notice.closed_at is None]
    told = [f"notice: {notice.kind} `{_line(notice.text)}`" for notice in notices[: max(0, items - len(shown) - len(asks))]]
    lines += ["", *told] if told else []  # directly below a table it would be a row of it
    lines += ["", *_next(found)]
    text = "\n".join(lines)
    return bounded(text + _results(found.tasks, chars - len(text)), chars)


def brief(found: Sequence[ShowReply], now: float, chars: int = CHARS_DEFAULT, more: int = 0) -> str:
    """The same for several runs, of which each gets its share: those that live first, then the newest, ten at most.

    `more` is how many others there are that are not in `found`.
    """
    if not found:
        return "No runs."
    chosen = sorted(found, key=lambda each: (each.run.status in RUN_TERMINAL, -each.run.created_at))[:RUNS_MAX]
    share, items = max(CHARS_LEAST, chars // len(chosen)), max(1, ITEMS_MAX // len(chosen))
    more += len(found) - len(chosen)
    rest = [f"... and {more} more runs (crew ps --all)"] if more else []
    return bounded("\n\n".join([*(run_summary(each, now, share, items) for each in chosen), *rest]), chars)


def fenced(text: str) -> str:
    """A text between two fences, longer than any that stands in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def bounded(text: str, chars: int) -> str:
    """The lines of the text that fit, with a fence closed that would stay open."""
    if len(text) <= chars:
        return text
    kept = text[: max(0, chars - 8)].rpartition("\n")[0]
    while (fence := _open_fence(kept)) and len(kept) + len(fence) + 8 > chars:
        kept = kept.rpartition("\n")[0]
    return "\n".join(part for part in (kept, fence, "...") if part)


def _open_fence(text: str) -> str:
    fence = ""
    for line in text.split("\n"):
        if not fence:
            begins = re.fullmatch(r"(`{3,})text", line)
            fence = begins[1] if begins else ""
        elif line == fence:
            fence = ""
    return fence


def _table(tasks: Iterable[TaskRow]) -> list[str]:
    rows = [f"| {task.step} | {task.status} | {task.epoch} | {_line(task.reason or '')} |" for task in tasks]
    return ["| step | status | tries | why |", "| --- | --- | --- | --- |", *rows]


def _urgency(task: TaskRow) -> int:
    order = (
        TaskStatus.WAITING, TaskStatus.PARKED, TaskStatus.FAILED, TaskStatus.RUNNING, TaskStatus.CLAIMED, TaskStatus.BACKOFF,
        TaskStatus.QUEUED,
    )  # fmt: skip
    return order.index(task.status) if task.status in order else len(order)


def _results(tasks: Iterable[TaskRow], chars: int) -> str:
    """The latest results, each with its share of what is left."""
    done = [task for task in tasks if task.result is not None and task.ended_at is not None]
    latest = sorted(done, key=lambda task: -(task.ended_at or 0.0))[:RESULTS_MAX]
    share = chars // max(1, len(latest)) - 60 if latest else 0
    if share < 40:
        return ""
    parts = []
    for task in latest:
        text = task.result if isinstance(task.result, str) else json.dumps(msgspec.to_builtins(task.result), ensure_ascii=False)
        parts.append(f"\n\nResult of {task.step}:\n{fenced(clip(text, share))}")
    return "".join(parts)


def _next(found: ShowReply) -> list[str]:
    """What somebody can do now."""
    run, steps = found.run, []
    if run.status is RunStatus.BLOCKED:
        steps.append(f"crew approve {run.name} lets it go on, crew reject {run.name} ends it (not a worker's to decide)")
    steps += [f"crew respond {ask.id} ANSWER" for ask in found.asks if ask.unanswered][:3]
    status = {task.status for task in found.tasks}
    if TaskStatus.PARKED in status or TaskStatus.FAILED in status:
        steps.append(f"crew retry {run.name} does again what failed")
    steps += [f"crew claim {run.name}/{each.step} takes over what waits for a claim" for each in to_claim(found.tasks)][:3]
    if run.status in RUN_TERMINAL:
        steps.append(f"crew {'result' if run.status is RunStatus.COMPLETED else 'show'} {run.name} prints how it has ended")
    elif not steps:
        steps.append(f"crew wait {run.name} waits for its end, crew steer {run.name} TEXT tells it something")
    return [f"next: {step}" for step in steps]


def _step(task: str) -> str:
    return task.partition("/")[2]


def _line(text: str) -> str:
    return clip(" ".join(text.split()).replace("|", "/").replace("`", "'"), LINE_CHARS)
