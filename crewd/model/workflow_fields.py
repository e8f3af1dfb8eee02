"""The fields of a step in a workflow file, and the step that they make. Pure.

Tests: tests/model/test_workflow.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from crewd.model.agent import Access
from crewd.model.errors import UsageError
from crewd.model.green import LEVELS, Level
from crewd.model.markdown import BLOCK, SourceLine, did_you_mean, wrong
from crewd.model.packet import Packet
from crewd.model.packet_text import read_packet
from crewd.model.policy import TRIES_MAX, Limits, RestartPolicy, Restarts, Retry
from crewd.model.quantities import quantity
from crewd.model.variables import is_own
from crewd.model.workflow import Effectiveness, PeerProtocol, Step, WorkerSpec
from crewd.model.yaml_text import Yaml, is_text, read_yaml, scalar_text, whole

P = TypeVar("P", Limits, Restarts)
FIELDS = (
    "role", "agent", "model", "skills", "dependsOn", "output", "reads", "call", "run", "args", "stdin", "start", "env", "cwd",
    "limits", "retries", "restart", "outside", "protocol", "access", "conflictKey", "effectiveness", "verify",
    "packet", "adaptive",
)  # fmt: skip
TOLERATED = ("parallelGroup", "progress", "worktree")
"""Fields of other systems' workflows that change nothing here."""
_MAY_BE_EMPTY = ("role", "model", "skills", "dependsOn", "reads", "verify", *TOLERATED)
_OF_ANY_TEXT = ("run", "verify", "args", "env", "limits")
"""Fields in whose values ` #` may mean something."""
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]+(.*?))?[ \t]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POLICIES_MEANT = {"always": "permanent", "on_failure": "transient", "no": "temporary", "never": "temporary"}
MEANT = {
    "cmd": "run", "command": "run", "exec": "run", "shell": "run", "sh": "run", "script": "run", "bash": "run",
    "python": "call",
    "function": "call", "needs": "dependsOn", "depends": "dependsOn", "depends_on": "dependsOn", "after": "dependsOn",
    "requires": "dependsOn", "out": "output", "outputs": "output", "input": "reads", "inputs": "reads", "environment": "env",
    "arguments": "args", "retry": "retries", "timeout": "limits", "limit": "limits",
}  # fmt: skip


class Field(msgspec.Struct, frozen=True):
    """A field: its text, and its line. `block`: the text is the YAML below it; `literal`: the text is the lines below it."""

    key: str
    text: str
    number: int
    block: bool = False
    literal: bool = False

    def yaml(self, *, typed: bool = False) -> Yaml:
        """The text read as YAML."""
        return read_yaml(self.text, self.number + 1 if self.block else self.number, typed=typed)

    def line(self, row: int = 0) -> int:
        """The line of the file for the `row`-th line of the text, counted from 1; 0 is the field itself."""
        return self.number + row if self.literal and row else self.number


class Fields:
    """The fields of one step, by name."""

    def __init__(self, step: str, number: int, found: Mapping[str, Field]) -> None:
        self.step = step
        self.number = number
        self._found = found

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def get(self, key: str) -> Field | None:
        """The field, if it is given."""
        return self._found.get(key)

    def line(self, key: str, row: int = 0) -> int:
        """The line of a field; that of the step's heading if it is not given."""
        field = self._found.get(key)
        return self.number if field is None else field.line(row)

    def wrong(self, key: str, message: str, hint: str = "") -> UsageError:
        """An error about a field."""
        return wrong(self.line(key), f"step {self.step}: {message}", hint)

    def text(self, key: str) -> str:
        """The one value of a field; empty if it is not given."""
        field = self._found.get(key)
        if field is None:
            return ""
        if field.block:
            raise self.wrong(key, f"{key} is one value, and no list", f"{key}: value")
        return field.text if field.literal or (key == "run" and not _quoted(field.text)) else unquote(field.text)

    def choice(self, key: str, known: Iterable[str]) -> str:
        """The value of a field that is one of `known`; the first of them if it is not given."""
        known = tuple(known)
        value = self.text(key) or known[0]
        if value not in known:
            raise self.wrong(key, f"{key} {value!r} is not possible", did_you_mean(value, filter(None, known), {}))
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names: `a, b`, `[a, b]`, or a YAML list below it."""
        field = self._found.get(key)
        if field is None:
            return ()
        if field.block:
            found = field.yaml().value
            if not isinstance(found, list):
                raise self.wrong(key, f"{key} is no list of names", f"{key}: a, b")
            names = tuple(scalar_text(each, field.number, f"a name in {key}") for each in found)
        else:
            text = field.text[1:-1] if field.text.startswith("[") and field.text.endswith("]") else field.text
            names = tuple(name for part in text.split(",") if (name := unquote(part.strip())))
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise self.wrong(key, f"{twice} stands twice in {key}", "name each once")
        return names

    def mapping(self, key: str, *, typed: bool = False) -> Yaml:
        """A field that is a JSON object, a YAML mapping below it, or `name=value, name=value`."""
        field = self._found.get(key)
        if field is None:
            return Yaml({}, self.number)
        if not field.block and not field.text.startswith("{") and "=" in field.text:
            return Yaml(self._assigned(field), field.number)
        found = field.yaml(typed=typed)
        if not isinstance(found.value, dict):
            hint = f'for example {key}: {{"name": 2}}, or lines "  name: 2" below it'
            raise self.wrong(key, f"{key} is not a JSON object", hint)
        return found

    def _assigned(self, field: Field) -> dict[str, str]:
        found: dict[str, str] = {}
        for pair in field.text.split(","):
            name, sign, value = pair.partition("=")
            name = name.strip()
            if not sign:
                hint = f'a value with a comma needs {field.key}: {{"NAME": "a,b"}}'
                raise self.wrong(field.key, f"{name!r} is not name=value", hint)
            if name in found:
                raise self.wrong(field.key, f"{name!r} stands twice in {field.key}", "give each name once")
            if re.search(r"\s[A-Za-z_]\w*=", value) and not _quoted(value.strip()):
                hint = f'separate them by commas; a value with spaces and "=" needs {field.key}: {{"{name}": "..."}}'
                raise self.wrong(field.key, f"{pair.strip()!r} may be one value or several", hint)
            found[name] = unquote(value.strip())
        return found


def read_fields(step: str, heading: SourceLine, lines: list[SourceLine]) -> tuple[Fields, int]:
    """The fields that stand directly below a heading, and the place of the first line after them."""
    at = 0
    while at < len(lines) and (not lines[at].text.strip() or lines[at].comment):
        at += 1
    found: dict[str, Field] = {}
    while at < len(lines) and lines[at].text.strip():
        if lines[at].comment:
            at += 1
            continue
        field, at = _field(lines, at)
        if field.key in found:
            raise wrong(field.number, f"{field.key} stands twice in step {step}", "give each field once")
        found[field.key] = field
    return Fields(step, heading.number, found), at


def field_name(line: str) -> str | None:
    """The name of the field that a line is, if it is written as one."""
    found = _FIELD.match(line)
    return found[1] if found else None


def _field(lines: list[SourceLine], at: int) -> tuple[Field, int]:
    """A field, and where the next line is."""
    line = lines[at]
    found = _FIELD.match(line.text)
    if found is None:
        hint = "a field is 'key: value' at the beginning of a line; fields end at the first blank line, and the text follows"
        raise wrong(line.number, f"{line.text.strip()!r} is no field of a step", hint)
    key, value = found[1], (found[2] or "").strip()
    if key not in FIELDS and key not in TOLERATED:
        raise wrong(line.number, f"{key!r} is no field of a step", did_you_mean(key, FIELDS, MEANT))
    block: list[str] = []
    while (end := _block_goes_on(lines, at, value)) > at:
        block += [each.text for each in lines[at + 1 : end + 1]]
        at = end
    if not value:
        _check_list_is_over(lines, at, block)
    if BLOCK.fullmatch(value):
        scalar = read_yaml("\n".join([f"{key}: {value}", *block]), line.number).value
        text = (scalar_text(scalar[key], line.number, key)).strip("\n")
        field = Field(key, text, line.number, literal=True)
    elif block:
        field = Field(key, "\n".join(block), line.number, block=True)
    else:
        field = Field(key, value, line.number)
    if not field.block and not field.literal:
        _check_plain(field)
    if not field.text.strip("\"' ") and key not in _MAY_BE_EMPTY:
        raise wrong(line.number, f"{key} has no value", f"write one, or leave {key} out")
    return field, at + 1


def _check_plain(field: Field) -> None:
    """UsageError for what YAML would take in another way than it is taken here: a comment, and a list as a command."""
    if field.key == "run" and re.match(r"\[\S", field.text):
        raise wrong(field.number, "run is a command line, and no list", "run: echo a")
    if field.key not in _OF_ANY_TEXT and not _quoted(field.text) and re.search(r"\s#", field.text):
        raise wrong(
            field.number, f"{field.key} has a comment behind it, which would be a part of it", "leave it out, or use quotes"
        )


def _block_goes_on(lines: list[SourceLine], at: int, value: str) -> int:
    """The last line of the next piece of a block: an indented line, also after blank lines, or the item of a list."""
    if value and not BLOCK.fullmatch(value):
        return at
    end = at + 1
    while end < len(lines) and not lines[end].text.strip():
        end += 1
    if end == len(lines) or lines[end].code:
        return at
    item = end == at + 1 and lines[end].text.startswith("- ")
    return end if item or re.match(r"[ \t]+\S", lines[end].text) else at


def _check_list_is_over(lines: list[SourceLine], at: int, block: list[str]) -> None:
    """UsageError for an item after a blank line, which may be one more of the list or the beginning of the text."""
    after = next((line for line in lines[at + 1 :] if line.text.strip()), None)
    if after is None or not after.text.startswith("- ") or (block and block[-1][:1] in {" ", "\t"}):
        return
    hint = "indent the items of the list; or begin the text with a sentence"
    raise wrong(after.number, "it is not clear whether the list goes on here, or the text begins", hint)


def _names_levels(field: Field) -> bool:
    """Whether the one line is `{LEVEL: COMMAND, …}` or would be: a group of commands of a shell is nothing like that."""
    if re.match(r"\{\s*\}|\[[^\s\[]", field.text):
        return True
    if re.search(r";\s*\}\Z", field.text):
        return False
    try:
        value = field.yaml().value if field.text.startswith("{") else None
    except UsageError:
        return False
    words = value.items() if isinstance(value, dict) else ()
    return any(each is not None for _, each in words) and all(re.fullmatch(r"[\w-]+", str(name)) for name, _ in words)


def _verify(fields: Fields) -> tuple[str, dict[Level, str]]:
    """A command, or one for each of some levels."""
    field = fields.get("verify")
    if field is None or not (field.block or _names_levels(field)):
        command = fields.text("verify")
        return ("" if command in {"true", "false"} else command), {}
    yaml = field.yaml()
    if not isinstance(yaml.value, dict) or not yaml.value:
        hint = f"below verify, a line such as '  {LEVELS[0]}: COMMAND' for each level"
        raise fields.wrong("verify", "verify is a command, or one for each level", hint)
    found: dict[str, str] = {}
    for name, value in yaml.value.items():
        if name not in LEVELS:
            raise wrong(yaml.line(name), f"step {fields.step}: there is no level {name!r}", did_you_mean(name, LEVELS, {}))
        found[name] = scalar_text(value, yaml.line(name), f"the command of {name}") if value is not None else ""
    return "", {level: found[level] for level in LEVELS if level in found}


def unused(fields: Fields) -> tuple[str, ...]:
    """The fields of a step that change nothing: those of other systems, and `verify: true`, which names no command."""
    verify = fields.get("verify")
    names_none = verify is not None and not verify.block and fields.text("verify") == "true"
    return (*(key for key in TOLERATED if key in fields), *(["verify"] if names_none else []))


def make_step(fields: Fields, text: str) -> Step:
    """The step. UsageError with the line of a field that is not understood."""
    retries = fields.text("retries") or "0"
    if not re.fullmatch(r"[0-9]{1,6}", retries):
        number = re.fullmatch(r"[-+]?[0-9]+", retries)
        words = f"retries {retries} are not possible" if number else f"retries {retries!r} is not a number"
        raise fields.wrong("retries", words, f"0 to {TRIES_MAX - 1}")
    stdin = fields.text("stdin") or "none"
    if stdin not in {"none", "lines"} and not set(stdin) & {"/", "."}:
        hint = "use one of the two, or the path of a file, such as ./data"
        raise fields.wrong("stdin", f"stdin {stdin!r} is neither 'none' nor 'lines'", hint)
    given: dict[str, Any] = {"stdin": stdin} if stdin in {"none", "lines"} else {"stdin": "file", "stdin_file": stdin}
    model = fields.text("model")
    output, reads = fields.text("output"), fields.names("reads")
    verify, levels = _verify(fields)
    return Step(
        id=fields.step,
        role=fields.text("role"),
        agent=fields.text("agent"),
        skills=fields.names("skills"),
        model="" if model == "false" else model,
        depends_on=fields.names("dependsOn"),
        reads=() if reads == ("false",) else reads,
        reads_nothing=reads == ("false",),
        output="" if output == "false" else output,
        text=text,
        access=_one_of(fields, "access", Access),
        conflict_key=fields.text("conflictKey"),
        verify=verify,
        verify_levels=levels,
        effectiveness=_one_of(fields, "effectiveness", Effectiveness),
        packet=_packet(fields),
        adaptive=fields.choice("adaptive", ("false", "true")) == "true",
        worker=WorkerSpec(
            call=fields.text("call"),
            cwd=fields.text("cwd"),
            shell=fields.text("run"),
            args=_args(fields),
            start="spawn" if fields.choice("start", ("fork", "spawn")) == "spawn" else "fork",
            env=_env(fields),
            limits=_policy("limits", fields.mapping("limits"), Limits),
            retry=Retry(attempts=int(retries) + 1),
            restart=_restart(fields),
            outside=fields.choice("outside", ("false", "true")) == "true",
            protocol=_one_of(fields, "protocol", PeerProtocol),
            **given,
        ),
    )


def _one_of(fields: Fields, key: str, known: Any) -> Any:
    """The value of a field that is one of those of a Literal, the first of which is the default."""
    return fields.choice(key, get_args(known))


def _quoted(value: str) -> bool:
    """Whether all of it is one quoted text: `"a" "b"` is two."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]


def unquote(value: str) -> str:
    """The text without the quotes around it."""
    return value[1:-1] if _quoted(value) else value


def _is_json(text: str) -> bool:
    """Whether it is JSON, or is meant to be, and no YAML of one line: `{a: 1}`."""
    return not re.match(r"\{\s*[A-Za-z_]", text)


def _args(fields: Fields) -> dict[str, object]:
    field = fields.get("args")
    if field is None:
        return {}
    if field.block or not _is_json(field.text):
        found: dict[str, object] = fields.mapping("args", typed=True).value
        return found

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise fields.wrong("args", f"{twice!r} stands twice in args", "give each name once")
        return dict(pairs)

    def no_number(text: str) -> object:
        raise ValueError(f"{text} is no number that JSON has")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else no_number(text)  # type: ignore[return-value]  # it raises

    try:
        args = json.loads(
            field.text, object_pairs_hook=once, parse_constant=no_number, parse_float=finite,
            parse_int=lambda digits: whole(int(digits[:40]), fields.line("args")),
        )  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise fields.wrong("args", f"args is not a JSON object: {error}", 'for example {"depth": 2}') from None
    if not isinstance(args, dict):
        raise fields.wrong("args", "args is not a JSON object", 'for example {"depth": 2}')
    if not is_text(json.dumps(args, ensure_ascii=False)):
        raise fields.wrong("args", "args holds half of a character (a lone surrogate)", "write the character itself")
    return args


def _env(fields: Fields) -> dict[str, str]:
    yaml = fields.mapping("env")
    found = {}
    for name, value in yaml.value.items():
        at = yaml.line(name)
        if not _VARIABLE.fullmatch(name):
            raise wrong(at, f"{name!r} is no name of a variable", "letters, digits and '_', and no digit first")
        if is_own(name):
            raise wrong(at, f"{name} is set by crewd", "give the variable another name")
        found[name] = scalar_text(value, at, f"the variable {name}")
    return found


def _policy(key: str, yaml: Yaml, kind: type[P]) -> P:
    known = kind.__struct_fields__
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in yaml.value.items():
        at = yaml.line(name)
        if name not in known:
            raise wrong(at, f"{key} is wrong: there is no {name!r}", did_you_mean(name, known, {}))
        text = scalar_text(value, at, name)
        if name == "policy":
            if text not in get_args(RestartPolicy):
                hint = did_you_mean(
                    text,
                    get_args(RestartPolicy),
                    _POLICIES_MEANT,
                )
                raise wrong(at, f"restart {text!r} is not possible", hint)
            values[name] = text
            continue
        try:
            values[name] = quantity(name, text, integral=types[name] is int)
        except UsageError as error:
            raise wrong(at, error.message, error.hint) from None
    return msgspec.convert(values, kind)


def _packet(fields: Fields) -> Packet | None:
    field = fields.get("packet")
    if field is None:
        return None
    if not field.block and not field.text.startswith("{"):
        raise fields.wrong(
            "packet", "packet is not 'name: value'", "for example packet: {scope: workspace, acceptance: it works}"
        )
    return read_packet(fields.mapping("packet"))


def _restart(fields: Fields) -> Restarts:
    field = fields.get("restart")
    if field is None or field.block or field.text.startswith("{") or "=" in field.text:
        found = fields.mapping("restart")
        if found.value and "policy" not in found.value:
            raise fields.wrong("restart", "restart has no policy, so the rest of it would do nothing", "policy=permanent, …")
        return _policy("restart", found, Restarts)
    return _policy("restart", Yaml({"policy": unquote(field.text)}, field.number), Restarts)
