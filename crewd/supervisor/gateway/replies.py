"""What the gateway says of things that it knows itself.

Tests: tests/hostile/test_impostors.py.
"""

from __future__ import annotations

from crewd.model.errors import DeadlineExceeded, PeerError
from crewd.model.receipts import Receipt
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.supervisor.gateway.waits import EndWait
from crewd.supervisor.gateway.wire import Side


def chosen_identity(side: Side, frames: list[bytes]) -> list[bytes]:
    """The answer to a peer that has chosen its identity: it could choose that of one that has gone, and be taken for it."""
    key = codec.id_of(frames[1:])
    error = PeerError("a peer of this socket chooses no identity", hint="leave ZMQ_ROUTING_ID as it is").info
    if side is Side.CLIENTS:
        return [frames[0], *codec.replies.encode(key, rl.ErrorReply(error=error))]
    return [frames[0], *codec.to_worker.encode(key, rp.WorkerError(error=error))]


def too_late(receipt: Receipt) -> rl.ErrorReply:
    """The time to wait for a message has passed."""
    error = DeadlineExceeded(
        f"the time to wait has passed: the message is {receipt.level}",
        hint=f"crew receipt {receipt.id} tells how it went on",
        level=receipt.level.value,
    )
    return rl.ErrorReply(error=error.info, receipt=receipt)


def not_ended(wait: EndWait, held_up: list[str]) -> rl.ErrorReply:
    """The time to wait for an end has passed. `held_up` are words on what stands in the way."""
    what = "the cancel is not verified yet" if wait.cancel else "it has not ended yet"
    hint = f"waiting: {'; '.join(held_up)}" if held_up else "it goes on; ask again, or see 'crew doctor'"
    error = DeadlineExceeded(f"the time to wait has passed: {what}", hint=hint, held_up="; ".join(held_up))
    return rl.ErrorReply(error=error.info)
