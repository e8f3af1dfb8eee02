"""Who is where: the living ref of each part of the tree. Owned by the brain's thread; no locks.

A part enters itself when it starts and leaves when it stops, so a ref found here is of the newest incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from crewd.actors import Ref
from crewd.model.errors import Unavailable
from crewd.model.rows import RunRow
from crewd.protocol.guardian import Attached

if TYPE_CHECKING:
    from crewd.protocol.reports import ToWorker
    from crewd.supervisor.commands import Caller, Reply


class WayOut(Protocol):
    """The way out of crewd, without a letter: the gateway. It fails by itself, and not in the actor that calls it."""

    def respond(self, caller: Caller, reply: Reply) -> None:
        """Answer a client, or a worker that has asked something."""
        ...

    def to_worker(self, task: str, epoch: int, order: ToWorker) -> None:
        """Send an order to a worker, if it is connected; it hears everything again after its next hello."""
        ...


@dataclass(slots=True)
class Directory:
    """See the module's text.

    `attempts` is keyed by task id and epoch, `runs` by run id; `names` gives the id of a living run's name, `rows` what it
    was created with; `guardian` is what the guardian said of itself, while it is attached. `zygote` is the process that it
    forks workers from, 0 if there is none, None if that is not known. `silent` says which of the two does not answer, and since
    when (monotonic). `draining`: no new work is taken, and crewd stops when what is live has ended.
    `way_out` is the gateway, while it lives.
    """

    parts: dict[str, Ref[Any]] = field(default_factory=dict)
    runs: dict[str, Ref[Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RunRow] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Ref[Any]] = field(default_factory=dict)
    guardian: Attached | None = None
    zygote: int | None = None
    silent: dict[Literal["guardian", "zygote"], float] = field(default_factory=dict)
    draining: bool = False
    way_out: WayOut | None = None

    def part(self, name: str) -> Ref[Any]:
        """The living ref of a part. Raises Unavailable between its end and its restart."""
        ref = self.parts.get(name)
        if ref is None:
            raise Unavailable(f"{name} is restarting", hint="try again", say="again")
        return ref

    def enter(self, name: str, ref: Ref[Any]) -> None:
        """A part has started."""
        self.parts[name] = ref

    def leave(self, name: str, ref: Ref[Any]) -> None:
        """A part has stopped; a newer incarnation stays."""
        if self.parts.get(name) is ref:
            del self.parts[name]


STORE, READER, KEEPER, GUARDIAN, GATEWAY = "store", "reader", "keeper", "guardian", "gateway"
SLOTS, RUNS, FRONT = "slots", "runs", "front"
