"""Asks hooks: runs the command of each in turn, and understands what it answers (docs/hooks.md).

Each is a command in a process group of its own below this process. It reads one JSON object and may answer with one. What it
changes is what the next one is given.

Tests: tests/worker/test_hooks.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, get_args

import msgspec

from crewd.model import variables
from crewd.model.hooks import CHANGES, Hook, HookPoint, HookRun, HookVerdict, as_json
from crewd.model.known_secrets import KnownSecrets
from crewd.model.limits import GOAL_BYTES_MAX, INLINE_BYTES_MAX, NOTE_CHARS_MAX
from crewd.model.redact import blot, clip, redact_value
from crewd.worker.child import ChildProcess
from crewd.worker.token import CancellationToken

if TYPE_CHECKING:
    from typing import IO

ANSWER_BYTES_MAX = 1 << 20
"""A longer answer is not understood."""
ERRORS_BYTES_MAX = 1 << 10
"""The end of a hook's standard error that is kept, for the note that says how it failed; the rest is read and dropped."""
PIPES_SECONDS = 1.0
"""How long a descendant may hold a hook's output open after the hook has ended."""


class HookAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a hook says. Nothing at all is `allow`. `text`, `result` and `goal` go with `modify`: what may be changed there."""

    verdict: HookVerdict = "allow"
    note: str = ""
    text: str | msgspec.UnsetType = msgspec.UNSET
    result: object = msgspec.UNSET
    goal: str | msgspec.UnsetType = msgspec.UNSET


class HookEnded(NamedTuple):
    """How a hook's process ended. `code` is None if it was killed because it was `late`, or never ran; `error` says why."""

    code: int | None
    output: bytes
    error: str
    late: bool = False


class Asking(NamedTuple):
    """How hooks are asked: until when, in which directory if a hook names none, with which values masked, and who is told."""

    token: CancellationToken
    directory: str
    known: KnownSecrets
    heard: Callable[[HookRun], object]


def ask(
    hooks: Iterable[Hook], point: HookPoint, given: Mapping[str, object], about: dict[str, object], asking: Asking, *,
    only_remarks: bool = False,
) -> tuple[dict[str, object], str]:  # fmt: skip
    """Ask each hook of this point in turn. What they were asked about as it is then, and why it is blocked, if it is.

    `given` is what they may not change. `only_remarks`: there is nothing to block or to change.
    """
    token, changes = asking.token, list[dict[str, object]]()
    for hook in hooks:
        if hook.on != point or token.cancelled:
            continue
        request = redact_value(asking.known.in_value({"on": point, **given, **about, "hook": hook.name, "changes": changes}))
        started = token.clock.monotonic()
        ended = run_command(hook, as_json(request), asking)
        if token.cancelled:
            break
        answer, failed = _understood(hook, ended)
        verdict: HookVerdict = answer.verdict
        if failed or verdict == "block":
            holds_up = ended.late and point == "before_cancel"  # no hook keeps a worker alive by taking its time
            verdict = "block" if hook.blocking and not holds_up else "diagnostic"
        if only_remarks and verdict != "allow":
            verdict = "diagnostic"
        changed: tuple[str, ...] = ()
        if verdict == "modify":
            name = CHANGES[point]
            value = getattr(answer, name)
            about, changed = {**about, name: value}, (name,)
            changes.append({"hook": hook.name, name: value})
        note = clip(failed or answer.note, NOTE_CHARS_MAX)
        asking.heard(HookRun(hook.name, point, verdict, note, token.clock.monotonic() - started, changed))
        if verdict == "block":
            return about, f"hook {hook.name} ({point}) blocks it" + (f": {note}" if note else "")
    return about, ""


def _understood(hook: Hook, ended: HookEnded) -> tuple[HookAnswer, str]:
    """What a hook has answered, or why that is no answer."""
    if ended.code != 0:
        return HookAnswer(), ended.error
    if not ended.output.strip():
        return HookAnswer(), ""
    try:
        if len(ended.output) > ANSWER_BYTES_MAX:
            raise msgspec.ValidationError(f"it has more than {ANSWER_BYTES_MAX} bytes")
        answer = msgspec.json.decode(ended.output, type=HookAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return HookAnswer(), f"its answer is not understood: {_wrong_in(ended.output) or error}"
    said = {name for name in ("text", "result", "goal") if getattr(answer, name) is not msgspec.UNSET}
    if answer.verdict == "modify" and hook.on not in CHANGES:
        return HookAnswer(), f"its answer is not understood: there is nothing to modify at {hook.on}"
    wanted = {CHANGES[hook.on]} if answer.verdict == "modify" else set()
    if said != wanted:
        says = f"with {', '.join(wanted)}" if wanted else f"without {', '.join(sorted(said))}"
        return HookAnswer(), f"its answer is not understood: {answer.verdict} goes {says} at {hook.on}"
    if answer.result is not msgspec.UNSET and len(msgspec.json.encode(answer.result)) > INLINE_BYTES_MAX:
        return HookAnswer(), f"its result has more than {INLINE_BYTES_MAX} bytes: leave it as a file, and say where"
    if answer.text is not msgspec.UNSET and not variables.is_possible(variables.TEXT, answer.text):
        return HookAnswer(), "its text is not possible: it has a NUL, or more bytes than a variable holds"
    if answer.goal is not msgspec.UNSET and ("\0" in answer.goal or len(answer.goal.encode()) > GOAL_BYTES_MAX):
        return HookAnswer(), f"its goal is not possible: it has a NUL or more than {GOAL_BYTES_MAX} bytes"
    return answer, ""


def _wrong_in(output: bytes) -> str:
    """What is wrong with an answer that is a JSON object; empty if that cannot be said better than by its decoder."""
    try:
        said = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(said, dict):
        return "it is no JSON object"
    from crewd.model.markdown import did_you_mean  # most answers are right

    known = HookAnswer.__struct_fields__
    for key, value in said.items():
        if key not in known:
            return f"there is no {key!r}; {did_you_mean(key, known, {})}"
        if key == "verdict" and value not in get_args(HookVerdict):
            return f"verdict is {value!r}; one of {', '.join(get_args(HookVerdict))}"
        if key != "result" and not isinstance(value, str):
            return f"{key} is {clip(repr(value), 60)}, and has to be a text"
    return ""


def run_command(hook: Hook, request: bytes, asking: Asking, *, only_beginning: bool = False) -> HookEnded:
    """Run a hook, with the request as its input, until it ends, has had its time, or what asks it is cancelled.

    `only_beginning`: the first of what it prints is enough; one that goes on is ended then, and that is in order.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 (its purpose)
            ["/bin/sh", "-c", hook.run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            process_group=0, bufsize=0, cwd=hook.directory or asking.directory,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return HookEnded(None, b"", f"it cannot be started: {error}")
    output, errors = bytearray(), bytearray()
    child, full = ChildProcess(process), threading.Event()

    def enough() -> None:
        if only_beginning:
            full.set()
            child.signal_group(signal.SIGKILL)

    threads = [
        threading.Thread(target=child.wait, name="hook", daemon=True),
        threading.Thread(target=_write, args=(process.stdin, request), name="hook-stdin", daemon=True),
        threading.Thread(
            target=_read, args=(process.stdout, output, ANSWER_BYTES_MAX + 1, enough), name="hook-stdout", daemon=True
        ),
        threading.Thread(
            target=_read_end,
            args=(process.stderr, errors, ERRORS_BYTES_MAX + asking.known.reach),
            name="hook-stderr",
            daemon=True,
        ),
    ]
    for thread in threads:
        thread.start()
    asking.token.listen(lambda: child.signal_group(signal.SIGKILL))
    late = not child.has_exited(hook.timeout_seconds)
    if late:
        child.signal_group(signal.SIGKILL)
    child.has_exited()
    until = asking.token.clock.monotonic() + PIPES_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - asking.token.clock.monotonic()))
    code = 0 if full.is_set() else None if late else child.code or 0
    said = blot(asking.known.in_bytes(bytes(errors)))[-ERRORS_BYTES_MAX:].decode("utf-8", "replace").strip()
    how = _how(hook, code)
    return HookEnded(code, bytes(output), f"{how}: {said}" if how and said else how, late)


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


def _read(pipe: IO[bytes] | None, into: bytearray, most: int, full: Callable[[], None]) -> None:
    """Read to the end, and keep the beginning. `full` is called once there is no more room for it."""
    if pipe is not None:
        with pipe, contextlib.suppress(OSError, ValueError):
            while chunk := os.read(pipe.fileno(), 1 << 16):
                room = most - len(into)
                into += chunk[:room]
                if 0 < room <= len(chunk):
                    full()


def _read_end(pipe: IO[bytes] | None, into: bytearray, most: int) -> None:
    """Read to the end, and keep the end."""
    if pipe is not None:
        with pipe, contextlib.suppress(OSError, ValueError):
            while chunk := os.read(pipe.fileno(), 1 << 16):
                into += chunk
                del into[:-most]
