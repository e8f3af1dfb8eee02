"""Who is where: the living ref of each part of the tree. Owned by the brain's thread; no locks.

A part enters itself when it starts and leaves when it stops, so a ref found here is of the newest incarnation.

Tests: tests/supervisor/gateway/test_questions.py, tests/supervisor/gateway/test_waiting.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Literal, Protocol, TypeVar, cast

import msgspec

from crewd.actors import AnyRef, Ref, ToSupervisor
from crewd.model.agent import Conversation
from crewd.model.budget import Used
from crewd.model.errors import Unavailable
from crewd.model.rows import CancelInfo, RunRow
from crewd.protocol.guardian import Attached, Examined

if TYPE_CHECKING:
    from crewd.protocol.reports import ToWorker
    from crewd.store.messages import Answer, Echo, Missed, Published, Read, ToKeeper, ToReader, ToStore
    from crewd.supervisor.caller import Caller
    from crewd.supervisor.commands import ControllerMessage, FrontMessage, Reply, RunMessage, SlotsMessage, ToGuardian

M = TypeVar("M")


class Part(msgspec.Struct, Generic[M], frozen=True):
    """A part of the tree of which there is one, by its name. It takes an `M`."""

    name: str


STORE: Final[Part[ToStore]] = Part("store")
READER: Final[Part[ToReader]] = Part("reader")
OUTPUT: Final[Part[Read]] = Part("output")
KEEPER: Final[Part[ToKeeper]] = Part("keeper")
GUARDIAN: Final[Part[ToGuardian]] = Part("guardian")
GATEWAY: Final[Part[Published | Echo | Missed | Answer | Examined]] = Part("gateway")
SLOTS: Final[Part[SlotsMessage]] = Part("slots")
RUNS: Final[Part[ToSupervisor]] = Part("runs")
FRONT: Final[Part[FrontMessage]] = Part("front")


class WayOut(Protocol):
    """The way out of crewd, without a message: the gateway. It fails by itself, and not in the actor that calls it."""

    def respond(self, caller: Caller, reply: Reply) -> None:
        """Answer a client, or a worker that has asked something."""
        ...

    def to_worker(self, task: str, epoch: int, order: ToWorker) -> None:
        """Send an order to a worker, if it is connected; it hears everything again after its next hello."""
        ...


@dataclass(slots=True)
class Directory:
    """See the module's text.

    `attempts` is keyed by task id and epoch, and so are `conversations`, the sessions of the agents among them, and
    `starting`, the attempts that live and whose controllers have not begun; `runs` by run id; `names` gives the id of a
    living run's name, `rows` what it was created with, and `used` what one with a budget has used so far; `guardian` is what
    the guardian said of itself, while it is attached. `zygote` is the process that it forks workers from, 0 if there is none,
    None if that is not known. `silent` says which of the two does not answer, and since when (monotonic). `memory_available`
    are the bytes that the guardian named last, None if it never did. `draining`: no new work is taken, and crewd stops when
    what is live has ended. `ending`: the cancel of every run that lives or begins to, because crewd stops. `broken`: runs
    whose actors crash whenever they are started, with the last error; they have none any more. `way_out` is the gateway,
    while it lives.
    """

    runs: dict[str, Ref[RunMessage]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RunRow] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Ref[ControllerMessage]] = field(default_factory=dict)
    conversations: dict[tuple[str, int], Conversation] = field(default_factory=dict)
    starting: set[tuple[str, int]] = field(default_factory=set)
    guardian: Attached | None = None
    zygote: int | None = None
    silent: dict[Literal["guardian", "zygote"], float] = field(default_factory=dict)
    memory_available: int | None = None
    draining: bool = False
    ending: CancelInfo | None = None
    broken: dict[str, str] = field(default_factory=dict)
    way_out: WayOut | None = None

    _parts: dict[str, AnyRef] = field(default_factory=dict)

    def respond(self, caller: Caller, reply: Reply) -> None:
        """Send a reply on its way. Between the end and the restart of the gateway it is lost: the caller asks again."""
        if self.way_out is not None:
            self.way_out.respond(caller, reply)

    def part(self, part: Part[M]) -> Ref[M]:
        """The living ref of a part. Raises Unavailable between its end and its restart."""
        ref = self.find(part)
        if ref is None:
            raise Unavailable(f"{part.name} is restarting", hint="try again", say="again")
        return ref

    def find(self, part: Part[M]) -> Ref[M] | None:
        """The living ref of a part; None between its end and its restart."""
        return cast("Ref[M] | None", self._parts.get(part.name))

    def enter(self, part: Part[M], ref: Ref[M]) -> None:
        """A part has started."""
        self._parts[part.name] = ref

    def leave(self, part: Part[M], ref: Ref[M]) -> None:
        """A part has stopped; a newer incarnation stays."""
        if self._parts.get(part.name) is ref:
            del self._parts[part.name]
