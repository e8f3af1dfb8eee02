"""Makes docs/api.md from the docstrings and signatures of the public API: `python -m tests.client.api_page --write`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
MODULES = ("crewd", "crewd.aio", "crewd.worker", "crewd.testing")
PLACES = ("crewd.client.calls", "crewd.client.environment", "crewd.model.questions", "crewd.model.policy")
"""Where the types are defined whose values are texts."""
HEAD = """# The Python API

Written by `python -m tests.client.api_page --write` from the docstrings. How things are done with it: [README](../README.md),
[messages.md](messages.md), [workflows.md](workflows.md), [stress-your-worker.md](stress-your-worker.md). Every call of a client
may raise `DaemonUnreachable`, `Unavailable` and `Busy`, besides what stands with it. Times are in seconds.
"""


def public(module: object) -> Iterator[tuple[str, object]]:
    """The names that a module exports, in order, without other modules and numbers."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            yield name, thing


def signature(name: str, function: object) -> str:
    """As it is called: without `self`, and with the result of a call that a client carries out."""
    try:
        found = inspect.signature(function)  # type: ignore[arg-type]  # it is callable
    except (TypeError, ValueError):
        return name
    parameters = [
        each.replace(annotation=_Plain.of(each.annotation))
        for place, each in enumerate(found.parameters.values())
        if place or each.name not in {"self", "cls", "crew", "run"}
    ]
    result = re.sub(r"^(?:calls\.)?Call\[(.*)\]$", r"\1", str(found.return_annotation)).replace("RunRow", "RunHandle")
    text = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    arrow = "" if found.return_annotation is inspect.Signature.empty else f" -> {result}"
    return re.sub(r"<function .*? at 0x[0-9a-f]+>", "...", f"{name}{text}{arrow}")


class _Plain:
    """An annotation as it stands in the source."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    @classmethod
    def of(cls, annotation: object) -> object:
        return annotation if annotation is inspect.Parameter.empty else cls(str(annotation))


def members(kind: type[object]) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class, its own and those of crewd's classes that it is built on."""
    seen = set[str]()
    for base in kind.__mro__:
        if not base.__module__.startswith("crewd"):
            continue
        for name, thing in vars(base).items():
            if not name.startswith("_") and name not in seen and (inspect.isroutine(thing) or isinstance(thing, property)):
                seen.add(name)
                yield name, thing


def said(thing: object) -> str:
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return text.partition("\n\nTests: ")[0]  # at the end of a module: for those who change it, and not for its users


def of_class(name: str, kind: type[object]) -> Iterator[str]:
    """A class: what it is, its fields if it is a value, and what can be done with it."""
    yield f"### `{name}`\n"
    yield f"{said(kind)}\n"
    if issubclass(kind, msgspec.Struct):
        fields = ", ".join(
            f"`{field.name}`" + ("" if field.required or not (default := _default(field)) else f" ({default})")
            for field in msgspec.structs.fields(kind)
        )
        yield f"Fields: {fields}.\n"
    if issubclass(kind, Enum):
        yield f"Values: {', '.join(f'`{member.name}`' for member in kind)}.\n"
        return
    if issubclass(kind, BaseException):
        return
    for method, thing in members(kind):
        function = thing.fget if isinstance(thing, property) else thing
        called = method if isinstance(thing, property) else signature(method, getattr(kind, method))
        yield f"- **`{called}`**  \n  {said(function).replace(chr(10), chr(10) + '  ')}"
    yield ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default
    return repr(default) if isinstance(default, str | int | float | bool) or default is None else ""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name in MODULES:
        module = importlib.import_module(name)
        lines.append(f"## `{name}`\n\n{said(module)}\n")
        for each, thing in public(module):
            if inspect.isclass(thing):
                lines += of_class(each, thing)
            else:
                lines.append(f"### `{signature(each, thing)}`\n\n{said(thing)}\n")
    lines += ["## Words in signatures\n", "A parameter of one of these types is one of these texts.\n"]
    lines += (f"- `{name}`: {', '.join(f'`{each!r}`' for each in values)}" for name, values in words("\n".join(lines)))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def words(text: str) -> Iterator[tuple[str, list[str]]]:
    """The names in signatures that stand for some texts, and these."""
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", "\n".join(re.findall(r"`.*\(.*`", text))))
    for name in sorted(named):
        for module in PLACES:
            values = list(_texts_of(getattr(importlib.import_module(module), name, None)))
            if values:
                yield name, values
                break


def _texts_of(kind: object) -> Iterator[str]:
    for each in typing.get_args(kind) if typing.get_origin(kind) in {Literal, typing.Union, types.UnionType} else ():
        if isinstance(each, str):
            yield each
        else:
            yield from _texts_of(each)


def main() -> int:
    """Write the page, or say whether it is as it should be."""
    if "--write" in sys.argv:
        PAGE.write_text(page())
    return int(PAGE.read_text() != page())


if __name__ == "__main__":
    sys.exit(main())
