"""What all workers of a run may use together, and what they have used. Pure.

A worker says what it has used when it wants to (`ctx.usage`), an agent after each turn. So the last report may exceed the
budget: a run ends after it, not before.
"""

from __future__ import annotations

import msgspec

from crewd.model.errors import UsageError

BUDGET_END_SECONDS = 1.0
"""How long after its budget is used a run is cancelled: a worker whose last report uses it up ends by itself."""
TURNS_MAX = 10_000_000
TOKENS_MAX = 1 << 62
COST_MAX = 1e12


class Used(msgspec.Struct, frozen=True, omit_defaults=True):
    """Turns, tokens, and cost in the currency that the workers report."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, more: Used) -> Used:
        return Used(self.turns + more.turns, self.tokens + more.tokens, self.cost + more.cost)

    def __sub__(self, less: Used) -> Used:
        return Used(self.turns - less.turns, self.tokens - less.tokens, self.cost - less.cost)


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all attempts of a run may use together, as their workers report it, with the runs that they start. 0 is no bound.

    A run that a worker starts may use at most what is left of the budget of each run above it. A run that has reached one
    of its bounds is cancelled with the reason `budget_used`, and cannot be opened again.
    """

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self != Budget()

    def within(self, other: Budget) -> Budget:
        """Of each bound the lower one. One that makes no sense stays, for `check_budget`."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)
        return Budget(**{name: min(mine, theirs) if mine and theirs else mine or theirs for name, mine, theirs in pairs})

    def filled(self, other: Budget) -> Budget:
        """These bounds, and where there is none the other's."""
        return Budget(**{name: getattr(self, name) or getattr(other, name) for name in self.__struct_fields__})

    def left(self, used: Used) -> Budget:
        """What is left of each bound, if none is reached."""
        pairs = ((name, getattr(self, name), getattr(used, name)) for name in self.__struct_fields__)
        return Budget(**{name: allowed and allowed - value for name, allowed, value in pairs})

    def reached(self, used: Used) -> str:
        """Which bound is reached, in words; empty for none."""
        for name in self.__struct_fields__:
            allowed, value = getattr(self, name), getattr(used, name)
            if allowed and value >= allowed:
                return f"{value:,.15g} {name} are used, the budget of the run is {allowed:,.15g}"
        return ""


def words_of(amounts: Budget | Used) -> str:
    """In words: `1 turn, 2,000,000 tokens, 5 cost`. Empty for nothing."""
    found = ((name, getattr(amounts, name)) for name in amounts.__struct_fields__)
    return ", ".join(f"{amount:,.15g} {name.removesuffix('s') if amount == 1 else name}" for name, amount in found if amount)


def check_budget(budget: Budget) -> None:
    """UsageError for a bound that makes no sense."""
    for name, most in (("turns", TURNS_MAX), ("tokens", TOKENS_MAX), ("cost", COST_MAX)):
        value = getattr(budget, name)
        if not 0 <= value <= most:
            raise UsageError(f"budget {name} {value:g} is not possible", hint=f"0 (none) to {most:g}", field="budget")
