"""One incarnation of the simulated crewd process: the production tree with its ends of the simulated ports.

Tests: tests/supervisor/gateway/test_doctor.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from crewd.actors import ChildSpec, ExitReason, HasTurns, InboxFull, Lane
from crewd.actors.exits import SHUTDOWN
from crewd.actors.inbox import Envelope, TwoLaneInbox
from crewd.model.config import Config
from crewd.model.home import Home
from crewd.model.ids import EVENT
from crewd.protocol import guardian as gd
from crewd.store.actor import StoreActor
from crewd.store.messages import Missed, Published
from crewd.supervisor import commands as cm
from crewd.supervisor.config import HeldConfig
from crewd.supervisor.directory import GUARDIAN, Directory
from crewd.supervisor.gateway.actor import Gateway
from crewd.supervisor.services import Services
from crewd.supervisor.tokens import Tokens
from crewd.supervisor.tree import Ports, root
from crewd.testing.scheduler import Scheduler
from crewd.testing.world.guardian import SimGuardianSocket
from crewd.testing.world.network import SimWire

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.clock import SeededChance
    from crewd.model.ids import IdSource
    from crewd.testing.scheduler import VirtualClock
    from crewd.testing.world.disk import Disk
    from crewd.testing.world.guardian import House
    from crewd.testing.world.laws import Laws


class Around(Protocol):
    """What one incarnation needs of its world."""

    chance: SeededChance
    clock: VirtualClock
    ids: IdSource
    disk: Disk
    laws: Laws
    house: House

    def strikes(self, fault: str) -> bool:
        """Whether a fault of this name happens now."""
        ...

    def later_call(self, seconds: float, call: Callable[[], None]) -> None:
        """Do it in so many virtual seconds."""
        ...


CONFIG = Config(heartbeat_seconds=30.0, workers_max=5, liveness_seconds=(45.0, 80.0, 130.0))


class SimCrewd:
    """One incarnation of the crewd process: its actors and its ends of the ports."""

    def __init__(self, world: Around, pid: int) -> None:
        self.world = world
        world.laws.places = CONFIG.workers_max
        self.dead = False
        self.calls_left: int | None = None
        self.scheduler = WorldScheduler(world)
        self.wire = SimWire(self.permitted, world.laws.sent)
        self.guardian_socket = SimGuardianSocket(self.permitted, world.house)
        home = Home(Path("/simulated"))
        held = HeldConfig(CONFIG, CONFIG)
        self.services = Services(world.clock, world.chance, world.ids, Tokens(b"simulated" * 4), home, held, Directory(), pid)
        ports = Ports(
            self.wire, self.guardian_socket, lambda: world.disk.writer(world.ids.next(EVENT), self.permitted),
            world.disk.reader, asks_always=False,
        )  # fmt: skip
        self.stopped = False
        system = self.scheduler.system
        self.top = system.spawn(ChildSpec("root", lambda: root(self.services, ports, self._all_over)), None)
        system.on_end(self.top, self._ended)

    def permitted(self) -> bool:
        """Whether this process still lives; each call to the outside world asks, and may be the last one."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.dead = True
        return not self.dead

    def _all_over(self, retire: bool) -> None:  # noqa: FBT001 (a callback)
        """As `program` does when a stop was asked for."""
        if retire:
            self.services.directory.part(GUARDIAN).tell(cm.ToGuardian(gd.Retire()), lane=Lane.CONTROL)
        self.scheduler.system.stop(self.top, SHUTDOWN, 30.0)

    def _ended(self, reason: ExitReason) -> None:
        self.stopped = True
        self.world.laws.hold("the tree never gives up", not reason.abnormal, f"the root ended: {reason}")


class FullInbox(TwoLaneInbox):
    """The gateway's inbox, which may have no room for the news of a commit."""

    def __init__(self, world: Around, before: TwoLaneInbox) -> None:
        super().__init__(Gateway.data_max)
        self._world = world
        for lane in Lane:
            for message in before.waiting(lane):
                super().offer(Envelope(message), lane)

    def offer(self, envelope: Envelope, lane: Lane) -> bool:
        """See `TwoLaneInbox`."""
        if isinstance(envelope.message, Published | Missed) and self._world.strikes("overflow"):
            raise InboxFull("the gateway has too much to do")
        return super().offer(envelope, lane)


class WorldScheduler(Scheduler):
    """The world's dispatcher: the store's turns may be slow (an fsync), and the gateway's inbox may be full."""

    def __init__(self, world: Around) -> None:
        super().__init__(world.chance, world.clock)
        self._world = world

    def schedule(self, actor: HasTurns) -> None:
        """See `Dispatcher`."""
        if isinstance(actor, Gateway) and not isinstance(actor.actor_inbox, FullInbox):
            actor.actor_inbox = FullInbox(self._world, actor.actor_inbox)
        if isinstance(actor, StoreActor) and self._world.strikes("slow_fsync"):
            if actor not in self.ready:
                self._world.later_call(0.05, lambda: super(WorldScheduler, self).schedule(actor))
            return
        super().schedule(actor)
