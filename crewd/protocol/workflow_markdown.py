"""Workflows as people write them: Markdown with frontmatter (system.md 2.21), text in, `Workflow` out.

Frontmatter: name, description, maxConcurrency. Body: `## <step-id>`, then fields, a blank line, the task's text. A level-2
heading inside a task's text stays text unless recognised fields follow it. `call:` and `run:` are crewd's own fields.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.policy import Limits, Restarts, Retry
from crewd.protocol.workflow import Step, WorkerSpec, Workflow, check_workflow

P = TypeVar("P", Limits, Restarts)
_HEADING = re.compile(r"##\s+(\S+)\s*\Z")
_FIELD = re.compile(r"([A-Za-z][A-Za-z_]*)\s*:\s*(.*)\Z")
_TAKEN = {
    "role",
    "dependsOn",
    "output",
    "reads",
    "call",
    "run",
    "stdin",
    "start",
    "args",
    "retries",
    "restart",
    "limits",
    "outside",
}
_TOLERATED = {"parallelGroup", "model", "skills", "progress", "worktree", "verify"}
_FIELDS = _TAKEN | _TOLERATED


def parse_workflow(text: str, *, default_name: str = "") -> Workflow:
    """The checked workflow in a Markdown `text`. UsageError names the line that is wrong."""
    head, body, first_line = _split(text)
    sections = _sections(body, first_line)
    concurrency = head.get("maxConcurrency", "0")
    if not concurrency.isdigit():
        raise UsageError(f"maxConcurrency {concurrency!r} is not a number", hint="use 1 or more, or leave it out")
    minutes = head.get("maxMinutes", "0")
    if not minutes.replace(".", "", 1).isdigit():
        raise UsageError(f"maxMinutes {minutes!r} is not a number", hint="minutes, or leave it out")
    join = head.get("join", "off")
    if join not in {"off", "group", "smart"}:
        raise UsageError(f"join {join!r} is not possible", hint="off, group or smart")
    return check_workflow(
        Workflow(
            name=head.get("name") or default_name or "workflow",
            description=head.get("description", ""),
            max_concurrency=int(concurrency),
            max_minutes=float(minutes),
            join=join,  # type: ignore[arg-type]  # one of the three literals, checked above
            labels=parse_labels(filter(None, (pair.strip() for pair in head.get("labels", "").split(",")))),
            steps=tuple(_step(*section) for section in sections),
        )
    )


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Labels from `NAME=VALUE`. UsageError for what is not that."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"label {pair!r} is not NAME=VALUE", hint="for example team=search")
        found[name] = value
    return found


def _split(text: str) -> tuple[dict[str, str], list[str], int]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, lines, 1
    for end in range(1, len(lines)):
        if lines[end].strip() == "---":
            head: dict[str, str] = {}
            for number, line in enumerate(lines[1:end], 2):
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                match = _FIELD.match(line)
                if match is None:
                    raise UsageError(f"line {number}: {line!r} is not 'key: value'", hint="frontmatter is flat")
                head[match[1]] = _unquote(match[2])
            return head, lines[end + 1 :], end + 2
    raise UsageError("the frontmatter that begins on line 1 has no end", hint="close it with a line '---'")


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _is_step_heading(lines: list[str], at: int) -> bool:
    if not _HEADING.match(lines[at]):
        return False
    following = next((line for line in lines[at + 1 :] if line.strip()), "")
    match = _FIELD.match(following)
    return match is not None and match[1] in _FIELDS


def _sections(lines: list[str], first_line: int) -> list[tuple[str, int, list[str]]]:
    starts = [at for at in range(len(lines)) if _is_step_heading(lines, at)]
    sections: list[tuple[str, int, list[str]]] = []
    for start, end in itertools.pairwise([*starts, len(lines)]):
        heading = _HEADING.match(lines[start])
        if heading is not None:
            sections.append((heading[1], first_line + start, lines[start + 1 : end]))
    return sections


def _step(name: str, line_number: int, lines: list[str]) -> Step:
    fields: dict[str, str] = {}
    at = 0
    while at < len(lines) and not lines[at].strip():
        at += 1
    while at < len(lines) and lines[at].strip():
        match = _FIELD.match(lines[at])
        if match is None or match[1] not in _FIELDS:
            raise UsageError(
                f"line {line_number + at + 1}: {lines[at]!r} is no field of a step",
                hint="fields end at the first blank line; the task's text follows it",
            )
        fields[match[1]] = _unquote(match[2])
        at += 1
    output = fields.get("output", "")
    stdin, start = fields.get("stdin", "none"), fields.get("start", "fork")
    if stdin not in {"none", "lines"}:
        raise UsageError(f"step {name}: stdin {stdin!r} is neither 'none' nor 'lines'", hint="use one of the two")
    if start not in {"fork", "spawn"}:
        raise UsageError(f"step {name}: start {start!r} is neither 'fork' nor 'spawn'", hint="use one of the two")
    retries = fields.get("retries", "0")
    if not retries.isdigit():
        raise UsageError(f"step {name}: retries {retries!r} is not a number", hint="tries after the first one")
    return Step(
        id=name,
        role=fields.get("role", ""),
        depends_on=_names(fields.get("dependsOn", "")),
        reads=() if fields.get("reads") == "false" else _names(fields.get("reads", "")),
        output="" if output == "false" else output,
        text="\n".join(lines[at:]).strip(),
        worker=WorkerSpec(
            call=fields.get("call", ""),
            shell=fields.get("run", ""),
            args=_args(name, fields.get("args", "")),
            stdin="lines" if stdin == "lines" else "none",
            start="spawn" if start == "spawn" else "fork",
            limits=_policy(name, "limits", fields.get("limits", ""), Limits),
            retry=Retry(attempts=int(retries) + 1),
            restart=_restart(name, fields.get("restart", "")),
            outside=fields.get("outside", "false") == "true",
        ),
    )


def _policy(step: str, field: str, text: str, kind: type[P]) -> P:
    try:
        return msgspec.json.decode(text or "{}", type=kind)
    except msgspec.DecodeError as error:
        hint = f"a JSON object with some of {', '.join(kind.__struct_fields__)}"
        raise UsageError(f"step {step}: {field} is wrong: {error}", hint=hint) from None


def _restart(step: str, text: str) -> Restarts:
    return _policy(step, "restart", text if text.startswith("{") else f'{{"policy": "{text or "temporary"}"}}', Restarts)


def _args(step: str, text: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise UsageError(f"step {step}: args is not a JSON object: {error}", hint='for example {"depth": 2}') from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.strip("[] ").split(",") if (name := _unquote(part)))
