"""Live progress: a table that a person likes to watch, plain lines when not a terminal, NDJSON under `--json`.

Tests: tests/client/test_cli.py, tests/test_follow.py.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from crewd.client.cli.common import ago, out, warn
from crewd.client.cli.logs import FollowedOutput
from crewd.client.cli.screen import in_line, one_line, plain
from crewd.model import events as ev
from crewd.model.budget import Used, words_of
from crewd.model.errors import DaemonUnreachable
from crewd.model.events import Event
from crewd.model.quantities import counted
from crewd.model.rows import Progress
from crewd.model.signals import signal_name
from crewd.model.statuses import TASK_TERMINAL

if TYPE_CHECKING:
    from crewd.client.blocking import Crew
    from crewd.protocol.replies import ShowReply

SHAPES = {
    "queued": ("·", "dim"), "running": ("●", "cyan"), "waiting": ("?", "yellow"), "completed": ("✔", "green"),
    "failed": ("✘", "red"), "cancelled": ("■", "magenta"), "cancel_incomplete": ("!", "red"), "skipped": ("-", "dim"),
    "blocked": ("‖", "yellow"), "backoff": ("↻", "yellow"), "parked": ("‖", "red"), "claimed": ("◌", "cyan"),
}  # fmt: skip
"""Status as shape and colour: never colour alone."""


def follow(crew: Crew, run: str, *, as_json: bool) -> str:
    """Show the run, and what its workers write, until it has ended. Returns its status then.

    On a terminal the run is a table that changes. Else its workers' output goes to stdout, and what happens to stderr; as JSON
    both are lines on stdout.
    """
    if as_json:
        with FollowedOutput(crew, run, as_json=True) as output:
            status = _until_the_end(crew, run, lambda item: out(line_of(item)), output, progress=True)
    elif sys.stdout.isatty():
        status = _live(crew, run)
    else:
        end = ""

        def show(item: Event | Progress) -> None:
            nonlocal end
            text = words(item) if isinstance(item, Event) else ""
            if isinstance(item, Event) and isinstance(item.body, ev.RunEnded):
                end = text  # said after everything that the workers wrote
            elif text:
                warn(in_line(text))

        with FollowedOutput(crew, run) as output:
            status = _until_the_end(crew, run, show, output, progress=False)
        if end:
            warn(in_line(end))
    return status or crew.show(run).run.status.value


def _until_the_end(
    crew: Crew, run: str, show: Callable[[Event | Progress], None], output: FollowedOutput, *, progress: bool
) -> str:  # fmt: skip
    """Show each item. The status with which the run has ended: crewd may stop with it, and answer nothing more."""
    status = ""
    for item in crew.watch(run, progress=progress):
        if isinstance(item, Event):
            output.look()
        show(item)
        if isinstance(item, Event) and isinstance(item.body, ev.RunEnded):
            status = item.body.status.value
    return status


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
    step = event.task.partition("/")[2] or "run"
    match event.body:
        case ev.RunCreated(name=name, goal=goal):
            return f"run {name} begins" + (f": {goal}" if goal else "")
        case ev.AttemptReady():
            return f"  {step}: ready"
        case ev.MessageAccepted(id=key, kind=kind, text=text):
            return f"  {step}: {kind} {key} accepted: {text}"
        case ev.MessageApplied(id=key):
            return f"  {step}: {key} applied"
        case ev.MessageSettled(id=key, outcome=outcome, reason=reason, note=note):
            return f"  {step}: {key} {outcome} {reason or note}".rstrip()
        case ev.AskOpened(id=key, question=question):
            return f"  {step}: asks {key}: {question}"
        case ev.ProgressSampled(count=count, done=done, total=total, note=note, phase=phase):
            amount = f"{done:g}/{total:g}" if done is not None and total else "" if note else f"sign {count}"
            return f"  {step}: {' '.join(text for text in (phase, amount, note) if text)}"
        case ev.HookRan(run=ran) if ran.verdict != "allow":
            return f"  {step}: {ran.words}"
        case ev.RunHookRan(run=ran) if ran.verdict != "allow":
            return f"  {ran.words}"
        case ev.ArtifactRecorded(name=name, size=size, sha256=sha256):
            return f"  {step}: left {name}, {counted(size, 'byte')}, {sha256[:16]}"
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
        case ev.RunConcurrency(asked=asked, at_once=at_once):
            return f"  {counted(at_once, 'step')} at once, {asked} were asked for"
        case ev.RunChildUsed(child=child, used=used) if used != Used():
            return f"  {child}, a run below it, has used {words_of(used)}"
        case ev.RunUnblocked(requester=requester, intent=intent):
            return f"run goes on, approved by {requester} {intent}".rstrip()
        case ev.TaskAdded(step=added, adaptive=adaptive):
            return f"  {step}: added by the plan of {adaptive}, phase {added.phase}"
        case ev.TaskHeldBack(behind=behind):
            return f"  {step}: waits for {', '.join(each.partition('/')[2] for each in behind)} (access)"
        case ev.RunReopened(kind=kind, intent=intent):
            return f"run reopened ({kind}) {intent}".rstrip()
        case ev.RunEnded(status=status, reason=reason, undelivered=undelivered):
            rest = f", {counted(len(undelivered), 'message')} undelivered" if undelivered else ""
            said_again = reason.startswith(f"{status}: ")
            return f"run {reason}{rest}" if said_again else f"run {status}{f' ({reason})' if reason else ''}{rest}"
        case _:
            return ""


def details(event: Event) -> str:
    """What an event says that is no news while one follows a run, for who looks at its history."""
    match event.body:
        case ev.AttemptReserved(directory=directory):
            return f"in {directory}"
        case ev.AttemptStarted(pid=pid, adopted=adopted):
            return f"host process {pid}{' adopted' if adopted else ''}"
        case ev.AttemptOutcome(outcome=outcome, error=error):
            return f"{outcome} {error}"
        case ev.AttemptEnded(status=status, reason=reason, error=error):
            return f"{status} {reason} {error}"
        case ev.AttemptSignalled(number=number, tree=tree, by=by):
            return f"{signal_name(number)}{' to all' if tree else ''} by {by}"
        case ev.OperationOpened(kind=kind, name=name, queued=queued):
            return f"{kind} {name} {'queued' if queued else 'begins'}"
        case ev.OperationClosed(id=key, outcome=outcome, reason=reason):
            return f"{key.rpartition(':')[2]} {outcome} {reason}"
        case ev.OperationStarted(id=key):
            return f"{key.rpartition(':')[2]} begins"
        case ev.MessageDelivered(id=key) | ev.MessageAcknowledged(id=key) | ev.AskClosed(id=key) | ev.NoticeClosed(id=key):
            return f"{key} {getattr(event.body, 'outcome', '')}"
        case ev.UsageReported(turns=turns, tokens=tokens, cost=cost):
            return f"{counted(turns, 'turn')}, {counted(tokens, 'token')}, {cost:g} cost"
        case ev.RunCancelRequested(cancel=cancel) | ev.TaskCancelRequested(cancel=cancel):
            return f"{cancel.reason} by {cancel.requester} {cancel.intent}"
        case ev.TaskClaimed(claim=claim):
            return f"by {claim.owner}"
        case ev.RunBlocked(block=block):
            return f"{block.reason}: {block.text}"
        case ev.RunInventory(items=items):
            return f"{counted(len(items), 'item')}: crew capabilities --run"
        case ev.TaskTurn(access=access, index=index, total=total):
            return f"{access}, {index} of {total}"
        case _:
            return ""


def _live(crew: Crew, run: str) -> str:
    from rich.live import Live  # the only verb that needs rich

    shown = crew.show(run)
    progress = {each.task: each for each in shown.progress}
    picture = Live(_picture(shown, progress), refresh_per_second=8)
    with picture as live, FollowedOutput(crew, run, write=_printer(live)) as output:

        def show(item: Event | Progress) -> None:
            nonlocal shown
            if isinstance(item, Progress):
                progress[item.task] = item
            else:
                if words(item):
                    live.console.print(plain(words(item)), style="dim", highlight=False, markup=False)
                if item.seq > shown.seq or isinstance(item.body, ev.RunEnded):
                    with contextlib.suppress(DaemonUnreachable):
                        shown = crew.show(run)
            live.update(_picture(shown, progress))

        return _until_the_end(crew, run, show, output, progress=True)


def _printer(live: Any) -> Callable[[bytes], None]:
    """Writes above a table that changes."""
    from rich.text import Text

    return lambda data: live.console.print(Text(data.decode("utf-8", "replace").rstrip("\n")))


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
            Text(shape, style=colour), task.step, Text(task.status.value, style=colour), bar, Text(one_line(note)[:60]),
            "" if seconds is None else ago(seconds),
        )  # fmt: skip
    return table
