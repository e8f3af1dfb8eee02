"""The supervision tree of crewd, over any ports: the real ones in `program`, simulated ones in tests.

Tests: tests/testing/world/test_machine.py, tests/hostile/test_hangs.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Never

import msgspec

from crewd import __version__
from crewd.actors import AnyRef, ChildSpec, ExitKind, ExitReason, Intensity, Lane, Strategy, Supervisor
from crewd.actors.restarts import EndChild, allow_restart
from crewd.actors.spec import AnySpec
from crewd.store.actor import StoreActor
from crewd.store.checkup import Examine
from crewd.store.keeper.actor import Keeper
from crewd.store.output_reader import OutputReader
from crewd.store.overlay import Overlay
from crewd.store.reader import Reader
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import FRONT, GATEWAY, GUARDIAN, KEEPER, OUTPUT, READER, RUNS, SLOTS, STORE
from crewd.supervisor.front import Front
from crewd.supervisor.gateway.actor import Gateway
from crewd.supervisor.guardian_link import GuardianLink
from crewd.supervisor.guardian_socket import GuardianSocket
from crewd.supervisor.slots import Slots

if TYPE_CHECKING:
    from crewd.store.ports import Reading, Writing
    from crewd.store.run_files import AskFiles
    from crewd.supervisor.gateway.wire import Wire
    from crewd.supervisor.services import Services


class Ports(msgspec.Struct, frozen=True):
    """The world as the tree sees it."""

    wire: Wire
    guardian_socket: GuardianSocket
    database: Callable[[], Writing]
    reader: Callable[[], Reading]
    ready: Callable[[], None] = lambda: None
    examine: Examine = lambda: ([], {})
    files: Callable[[], AskFiles] | None = None
    """Ways to the files of workers, one for each thread. None: a world without files has no output, archive or keeper."""
    asks_always: bool = True
    """Whether the guardian is asked all the time if it lives, or after orders only: a simulated world is to come to rest."""


ONE_RUN = Intensity(restarts_max=5, period_seconds=60.0)
"""Crashes of one run's actor: what crashes more often would crash for ever, by what its rows say."""


class RunsPart(Supervisor[Never]):
    """The supervisor of all runs, which others find in the directory.

    A run whose actor crashes again and again is given up, and no other run with it. The bound of all together is for what
    makes any of them crash.
    """

    def __init__(self, services: Services) -> None:
        super().__init__(intensity=Intensity(restarts_max=500, period_seconds=10.0))
        self._services = services
        self._crashes: dict[str, tuple[float, ...]] = {}

    def child_ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """See the class: called before it is decided whether it is started again."""
        super().child_ended(ref, reason)
        if not reason.abnormal or reason.kind is ExitKind.KILLED:  # killed is who was slow to stop
            return
        now, run = self.context.now(), ref.name.partition(":")[0]
        recent = {each: at for each, at in self._crashes.items() if at[-1] > now - ONE_RUN.period_seconds}
        crashes, allowed = allow_restart(recent.get(run, ()), now, ONE_RUN)
        self._crashes = {**recent, run: crashes}
        if allowed:
            return
        directory = self._services.directory
        directory.broken[run] = str(reason)
        self._feed_family(EndChild(ref.name, now))
        front = directory.find(FRONT)
        if front is not None:
            front.offer(cm.RunBroken(run), lane=Lane.CONTROL)

    def on_start(self) -> None:
        self._services.directory.enter(RUNS, self.ref)
        super().on_start()

    def on_stop(self) -> None:
        self._services.directory.leave(RUNS, self.ref)
        super().on_stop()


class StorePart(StoreActor):
    """The store, which others find in the directory."""

    def __init__(self, services: Services, ports: Ports, overlay: Overlay) -> None:
        super().__init__(
            ports.database,
            ports.reader,
            services.clock,
            overlay,
            lambda: services.directory.find(GATEWAY),
            services.config.run_store_bytes,
            services.directory.runs.get,
        )
        self._services = services

    def on_start(self) -> None:
        super().on_start()
        self._services.directory.enter(STORE, self.ref)

    def on_stop(self) -> None:
        self._services.directory.leave(STORE, self.ref)
        super().on_stop()


class ReaderPart(Reader):
    """The reader, which others find in the directory."""

    def __init__(self, services: Services, ports: Ports, overlay: Overlay) -> None:
        archive = None if ports.files is None else services.home.archive
        super().__init__(ports.reader, overlay, lambda: services.directory.find(STORE), ports.examine, archive)
        self._services = services

    def on_start(self) -> None:
        super().on_start()
        self._services.directory.enter(READER, self.ref)

    def on_stop(self) -> None:
        self._services.directory.leave(READER, self.ref)
        super().on_stop()


class OutputReaderPart(OutputReader):
    """The reader of output, which others find in the directory."""

    def __init__(self, services: Services, ports: Ports, overlay: Overlay, ask: AskFiles) -> None:
        super().__init__(ports.reader, overlay, lambda: services.directory.find(STORE), ask, services.home.archive)
        self._services = services

    def on_start(self) -> None:
        super().on_start()
        self._services.directory.enter(OUTPUT, self.ref)

    def on_stop(self) -> None:
        self._services.directory.leave(OUTPUT, self.ref)
        super().on_stop()


class KeeperPart(Keeper):
    """The keeper, which others find in the directory."""

    def __init__(self, services: Services, overlay: Overlay, examine: Examine, ask: AskFiles) -> None:
        super().__init__(
            services.home, services.clock, services.ids, overlay, lambda: services.directory.part(STORE), __version__, examine,
            ask,
        )  # fmt: skip
        self._services = services

    def on_start(self) -> None:
        super().on_start()
        self._services.directory.enter(KEEPER, self.ref)

    def on_stop(self) -> None:
        self._services.directory.leave(KEEPER, self.ref)
        super().on_stop()


def _with_disk(examine: Examine, refused: str) -> tuple[list[str], dict[str, int | float | str]]:
    findings, counts = examine()
    told = [f"crewd cannot write as it should, and takes no new work: {refused}"] if refused else []
    return [*told, *findings], counts


def root(services: Services, ports: Ports, on_stopped: Callable[[bool], None]) -> Supervisor[Never]:
    """The root supervisor. What stands lower needs what stands above it, so it is restarted with it."""
    overlay = Overlay()
    examine = ports.examine
    ports = msgspec.structs.replace(ports, examine=lambda: _with_disk(examine, overlay.refused))
    of_files: list[AnySpec] = []
    if (files := ports.files) is not None:
        of_files = [
            ChildSpec(OUTPUT.name, lambda: OutputReaderPart(services, ports, overlay, files()), pinned=True),
            ChildSpec(KEEPER.name, lambda: KeeperPart(services, overlay, ports.examine, files()), pinned=True),
        ]
    return Supervisor(
        [
            ChildSpec(STORE.name, lambda: StorePart(services, ports, overlay), pinned=True),
            ChildSpec(READER.name, lambda: ReaderPart(services, ports, overlay), pinned=True),
            *of_files,
            ChildSpec(GUARDIAN.name, lambda: GuardianLink(services, ports.guardian_socket, ports.asks_always)),
            ChildSpec(GATEWAY.name, lambda: Gateway(services, ports.wire)),
            ChildSpec(SLOTS.name, lambda: Slots(services)),
            ChildSpec(RUNS.name, lambda: RunsPart(services), shutdown_seconds=30.0),
            ChildSpec(FRONT.name, lambda: Front(services, on_stopped, ports.ready)),
        ],
        strategy=Strategy.REST_FOR_ONE,
        intensity=Intensity(restarts_max=10, period_seconds=30.0),
    )
