"""Live progress: a table that a person likes to watch, plain lines when not a terminal, NDJSON under `--json`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from crewd.client.cli.common import ago, out, say
from crewd.protocol import events as ev
from crewd.protocol.events import Event
from crewd.protocol.rows import Progress
from crewd.protocol.statuses import TASK_TERMINAL

if TYPE_CHECKING:
    from crewd.client.blocking import Crew
    from crewd.protocol.requests import ShowReply

SHAPES = {
    "queued": ("·", "dim"), "running": ("●", "cyan"), "waiting": ("?", "yellow"), "completed": ("✔", "green"),
    "failed": ("✘", "red"), "cancelled": ("■", "magenta"), "cancel_incomplete": ("!", "red"), "skipped": ("-", "dim"),
    "backoff": ("↻", "yellow"), "parked": ("‖", "red"), "claimed": ("◌", "cyan"),
}  # fmt: skip
"""Status as shape and colour: never colour alone."""


def follow(crew: Crew, run: str, *, as_json: bool) -> None:
    """Show the run until it has ended."""
    if as_json:
        for item in crew.watch(run, progress=True):
            out(line_of(item))
    elif sys.stdout.isatty():
        _live(crew, run)
    else:
        for item in crew.watch(run, progress=False):
            text = words(item) if isinstance(item, Event) else ""
            if text:
                say(text)


def line_of(item: Event | Progress) -> dict[str, Any]:
    """An item of a stream as NDJSON."""
    if isinstance(item, Progress):
        return {"v": 1, "type": "progress", "run": item.task.partition("/")[0], "data": item}
    data = msgspec.to_builtins(item.body)
    kind = data.pop("type")
    return {
        "v": 1, "seq": item.seq, "id": item.event_id, "parent": item.parent, "branch": item.branch, "ts": item.at,
        "run": item.run, "task": item.task, "epoch": item.epoch, "type": kind, "causation": item.causation,
        "correlation": item.correlation, "provenance": item.provenance, "data": data,
    }  # fmt: skip


def words(event: Event) -> str:
    """An event as one line for people; empty for those that only machines care about."""
    step = event.task.partition("/")[2]
    match event.body:
        case ev.RunCreated(name=name, goal=goal):
            return f"run {name} begins" + (f": {goal}" if goal else "")
        case ev.AttemptReady():
            return f"  {step}: ready"
        case ev.MessageAccepted(id=key, kind=kind, text=text):
            return f"  {step}: {kind} {key[-6:]} accepted: {text[:60]}"
        case ev.MessageApplied(id=key):
            return f"  {step}: {key[-6:]} applied"
        case ev.MessageSettled(id=key, outcome=outcome, reason=reason, note=note):
            return f"  {step}: {key[-6:]} {outcome} {reason or note}".rstrip()
        case ev.AskOpened(id=key, question=question):
            return f"  {step}: asks {key}: {question}"
        case ev.ProgressSampled(count=count, done=done, total=total, note=note, phase=phase):
            amount = f"{done:g}/{total:g}" if done is not None and total else f"sign {count}"
            return f"  {step}: {' '.join(text for text in (phase, amount, note) if text)}"
        case ev.ArtifactRecorded(name=name, size=size, sha256=sha256):
            return f"  {step}: left {name}, {size} bytes, {sha256[:16]}"
        case ev.RunForgotten(name=name, by=by, intent=intent):
            return f"run {name} was forgotten by {by} {intent}".rstrip()
        case ev.RunArchived(row=row, bundle=bundle, intent=intent):
            return f"run {row.name} is in {bundle} {intent}".rstrip()
        case ev.Salvaged(lost=lost, quarantine=quarantine):
            return f"{lost} events were lost; what is left of them is in quarantine/{quarantine}"
        case ev.Foreign(name=name, data=data):
            return f"  {step}: {name} {str(data.get('message') or '')[:80]}".rstrip()
        case ev.AttemptCancelRequested(cancel=cancel):
            return f"  {step}: cancel requested ({cancel.reason}) {cancel.intent}".rstrip()
        case ev.TaskEnded(status=status, reason=reason, error=error):
            return f"  {step}: {status} {reason} {error}".rstrip()
        case ev.TaskRetrying(kind=kind, due_at=due_at, reason=reason, error=error):
            return f"  {step}: {kind} in {max(0.0, due_at - event.at):.1f} s after {reason or 'its end'} {error}".rstrip()
        case ev.TaskParked(reason=reason):
            return f"  {step}: parked, {reason}"
        case ev.AttemptLimitHit(limit=limit, text=text):
            return f"  {step}: ended for {limit}: {text}"
        case ev.NoticeRaised(kind=kind, text=text):
            return f"  {step}: notice {kind}: {text}"
        case ev.RunReopened(kind=kind, intent=intent):
            return f"run reopened ({kind}) {intent}".rstrip()
        case ev.RunEnded(status=status, reason=reason, undelivered=undelivered):
            rest = f", {len(undelivered)} messages undelivered" if undelivered else ""
            return f"run {status} {reason}".rstrip() + rest
        case _:
            return ""


def _live(crew: Crew, run: str) -> None:
    from rich.live import Live  # the only verb that needs rich

    shown = crew.show(run)
    progress = {each.task: each for each in shown.progress}
    with Live(_picture(shown, progress), refresh_per_second=8) as live:
        for item in crew.watch(run, after=0, progress=True):
            if isinstance(item, Progress):
                progress[item.task] = item
            else:
                if words(item):
                    live.console.print(words(item), style="dim", highlight=False, markup=False)
                if item.seq > shown.seq or isinstance(item.body, ev.RunEnded):
                    shown = crew.show(run)
            live.update(_picture(shown, progress))


def _picture(shown: ShowReply, progress: dict[str, Progress]) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("", "step", "status", "progress", "", "time"):
        table.add_column(header)
    now = max([task.ended_at or 0 for task in shown.tasks] + [each.at for each in progress.values()] + [0])
    for task in shown.tasks:
        shape, colour = SHAPES[task.status.value]
        seen = progress.get(task.id)
        bar: Any = ""
        if task.status in TASK_TERMINAL:
            note = task.error or task.reason
        else:
            note = seen.note if seen else ""
            if seen and seen.total:
                bar = ProgressBar(total=seen.total, completed=seen.done or 0, width=24)
        seconds = (task.ended_at or max(now, task.started_at)) - task.started_at if task.started_at else None
        table.add_row(
            Text(shape, style=colour), task.step, Text(task.status.value, style=colour), bar, Text(note[:60]),
            "" if seconds is None else ago(seconds),
        )  # fmt: skip
    return table
