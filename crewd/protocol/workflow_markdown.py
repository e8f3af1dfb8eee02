"""Workflows as people write them: Markdown with YAML front matter, text in, `Workflow` out. Pure.

A step is a level-2 heading that is the step's name, with fields directly below it, up to the first blank line; what follows
is the task's text. A heading of several words with no field below it belongs to the text of the step before. Whatever else
is not understood is an error that names the line: nothing that looks like a step or a field is taken for text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from crewd.protocol.errors import UsageError
from crewd.protocol.ids import check_name
from crewd.protocol.markdown import Line, front_matter, wrong
from crewd.protocol.workflow import Step, Workflow, check_workflow
from crewd.protocol.workflow_fields import FIELDS, TOLERATED, Fields, begins_block, field_name, make_step, read_fields
from crewd.protocol.workflow_head import KEYS, parse_head

_LIKE_A_FIELD = re.compile(r"\s*[-*]?\s*([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]|\Z)")
_OTHER_HEADING = re.compile(r"\s{0,3}(?:[-*]\s+|\\*\\*)?(#{1,6})[ \t]*([^#\s].*)")
_GLUED = re.compile(r"([A-Za-z]+):(\S.*)")
"""A field without the space after its colon."""
_LOWER_FIELDS = frozenset(field.lower() for field in FIELDS)


def parse_workflow(text: str, *, default_name: str = "") -> Workflow:
    """The checked workflow in a Markdown `text`. UsageError names the line that is wrong, and what to write instead."""
    head_text, lines = front_matter(text)
    head, head_line = parse_head(head_text)
    if not head_text:
        _check_no_late_head(lines)
    steps, fields = [], []
    for heading, below in _sections(lines):
        step, of_step = _step(heading, below)
        steps.append(step)
        fields.append(of_step)
    workflow = Workflow(
        name=head.name or default_name or "workflow",
        description=head.description,
        max_concurrency=head.max_concurrency,
        max_minutes=head.max_minutes,
        join=head.join,
        labels=head.labels,
        inputs=head.inputs,
        steps=tuple(steps),
    )
    try:
        return check_workflow(workflow)
    except UsageError as error:
        at = _place(error, head_line, fields)
        raise (wrong(at, error.message, error.hint) if at else error) from None


def _place(error: UsageError, head_line: Callable[[str], int], fields: Iterable[Fields]) -> int:
    """The line that an error of `check_workflow` is about; 0 if it is about no line of its own."""
    key, step, row = str(error.values.get("field", "")), error.values.get("step"), error.values.get("row", 0)
    if step is None:
        return head_line(key) if key else 0
    found = [each for each in fields if each.step == step]
    return found[-1].line(key, int(row or 0)) if found else 0


def _check_no_late_head(lines: list[Line]) -> None:
    """UsageError for front matter that does not begin in the first line: it would be read as text."""
    for at, line in enumerate(lines[:-1]):
        if line.heading is not None:
            return
        if line.text.strip() == "---" and field_name(lines[at + 1].text) in KEYS:
            raise wrong(line.number, "the front matter does not begin in the first line", "take away what stands before it")


def _sections(lines: list[Line]) -> list[tuple[Line, list[Line]]]:
    """Each step's heading with the lines below it. UsageError for what may be meant as a step and is none."""
    sections: list[tuple[Line, list[Line]]] = []
    inside = False
    for at, line in enumerate(lines):
        inside = begins_block(line.text) or (inside and (line.text[:1] in {"", " ", "\t"} or not line.text.strip()))
        if not inside and _is_step(lines, at):
            sections.append((line, []))
        elif sections:
            sections[-1][1].append(line)
    return sections


def _is_step(lines: list[Line], at: int) -> bool:
    line = lines[at]
    below = lines[at + 1] if at + 1 < len(lines) else Line(line.number + 1, "")
    key = _key_below(below)
    title = line.heading
    if title is None:
        other = None if line.code or line.comment else _OTHER_HEADING.match(line.text)
        if other is not None and key in FIELDS:
            said = f"{line.text.strip()!r} has fields below it, and is no level-2 heading"
            raise wrong(line.number, said, f"write '## {_as_name(other[2])}'")
        return False
    fields = key is not None and not below.code and not below.comment
    if not fields:
        after = next((each for each in lines[at + 1 :] if each.text.strip() and not each.comment), None)
        key = None if after is None or after.code else _key_below(after)
        fields = key in (*FIELDS, *TOLERATED)
    is_name = bool(title) and " " not in title and "\t" not in title
    if not fields:
        if not is_name:
            return False
        glued = _GLUED.match(below.text)
        if glued is not None and glued[1] in FIELDS:
            raise wrong(below.number, f"{below.text.strip()!r} is no field", f"write '{glued[1]}: {glued[2]}', with a space")
        hint = "give it fields directly below, such as 'run: make', or make it a level-3 heading of the text"
        raise wrong(line.number, f"the step {title!r} has no fields", hint)
    try:
        check_name("step", title)
    except UsageError:
        hint = f"write '## {_as_name(title)}'; a heading of the text is followed by a blank line"
        raise wrong(line.number, f"the heading {title!r} is not a name of a step", hint) from None
    return True


def _key_below(line: Line) -> str | None:
    found = _LIKE_A_FIELD.match(line.text)
    return found[1] if found else None


def _as_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-._").lower() or "step"


def _step(heading: Line, lines: list[Line]) -> tuple[Step, Fields]:
    fields, at = read_fields(heading.heading or "", heading, lines)
    rest = [line for line in lines[at:] if not line.comment]
    _check_text(fields, rest)
    text = re.sub(r"(?m)^\\##", "##", "\n".join(line.text for line in rest).strip())
    return make_step(fields, text), fields


def _check_text(fields: Fields, lines: list[Line]) -> None:
    """UsageError for a field that stands in the text, where it would do nothing.

    The text of a command is for people, so any line that begins with the name of a field is an error there. The text of an
    agent is its prompt, in which "Output: a list" may stand: only its first line is looked at, and only for exact names.
    """
    prompt = not ({"run", "call", "outside"} & {key for key in FIELDS if key in fields})
    for at, line in enumerate(line for line in lines if line.text.strip()):
        if line.code or (prompt and at):
            continue
        key = field_name(line.text)
        if key is not None and (key in FIELDS if prompt else key.lower() in _LOWER_FIELDS):
            hint = "fields stand directly below each other; the text begins after the first blank line"
            raise wrong(line.number, f"{key!r} stands after a blank line, where the text of step {fields.step} begins", hint)
