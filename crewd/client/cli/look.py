"""Verbs that look: ps, events, wait, result, doctor.

Tests: tests/client/test_cli.py.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import click
import msgspec

from crewd.client.blocking import Crew
from crewd.client.cli.common import (
    EXIT_OF_STATUS,
    SECONDS,
    Options,
    ago,
    look_at,
    out,
    say,
    say_stale,
    say_within,
    short_task,
    table,
    time_of,
    verb,
    warn,
)
from crewd.client.cli.follow import line_of, words
from crewd.client.cli.screen import one_line, plain, screen_columns
from crewd.client.extensions import faults_of_extensions
from crewd.client.summary import status_words
from crewd.clock import SystemClock, local_time
from crewd.model.claimable import to_claim
from crewd.model.errors import CrewdError, DeadlineExceeded, UsageError
from crewd.model.labels import parse_labels
from crewd.model.quantities import counted
from crewd.model.rows import Backlog, Progress, RunRow, TaskRow
from crewd.model.statuses import TASK_TERMINAL, TaskStatus
from crewd.protocol import replies as rl

LISTED = 100
"""How many of the newest runs are listed beside those that live."""
ROOMY_COLUMNS = 110
"""From this width on, whole ids leave room for what runs do."""
LOOK_SECONDS = 2.0
"""How long an end is waited for before it is asked again what is waited for."""


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also ended runs.")
@click.option("-n", "--limit", type=click.IntRange(1), help="So many of the newest (else all that live; with -a, 100).")
@click.option("-q", "quiet", is_flag=True, help="Ids only.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only runs with this label.")
@verb
def ps(options: Options, everything: bool, limit: int | None, quiet: bool, labels: tuple[str, ...]) -> None:  # noqa: FBT001 (flags)
    """List runs."""
    with look_at(options) as crew:
        found = crew.runs(all=everything, labels=parse_labels(labels), limit=limit or (LISTED if everything else None))
    say_stale(stale=found.stale)
    if found.before:
        warn(f"{counted(len(found.runs), 'run')} shown, and there may be older ones: --limit N lists more")
    if options.json:
        out(found)
        return
    if quiet:
        for run in found.runs:
            say(run.id)
        return
    now = SystemClock().wall()
    seen = {each.task: each for each in found.progress}
    names = Counter(run.name for run in found.runs)
    none = "there are no such runs" if everything or labels else "no run is live (crew ps -a lists those that have ended)"
    narrow = (screen_columns() or ROOMY_COLUMNS) < ROOMY_COLUMNS
    rows = [_row(found, run, seen, now, alone=names[run.name] == 1, narrow=narrow) for run in found.runs]
    table(["NAME", "STATUS", "AGE", "TASKS", "NOW", "WAITING", "MEM", "ID"], rows, whole={"ID"}, empty=none)


def _row(
    found: rl.RunsReply, run: RunRow, seen: dict[str, Progress], now: float, *, alone: bool, narrow: bool
) -> list[object]:  # fmt: skip
    """A run in a list. One that shares its name with another is named by the end of its id as well.

    On a narrow screen the end of the id, which can be typed, leaves room for what the run does.
    """
    tasks = [task for task in found.tasks if task.run == run.id]
    unclaimed = to_claim(tasks)  # one whose lease is over has begun once
    live = [task for task in tasks if task.status not in TASK_TERMINAL and task.started_at and task not in unclaimed]
    status = status_words(run, tasks)
    notices = sorted({notice.kind for notice in found.notices if notice.run == run.id})
    told = f"[{', '.join(notices)}]" if notices else ""
    claims = [f"{task.step}: unclaimed" for task in unclaimed]
    doing = _activity(live[0].id, seen, now) if live else (*claims, "")[0]
    activity = f"{doing} {told}".strip()
    waits = [each for each in found.backlogs if each.task.partition("/")[0] == run.id]
    memory = sum(each.memory_bytes for each in found.usage if each.task.partition("/")[0] == run.id)
    name = run.name if alone else f"{run.name} {run.id[-5:]}"
    return [
        name, status, ago(now - run.created_at), _counted(tasks), activity, waiting_words(waits),
        f"{memory >> 20} M" if memory else "", short_task(run.id) if narrow else run.id,
    ]  # fmt: skip


def _counted(tasks: Sequence[TaskRow]) -> str:
    """How many tasks are completed, of how many; and how many ended otherwise."""
    of = Counter(task.status for task in tasks)
    ends = ((TaskStatus.FAILED, "failed"), (TaskStatus.SKIPPED, "skipped"), (TaskStatus.CANCELLED, "cancelled"))
    others = ", ".join(f"{of[status]} {word}" for status, word in ends if of[status])
    return f"{of[TaskStatus.COMPLETED]}/{len(tasks)}" + (f", {others}" if others and len(tasks) > 1 else "")


def waiting_words(backlogs: Sequence[Backlog]) -> str:
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
    return f"{step}{amount} {each.note}{quiet}".rstrip()


@click.command()
@click.argument("target", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on as they happen.")
@click.option("--after", default=0, help="Only events after this seq.")
@click.option("-n", "--last", type=click.IntRange(1), default=None, metavar="N", help="Only the last N.")
@click.option("--epoch", type=click.IntRange(1), default=None, metavar="N", help="Only of the N-th attempt of a task.")
@click.option(
    "--since",
    default=None,
    metavar="TIME",
    help="Only from this time on: 2026-01-31T12:00 (local, or with a zone), or 90s, 15m, 2h ago.",
)
@click.option("--until", default=None, metavar="TIME", help="Only from before this time.")
@click.option("--type", "types", multiple=True, help="Only events of a type (task.ended), group (task.*) or kind (task_ended).")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only of runs with this label.")
@verb
def events(
    options: Options, target: str, follow: bool, after: int, last: int | None, epoch: int | None,  # noqa: FBT001
    since: str | None, until: str | None,
    types: tuple[str, ...], labels: tuple[str, ...],
) -> None:  # fmt: skip
    """Print events of a run, or of all."""
    now = SystemClock().wall()
    with look_at(options) as crew:
        for event in crew.events(
            target, after=after, follow=follow, types=types, labels=parse_labels(labels), last=last or 0, epoch=epoch or 0,
            since=time_of(since, now), until=time_of(until, now),
        ):  # fmt: skip
            if options.json:
                out(line_of(event))
            else:
                step = event.task.partition("/")[2]
                text = words(event).strip().removeprefix(f"{step}: ")
                where = f"{event.task or event.run}" if not target else f"{step}#{event.epoch}" if event.epoch else step
                say_within(f"{event.seq:>6}  {local_time(event.at)}  {event.type:<24} {where}  {one_line(text)}".rstrip())


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option("--for", "until", type=click.Choice(["end", "waiting"]), default="end", help="What to wait for.")
@click.option("--timeout", type=SECONDS, default="1h", show_default=True, help="How long, such as 90s or 10m.")
@verb
def wait(options: Options, targets: tuple[str, ...], until: str, timeout: float) -> None:
    """Wait until runs or tasks have ended (or, with --for waiting, until one asks).

    It says when one asks something, and does not wait for one that is parked: that starts again only when somebody says so.
    """
    worst, clock = 0, SystemClock()
    deadline = clock.monotonic() + timeout
    with look_at(options) as crew:
        for target in targets:
            reply = _await(crew, target, deadline, or_waiting=until == "waiting")
            status = reply.task.status.value if reply.task else reply.run.status.value
            parked = status not in EXIT_OF_STATUS and until == "end"
            if options.json:
                out(reply)
            else:
                say(one_line(f"{target}  {'parked' if parked else status}  {reply.attention}".rstrip()))
            worst = max(worst, 1 if parked else EXIT_OF_STATUS.get(status, 0))
    sys.exit(worst)


def _await(crew: Crew, target: str, deadline: float, *, or_waiting: bool) -> rl.EndReply:
    """Wait for the end, and say meanwhile for whose attention it waits. Ends for what is parked: it may never go on."""
    clock, told = SystemClock(), ""
    while True:
        left = max(0.0, deadline - clock.monotonic())
        reply = crew.wait(target, or_waiting=True, timeout=left) if not told else _look_again(crew, target, left)
        if not reply.attention or or_waiting:
            return reply
        if reply.attention != told:
            what = reply.attention.partition("(q_")
            blocked = bool(reply.run.blocks)  # what is said of it names the way on
            said = blocked or "(crew claim" in reply.attention
            hint = f": crew respond q_{what[2].rstrip(')')} ANSWER" if what[1] else "" if said else f": crew retry {target}"
            warn(one_line(f"{target} waits for somebody: {reply.attention}{hint}"))
            told = reply.attention
        if " is parked" in reply.attention:
            return reply


def _look_again(crew: Crew, target: str, left: float) -> rl.EndReply:
    """The end, if it comes within a while; else what it waits for now."""
    try:
        return crew.wait(target, timeout=min(left, LOOK_SECONDS))
    except DeadlineExceeded:
        if left <= LOOK_SECONDS:
            raise
        return crew.wait(target, or_waiting=True, timeout=left)


@click.command()
@click.argument("target")
@click.option("--timeout", type=SECONDS, default="1h", show_default=True, help="How long to wait for the end.")
@click.option("--raw", is_flag=True, help="Text and bytes as they are, whatever they do to a terminal.")
@verb
def result(options: Options, target: str, timeout: float, raw: bool) -> None:  # noqa: FBT001 (a flag)
    """Print the result of a run or task, waiting for its end.

    What steers a terminal is left out of a text, and said so, unless it is printed with --raw.
    """
    with look_at(options) as crew:
        value = crew.result(target, timeout=timeout)
        run = crew.wait(target).run
    if options.json:
        encoding = {"encoding": "base64"} if isinstance(value, bytes) else {}
        out({"run": run.id, "status": run.status, "result": value, **encoding})
    elif raw and isinstance(value, bytes | str):
        click.echo(value if isinstance(value, bytes) else f"{value}\n".encode(), nl=False)  # as bytes, click changes nothing
    elif isinstance(value, bytes):
        raise UsageError(f"the result is no text ({counted(len(value), 'byte')})", hint=f"crew result {target} --raw")
    elif isinstance(value, str):
        say(value.removesuffix("\r"))
        if plain(value) != value:
            warn(f"control characters were left out of it or replaced: crew result {target} --raw prints it as it is")
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
    with look_at(options) as crew:
        took, failed = _probe(crew) if probe else ({}, "")
        found = crew.doctor(rebuild=rebuild, actors=actors, check=check)
    healthy = found.healthy and not failed
    wrong = faults_of_extensions()
    if options.json:
        more = {"healthy": healthy, "probe": {**took, "failed": failed} if probe else None, "extensions": wrong}
        out({**msgspec.to_builtins(found), **more})
    else:
        for key, value in found.counts.items():
            say(f"{key:>20}: {value}")
        _show_actors(found)
        for name, seconds in took.items():
            say(f"probe: {name} {seconds * 1000:.1f} ms")
        for finding in (*found.findings, *([f"the probe failed: {failed}"] if failed else [])):
            say(f"finding: {finding}")
        for text in wrong:  # of this client, not of crewd
            say(text)
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


def _show_actors(found: rl.DoctorReply) -> None:
    if found.actors:
        headers = ["CLASS", "ALIVE", "MADE", "RESTARTS", "CRASHES", "WAITING c/d", "OLDEST c/d ms", "PEAK", "REFUSED", "TURNS"]
        table(
            [*headers, "MESSAGES", "MEAN us", "LONGEST ms"],
            [
                (
                    each.name, each.alive, each.made, each.restarts, each.crashes, f"{each.depth[0]}/{each.depth[1]}",
                    f"{each.age_seconds[0] * 1e3:.0f}/{each.age_seconds[1] * 1e3:.0f}", each.peak, each.refused, each.turns,
                    each.messages, f"{each.busy_seconds / max(1, each.turns) * 1e6:.0f}",
                    f"{each.longest_turn_seconds * 1e3:.1f}",
                )
                for each in found.actors
            ],
        )  # fmt: skip
    for busy in found.busy:
        say(f"long turn: {busy.actor} {busy.seconds:.1f} s")
        say(busy.stack.rstrip())
