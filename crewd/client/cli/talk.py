"""Verbs that talk to workers: steer, follow-up, respond, inbox, messages, unsend, receipt.

Tests: tests/client/test_cli.py, tests/test_messages.py.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from crewd.client import shapes
from crewd.client.blocking import Crew, connect, own_outbox
from crewd.client.calls import REPLY_SECONDS, WaitLevel
from crewd.client.cli.answer import answer_all
from crewd.client.cli.common import (
    SECONDS,
    Options,
    ago,
    look_at,
    one_of_flags,
    out,
    say,
    say_within,
    short_task,
    show_receipt,
    table,
    tell_receipt,
    verb,
    warn,
)
from crewd.client.cli.input import text_from_here
from crewd.client.cli.screen import one_line
from crewd.client.texts import not_utf8
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, DaemonUnreachable, NotFound, Refused, UsageError
from crewd.model.ids import ASK, is_id
from crewd.model.message_kinds import MESSAGE_KINDS, MessageKind
from crewd.model.receipts import Level, Outcome
from crewd.model.redact import redact
from crewd.model.terms import INTERRUPT_TEXT, Terms
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

_LEVELS = click.Choice(["accepted", "delivered", "applied", "settled"])


def _message_options(function: Any) -> Any:
    for option in (
        click.option("--reply-to", default="", help="The message that this one answers."),
        click.option(
            "--reply-within", "reply_seconds", type=SECONDS, default=0.0, help="How long to wait for an answer to it."
        ),
        click.option("--priority", type=click.Choice(["urgent", "normal", "low"]), default=None, help="Shown with it."),
        click.option("--turn", type=click.IntRange(1), default=None, help="Refuse it in every other turn of the worker."),
        click.option("--attempt", "epoch", type=click.IntRange(1), default=None, help="Refuse it in every other attempt."),
        click.option("--if-running", is_flag=True, help="Refuse it unless the worker is at work."),
        click.option(
            "--on-idle",
            type=click.Choice(["queue", "start", "refuse"]),
            default=None,
            help="If no worker is at work: wait for the next attempt, start the worker again, or refuse.",
        ),
        click.option("--id", "key", default="", help="The message's id, to send it again safely."),
        click.option("--intent", default="", help="Why, in words."),
        click.option(
            "--force", is_flag=True, help="With --on-idle start: also if another client owns the run; needs an --intent."
        ),
        click.option("--deadline", type=SECONDS, help="After this an undelivered message expires, such as 10m."),
        click.option("--timeout", type=SECONDS, default="30s", show_default=True, help="How long to wait for the level."),
    ):
        function = option(function)
    return function


def _text(text: str) -> str:
    found = text_from_here().rstrip("\n") if text == "-" else text
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise not_utf8("the text", error) from None
    masked = redact(found)
    if masked != found:
        warn("crew: what looks like a secret was masked in the text; crewd keeps no secrets")
    return masked


def _send(
    options: Options, kind: MessageKind, target: str, text: str, wait: WaitLevel, *,
    key: str, timeout: float, deadline: float | None = None, ask: str = "", intent: str = "", force: bool = False, **given: Any,
) -> None:  # fmt: skip
    terms = Terms(**{name: value for name, value in given.items() if value})
    request = rq.Send(
        id=key, kind=kind, target=target, text=_text(text), ask=ask, wait=Level(wait), timeout_seconds=timeout,
        deadline_seconds=deadline, terms=terms, intent=intent, force=force,
    )  # fmt: skip
    if key:
        with connect(options.home, start=False) as crew:
            receipt = shapes.expect(crew.request(request, timeout + REPLY_SECONDS), rl.ReceiptReply).receipt
            tell_receipt(options, receipt)
        return
    try:
        with own_outbox(options.home).keep(request) as kept, connect(options.home, start=False) as crew:
            reply = crew.request(msgspec.structs.replace(request, id=kept), timeout + REPLY_SECONDS)
            code = show_receipt(options, shapes.expect(reply, rl.ReceiptReply).receipt)
            sys.stdout.flush()  # it is forgotten when it was shown, and not before
        sys.exit(code)
    except DaemonUnreachable as error:
        raise DaemonUnreachable(error.message, hint="the message is kept: crew outbox --send, when crewd is there") from None


@click.command()
@click.argument("target")
@click.argument("text", default="")
@click.option("--wait", type=_LEVELS, default="delivered", show_default=True, help="Return when this is reached.")
@click.option("--eof", is_flag=True, help="End the input of a command (--stdin lines) after this text, if there is any.")
@click.option("--now", is_flag=True, help="Break off what the worker does, if that can be.")
@_message_options
@verb
def steer(options: Options, target: str, text: str, wait: WaitLevel, **given: Any) -> None:
    """Tell a working worker something ('-': from stdin)."""
    if not text and not given["eof"]:
        raise UsageError("there is no text", hint="crew steer RUN 'what to do', or --eof to end a command's input")
    _send(options, "steer", target, text, wait, **given)


@click.command()
@click.argument("target")
@click.argument("text", default=INTERRUPT_TEXT)
@click.option("--wait", type=_LEVELS, default="delivered", show_default=True, help="Return when this is reached.")
@_message_options
@verb
def interrupt(options: Options, target: str, text: str, wait: WaitLevel, **given: Any) -> None:
    """Break off what a worker does now, without ending it, and tell it something instead (as steer --now)."""
    _send(options, "steer", target, text, wait, now=True, **given)


@click.command("follow-up")
@click.argument("target")
@click.argument("text")
@click.option("--wait", type=_LEVELS, default="accepted", show_default=True, help="Return when this is reached.")
@_message_options
@verb
def follow_up(options: Options, target: str, text: str, wait: WaitLevel, **given: Any) -> None:
    """Queue something for when the worker would stop."""
    _send(options, "follow_up", target, text, wait, **given)


@click.command()
@click.argument("target")
@click.argument("text")
@click.option("--id", "key", default="", help="The message's id, to send it again safely.")
@click.option("--priority", type=click.Choice(["urgent", "normal", "low"]), default=None, help="Shown with it.")
@click.option("--reply-to", default="", help="The message that this one answers.")
@verb
def message(options: Options, target: str, text: str, key: str, **given: Any) -> None:
    """Put something into the mailbox of a worker or run, to be read."""
    _send(options, "message", target, text, "settled", key=key, timeout=30.0, **given)


@click.command()
@click.argument("messages", nargs=-1, required=True)
@verb
def ack(options: Options, messages: tuple[str, ...]) -> None:
    """Say that messages of a mailbox were read."""
    with connect(options.home, start=False) as crew:
        for each in messages:
            crew.acknowledge(each)


@click.command()
@click.argument("question", required=False)
@click.argument("text", required=False)
@one_of_flags("short", {"--allow": ("yes", "Answer yes."), "--deny": ("no", "Answer no.")})
@click.option("--wait", type=_LEVELS, default="applied", show_default=True, help="Return when this is reached.")
@click.option("--timeout", type=SECONDS, default="30s", show_default=True, help="How long to wait for the level.")
@click.option("--id", "key", default="", help="The message's id, to send it again safely.")
@click.option("--intent", default="", help="Why, in words.")
@click.option("--force", is_flag=True, help="Also if another client owns the run; needs an --intent.")
@verb
def respond(
    options: Options, question: str | None, text: str | None, short: str | None, wait: WaitLevel, timeout: float, key: str,
    intent: str, force: bool,  # noqa: FBT001 (a flag)
) -> None:  # fmt: skip
    """Answer a QUESTION of `crew inbox`, or the only open one: of all, or of the run or RUN/STEP that is named instead."""
    alone = text is None and short is None and question is not None and not is_id(question, ASK)
    if alone:
        question, text = None, question
    if text is not None and short is not None:
        raise UsageError("there is an answer, and --allow or --deny", hint="leave one of them out")
    answer = text if text is not None else short
    if answer is None:
        raise UsageError("no answer was given", hint="crew respond QUESTION TEXT, or --allow, or --deny")
    with connect(options.home, start=False) as crew:
        if alone:
            _check_no_run(crew, answer)
        question = question if question is not None and is_id(question, ASK) else _only_question(crew, question)
        receipt = crew.respond(question, answer, wait=wait, timeout=timeout, id=key, intent=intent, force=force)
    tell_receipt(options, receipt)


def _check_no_run(crew: Crew, answer: str) -> None:
    """UsageError for an answer that names a run with an open question: its answer was forgotten, and none is taken back."""
    run, _, step = answer.partition("/")
    asks = crew.inbox()
    names = {each: (each, short_task(each), crew.show(each).run.name) for each in {ask.run for ask in asks}}
    for ask in asks:
        if run in names[ask.run] and step in {"", ask.task.partition("/")[2]}:
            hint = f"crew respond {answer} TEXT; if the answer is {answer!r}: crew respond {ask.id} {answer}"
            raise UsageError(f"no answer was given to the question of {answer}", hint=hint)


def _only_question(crew: Crew, of: str | None) -> str:
    """The open question that is meant without its id. NotFound if there is none, UsageError if there are several."""
    asks = crew.inbox()
    if of is not None:
        run, _, step = of.partition("/")
        found = crew.get(run).id
        asks = tuple(ask for ask in asks if ask.run == found and step in {"", ask.task.partition("/")[2]})
    ids = [ask.id for ask in asks]
    if not ids:
        raise NotFound("no question is open" + (f" in {of}" if of else ""), hint="crew inbox lists open questions")
    if len(ids) > 1:
        listed = "; ".join(f"{ask.id}: {ask.question[:40]}" for ask in asks[:4])
        raise UsageError(f"{len(ids)} questions are open", hint=f"name one: {listed}")
    return ids[0]


@click.command()
@click.option(
    "-a", "--answer", is_flag=True, help="Go through the open questions and answer them, with one key where it can be."
)
@verb
def inbox(options: Options, answer: bool) -> None:  # noqa: FBT001 (a flag)
    """List open questions, what workers said, and notices, over all runs, oldest first."""
    if answer:
        answer_all(options)
        return
    with look_at(options) as crew:
        asks, notices, unread = crew.inbox(), crew.notices(), crew.unread()
    if options.json:
        out({"asks": asks, "notices": notices, "messages": unread})
        return
    now = SystemClock().wall()
    for ask in asks:
        say_within(f"{short_task(ask.task)}  {ask.id}  {ask.kind}  {ago(now - ask.opened_at)}")
        say_within(f"  {one_line(ask.question)}" + (f" ({', '.join(ask.choices)})" if ask.choices else ""))
    if not asks and not unread and not notices:
        warn("nothing waits for an answer")
    if unread:
        if asks:
            say("")
        shown = ([m.receipt.id, "overdue" if m.overdue(now) else m.terms.priority, _in_line(m.text, 90)] for m in unread)
        table(["MESSAGE", "PRIORITY", "TEXT"], shown, whole={"MESSAGE"})
    if notices:
        if asks or unread:
            say("")
        for each in notices:
            say_within(f"{each.kind}  {short_task(each.task or each.run)}  {ago(now - each.opened_at)}")
            say_within(f"  {one_line(each.text)}")  # whole: it says what to type


def _in_line(text: str, most: int) -> str:
    return text.replace("\n", "; ")[:most]


@click.command()
@click.argument("target")
@click.option("--kind", type=click.Choice([*MESSAGE_KINDS, "group_join"]), default=None)
@click.option("--direction", type=click.Choice(["in", "out"]), default=None, help="To workers, or from them.")
@click.option("--state", type=click.Choice(["open", "settled", "unread"]), default=None)
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True, help="The latest ones.")
@verb
def messages(options: Options, target: str, **given: Any) -> None:
    """List the messages of a run or task with their receipts."""
    with look_at(options) as crew:
        found = crew.messages(target, **{name: value for name, value in given.items() if value})
    if options.json:
        out(found)
        return
    rows, now = [], SystemClock().wall()
    for message in found:
        r = message.receipt
        became = r.reason or ("" if r.settled else r.effect)
        late = "no reply in time" if message.reply_overdue(now) else "overdue" if message.overdue(now) else ""
        told = ", ".join(filter(None, (became, late)))
        rows.append([r.id, r.kind, r.task.partition("/")[2], r.outcome or r.level, _in_line(message.text, 40), told])
    table(["MESSAGE", "KIND", "STEP", "STATE", "TEXT", "REASON"], rows, whole={"MESSAGE"}, empty="there are no such messages")


@click.command()
@click.option("--send", "sending", is_flag=True, help="Send them, with the ids that they had.")
@click.option("--forget", "forgotten", multiple=True, metavar="MESSAGE", help="Take this one out instead.")
@verb
def outbox(options: Options, sending: bool, forgotten: tuple[str, ...]) -> None:  # noqa: FBT001 (a flag)
    """List messages of yours that nobody has answered: crewd was away, or crew was killed."""
    box = own_outbox(options.home)
    for key in forgotten:
        if not box.forget(key):
            raise NotFound(f"the outbox has no message {key}", hint="crew outbox lists them")
    if sending:
        with connect(options.home, start=options.start) as crew:
            worst = 0
            for entry, answer in crew.send_left():
                if isinstance(answer, CrewdError):
                    say(f"{entry.id}  {entry.send.kind} for {entry.send.target}: {answer}")
                    worst = max(worst, answer.exit_code)
                else:
                    worst = max(worst, show_receipt(options, answer))
        sys.exit(worst)
    left = box.left()
    if options.json:
        out(left)
        return
    now = SystemClock().wall()
    rows = (
        [entry.id, entry.send.kind, entry.send.target, ago(now - entry.at), _in_line(entry.send.text, 60)] for entry in left
    )
    table(["MESSAGE", "KIND", "TARGET", "AGE", "TEXT"], rows, empty="nothing waits to be sent")


@click.command()
@click.argument("message")
@verb
def unsend(options: Options, message: str) -> None:
    """Take a message back if the worker's code has not taken it."""
    with connect(options.home, start=False) as crew:
        before = crew.receipt(message)
        receipt = crew.withdraw(message)
    code = show_receipt(options, receipt)
    if receipt.outcome is not Outcome.WITHDRAWN or before.settled:
        warn("nothing was taken back: the message had settled already")
        sys.exit(code or Refused.exit_code)


@click.command()
@click.argument("message")
@verb
def receipt(options: Options, message: str) -> None:
    """Show how far a message came."""
    with look_at(options) as crew:
        found = crew.receipt(message)
    if options.json:
        out(found)
    else:
        for level, at in (
            ("accepted", found.accepted_at), ("delivered", found.delivered_at), ("applied", found.applied_at),
            ("settled", found.settled_at),
        ):  # fmt: skip
            if at:
                say(f"{level:>10}  +{(at - found.accepted_at) * 1000:.1f} ms")
        say(f"{found.id}  {found.kind}  {found.level} {found.outcome or ''} {found.reason} {found.note}".rstrip())
