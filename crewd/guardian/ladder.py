"""The ladder of an end: wait, TERM, KILL, verify, report. Pure; time arrives as an argument.

Rule 1: a rung never goes back; a second order can only make the end faster.
Rule 2: empty means empty in two looks: a process that forks while the table is read can hide in one.

Tests: tests/guardian/test_ladder_and_tree.py, tests/guardian/test_care.py.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
from msgspec.structs import replace

from crewd.model.limits import KILL_SECONDS

TERM_TICK_SECONDS = 0.02
"""Between two looks while a worker may still go by itself."""
KILL_TICK_SECONDS = 0.005
"""Between two looks once KILL is sent: what was forked meanwhile is hit again."""


ENDED_TICK_SECONDS = 0.002
"""Between two looks that see nothing, while something still ends that was not seen."""


class Rung(IntEnum):
    """How far an end has come."""

    WAIT = 0
    TERM = 1
    KILL = 2


class Ladder(msgspec.Struct, frozen=True):
    """One worker's end. Times are monotonic seconds. `whole`: the grace is for all of its processes, not only the first."""

    begun_at: float
    term_at: float
    kill_at: float
    give_up_at: float
    rung: Rung = Rung.WAIT
    whole: bool = False
    termed: frozenset[int] = frozenset()
    empty_looks: int = 0


class NextStep(msgspec.Struct, frozen=True):
    """What one look leads to: whom to TERM, whom to KILL, whether to KILL whole groups, and whether it is over."""

    term: frozenset[int] = frozenset()
    kill: frozenset[int] = frozenset()
    hit_groups: bool = False
    over: bool = False
    look_again_at: float = 0.0


def begin(
    at: float, grace_seconds: float, term_seconds: float, give_up_seconds: float = KILL_SECONDS, *, whole: bool = False
) -> Ladder:
    """The ladder of an end ordered at `at`."""
    term_at = at + grace_seconds
    kill_at = term_at + term_seconds
    return Ladder(at, term_at, kill_at, kill_at + give_up_seconds, whole=whole)


def hasten(ladder: Ladder, at: float, grace_seconds: float, term_seconds: float, *, whole: bool = False) -> Ladder:
    """The ladder after a second order: the earlier time of each rung counts."""
    other = begin(at, grace_seconds, term_seconds)
    return replace(
        ladder,
        term_at=min(ladder.term_at, other.term_at),
        kill_at=min(ladder.kill_at, other.kill_at),
        give_up_at=min(ladder.give_up_at, other.give_up_at),
        whole=ladder.whole or whole,
    )


def first_gone(ladder: Ladder | None, at: float, term_seconds: float) -> Ladder:
    """The ladder when the worker's first process has ended: what it left behind is ended too."""
    if ladder is None:
        return begin(at, 0.0, term_seconds)
    if ladder.rung is not Rung.WAIT:
        return ladder
    return hold(ladder, at) if ladder.whole else hasten(ladder, at, 0.0, term_seconds)


def hold(ladder: Ladder, at: float) -> Ladder:
    """The ladder when the first process has ended within its grace: the others get TERM now, and all of their time."""
    return replace(ladder, term_at=min(ladder.term_at, at))


def climb(ladder: Ladder, alive: frozenset[int], at: float, *, ended_since: bool = False) -> tuple[Ladder, NextStep]:
    """One look: `alive` are the processes of the worker that are not dead (a zombie is dead).

    `ended_since`: one of its processes has ended since the last look, so it may be forking faster than it can be seen.
    """
    if not alive:
        if ended_since and at < ladder.give_up_at:
            kills = at >= ladder.kill_at
            ladder = replace(ladder, empty_looks=0, rung=Rung.KILL if kills else ladder.rung)
            return ladder, NextStep(hit_groups=kills, look_again_at=at + ENDED_TICK_SECONDS)
        ladder = replace(ladder, empty_looks=ladder.empty_looks + 1)
        return ladder, NextStep(over=ladder.empty_looks > 1, look_again_at=at)
    ladder = replace(ladder, empty_looks=0)
    if at >= ladder.kill_at and ladder.rung is not Rung.KILL:
        # The time to give up runs from the first KILL: this guardian may have been stopped meanwhile, and sent none.
        give_up_at = max(ladder.give_up_at, at + ladder.give_up_at - ladder.kill_at)
        ladder = replace(ladder, rung=Rung.KILL, give_up_at=give_up_at)
        return ladder, NextStep(kill=alive, look_again_at=at + KILL_TICK_SECONDS)
    if at >= ladder.give_up_at:
        return ladder, NextStep(kill=alive, over=True)
    if at >= ladder.kill_at:
        return replace(ladder, rung=Rung.KILL), NextStep(kill=alive, look_again_at=at + KILL_TICK_SECONDS)
    if at >= ladder.term_at:
        fresh = alive - ladder.termed
        ladder = replace(ladder, rung=Rung.TERM, termed=ladder.termed | fresh)
        return ladder, NextStep(term=fresh, look_again_at=min(at + TERM_TICK_SECONDS, ladder.kill_at))
    return ladder, NextStep(look_again_at=min(at + TERM_TICK_SECONDS, ladder.term_at))
