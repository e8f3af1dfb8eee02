"""Asks the hooks of an act before crewd hears of it: to start a run, to cancel one, to take one away, to tell how one stands.

They are those that are active in this directory (docs/hooks.md). They run below a process of their own, never in this one and
never in crewd. What they have answered becomes an event of the run, if there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from crewd.client.hooked import active_hooks
from crewd.client.hooks import HOOKS_FILE
from crewd.model.errors import CrewdError, InvariantError, Refused, UsageError
from crewd.model.hooks import ActPoint, Hook, HookRun, HooksAsked, HooksToAsk
from crewd.model.reasons import BlockReason
from crewd.model.rows import RunRow
from crewd.model.workflow import Workflow

if TYPE_CHECKING:
    from crewd.client import aio
    from crewd.client.blocking import Crew

_PACKAGES: Final = str(Path(__file__).resolve().parent.parent.parent)
_HOST: Final = f"import sys; sys.path.insert(0, {_PACKAGES!r}); from crewd.worker.act_hooks import main; main()"
END_SECONDS = 10.0
"""How long the process may take beside its hooks."""


def ask_hooks(point: ActPoint, given: dict[str, object], about: dict[str, object] | None = None) -> HooksAsked:
    """Ask the active hooks of this point. Without any, nothing is started.

    `given` is what they are told, `about` what they may change of it.
    """
    about = about or {}
    try:
        hooks = hooks_at(point)
    except UsageError as error:
        if point != "before_cancel":
            raise
        return HooksAsked((HookRun(HOOKS_FILE, point, "diagnostic", error.message),), about)  # a wrong file keeps nothing alive
    return _asked(HooksToAsk(point, hooks, {"cwd": str(Path.cwd()), **given}, about)) if hooks else HooksAsked(about=about)


def ask_start(workflow: Workflow, goal: str, cwd: str, name: str) -> HooksAsked:
    """Ask hooks about a run that is to be started; they may change its `goal`. Refused if one blocks it."""
    steps = [{"id": step.id, "runtime": step.worker.runtime, "role": step.role} for step in workflow.steps]
    given: dict[str, object] = {"workflow": workflow.name, "name": name, "cwd": cwd, "steps": steps, "labels": workflow.labels}
    asked = ask_hooks("before_run_start", given, {"goal": goal})
    if asked.blocked:
        raise refusal(asked, "nothing is started")
    return asked


def ask_brief(runs: Sequence[str], text: str) -> HooksAsked:
    """Ask hooks about what is told of these runs together; they may change the `text`. Refused if one blocks it."""
    asked = ask_hooks("before_compact", {"runs": list(runs)}, {"text": text})
    if asked.blocked:
        raise refusal(asked, "nothing is told")
    return asked


def about_run(row: RunRow, target: str) -> dict[str, object]:
    """What hooks are told of a run, and of the step of it that `target` names."""
    step = target.partition("/")[2]
    return {
        "run": row.id, "name": row.name, "status": row.status.value, "owner": row.owner, "goal": row.goal,
        "labels": row.workflow.labels, "step": step,
    }  # fmt: skip


def refusal(asked: HooksAsked, undone: str) -> Refused:
    """The error for what a hook has blocked. `undone` says what was not done."""
    hint = (
        "crew cancel --now does not ask" if asked.hooks and asked.hooks[0].on == "before_cancel" else "crew hooks lists hooks"
    )
    return Refused(f"{asked.blocked}; {undone}", hint=hint, reason=BlockReason.HOOK)


def ask_about(
    crew: Crew, point: ActPoint, target: str, undone: str, *, about: dict[str, object] | None = None, **given: object
) -> HooksAsked:
    """Ask hooks about something that is wanted of the run that `target` names. Refused if one blocks it.

    `undone` says what is not done then, `given` what else they are told.
    """
    if not _is_asked(point):
        return HooksAsked(about=about or {})
    row = crew.show(target).run
    asked = ask_hooks(point, {**about_run(row, target), **given}, about)
    with contextlib.suppress(CrewdError):  # a run that is only read has no such event
        crew.tell_hooks(row.id, asked.hooks)
    if asked.blocked:
        raise refusal(asked, undone)
    return asked


async def ask_about_async(
    crew: aio.Crew, point: ActPoint, target: str, undone: str, *, about: dict[str, object] | None = None, **given: object
) -> HooksAsked:
    """As `ask_about`, without holding up the loop."""
    if not _is_asked(point):
        return HooksAsked(about=about or {})
    row = (await crew.show(target)).run
    asked = await asyncio.to_thread(ask_hooks, point, {**about_run(row, target), **given}, about)
    with contextlib.suppress(CrewdError):  # a run that is only read has no such event
        await crew.tell_hooks(row.id, asked.hooks)
    if asked.blocked:
        raise refusal(asked, undone)
    return asked


def hooks_at(point: ActPoint) -> tuple[Hook, ...]:
    """The active hooks of this point. UsageError for a file of the user's that is wrong."""
    return tuple(hook for hook in active_hooks()[0] if hook.on == point)


def _is_asked(point: ActPoint) -> bool:
    """Whether there is a hook to ask, or a file to complain about."""
    try:
        return bool(hooks_at(point))
    except UsageError:
        return True


def _asked(order: HooksToAsk) -> HooksAsked:
    """What came of it. If the process in which they run fails, it is as if each hook had failed."""
    host = subprocess.Popen(  # noqa: S603 (this very Python; it imports nothing from the directory that it is started in)
        [sys.executable, "-P", "-c", _HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    seconds = sum(hook.timeout_seconds for hook in order.hooks) + END_SECONDS
    try:
        return _answer(host, msgspec.json.encode(order) + b"\n", seconds)
    except (OSError, msgspec.DecodeError):
        return _failed(order)
    finally:
        _hang_up(host)


def _answer(host: subprocess.Popen[bytes], question: bytes, seconds: float) -> HooksAsked:
    if host.stdin is None or host.stdout is None:
        raise InvariantError("the process has no pipes")
    host.stdin.write(question)
    host.stdin.flush()  # and it stays open: its end says that nobody listens any more
    ready, _, _ = select.select([host.stdout], [], [], seconds)
    return msgspec.json.decode(host.stdout.readline() if ready else b"", type=HooksAsked)


def _hang_up(host: subprocess.Popen[bytes]) -> None:
    """It ends now, with what it has started."""
    if host.stdin is not None:
        with contextlib.suppress(OSError):
            host.stdin.close()
    try:
        host.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()
    if host.stdout is not None:
        host.stdout.close()


def _failed(order: HooksToAsk) -> HooksAsked:
    said = "the process that asks hooks has failed"
    runs = tuple(HookRun(hook.name, order.on, "block" if hook.blocking else "diagnostic", said) for hook in order.hooks)
    first = next((hook for hook in order.hooks if hook.blocking), None)
    return HooksAsked(runs, order.about, f"hook {first.name} ({order.on}) blocks it: {said}" if first else "")
