"""Hunting: many drawn histories, one after the other, until one breaks a law; and the shortest story that still breaks it.

`python -m crewd.testing.world.hunt --scenarios 1000 --seed 0` prints what was done and what was found.

Tests: tests/testing/world/test_world.py, tests/testing/world/test_machine.py.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import click
import msgspec

from crewd.clock import SystemClock
from crewd.testing.world.faults import DAYS, FLAKY, HARSH, NONE, Faults, Injected
from crewd.testing.world.laws import LawBroken
from crewd.testing.world.play import Move, Player, draw

SHRINK_SECONDS = 60.0
"""For the search for a shorter story: a world that does not come to rest takes seconds to replay."""


@dataclass(slots=True)
class Count:
    """What a hunt has done."""

    scenarios: int = 0
    turns: int = 0
    steps: int = 0
    choices: int = 0
    seconds: float = 0.0
    interleavings: set[int] = field(default_factory=set)
    injected: Injected = field(default_factory=Injected)
    laws: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, player: Player) -> None:
        """A scenario is over."""
        world = player.world
        self.scenarios += 1
        self.turns += world.turns
        self.steps += world.steps
        self.choices += world.choices
        self.interleavings.add(world.trace)
        self.injected.update(world.injected)
        self.laws.update(world.laws.checked)
        self.events.update(event.type for event in world.disk.events)

    def lines(self) -> list[str]:
        """For people."""
        rate = self.turns / self.seconds if self.seconds else 0.0
        return [
            (
                f"{self.scenarios:,} scenarios, {len(self.interleavings):,} different interleavings, "
                f"{self.turns:,} actor turns ({rate:,.0f}/s), {self.steps:,} steps, {self.choices:,} choices"
            ),
            "faults: " + ", ".join(f"{name} {count:,}" for name, count in sorted(self.injected.items())),
            "laws: " + ", ".join(f"{name} {count:,}" for name, count in sorted(self.laws.items())),
        ]


class BrokenLaw(msgspec.Struct, frozen=True):
    """A history that breaks a law."""

    seed: int
    faults: Faults
    moves: tuple[Move, ...]
    broken: LawBroken

    @property
    def day(self) -> str:
        """The name of its faults."""
        return next(name for name, faults in DAYS.items() if faults == self.faults)

    def lines(self) -> list[str]:
        """The story, for people."""
        return [
            f"seed {self.seed}, random faults: {self.day}",
            *map(str, self.moves),
            str(self.broken),
        ]


def try_out(seed: int, moves: Sequence[Move], faults: Faults, count: Count | None = None) -> LawBroken | None:
    """Play to the end; the law that it breaks, if it does."""
    player = Player(seed, faults)
    try:
        for move in moves:
            player.play(move)
        player.world.rest()
    except LawBroken as broken:
        return broken
    finally:
        if count is not None:
            count.add(player)
    return None


def shrink(found: BrokenLaw) -> BrokenLaw:
    """The same law broken by fewer moves, if fewer suffice; without random faults, if they are not needed."""
    clock, best = SystemClock(), found
    until = clock.monotonic() + SHRINK_SECONDS
    if best.faults != NONE and (calm := _again(best, best.moves, NONE)):
        best = calm
    size = max(1, len(best.moves) // 2)
    while size and clock.monotonic() < until:
        start, shorter = 0, False
        while start < len(best.moves) and clock.monotonic() < until:
            candidate = _again(best, best.moves[:start] + best.moves[start + size :], best.faults)
            if candidate is None:
                start += size
            else:
                best, shorter = candidate, True
        if not shorter:
            size //= 2
    return best


def _again(found: BrokenLaw, moves: tuple[Move, ...], faults: Faults) -> BrokenLaw | None:
    broken = try_out(found.seed, moves, faults)
    return BrokenLaw(found.seed, faults, moves, broken) if broken is not None and broken.law == found.broken.law else None


def hunt(seed: int, go_on: Callable[[int], bool], count: Count | None = None) -> BrokenLaw | None:
    """Play drawn histories while `go_on(number)`; the first that breaks a law.

    Of four, one has only the bad luck that was drawn, one has some random faults as well, one is calm, one has many.
    """
    clock = SystemClock()
    count = count or Count()
    begun, number = clock.monotonic(), 0
    while go_on(number):
        faults = (NONE, FLAKY, NONE, HARSH)[number % 4]
        moves = draw(seed + number, calm=number % 4 == 2)
        broken = try_out(seed + number, moves, faults, count)
        count.seconds = clock.monotonic() - begun
        if broken is not None:
            return BrokenLaw(seed + number, faults, tuple(moves), broken)
        number += 1
    return None


@click.command()
@click.option("--scenarios", default=0, help="Stop after so many; 0 for no bound.")
@click.option("--minutes", default=0.0, help="Stop after so long; 0 for no bound.")
@click.option("--seed", default=0, help="The first seed.")
@click.option("--shrink/--no-shrink", "shorten", default=True, help="Look for the shortest story.")
def main(scenarios: int, minutes: float, seed: int, shorten: bool) -> None:  # noqa: FBT001 (a flag)
    """Hunt. Exit code 1 if a law was broken."""
    clock, count = SystemClock(), Count()
    until = clock.monotonic() + minutes * 60.0

    def go_on(number: int) -> bool:
        return (not scenarios or number < scenarios) and (not minutes or clock.monotonic() < until)

    if not scenarios and not minutes:
        raise click.UsageError("give --scenarios or --minutes")
    found = hunt(seed, go_on, count)
    for line in count.lines():
        click.echo(line)
    if found is not None:
        for line in (shrink(found) if shorten else found).lines():
            click.echo(line)
        sys.exit(1)


if __name__ == "__main__":
    main()
