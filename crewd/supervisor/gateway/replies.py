"""What the gateway says of things that it knows itself."""

from __future__ import annotations

from dataclasses import asdict

from crewd.actors import ActorSystem
from crewd.protocol import requests as rq
from crewd.protocol.errors import DeadlineExceeded
from crewd.protocol.receipts import Receipt
from crewd.protocol.statuses import RUN_TERMINAL, TASK_TERMINAL
from crewd.supervisor.gateway.waits import EndWait


def measured(system: ActorSystem) -> tuple[rq.ActorsOfClass, ...]:
    """What the actors do, by class."""
    return tuple(rq.ActorsOfClass(**asdict(each)) for each in system.measure())


def too_late(receipt: Receipt) -> rq.ErrorReply:
    """The time to wait for a message has passed."""
    error = DeadlineExceeded(
        f"the time to wait has passed: the message is {receipt.level}",
        hint=f"crew receipt {receipt.id} tells how it went on",
        level=receipt.level.value,
    )
    return rq.ErrorReply(error=error.info, receipt=receipt)


def cancelled(wait: EndWait, status: str, shown: rq.ShowReply) -> rq.CancelReply:
    """What became of a cancel."""
    survivors = tuple(s for a in shown.attempts if not wait.task or a.task == wait.task for s in a.survivors)
    return rq.CancelReply(
        run=wait.run,
        task=wait.task,
        status=status,
        verified=status in {*RUN_TERMINAL, *TASK_TERMINAL} and not survivors,
        survivors=survivors,
    )
