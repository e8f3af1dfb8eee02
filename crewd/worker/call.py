"""The `call` runtime: a Python function, sync or async, on the main thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import os
import re
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from crewd.model.limits import INLINE_BYTES_MAX, NOTE_CHARS_MAX, RESULT_BYTES_MAX
from crewd.model.reasons import TERMINATED, FailureReason
from crewd.model.redact import clip, redact, redact_value
from crewd.protocol.reports import Outcome
from crewd.worker.aio import AsyncContext
from crewd.worker.context import Context
from crewd.worker.results import NotJson, as_json
from crewd.worker.token import Cancelled

if TYPE_CHECKING:
    from types import FrameType

    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.token import CancellationToken


def load(target: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module_name, _, path = target.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{target} is not callable")
    return found  # type: ignore[no-any-return]


def hear_term(token: CancellationToken, *, interrupt: bool) -> None:
    """TERM is a cancel. With `interrupt` it also ends whatever Python code blocks on the main thread.

    Only in this process: one that the code forks ends by TERM as any process does (a pool ends its processes so).
    """

    def on_term(_number: int, _frame: FrameType | None) -> None:
        # On a thread of its own: the code that was interrupted may hold the very lock that the token needs.
        threading.Thread(target=token.cancel, args=(TERMINATED, 0.0), daemon=True).start()
        if interrupt:
            raise Cancelled(token.reason or TERMINATED, 0.0)

    signal.signal(signal.SIGTERM, on_term)
    _heard.clear()
    _heard.append(on_term)


_heard: list[object] = []
"""The handler of TERM that is crewd's."""
_held = threading.local()
"""The signals that a thread held back before it forked, while it forks."""


def _hold_term() -> None:
    """Before a fork: the interpreter forgets signals that reach a new process before its hooks have run."""
    mine = bool(_heard) and signal.getsignal(signal.SIGTERM) is _heard[0]
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if mine else None


def _let_term() -> None:
    if _held.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _let_term_end_child() -> None:
    if _held.mask is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_term()


os.register_at_fork(before=_hold_term, after_in_parent=_let_term, after_in_child=_let_term_end_child)


def run_call(function: Callable[..., Any], bootstrap: Bootstrap, context: Context) -> Outcome:
    """Run the function to its end and say how it ended. Never raises."""
    own = os.getpid()
    outcome = _outcome_of(function, bootstrap, context)
    if os.getpid() == own:
        context.last_progress()
    return outcome


def _outcome_of(function: Callable[..., Any], bootstrap: Bootstrap, context: Context) -> Outcome:
    own = os.getpid()
    try:
        args = dict(bootstrap.worker.args)
        result = invoke(function, context, args)
        if os.getpid() != own:
            return Outcome(outcome="completed")
        context.finish()
        return completed(result, bootstrap)
    except Cancelled as cancelled:
        return Outcome(outcome="cancelled", reason=cancelled.reason)
    except asyncio.CancelledError:
        return Outcome(outcome="cancelled", reason=context.token.reason or "cancelled")
    except BaseExceptionGroup as group:
        if context.token.cancelled and group.split((Cancelled, asyncio.CancelledError))[1] is None:
            return Outcome(outcome="cancelled", reason=context.token.reason)  # of tasks that heard of it before their group
        return _raised(group)
    except SystemExit as left:
        code = 0 if left.code is None else int(left.code) if isinstance(left.code, int) else 1
        if code == 0:
            context.finish()
            return Outcome(outcome="completed")
        code = code & 0xFF or 1  # what a process can exit with
        return Outcome(outcome="failed", reason=FailureReason.RAISED, error=text_of(left), exit_code=code)
    except BaseException as error:  # noqa: BLE001 (the outermost frame of user code)
        return _raised(error)


def _raised(error: BaseException) -> Outcome:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__ and frames.tb_next is not None:
        frames = frames.tb_next  # how the function was called is no part of its error
    traceback.print_exception(type(error), error, frames)
    return Outcome(outcome="failed", reason=FailureReason.RAISED, error=text_of(error), error_class=class_of(error))


def text_of(error: BaseException) -> str:
    """The last line of its traceback, whatever its own text does."""
    return clip("".join(traceback.format_exception_only(error)).strip(), NOTE_CHARS_MAX)


class PermanentError(Exception):
    """Raised by a worker that knows that another try would end the same way: the task is not tried again."""


def class_of(error: BaseException) -> str:
    """The name of its class as retries know it: `module.Class`, without the module for Python's own.

    Whatever is derived from `PermanentError` counts as that.
    """
    if isinstance(error, PermanentError):
        return "PermanentError"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def invoke(function: Callable[..., Any], context: Context, args: dict[str, Any]) -> object:
    """Call it as it wants to be called: with the context or without, in a loop of its own if it is async."""
    wants = wants_context(function, args)
    if not wants:
        _check_place(function, args)
    given: Context = context
    if is_async(function):
        given = AsyncContext.__new__(AsyncContext)
        given.__dict__ = context.__dict__
    result = function(given, **args) if wants else function(**args)
    return asyncio.run(_until_cancelled(result, context.token)) if inspect.iscoroutine(result) else result


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it is `async def`, perhaps behind decorators that use `functools.wraps`, or an object that is called so."""
    plain = inspect.unwrap(function)
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(inspect.getattr_static(plain, "__call__", None))


async def _until_cancelled(coroutine: Any, token: CancellationToken) -> object:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(coroutine)
    token.listen(lambda: loop.call_soon_threadsafe(task.cancel))
    return await task


def wants_context(function: Callable[..., Any], args: dict[str, Any]) -> bool:
    """Whether the first parameter is the context: it is named `ctx` or `context`, or annotated as one.

    Some functions written in C, like `time.time`, do not say what they take; they take no context.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return False
    if not parameters or parameters[0].name in args:
        return False
    first = parameters[0]
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return first.name in {"ctx", "context"} or _is_context(first.annotation, names)


def _is_context(annotation: object, names: Mapping[str, object]) -> bool:
    """Whether this means crewd's context. `names` are those of the module, for an annotation that is a text."""
    if isinstance(annotation, type):
        return issubclass(annotation, Context)
    if not isinstance(annotation, str):
        return any(_is_context(each, names) for each in get_args(annotation))
    for text in re.findall(r"[A-Za-z_][\w.]*", annotation):
        place, _, name = text.rpartition(".")
        found = names.get(text.partition(".")[0])
        for part in text.split(".")[1:]:
            found = getattr(found, part, None)
        if isinstance(found, type):
            if issubclass(found, Context):
                return True
        elif name in {"Context", "AsyncContext"} and place in {"", "worker", "crewd.worker"}:
            return True  # it is imported for type checkers alone
    return False


def _check_place(function: Callable[..., Any], args: dict[str, Any]) -> None:
    """Raises TypeError for a function that has a required parameter `ctx`, or `context`, which is not its first one."""
    with contextlib.suppress(ValueError):
        for parameter in inspect.signature(function).parameters.values():
            named = parameter.name in {"ctx", "context"} and parameter.name not in args
            if named and parameter.default is parameter.empty:
                raise TypeError(
                    f"{function.__name__}() has {parameter.name!r}, but not as its first parameter; a worker is given its"
                    f" context as the first one: def {function.__name__}({parameter.name}, ...)"
                )


def completed(result: object, bootstrap: Bootstrap, warnings: tuple[str, ...] = ()) -> Outcome:
    """The outcome of work that has this result: kept in a file if it is large, and in the step's output."""
    try:
        plain = as_json(result)
        clean = redact_value(plain)
        encoded = msgspec.json.encode(clean)
    except NotJson as error:
        return Outcome(outcome="failed", reason=FailureReason.NOT_JSON, error=str(error))
    if len(encoded) > RESULT_BYTES_MAX:
        said = f"the result has {len(encoded)} bytes, at most {RESULT_BYTES_MAX} are kept: leave it as a file (ctx.artifact)"
        return Outcome(outcome="failed", reason=FailureReason.TOO_LARGE, error=said)
    if clean != plain:
        warnings = (*warnings, "what looks like a secret was masked in its result")
    path = Path(bootstrap.directory) / "result.json"
    try:
        if bootstrap.output:
            text = redact(result).encode() if isinstance(result, str) else encoded
            write_output(Path(bootstrap.shared) / bootstrap.output, text)
        if len(encoded) > INLINE_BYTES_MAX:
            write_output(path, encoded)
            return Outcome(outcome="completed", result_path=str(path), warnings=warnings)
    except OSError as error:
        said = f"its result cannot be written: {text_of(error)}"
        return Outcome(outcome="failed", reason=FailureReason.RAISED, error=said, error_class=class_of(error))
    return Outcome(outcome="completed", result=msgspec.json.decode(encoded), warnings=warnings)


def write_output(path: Path, data: bytes) -> None:
    """Write so that a reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)
