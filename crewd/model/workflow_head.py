"""The front matter of a workflow file: what holds for the workflow as a whole. Pure.

Tests: tests/model/test_workflow.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import msgspec

from crewd.model.budget import Budget
from crewd.model.budget_text import read_budget
from crewd.model.errors import UsageError
from crewd.model.green import Green
from crewd.model.inputs import Input, Kind, check_inputs
from crewd.model.labels import parse_labels
from crewd.model.markdown import did_you_mean, wrong
from crewd.model.quantities import seconds
from crewd.model.workflow import Join
from crewd.model.yaml_text import Yaml, field_text, read_yaml, scalar_text

KEYS = (
    "name", "description", "maxConcurrency", "maxMinutes", "join", "labels", "inputs", "requirePlanApproval",
    "allowUnboundedConcurrency", "budget", "green",
)  # fmt: skip
TOLERATED = ("triggers", "useWhen", "avoidWhen", "category", "cost")
"""Keys of other systems' workflows that change nothing here."""
_MEANT = {"concurrency": "maxConcurrency", "title": "name", "parameters": "inputs", "params": "inputs", "timeout": "maxMinutes"}
_INPUT_KEYS = ("type", "default", "choices", "description")


class Head(msgspec.Struct, frozen=True):
    """What the front matter says, with defaults for what it does not say."""

    name: str = ""
    description: str = ""
    max_concurrency: int = 0
    max_minutes: float = 0.0
    join: Join = "off"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    inputs: dict[str, Input] = msgspec.field(default_factory=dict)
    plan_approval: bool = False
    unbounded: bool = False
    budget: Budget = Budget()
    green: Green = ""
    unused: tuple[str, ...] = ()


def parse_head(text: str) -> tuple[Head, Callable[[str], int]]:
    """The front matter, and the line of a key. UsageError with the line for what is not understood."""
    yaml = read_yaml(text, 2)
    head = yaml.value
    if head is None:
        return Head(), yaml.line
    if not isinstance(head, dict):
        raise wrong(2, "the front matter is not 'key: value'", f"keys are: {', '.join(KEYS)}")
    for key in head:
        if key not in KEYS and key not in TOLERATED:
            raise wrong(yaml.line(key), f"the front matter has no key {key!r}", did_you_mean(key, KEYS, _MEANT))
    return Head(
        name=field_text(yaml, "name"),
        description=field_text(yaml, "description"),
        max_concurrency=concurrency_of(yaml),
        max_minutes=_minutes(yaml),
        join=_join(yaml),
        labels=_labels(yaml),
        inputs=_inputs(yaml),
        plan_approval=_flag(yaml, "requirePlanApproval"),
        unbounded=_flag(yaml, "allowUnboundedConcurrency"),
        budget=read_budget(yaml),
        green=_green(yaml),
        unused=tuple(f"line {yaml.line(key)}: {key}" for key in head if key in TOLERATED),
    ), yaml.line


def _flag(yaml: Yaml, key: str) -> bool:
    text = field_text(yaml, key) or "false"
    if text not in {"true", "false"}:
        raise wrong(yaml.line(key), f"{key} {text!r} is not possible", "true or false")
    return text == "true"


def concurrency_of(yaml: Yaml) -> int:
    """How many steps at once `maxConcurrency` allows; 0 without it. UsageError for what is no such number."""
    text = field_text(yaml, "maxConcurrency")
    if text and not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise wrong(
            yaml.line("maxConcurrency"), f"maxConcurrency {text!r} is not a number of steps", "1 to 999999, or leave it out"
        )
    return int(text or 0)


def _minutes(yaml: Yaml) -> float:
    text = field_text(yaml, "maxMinutes")
    if not text:
        return 0.0
    hint = "minutes above 0, or a time such as 90s or 2h; leave it out for no limit"
    try:
        found = float(text) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", text) else seconds(text) / 60
    except UsageError:
        raise wrong(yaml.line("maxMinutes"), f"maxMinutes {text!r} is not a time", hint) from None
    if found <= 0:
        raise wrong(yaml.line("maxMinutes"), f"maxMinutes {text!r} is no time to work", hint)
    return found


def _join(yaml: Yaml) -> Join:
    text = field_text(yaml, "join") or "off"
    known: tuple[Join, ...] = get_args(Join)
    for each in known:
        if each == text:
            return each
    raise wrong(yaml.line("join"), f"join {text!r} is not possible", f"one of {', '.join(known)}")


def _green(yaml: Yaml) -> Green:
    text = field_text(yaml, "green")
    known: tuple[Green, ...] = get_args(Green)
    for each in known:
        if each == text:
            return each
    raise wrong(yaml.line("green"), f"green {text!r} is not possible", f"one of {', '.join(filter(None, known))}")


def _labels(yaml: Yaml) -> dict[str, str]:
    value, line = yaml.value.get("labels"), yaml.line("labels")
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: scalar_text(each, yaml.line("labels", name), f"the label {name}") for name, each in value.items()}
    pairs = value.split(",") if isinstance(value, str) else [scalar_text(each, line, "a label") for each in value]
    return _pairs(yaml, pairs)


def _pairs(yaml: Yaml, pairs: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, pairs)):
        try:
            (label,) = parse_labels([pair]).items()
        except UsageError as error:
            raise wrong(yaml.line("labels"), error.message, error.hint) from None
        if label[0] in found:
            raise wrong(yaml.line("labels"), f"the label {label[0]} stands twice", "give each label once")
        found |= [label]
    return found


def _inputs(yaml: Yaml) -> dict[str, Input]:
    value = yaml.value.get("inputs")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(yaml.line("inputs"), "inputs is no mapping", "a name, and below it type and default")
    found = {}
    for name, each in value.items():
        found[name] = _input(yaml, name, each)
        try:
            check_inputs({name: found[name]})
        except UsageError as error:
            raise wrong(yaml.line("inputs", name), error.message, error.hint) from None
    return found


def _input(yaml: Yaml, name: str, given: Any) -> Input:
    if given is None:
        return Input()
    if isinstance(given, str):
        return Input(type=_kind(given, yaml.line("inputs", name), name))
    if not isinstance(given, dict):
        raise wrong(yaml.line("inputs", name), f"the input {name} is a list", "a type, or type and default below it")
    made: dict[str, Any] = {}
    for key, value in given.items():
        at = yaml.line("inputs", name, key)
        if key not in _INPUT_KEYS:
            raise wrong(at, f"an input has no {key!r}", did_you_mean(key, _INPUT_KEYS, {}))
        if key == "choices":
            made[key] = _choices(value, at, name)
        else:
            text = scalar_text(value, at, f"{key} of the input {name}")
            made[key] = _kind(text, at, name) if key == "type" else text
    return msgspec.convert(made, Input)


def _kind(text: str, line: int, name: str) -> Kind:
    known: tuple[Kind, ...] = get_args(Kind)
    for each in known:
        if each == text:
            return each
    meant: dict[str, Literal["integer", "text", "boolean", "directory", "file"]] = {
        "int": "integer", "string": "text", "str": "text", "bool": "boolean", "dir": "directory", "path": "file",
    }  # fmt: skip
    raise wrong(line, f"the input {name} has no type {text!r}", did_you_mean(text, known, meant))


def _choices(value: Any, line: int, name: str) -> tuple[str, ...]:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise wrong(line, f"choices of the input {name} is no list of values", "choices: [small, large]")
    choices = tuple(scalar_text(each, line, "a choice").strip() for each in texts)
    if len(set(choices)) != len(choices):
        raise wrong(line, f"a choice of the input {name} stands twice", "give each choice once")
    return choices
