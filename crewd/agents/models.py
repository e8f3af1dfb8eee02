"""Which model is meant: names as people write them, and the models that an agent offers. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crewd.model.agent import Agent

THINKING: Final[Mapping[str, tuple[str, ...]]] = {
    "claude": ("low", "medium", "high", "xhigh", "max"),
    "codex": ("none", "minimal", "low", "medium", "high", "xhigh"),
}
"""Levels of thinking that can follow a model's name, as in `opus:high`, by the runtimes that take one apart from the name.

pi and oh-my-pi split names themselves.
"""
_ANY: Final = frozenset({"off"}).union(level for levels in THINKING.values() for level in levels)
SHOWN_MAX: Final = 5
_WORDS = re.compile(r"[^\W_]+")


def split_level(name: str, levels: Collection[str] = _ANY) -> tuple[str, str]:
    """A model's name and the level of thinking that follows it, one of `levels`; empty if none does."""
    model, _, level = name.rpartition(":")
    return (model, level) if model and level in levels else (name, "")


def levels_of(runtime: str) -> tuple[str, ...]:
    """The levels of thinking that can be meant with this runtime, in an agent's file."""
    return THINKING.get(runtime, tuple(sorted(_ANY)))


def asked_of(agent: Agent) -> tuple[str, str]:
    """The model and the level of thinking that its program is given. A level in the model's name overrides the agent's own."""
    model, level = split_level(agent.model, THINKING.get(agent.runtime, ()))
    return model, level or agent.thinking


def candidates(wanted: str, offered: Sequence[str]) -> list[str]:
    """The models that a name may mean, of those that are `offered`. One: that is it. None, or several: it means no model.

    The first of these rules that finds a model decides: the same name; the same but for large and small letters; the same
    without its providers (`PROVIDER/NAME`); the same words in any order; all of its words are in the model's name.
    """
    low = wanted.lower()
    words = set(_WORDS.findall(low))
    rules = (
        lambda name: name == wanted,
        lambda name: name.lower() == low,
        lambda name: bool(low) and name.lower().rpartition("/")[2] == low,
        lambda name: bool(words) and words == set(_WORDS.findall(name.lower().rpartition("/")[2])),
        lambda name: bool(words) and words <= set(_WORDS.findall(name.lower())),
    )
    for rule in rules:
        found = [name for name in dict.fromkeys(offered) if rule(name)]
        if found:
            return found
    return []


def why_not(wanted: str, found: Sequence[str], offered: Sequence[str]) -> str:
    """What to tell people when a name means no model, or several."""
    if found:
        return f"{wanted!r} may be any of {_some(found)}: name one of them"
    return f"the agent offers no model {wanted!r}" + (f", but {_some(offered)}" if offered else "")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more
