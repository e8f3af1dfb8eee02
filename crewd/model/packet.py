"""A task packet: the bounds of a step's work, and what shows that it is done, beside the text that says what to do. Pure.

An agent is told it in its first prompt. That the files of `artifacts` are there is looked at by the step's verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal, get_args

import msgspec

from crewd.model.errors import UsageError
from crewd.model.inputs import place, placed_chars
from crewd.model.redact import clip

PACKET_BYTES_MAX = 8_000
"""Of all its texts together: it is a part of a prompt."""
ENTRIES_MAX = 32
"""Of each of its lists."""
PATH_CHARS = 80
"""Of a path, in a summary."""
Scope = Literal["workspace", "module", "single_file", "custom"]
_SCOPES = {
    "workspace": "Change what the task needs, in the directory where you work and nowhere else.",
    "module": "Change only what is in {path}.",
    "single_file": "Change only the file {path}.",
    "custom": "Change only this: {path}.",
}


class Packet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a step may change and what shows that it is done. Its objective is the step's text.

    `path` is the directory of the scope `module`, the file of `single_file`, or says in words what `custom` means; the scope
    `workspace` has none. `acceptance` are statements that hold at the end, `constraints` what must hold all the time.
    `artifacts` are files that exist at the end: paths from where the step works. `branch`, `commit`, `report` and `escalate`
    say what to do about branches and commits, what to report, and what to do if the task cannot be done so.
    """

    scope: Scope
    path: str = ""
    acceptance: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    branch: str = "Stay on the branch that is checked out."
    commit: str = "Commit nothing."
    report: str = "Say what you have changed, and how each point under 'Done when' was checked."
    escalate: str = "Stop and say what is missing. Do not go beyond the scope."

    def placed(self, values: Mapping[str, str]) -> Packet:
        """The packet with the values in its texts. The names of artifacts have none in them."""
        texts = {name: place(getattr(self, name), values) for name in ("path", "branch", "commit", "report", "escalate")}
        lists = {name: tuple(place(each, values) for each in getattr(self, name)) for name in ("acceptance", "constraints")}
        return msgspec.structs.replace(self, **texts, **lists)

    @property
    def summary(self) -> str:
        """The packet in a few words, for a plan."""
        scope = f"{self.scope} {clip(' '.join(self.path.split()), PATH_CHARS)}".strip()
        counted = (("acceptance point", self.acceptance), ("constraint", self.constraints), ("artifact", self.artifacts))
        numbers = (f"{len(entries)} {what}{'s' if len(entries) > 1 else ''}" for what, entries in counted if entries)
        return ", ".join([scope, *numbers])

    @property
    def text(self) -> str:
        """The packet as an agent is told it, in Markdown."""
        parts = [f"Scope: {_SCOPES[self.scope].format(path=self.path)}"]
        for title, entries in (("Done when", self.acceptance), ("Constraints", self.constraints)):
            if entries:
                parts.append("\n".join([f"{title}:", "", *map(_item, entries)]))
        if self.artifacts:
            parts.append("\n".join(["These files must exist when you end:", "", *(f"- {each}" for each in self.artifacts)]))
        parts += [f"Branch: {self.branch}", f"Commits: {self.commit}", f"Report: {self.report}"]
        parts.append(f"If you cannot do the task like this: {self.escalate}")
        return "\n\n".join(["## Task packet", *parts])


def check_packet(step: str, packet: Packet, *, verified: bool) -> None:
    """UsageError if the packet of `step` lacks a bound or contradicts itself. `verified`: a command verifies the step."""
    if packet.scope not in get_args(Scope):
        raise _wrong(step, f"has the scope {packet.scope!r}", f"one of {', '.join(get_args(Scope))}")
    if any("\0" in text for text in _texts(packet)):
        raise _wrong(step, "holds a NUL byte", "leave it out")
    if packet.scope == "workspace" and packet.path:
        raise _wrong(step, "has a path and the scope workspace", "leave out path, or use the scope module or single_file")
    if packet.scope != "workspace" and not packet.path.strip():
        raise _wrong(step, f"has the scope {packet.scope} and no path", "path: src/limits (for custom: what it is, in words)")
    if packet.scope in {"module", "single_file"}:
        _check_path(step, "path", packet.path)
    if not (packet.acceptance or packet.artifacts or verified):
        raise _wrong(
            step, "does not say what shows that the task is done",
            "add acceptance or artifacts to the packet, or verify to the step",
        )  # fmt: skip
    for name in ("acceptance", "constraints", "artifacts"):
        entries: tuple[str, ...] = getattr(packet, name)
        if len(entries) > ENTRIES_MAX:
            raise _wrong(step, f"has {len(entries)} entries in {name}", f"at most {ENTRIES_MAX}")
        if not all(each.strip() for each in entries):
            raise _wrong(step, f"has an empty entry in {name}", "leave it out")
    for name in ("branch", "commit", "report", "escalate"):
        if not getattr(packet, name).strip():
            raise _wrong(step, f"has an empty {name}", f"say it, or leave out {name}: then it is '{_default(name)}'")
    for each in packet.artifacts:
        _check_path(step, "artifacts", each)
        if set(each) & set("{*?"):
            raise _wrong(
                step, f"has {each!r} in artifacts", "the name of a file: no pattern, and without the value of an input"
            )
    size = sum(len(text.encode("utf-8", "replace")) for text in _texts(packet))
    if size > PACKET_BYTES_MAX:
        raise _wrong(step, f"has {size:,} bytes of text", f"at most {PACKET_BYTES_MAX:,}; put more into a file and name it")


def check_placed(step: str, packet: Packet, values: Mapping[str, str]) -> None:
    """UsageError if the packet cannot be what it is with the values of a run in its texts."""
    if sum(placed_chars(text, values) for text in _texts(packet)) > PACKET_BYTES_MAX:
        raise _wrong(step, "is too long with the goal and the inputs in it", f"at most {PACKET_BYTES_MAX:,} bytes")
    check_packet(step, packet.placed(values), verified=True)


def _item(text: str) -> str:
    """An entry of a list in Markdown, whose further lines belong to it."""
    return "- " + "\n  ".join(text.splitlines())


def _check_path(step: str, name: str, path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not path.isprintable():
        hint = "a path from where the step works, without '..' and unprintable characters"
        raise _wrong(step, f"has {path!r} in {name}", hint)


def _default(name: str) -> str:
    return str(getattr(Packet("workspace"), name))


def _texts(packet: Packet) -> tuple[str, ...]:
    lists = (*packet.acceptance, *packet.constraints, *packet.artifacts)
    return (packet.path, packet.branch, packet.commit, packet.report, packet.escalate, *lists)


def _wrong(step: str, what: str, hint: str) -> UsageError:
    return UsageError(f"the packet of step {step} {what}", hint=hint, field="packet")
