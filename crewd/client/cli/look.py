"""Verbs that look: ps, show, logs, events, wait, result, doctor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import click
import msgspec

from crewd.client import shapes
from crewd.client.blocking import Crew, connect
from crewd.client.cli.common import EXIT_OF_STATUS, Options, ago, out, say, say_stale, table, time_of, verb
from crewd.client.cli.follow import line_of, words
from crewd.clock import SystemClock
from crewd.protocol import requests as rq
from crewd.protocol.errors import CrewdError
from crewd.protocol.rows import AttemptRow, Backlog, Progress, RunRow, TaskRow, Usage
from crewd.protocol.statuses import TASK_TERMINAL, TaskStatus
from crewd.protocol.workflow_markdown import parse_labels

_TELLING = (TaskStatus.WAITING, TaskStatus.PARKED, TaskStatus.BACKOFF, TaskStatus.CLAIMED)
"""What a run is said to be if one of its live tasks is."""
POLL_SECONDS = 0.2
"""Between two looks at a log that is followed."""


def _connect(options: Options) -> Crew:
    return connect(options.home, start=False)


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also ended runs.")
@click.option("-q", "quiet", is_flag=True, help="Ids only.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only runs with this label.")
@verb
def ps(options: Options, everything: bool, quiet: bool, labels: tuple[str, ...]) -> None:  # noqa: FBT001 (flags)
    """List runs."""
    with _connect(options) as crew:
        found = crew.runs(all=everything, labels=parse_labels(labels))
    say_stale(stale=found.stale)
    if options.json:
        out(found)
        return
    if quiet:
        for run in found.runs:
            say(run.id)
        return
    now = SystemClock().wall()
    seen = {each.task: each for each in found.progress}
    rows: list[list[object]] = []
    for run in found.runs:
        tasks = [task for task in found.tasks if task.run == run.id]
        done = sum(task.status in TASK_TERMINAL for task in tasks)
        live = [task for task in tasks if task.status not in TASK_TERMINAL and task.started_at]
        stands = {task.status for task in live}
        status = next((each.value for each in _TELLING if each in stands), run.status.value)
        age = (run.ended_at or now) - run.created_at
        activity = _activity(live[0].id if live else "", seen, now)
        told = sorted({notice.kind for notice in found.notices if notice.run == run.id})
        activity = f"{activity} [{', '.join(told)}]" if told else activity
        waits = [each for each in found.backlogs if each.task.startswith(run.id)]
        memory = sum(each.memory_bytes for each in found.usage if each.task.startswith(f"{run.id}/"))
        rows.append(
            [
                run.name, status, f"{done}/{len(tasks)}", ago(age), f"{memory >> 20} M" if memory else "", _waiting(waits),
                activity, run.id,
            ]
        )  # fmt: skip
    table(["NAME", "STATUS", "TASKS", "AGE", "MEM", "WAITING", "NOW", "ID"], rows)


def _waiting(backlogs: Sequence[Backlog]) -> str:
    """Steers and follow-ups that no worker has taken, apart; and what workers said that nobody has read."""
    sums = (("steer", "steers"), ("follow-up", "follow_ups"), ("unread", "unread"))
    counts = ((name, sum(getattr(each, field) for each in backlogs)) for name, field in sums)
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def _activity(task: str, seen: dict[str, Progress], now: float) -> str:
    each = seen.get(task)
    step = task.partition("/")[2]
    if each is None:
        return step
    amount = f" {each.done:g}/{each.total:g}" if each.done is not None and each.total else ""
    quiet = f" (quiet {ago(now - each.at)})" if now - each.at > 30 else ""
    return f"{step}{amount} {each.note[:30]}{quiet}".rstrip()


@click.command()
@click.argument("target")
@verb
def show(options: Options, target: str) -> None:
    """Show a run: its tasks, messages, questions, operations, artifacts."""
    with _connect(options) as crew:
        found = crew.show(target)
    say_stale(stale=found.stale)
    if options.json:
        out(found)
        return
    run = found.run
    say(f"{run.name}  {run.status}  {run.id}")
    for label, text in (("goal", run.goal), ("cwd", run.cwd), ("reason", run.reason)):
        if text:
            say(f"  {label}: {text}")
    uses = {each.task: each for each in found.usage}
    table(
        ["  STEP", "TRY", "STATUS", "PID", "EXIT", "USES", "WHY"],
        (
            [
                f"  {t.step}", a.epoch if a else "", t.status if a is None or a.epoch == t.epoch else a.status,
                a.pid if a and a.pid else "", _exit(a), _uses(a, uses.get(t.id)) if a else "", _why(t, a)[:90],
            ]
            for t in found.tasks
            for a in _attempts(found, t)
        ),
    )  # fmt: skip
    for each in found.backlogs:
        if waits := _waiting([each]):
            say(f"  waiting at {each.task.partition('/')[2] or 'the run'}: {waits}")
    for message in found.messages:
        receipt = message.receipt
        if message.direction == "out":
            say(f"  said {receipt.id}{'' if message.unread else ' (read)'}: {message.text[:70]}")
            continue
        say(f"  {receipt.kind} {receipt.id} {receipt.level} {receipt.outcome or ''} {receipt.reason}: {message.text[:50]}")
    for ask in found.asks:
        say(f"  question {ask.id} {ask.outcome or 'open'}: {ask.question[:70]}")
    for op in found.operations:
        say(f"  operation {op.kind} {op.name}: {op.outcome or 'open'}{' (written by crewd)' if op.synthetic else ''}")
    for artifact in found.artifacts:
        say(f"  artifact {artifact.name} {artifact.size} B {artifact.path}")
    for notice in found.notices:
        if notice.closed_at is None:
            say(f"  notice {notice.kind}: {notice.text}")
    for attempt in found.attempts:
        for survivor in attempt.survivors:
            say(f"  SURVIVOR pid {survivor.pid} {survivor.state} {ago(survivor.age_seconds)} {survivor.command}")
    say(f"  history: {found.events} events, {found.bytes / 1024:.1f} KiB written (crew history {run.name})")


def _attempts(found: rq.ShowReply, task: TaskRow) -> list[AttemptRow | None]:
    return [*(each for each in found.attempts if each.task == task.id)] or [None]


def _exit(attempt: AttemptRow | None) -> str:
    if attempt is None:
        return ""
    status = attempt.exit
    how = f"signal {status.signal}" if status.signal is not None else "" if status.code is None else str(status.code)
    return f"{how} killed".strip() if status.killed else how


def _uses(attempt: AttemptRow, usage: Usage | None) -> str:
    """Memory and processor time: now, or what was used in all."""
    live = usage is not None and usage.epoch == attempt.epoch and attempt.ended_at is None
    memory = usage.memory_bytes if live and usage else attempt.exit.memory_peak_bytes
    cpu = usage.cpu_seconds if live and usage else attempt.exit.cpu_seconds
    return f"{memory / (1 << 20):.0f} MiB {cpu:.1f} s" if memory or cpu else ""


def _why(task: TaskRow, attempt: AttemptRow | None) -> str:
    of = task if attempt is None or attempt.epoch == task.epoch else attempt
    silent = "" if attempt is None or attempt.liveness == "healthy" or attempt.ended_at else f"{attempt.liveness}: silent"
    waits = "waits for a place" if attempt is not None and attempt.status == "reserved" else silent
    return " ".join(f"{of.reason} {of.error} {waits}".split())


@click.command()
@click.argument("target")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until the worker has ended.")
@click.option("--tail", type=int, help="Only the last N lines.")
@click.option("--stderr", "errors", is_flag=True, help="Standard error instead of standard output.")
@click.option("--attempt", default=0, help="Of this attempt only (else of the last one, and those after it).")
@verb
def logs(options: Options, target: str, follow: bool, tail: int | None, errors: bool, attempt: int) -> None:  # noqa: FBT001
    """Print a worker's output."""
    stream: Literal["stdout", "stderr"] = "stderr" if errors else "stdout"
    clock = SystemClock()
    with _connect(options) as crew:
        offset = 0 if tail is None else -min(262_144, max(1, tail) * 200)
        first, epoch = True, attempt
        while True:
            reply = crew.log(target, stream=stream, offset=offset, epoch=epoch)
            epoch = reply.epoch
            if reply.offset > offset >= 0:
                click.echo(f"[{reply.offset - offset} bytes are not kept any more]", err=True)
            data = reply.data
            if first and tail is not None:
                data = b"".join(data.splitlines(keepends=True)[-tail:])
            first = False
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
            offset = reply.next
            if reply.next < reply.size:
                continue
            latest = crew.log(target, stream=stream) if reply.ended and not attempt else reply
            if latest.epoch != epoch:
                offset, epoch = 0, latest.epoch  # the next attempt: its output from the beginning
            elif latest.ended or not follow:
                return
            else:
                clock.sleep(POLL_SECONDS)


@click.command()
@click.argument("target", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on as they happen.")
@click.option("--after", default=0, help="Only events after this seq.")
@click.option("-n", "--last", type=click.IntRange(1), default=None, metavar="N", help="Only the last N.")
@click.option("--epoch", type=click.IntRange(1), default=None, metavar="N", help="Only of the N-th attempt of a task.")
@click.option("--since", default="", metavar="TIME", help="Only from this time on: 2026-01-31T12:00, or 90s, 15m, 2h, 3d ago.")
@click.option("--until", default="", metavar="TIME", help="Only from before this time.")
@click.option("--type", "types", multiple=True, help="Only events of a type (task.ended), group (task.*) or kind (task_ended).")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only of runs with this label.")
@verb
def events(
    options: Options, target: str, follow: bool, after: int, last: int | None, epoch: int | None, since: str, until: str,  # noqa: FBT001
    types: tuple[str, ...], labels: tuple[str, ...],
) -> None:  # fmt: skip
    """Print events of a run, or of all."""
    now = SystemClock().wall()
    with _connect(options) as crew:
        for event in crew.events(
            target, after=after, follow=follow, types=types, labels=parse_labels(labels), last=last or 0, epoch=epoch or 0,
            since=time_of(since, now), until=time_of(until, now),
        ):  # fmt: skip
            if options.json:
                out(line_of(event))
            else:
                say(f"{event.seq:>6}  {event.type:<26} {event.task or event.run}  {words(event).strip()}".rstrip())


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option("--for", "until", type=click.Choice(["end", "waiting"]), default="end", help="What to wait for.")
@click.option("--timeout", default=3600.0, help="Seconds.")
@verb
def wait(options: Options, targets: tuple[str, ...], until: str, timeout: float) -> None:
    """Wait until runs or tasks have ended (or, with --for waiting, until one asks)."""
    worst = 0
    with _connect(options) as crew:
        for target in targets:
            reply = crew.wait(target, or_waiting=until == "waiting", timeout=timeout)
            status = reply.task.status.value if reply.task else reply.run.status.value
            if options.json:
                out(reply)
            else:
                say(f"{target}  {status}")
            worst = max(worst, EXIT_OF_STATUS.get(status, 0))
    sys.exit(worst)


@click.command()
@click.argument("target")
@click.option("--timeout", default=3600.0, help="Seconds to wait for the end.")
@verb
def result(options: Options, target: str, timeout: float) -> None:
    """Print the result of a run or task, waiting for its end."""
    with _connect(options) as crew:
        ended = crew.wait(target, timeout=timeout)
        run: RunRow = ended.run
        value = shapes.result_of(run, crew.show(target).tasks) if ended.task is None else shapes.result_of_task(ended.task)
    if options.json:
        out({"run": run.id, "status": run.status, "result": value})
    elif isinstance(value, str):
        say(value)
    else:
        out(value)


@click.command()
@click.option("--rebuild", is_flag=True, help="Fold the whole log again and compare with the rows.")
@click.option("--check", is_flag=True, help="Look at each page of the database and each part of each bundle.")
@click.option("--actors", is_flag=True, help="Measure the actors: inboxes, turns, restarts, long turns.")
@click.option("--probe", is_flag=True, help="Try it out: start a worker, steer it, cancel it, and prove that it is gone.")
@verb
def doctor(options: Options, rebuild: bool, check: bool, actors: bool, probe: bool) -> None:  # noqa: FBT001 (flags)
    """Examine the daemon, its state and its machine."""
    with _connect(options) as crew:
        took, failed = _probe(crew) if probe else ({}, "")
        found = crew.doctor(rebuild=rebuild, actors=actors, check=check)
    healthy = found.healthy and not failed
    if options.json:
        out({**msgspec.to_builtins(found), "healthy": healthy, "probe": {**took, "failed": failed} if probe else None})
    else:
        for key, value in found.counts.items():
            say(f"{key:>20}: {value}")
        _show_actors(found)
        for name, seconds in took.items():
            say(f"probe: {name} {seconds * 1000:.1f} ms")
        for finding in (*found.findings, *([f"the probe failed: {failed}"] if failed else [])):
            say(f"finding: {finding}")
        say("healthy" if healthy else "NOT healthy")
    sys.exit(0 if healthy else 1)


def _probe(crew: Crew) -> tuple[dict[str, float], str]:
    """A worker's life in short: the seconds of each step, and what went wrong."""
    clock, took = SystemClock(), dict[str, float]()
    try:
        begin = clock.monotonic()
        run = crew.call("crewd.worker.probe:probe", cwd="/")
        run.steer("probe", wait="delivered")
        took["started, steer delivered"] = clock.monotonic() - begin
        begin = clock.monotonic()
        run.steer("probe", wait="applied")
        took["steer applied"] = clock.monotonic() - begin
        begin = clock.monotonic()
        reply = run.cancel(mode="now")
        took["cancelled, verified"] = clock.monotonic() - begin
    except CrewdError as error:
        return took, str(error)
    return took, "" if reply is not None and reply.verified else f"not verified: {reply}"


def _show_actors(found: rq.DoctorReply) -> None:
    if found.actors:
        headers = ["CLASS", "ALIVE", "MADE", "RESTARTS", "CRASHES", "WAITING c/d", "OLDEST c/d ms", "PEAK", "REFUSED", "TURNS"]
        table(
            [*headers, "LETTERS", "MEAN us", "LONGEST ms"],
            [
                (
                    each.name, each.alive, each.made, each.restarts, each.crashes, f"{each.depth[0]}/{each.depth[1]}",
                    f"{each.age_seconds[0] * 1e3:.0f}/{each.age_seconds[1] * 1e3:.0f}", each.peak, each.refused, each.turns,
                    each.letters, f"{each.busy_seconds / max(1, each.turns) * 1e6:.0f}",
                    f"{each.longest_turn_seconds * 1e3:.1f}",
                )
                for each in found.actors
            ],
        )  # fmt: skip
    for busy in found.busy:
        say(f"long turn: {busy.actor} {busy.seconds:.1f} s")
        say(busy.stack.rstrip())
