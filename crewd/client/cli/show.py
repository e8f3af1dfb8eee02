"""The verb `show`: how a run stands, its tasks, what waits; the rest is counted, or listed with `--all`.

Tests: tests/client/test_cli.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click
import msgspec
from msgspec.structs import asdict

from crewd.client.cli.common import Options, ago, look_at, out, say, say_stale, say_within, table, verb
from crewd.client.cli.look import waiting_words
from crewd.client.cli.screen import one_line, shorten, width_of
from crewd.client.summary import status_words
from crewd.clock import SystemClock
from crewd.model.budget import Used, words_of
from crewd.model.claimable import to_claim
from crewd.model.green import Green, reached, required
from crewd.model.quantities import counted
from crewd.model.reasons import FailureReason
from crewd.model.rows import AttemptRow, RunRow, TaskRow, Usage
from crewd.model.signals import signal_name
from crewd.model.statuses import RUN_TERMINAL, RunStatus, TaskStatus
from crewd.protocol import replies as rl

TEXT_COLUMNS = 100
"""Of a result, an error or a message, in a line for people."""


@click.command()
@click.argument("target")
@click.option("-a", "--all", "everything", is_flag=True, help="Each operation, message, question and artifact.")
@verb
def show(options: Options, target: str, everything: bool) -> None:  # noqa: FBT001 (a flag)
    """Show a run: how it stands, its tasks, what waits for somebody. --all lists what is else only counted."""
    with look_at(options) as crew:
        found = crew.show(target)
    say_stale(stale=found.stale)
    if options.json:
        out({**asdict(found), "green": _green(found)})
        return
    _outcome(found)
    _tasks(found)
    _waiting(found)
    (_list if everything else _count)(found)
    for attempt in found.attempts:
        for survivor in attempt.survivors:
            say(f"  SURVIVOR pid {survivor.pid} {survivor.state} {ago(survivor.age_seconds)} {survivor.command}")


def _outcome(found: rl.ShowReply) -> None:
    run, now = found.run, SystemClock().wall()
    took = ago((run.ended_at or now) - run.created_at)
    when = f"after {took}" if run.status in RUN_TERMINAL else f"for {took}"
    say_within(f"{run.name}  {status_words(run, found.tasks)} {when}  {run.id}")
    completed = _completed(found)
    if len(found.tasks) == 1 and completed:
        text = _result(completed[0], left_out=completed[0].id in found.left_out)
        if text:
            say_within(f"  result: {text}")
    for block in run.blocks:
        say_within(f"  blocked: {one_line(block.text)}")
    for task in found.tasks:
        if task.status is TaskStatus.FAILED:
            say_within(f"  {task.step} failed: {task.reason}")
            for line in task.error.splitlines()[:6]:
                say_within(f"    {line}")
    below = sum(run.below.values(), start=Used())
    used = sum((Used(each.turns, each.tokens, each.cost) for each in found.attempts), start=below)
    budget = words_of(run.workflow.budget)
    if used != Used() or budget:
        least = "at least " if sum(task.epoch for task in found.tasks) > len(found.attempts) else ""  # the latest are shown
        of_below = f", of it {words_of(below)} by runs below it" if below != Used() else ""
        bound = f"; the budget is {budget}" if budget else ""
        say_within(f"  used: {least}{words_of(used) or 'nothing'}{of_below}{bound}")
    wanted = required(run.workflow)
    if wanted not in {"", "none"}:
        green = _green(found)
        but = "the run has failed" if run.status is RunStatus.FAILED else ""
        say_within(f"  green: {green}" + (f"; {wanted} is required" if green != wanted else f"; {but}" if but else ""))
    for label, text in (("goal", run.goal), ("cwd", run.cwd), ("reason", _reason(run))):
        if text:
            say_within(f"  {label}: {shorten(one_line(text), TEXT_COLUMNS)}")
    if run.secrets:
        say_within(f"  secrets: {', '.join(run.secrets)} (their values are not kept)")
    if run.passed:
        say_within(f"  from its caller: {', '.join(run.passed)} (their values are not kept)")


def _completed(found: rl.ShowReply) -> list[TaskRow]:
    return [task for task in found.tasks if task.status is TaskStatus.COMPLETED]


def _green(found: rl.ShowReply) -> Green:
    """The level of verification that the run has reached."""
    return reached(found.run.workflow.steps, {task.step for task in _completed(found)})


def _reason(run: RunRow) -> str:
    """Why it ended, and of a cancel its intent."""
    words = run.cancel.intent if run.cancel is not None and run.reason else ""
    return f"{run.reason}: {words}" if words else run.reason


def _result(task: TaskRow, *, left_out: bool) -> str:
    if task.result is None:
        return "crew result prints it" if task.result_path or left_out else ""
    text = one_line(task.result if isinstance(task.result, str) else msgspec.json.encode(task.result).decode())
    return shorten(text, TEXT_COLUMNS) + (" (crew result prints all)" if width_of(text) > TEXT_COLUMNS else "")


def _tasks(found: rl.ShowReply) -> None:
    uses = {each.task: each for each in found.usage}
    waits = {each.id: f"waits for a claim: crew claim {found.run.name}/{each.step}" for each in to_claim(found.tasks)}
    table(
        ["STEP", "STATUS", "TRY", "PID", "EXIT", "WHY", "USES"],
        (
            [
                t.step, t.status if a is None or a.epoch == t.epoch else a.status, a.epoch if a else "",
                a.pid if a and a.pid else "", _exit(a), waits.get(t.id) or _why(t, a), _uses(a, uses.get(t.id)) if a else "",
            ]
            for t in found.tasks
            for a in _attempts(found, t)
        ),
        indent="  ",
    )  # fmt: skip
    for ran in found.run.hooks:
        if ran.verdict != "allow":
            say_within(f"  {ran.words}")
    for attempt in found.attempts:
        for ran in attempt.hooks:
            if ran.verdict != "allow":
                say_within(f"  {attempt.task.partition('/')[2]}#{attempt.epoch}: {ran.words}")
        for warning in attempt.warnings:
            say_within(f"  {attempt.task.partition('/')[2]}: {warning}")


def _waiting(found: rl.ShowReply) -> None:
    """What waits for somebody, or for a worker."""
    for each in found.backlogs:
        if waits := waiting_words([each]):
            say_within(f"  waiting at {each.task.partition('/')[2] or 'the run'}: {waits}")
    for ask in found.asks:
        if not ask.outcome:
            choices = f" ({one_line('/'.join(ask.choices))})" if ask.choices else ""
            say_within(f"  {ask.task.partition('/')[2]} asks: {one_line(ask.question)}{choices}")
            say_within(f"    crew respond {ask.id} ANSWER")
    for notice in found.notices:
        if notice.closed_at is None:
            say_within(f"  notice {notice.kind}: {shorten(one_line(notice.text), TEXT_COLUMNS)}")


def _count(found: rl.ShowReply) -> None:
    kinds = Counter((each.receipt.kind, each.receipt.outcome or each.receipt.level) for each in found.messages)
    operations = Counter(op.outcome or "open" for op in found.operations)
    answered = sum(bool(ask.outcome) for ask in found.asks)
    parts = [f"{counted(count, kind.replace('_', '-'))} {level}" for (kind, level), count in kinds.items()]
    parts += [f"{counted(sum(operations.values()), 'operation')} ({_sums(operations)})"] if operations else []
    parts += [f"{counted(answered, 'question')} answered or over"] if answered else []
    parts += [f"{counted(len(found.artifacts), 'artifact')} (crew artifacts)"] if found.artifacts else []
    if parts:
        say_within(f"  {', '.join(parts)}; --all lists them")
    say_within(f"  {found.events} events (crew history {found.run.name}), {found.bytes / 1024:.0f} KiB written")


def _sums(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _list(found: rl.ShowReply) -> None:
    for step in found.run.workflow.steps:
        agent = step.worker.agent
        values = {"agent": agent.name if agent else "", "model": agent.model if agent else "", "access": step.access}
        said = [f"{name} {values.get(name) or '-'} (by {came_from})" for name, came_from in step.origins.items()]
        if said:
            say_within(f"  {step.id}: {', '.join(map(one_line, said))}")
    for message in found.messages:
        receipt, text = message.receipt, shorten(one_line(message.text), TEXT_COLUMNS)
        if message.direction == "out":
            say_within(f"  said {receipt.id}{'' if message.unread else ' (read)'}: {text}")
        else:
            say_within(
                " ".join(f"  {receipt.kind} {receipt.id} {receipt.level} {receipt.outcome or ''} {receipt.reason}".split())
                + f": {text}"
            )
    for ask in found.asks:
        say_within(f"  question {ask.id} {ask.outcome or 'open'}: {shorten(one_line(ask.question), TEXT_COLUMNS)}")
    for op in found.operations:
        say_within(f"  operation {op.kind} {op.name}: {op.outcome or 'open'}{' (written by crewd)' if op.synthetic else ''}")
    for artifact in found.artifacts:
        say_within(f"  artifact {artifact.name} {artifact.size} B {artifact.path}")
    say_within(f"  {found.events} events, {found.bytes / 1024:.0f} KiB written (crew history {found.run.name})")


def _attempts(found: rl.ShowReply, task: TaskRow) -> Iterable[AttemptRow | None]:
    return [*(each for each in found.attempts if each.task == task.id)] or [None]


def _exit(attempt: AttemptRow | None) -> str:
    if attempt is None:
        return ""
    status = attempt.exit
    how = signal_name(status.signal) if status.signal is not None else "" if status.code is None else str(status.code)
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
    waits = "waits for a slot" if attempt is not None and attempt.status == "reserved" else silent
    reason = (
        "" if of.error and of.reason in {FailureReason.EXIT_CODE, FailureReason.KILLED, FailureReason.RAISED} else of.reason
    )
    return " ".join(f"{reason} {of.error} {waits}".split())
