"""Each call of `crewd.client.calls` as a method, listed once for both clients.

`CrewMethods` and `RunMethods` are bases of both `Crew` and both `RunHandle`. In the blocking client a method returns its
value; in the async client it is awaited.

Tests: tests/client/test_api.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from crewd.client import calls, run_calls
from crewd.model.arguments import check_arguments
from crewd.model.rows import RunRow

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H")
"""A client's handle of a run."""


class Blocking(ABC, Generic[H]):
    """A client, or a handle of a run, whose methods block until they have their value."""

    @abstractmethod
    def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""


class Awaited(ABC, Generic[H]):
    """A client, or a handle of a run, whose methods are awaited."""

    @abstractmethod
    async def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""


class _Bound:
    """A call as a method, of whichever client it is looked up in. Its arguments must fit the annotations of `checked`."""

    gives = ""
    """The name of what it returns, if that is not what the call does."""

    def __init__(self, call: Callable[..., calls.Call[Any]], checked: Callable[..., object]) -> None:
        @functools.wraps(call)
        def blocking(self: Blocking[Any], /, *args: object, **kwargs: object) -> object:
            check_arguments(checked, (self, *args), kwargs, shown=blocking)
            return self.drive(call(self, *args, **kwargs))

        @functools.wraps(call)
        async def awaited(self: Awaited[Any], /, *args: object, **kwargs: object) -> object:
            check_arguments(checked, (self, *args), kwargs, shown=blocking)
            return await self.drive(call(self, *args, **kwargs))

        self._blocking, self._awaited = blocking, awaited
        self.__doc__ = call.__doc__

    def __set_name__(self, owner: type[object], name: str) -> None:
        """Set the name and the signature that `help()`, `inspect` and errors show."""
        for method in (self._blocking, self._awaited):
            method.__name__, method.__qualname__, method.__module__ = name, f"{owner.__name__}.{name}", owner.__module__
            signature = inspect.signature(method)
            returns = self.gives or re.sub(r"^Call\[(.*)\]$", r"\1", str(signature.return_annotation))
            first, *rest = signature.parameters.values()
            parameters = [first.replace(name="self", annotation=first.empty), *rest]
            vars(method)["__signature__"] = signature.replace(parameters=parameters, return_annotation=returns)

    def of(self, client: object, kind: type[object]) -> Any:
        method = self._awaited if issubclass(kind, Awaited) else self._blocking
        return method if client is None else MethodType(method, client)


class Method(_Bound, Generic[P, T]):
    """A call as a method with the call's parameters."""

    def __init__(self, call: Callable[Concatenate[Any, P], calls.Call[T]]) -> None:
        super().__init__(call, call)

    @overload
    def __get__(self, client: None, kind: type[object]) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Blocking[Any], kind: type[object]) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaited[Any], kind: type[object]) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: object, kind: type[object]) -> Any:
        return self.of(client, kind)


class StartMethod(_Bound, Generic[P]):
    """A call that gives a run, as a method that gives the client's handle of it."""

    gives = "RunHandle"

    def __init__(self, call: Callable[Concatenate[Any, P], calls.Call[RunRow]]) -> None:
        @functools.wraps(call)
        def opened(crew: Any, /, *args: P.args, **kwargs: P.kwargs) -> calls.Call[Any]:
            return crew.handle((yield from call(crew, *args, **kwargs)))

        super().__init__(opened, call)

    @overload
    def __get__(self, client: None, kind: type[object]) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Blocking[H], kind: type[object]) -> Callable[P, H]: ...
    @overload
    def __get__(self, client: Awaited[H], kind: type[object]) -> Callable[P, Coroutine[Any, Any, H]]: ...
    def __get__(self, client: object, kind: type[object]) -> Any:
        return self.of(client, kind)


class CrewMethods:
    """What both clients ask."""

    request = Method(calls.request)
    run = StartMethod(calls.run)
    call = StartMethod(calls.call)
    exec = StartMethod(calls.exec)
    get = StartMethod(calls.get)
    retry = StartMethod(calls.retry)
    resume = StartMethod(calls.resume)
    dead = Method(calls.dead)
    approve = Method(calls.approve)
    reject = Method(calls.reject)
    dismiss = Method(calls.dismiss)
    tell_hooks = Method(calls.tell_hooks)
    claim = Method(calls.claim)
    release = Method(calls.release)
    finish = Method(calls.finish)
    send = Method(calls.send)
    respond = Method(calls.respond)
    acknowledge = Method(calls.acknowledge)
    withdraw = Method(calls.withdraw)
    receipt = Method(calls.receipt)
    messages = Method(calls.messages)
    inbox = Method(calls.inbox)
    notices = Method(calls.notices)
    unread = Method(calls.unread)
    cancel = Method(calls.cancel)
    begin_cancel = Method(calls.begin_cancel)
    signal = Method(calls.signal)
    wait = Method(calls.wait)
    result = Method(calls.result)
    runs = Method(calls.runs)
    show = Method(calls.show)
    log = Method(calls.log)
    news = Method(calls.news)
    seen = Method(calls.seen)
    doctor = Method(calls.doctor)
    resume_daemon = Method(calls.resume_daemon)
    reload_config = Method(calls.reload_config)
    stop_daemon = Method(calls.stop_daemon)


class RunMethods:
    """What both handles of a run ask."""

    steer = Method(run_calls.steer)
    follow_up = Method(run_calls.follow_up)
    message = Method(run_calls.message)
    messages = Method(run_calls.messages)
    cancel = Method(run_calls.cancel)
    begin_cancel = Method(run_calls.begin_cancel)
    signal = Method(run_calls.signal)
    wait = Method(run_calls.wait)
    result = Method(run_calls.result)
    show = Method(run_calls.show)
    log = Method(run_calls.log)
