"""Workflows as people write them: Markdown with YAML front matter, text in, `Workflow` out. Pure.

A step is a level-2 heading that is the step's name, with fields directly below it, up to the first blank line; what follows
is the task's text. A heading of several words with no field below it belongs to the text of the step before. Whatever else
is not understood is an error that names the line: nothing that looks like a step or a field is taken for text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.ids import check_name
from crewd.protocol.inputs import Input
from crewd.protocol.labels import parse_labels
from crewd.protocol.markdown import Line, front_matter, wrong
from crewd.protocol.policy import Limits, Restarts, Retry
from crewd.protocol.quantities import quantity, seconds
from crewd.protocol.workflow import Step, WorkerSpec, Workflow, check_workflow

P = TypeVar("P", Limits, Restarts)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]+(.*?))?[ \t]*\Z")
_BEGINS_BLOCK = re.compile(r"[A-Za-z][A-Za-z0-9_-]*[ \t]*:[ \t]+[|>][+-]?\d?[ \t]*\Z")
"""A field whose value is the indented lines below it."""
_LIKE_A_FIELD = re.compile(r"\s*[-*]?\s*([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]|\Z)")
_OTHER_HEADING = re.compile(r"\s{0,3}(?:[-*]\s+|\\*\\*)?(#{1,6})[ \t]*([^#\s].*)")
FIELDS = (
    "role", "dependsOn", "output", "reads", "call", "run", "args", "stdin", "start", "env", "limits", "retries", "restart",
    "outside", "protocol",
)  # fmt: skip
TOLERATED = ("parallelGroup", "model", "skills", "progress", "worktree", "verify")
"""Fields of other systems' workflows that change nothing here."""
HEAD = ("name", "description", "maxConcurrency", "maxMinutes", "join", "labels", "inputs")
HEAD_TOLERATED = ("triggers", "useWhen", "avoidWhen", "category", "cost")
_MEANT = {
    "cmd": "run", "command": "run", "exec": "run", "shell": "run", "sh": "run", "script": "run", "bash": "run",
    "python": "call",
    "function": "call", "needs": "dependsOn", "depends": "dependsOn", "depends_on": "dependsOn", "after": "dependsOn",
    "requires": "dependsOn", "out": "output", "outputs": "output", "input": "reads", "inputs": "reads", "environment": "env",
    "arguments": "args", "retry": "retries", "timeout": "limits", "limit": "limits", "concurrency": "maxConcurrency",
    "max_concurrency": "maxConcurrency", "max_minutes": "maxMinutes", "title": "name",
}  # fmt: skip


def parse_workflow(text: str, *, default_name: str = "") -> Workflow:
    """The checked workflow in a Markdown `text`. UsageError names the line that is wrong, and what to write instead."""
    head_text, lines = front_matter(text)
    head = _head(head_text)
    if not head_text:
        _check_no_late_head(lines)
    sections = _sections(lines)
    workflow = Workflow(
        name=_text(head, "name") or default_name or "workflow",
        description=_text(head, "description"),
        max_concurrency=_whole(head, "maxConcurrency"),
        max_minutes=_minutes(head),
        join=_one_of(head, "join", ("off", "group", "smart")),  # type: ignore[arg-type]  # one of the three literals
        labels=_labels(head.get("labels")),
        inputs=_inputs(head.get("inputs")),
        steps=tuple(_step(*section) for section in sections),
    )
    try:
        return check_workflow(workflow)
    except UsageError as error:
        at = next((line.number for line, _ in reversed(sections) if f"step {line.heading}" in error.message), 0)
        raise (wrong(at, error.message, error.hint) if at else error) from None


def _check_no_late_head(lines: list[Line]) -> None:
    """UsageError for front matter that does not begin in the first line: it would be read as text."""
    for at, line in enumerate(lines[:-1]):
        if line.heading is not None:
            return
        if line.text.strip() == "---" and (found := _FIELD.match(lines[at + 1].text)) and found[1] in HEAD:
            raise wrong(line.number, "the front matter does not begin in the first line", "take away what stands before it")


# -- front matter ---------------------------------------------------------------------------------------------------


def _yaml(text: str, first_line: int, *, typed: bool = False) -> Any:
    """What a YAML text says; all scalars as text, unless `typed`. UsageError with the line for what is no YAML."""
    import yaml  # only who reads a workflow pays for it

    class Loader(yaml.SafeLoader if typed else yaml.BaseLoader):  # type: ignore[misc]
        """Refuses a key that stands twice: YAML would silently take the last one."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        seen: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool) or key in seen:
                twice = "stands twice" if isinstance(key, str) else "is no text"
                raise wrong(first_line + key_node.start_mark.line, f"{key!r} {twice}", "give each key once")
            seen[key] = loader.construct_object(value_node, deep=True)
        return seen

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is no YAML"
        line = first_line + (mark.line if mark is not None else 0)
        raise wrong(
            line, f"this is not understood: {problem}", "quote text that holds ': ' or '#', and indent with spaces"
        ) from None
    except (ValueError, RecursionError) as error:
        raise wrong(first_line, f"this is not understood: {error}") from None


def _head(text: str) -> dict[str, Any]:
    found = _yaml(text, 2)
    if found is None or found == "":
        return {}
    if not isinstance(found, dict):
        raise wrong(2, "the front matter is not 'key: value'", f"keys are: {', '.join(HEAD)}")
    for key in found:
        if key not in HEAD and key not in HEAD_TOLERATED:
            at = next((n for n, line in enumerate(text.split("\n"), 2) if line.lstrip(" \"'").startswith(str(key))), 2)
            raise wrong(at, f"the front matter has no key {key!r}", _did_you_mean(str(key), HEAD))
    return found


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    known = tuple(known)
    same = next((each for each in known if each.lower() == word.replace("-", "").replace("_", "").lower()), None)
    meant = same or _MEANT.get(word.lower().replace("-", "_"))
    close = [meant] if meant in known else difflib.get_close_matches(word, known, 1)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]}? {listed}" if close else listed


def _text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{key} in the front matter is no text", hint=f"{key}: a few words")
    return value


def _whole(head: Mapping[str, Any], key: str) -> int:
    text = _text(head, key)
    if text and not re.fullmatch(r"[0-9]{1,6}", text):
        raise UsageError(f"{key} {text!r} is not a number", hint="use 1 or more, or leave it out")
    return int(text or 0)


def _minutes(head: Mapping[str, Any]) -> float:
    text = _text(head, "maxMinutes")
    if not text:
        return 0.0
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else seconds(text) / 60
    except UsageError:
        raise UsageError(f"maxMinutes {text!r} is not a number", hint="minutes, or a time such as 90s or 2h") from None


def _one_of(head: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    text = _text(head, key) or known[0]
    if text not in known:
        raise UsageError(f"{key} {text!r} is not possible", hint=f"one of {', '.join(known)}")
    return text


def _labels(value: Any) -> dict[str, str]:
    match value:
        case None | "":
            return {}
        case str():
            return parse_labels(filter(None, (pair.strip() for pair in value.split(","))))
        case dict():
            return parse_labels(f"{key}={each}" for key, each in value.items())
        case list() if all(isinstance(each, str) for each in value):
            return parse_labels(value)
        case _:
            raise UsageError("labels in the front matter are not understood", hint="labels: team=search, or a list of such")


def _inputs(value: Any) -> dict[str, Input]:
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise UsageError("inputs in the front matter are not understood", hint="a name, and below it type and default")
    found: dict[str, Input] = {}
    for name, each in value.items():
        given = {"type": each} if isinstance(each, str) and each else each or {}
        try:
            found[name] = msgspec.convert(given, Input)
        except msgspec.ValidationError as error:
            hint = "type: text, integer, number, boolean, file or directory; default; choices; description"
            raise UsageError(f"the input {name} is not understood: {error}", hint=hint) from None
    return found


# -- steps ----------------------------------------------------------------------------------------------------------


def _sections(lines: list[Line]) -> list[tuple[Line, list[Line]]]:
    """Each step's heading with the lines below it. UsageError for what may be meant as a step and is none."""
    sections: list[tuple[Line, list[Line]]] = []
    inside = False
    for at, line in enumerate(lines):
        inside = bool(_BEGINS_BLOCK.match(line.text)) or (
            inside and (line.text[:1] in {"", " ", "\t"} or not line.text.strip())
        )
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


def _step(heading: Line, lines: list[Line]) -> Step:
    name = heading.heading or ""
    at = 0
    while at < len(lines) and (not lines[at].text.strip() or lines[at].comment):
        at += 1
    fields: dict[str, tuple[str, Line, bool]] = {}
    while at < len(lines) and lines[at].text.strip():
        if lines[at].comment:
            at += 1
            continue
        line = lines[at]
        key, value, block, at = _field(lines, at)
        if key in fields:
            raise wrong(line.number, f"{key} stands twice in step {name}", "give each field once")
        fields[key] = (value, line, block)
    late = next((line for line in lines[at:] if line.text.strip() and not line.comment), None)
    if late is not None and not late.code and (found := _FIELD.match(late.text)) and found[1] in FIELDS:
        hint = "fields stand directly below each other; the text begins after the first blank line"
        raise wrong(late.number, f"{found[1]!r} stands after a blank line, where the text of step {name} begins", hint)
    text = "\n".join(line.text for line in lines[at:] if not line.comment).strip()
    text = re.sub(r"(?m)^\\##", "##", text)
    return _made(name, heading.number, fields, text)


def _field(lines: list[Line], at: int) -> tuple[str, str, bool, int]:
    """A field: its key, its value, whether the value is a block of YAML, and where the next line is."""
    line = lines[at]
    found = _FIELD.match(line.text)
    if found is None:
        hint = "a field is 'key: value' at the beginning of a line; fields end at the first blank line, and the text follows"
        raise wrong(line.number, f"{line.text.strip()!r} is no field of a step", hint)
    key, value = found[1], (found[2] or "").strip()
    if key not in FIELDS and key not in TOLERATED:
        raise wrong(line.number, f"{key!r} is no field of a step", _did_you_mean(key, FIELDS))
    block: list[str] = []
    while (end := _block_goes_on(lines, at, value)) > at:
        block += [each.text for each in lines[at + 1 : end + 1]]
        at = end
    if value and value[0] in "|>" and re.fullmatch(r"[|>][+-]?\d?", value):
        scalar = _yaml("\n".join([f"{key}: {value}", *block]), line.number)
        return key, str(scalar[key]).strip("\n"), False, at + 1
    return (key, "\n".join(block), True, at + 1) if block else (key, value, False, at + 1)


def _block_goes_on(lines: list[Line], at: int, value: str) -> int:
    """The last line of the next piece of a block: an indented line (or a list's), in a scalar also after blank lines."""
    if value and value[0] not in "|>":
        return at
    end = at + 1
    while value and end < len(lines) and not lines[end].text.strip():
        end += 1
    return end if end < len(lines) and re.match(r"[ \t]+\S|- ", lines[end].text) else at


def _made(name: str, number: int, fields: Mapping[str, tuple[str, Line, bool]], text: str) -> Step:
    def get(key: str, default: str = "") -> str:
        value, line, block = fields.get(key, (default, None, False))
        if block:
            raise wrong(line.number if line else number, f"{key} is one value, and no list", f"{key}: value")
        return value if key == "run" and not _quoted(value) else _unquote(value)

    def choice(key: str, known: tuple[str, ...]) -> str:
        value = get(key, known[0])
        if value not in known:
            raise wrong(
                _line(fields, key, number), f"step {name}: {key} {value!r} is not possible", f"one of {', '.join(known)}"
            )
        return value

    retries = get("retries", "0")
    if not re.fullmatch(r"[0-9]{1,6}", retries):
        raise wrong(_line(fields, "retries", number), f"step {name}: retries {retries!r} is not a number", "0 or more")
    stdin = get("stdin", "none")
    if stdin not in {"none", "lines"} and not set(stdin) & {"/", "."}:
        hint = "use one of the two, or the path of a file, such as ./data"
        raise wrong(_line(fields, "stdin", number), f"step {name}: stdin {stdin!r} is neither 'none' nor 'lines'", hint)
    given = {"stdin": stdin} if stdin in {"none", "lines"} else {"stdin": "file", "stdin_file": stdin}
    output = get("output")
    return Step(
        id=name,
        role=get("role"),
        depends_on=_names(fields, "dependsOn", number),
        reads=() if _raw(fields, "reads") == "false" else _names(fields, "reads", number),
        output="" if output == "false" else output,
        text=text,
        worker=WorkerSpec(
            call=get("call"),
            shell=get("run"),
            args=_args(name, fields, number),
            start="spawn" if choice("start", ("fork", "spawn")) == "spawn" else "fork",
            env=_pairs(fields, "env", number),
            limits=_policy(fields, "limits", number, Limits),
            retry=Retry(attempts=int(retries) + 1),
            restart=_restart(fields, number),
            outside=choice("outside", ("false", "true")) == "true",
            protocol="crewd" if choice("protocol", ("", "crewd")) else "",
            **given,  # type: ignore[arg-type]  # literals, made above
        ),
    )


def _raw(fields: Mapping[str, tuple[str, Line, bool]], key: str) -> str:
    """A field's text as it stands; empty if it is not there."""
    return fields[key][0] if key in fields else ""


def _line(fields: Mapping[str, tuple[str, Line, bool]], key: str, otherwise: int) -> int:
    return fields[key][1].number if key in fields else otherwise


def _quoted(value: str) -> bool:
    """Whether all of it is one quoted text: `"a" "b"` is two."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]


def _unquote(value: str) -> str:
    return value[1:-1] if _quoted(value) else value


def _mapping(fields: Mapping[str, tuple[str, Line, bool]], key: str, number: int, *, typed: bool = False) -> dict[str, Any]:
    """A field that is a JSON object, a YAML mapping below it, or `name=value, name=value`."""
    text, line, block = fields.get(key, ("", None, False))
    at = line.number if line is not None else number
    if not text:
        return {}
    if not block and not text.startswith("{") and "=" in text:
        pairs = [pair.partition("=") for pair in text.split(",")]
        odd = next((name for name, sign, _ in pairs if not sign), None)
        if odd is not None:
            raise wrong(at, f"{odd.strip()!r} is not name=value", f'a value with a comma needs {key}: {{"NAME": "a,b"}}')
        return {name.strip(): _unquote(value.strip()) for name, _, value in pairs}
    found = _yaml(text, at, typed=typed)
    if not isinstance(found, dict):
        raise wrong(at, f"{key} is not a JSON object", f'for example {key}: {{"name": 2}}, or lines "  name: 2" below it')
    return found


def _args(name: str, fields: Mapping[str, tuple[str, Line, bool]], number: int) -> dict[str, object]:
    text, line, block = fields.get("args", ("", None, False))
    if not text:
        return {}
    if block:
        return _mapping(fields, "args", number, typed=True)
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        at = line.number if line is not None else number
        raise wrong(at, f"step {name}: args is not a JSON object: {error}", 'for example {"depth": 2}') from None


def _pairs(fields: Mapping[str, tuple[str, Line, bool]], key: str, number: int) -> dict[str, str]:
    return {str(name): str(value) for name, value in _mapping(fields, key, number).items()}


def _policy(fields: Mapping[str, tuple[str, Line, bool]], key: str, number: int, kind: type[P]) -> P:
    found = _mapping(fields, key, number)
    try:
        values = {name: each if name == "policy" else quantity(name, str(each)) for name, each in found.items()}
        return msgspec.convert(values, kind)
    except UsageError as error:
        raise wrong(_line(fields, key, number), error.message, error.hint) from None
    except msgspec.ValidationError as error:
        hint = f"an object with some of {', '.join(kind.__struct_fields__)}"
        raise wrong(_line(fields, key, number), f"{key} is wrong: {error}", hint) from None


def _restart(fields: Mapping[str, tuple[str, Line, bool]], number: int) -> Restarts:
    text = _raw(fields, "restart")
    if text and not text.startswith("{") and not fields["restart"][2]:
        fields = {**fields, "restart": (f"{{policy: {_unquote(text)}}}", fields["restart"][1], False)}
    return _policy(fields, "restart", number, Restarts)


def _names(fields: Mapping[str, tuple[str, Line, bool]], key: str, number: int) -> tuple[str, ...]:
    text, line, block = fields.get(key, ("", None, False))
    if not block:
        return tuple(name for part in text.strip("[] ").split(",") if (name := _unquote(part.strip())))
    found = _yaml(text, line.number if line is not None else number)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise wrong(_line(fields, key, number), f"{key} is no list of names", f"{key}: a, b")
    return tuple(found)
