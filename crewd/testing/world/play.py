"""Histories: what people ask of a world and what befalls it, as a list of moves that can be drawn, replayed and shrunk.

`play(seed, moves, faults)` is a pure function: the same arguments give the same event log, byte for byte.

Tests: tests/testing/world/test_machine.py, tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from crewd.clock import SeededChance
from crewd.model.hooks import HookRun
from crewd.model.ids import MESSAGE
from crewd.model.policy import Limits, Restarts, Retry
from crewd.model.receipts import Level
from crewd.model.rows import RunRow, TaskRow
from crewd.model.statuses import TASK_TERMINAL, TaskStatus
from crewd.model.terms import USUAL, Terms
from crewd.protocol import requests as rq
from crewd.testing.world.faults import NONE, Faults
from crewd.testing.world.scenario import Gate
from crewd.testing.world.worker import Plan, SimWorker
from crewd.testing.world.world import World

PLANS: Mapping[str, Plan] = {
    "plain": Plan(),
    "quick": Plan(steps=0, start_seconds=0.0),
    "long": Plan(steps=6, step_seconds=2.0),
    "longer": Plan(steps=10, step_seconds=5.0, operation=True),
    "busy": Plan(steps=20, step_seconds=0.1),
    "asker": Plan(ask_at=1),
    "patient": Plan(ask_at=0, ask_seconds=None),
    "operator": Plan(operation=True),
    "no_messages": Plan(steers=False, follow_ups=False),
    "slow_start": Plan(start_seconds=5.0),
    "never_ready": Plan(start_seconds=1_000.0),
    "raiser": Plan(ends="raises", operation=True),
    "vanisher": Plan(ends="vanishes", ask_at=0),
    "hanger": Plan(ends="hangs"),
    "numb": Plan(numb=True, step_seconds=20.0),
    "deaf": Plan(deaf=True, numb=True, ends="hangs"),
    "parent": Plan(children=("", "", ""), deaf_children=True),
    "escaper": Plan(children=("session", "orphan", "", "clean", "orphan")),
    "leaver": Plan(steps=4, children=("bare", "", "bare", "session"), deaf_children=True),
    "stubborn": Plan(steps=4, step_seconds=5.0, children=("session", "orphan", ""), deaf_children=True),
    "undying": Plan(ends="hangs", numb=True, undying=True),
    "lingerer": Plan(lingers=True),
    "unborn": Plan(unborn=True),
    "retrier": Plan(fails_first=2, retry=Retry(attempts=4)),
    "hopeless": Plan(ends="vanishes", retry=Retry(attempts=2, backoff_seconds=5.0)),
    "service": Plan(ends="raises", steps=1, restart=Restarts(policy="transient", restarts_max=2)),
    "steady": Plan(ends="returns", steps=1, restart=Restarts(policy="permanent", restarts_max=4, period_seconds=20.0)),
    "limited": Plan(steps=10, step_seconds=5.0, limits=Limits(task_seconds=12.0), retry=Retry(attempts=2)),
    "dawdler": Plan(steps=2, step_seconds=40.0, operation=True, limits=Limits(operation_seconds=30.0)),
    "frozen": Plan(freezes=True, retry=Retry(attempts=2)),
    "waits_for_a": Plan(waits_for="a"),
    "waits_for_b": Plan(waits_for="b"),
    "outside": Plan(outside=True),
    "spender": Plan(steps=2, spends=True),
}
"""The workers of drawn histories, by name."""
SHAPES: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "one": (("a", ()),),
    "chain": (("a", ()), ("b", ("a",))),
    "fan": (("a", ()), ("b", ()), ("c", ("a", "b"))),
}
CLIENTS = ("ann", "ben")
GATES: tuple[Gate, ...] = ("", "", "", "", "plan", "plan", "key", "key", "block", "fail", "budget", "shared_budget")
AWAY_MOVES = 2
CREDIT = 12
"""Events on the way to a client that says how many it can take."""
TURNING_POINTS = (
    "run.created", "run.cancel_requested", "run.ended", "task.ended", "attempt.reserved", "attempt.starting", "attempt.started",
    "attempt.ready", "attempt.finishing", "attempt.outcome", "attempt.cancel_requested", "attempt.ended", "message.accepted",
    "message.delivered", "message.applied", "message.settled", "ask.opened", "operation.opened", "attempt.report_taken",
    "task.retrying", "task.parked", "task.requeued", "run.reopened", "attempt.limit_hit", "attempt.liveness",
)  # fmt: skip
"""Types of events after which crewd is killed."""
ENDS = ("attempt.ended", "task.ended", "run.ended")


class Move(msgspec.Struct, frozen=True):
    """One thing that is done to the world: the name of a method of `Player` and what it is given."""

    verb: str
    given: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verb}({', '.join(f'{key}={value!r}' for key, value in self.given.items())})"


class Player:
    """Carries out moves. Numbers choose among what is there (modulo), so that a move is legal in every world."""

    def __init__(self, seed: int, faults: Faults = NONE) -> None:
        self.world = World(seed, faults)
        self.clients = [self.world.client(name) for name in CLIENTS]
        self.runs: list[tuple[str, tuple[str, ...]]] = []
        self.messages: list[str] = []
        self._met_dead = 0

    def play(self, move: Move) -> None:
        """Carry it out. A crewd that is dead is started when two moves have met it so."""
        self._met_dead = 0 if self.world.crewd is not None else self._met_dead + 1
        if self._met_dead > AWAY_MOVES:
            self.world.start_crewd()
        getattr(self, move.verb)(**move.given)

    def start(self, shape: str, plans: Sequence[str], who: int = 0, limit: int = 0, gate: Gate = "") -> None:
        """A run is asked for."""
        name = f"run{len(self.runs)}"
        steps = {step: (PLANS[plans[index % len(plans)]], after) for index, (step, after) in enumerate(SHAPES[shape])}
        if gate == "key" and any(plan.waits_for for plan, _ in steps.values()):
            gate = ""  # one that waits for another one of its key waits for ever (docs/workflows.md)
        self.runs.append((name, tuple(steps)))
        self.world.start(self._client(who), name, steps, limit, join="smart", gate=gate)

    def again(self, which: int, who: int = 0) -> None:
        """The same run is asked for again, with the same request id."""
        client = self._client(who)
        first = [r for c in self.clients for r in c.asked.values() if isinstance(r, rq.StartRun)]
        if first:
            client.ask(first[which % len(first)])

    def steer(self, run: int = 0, step: int = 0, text: str = "", wait: str = "accepted", who: int = 0) -> None:
        """A steer."""
        self._send("steer", run, step, text, wait, who, None)

    def follow_up(self, run: int = 0, step: int = 0, text: str = "", wait: str = "accepted", who: int = 0) -> None:
        """A follow-up."""
        self._send("follow_up", run, step, text, wait, who, None)

    def on_terms(self, kind: Literal["steer", "follow_up"], run: int = 0, step: int = 0, who: int = 0, **terms: Any) -> None:
        """A message with terms: for a certain attempt or turn, only for one who is at work, or starting who is not."""
        self._send(kind, run, step, "", "accepted", who, None, Terms(**terms))

    def wake(self, which: int, kind: Literal["steer", "follow_up"] = "follow_up", who: int = 0) -> None:
        """A worker that has ended is wanted again."""
        over = sorted(key for key, row in self.world.disk.now[TaskRow].items() if row.status in TASK_TERMINAL)
        if over:
            target, terms = over[which % len(over)], Terms(on_idle="start")
            key = self.world.send(self._client(who), kind, target, "", timeout_seconds=60.0, terms=terms)
            request = self._client(who).asked[key]
            if isinstance(request, rq.Send):
                self.messages.append(request.id)

    def wake_and_kill(self, which: int) -> None:
        """The same, later, and crewd is killed when it has accepted that message and done nothing about it."""
        self.start_crewd()
        self.go(1_000)
        self.kill_crewd_after("message.accepted")
        self.wake(which)

    def claim(self, which: int, what: Literal["claim", "release", "finish"], seconds: float = 10.0, who: int = 0) -> None:
        """A program carries out a task that could be started; or gives it back, or has done it, if somebody has it."""
        rows = self.world.disk.now[TaskRow]
        ready = {TaskStatus.QUEUED, TaskStatus.BACKOFF, TaskStatus.PARKED, TaskStatus.CLAIMED}
        tasks = sorted(
            key for key, row in rows.items()
            if row.status in ready and all(rows[each].status is TaskStatus.COMPLETED for each in row.depends_on)
        )  # fmt: skip
        if tasks:
            target, token = tasks[which % len(tasks)], f"the token of {CLIENTS[who]}"
            request: rq.Request = rq.Claim(target=target, token=token, seconds=seconds)
            if what != "claim" and rows[target].status is TaskStatus.CLAIMED:
                request = (rq.Release if what == "release" else rq.Finish)(target=target, token=token)
            self._client(who).ask(request)

    def nest(self, which: int, plan: str = "long", who: int = 0, *, keep: bool = False) -> None:
        """A worker that lives asks for a run of its own, which may `keep` on when the worker has ended."""
        living = self._parents()
        if living:
            task, epoch = living[which % len(living)].key
            name = f"run{len(self.runs)}"
            self.runs.append((name, ("a",)))
            above = self.world.disk.now[RunRow].get(task.partition("/")[0])
            owners = [each for each in self.clients if above is not None and each.talk.owner == above.owner]
            client = owners[0] if owners else self._client(who)
            on_parent: Literal["end", "keep"] = "keep" if keep else "end"
            self.world.start(client, name, {"a": (PLANS[plan], ())}, parent=f"{task}#{epoch}", on_parent=on_parent)

    def reopen(self, run: int = 0, step: int | None = None, kind: Literal["retry", "resume"] = "retry", who: int = 0) -> None:
        """What has failed, or was cancelled, is to be done after all."""
        target = self._target(run, step)
        if target:
            self._client(who).ask(rq.Reopen(target=target, kind=kind, force=True, intent="played", id=self._id()))

    def approve(self, run: int = 0, *, approved: bool = True, who: int = 0) -> None:
        """Somebody approves of a run, blocked or not, or rejects it."""
        target = self._target(run, None)
        if target:
            self._client(who).ask(rq.Approve(target=target, approved=approved, force=True, intent="played", id=self._id()))

    def dismiss(self, run: int = 0, who: int = 0) -> None:
        """Dead letters are put away."""
        target = self._target(run, None)
        if target:
            self._client(who).ask(rq.Dismiss(target=target, force=True, intent="played", id=self._id()))

    def tell_hooks(self, run: int = 0, who: int = 0) -> None:
        """Somebody has asked hooks about a run."""
        target = self._target(run, None)
        if target:
            hooks = (HookRun("guard", "before_cancel", "allow"),)
            self._client(who).ask(rq.TellHooks(target=target, hooks=hooks, id=self._id()))

    def _id(self) -> str:
        return self.world.ids.next(MESSAGE)

    def burst(self, run: int = 0, step: int = 0, count: int = 3, who: int = 0) -> None:
        """Several steers, one right after the other."""
        for _ in range(count):
            self.steer(run, step, who=who)

    def expiring(self, run: int = 0, step: int = 0, seconds: float = 1.0, who: int = 0) -> None:
        """A steer with a deadline."""
        self._send("steer", run, step, "", "settled", who, seconds)

    def _send(
        self, kind: Literal["steer", "follow_up"], run: int, step: int, text: str, wait: str, who: int,
        deadline: float | None, terms: Terms = USUAL,
    ) -> None:  # fmt: skip
        target = self._target(run, step)
        if target:
            key = self.world.send(
                self._client(who), kind, target, text, wait=Level(wait), deadline_seconds=deadline, timeout_seconds=60.0,
                terms=terms,
            )  # fmt: skip
            request = self._client(who).asked[key]
            if isinstance(request, rq.Send):
                self.messages.append(request.id)

    def resend(self, which: int, who: int = 0) -> None:
        """A message is sent again, with its id."""
        sent = [r for c in self.clients for r in c.asked.values() if isinstance(r, rq.Send)]
        if sent:
            self._client(who).ask(sent[which % len(sent)])

    def respond(self, which: int = 0, who: int = 0) -> None:
        """A question is answered, perhaps one that is closed."""
        self.world.respond(self._client(who), which)

    def withdraw(self, which: int, who: int = 0) -> None:
        """A message is taken back."""
        if self.messages:
            key = self.messages[which % len(self.messages)]
            self._client(who).ask(rq.Withdraw(id=key, force=True, intent="played"))

    def receipt(self, which: int, who: int = 0) -> None:
        """A receipt is asked for."""
        if self.messages:
            self._client(who).ask(rq.GetReceipt(id=self.messages[which % len(self.messages)]))

    def cancel(
        self,
        run: int = 0,
        step: int | None = None,
        who: int = 0,
        *,
        mode: Literal["now", "graceful"] = "now",
        grace: float = 2.0,
        wait: bool = True,
        force: bool = True,
    ) -> None:
        """A run or one of its tasks is cancelled, by its owner or (if `force`) by somebody else, who says why."""
        target = self._target(run, step)
        if target:
            cancel = rq.Cancel(
                target=target, mode=mode, grace_seconds=grace, wait=wait, timeout_seconds=120.0, force=force,
                intent="played" if force else "",
            )  # fmt: skip
            self._client(who).ask(cancel)

    def await_end(self, run: int = 0, step: int | None = None, who: int = 0, *, or_waiting: bool = False) -> None:
        """Somebody waits for an end."""
        target = self._target(run, step)
        if target:
            self._client(who).ask(rq.AwaitEnd(target=target, or_waiting=or_waiting, timeout_seconds=300.0))

    def show(self, run: int = 0, who: int = 0) -> None:
        """Somebody looks."""
        target = self._target(run, None)
        if target:
            self._client(who).ask(rq.Show(target=target))

    def subscribe(self, who: int = 0) -> None:
        """Somebody follows every event from the first."""
        client = self._client(who)
        if not client.seen:
            client.ask(rq.Subscribe(after=0, credit=CREDIT if who else rq.CREDIT_MAX))

    def news(self, who: int = 0) -> None:
        """Somebody comes back and reads what is new."""
        self._client(who).read_news()

    def nest_and_kill(self, which: int, event: str) -> None:
        """A worker that lives asks for a run of its own and is killed, and crewd with the next event of this type."""
        living = self._parents()
        self.nest(which, "hanger")
        self.go(60)
        parent = living[which % len(living)].process if living else None
        if parent is not None and not parent.dead:
            self.world.processes.end(parent, signal=9)
        self.kill_crewd_after(event)

    def stop(self, who: int = 0, mode: Literal["drain", "end", "keep"] = "end") -> None:
        """Crewd is asked to stop; it can be started again. While it is away, no cancel ends in time."""
        self.world.asked_to_stop = True
        self._client(who).ask(rq.StopDaemon(grace_seconds=1.0, mode=mode))

    def kill_crewd(self) -> None:
        """SIGKILL."""
        self.world.kill_crewd()

    def kill_crewd_inside(self, calls: int) -> None:
        """SIGKILL in the middle of a turn."""
        self.world.kill_crewd_inside(calls)

    def kill_crewd_after(self, event: str) -> None:
        """SIGKILL right after the next commit of such an event."""
        self.world.kill_crewd_after(event)

    def start_crewd(self) -> None:
        """Start it, if it is not running."""
        self.world.start_crewd()

    def hang_guardian(self) -> None:
        """See `World`."""
        self.world.hang_guardian()

    def kill_guardian(self) -> None:
        """SIGKILL."""
        self.world.kill_guardian()

    def kill_worker(self, which: int, signal: int = 9) -> None:
        """SIGKILL, or a crash."""
        self.world.kill_worker(which, signal)

    def cut(self, which: int) -> None:
        """A connection breaks."""
        self.world.cut_link(which)

    def stall(self, which: int, seconds: float = 2.0) -> None:
        """A peer does not read."""
        self.world.stall_link(which, seconds)

    def fill_disk(self, seconds: float) -> None:
        """The disk is full for a while."""
        self.world.fill_disk(seconds)

    def jump_clock(self, seconds: float) -> None:
        """The wall clock is set."""
        self.world.injected["clock_jump"] += 1
        self.world.clock.shift += seconds

    def go(self, steps: int) -> None:
        """Let so many things happen."""
        self.world.go(steps)

    def go_in_order(self, steps: int) -> None:
        """Let so many things happen, the oldest first."""
        order, self.world.order = self.world.order, lambda _: 0
        self.world.go(steps)
        self.world.order = order

    def _online(self) -> list[SimWorker]:
        return [worker for worker in self.world.workers if not worker.process.dead and worker.online]

    def _parents(self) -> list[SimWorker]:
        """Those that live; of runs with a budget, if any does: there is more at stake."""
        online = self._online()
        budgeted = {key for key, row in self.world.disk.now[RunRow].items() if row.workflow.budget.bounded}
        return [each for each in online if each.key[0].partition("/")[0] in budgeted] or online

    def _client(self, who: int) -> Any:
        return self.clients[who % len(self.clients)]

    def _target(self, run: int, step: int | None) -> str:
        if not self.runs:
            return ""
        name, steps = self.runs[run % len(self.runs)]
        return name if step is None else f"{name}/{steps[step % len(steps)]}"


def play(seed: int, moves: Sequence[Move], faults: Faults = NONE) -> World:
    """Play the moves and come to rest. Raises LawBroken. The world, to be looked at."""
    player = Player(seed, faults)
    for move in moves:
        player.play(move)
    player.world.rest()
    return player.world


def draw(seed: int, length: int = 25, *, calm: bool = False) -> list[Move]:
    """A history drawn from a seed: a start, and then whatever comes; a `calm` one has people and no bad luck."""
    chance = SeededChance(seed)
    moves = [_draw_start(chance)]
    verbs = [verb for verb, (weight, _) in DRAWS.items() for _ in range(weight) if not (calm and verb in BAD_LUCK)]
    for _ in range(length):
        verb = verbs[chance.below(len(verbs))]
        moves.append(DRAWS[verb][1](chance))
    return moves


def _pick(chance: SeededChance, options: Sequence[Any]) -> Any:
    return options[chance.below(len(options))]


def _draw_start(chance: SeededChance) -> Move:
    usual = ("plain", "long", "longer", "busy", "never_ready", "outside", "outside", "outside", "waits_for_a", "waits_for_b")
    plans = tuple(_pick(chance, (*PLANS, *usual)) for _ in range(1 + chance.below(3)))
    shape, limit = _pick(chance, tuple(SHAPES)), _pick(chance, (0, 0, 0, 1))
    who, gate = chance.below(2), _pick(chance, GATES)
    if gate == "plan":  # no draw of its own: what follows stays what it was
        gate = ("plan", "plan", "adaptive", "unfit")[(who + len(plans)) % 4]
    if gate == "block" and (who + len(plans)) % 2:
        gate = "hook"
    return Move("start", {"shape": shape, "plans": plans, "who": who, "limit": limit, "gate": gate})


def _draw_send(verb: str) -> Callable[[SeededChance], Move]:
    def draw_it(chance: SeededChance) -> Move:
        where = {"run": chance.below(3), "step": chance.below(3), "who": chance.below(2)}
        return Move(verb, {**where, "text": _pick(chance, ("", "refuse")), "wait": _pick(chance, tuple(map(str, Level)))})

    return draw_it


def _draw_terms(chance: SeededChance) -> Move:
    where = {"run": chance.below(3), "step": chance.below(3), "who": chance.below(2)}
    terms = _pick(
        chance,
        (
            {"on_idle": "start"}, {"on_idle": "start"}, {"on_idle": "refuse"}, {"if_running": True}, {"turn": 1}, {"turn": 2},
            {"epoch": 1}, {"epoch": 2}, {"epoch": 1, "turn": 1}, {"mode": "next_turn"}, {"mode": "interrupt"},
        ),
    )  # fmt: skip
    return Move("on_terms", {"kind": _pick(chance, ("steer", "follow_up")), **where, **terms})


def _draw_cancel(chance: SeededChance) -> Move:
    step = _pick(chance, (None, 0, 1, 2))
    how = {"mode": _pick(chance, ("now", "graceful")), "grace": _pick(chance, (0.0, 1.0, 10.0)), "wait": chance.below(3) > 0}
    how["force"] = chance.below(5) > 0
    return Move("cancel", {"run": chance.below(3), "step": step, "who": chance.below(2), **how})


def _draw_which(verb: str) -> Callable[[SeededChance], Move]:
    return lambda chance: Move(verb, {"which": chance.below(8)})


def _draw_claim(chance: SeededChance) -> Move:
    what, seconds = _pick(chance, ("claim", "claim", "finish", "release")), _pick(chance, (1.0, 5.0, 60.0))
    return Move("claim", {"which": chance.below(8), "what": what, "seconds": seconds, "who": chance.below(2)})


DRAWS: Mapping[str, tuple[int, Callable[[SeededChance], Move]]] = {
    "go": (14, lambda chance: Move("go", {"steps": _pick(chance, (1, 2, 5, 10, 20, 30, 50, 100))})),
    "start": (2, _draw_start),
    "again": (1, _draw_which("again")),
    "steer": (6, _draw_send("steer")),
    "follow_up": (3, _draw_send("follow_up")),
    "on_terms": (4, _draw_terms),
    "wake": (3, lambda chance: Move("wake", {"which": chance.below(8), "kind": _pick(chance, ("steer", "follow_up"))})),
    "burst": (3, lambda chance: Move("burst", {"run": chance.below(3), "step": chance.below(3), "count": 2 + chance.below(3)})),
    "expiring": (1, lambda chance: Move("expiring", {"run": chance.below(3), "seconds": _pick(chance, (0.01, 0.5, 5.0))})),
    "resend": (1, _draw_which("resend")),
    "respond": (2, _draw_which("respond")),
    "withdraw": (2, _draw_which("withdraw")),
    "receipt": (1, _draw_which("receipt")),
    "cancel": (4, _draw_cancel),
    "await_end": (2, lambda chance: Move("await_end", {"run": chance.below(3), "or_waiting": chance.below(2) == 1})),
    "show": (1, lambda chance: Move("show", {"run": chance.below(3)})),
    "news": (4, lambda chance: Move("news", {"who": chance.below(2)})),
    "subscribe": (1, lambda chance: Move("subscribe", {"who": chance.below(2)})),
    "stop": (1, lambda chance: Move("stop", {"mode": _pick(chance, ("drain", "end", "keep"))})),
    "wake_and_kill": (2, _draw_which("wake_and_kill")),
    "claim": (8, _draw_claim),
    "nest": (
        8,
        lambda chance: Move(
            "nest",
            {
                "which": chance.below(4),
                "plan": _pick(chance, ("spender", "hanger", "parent", "spender")),
                "keep": chance.below(3) == 0,
            },
        ),
    ),
    "nest_and_kill": (
        1,
        lambda chance: Move("nest_and_kill", {"which": chance.below(4), "event": _pick(chance, ENDS)}),
    ),
    "reopen": (3, lambda chance: Move("reopen", {"run": chance.below(3), "kind": _pick(chance, ("retry", "resume"))})),
    "approve": (5, lambda chance: Move("approve", {"run": chance.below(3), "approved": chance.below(4) > 0})),
    "dismiss": (1, lambda chance: Move("dismiss", {"run": chance.below(3)})),
    "tell_hooks": (1, lambda chance: Move("tell_hooks", {"run": chance.below(3)})),
    "kill_crewd": (2, lambda _: Move("kill_crewd")),
    "kill_crewd_inside": (2, lambda chance: Move("kill_crewd_inside", {"calls": chance.below(12)})),
    "kill_crewd_after": (3, lambda chance: Move("kill_crewd_after", {"event": _pick(chance, TURNING_POINTS)})),
    "start_crewd": (5, lambda _: Move("start_crewd")),
    "kill_guardian": (2, lambda _: Move("kill_guardian")),
    "hang_guardian": (1, lambda _: Move("hang_guardian")),
    "kill_worker": (2, lambda chance: Move("kill_worker", {"which": chance.below(8), "signal": _pick(chance, (9, 11))})),
    "cut": (1, _draw_which("cut")),
    "stall": (1, lambda chance: Move("stall", {"which": chance.below(8), "seconds": _pick(chance, (0.5, 20.0))})),
    "fill_disk": (1, lambda chance: Move("fill_disk", {"seconds": _pick(chance, (0.1, 5.0, 60.0))})),
    "jump_clock": (1, lambda chance: Move("jump_clock", {"seconds": _pick(chance, (-3600.0, 3600.0))})),
}
"""How often each move is drawn, and what it is given."""
BAD_LUCK = frozenset({
    "stop", "wake_and_kill", "nest_and_kill", "kill_crewd", "kill_crewd_inside", "kill_crewd_after", "start_crewd",
    "kill_guardian", "hang_guardian", "kill_worker", "cut", "stall", "fill_disk", "jump_clock",
})  # fmt: skip
"""The moves that nobody asks for. Without them, answers come at once and cancels end in time."""
