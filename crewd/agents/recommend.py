"""Which team a goal is for, by the words that the teams' files name, and the parts of a goal that is a list. Pure.

Rule 1: a team is for a goal in which one of its `triggers` or of its `useWhen` stands. A phrase counts as many points as it has
words; the most points win, then the name that comes first. A team of which an `avoidWhen` stands in the goal is left out.
Rule 2: a goal with no such word is for the team `default`, if there is one.
Rule 3: a goal that lists several things is several goals. If their team changes something, each needs a directory of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from crewd.agents.team import Team

DEFAULT = "default"
PARTS_MAX = 20
_POINT = re.compile(r"[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+(\S.*)")
_WORD = re.compile(r"\w+")
_ENDINGS = ("", "s", "es", "d", "ed", "ing")


class Fit(msgspec.Struct, frozen=True):
    """How well a team fits. `words` are those of its file that stand in the goal; `avoided` those that leave it out."""

    team: str
    points: int
    words: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()


class Recommendation(msgspec.Struct, frozen=True):
    """The team for a goal (empty if there is none), why, and how well each other team fits.

    `parts` are what the goal lists, if it lists several things; `worktrees`: each of them should have a directory of its own,
    because their workers change something at the same time.
    """

    team: str
    why: str
    others: tuple[Fit, ...] = ()
    parts: tuple[str, ...] = ()
    worktrees: bool = False


def recommend(goal: str, teams: Iterable[Team], *, changes: Callable[[str], bool]) -> Recommendation:
    """The team for this goal. `changes` says whether the workers of the team of this name may change something."""
    fits = sorted((_fit(goal, team) for team in teams), key=lambda fit: (-fit.points, fit.team))
    best = next((fit for fit in fits if fit.points and not fit.avoided), None)
    if best is not None:
        team, why = best.team, f"the goal says {', '.join(map(repr, best.words))}"
    else:
        team = next((fit.team for fit in fits if fit.team == DEFAULT and not fit.avoided), "")
        why = "no team names a word of the goal" + (", and this is the default" if team else "")
    others = tuple(fit for fit in fits if fit.team != team and (fit.points or fit.avoided))
    parts = parts_of(goal)
    return Recommendation(team, why, others, parts, worktrees=len(parts) > 1 and bool(team) and changes(team))


def parts_of(goal: str) -> tuple[str, ...]:
    """The things that a goal lists, one line each: nothing unless there are several."""
    found = [match[1].strip() for line in goal.splitlines() if (match := _POINT.fullmatch(line))]
    return tuple(found[:PARTS_MAX]) if len(found) > 1 else ()


def _fit(goal: str, team: Team) -> Fit:
    words = [word.casefold() for word in _WORD.findall(goal)]
    found = tuple(dict.fromkeys(phrase for phrase in (*team.triggers, *team.use_when) if _stands(phrase, words)))
    avoided = tuple(phrase for phrase in team.avoid_when if _stands(phrase, words))
    return Fit(team.name, sum(len(_WORD.findall(phrase)) for phrase in found), found, avoided)


def _stands(phrase: str, words: Sequence[str]) -> bool:
    wanted = [word.casefold() for word in _WORD.findall(phrase)]
    last = len(words) - len(wanted)
    return bool(wanted) and any(all(map(_is_form, words[at:], wanted)) for at in range(last + 1))


def _is_form(word: str, of: str) -> bool:
    """Whether this is the word, or a usual form of it: `adds`, `adding` of `add`; `removing` of `remove`."""
    return word in {f"{of}{ending}" for ending in _ENDINGS} or (of.endswith("e") and word == f"{of[:-1]}ing")
