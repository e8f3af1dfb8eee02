"""A simulated world for crewd: the production actors, one thread, a seed, faults by name, laws that must always hold."""

from crewd.testing.world.faults import FLAKY, HARSH, NONE, Faults
from crewd.testing.world.laws import LawBroken
from crewd.testing.world.worker import Plan
from crewd.testing.world.world import World

__all__ = ["FLAKY", "HARSH", "NONE", "Faults", "LawBroken", "Plan", "World"]
