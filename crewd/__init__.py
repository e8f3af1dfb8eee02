"""crewd runs crews of worker processes and gives each one a control channel that can be trusted.

This module is what a client needs and no more: importing it loads neither the supervisor nor the store. With `crewd.aio` (the
async client), `crewd.worker` (what a worker's code uses) and `crewd.testing` it is the whole public API.

    import crewd

    with crewd.connect() as crew:
        run = crew.call("mypackage.jobs:index", {"root": "."})
        run.steer("skip docs/")
        print(run.result(timeout=900))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewd import aio as aio
    from crewd.client.blocking import Crew as Crew
    from crewd.client.blocking import RunHandle as RunHandle
    from crewd.client.blocking import connect as connect
    from crewd.client.environment import Brought as Brought
    from crewd.client.environment import bring as bring
    from crewd.client.shapes import load_workflow as load_workflow
    from crewd.model.budget import Budget as Budget
    from crewd.model.errors import Busy as Busy
    from crewd.model.errors import Conflict as Conflict
    from crewd.model.errors import CrewdError as CrewdError
    from crewd.model.errors import DaemonUnreachable as DaemonUnreachable
    from crewd.model.errors import DeadlineExceeded as DeadlineExceeded
    from crewd.model.errors import Forbidden as Forbidden
    from crewd.model.errors import NotFound as NotFound
    from crewd.model.errors import PeerError as PeerError
    from crewd.model.errors import Refused as Refused
    from crewd.model.errors import RunCancelled as RunCancelled
    from crewd.model.errors import RunFailed as RunFailed
    from crewd.model.errors import Unavailable as Unavailable
    from crewd.model.errors import UsageError as UsageError
    from crewd.model.events import Event as Event
    from crewd.model.inputs import Input as Input
    from crewd.model.packet import Packet as Packet
    from crewd.model.policy import Limits as Limits
    from crewd.model.policy import Restarts as Restarts
    from crewd.model.policy import Retry as Retry
    from crewd.model.receipts import Level as Level
    from crewd.model.receipts import Outcome as Outcome
    from crewd.model.receipts import Receipt as Receipt
    from crewd.model.rights import Role as Role
    from crewd.model.rows import AskRow as AskRow
    from crewd.model.rows import AttemptRow as AttemptRow
    from crewd.model.rows import Progress as Progress
    from crewd.model.rows import RunRow as RunRow
    from crewd.model.rows import TaskRow as TaskRow
    from crewd.model.terms import Terms as Terms
    from crewd.model.workflow import Step as Step
    from crewd.model.workflow import WorkerSpec as WorkerSpec
    from crewd.model.workflow import Workflow as Workflow
    from crewd.protocol.replies import CancelReply as CancelReply
    from crewd.protocol.replies import EndReply as EndReply
    from crewd.protocol.replies import RunsReply as RunsReply
    from crewd.protocol.replies import ShowReply as ShowReply
    from crewd.protocol.requests import Send as Send

__version__ = "0.1.0"

_PLACES = {
    "crewd.client.blocking": ("Crew", "RunHandle", "connect"),
    "crewd.client.environment": ("Brought", "bring"),
    "crewd.client.shapes": ("load_workflow",),
    "crewd.model.errors": (
        "Busy", "Conflict", "CrewdError", "DaemonUnreachable", "DeadlineExceeded", "Forbidden", "NotFound", "PeerError",
        "Refused", "RunCancelled", "RunFailed", "Unavailable", "UsageError",
    ),
    "crewd.model.events": ("Event",),
    "crewd.model.inputs": ("Input",),
    "crewd.model.budget": ("Budget",),
    "crewd.model.packet": ("Packet",),
    "crewd.model.policy": ("Limits", "Restarts", "Retry"),
    "crewd.model.receipts": ("Level", "Outcome", "Receipt"),
    "crewd.model.rights": ("Role",),
    "crewd.model.rows": ("AskRow", "AttemptRow", "Progress", "RunRow", "TaskRow"),
    "crewd.model.terms": ("Terms",),
    "crewd.model.workflow": ("Step", "WorkerSpec", "Workflow"),
    "crewd.protocol.replies": ("CancelReply", "EndReply", "RunsReply", "ShowReply"),
    "crewd.protocol.requests": ("Send",),
}  # fmt: skip
_LAZY = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "AskRow", "AttemptRow", "Brought", "Budget", "Busy", "CancelReply", "Conflict", "Crew", "CrewdError",
    "DaemonUnreachable", "DeadlineExceeded", "EndReply", "Event", "Forbidden", "Input", "Level", "Limits", "NotFound",
    "Outcome", "Packet", "PeerError", "Progress", "Receipt", "Refused", "Restarts", "Retry", "Role", "RunCancelled",
    "RunFailed", "RunHandle", "RunRow", "RunsReply", "Send", "ShowReply", "Step", "TaskRow", "Terms", "Unavailable",
    "UsageError", "WorkerSpec", "Workflow", "__version__", "aio", "bring", "connect", "load_workflow",
]  # fmt: skip


if not TYPE_CHECKING:  # for a type checker the names above are all that there are, so that it finds a typo

    def __getattr__(name: str) -> Any:
        """Load a public name when it is first used, so that `crew --version` pays for nothing."""
        if name == "aio":
            return importlib.import_module("crewd.aio")
        try:
            module = _LAZY[name]
        except KeyError:
            message = f"module 'crewd' has no attribute {name!r}"
            raise AttributeError(message) from None
        return getattr(importlib.import_module(module), name)

    def __dir__() -> list[str]:
        return __all__
