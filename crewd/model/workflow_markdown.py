"""Workflows as people write them: Markdown with YAML front matter, text in, `Workflow` out. Pure.

A step is a level-2 heading that is the step's name, with fields directly below it, up to the first blank line; what follows
is the task's text. A heading of several words with no field below it belongs to the text of the step before. Whatever else
is not understood is an error that names the line: nothing that looks like a step or a field is taken for text.

Tests: tests/model/test_workflow.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.markdown import SourceLine, front_matter, wrong
from crewd.model.redact import clip
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.workflow import Step, Workflow, check_workflow
from crewd.model.workflow_fields import FIELDS, MEANT, TOLERATED, Fields, field_name, make_step, read_fields, unused
from crewd.model.workflow_head import KEYS, Head, parse_head
from crewd.model.workflow_head import TOLERATED as HEAD_TOLERATED

T = TypeVar("T")

_LIKE_A_FIELD = re.compile(r"\s*[-*]?\s*([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]|\Z)")
_MEANT_AS_FIELD = re.compile(r"[\s>*_-]*([A-Za-z][A-Za-z0-9_-]*)[*_`]*\s*:")
"""A line of text that may be meant as a field: with a bullet, indented, emphasised, or without the space."""
_OTHER_HEADING = re.compile(r"\s{0,3}(?:[-*]\s+|\*\*)?(#{1,6})\s*([^#\s].*)")
_UNDERLINE = re.compile(r" {0,3}(?:-{2,}|={2,})[ \t]*\Z")
"""What makes a heading of the line above it, in Markdown."""
_OF_COMMANDS = frozenset(
    {"run", "call", "dependson", "args", "stdin", "env", "limits", "retries", "restart", "outside", "protocol"}
)
"""Fields, in lower case, that no sentence of a prompt begins with."""
_GLUED = re.compile(r"([A-Za-z]+):(\S.*)")
"""A field without the space after its colon."""
_WORDS = frozenset(field.lower() for field in FIELDS) | frozenset(word.replace("_", "") for word in MEANT)
"""Fields, and what other systems call them, without regard to case, `-` and `_`."""
_HEAD_WORDS = frozenset(key.lower() for key in (*KEYS, *HEAD_TOLERATED))


class Understood(msgspec.Struct, frozen=True):
    """A workflow, and the fields of its text that change nothing: each with its line, and with its step if it is in one."""

    workflow: Workflow
    unused: tuple[str, ...]


def parse_workflow(text: str, *, default_name: str = "") -> Workflow:
    """The checked workflow in a Markdown `text`. UsageError names the line that is wrong, and what to write instead."""
    return understand(text, default_name=default_name).workflow


def understand(text: str, *, default_name: str = "") -> Understood:
    """The same, with what of the text is not used.

    The front matter and each step are looked at even if another one is wrong: the error is about the first line that is, and
    its value `further` has a line for each of the others.
    """
    head_text, lines = front_matter(text)
    wrongs: list[UsageError] = []
    head, head_line = _tried(wrongs, lambda: parse_head(head_text)) or (Head(), lambda _: 0)
    _tried(wrongs, lambda: _check_beginning(lines))
    sections = _tried(wrongs, lambda: _sections(lines)) or []
    made = [_tried(wrongs, partial(_step, heading, below)) for heading, below in sections]
    if wrongs:
        raise _first_of(wrongs)
    steps = [each[0] for each in made if each]
    fields = [each[1] for each in made if each]
    workflow = Workflow(
        name=head.name or default_name or "workflow",
        description=head.description,
        max_concurrency=head.max_concurrency,
        max_minutes=head.max_minutes,
        join=head.join,
        labels=head.labels,
        inputs=head.inputs,
        plan_approval=head.plan_approval,
        unbounded=head.unbounded,
        budget=head.budget,
        green=head.green,
        steps=tuple(steps),
    )
    try:
        check_workflow(workflow)
    except UsageError as error:
        at = _place(error, head_line, fields)
        raise (wrong(at, error.message, error.hint) if at else error) from None
    of_steps = (f"line {each.line(key)}: {key} of step {each.step}" for each in fields for key in unused(each))
    models = (
        f"line {each.line(key)}: {key} of step {step.id}" for each, step in zip(fields, steps, strict=True)
        for key in ("model", "skills") if key in each and RUNTIMES[step.worker.runtime].by is not By.NOBODY
    )  # fmt: skip
    return Understood(workflow, (*head.unused, *of_steps, *models))


def _tried(wrongs: list[UsageError], make: Callable[[], T]) -> T | None:
    """What `make` returns. What it finds wrong is added to `wrongs`, and None is returned."""
    try:
        return make()
    except UsageError as error:
        wrongs.append(error)
        return None


def _first_of(wrongs: list[UsageError]) -> UsageError:
    """The error about the first line, which tells of the others too."""
    first, *others = sorted(
        {str(error): error for error in wrongs}.values(), key=lambda error: int(error.values.get("line") or 0)
    )
    return UsageError(first.message, hint=first.hint, **first.values, further="\n".join(map(str, others)))


def _place(error: UsageError, head_line: Callable[[str], int], fields: Iterable[Fields]) -> int:
    """The line that an error of `check_workflow` is about; 0 if it is about no line of its own."""
    key, step, row = str(error.values.get("field", "")), error.values.get("step"), error.values.get("row", 0)
    if step is None:
        return head_line(key) if key else 0
    found = [each for each in fields if each.step == step]
    return found[-1].line(key, int(row or 0)) if found else 0


def _check_beginning(lines: list[SourceLine]) -> None:
    """UsageError for what stands before the first step, where only sentences and titles may, and looks like more."""
    for at, line in enumerate(lines):
        if line.heading is not None and _is_step(lines, at):
            return
        if line.code or line.comment:
            continue
        text = line.text.strip()
        if text in {"+++", "---"} or re.fullmatch(r"-{4,}", text):
            below = field_name(lines[at + 1].text) if at + 1 < len(lines) else None
            if _UNDERLINE.match(line.text) and at and lines[at - 1].text.strip() and below not in KEYS:
                continue  # it underlines a title
            hint = "the front matter is YAML between two lines '---', the first of which is the first line of the file"
            raise wrong(line.number, f"{text!r} begins no front matter here", hint)
        found = _MEANT_AS_FIELD.match(line.text)
        if found and _plain(found[1]) in _HEAD_WORDS | _WORDS:
            hint = "put it into the front matter, or below the heading of its step"
            raise wrong(line.number, f"{found[1]!r} stands before the first step, where nothing is read", hint)


def _plain(key: str) -> str:
    return key.lower().replace("-", "").replace("_", "")


def _sections(lines: list[SourceLine]) -> list[tuple[SourceLine, list[SourceLine]]]:
    """Each step's heading with the lines below it. UsageError for what may be meant as a step and is none."""
    sections: list[tuple[SourceLine, list[SourceLine]]] = []
    for at, line in enumerate(lines):
        if not line.block and _is_step(lines, at):
            sections.append((line, []))
        elif sections:
            sections[-1][1].append(line)
    return sections


def _is_step(lines: list[SourceLine], at: int) -> bool:
    line = lines[at]
    below = lines[at + 1] if at + 1 < len(lines) else SourceLine(line.number + 1, "")
    key = _key_below(below)
    title = line.heading
    if title is None:
        other = None if line.code or line.comment else _OTHER_HEADING.match(line.text)
        if other is not None and key in FIELDS:
            said = f"{line.text.strip()!r} has fields below it, and is no level-2 heading"
            raise wrong(line.number, said, f"write '## {_as_name(other[2])}'")
        if not line.code and line.text.strip() and _UNDERLINE.match(below.text) and _field_after(lines, at + 2):
            said = f"the underlined heading {line.text.strip()!r} has fields below it"
            raise wrong(line.number, said, f"write '## {_as_name(line.text)}'")
        return False
    fields = key is not None and not below.code and not below.comment
    if not fields:
        after = next((each for each in lines[at + 1 :] if each.text.strip() and not each.comment), None)
        key = None if after is None or after.code else _key_below(after)
        fields = key is not None and (key in (*FIELDS, *TOLERATED) or key.lower() in _OF_COMMANDS)
    is_name = bool(title) and " " not in title and "\t" not in title
    if not fields:
        glued = _GLUED.match(below.text)
        if glued is not None and glued[1] in FIELDS:
            raise wrong(below.number, f"{below.text.strip()!r} is no field", f"write '{glued[1]}: {glued[2]}', with a space")
        if not is_name:
            return False
        hint = "give it fields directly below, such as 'run: make', or make it a level-3 heading of the text"
        raise wrong(line.number, f"the step {title!r} has no fields", hint)
    try:
        check_name("step", title)
    except UsageError:
        if len(title) > NAME_CHARS_MAX:
            what = f"the heading {clip(title, 40)!r} has {len(title)} characters"
            raise wrong(line.number, what, f"a step's name has at most {NAME_CHARS_MAX}") from None
        hint = f"write '## {_as_name(title)}'; a heading of the text is followed by a blank line"
        raise wrong(line.number, f"the heading {title!r} is not a name of a step", hint) from None
    return True


def _key_below(line: SourceLine) -> str | None:
    found = _LIKE_A_FIELD.match(line.text)
    return found[1] if found else None


def _as_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-._").lower() or "step"


def _step(heading: SourceLine, lines: list[SourceLine]) -> tuple[Step, Fields]:
    fields, at = read_fields(heading.heading or "", heading, lines)
    rest = [line for line in lines[at:] if not line.comment]
    _check_text(fields, rest)
    text = re.sub(r"(?m)^\\##", "##", "\n".join(line.text for line in rest).strip())
    return make_step(fields, text), fields


def _check_text(fields: Fields, lines: list[SourceLine]) -> None:
    """UsageError for a field that stands in the text, where it would do nothing.

    The text of a command is for people, so any line that begins like a field is an error there, however it is written. The
    text of an agent is its prompt, in which "Output: a list" may stand: only its first line is looked at for exact names, and
    the rest for `dependsOn`.
    """
    prompt = not ({"run", "call", "outside"} & {key for key in FIELDS if key in fields})
    for at, line in enumerate(line for line in lines if line.text.strip()):
        found = None if line.code else _MEANT_AS_FIELD.match(line.text)
        if found is None:
            continue
        key = found[1]
        exact = at == 0 and field_name(line.text) in FIELDS
        if (exact or _plain(key) == "dependson") if prompt else _plain(key) in _WORDS:
            hint = "fields stand directly below each other; the text begins after the first blank line"
            raise wrong(line.number, f"{key!r} stands after a blank line, where the text of step {fields.step} begins", hint)


def _field_after(lines: list[SourceLine], at: int) -> bool:
    """Whether the next line that is not empty is a field."""
    after = next((line for line in lines[at:] if line.text.strip() and not line.comment), None)
    return after is not None and not after.code and (field_name(after.text) or "").lower() in _OF_COMMANDS | {"role", "output"}
