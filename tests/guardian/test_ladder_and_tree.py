from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewd.guardian import ladder as ld
from crewd.guardian.tree import Key, Proc, Sorted, Sorting

A: Key = ("r/a", 1)
B: Key = ("r/b", 1)
GUARDIAN = 2


def proc(pid: int, ppid: int, group: int = 0, session: int = 0, state: str = "S", start: float = 1.0) -> Proc:
    return Proc(pid, ppid, group or pid, session or pid, state, start)


def found(
    *procs: Proc, marks: dict[int, Key] | None = None, known: dict[Key, list[Proc]] | None = None, leaders: tuple[int, ...] = ()
) -> Sorted:
    memory = {key: frozenset((each.pid, each.start) for each in each_known) for key, each_known in (known or {}).items()}
    sorting = Sorting({each.pid: each for each in procs}, memory, frozenset({GUARDIAN}), dict.fromkeys(leaders, A))
    return sorting.finish({each.pid: (marks or {})[each.pid] for each in sorting.unknown if each.pid in (marks or {})})


def members(
    *procs: Proc, marks: dict[int, Key] | None = None, known: dict[Key, list[Proc]] | None = None, leaders: tuple[int, ...] = ()
) -> dict[Key, set[int]]:
    result = found(*procs, marks=marks, known=known, leaders=leaders)
    return {key: {each.pid for each in procs if not each.dead} for key, procs in result.members.items()}


def test_each_net_alone_holds() -> None:
    main = proc(10, GUARDIAN)
    by_memory = proc(11, 1)
    by_session = proc(12, 1, session=10)
    by_parent = proc(13, 10, session=99, group=99)
    grandchild = proc(14, 13, session=98, group=98)
    by_marker = proc(15, 1)
    stranger = proc(50, 1)
    found = members(
        main, by_memory, by_session, by_parent, grandchild, by_marker, stranger, proc(GUARDIAN, 1),
        marks={15: A}, known={A: [main, by_memory]},
    )  # fmt: skip
    assert found == {A: {10, 11, 12, 13, 14, 15}}


def test_a_reused_pid_is_not_the_worker_s() -> None:
    before = proc(10, GUARDIAN, start=1.0)
    assert members(proc(10, 1, start=2.0), known={A: [before]}) == {A: set()}
    assert members(proc(10, 1, start=2.0), proc(11, 10, session=10, start=2.0), known={A: [before]}) == {A: set()}


def test_the_number_of_a_session_proves_nothing_when_nobody_of_the_worker_s_is_in_it() -> None:
    main, member, other = proc(10, GUARDIAN), proc(31, 1, session=30, group=30), proc(32, 1, session=30, group=30)
    assert members(main, member, other, known={A: [main, member]}, leaders=(30,)) == {A: {10, 31, 32}}, "one of it is known"
    assert members(main, other, known={A: [main, member]}, leaders=(30,)) == {A: {10}}, "the number was given away"
    ended = proc(31, GUARDIAN, session=30, group=30, state="Z")
    assert members(main, ended, other, known={A: [main, ended]}, leaders=(30,)) == {A: {10, 32}}, (
        "whom nobody has reaped holds it"
    )
    orphan = proc(33, GUARDIAN, session=30, group=30)
    assert members(main, orphan, known={A: [main]}, leaders=(30,)) == {A: {10, 33}}, "a stranger is no child of the guardian"
    assert members(main, orphan, known={A: [main]}) == {A: {10}}, "forgotten: it is a stray"


def test_a_zombie_is_dead_and_a_strange_child_of_the_guardian_is_a_stray() -> None:
    zombie = proc(10, GUARDIAN, state="Z")
    assert members(zombie, known={A: [zombie]}) == {A: set()}
    assert found(proc(77, GUARDIAN)).strays == (proc(77, GUARDIAN),)


def test_two_workers_keep_their_own() -> None:
    a, b = proc(10, GUARDIAN), proc(20, GUARDIAN)
    assert members(a, b, proc(11, 10), proc(21, 20), known={A: [a], B: [b]}) == {A: {10, 11}, B: {20, 21}}


@given(grace=st.floats(0, 20), term=st.floats(0, 5), lives=st.floats(0, 60), ignores_term=st.booleans())
def test_a_ladder_climbs_in_time_and_ends(grace: float, term: float, lives: float, ignores_term: bool) -> None:
    ladder, now, dies = ld.begin(0.0, grace, term), 0.0, lives
    termed_at = killed_at = None
    while True:
        alive = frozenset({1}) if now < dies else frozenset()
        ladder, step = ld.climb(ladder, alive, now)
        if step.term:
            assert termed_at is None, "TERM once"
            assert now >= grace
            termed_at = now
            if not ignores_term:
                dies = min(dies, now + 0.001)
        if step.kill and killed_at is None:
            assert now >= grace + term
            killed_at = now
            dies = min(dies, now + 0.001)
        if step.over:
            break
        assert step.look_again_at >= now
        now = max(step.look_again_at, now + 1e-6)
    assert now <= grace + term + 0.2 or now <= lives + 0.2
    assert alive == frozenset()


def test_two_empty_looks_are_needed_and_survivors_end_it() -> None:
    ladder = ld.begin(0.0, 0.0, 0.0, give_up_seconds=1.0)
    ladder, step = ld.climb(ladder, frozenset(), 0.0)
    assert not step.over
    ladder, step = ld.climb(ladder, frozenset({5}), 0.0)
    assert not step.over
    assert step.kill == {5}
    _, step = ld.climb(ladder, frozenset({5}), 1.0)
    assert step.over


def test_a_second_order_only_hastens() -> None:
    ladder = ld.begin(0.0, 10.0, 3.0)
    assert ld.hasten(ladder, 1.0, 20.0, 3.0) == ladder
    faster = ld.hasten(ladder, 1.0, 0.0, 0.15)
    assert (faster.term_at, faster.kill_at) == (1.0, 1.15)


def test_a_guardian_that_was_stopped_gives_up_only_after_it_has_killed() -> None:
    ladder = ld.begin(0.0, 1.0, 1.0)
    late = ladder.give_up_at + 100.0
    ladder, step = ld.climb(ladder, frozenset({7}), late)
    assert (step.kill, step.over) == (frozenset({7}), False)
    ladder, step = ld.climb(ladder, frozenset({7}), late + 0.1)
    assert not step.over, "what is killed takes a moment to go"
    ladder, step = ld.climb(ladder, frozenset(), late + 0.2)
    ladder, step = ld.climb(ladder, frozenset(), late + 0.2)
    assert step.over
