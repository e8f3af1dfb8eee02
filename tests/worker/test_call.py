"""Which parameter is crewd's context, and which functions are awaited."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import functools
import ssl
from collections.abc import Callable
from typing import Any, Optional, cast

import pytest

import crewd
from crewd import worker
from crewd.clock import SystemClock
from crewd.worker import call
from crewd.worker.context import Context
from crewd.worker.token import CancellationToken

UNRESOLVED: dict[str, Any] = {}
exec("from __future__ import annotations\ndef for_checkers(c: Context) -> None: ...", UNRESOLVED)


def by_name(ctx: object) -> None: ...
def annotated(c: Context) -> None: ...
def of_package(c: crewd.worker.Context) -> None: ...
def of_module(c: worker.AsyncContext | None) -> None: ...
def real(c: Any) -> None: ...
def of_ssl(c: ssl.SSLContext | None = None) -> None: ...
def of_decimal(c: decimal.Context | None = None) -> None: ...
def manager(c: contextlib.AbstractContextManager[None] | None = None) -> None: ...
def options(c: "ContextManagerOptions" = None) -> None: ...  # type: ignore[name-defined] # noqa: F821, UP037
def nothing() -> None: ...


real.__annotations__["c"] = Optional[Context]  # noqa: UP045 (what a module without the import of annotations has)


@pytest.mark.parametrize("function", [by_name, annotated, of_package, of_module, UNRESOLVED["for_checkers"], real])
def test_the_context_is_given_to_who_names_it(function: Callable[..., None]) -> None:
    assert call.wants_context(function, {})


@pytest.mark.parametrize("function", [of_ssl, of_decimal, manager, options, nothing])
def test_another_context_is_none(function: Callable[..., None]) -> None:
    assert not call.wants_context(function, {})


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **given: Any) -> Any:
        return function(*args, **given)

    return inner


@wrapped
async def late(x: int = 2) -> int:
    await asyncio.sleep(0)
    return x


class Called:
    async def __call__(self, x: int = 3) -> int:
        await asyncio.sleep(0)
        return x


@pytest.mark.parametrize(("function", "result"), [(late, 2), (Called(), 3), (lambda: late(4), 4)])
def test_what_is_async_behind_something_plain_is_awaited(function: Callable[..., Any], result: int) -> None:
    class Given:
        token = CancellationToken(SystemClock())

    assert call.invoke(function, cast("Context", Given()), {}) == result
