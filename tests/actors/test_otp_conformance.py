"""The named cases of OTP's own supervisor suite, one test each, in crewd's words. The name in OTP stands in the test's name."""

from __future__ import annotations

from time import process_time
from typing import Any, ClassVar

import pytest

from crewd.actors import (
    Actor,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ExitKind,
    Intensity,
    Ref,
    Restart,
    StartDynamic,
    StartParked,
    StopDynamic,
    Strategy,
    Supervisor,
)
from crewd.actors.exits import NORMAL, SHUTDOWN
from crewd.testing import Scheduler

MANY = Intensity(1_000, 3600.0)


class Server(Actor[Any]):
    """Crashes on an exception, ends normally on "normal", and as asked on anything else that is a reason."""

    journal: ClassVar[list[tuple[str, str]]] = []

    def on_start(self) -> None:
        self.journal.append(("start", self.ref.name))

    def on_stop(self) -> None:
        self.journal.append(("stop", self.ref.name))

    def receive(self, message: Any) -> None:
        if isinstance(message, Exception):
            raise message
        self.exit(message)


class World:
    """A supervisor of `Server`s and a scheduler."""

    def __init__(self, *specs: ChildSpec[Any], **how: Any) -> None:
        self.scheduler = Scheduler()
        self.journal: list[tuple[str, str]] = []
        self.serving = type("Serving", (Server,), {"journal": self.journal})
        self.how = how
        filled = [spec if spec.factory is not Server else self.spec(spec.name, spec) for spec in specs]
        self.top = self.scheduler.system.spawn(ChildSpec("top", lambda: Supervisor(filled, **how)), None)
        self.scheduler.settle()

    def spec(self, name: str, like: ChildSpec[Any] | None = None, **changes: Any) -> ChildSpec[Any]:
        fields = {name: getattr(like, name) for name in ChildSpec.__struct_fields__} if like else {}
        return ChildSpec(**{**fields, "name": name, "factory": self.serving, **changes})

    @property
    def refs(self) -> dict[str, Ref[Any]]:
        return {ref.name: ref for ref in self.scheduler.system.alive()}

    @property
    def incarnations(self) -> dict[str, int]:
        return {name: ref.incarnation for name, ref in self.refs.items() if name != "top"}

    def crash(self, name: str, seconds: float = 1.0) -> None:
        self.refs[name].tell(ValueError(name))
        self.scheduler.advance(seconds)

    def end(self, name: str, reason: Any = NORMAL) -> None:
        self.refs[name].tell(reason)
        self.scheduler.advance(1.0)


def servers(names: str, **fields: Any) -> list[ChildSpec[Any]]:
    return [ChildSpec(name, Server, **fields) for name in names]


# -- starting -------------------------------------------------------------------------------------------------------


def test_sup_start_normal_children_start_in_order() -> None:
    world = World(*servers("abc"))
    assert world.journal == [("start", "a"), ("start", "b"), ("start", "c")]


def test_sup_start_fail_a_child_that_cannot_start_ends_the_supervisor_after_its_intensity() -> None:
    def broken() -> Actor[Any]:
        raise OSError("no")

    scheduler = Scheduler()
    specs = [ChildSpec("broken", broken)]
    scheduler.system.spawn(ChildSpec("top", lambda: Supervisor(specs, intensity=Intensity(1, 5.0))), None)
    scheduler.advance(10.0)
    assert scheduler.system.alive() == ()


def test_child_specs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        Supervisor(servers("aa"))
    with pytest.raises(ValueError, match="permanent"):
        ChildSpec("a", Server, significant=True)
    with pytest.raises(ValueError, match="auto_shutdown"):
        Supervisor([ChildSpec("a", Server, Restart.TRANSIENT, significant=True)])


# -- stopping -------------------------------------------------------------------------------------------------------


def test_sup_stop_infinity_waits_for_a_child_that_takes_its_time() -> None:
    class Slow(Actor[Any]):
        def stopping(self, stop: Any) -> None:
            self.context.after(500.0, NORMAL)

        def receive(self, message: Any) -> None:
            self.exit(message)

    world = World(ChildSpec("slow", Slow, shutdown_seconds=float("inf")))
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.advance(499.0)
    assert set(world.refs) == {"top", "slow"}
    world.scheduler.advance(2.0)
    assert world.refs == {}
    assert world.scheduler.ends == []


class Deaf(Actor[Any]):
    """Never stops by itself."""

    def stopping(self, stop: Any) -> None:
        pass


@pytest.mark.parametrize("dynamic", [False, True])
def test_sup_stop_timeout_and_timeout_dynamic_a_deaf_child_is_killed_when_its_time_is_over(dynamic: bool) -> None:
    spec = ChildSpec("deaf", Deaf, shutdown_seconds=2.0)
    world = World(*([] if dynamic else [spec]))
    if dynamic:
        world.top.tell(StartDynamic(spec))
        world.scheduler.settle()
    deaf = world.refs["deaf"]
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.advance(1.9)
    assert deaf.reason is None
    world.scheduler.advance(0.2)
    assert deaf.reason is not None and deaf.reason.kind is ExitKind.KILLED
    assert world.refs == {}


def test_sup_stop_brutal_kill_asks_nobody() -> None:
    asked: list[str] = []

    class Asked(Actor[Any]):
        def stopping(self, stop: Any) -> None:
            asked.append("stop")

    world = World(ChildSpec("victim", Asked, shutdown_seconds=0.0))
    victim = world.refs["victim"]
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.settle()
    assert asked == []
    assert victim.reason is not None and victim.reason.kind is ExitKind.KILLED


def test_sup_stop_race_a_child_that_ends_by_itself_while_it_is_being_stopped_is_no_crash() -> None:
    world = World(*servers("ab"))
    world.refs["b"].tell(NORMAL)
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.advance(10.0)
    assert world.refs == {}
    assert world.top.reason is not None and world.top.reason.kind is ExitKind.SHUTDOWN


def test_sup_stop_manual_children_stop_in_reverse_order_also_those_of_supervisors_below() -> None:
    world = World()
    inner = [world.spec("x"), world.spec("y")]
    specs = [world.spec("a"), ChildSpec("mid", lambda: Supervisor(inner)), world.spec("c")]
    top = world.scheduler.system.spawn(ChildSpec("tree", lambda: Supervisor(specs, strategy=Strategy.REST_FOR_ONE)), None)
    world.scheduler.settle()
    world.scheduler.system.stop(top, SHUTDOWN)
    world.scheduler.settle()
    assert [name for what, name in world.journal if what == "stop"] == ["c", "y", "x", "a"]


def test_one_deadline_for_a_whole_tree_of_deaf_children() -> None:
    def level(depth: int) -> Supervisor[Any]:
        below = [] if depth == 0 else [ChildSpec(f"s{depth}", lambda: level(depth - 1), shutdown_seconds=60.0)]
        return Supervisor([*(ChildSpec(f"deaf{depth}{n}", Deaf, shutdown_seconds=60.0) for n in range(3)), *below])

    scheduler = Scheduler()
    top = scheduler.system.spawn(ChildSpec("top", lambda: level(3)), None)
    scheduler.settle()
    scheduler.system.stop(top, SHUTDOWN, 5.0)
    scheduler.advance(5.0)
    assert scheduler.system.alive() == ()


# -- children come and go -------------------------------------------------------------------------------------------


def test_child_adm_end_park_and_start_again() -> None:
    world = World(*servers("ab"))
    world.top.tell(StopDynamic("a"))
    world.scheduler.settle()
    assert world.incarnations == {"b": 1}
    world.top.tell(StartDynamic(world.spec("a")))  # the name is taken by the parked child
    world.scheduler.settle()
    assert world.incarnations == {"b": 1}
    world.top.tell(StartParked("a"))
    world.scheduler.settle()
    assert world.incarnations == {"b": 1, "a": 2}


def test_child_adm_simple_a_dynamic_child_that_is_ended_is_forgotten() -> None:
    world = World()
    for name in "ab":
        world.top.tell(StartDynamic(world.spec(name)))
    world.top.tell(StopDynamic("a"))
    world.scheduler.settle()
    world.top.tell(StartParked("a"))
    world.scheduler.settle()
    assert world.incarnations == {"b": 1}
    world.top.tell(StartDynamic(world.spec("a")))
    world.scheduler.settle()
    assert world.incarnations == {"a": 1, "b": 1}


# -- how a child ends -----------------------------------------------------------------------------------------------

TRANSIENT, TEMPORARY = {"restart": Restart.TRANSIENT}, {"restart": Restart.TEMPORARY}


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN])
def test_permanent_normal_and_permanent_shutdown_are_restarted(reason: Any) -> None:
    world = World(*servers("a"))
    world.end("a", reason)
    assert world.incarnations == {"a": 2}


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN])
@pytest.mark.parametrize("fields", [TRANSIENT, TEMPORARY])
def test_transient_and_temporary_normal_and_shutdown_are_not(reason: Any, fields: dict[str, Any]) -> None:
    world = World(*servers("a", **fields))
    world.end("a", reason)
    assert world.incarnations == {}


@pytest.mark.parametrize(("fields", "after"), [({}, {"a": 2}), (TRANSIENT, {"a": 2}), (TEMPORARY, {})])
def test_permanent_transient_and_temporary_abnormal(fields: dict[str, Any], after: dict[str, int]) -> None:
    world = World(*servers("a", **fields))
    world.crash("a")
    assert world.incarnations == after


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_temporary_bystander_goes_down_with_the_others_and_does_not_come_back(strategy: Strategy) -> None:
    world = World(
        ChildSpec("permanent", Server), ChildSpec("temporary", Server, Restart.TEMPORARY), strategy=strategy, intensity=MANY
    )
    world.crash("permanent")
    assert world.incarnations == {"permanent": 2}
    assert ("stop", "temporary") in world.journal


# -- strategies -----------------------------------------------------------------------------------------------------


def test_one_for_one_restarts_only_the_one() -> None:
    world = World(*servers("abc"))
    world.crash("b")
    assert world.incarnations == {"a": 1, "b": 2, "c": 1}


def test_one_for_all_restarts_all_in_order_after_stopping_in_reverse() -> None:
    world = World(*servers("abc"), strategy=Strategy.ONE_FOR_ALL)
    del world.journal[:]
    world.crash("b")
    stops = [name for what, name in world.journal if what == "stop"]
    starts = [name for what, name in world.journal if what == "start"]
    assert stops == ["b", "c", "a"] and starts == ["a", "b", "c"]


def test_rest_for_one_restarts_those_that_started_after() -> None:
    world = World(*servers("abc"), strategy=Strategy.REST_FOR_ONE)
    world.crash("b")
    assert world.incarnations == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize("strategy", list(Strategy))
def test_escalation_of_each_strategy_ends_all_children_and_then_the_supervisor(strategy: Strategy) -> None:
    world = World(*servers("ab"), strategy=strategy, intensity=Intensity(4, 3600.0))
    for _ in range(4):
        world.crash("a", 10.0)
    assert world.refs["a"].incarnation == 5
    world.crash("a")
    assert world.refs == {}
    assert world.top.reason is not None and world.top.reason.kind is ExitKind.INTENSITY
    assert isinstance(world.top.reason.error, ValueError)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_other_child_fails_restart_is_tried_again_and_counted(strategy: Strategy) -> None:
    """`one_for_all_other_child_fails_restart` and its like: while one child is restarted, another one cannot start."""
    failing = [False]

    class Picky(Server):
        journal: ClassVar[list[tuple[str, str]]] = []

        def on_start(self) -> None:
            if failing[0]:
                failing[0] = False
                raise OSError("not this time")

    world = World(ChildSpec("a", Server), ChildSpec("picky", Picky), strategy=strategy, intensity=MANY)
    failing[0] = True
    world.crash("a", 10.0)
    expected = {Strategy.ONE_FOR_ONE: (2, 1), Strategy.ONE_FOR_ALL: (3, 3), Strategy.REST_FOR_ONE: (2, 3)}[strategy]
    assert world.incarnations == dict(zip(("a", "picky"), expected, strict=True))
    assert failing[0] is (strategy is Strategy.ONE_FOR_ONE)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_hanging_restart_loop_and_rest_for_one_and_simple_the_supervisor_answers_and_can_be_stopped(strategy: Strategy) -> None:
    """A child that fails at every restart, with an intensity that never ends it: OTP once hung here."""
    failing = [False]

    class Broken(Server):
        journal: ClassVar[list[tuple[str, str]]] = []

        def on_start(self) -> None:
            if failing[0]:
                raise OSError("never again")

    world = World(ChildSpec("broken", Broken), strategy=strategy, intensity=Intensity(10**6, 3600.0))
    failing[0] = True
    world.crash("broken", 30.0)
    assert len(world.scheduler.ends) > 5
    world.top.tell(StartDynamic(world.spec("new", restart=Restart.TEMPORARY)))
    world.scheduler.settle()
    if strategy is Strategy.ONE_FOR_ONE:  # the others wait, in order, for the one before them
        assert "new" in world.refs
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.advance(0.1)
    assert world.refs == {}


def test_child_unlink_a_child_whose_on_stop_fails_or_that_undoes_everything_is_still_waited_for() -> None:
    class Rude(Actor[Any]):
        def stopping(self, stop: Any) -> None:
            self.context.unwatch(self.context.supervisor or self.ref)
            self.context.unlink(self.context.supervisor or self.ref)
            raise OSError("I will not")

    world = World(ChildSpec("rude", Rude), *servers("b"))
    world.scheduler.system.stop(world.top, SHUTDOWN)
    world.scheduler.settle()
    assert world.refs == {}


def test_simple_one_for_one_scale_many_temporary_children() -> None:
    """OTP asks that 2n children cost about twice what n do; here 4n, so that noise cannot hide a square."""

    def seconds(count: int) -> float:
        world = World(intensity=Intensity(10**9, 1.0))
        begun = process_time()
        for number in range(count):
            world.top.tell(StartDynamic(world.spec(str(number), restart=Restart.TEMPORARY)))
        world.scheduler.settle(turns=100 * count)
        refs = world.refs
        assert len(refs) == count + 1
        for ref in refs.values():
            if ref is not world.top:
                ref.tell(NORMAL)
        world.scheduler.settle(turns=100 * count)
        assert list(world.refs) == ["top"]
        return process_time() - begun

    # Eight times as many: eight times the work if it is linear, 64 times if it is not.
    assert min(seconds(2_000) for _ in range(3)) < 24 * min(seconds(250) for _ in range(3))


# -- significant children -------------------------------------------------------------------------------------------


def significant(names: str, auto: AutoShutdown, **fields: Any) -> World:
    specs = servers(names, restart=Restart.TRANSIENT, significant=True, **fields)
    return World(*specs, *servers("z"), auto_shutdown=auto)


def test_any_significant_ends_the_supervisor_when_the_first_of_them_ends_by_itself() -> None:
    world = significant("ab", AutoShutdown.ANY_SIGNIFICANT)
    world.end("a")
    assert world.refs == {}
    assert world.top.reason is not None and world.top.reason.kind is ExitKind.SHUTDOWN


def test_all_significant_ends_it_after_the_last_one() -> None:
    world = significant("ab", AutoShutdown.ALL_SIGNIFICANT)
    world.end("a")
    assert set(world.refs) == {"top", "b", "z"}
    world.end("b")
    assert world.refs == {}


def test_significant_simple_and_temporary_abnormal_counts_as_an_end_by_itself() -> None:
    specs = servers("a", restart=Restart.TEMPORARY, significant=True)
    world = World(*specs, *servers("z"), auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    world.crash("a")
    assert world.refs == {}


def test_significant_upgrade_a_crash_that_is_restarted_and_an_end_that_was_asked_for_end_nobody() -> None:
    world = significant("ab", AutoShutdown.ANY_SIGNIFICANT)
    world.crash("a")
    assert world.incarnations["a"] == 2
    world.top.tell(StopDynamic("b"))
    world.scheduler.settle()
    assert set(world.refs) == {"top", "a", "z"}


# -- what OTP does not have: back-off -------------------------------------------------------------------------------


def test_backoff_doubles_up_to_its_cap_and_jitter_stays_within_its_share() -> None:
    plain = Backoff(1.0, 8.0, jitter=0.0)
    assert [plain.seconds(row) for row in range(1, 7)] == [1, 2, 4, 8, 8, 8]
    shaken = Backoff(1.0, 8.0, jitter=0.25)
    assert [shaken.seconds(1, roll) for roll in (0.0, 0.5)] == [0.75, 1.0]
    assert shaken.seconds(60, 0.99) <= 8.0


def test_a_child_that_was_healthy_for_long_enough_begins_a_new_row_and_nobody_waits_for_anothers_backoff() -> None:
    how = {"intensity": MANY, "backoff": Backoff(1.0, 64.0, jitter=0.0, healthy_seconds=100.0)}
    world = World(*servers("ab"), **how)
    for wait in (1.0, 2.0, 4.0):
        world.crash("a", wait - 0.1)
        assert "a" not in world.incarnations
        world.scheduler.advance(0.2)
        assert "a" in world.incarnations
    world.crash("a", 0.0)
    world.crash("b", 1.1)
    assert "b" in world.incarnations and "a" not in world.incarnations
    world.scheduler.advance(200.0)
    world.crash("a", 1.1)
    assert "a" in world.incarnations
