"""Asks the hooks of a step, in its worker: before its code begins, and when its result is there (docs/hooks.md).

Each is a command in a process group of its own below the worker's, so that whatever ends the worker ends it too. It reads
one JSON object and may answer with one. What it changes is what the next one is given.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from crewd.model import variables
from crewd.model.hooks import Hook, HookPoint, HookRun, HookVerdict
from crewd.model.limits import INLINE_BYTES_MAX, NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason
from crewd.model.redact import clip, redact_value
from crewd.protocol.reports import HookAsked, Outcome
from crewd.worker.child import ChildProcess

if TYPE_CHECKING:
    from typing import IO

    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.desk import Desk

ANSWER_BYTES_MAX = 1 << 20
"""A longer answer is not understood."""
ERRORS_BYTES_MAX = 1 << 10
"""The end of a hook's standard error that is kept, for the note that says how it failed; the rest is read and dropped."""
PIPES_SECONDS = 1.0
"""How long a descendant may hold a hook's output open after the hook has ended."""
_CHANGES: Final[Mapping[HookPoint, str]] = {"before_task_start": "text", "before_retry": "text", "task_result": "result"}
"""What the hooks at each point may change."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a hook says. Nothing at all is `allow`. `text` and `result` go with `modify`."""

    verdict: HookVerdict = "allow"
    note: str = ""
    text: str | msgspec.UnsetType = msgspec.UNSET
    result: object = msgspec.UNSET


class Ended(NamedTuple):
    """How a hook's process ended. `code` is None if it was killed for taking too long, or never ran; `error` says why."""

    code: int | None
    output: bytes
    error: str


def before_start(bootstrap: Bootstrap, desk: Desk) -> tuple[Bootstrap, Outcome | None]:
    """Ask the hooks before the code begins. What the worker is to do then, and the outcome if it is not to begin."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a hook that reads nothing is no reason to die
    points: list[HookPoint] = ["before_task_start"] if bootstrap.epoch == 1 else ["before_retry", "before_task_start"]
    for point in points:
        told = bootstrap.text or bootstrap.goal
        about, blocked = _ask(bootstrap, desk, point, {"text": told})
        if about["text"] != told:
            goal = bootstrap.goal if bootstrap.text else ""  # it was the goal that was changed
            bootstrap = replace(bootstrap, text=str(about["text"]), goal=goal)
            os.environ.pop(variables.TEXT, None)
            if variables.is_possible(variables.TEXT, bootstrap.text):
                os.environ[variables.TEXT] = bootstrap.text
        if blocked:
            return bootstrap, Outcome(outcome="failed", reason=FailureReason.HOOK, error=blocked)
    return bootstrap, None


def after_end(bootstrap: Bootstrap, desk: Desk, outcome: Outcome) -> Outcome:
    """Ask the hooks that look at results. The outcome as they leave it; that of a cancelled worker is not theirs."""
    if outcome.outcome == "cancelled" or outcome.reason == FailureReason.HOOK or desk.token.cancelled:
        return outcome
    given = {"outcome": outcome.outcome, "error": outcome.error, "result": outcome.result, "result_path": outcome.result_path}
    about, blocked = _ask(bootstrap, desk, "task_result", given, only_remarks=outcome.outcome != "completed")
    if desk.token.cancelled:
        return outcome
    if blocked:
        return Outcome(outcome="failed", reason=FailureReason.HOOK, error=blocked)
    if about["result"] is outcome.result:
        return outcome
    return replace(outcome, result=redact_value(about["result"]), result_path="")  # files stay what the worker has left


def _ask(
    bootstrap: Bootstrap, desk: Desk, point: HookPoint, about: dict[str, object], *, only_remarks: bool = False
) -> tuple[dict[str, object], str]:  # fmt: skip
    """Ask each hook of this point in turn. What they were asked about as it is then, and why it is blocked, if it is.

    `only_remarks`: there is nothing to block or to change.
    """
    run, _, step = bootstrap.task.partition("/")
    given = {
        "on": point, "run": run, "task": bootstrap.task, "step": step, "epoch": bootstrap.epoch, "cwd": bootstrap.cwd,
        "runtime": bootstrap.worker.runtime, "goal": bootstrap.goal, "inputs": bootstrap.inputs,
    }  # fmt: skip
    changes: list[dict[str, object]] = []
    for hook in bootstrap.worker.hooks:
        if hook.on != point or desk.token.cancelled:
            continue
        request = desk.known.in_value(redact_value({**given, **about, "hook": hook.name, "changes": changes}))
        started = desk.token.clock.monotonic()
        ended = _run(hook, msgspec.json.encode(request) + b"\n", hook.directory or bootstrap.cwd, desk)
        if desk.token.cancelled:
            break
        answer, failed = _understood(hook, ended)
        verdict: HookVerdict = answer.verdict
        if failed or verdict == "block":
            verdict = "block" if hook.blocking else "diagnostic"
        if only_remarks and verdict != "allow":
            verdict = "diagnostic"
        changed: tuple[str, ...] = ()
        if verdict == "modify":
            name = _CHANGES[point]
            value = answer.text if name == "text" else answer.result
            about, changed = {**about, name: value}, (name,)
            changes.append({"hook": hook.name, name: value})
        note = clip(failed or answer.note, NOTE_CHARS_MAX)
        seconds = desk.token.clock.monotonic() - started
        desk.report(HookAsked(run=HookRun(hook.name, point, verdict, note, seconds, changed)))
        if verdict == "block":
            return about, f"hook {hook.name} ({point}) blocks it" + (f": {note}" if note else "")
    return about, ""


def _understood(hook: Hook, ended: Ended) -> tuple[Answer, str]:
    """What a hook has answered, or why that is no answer."""
    if ended.code != 0:
        return Answer(), ended.error
    if not ended.output.strip():
        return Answer(), ""
    try:
        if len(ended.output) > ANSWER_BYTES_MAX:
            raise msgspec.ValidationError(f"it has more than {ANSWER_BYTES_MAX} bytes")
        answer = msgspec.json.decode(ended.output, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(), f"its answer is not understood: {error}"
    given = {name for name in ("text", "result") if getattr(answer, name) is not msgspec.UNSET}
    wanted = {_CHANGES[hook.on]} if answer.verdict == "modify" else set()
    if given != wanted:
        says = f"with {', '.join(sorted(wanted))}" if wanted else "with neither text nor result"
        return Answer(), f"its answer is not understood: {answer.verdict} goes {says} at {hook.on}"
    if answer.result is not msgspec.UNSET and len(msgspec.json.encode(answer.result)) > INLINE_BYTES_MAX:
        return Answer(), f"its result has more than {INLINE_BYTES_MAX} bytes: leave it as a file, and say where"
    return answer, ""


def _run(hook: Hook, request: bytes, cwd: str, desk: Desk) -> Ended:
    """Run a hook until it ends, has had its time, or the worker is cancelled."""
    try:
        process = subprocess.Popen(  # noqa: S603 (its purpose)
            ["/bin/sh", "-c", hook.run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            process_group=0, bufsize=0, cwd=cwd,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return Ended(None, b"", f"it cannot be started: {error}")
    output, errors = bytearray(), bytearray()
    child = ChildProcess(process)
    threads = [
        threading.Thread(target=child.wait, name="hook", daemon=True),
        threading.Thread(target=_write, args=(process.stdin, request), name="hook-stdin", daemon=True),
        threading.Thread(target=_read, args=(process.stdout, output, ANSWER_BYTES_MAX + 1), name="hook-stdout", daemon=True),
        threading.Thread(target=_read_end, args=(process.stderr, errors, ERRORS_BYTES_MAX), name="hook-stderr", daemon=True),
    ]
    for thread in threads:
        thread.start()
    desk.token.listen(lambda: child.signal_group(signal.SIGKILL))
    late = not child.has_exited(hook.timeout_seconds)
    if late:
        child.signal_group(signal.SIGKILL)
    child.has_exited()
    for thread in threads:
        thread.join(PIPES_SECONDS)
    code = None if late else child.code or 0
    said = desk.known.in_bytes(bytes(errors)).decode("utf-8", "replace").strip()
    how = _how(hook, code)
    return Ended(code, bytes(output), f"{how}: {said}" if how and said else how)


def _how(hook: Hook, code: int | None) -> str:
    """How a hook has ended, if that was not in order."""
    if code is None:
        return f"it took longer than {hook.timeout_seconds:g} s"
    return "" if code == 0 else f"signal {-code}" if code < 0 else f"exit code {code}"


def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    """Write, until the hook reads no more."""
    if pipe is not None:
        with contextlib.suppress(OSError, ValueError):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(pipe.fileno(), rest) :]
        with contextlib.suppress(OSError):
            pipe.close()


def _read(pipe: IO[bytes] | None, into: bytearray, most: int) -> None:
    """Read to the end, and keep the beginning."""
    if pipe is not None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(pipe.fileno(), 1 << 16):
                into += chunk[: most - len(into)]


def _read_end(pipe: IO[bytes] | None, into: bytearray, most: int) -> None:
    """Read to the end, and keep the end."""
    if pipe is not None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(pipe.fileno(), 1 << 16):
                into += chunk
                del into[:-most]
