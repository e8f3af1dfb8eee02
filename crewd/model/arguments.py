"""The arguments of a call, checked against its annotations before anything is asked.

A wrong one is a `UsageError` that names the parameter, what was given and what it takes: the same for every call, whether a
type checker has read the caller's code or not.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, ParamSpec, TypeVar, Union

from crewd.model.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")
PathText = str | PurePath
"""The path of a file or directory."""
UNSHOWN = frozenset({"secrets", "brought", "env", "token"})
"""Arguments that may hold a secret: an error shows their type alone."""
_NAMES = {
    str: "a text", bytes: "bytes", int: "a whole number", float: "a number", bool: "True or False", type(None): "None",
    PurePath: "a path", Mapping: "a dict", Sequence: "a list", Iterable: "a list", tuple: "a tuple",
}  # fmt: skip


def check_arguments(
    function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object],
    shown: Callable[..., object] | None = None,
) -> None:  # fmt: skip
    """Raises UsageError for an argument of another type than the function's annotation says. Errors name `shown` instead.

    What is annotated with a protocol, `object` or `Any` is not looked at, nor what only a type checker imports. A parameter
    that is missing, or that there is not, is left to the function: Python's own TypeError names it.
    """
    signature, hints = _parameters(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return  # the function itself says it better
    for name, value in given.items():
        if not fits(value, hints.get(name, object)):
            show = _type_of if name in UNSHOWN else reprlib.repr
            hint = _advice(value, hints[name]) or _misfit(name, value, hints[name], show)
            raise UsageError(f"{(shown or function).__name__}({name}={show(value)}) cannot be used", hint=hint)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with its arguments checked when it is called."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        check_arguments(function, args, kwargs)
        return function(*args, **kwargs)

    return inner


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of the type that an annotation says, with all that it holds. A whole number is a `float`, too."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object or (getattr(kind, "_is_protocol", False) and origin is None):
        return True
    if origin in {Union, types.UnionType}:
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(value) == len(kinds) and all(map(fits, value, kinds))
    if inner and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if inner and issubclass(origin, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return False
        return all(fits(each, inner[0]) for each in value)
    if inner and issubclass(origin, Iterable) and isinstance(value, str | bytes):
        return False  # its letters are not meant
    if kind in {int, float}:
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def described(kind: Any) -> str:
    """What an annotation takes, in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return _listed([repr(each) for each in inner])
    if origin in {Union, types.UnionType}:
        return _listed([described(each) for each in inner])
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"a tuple of {len(inner)}: {', '.join(map(described, inner))}"
    return _NAMES.get(origin or kind, f"a {getattr(kind, '__name__', kind)}")


def _misfit(name: str, value: object, kind: Any, show: Callable[[object], str]) -> str:
    """What the value is to be; for a list or dict with a wrong element, what that one is to be."""
    for each in typing.get_args(kind) if typing.get_origin(kind) in {Union, types.UnionType} else (kind,):
        origin, inner = typing.get_origin(each), typing.get_args(each)
        if not inspect.isclass(origin) or not isinstance(value, origin) or isinstance(value, str | bytes):
            continue
        if isinstance(value, Mapping):
            for key, element in value.items():
                if not fits(key, inner[0]):
                    return f"each key of {name} is {described(inner[0])}, and {show(key)} is none"
                if not fits(element, inner[1]):
                    return f"{name}[{key!r}] is {described(inner[1])}, and {show(element)} is none"
        elif isinstance(value, Sequence):
            kinds = inner[:1] * len(value) if origin is not tuple or inner[-1] is Ellipsis else inner
            for number, (element, takes) in enumerate(zip(value, kinds, strict=False)):
                if not fits(element, takes):
                    return f"{name}[{number}] is {described(takes)}, and {show(element)} is none"
    return f"{name} is {described(kind)}"


def _type_of(value: object) -> str:
    return f"<{type(value).__name__}>"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _advice(value: object, kind: Any) -> str:
    """What to write instead of two things that people try."""
    if isinstance(value, str) and typing.get_origin(kind) is Sequence:
        return f"this is one text; as a list it is {value.split()!r}"
    if (inspect.isroutine(value) or inspect.isclass(value)) and not _is_found(value):
        return "a worker process imports it by its name: put it into a module of its own, and name that, as 'jobs:function'"
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"a worker process imports it by its name, as '{value.__module__}:{value.__qualname__}'"
    return ""


def _is_found(value: Any) -> bool:
    """Whether another process finds it by its name: nothing of a script or a notebook, and no lambda or inner function."""
    return value.__module__ not in {"__main__", "__mp_main__", None} and "<" not in value.__qualname__


@functools.cache
def _parameters(function: Callable[..., object]) -> tuple[inspect.Signature, dict[str, Any]]:
    names = _Names({**vars(builtins), **vars(sys.modules[function.__module__])})
    return inspect.signature(function), typing.get_type_hints(function, {}, names)


class _Names(dict[str, Any]):
    """The names of a module. What only a type checker imports into it fits everything."""

    def __missing__(self, name: str) -> Any:
        return Any
