"""One worker in the guardian's care, by value: every event in every state, and where it may lead."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crewd.guardian import care as cr
from crewd.guardian import ladder as ladders
from crewd.guardian.care_record import CareRecord
from crewd.guardian.tree import Key, Proc
from crewd.model.policy import Limits
from crewd.protocol import guardian as gd

KEY: Key = ("r_1/a", 1)
MAIN = Proc(10, 2, 10, 10, "S", 1.0)
CHILD = Proc(11, 10, 10, 10, "S", 2.0)
ESCAPED = Proc(12, 2, 12, 12, "S", 3.0)
LADDER = ladders.begin(5.0, 1.0, 2.0)
STATES: dict[type, cr.State] = {
    cr.Starting: cr.Starting(5.0),
    cr.StartingToEnd: cr.StartingToEnd(5.0, LADDER, 5.0),
    cr.Running: cr.Running(MAIN),
    cr.Ending: cr.Ending(MAIN, LADDER, 5.0),
    cr.Draining: cr.Draining(MAIN, LADDER, 5.0, 0, None),
}


UNLIMITED = Limits()


def care(state: cr.State, limits: Limits = UNLIMITED, *, orphan_at: float | None = None) -> cr.Care:
    record = CareRecord(*KEY, pid=10, start=1.0, boot_id="b", limits=limits)
    return cr.Care(KEY, 7, record, state, orphan_at=orphan_at)


def looked(now: float, *procs: Proc, stranger_in: int = 0) -> cr.Looked:
    owners: dict[int, Key | None] = {proc.group: KEY for proc in procs if not proc.dead}
    if stranger_in:
        owners[stranger_in] = None
    return cr.Looked(now, procs, owners, main=next((proc for proc in procs if proc.pid == 10), None))


def after(*events: cr.Event, first: cr.Care | None = None) -> tuple[cr.Care | None, list[cr.Effect]]:
    now = first or care(cr.Running(MAIN))
    effects: list[cr.Effect] = []
    for event in events:
        assert now is not None
        following, more = cr.decide(now, event)
        effects += more
        if following is None:
            return None, effects
        now = following
    return now, effects


times = st.floats(0.0, 30.0)
events = st.one_of(
    st.builds(cr.Forked, times, st.just(MAIN), st.just("b")),
    st.builds(cr.NotForked, st.just("no room"), st.booleans()),
    st.builds(cr.MainEnded, times, st.sampled_from([None, 0, 1]), st.none()),
    st.builds(cr.EndOrdered, times, times, times, st.just("ended"), st.booleans()),
    st.builds(cr.MemberEnded, st.just(frozenset({10}))),
    st.builds(cr.OrphansSeen, times),
    st.builds(cr.HungUp, times),
    st.builds(cr.Attached),
    st.builds(cr.Tick, times),
    st.builds(lambda now, procs: looked(now, *procs), times, st.sets(st.sampled_from([MAIN, CHILD, ESCAPED]))),
)


@given(st.lists(events, max_size=12), st.sampled_from(list(STATES.values())), st.floats(0.0, 20.0))
def test_every_event_is_taken_in_every_state_and_leads_where_the_table_says(
    happen: list[cr.Event], first: cr.State, orphan_at: float
) -> None:
    now: cr.Care | None = care(first, Limits(processes=2), orphan_at=orphan_at)
    for event in happen:
        assert now is not None
        before = type(now.state)
        now, effects = cr.decide(now, event)
        reached = None if now is None else type(now.state)
        assert reached in cr.TRANSITIONS[before].get(type(event), {before}), f"{event} in {before}"
        assert (reached is None) == any(isinstance(effect, cr.Finish) for effect in effects), "a worker is finished once"
        if now is None:
            break


def test_the_table_names_all_states_and_only_what_is_reached() -> None:
    assert set(cr.TRANSITIONS) == set(get_args(cr.State)) == set(STATES)
    reached: dict[tuple[type, type], set[type | None]] = {}
    tried: list[cr.Event] = [
        cr.Forked(6.0, MAIN, "b"), cr.NotForked("no"), cr.MainEnded(6.0, 0), cr.EndOrdered(6.0, 1.0, 1.0, "ended"),
        cr.Tick(6.0), looked(6.0, MAIN), looked(6.0), looked(60.0), looked(60.0, MAIN), looked(6.0, MAIN, CHILD, ESCAPED),
    ]  # fmt: skip
    for kind, state in STATES.items():
        for event in tried:
            for orphan_at in (None, 1.0):
                for known in (frozenset(), frozenset({(10, 1.0)})):
                    for vanished_at in (None, 1.0):
                        seen = cr.Seen(known=known, vanished_at=vanished_at)
                        now = replace(care(state, Limits(processes=2), orphan_at=orphan_at), seen=seen)
                        if isinstance(state, cr.StartingToEnd | cr.Ending | cr.Draining):
                            now = replace(now, state=replace(state, ladder=replace(state.ladder, empty_looks=1)))
                        found, _ = cr.decide(now, event)
                        reached.setdefault((kind, type(event)), set()).add(None if found is None else type(found.state))
    for kind, row in cr.TRANSITIONS.items():
        for event_kind, following in row.items():
            assert reached[kind, event_kind] == set(following), f"{event_kind.__name__} in {kind.__name__}"


def test_an_end_asks_then_kills_then_proves() -> None:
    order = cr.EndOrdered(0.0, 0.0, 1.0, "ended")
    now, effects = after(order, looked(0.0, MAIN, CHILD))
    assert [(e.proc.pid, e.number) for e in effects if isinstance(e, cr.Signal)] == [(10, 15), (10, 18), (11, 15), (11, 18)]
    assert not any(isinstance(effect, cr.KillGroup | cr.KillCgroup) for effect in effects), "nobody is killed before his time"
    now, effects = after(looked(1.0, MAIN, CHILD, ESCAPED), first=now)
    assert {e.group for e in effects if isinstance(e, cr.KillGroup)} == {10, 12}
    assert {e.proc.pid for e in effects if isinstance(e, cr.Signal) and e.number == 9} == {10, 11, 12}
    now, effects = after(cr.MainEnded(1.1, None, 9), looked(1.1), first=now)
    assert now is not None, "one look proves nothing"
    now, effects = after(looked(1.2), first=now)
    assert now is None
    (finish,) = [effect for effect in effects if isinstance(effect, cr.Finish)]
    assert (finish.exited.cause, finish.exited.exit.signal, finish.exited.exit.killed) == ("ended", 9, True)
    assert finish.survivors == ()


def test_a_group_that_a_stranger_is_in_is_not_killed_as_a_group() -> None:
    killing = cr.EndOrdered(0.0, 0.0, 0.0, "ended")
    _, effects = after(killing, looked(0.0, MAIN, CHILD, ESCAPED, stranger_in=12))
    assert {e.group for e in effects if isinstance(e, cr.KillGroup)} == {10}
    assert {e.proc.pid for e in effects if isinstance(e, cr.Signal)} >= {12}, "but its process is"


def test_what_cannot_be_killed_is_named() -> None:
    now, effects = after(cr.EndOrdered(0.0, 0.0, 0.0, "ended"), looked(0.0, MAIN), looked(60.0, MAIN))
    assert now is None
    (finish,) = [effect for effect in effects if isinstance(effect, cr.Finish)]
    assert finish.survivors == (MAIN,)


def test_a_worker_that_is_alone_for_too_long_is_ended_and_crewd_s_return_stops_the_clock() -> None:
    now, _ = after(cr.HungUp(0.0), cr.Tick(599.0))
    assert now is not None and isinstance(now.state, cr.Running)
    back, told = after(cr.Attached(), cr.Tick(1_000.0), first=now)
    assert back is not None and isinstance(back.state, cr.Running)
    assert [effect for effect in told if isinstance(effect, cr.Tell)], "crewd hears of it"
    late, _ = after(cr.Tick(600.0), first=now)
    assert late is not None and isinstance(late.state, cr.Ending)
    assert late.cause == "orphaned"


def test_an_end_that_is_ordered_before_the_fork_waits_for_it() -> None:
    now, effects = after(cr.EndOrdered(5.0, 0.0, 0.0, "ended"), looked(9.0), first=care(cr.Starting(5.0)))
    assert now is not None and isinstance(now.state, cr.StartingToEnd)
    assert now.look_at is None, "there is nothing to look at"
    now, effects = after(cr.Forked(10.0, MAIN, "b"), looked(10.0, MAIN), first=now)
    assert {e.proc.pid for e in effects if isinstance(e, cr.Signal)} == {10}


def test_a_limit_ends_the_worker_and_is_named_whatever_is_ordered_later() -> None:
    now, _ = after(looked(1.0, MAIN, CHILD, ESCAPED), first=care(cr.Running(MAIN), Limits(processes=2)))
    now, effects = after(
        cr.EndOrdered(1.0, 0.0, 0.0, "ended"),
        looked(2.0, MAIN),
        cr.MainEnded(3.0, None, 9),
        looked(3.0),
        looked(4.0),
        first=now,
    )
    (finish,) = [effect for effect in effects if isinstance(effect, cr.Finish)]
    assert (finish.exited.cause, finish.exited.exit.timed_out) == ("limit", "processes")


def test_what_a_worker_uses_is_told_when_it_has_changed() -> None:
    def seen(now: float, output: int) -> cr.Looked:
        return replace(looked(now, MAIN), output_bytes=output)

    _, effects = after(seen(10.0, 1), seen(10.5, 2), seen(13.0, 2), seen(16.0, 2))
    told = [effect.notice for effect in effects if isinstance(effect, cr.Tell)]
    assert [(each.output_bytes, each.processes) for each in told if isinstance(each, gd.Used)] == [(1, 1), (2, 1)]


def test_a_person_s_signal_goes_to_what_is_named_or_to_all_but_the_process_that_waits() -> None:
    now = care(cr.Running(MAIN))

    def hit(pid: int, *, tree: bool) -> list[int]:
        effects = cr.signals(now, cr.SignalAsked(pid, 1, tree), (MAIN, CHILD, ESCAPED))
        return [effect.proc.pid for effect in effects if isinstance(effect, cr.Signal)]

    assert hit(11, tree=False) == [11]
    assert hit(11, tree=True) == [11, 12]
    assert hit(10, tree=True) == [10, 11, 12]
    assert hit(99, tree=False) == []


def test_the_status_of_an_end_is_waited_for_longer_while_the_zygote_answers() -> None:
    for may_come, longest in ((False, cr.STATUS_SECONDS), (True, cr.STATUS_SECONDS_LONGEST)):
        gone = [replace(looked(10.0 + seconds), status_may_come=may_come) for seconds in (0.0, longest - 0.1, longest + 0.1)]
        waiting, _ = after(*gone[:2])
        assert waiting is not None and isinstance(waiting.state, cr.Running)
        given_up, _ = after(*gone)
        assert given_up is None or isinstance(given_up.state, cr.Draining)
        told, _ = after(*gone[:2], cr.MainEnded(20.0, None, 9))
        assert told is not None and isinstance(told.state, cr.Draining)
