"""Verbs that end workers: cancel, with the proof that no process is left, and signal.

Tests: tests/client/cli/test_verbs.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from crewd.client.acts import ask_about
from crewd.client.blocking import Crew, connect
from crewd.client.cli.common import (
    SECONDS,
    Options,
    out,
    say,
    say_error,
    say_hooks,
    verb,
    warn,
)
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, DaemonUnreachable, DeadlineExceeded, UsageError
from crewd.model.reasons import CancelReason
from crewd.model.signals import signal_name, signal_number
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

HELD_UP_SECONDS = 5.0
"""After this, and again after it, a cancel that waits says what it waits for."""


@click.command("signal")
@click.argument("target")
@click.argument("name", metavar="SIGNAL")
@click.option("--tree", is_flag=True, help="To all processes that the worker has started.")
@click.option("--intent", default="", help="Why, in words.")
@click.option("--force", is_flag=True, help="Also if another client owns the run; needs an --intent.")
@verb
def signal_(options: Options, target: str, name: str, tree: bool, intent: str, force: bool) -> None:  # noqa: FBT001 (flags)
    """Send a signal, as HUP or 10, to a command or worker: its process, or with --tree all that it has started."""
    number = signal_number(name)
    with connect(options.home, start=False) as crew:
        crew.signal(target, number, tree=tree, intent=intent, force=force)
    if options.json:
        out({"target": target, "signal": number, "name": signal_name(number)})
    else:
        say(f"{target}  {signal_name(number)} sent")


@click.command()
@click.argument("targets", nargs=-1)
@click.option(
    "--reason", default="caller_cancelled", type=click.Choice([each.value for each in CancelReason]), metavar="REASON",
    help=f"Recorded with it: {', '.join(CancelReason)}.",
)  # fmt: skip
@click.option("--intent", default="", help="Why, in words.")
@click.option("--force", is_flag=True, help="Also if another client owns the run; needs an --intent.")
@click.option("--now", is_flag=True, help="TERM at once, KILL 150 ms later.")
@click.option("--grace", type=SECONDS, help="How long all of it may take to stop by itself, such as 30s.")
@click.option("--no-wait", is_flag=True, help="Return when the cancel is recorded.")
@click.option("--timeout", type=SECONDS, default="60s", show_default=True, help="How long to wait for the proof.")
@click.option("--all", "everything", is_flag=True, help="Every live run that this client owns; with --force, of all.")
@verb
def cancel(
    options: Options, targets: tuple[str, ...], reason: str, intent: str, now: bool, grace: float | None, no_wait: bool,  # noqa: FBT001
    timeout: float, everything: bool, force: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """End runs or tasks (RUN or RUN/STEP), all at once, and wait for the proof that nothing is left."""
    with connect(options.home, start=False) as crew:
        if everything and targets:
            raise UsageError("--all is given, and runs are named", hint="name the runs to cancel, or give --all alone")
        if everything:  # only then: the list has to wait for the store, which a cancel does not
            targets = tuple(run.id for run in crew.runs().runs if force or run.owner in {"", crew.owner})
        elif not targets:
            raise UsageError("nothing to cancel", hint="name a run, RUN/STEP, or --all")
        if not targets and not options.json:
            warn("nothing is live")
        orders = [
            rq.Cancel(target, reason, "now" if now else "graceful", grace, intent, timeout_seconds=timeout, force=force)
            for target in dict.fromkeys(targets)
        ]
        begun, failed = _begin_cancels(crew, orders, at_once=no_wait or len(orders) > 1)
        until, unverified = SystemClock().monotonic() + timeout, 0
        for order in begun:
            if no_wait:
                _tell(options, {"target": order.target, "recorded": True}, f"{order.target}  cancel recorded")
                continue
            try:
                unverified += not _tell_proof(options, order.target, _cancel(crew, order, until)).verified
            except DaemonUnreachable:
                raise
            except CrewdError as error:
                failed.append(_about(order.target, error))
    told = len(failed) if unverified else len(failed) - 1
    for fault in failed[:told]:
        say_error(fault, as_json=options.json)
    if failed and not unverified:
        raise failed[-1]
    sys.exit(1 if unverified else 0)


def _begin_cancels(crew: Crew, orders: Sequence[rq.Cancel], *, at_once: bool) -> tuple[list[rq.Cancel], list[CrewdError]]:
    """Ask the hooks, and with `at_once` let all of these ends begin. Those that may be waited for, and why others may not."""
    begun, failed = list[rq.Cancel](), list[CrewdError]()
    for order in orders:
        about = order.target
        try:
            if order.mode != "now":
                say_hooks(ask_about(crew, "before_cancel", about, f"{about} is not cancelled", intent=order.intent).hooks)
            if at_once:
                crew.begin_cancel(
                    about, reason=order.reason, mode=order.mode, grace=order.grace_seconds, intent=order.intent,
                    force=order.force,
                )  # fmt: skip
            begun.append(order)
        except DaemonUnreachable:
            raise
        except CrewdError as error:
            failed.append(_about(about, error))
    return begun, failed


def _about(target: str, error: CrewdError) -> CrewdError:
    """The error, which names its target among several."""
    if target in error.message:
        return error
    return type(error)(f"{target}: {error.message}", hint=error.hint, **error.values)


def _tell_proof(options: Options, target: str, reply: rl.CancelReply) -> rl.CancelReply:
    """How a cancel has ended. The same."""
    proof = "verified: no process is left" if reply.verified else f"{len(reply.survivors)} SURVIVE"
    instead = ", not cancelled" if reply.status in {"completed", "failed"} else ""
    _tell(options, reply, f"{target}  {reply.status}{instead}  {proof}")
    if not options.json:
        for each in reply.survivors:
            say(f"  pid {each.pid} {each.state} {each.command}")
        for each in reply.unowned:
            say(f"  pid {each.pid} came from some worker, nobody can say from which: {each.command}")
    return reply


def _tell(options: Options, document: object, words: str) -> None:
    if options.json:
        out(document)
    else:
        say(words)


def _cancel(crew: Crew, order: rq.Cancel, until: float) -> rl.CancelReply:
    """Cancel, and say meanwhile what the cancel waits for. Raises DeadlineExceeded if the run has not ended at `until`."""
    clock = SystemClock()
    while True:
        left = max(0.1, until - clock.monotonic())
        try:
            return crew.cancel(
                order.target, reason=order.reason, mode=order.mode, grace=order.grace_seconds, intent=order.intent,
                timeout=min(left, HELD_UP_SECONDS), force=order.force,
            )  # fmt: skip
        except DeadlineExceeded as error:
            if left <= HELD_UP_SECONDS:
                raise
            if error.values.get("held_up"):
                warn(f"waiting: {error.values['held_up']}")
