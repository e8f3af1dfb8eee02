"""The tables of docs/protocol.md and docs/stdio.md, made from the types of the wire.

`python -m tests.protocol.wire_page --write`, run in the repository, writes them between the markers of the pages:
`<!-- generated: NAME -->` and `<!-- end -->`. Without `--write` it says whether they are up to date.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import msgspec.inspect as mi

from crewd.model import errors, ids, kinds, limits, news, policy, reasons, receipts, rights, statuses, terms
from crewd.model import events as ev
from crewd.model import workflow as wf
from crewd.model.inputs import Input
from crewd.model.rights import Role
from crewd.protocol import doors, keeping, stdio
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.bootstrap import Bootstrap
from crewd.supervisor.gateway import clients, feeds, pace, waits

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
STDIO = PAGE.with_name("stdio.md")
PAGES = (PAGE, STDIO)
COMMAND = "python -m tests.protocol.wire_page --write"
BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Struct = type[msgspec.Struct]

REPLIES: Mapping[str, tuple[str, ...]] = {
    "hello": ("welcome",),
    "start_run": ("run",),
    "reopen": ("run",),
    "approve": ("done",),
    "dismiss": ("done",),
    "tell_hooks": ("done",),
    "claim": ("claimed",),
    "release": ("done",),
    "finish": ("done",),
    "dead": ("dead",),
    "send": ("receipt",),
    "acknowledge": ("done",),
    "withdraw": ("receipt",),
    "cancel": ("cancelled", "done"),
    "signal": ("done",),
    "receipt": ("receipt",),
    "await_end": ("ended",),
    "runs": ("runs",),
    "show": ("shown",),
    "messages": ("messages",),
    "inbox": ("inbox",),
    "events": ("events",),
    "subscribe": ("subscribed", "event", "progress"),
    "credit": ("done",),
    "unsubscribe": ("done",),
    "news": ("news",),
    "seen": ("done",),
    "log": ("log",),
    "doctor": ("doctor",),
    "stop_daemon": ("done",),
    "resume_daemon": ("done",),
    "reload_config": ("reloaded",),
    "forget": ("kept",),
    "archive": ("kept",),
    "prune": ("kept",),
    "export": ("bundle",),
    "fetch": ("chunk",),
    "upload": ("chunk",),
    "import": ("imported",),
    "artifact": ("artifact",),
    "backup": ("backed_up",),
}
"""The kinds of the replies to each request. Every request can also be answered by an `error`."""
LOCAL = frozenset({"error", "daemon_unreachable", "run_failed", "run_cancelled", "undelivered"})
"""Codes of errors that only the Python client makes."""
SPEC: tuple[Struct, ...] = (
    wf.Workflow, wf.Step, wf.WorkerSpec, policy.Limits, policy.Retry, policy.Restarts, Input,
)  # fmt: skip
CODES: Mapping[str, str] = {
    "malformed": "The message is not what this page says. The text names the key.",
    "oversized": "A frame, or a body that was to be sent, is larger than 1 MiB.",
    "unsupported_version": "The version byte is not 1.",
    "unknown_kind": "This socket knows no message of this kind.",
    "not_permitted": "The token is not this worker's. It does not try again.",
    "forbidden": "The role is not enough, or the run belongs to somebody else (`values.owner`).",
    "usage": "A value is not possible. The text names it, the hint says what is.",
    "refused": "Understood, and not possible in the present state. `values.reason` is a word, if there is one.",
    "conflict": "The id was used before with other content, or somebody else holds the task.",
    "unavailable": "Not possible now: say hello, and send the same request again with the same id.",
    "busy": "A queue with a bound is full: the same request may succeed a moment later.",
    "deadline_exceeded": "The time to wait has passed; what was asked for goes on. `receipt` says how far a message came.",
    "internal": "crewd is wrong.",
}
"""What codes mean to a peer, where the classes speak to crewd's own code."""
BOUNDS: Mapping[str, str] = {
    "GRACE_SECONDS_MAX": "The grace of a cancel, or of a stop.",
    "LEASE_SECONDS_MAX": "The lease of a claim.",
    "TIMEOUT_SECONDS_MAX": "`timeout_seconds` of a request.",
    "REPLY_SECONDS_MAX": "`terms.reply_seconds`.",
    "TRIES_MAX": "`retry.attempts`.",
    "SECONDS_MAX": "Limits and back-offs of a worker in seconds; `max_minutes` of a workflow is this in minutes.",
    "KEY_CHARS": "The least and the most characters of a client's key.",
}
"""What bounds are of, where the constant does not say it by itself."""
WORDS: tuple[type[Enum], ...] = (
    receipts.Level, receipts.Outcome, receipts.Effect, reasons.CancelReason, reasons.RefusalReason, reasons.UnknownReason,
    reasons.FailureReason, reasons.SkipReason, reasons.NoticeKind, reasons.Liveness, news.Severity, kinds.Kind,
)  # fmt: skip
NUMBERS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (rights, ("KEY_CHARS",)),
    (doors, ("TIMEOUT_SECONDS_MAX",)),
    (terms, ("REPLY_SECONDS_MAX",)),
    (ids, ("SELECTOR_CHARS_MAX",)),
    (keeping, ("CHUNK_BYTES_MAX",)),
    (policy, ("SECONDS_MAX", "TRIES_MAX", "REPORTS_MAX")),
    (clients, ("CLIENTS_MAX",)),
    (pace, ("OPEN_MAX", "QUEUE_MAX")),
    (waits, ("WAITS_MAX",)),
    (feeds, ("FEEDS_MAX",)),
    (rq, ("CREDIT_MAX",)),
)
"""Bounds that a peer can meet and that are not in `limits`."""


# -- words ----------------------------------------------------------------------------------------------------------


@cache
def _words() -> dict[str, str]:
    """The word of the page for each class that a text may name."""
    found: dict[str, str] = {}
    for body in _maps():
        found[body.__name__] = word(body)
    for body in (*_bodies(ev.Body), *_bodies(rp.ReportBody)):
        found[body.__name__] = _tag(body)
    tables: tuple[Mapping[str, Struct], ...] = (rp.TO_WORKER, rp.FROM_WORKER, rl.REPLIES, rq.REQUESTS)
    return found | {body.__name__: kind for each in tables for kind, body in each.items()}


def word(body: Struct) -> str:
    """The name of a map in the page."""
    return {"ErrorInfo": "Error", "Restarts": "Restart"}.get(body.__name__, body.__name__.removesuffix("Row"))


def say(text: str | None) -> str:
    """A docstring in one line, with the words of the page, and without references to other documents."""
    said = " ".join(inspect.cleandoc(text or "").split())
    said = re.sub(r" ?\((?:system\.md|DESIGN|decision|[A-Z]\d+\b)[^()]*\)", "", said)
    said = re.sub(r", R\d+(?=\))|See the module's text\. | \(see `(?:rights|kinds)`\)| \(`rights\.owner_id`\)", "", said)
    said = said.replace(" is None ", " is nil ")
    return re.sub(r"`([A-Z][A-Za-z]+)`", lambda name: f"`{_words().get(name[1], name[1])}`", said)


def _bounds(least: float | None, most: float | None) -> str:
    return "" if least is None or most is None else f" from {_short(least)} to {_short(most)}"


def _short(number: float) -> str:
    if number < 0:
        return f"-{_short(-number)}"
    if number > 1 << 40 and math.log2(number).is_integer():
        return f"2^{math.log2(number):.0f}"
    return f"10^{math.log10(number):.0f}" if number >= 1e12 else f"{number:,.0f}"


def type_words(kind: mi.Type) -> str:
    """A type in plain words."""
    match kind:
        case mi.StrType():
            return "str"
        case mi.IntType(ge=least, le=most):
            return "int" + _bounds(least, most)
        case mi.FloatType(ge=least, le=most):
            return "float" + _bounds(least, most)
        case mi.BoolType():
            return "bool"
        case mi.BytesType():
            return "bin"
        case mi.NoneType():
            return "nil"
        case mi.LiteralType(values):
            return f"one of {_listed(values)}"
        case mi.EnumType(cls):
            return f"one of {_listed(each.value for each in cls)}"
        case mi.VarTupleType(item_type=item) | mi.ListType(item_type=item):
            return f"list of {type_words(item)}"
        case mi.TupleType(items):
            return f"list [{', '.join(map(type_words, items))}]"
        case mi.DictType(key_type=key, value_type=value):
            return f"map of {type_words(key)} to {type_words(value)}"
        case mi.StructType(cls):
            return f"map {word(cls)}"
        case mi.UnionType(types):
            return _union(types)
        case mi.AnyType() | mi.CustomType():
            return "any"
        case _:
            raise TypeError(f"the page has no word for {kind!r}")


def _union(types: tuple[mi.Type, ...]) -> str:
    bodies = [each for each in types if isinstance(each, mi.StructType)]
    if len(bodies) > 2:
        return "map Body" if any(each.tag == "run.created" for each in bodies) else "map with a `type`"
    literals = [each for each in types if isinstance(each, mi.LiteralType)]
    values = [value for each in literals for value in each.values]
    others = [type_words(each) for each in types if not isinstance(each, mi.LiteralType)]
    return " or ".join([*([f"one of {_listed(values)}"] if values else []), *sorted(others, key="nil".__eq__)])


def _listed(values: Iterable[object]) -> str:
    return " ".join(f"`{value}`" if value != "" else '`""`' for value in values)


def default_words(field: mi.Field) -> str:
    """What a key that is left out means."""
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    match value:
        case Enum():
            return f"`{value.value}`"
        case bytes():
            return "empty"
        case None:
            return "`nil`"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case msgspec.Struct():
            return "its defaults"
        case str():
            return f"`{value}`" if value else '`""`'
        case _:
            return f"`{msgspec.json.encode(value).decode()}`"


# -- tables ---------------------------------------------------------------------------------------------------------


def table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table of Markdown."""
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for line in lines:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |"
    yield ""


def keys_of(body: Struct) -> tuple[mi.Field, ...]:
    """The keys of a map."""
    info = mi.type_info(body)
    if not isinstance(info, mi.StructType):
        raise TypeError(f"{body.__name__} is no struct")
    return info.fields


def entry(title: str, body: Struct, more: str = "") -> Iterator[str]:
    """A map: what it is for, and its keys."""
    config = body.__struct_config__
    text = [f"**{title}**{more} {say(body.__doc__)}"]
    if config.forbid_unknown_fields:
        text.append("An unknown key is an error.")
    if config.omit_defaults:
        text.append("crewd leaves out a key that has its default.")
    yield " ".join(text)
    yield ""
    fields = keys_of(body)
    if config.tag is not None or fields:
        tag = [("`type`", f"`{config.tag}`", "required")] if config.tag is not None else []
        keys = [(f"`{each.encode_name}`", type_words(each.type), default_words(each)) for each in fields]
        yield from table(("key", "type", "default"), [*tag, *keys])


def requests() -> Iterator[str]:
    """Every request of a client."""
    for kind, body in rq.REQUESTS.items():
        answers = " or ".join(f"`{each}`" for each in REPLIES.get(kind, ("?",)))
        if kind == "subscribe":
            answers = "`subscribed`, then any number of `event` and `progress`"
        role: Role = getattr(body, "role", Role.NONE)
        yield from entry(f"`{kind}`", body, f" → {answers}. Role {role.value} ({role.name.lower()}).")


def replies() -> Iterator[str]:
    """Every reply to a client."""
    for kind, body in rl.REPLIES.items():
        yield from entry(f"`{kind}`.", body)


def overview() -> Iterator[str]:
    """Every request in a line."""
    lines: list[tuple[str, str, str, str]] = []
    for kind, body in rq.REQUESTS.items():
        role: Role = getattr(body, "role", Role.NONE)
        fields = ", ".join(f"**{each.name}**" if each.required else each.name for each in keys_of(body))
        answers = ", ".join(f"`{each}`" for each in REPLIES.get(kind, ("?",)))
        lines.append((f"`{kind}`", str(role.value), fields, answers))
    yield from table(("request", "role", "keys (bold: required)", "reply"), lines)


def worker_says() -> Iterator[str]:
    """What a worker sends."""
    for kind, body in rp.FROM_WORKER.items():
        if body not in rq.REQUESTS.values():
            yield from entry(f"`{kind}`.", body)
    asked = [kind for kind, body in rp.FROM_WORKER.items() if body in rq.REQUESTS.values()]
    yield f"{_listed(asked)}: as a client sends them."
    yield ""


def worker_reports() -> Iterator[str]:
    """The bodies of reports."""
    for body in _bodies(rp.ReportBody):
        yield from entry(f"`{_tag(body)}`.", body)


def worker_hears() -> Iterator[str]:
    """What a worker gets."""
    named = {body: kind for kind, body in rl.REPLIES.items()}
    for kind, body in rp.TO_WORKER.items():
        if body in named:
            yield f"**`{kind}`.** Its body is that of a client's `{named[body]}`."
            yield ""
        else:
            yield from entry(f"`{kind}`.", body)


def stdio_said() -> Iterator[str]:
    """What a program says in JSON lines."""
    for body in stdio.SAID:
        yield from entry(f"`{_tag(body)}`.", body)


def stdio_heard() -> Iterator[str]:
    """What a program hears in JSON lines."""
    for body in stdio.HEARD:
        yield from entry(f"`{_tag(body)}`.", body)


def bootstrap() -> Iterator[str]:
    """What a worker is told at birth."""
    yield from entry("Bootstrap.", Bootstrap)


def spec() -> Iterator[str]:
    """A workflow and what is in it."""
    for body in SPEC:
        yield from entry(f"{word(body)}.", body)


def maps() -> Iterator[str]:
    """The maps in requests, replies and messages."""
    for body in _maps():
        if body not in SPEC:
            yield from entry(f"{word(body)}.", body)


def event_types() -> Iterator[str]:
    """The bodies of events."""
    lines = (
        (
            f"`{_tag(body)}`",
            f"`{kind}`",
            ", ".join(f"{each.encode_name} ({type_words(each.type)})" for each in keys_of(body)),
            say(body.__doc__),
        )
        for body, kind in kinds.KIND_OF.items()
    )
    yield from table(("type", "kind", "keys besides `type`", "says"), lines)


def status_words() -> Iterator[str]:
    """Every status and what may follow it."""
    lines = (
        *_moves("run", statuses.RUN_MOVES), *_moves("task", statuses.TASK_MOVES), *_moves("attempt", statuses.ATTEMPT_MOVES),
    )  # fmt: skip
    yield from table(("of a", "status", "followed by"), lines)


def _moves(what: str, moves: Mapping[Any, Collection[Any]]) -> Iterator[tuple[str, str, str]]:
    order: type[Enum] = type(next(iter(moves)))  # a set has none
    for status in order:
        yield what, f"`{status.value}`", _listed(each.value for each in order if each in moves[status]) or "final"


def reason_words() -> Iterator[str]:
    """Words that are values."""
    lines = [(each.__name__, _listed(_value(one) for one in each), say(each.__doc__)) for each in WORDS]
    yield from table(("name", "words", "says"), lines)


def _value(member: Enum) -> str:
    return str(member.value) if isinstance(member.value, str) else f"{member.value} {member.name.lower()}"


def error_codes() -> Iterator[str]:
    """Every code of an error."""
    lines = (
        (
            f"`{code}`",
            CODES.get(code) or say(error.__doc__),
            "yes" if issubclass(error, errors.Unavailable) and not issubclass(error, errors.StoreDamaged) else "no",
        )
        for code, error in errors.ERRORS.items()
        if code not in LOCAL
    )
    yield from table(("code", "says", "same request again"), lines)


def numbers() -> Iterator[str]:
    """Every bound."""
    found = [(name, value, text) for name, value, text in _constants(limits)]
    for module, names in NUMBERS:
        found += [each for each in _constants(module) if each[0] in names]
    yield from table(
        ("name", "number", "of"), [(f"`{name}`", _number(value), BOUNDS.get(name) or say(text)) for name, value, text in found]
    )


def _number(value: object) -> str:
    match value:
        case tuple():
            return " to ".join(map(_number, value))
        case int() | float():
            return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
        case _:
            raise TypeError(f"{value!r} is no bound")


def _constants(module: ModuleType) -> Iterator[tuple[str, object, str]]:
    """The constants of a module with the texts below them."""
    nodes = ast.parse(inspect.getsource(module)).body
    for node, after in zip(nodes, [*nodes[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            name, text = node.targets[0].id, ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = str(after.value.value)
            yield name, getattr(module, name), text


# -- types ----------------------------------------------------------------------------------------------------------


def _bodies(union: Any) -> tuple[Struct, ...]:
    found: tuple[Struct, ...] = union.__args__
    return found


def _tag(body: Struct) -> str:
    return str(body.__struct_config__.tag)


@cache
def _maps() -> tuple[Struct, ...]:
    """Every map that is a part of something else, by name."""
    roots: list[Struct] = [
        *rq.REQUESTS.values(), *rl.REPLIES.values(), *rp.FROM_WORKER.values(), *rp.TO_WORKER.values(),
        *_bodies(rp.ReportBody), *_bodies(ev.Body), Bootstrap,
    ]  # fmt: skip
    found: set[Struct] = set()
    waiting = list(roots)
    while waiting:
        for field in keys_of(waiting.pop()):
            fresh = {each for each in _structs(field.type) if each not in found and each not in roots}
            found |= fresh
            waiting += fresh
    return tuple(sorted(found, key=word))


def _structs(kind: mi.Type) -> Iterator[Struct]:
    match kind:
        case mi.StructType(cls):
            yield cls
        case mi.UnionType(types) | mi.TupleType(types):
            for each in types:
                yield from _structs(each)
        case mi.VarTupleType(item_type=item) | mi.ListType(item_type=item):
            yield from _structs(item)
        case mi.DictType(value_type=value):
            yield from _structs(value)
        case _:
            return


BLOCKS: Mapping[str, Callable[[], Iterator[str]]] = {
    "overview": overview,
    "requests": requests,
    "replies": replies,
    "worker-says": worker_says,
    "reports": worker_reports,
    "worker-hears": worker_hears,
    "bootstrap": bootstrap,
    "spec": spec,
    "maps": maps,
    "events": event_types,
    "statuses": status_words,
    "words": reason_words,
    "errors": error_codes,
    "limits": numbers,
    "stdio-said": stdio_said,
    "stdio-heard": stdio_heard,
}
"""What stands between the markers, by their names."""


def page(text: str) -> str:
    """The page with its tables made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{chr(10).join(BLOCKS[found[2]]())}{chr(10)}{found[4]}", text)


def main(arguments: list[str]) -> int:
    """Write the pages, or say whether they are up to date."""
    differ = False
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = page(before)
        if "--write" in arguments:
            path.write_text(after, encoding="utf-8")
            continue
        differ = differ or before != after
        said = "is up to date" if before == after else f"differs from the types: {COMMAND}"
        sys.stdout.write(f"{path.name} {said}\n")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
