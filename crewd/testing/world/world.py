"""The simulated world: the real actor tree of crewd on simulated clock, wire, guardian and disk, one thread, one seed.

A step is one of: a turn of one ready actor, a message that moves one hop, a piece of a worker's code, a look of the guardian.
Which one is chosen by `order`; when there is none, time jumps to the next thing that is due. What goes wrong is chosen by
the same seed, at the rates of a `Faults` record. Everything that happens is a function of (seed, what is asked, faults).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from crewd.actors import AnyActor, ExitKind, Lane
from crewd.actors.signals import ActorStarted
from crewd.client.conversation import AGAIN_BEATS
from crewd.clock import SeededChance
from crewd.guardian.tree import Key
from crewd.model import events as ev
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.news import news_of
from crewd.model.rows import AskRow, AttemptRow, ClientRow, RunRow
from crewd.model.statuses import ATTEMPT_TERMINAL, RUN_TERMINAL, RunStatus
from crewd.model.workflow import Join
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.bootstrap import Bootstrap
from crewd.store.fold import Row
from crewd.store.messages import Committed
from crewd.supervisor import commands as cm
from crewd.supervisor.attempt.controller import Controller
from crewd.supervisor.directory import FRONT
from crewd.supervisor.run.actor import RunActor
from crewd.supervisor.run.state import Run
from crewd.testing.scheduler import VirtualClock
from crewd.testing.world.client import SimClient
from crewd.testing.world.disk import Disk
from crewd.testing.world.faults import NONE, Faults, Injected
from crewd.testing.world.guardian import GuardianDisk, House, SimGuardian
from crewd.testing.world.incarnation import SimCrewd
from crewd.testing.world.laws import LawBroken, Laws
from crewd.testing.world.network import SimLink
from crewd.testing.world.processes import Processes, SimProcess
from crewd.testing.world.recalled import attempt_differs, live_of, run_differs
from crewd.testing.world.scenario import Gate, workflow_of
from crewd.testing.world.worker import Plan, SimWorker, Witness

LAST_SECONDS = 1_200.0
"""Virtual time that runs get to end by themselves when faults have ended; then they are cancelled."""
REST_SECONDS = 900.0
"""Virtual time that a world gets to come to rest after that."""
REST_STEPS = 30_000
RECALL_TURNS = 4
"""After so many turns of actors the machine of one is compared with what a restart would make of it."""
DISK_TROUBLE_SECONDS = 3.0
STALL_SECONDS = 2.0
DELAY_SECONDS = 0.2
BIRTH_SECONDS = 0.01
FIRST = 0
"""The order that always takes the oldest: shrinking leads here."""


class World:
    """See the module's text. Use `client`, `start`, `steer` and the like, `go`, and at the end `rest`."""

    def __init__(self, seed: int = 0, faults: Faults = NONE, plans: dict[str, Plan] | None = None) -> None:
        self.seed = seed
        self.faults = faults
        self.plans = plans or {}
        self.injected = Injected()
        self.asked_to_stop = False
        self.chance = SeededChance(seed)
        self.clock = VirtualClock()
        self.ids = IdSource(self.clock, self.chance)
        self.disk = Disk()
        self.witness = Witness()
        self.processes = Processes(self.clock.monotonic, self._start, self._process_ended, self._hides)
        self.laws = Laws(self.disk, self.processes, self.witness, self.clock.monotonic)
        self.disk.on_commit = self._committed
        self.disk.refuses = self._disk_refuses
        self.guardian_disk = GuardianDisk()
        self.house = House(self._make_guardian, self._later, self._piece, self.laws.ordered, self.laws.connected_to_guardian)
        self.workers: list[SimWorker] = []
        self.clients: list[SimClient] = []
        self.steps = self.choices = 0
        self.recalls = 0
        self.trace = 0
        self.order: Callable[[int], int] = self.chance.below
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._agenda_order = itertools.count()
        self._disk_trouble: tuple[float, str] = (0.0, "")
        self._pids = itertools.count(100)
        self._quiet = False
        self._kill_after = ""
        self._turns_before = 0
        self.story: list[str] = []
        self.crewd: SimCrewd | None = SimCrewd(self, next(self._pids))

    def free_memory(self) -> int:
        """Bytes; at times there are none."""
        return 0 if self.strikes("memory_full") else 1 << 40

    # -- faults -------------------------------------------------------------------------------------------------

    def strikes(self, fault: str) -> bool:
        """Whether a fault of this name happens now."""
        if self._quiet:
            return False
        rate: float = getattr(self.faults, fault)
        if self.chance.happens(rate):
            self.injected[fault] += 1
            return True
        return False

    def _hides(self) -> bool:
        """Whether a look misses a process. Also while the world comes to rest: the next look sees it."""
        hides = self.chance.happens(self.faults.hide)
        self.injected["hide"] += hides
        return hides

    def _disk_refuses(self) -> str:
        until, why = self._disk_trouble
        if self.clock.now < until and not self._quiet:
            return why
        for fault, words in (("disk_full", "database or disk is full"), ("disk_error", "disk I/O error")):
            if self.strikes(fault):
                self._disk_trouble = (self.clock.now + DISK_TROUBLE_SECONDS * self.chance.between(0.1, 2.0), words)
                return words
        return ""

    def fill_disk(self, seconds: float) -> None:
        """From now on, for so long, the disk is full."""
        self.injected["disk_full"] += 1
        self._disk_trouble = (self.clock.now + seconds, "database or disk is full")

    def kill_crewd(self) -> None:
        """SIGKILL between two turns."""
        if self.crewd is not None:
            self.injected["crewd_crash"] += 1
            self._drop_crewd()

    def kill_crewd_inside(self, calls: int) -> None:
        """SIGKILL in the middle of a turn: before its `calls`-th call to the outside world from now."""
        if self.crewd is not None:
            self.injected["crewd_crash_inside"] += 1
            self.crewd.calls_left = calls

    def kill_crewd_after(self, event_type: str) -> None:
        """SIGKILL right after the next commit that holds an event of this type, before anything that follows from it."""
        self._kill_after = event_type

    def _drop_crewd(self) -> None:
        if self.crewd is None:
            return
        self._turns_before += self.crewd.scheduler.turns
        self._no_crash(self.crewd)
        self.crewd.dead = True
        self.crewd.wire.unbind()
        self.crewd.guardian_socket.drop()
        self.crewd = None

    def start_crewd(self) -> None:
        """Start crewd if it is not running."""
        if self.crewd is None:
            self.crewd = SimCrewd(self, next(self._pids))

    def kill_guardian(self) -> None:
        """SIGKILL."""
        self.injected["guardian_crash"] += 1
        self.house.kill()

    def hang_guardian(self) -> None:
        """SIGSTOP, and nobody continues it."""
        self.injected["guardian_hang"] += 1
        self.house.hang()

    def kill_worker(self, index: int, signal: int = 9) -> None:
        """SIGKILL (or a crash) of a worker's first process."""
        living = [worker for worker in self.workers if not worker.process.dead]
        if living:
            self.injected["worker_crash"] += 1
            self.processes.end(living[index % len(living)].process, signal=signal)

    def cut_link(self, index: int) -> None:
        """A connection breaks; what is in flight on it is lost."""
        links = [link for link in self._links() if link.up]
        if links:
            self.injected["lose"] += 1
            links[index % len(links)].cut()

    def stall_link(self, index: int, seconds: float = STALL_SECONDS) -> None:
        """A peer does not read for a while."""
        links = [link for link in self._links() if link.up]
        if links:
            self.injected["stall"] += 1
            links[index % len(links)].stalled_until = self.clock.now + seconds

    # -- what people do -----------------------------------------------------------------------------------------

    def client(self, name: str) -> SimClient:
        """A client; it connects as soon as crewd is there."""
        client = SimClient(name, self.clock, self.ids, self.laws, self._begun)
        self.clients.append(client)
        return client

    def _begun(self) -> bool:
        return self.crewd is not None and self.crewd.services.directory.find(FRONT) is not None

    def start(
        self, client: SimClient, name: str, steps: dict[str, tuple[Plan, tuple[str, ...]]], limit: int = 0, parent: str = "",
        join: Join = "off", gate: Gate = "", on_parent: Literal["end", "keep"] = "end",
    ) -> str:  # fmt: skip
        """Ask for a run of these steps (see `workflow_of`). `parent`: the attempt that asks."""
        workflow, plans = workflow_of(name, steps, limit, join, gate)
        self.plans |= plans
        return client.ask(
            rq.StartRun(
                workflow=workflow, cwd="/", name=name, request_id=f"start-{name}", parent=parent, on_parent=on_parent
            )
        )  # fmt: skip

    def send(
        self,
        client: SimClient,
        kind: Literal["steer", "follow_up"],
        target: str,
        text: str = "",
        **fields: Any,
    ) -> str:
        """Ask for a steer or a follow-up; the key of the request."""
        return client.ask(rq.Send(id=self.ids.next(MESSAGE), kind=kind, target=target, text=text, **fields))

    def respond(self, client: SimClient, index: int) -> str | None:
        """Answer one of the questions on disk (any, also a closed one); None if there is none."""
        asks = list(self.disk.now[AskRow])
        if not asks:
            return None
        return client.ask(
            rq.Send(
                id=self.ids.next(MESSAGE),
                kind="response",
                ask=asks[index % len(asks)],
                text="this one",
                force=True,
                intent="played",
            )
        )

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Let one thing happen; False if nothing can happen any more."""
        self.steps += 1
        self._mishaps()
        moves = self._moves()
        if not moves or (len(moves) < 50 and self.strikes("early_timer")):
            before = self.clock.now
            if self._jump():
                self.laws.starved += self.clock.now - before if moves else 0.0
                return True
            if not moves:
                return False
        if len(moves) == 1:
            choice = 0
        else:
            self.choices += 1
            choice = self.order(len(moves))
        self.trace = (self.trace * 1_000_003 + choice + 1) & 0xFFFF_FFFF_FFFF_FFFF
        self._do(moves[choice])
        if self.laws.broken is not None:
            raise self.laws.broken
        return True

    def go(self, steps: int) -> None:
        """Let so many things happen, or until nothing can."""
        for _ in range(steps):
            if not self.step():
                return

    def _do(self, move: tuple[str, Any]) -> None:
        what, thing = move
        match what:
            case "turn":
                self._turn(thing)
            case "arrive":
                self._arrive(thing)
            case "hear":
                frames = thing.to_peer.popleft()
                if self.strikes("duplicate"):
                    thing.peer.heard(frames)
                thing.peer.heard(frames)
            case "connect":
                if self.crewd is not None:
                    self.crewd.wire.connect(thing)
            case "code":
                if self.strikes("worker_crash"):
                    self.processes.end(thing.process, signal=11)
                else:
                    thing.resume()
                    thing.speak()
            case "speak":
                thing.speak()
            case "hello":
                thing.tick()
            case "guardian hears":
                self.house.carry_in()
            case "guardian says":
                self.house.carry_out()
            case _:
                self.house.tick()

    def _turn(self, index: int) -> None:
        crewd = self.crewd
        if crewd is None:
            return
        actor = crewd.scheduler.ready[index]
        self._overtaking(actor)
        crewd.scheduler.step(lambda _: index)
        self.recalls += 1
        if self.recalls % RECALL_TURNS == 0 and not crewd.dead:
            self._recalled(actor)
        if crewd.dead or crewd.stopped:
            self._drop_crewd()
        else:
            crewd.wire.nudge()

    def _recalled(self, actor: AnyActor) -> None:
        """A restart would go on with the machine that is there."""
        if actor.actor_stopped.is_set() or not isinstance(actor, RunActor | Controller):
            return
        state = actor.durable_state
        if state is None:
            return
        if isinstance(actor, Controller) and self._has_mail_on_the_way(actor):
            return
        run = state.id if isinstance(state, Run) else state.task.partition("/")[0]
        live = live_of(self.laws.rows, run)
        if live is not None and not self.injected["clock_jump"]:  # a clock that was set makes other times of the same rows
            wall, now = self.clock.wall(), self.clock.monotonic()
            what = run_differs(state, live, wall, now) if isinstance(state, Run) else attempt_differs(state, live, wall, now)
            self.laws.hold("a restart goes on with the machine that was", not what, f"{run}: {what}")

    def _has_mail_on_the_way(self, controller: Controller) -> bool:
        """Whether the run may have messages for it that are durable already.

        It hands them over when it has heard both of their commit and of the controller's start.
        """
        if any(isinstance(message, cm.Hand) for lane in Lane for message in controller.actor_inbox.waiting(lane)):
            return True
        ready = [] if self.crewd is None else self.crewd.scheduler.ready
        runs = (actor for actor in ready if isinstance(actor, RunActor) and controller.ref.name.startswith(f"{actor.id}/"))
        waiting = (message for actor in runs for lane in Lane for message in actor.actor_inbox.waiting(lane))
        return any(
            isinstance(message, Committed) or (isinstance(message, ActorStarted) and message.ref == controller.ref)
            for message in waiting
        )

    def _overtaking(self, actor: AnyActor) -> None:
        """What ends something never waits behind other work."""
        for message in actor.actor_inbox.waiting(Lane.DATA):
            ends = isinstance(message, cm.EndAttempt | cm.CancelAll) or (
                isinstance(message, cm.Command) and isinstance(message.request, rq.Cancel)
            )
            self.laws.hold("a cancel overtakes", not ends, f"{actor.ref} has {message} in its data lane")

    def _arrive(self, link: SimLink) -> None:
        if self.crewd is None:
            return
        if self.strikes("delay"):
            link.held_until = self.clock.now + self.chance.between(0.0, DELAY_SECONDS)
            return
        if self.strikes("lose"):
            link.cut()
            return
        frames = link.to_crewd.popleft()
        if self.strikes("duplicate"):
            self.crewd.wire.put(link, frames)
        self.crewd.wire.put(link, frames)

    def _mishaps(self) -> None:
        if self.crewd is None:
            if self._quiet or self.chance.happens(0.02):
                self.start_crewd()
            return
        if self.strikes("crewd_crash"):
            self._drop_crewd()
        elif self.strikes("crewd_crash_inside"):
            self.crewd.calls_left = self.chance.below(20)
        if self.strikes("guardian_crash"):
            self.house.kill()
        if self.strikes("guardian_hang"):
            self.house.hang()
        if self.strikes("stall"):
            self.stall_link(self.chance.below(16))
        if self.strikes("clock_jump"):
            self.clock.shift += self.chance.between(-100.0, 100.0)

    def _links(self) -> list[SimLink]:
        return [*(client.link for client in self.clients), *(worker.link for worker in self.workers)]

    def _moves(self) -> list[tuple[str, Any]]:
        now = self.clock.now
        moves: list[tuple[str, Any]] = []
        crewd = self.crewd
        if crewd is not None:
            moves += [("turn", index) for index in range(len(crewd.scheduler.ready))]
            bound = crewd.wire.bound
        else:
            bound = False
        for link in self._links():
            if link.up:
                if link.to_crewd and link.held_until <= now:
                    moves.append(("arrive", link))
                if link.to_peer and link.stalled_until <= now:
                    moves.append(("hear", link))
            elif bound and link.wanted and link.held_until <= now:
                moves.append(("connect", link))
        for worker in self.workers:
            if worker.runnable():
                moves.append(("code", worker))
            elif worker.speaks():
                moves.append(("speak", worker))
        for client in self.clients:
            due = client.next_due()
            if due is not None and due <= now:
                moves.append(("hello", client))
        house = self.house
        if house.inbound and not house.hung:
            moves.append(("guardian hears", None))
        if house.outbound:
            moves.append(("guardian says", None))
        if house.guardian is not None and not house.hung:
            due = house.guardian.next_due()
            if (due is not None and due <= now) or house.guardian.over:
                moves.append(("guardian looks", None))
        return moves

    def _jump(self) -> bool:
        """Time goes on to the next thing that is due; False if nothing is."""
        dues = [self._agenda[0][0]] if self._agenda else []
        if self.crewd is not None:
            due = self.crewd.scheduler.system.timers.next_due()
            dues += [] if due is None else [due]
        guardians = [self.house.guardian] if self.house.guardian and not self.house.hung else []
        for due in [each.next_due() for group in (self.workers, self.clients, guardians) for each in group]:
            dues += [] if due is None or due <= self.clock.now else [due]
        for link in self._links():
            waits = (link.held_until if link.to_crewd or not link.up else 0.0, link.stalled_until if link.to_peer else 0.0)
            dues += [wait for wait in waits if wait > self.clock.now]
        if self._disk_trouble[0] > self.clock.now:
            dues.append(self._disk_trouble[0])
        if not dues:
            return False
        self.clock.now = max(self.clock.now, min(dues))
        while self._agenda and self._agenda[0][0] <= self.clock.now:
            heapq.heappop(self._agenda)[2]()
        if self.crewd is not None:
            self.crewd.scheduler.system.timers.fire(self.clock.now)
        return True

    # -- hooks of the parts -------------------------------------------------------------------------------------

    def later_call(self, seconds: float, call: Callable[[], None]) -> None:
        """Do it in so many virtual seconds."""
        heapq.heappush(self._agenda, (self.clock.now + seconds, next(self._agenda_order), call))

    def _later(self, _what: str, seconds: float) -> None:
        self.later_call(seconds, self.house.started)

    def _piece(self, size: int) -> int:
        return self.chance.below(size) + 1 if size > 1 and self.strikes("cut") else size

    def _make_guardian(self) -> SimGuardian:
        self.processes.proven.clear()
        return SimGuardian(self.processes, self.guardian_disk, self.clock.monotonic, self.free_memory)

    def _start(self, key: Key, bootstrap: Bootstrap, begun: Callable[[SimProcess | None], None]) -> None:
        plan, guardian = self.plans[bootstrap.worker.call.partition(":")[2]], self.house.guardian

        def bear() -> None:
            if self.house.guardian is not guardian:
                return  # its zygote has ended with it
            if plan.unborn:
                begun(None)
                return
            process = self.processes.make(key, None, deaf=plan.deaf, undying=plan.undying)
            process.worker = SimWorker(bootstrap, plan, process, self.processes, self.clock, self.ids, self.witness)
            self.workers.append(process.worker)
            self.laws.started(process)
            begun(process)

        self.later_call(BIRTH_SECONDS, bear)

    def _process_ended(self, process: SimProcess) -> None:
        if process.worker is not None:
            self.workers = [worker for worker in self.workers if worker is not process.worker]
        if self.house.guardian is not None:
            self.house.guardian.reap(process)

    def _committed(self, events: Sequence[ev.Event], rows: Sequence[tuple[str, str, Row]]) -> None:
        self.laws.committed(events, rows)
        if self.crewd is not None and not self._quiet and any(event.type == self._kill_after for event in events):
            self._kill_after = ""
            self.kill_crewd_inside(0)

    # -- rest ---------------------------------------------------------------------------------------------------

    @property
    def turns(self) -> int:
        """Actor turns so far."""
        return self._turns_before + (self.crewd.scheduler.turns if self.crewd is not None else 0)

    def log_bytes(self) -> bytes:
        """The event log, as it stands on the disk."""
        return b"".join(msgspec.msgpack.encode(event) for event in self.disk.events)

    def rest(self) -> None:
        """Faults end, everything that still runs is cancelled, and the world must come to rest with every law kept."""
        self._quiet = True
        self._disk_trouble = (0.0, "")
        for link in self._links():
            link.held_until = link.stalled_until = 0.0
        if self.crewd is not None:
            self.crewd.calls_left = None
        self.start_crewd()
        hung = self.house.hung
        self.house.hung = False  # outside of this world crewd always asks whether it is there; here not at rest
        until, steps = self.clock.now + LAST_SECONDS, self.steps + REST_STEPS
        while self.clock.now < until and self.step():
            self.laws.hold("the world comes to rest", self.steps < steps, f"{REST_STEPS} steps, and time stands still")
        asked = None if self.crewd is None else self.crewd.services.directory.ending
        self.laws.hold("a stop ends", asked is None, "crewd was asked to end everything and to stop, and it is still there")
        closer = self.client("closer")
        if hung:
            self.house.hang()  # now crewd waits for it, and kills it
        for row in [row for row in self.disk.now[RunRow].values() if row.status not in RUN_TERMINAL]:
            endless = [
                step.id
                for step in row.workflow.steps
                if self.plans[f"{row.name}_{step.role if step.added_by else step.id}"].endless
            ]
            parent = self.disk.now[AttemptRow].get(row.parent)
            # One that somebody has opened again is not its parent's any more, and one that may stay never was.
            orphan = parent is not None and parent.status in ATTEMPT_TERMINAL and row.openings == 1 and row.on_parent == "end"
            waits = endless or row.status is RunStatus.BLOCKED
            self.laws.hold("what can end ends by itself", waits and not orphan, f"{row.name} is {row.status}")
            run = row.id
            closer.ask(rq.Cancel(target=run, mode="now", timeout_seconds=600.0, force=True, intent="the end"))
        until, steps = self.clock.now + REST_SECONDS, self.steps + REST_STEPS
        self._still(until, steps)
        for client in [client for client in self.clients if client.seen] * AGAIN_BEATS:
            client.tick()  # whoever follows events goes on to say hello: a feed that was lost is asked for again
            self._still(until, steps)
        self._check_rest()

    def _still(self, until: float, steps: int) -> None:
        """Until nothing can move."""
        while self.step():
            if self.clock.now > until or self.steps > steps:
                waiting = [f"{c.name}: {c.asked[k]}" for c in self.clients for k in c.waiting()]
                raise LawBroken("the world comes to rest", f"{self.steps} steps, {self.clock.now:.0f} s: {waiting[:3]}")

    def _check_rest(self) -> None:
        crewd = self.crewd
        self.laws.at_rest()
        for client in self.clients:
            for key, request in client.asked.items():
                self.laws.answered(client.name, request, client.answers.get(key))
            self._news_were_told(client)
            for key, seen in client.seen.items():
                answer = client.answers.get(key)
                if isinstance(answer, rl.Subscribed):
                    log = [event.seq for event in self.disk.events]
                    self.laws.hold("a feed has no gap", seen == log, f"{client.name} saw {len(seen)} of {len(log)} events")
        if crewd is not None:
            self._no_crash(crewd)
            self._nothing_left(crewd)
        if self.faults == NONE and not self.injected and not self.asked_to_stop:
            self.laws.calm_cancels()
            for client in self.clients:
                if client.link.overflowed:
                    continue  # its queue was full: what was not taken then is asked again
                self.laws.hold("a feed skips nothing", not client.asked_again, f"{client.name} missed {client.asked_again}")
                for key, seconds in client.took.items():
                    self.laws.hold("an answer comes at once", seconds < 1.0, f"{client.asked[key]} took {seconds:.1f} s")

    def _news_were_told(self, client: SimClient) -> None:
        law = "news come until they were seen, and then not again"
        self.laws.hold(law, not client.repeated, f"{client.name} was told {client.repeated} again")
        row = self.disk.now[ClientRow].get(client.talk.owner)
        for event in self.disk.events[: 0 if row is None else row.seen]:
            run = self.disk.now[RunRow].get(event.run)
            if run is None or run.owner != client.talk.owner:
                continue
            if news_of(event, run.name, single=run.workflow.single) is not None:
                self.laws.hold(law, event.seq in client.told, f"{client.name} was never told {event.type} ({event.seq})")

    def _no_crash(self, crewd: SimCrewd) -> None:
        # Who is not given a turn for as long as this world likes is killed when its time to stop is over: that is in order.
        crashes = [
            (name, str(reason))
            for name, _, reason in crewd.scheduler.ends
            if reason.abnormal and not (reason.kind is ExitKind.KILLED and self.faults.early_timer)
        ]
        self.laws.hold("no actor crashes", not crashes, f"{crashes}")

    def _nothing_left(self, crewd: SimCrewd) -> None:
        system, law = crewd.scheduler.system, "nothing is left at rest"
        names = sorted(ref.name for ref in system.alive())
        parts = ["root", "store", "reader", "guardian", "gateway", "slots", "runs", "front"]
        self.laws.hold(law, names == sorted(parts), f"{names} live")
        self.laws.hold(law, system.timers.next_due() is None, "a timer is set")
        directory = crewd.services.directory
        tables = (directory.runs, directory.attempts, directory.names, directory.rows)
        self.laws.hold(law, not any(tables), f"{directory}")
        self.laws.hold(law, not self.guardian_disk.exits, f"exit records of {list(self.guardian_disk.exits)} are not confirmed")
        left = self.house.guardian.in_care() if self.house.guardian is not None else []
        self.laws.hold(law, not left, f"the guardian has {left} in care")
        self.laws.hold(law, not self.guardian_disk.records, f"records of {list(self.guardian_disk.records)} are left")
