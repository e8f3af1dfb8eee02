"""Nothing is defined that nobody produces, and nothing is produced that nobody takes."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import crewd
from crewd.guardian import care, guard_effects
from crewd.model import errors, limits
from crewd.model import events as ev
from crewd.model.config import Config
from crewd.model.kinds import KIND_OF
from crewd.model.policy import Limits
from crewd.model.reasons import CancelReason, FailureReason, RefusalReason
from crewd.model.receipts import Level, Outcome
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.run import effects as run_effects
from crewd.supervisor.run import events as run_events

ROOT = Path(crewd.__file__).parent


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in ROOT.rglob("*.py") if "testing" not in path.parts
    }


@cache
def named() -> dict[str, set[str]]:
    """Each name that the code uses, with the files in which it does: variables, attributes, and what is imported."""
    found: dict[str, set[str]] = {}
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.setdefault(node.id, set()).add(place)
            elif isinstance(node, ast.Attribute):
                found.setdefault(node.attr, set()).add(place)
    return found


@cache
def made() -> dict[str, set[str]]:
    """Each class that is called, with the files in which it is; a class in a `case` is not called there."""
    found: dict[str, set[str]] = {}
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                found.setdefault(name, set()).add(place)
    return found


@cache
def taken() -> dict[str, set[str]]:
    """Each class that a `case` or an `isinstance` names."""
    found: dict[str, set[str]] = {}
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.MatchClass):
                for each in ast.walk(node.cls):
                    name = each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")
                    found.setdefault(name, set()).add(place)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                for each in ast.walk(node.args[1]):
                    name = each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")
                    found.setdefault(name, set()).add(place)
    return found


def unused(names: Iterable[str], defined_in: set[str]) -> set[str]:
    return {name for name in names if not named().get(name, set()) - defined_in}


def test_every_event_is_recorded_has_a_kind_and_is_folded() -> None:
    kinds = {kind.__name__: kind for kind in get_args(ev.Body)}
    assert {name for name in kinds if not made().get(name, set()) - {"model/events.py"}} == set(), "nobody records it"
    assert set(kinds.values()) == set(KIND_OF)
    folded = {name for name in kinds if "store/fold.py" in taken().get(name, set())}
    assert set(kinds) - folded == set(), "the fold does not name it, not even as changing nothing"


GIVEN_BY_CALLERS = {"LEADER_INTERRUPTED", "PROVIDER_TIMEOUT"}
"""Reasons for a cancel that whoever asks for it may name (docs/messages.md); crewd itself has no cause to."""


def test_every_status_and_reason_is_used_outside_of_its_definition() -> None:
    kinds: list[type[Enum]] = [RunStatus, TaskStatus, AttemptStatus, CancelReason, FailureReason, RefusalReason, Level, Outcome]
    members = {member.name for kind in kinds for member in kind} - GIVEN_BY_CALLERS
    assert unused(members, {"model/statuses.py", "model/reasons.py", "model/receipts.py"}) == set()


def test_every_limit_is_kept_by_somebody() -> None:
    assert unused((name for name in vars(limits) if name.isupper() and not name.startswith("_")), {"model/limits.py"}) == set()


def test_every_limit_of_a_worker_is_enforced() -> None:
    """Somebody outside the rooms that only carry it reads it of a value called `limits`, as an attribute or by its name."""
    read: set[str] = set()
    for place, tree in trees().items():
        if place.split("/")[0] not in {"supervisor", "guardian", "worker"}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _is_called(node.value, "limits"):
                read.add(node.attr)
            elif isinstance(node, ast.Call) and _is_called(node.func, "getattr") and _is_called(node.args[0], "limits"):
                read |= {
                    each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    assert set(Limits.__struct_fields__) <= read


def _is_called(node: ast.expr, name: str) -> bool:
    return name in {getattr(node, "attr", ""), getattr(node, "id", "")}


def test_every_key_of_the_configuration_is_read() -> None:
    keys = [field.name for field in msgspec.structs.fields(Config)]
    assert unused(keys, {"supervisor/config.py"}) == set()


def all_below(kind: type[errors.CrewdError]) -> set[type[errors.CrewdError]]:
    return {kind}.union(*(all_below(each) for each in kind.__subclasses__()))


def test_every_error_is_raised_or_given() -> None:
    own = {kind.__name__ for kind in all_below(errors.CrewdError) if kind.__module__ == errors.__name__}
    assert {name for name in own if not made().get(name, set()) - {"model/errors.py"}} == set()


MACHINES: dict[str, object] = {
    "attempt events": heard.AttemptEvent,
    "attempt effects": do.AttemptEffect,
    "run events": run_events.RunEvent,
    "run effects": run_effects.RunEffect,
    "care events": care.Event,
    "care effects": care.Effect,
    "guard effects": guard_effects.GuardEffect,
}


@pytest.mark.parametrize("what", MACHINES)
def test_every_event_and_effect_of_a_machine_is_made_and_taken(what: str) -> None:
    names = {kind.__name__ for kind in get_args(MACHINES[what])}
    assert names
    assert {name for name in names if name not in made()} == set(), "nobody makes it"
    assert {name for name in names if name not in taken()} == set(), "nobody takes it"
