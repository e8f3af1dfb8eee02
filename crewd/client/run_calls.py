"""The calls of a run's handle: those of the client, for this run or one of its steps. No socket, no waiting.

Tests: tests/client/test_api.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

from typing import Protocol

from crewd.client import calls
from crewd.client.calls import Call, Caller, Direction, Kind, Mode, State, Stream, WaitLevel
from crewd.model.receipts import Receipt
from crewd.model.rows import MessageRow
from crewd.model.terms import USUAL, Terms
from crewd.protocol import replies as rl


class Handle(Protocol):
    """What a call needs of a run's handle."""

    id: str

    @property
    def caller(self) -> Caller:
        """The client."""
        ...


def _target(run: Handle, step: str) -> str:
    return f"{run.id}/{step}" if step else run.id


def steer(
    run: Handle, text: str, *, step: str = "", wait: WaitLevel = "delivered", timeout: float = 30.0, id: str = "",
    deadline: float | None = None, terms: Terms = USUAL, intent: str = "", force: bool = False,
) -> Call[Receipt]:  # fmt: skip
    """Change what the worker does, at its next safe point; with `Terms(now=True)` what it does now is broken off.

    `step` names the worker when the run has several. See `Crew.send`.
    """
    return (yield from calls.send(
        run.caller, "steer", _target(run, step), text, wait=wait, timeout=timeout, id=id, deadline=deadline, terms=terms,
        intent=intent, force=force,
    ))  # fmt: skip


def follow_up(
    run: Handle, text: str, *, step: str = "", wait: WaitLevel = "accepted", timeout: float = 30.0, id: str = "",
    deadline: float | None = None, terms: Terms = USUAL, intent: str = "", force: bool = False,
) -> Call[Receipt]:  # fmt: skip
    """Queue work for when the worker would stop; with `Terms(on_idle="start")` one that has ended is started again."""
    return (yield from calls.send(
        run.caller, "follow_up", _target(run, step), text, wait=wait, timeout=timeout, id=id, deadline=deadline, terms=terms,
        intent=intent, force=force,
    ))  # fmt: skip


def message(run: Handle, text: str, *, step: str = "", id: str = "", terms: Terms = USUAL) -> Call[Receipt]:
    """Put something into the mailbox of a worker, or of the run: to be read, when somebody reads it."""
    return (yield from calls.send(run.caller, "message", _target(run, step), text, id=id, terms=terms))


def cancel(
    run: Handle, *, step: str = "", reason: str = "caller_cancelled", mode: Mode = "graceful", grace: float | None = None,
    intent: str = "", timeout: float = 60.0, force: bool = False,
) -> Call[rl.CancelReply]:  # fmt: skip
    """End the run, or one step of it. See `Crew.cancel`."""
    return (yield from calls.cancel(
        run.caller, _target(run, step), reason=reason, mode=mode, grace=grace, intent=intent, timeout=timeout, force=force
    ))  # fmt: skip


def begin_cancel(
    run: Handle, *, step: str = "", reason: str = "caller_cancelled", mode: Mode = "graceful", grace: float | None = None,
    intent: str = "", force: bool = False,
) -> Call[None]:  # fmt: skip
    """As `cancel`, and returns when the cancel is recorded."""
    return (yield from calls.begin_cancel(
        run.caller, _target(run, step), reason=reason, mode=mode, grace=grace, intent=intent, force=force
    ))  # fmt: skip


def signal(run: Handle, number: int, *, step: str = "", tree: bool = False, intent: str = "") -> Call[None]:
    """Send a signal to the worker. See `Crew.signal`."""
    return (yield from calls.signal(run.caller, _target(run, step), number, tree=tree, intent=intent))


def wait(run: Handle, *, step: str = "", or_waiting: bool = False, timeout: float = 3600.0) -> Call[rl.EndReply]:
    """Wait for the end, of the run or of one step. See `Crew.wait`."""
    return (yield from calls.wait(run.caller, _target(run, step), or_waiting=or_waiting, timeout=timeout))


def result(run: Handle, *, step: str = "", timeout: float = 3600.0) -> Call[object]:
    """Wait for the end, of the run or of one step, and return its result. See `Crew.result`."""
    return (yield from calls.result(run.caller, _target(run, step), timeout=timeout))


def show(run: Handle) -> Call[rl.ShowReply]:
    """Everything of the run."""
    return (yield from calls.show(run.caller, run.id))


def log(
    run: Handle, *, step: str = "", stream: Stream = "stdout", offset: int = 0, epoch: int = 0, since: float = 0.0
) -> Call[rl.LogReply]:
    """Bytes of a worker's output. See `Crew.log`."""
    return (yield from calls.log(run.caller, _target(run, step), stream=stream, offset=offset, epoch=epoch, since=since))


def messages(
    run: Handle, *, kind: Kind = "", direction: Direction = "", state: State = "", limit: int = 1_000
) -> Call[tuple[MessageRow, ...]]:
    """Its messages. See `Crew.messages`."""
    return (yield from calls.messages(run.caller, run.id, kind=kind, direction=direction, state=state, limit=limit))
