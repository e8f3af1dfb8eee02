"""What an agent can do: what its protocol says of it, and what the agent itself has said when it was greeted."""

from __future__ import annotations

from typing import Literal

import msgspec


class Capabilities(msgspec.Struct, frozen=True):
    """One record.

    `steer`: how a steer reaches it: by a call of its own (`native`), by one of an adapter (`extension`), or because crewd
    interrupts it and sends the message as a prompt (`interrupt`). `steer_point`: when it takes effect: when the tools that
    run have ended (`tool`), at the end of the turn (`turn`), or at once (`now`). `now`: how `crew steer --now` is done.
    `follow_up` is crewd's own queue everywhere. `receipts`: the last step of a message that the agent tells of. `ask`: what it
    asks people. `resume`: whether its session can go on in a new process. `fork`: whether
    a copy of it can. `usage`: whether it tells of each answer or of all so
    far. `errors`: whether an error of the model is told as one. `end_record`: what ends its work.
    """

    runtime: str
    steer: Literal["native", "extension", "interrupt"]
    steer_point: Literal["tool", "turn", "now"]
    now: Literal["native", "interrupt"]
    receipts: Literal["answered", "taken", "none"]
    ask: tuple[Literal["permission", "question"], ...]
    resume: bool
    fork: bool
    usage: Literal["each", "total", "none"]
    errors: Literal["told", "hidden"]
    end_record: str
    follow_up: Literal["crewd"] = "crewd"
