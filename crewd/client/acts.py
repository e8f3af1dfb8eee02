"""Asks the hooks of an act before crewd hears of it: to start a run, to cancel one, to take one away, to tell how one stands.

They are those that are active in this directory (docs/hooks.md). They run below a process of their own, never in this one and
never in crewd. What they have answered becomes an event of the run, if there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from crewd.client.hooked import active_hooks
from crewd.client.hooks import HOOKS_FILE
from crewd.client.host_process import BESIDE_SECONDS, END_SECONDS, answer, close, hang_up, start
from crewd.model.errors import CrewdError, Refused, UsageError
from crewd.model.hooks import HOOKS_MAX, ActPoint, Hook, HookRun, HooksAsked, HooksToAsk, as_json
from crewd.model.reasons import BlockReason
from crewd.model.rows import RunRow
from crewd.model.workflow import Workflow

if TYPE_CHECKING:
    from crewd.client import aio
    from crewd.client.blocking import Crew

_UNTOLD: Final = "nothing is told"
_UNSTARTED: Final = "nothing is started"
_HELD_UP: Final = frozenset({"before_run_start", "before_forget", "before_cleanup", "before_publish"})
"""What a wrong file of hooks holds up. It keeps no worker alive, and nobody from looking."""


def ask_hooks(point: ActPoint, given: dict[str, object], about: dict[str, object] | None = None) -> HooksAsked:
    """Ask the active hooks of this point. Without any, nothing is started.

    `given` is what they are told, `about` what they may change of it.
    """
    order = _order(point, given, about or {})
    return _outcome(start(), order) if isinstance(order, HooksToAsk) else order


async def ask_hooks_async(point: ActPoint, given: dict[str, object], about: dict[str, object] | None = None) -> HooksAsked:
    """As `ask_hooks`, without holding up the loop. A task that is cancelled meanwhile ends the hook."""
    order = _order(point, given, about or {})
    if not isinstance(order, HooksToAsk):
        return order
    host = start()
    try:
        return await asyncio.to_thread(_outcome, host, order)
    finally:
        close(host)


def _order(point: ActPoint, given: dict[str, object], about: dict[str, object]) -> HooksToAsk | HooksAsked:
    """What is to be asked; or what has come of it, as there is no hook to ask."""
    try:
        hooks = hooks_at(point)
    except UsageError as error:
        if point in _HELD_UP:
            raise
        return HooksAsked((HookRun(HOOKS_FILE, point, "diagnostic", error.message),), about)
    return HooksToAsk(point, hooks, {"cwd": _here(), **given}, about) if hooks else HooksAsked(about=about)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "/"  # the directory is gone


def ask_start(workflow: Workflow, goal: str, cwd: str, name: str) -> HooksAsked:
    """Ask hooks about a run that is to be started; they may change its `goal`. Refused if one blocks it."""
    return _allowed(ask_hooks("before_run_start", _of_start(workflow, cwd, name), {"goal": goal}), _UNSTARTED)


async def ask_start_async(workflow: Workflow, goal: str, cwd: str, name: str) -> HooksAsked:
    """As `ask_start`, without holding up the loop."""
    asked = await ask_hooks_async("before_run_start", _of_start(workflow, cwd, name), {"goal": goal})
    return _allowed(asked, _UNSTARTED)


def _of_start(workflow: Workflow, cwd: str, name: str) -> dict[str, object]:
    steps = [{"id": step.id, "runtime": step.worker.runtime, "role": step.role} for step in workflow.steps]
    return {"workflow": workflow.name, "name": name, "cwd": cwd, "steps": steps, "labels": workflow.labels}


RECENT_MAX = 1_000
"""How many of the newest runs are searched for a client's own: what it asks about again is recent."""


def begun_before(crew: Crew, request_id: str, goal: str) -> HooksAsked | None:
    """For a request that has started a run already no hook is asked again: the goal that it has then."""
    run = _begun_by(crew.runs(all=True, limit=RECENT_MAX).runs, crew.owner, request_id)
    return None if run is None else _as_begun(crew.show(run).run, goal)


async def begun_before_async(crew: aio.Crew, request_id: str, goal: str) -> HooksAsked | None:
    """As `begun_before`, without holding up the loop."""
    run = _begun_by((await crew.runs(all=True, limit=RECENT_MAX)).runs, crew.owner, request_id)
    return None if run is None else _as_begun((await crew.show(run)).run, goal)


def _begun_by(rows: Iterable[RunRow], owner: str, request_id: str) -> str | None:
    return next((row.id for row in rows if (row.owner, row.request_id) == (owner, request_id)), None)


def _as_begun(row: RunRow, goal: str) -> HooksAsked:
    return HooksAsked(about={"goal": row.goal if any(ran.changed for ran in row.hooks) else goal})


def ask_brief(runs: Sequence[str], text: str) -> HooksAsked:
    """Ask hooks about what is told of these runs together; they may change the `text`. Refused if one blocks it."""
    return _allowed(ask_hooks("before_compact", {"runs": list(runs)}, {"text": text}), _UNTOLD)


async def ask_brief_async(runs: Sequence[str], text: str) -> HooksAsked:
    """As `ask_brief`, without holding up the loop."""
    return _allowed(await ask_hooks_async("before_compact", {"runs": list(runs)}, {"text": text}), _UNTOLD)


def ask_summary(crew: Crew, run: str, text: str) -> HooksAsked:
    """Ask hooks about what is told of one run; what they answer is an event of it."""
    asked = ask_hooks("before_compact", {"runs": [run]}, {"text": text})
    tell(crew, run, asked)
    return _allowed(asked, _UNTOLD)


async def ask_summary_async(crew: aio.Crew, run: str, text: str) -> HooksAsked:
    """As `ask_summary`, without holding up the loop."""
    asked = await ask_hooks_async("before_compact", {"runs": [run]}, {"text": text})
    await tell_async(crew, run, asked)
    return _allowed(asked, _UNTOLD)


def about_run(row: RunRow, target: str) -> dict[str, object]:
    """What hooks are told of a run, and of the step of it that `target` names."""
    step = target.partition("/")[2]
    return {
        "run": row.id, "name": row.name, "status": row.status.value, "owner": row.owner, "goal": row.goal,
        "labels": row.workflow.labels, "step": step,
    }  # fmt: skip


def _allowed(asked: HooksAsked, undone: str) -> HooksAsked:
    if asked.blocked:
        raise refusal(asked, undone)
    return asked


def refusal(asked: HooksAsked, undone: str) -> Refused:
    """The error for what a hook has blocked, with what others have said before. `undone` says what was not done."""
    said = "; ".join(ran.words for ran in asked.hooks if ran.verdict != "allow")
    hint = "crew cancel --now does not ask" if asked.hooks[0].on == "before_cancel" else "crew hooks lists hooks"
    return Refused(f"{said}; {undone}", hint=hint, reason=BlockReason.HOOK)


def ask_about(crew: Crew, point: ActPoint, target: str, undone: str, **given: object) -> HooksAsked:
    """Ask hooks about something that is wanted of the run that `target` names. Refused if one blocks it.

    `undone` says what is not done then, `given` what else they are told. About a cancel of what has ended nobody is asked.
    """
    if not _is_asked(point):
        return HooksAsked()
    row = crew.show(target).run
    if point == "before_cancel" and row.ended_at is not None:
        return HooksAsked()
    asked = ask_hooks(point, {**about_run(row, target), **given})
    tell(crew, row.id, asked)
    return _allowed(asked, undone)


async def ask_about_async(crew: aio.Crew, point: ActPoint, target: str, undone: str, **given: object) -> HooksAsked:
    """As `ask_about`, without holding up the loop."""
    if not _is_asked(point):
        return HooksAsked()
    row = (await crew.show(target)).run
    if point == "before_cancel" and row.ended_at is not None:
        return HooksAsked()
    asked = await ask_hooks_async(point, {**about_run(row, target), **given})
    await tell_async(crew, row.id, asked)
    return _allowed(asked, undone)


def tell(crew: Crew, run: str, asked: HooksAsked) -> None:
    """Tell crewd what hooks have answered. It fails in silence: what they were asked about counts, and goes on or does not."""
    with contextlib.suppress(CrewdError):  # a run that is only read, and one of somebody else, has no such event
        for some in _some_at_once(asked):
            crew.tell_hooks(run, some)


async def tell_async(crew: aio.Crew, run: str, asked: HooksAsked) -> None:
    """As `tell`, without holding up the loop."""
    with contextlib.suppress(CrewdError):
        for some in _some_at_once(asked):
            await crew.tell_hooks(run, some)


def _some_at_once(asked: HooksAsked) -> list[tuple[HookRun, ...]]:
    return [asked.hooks[at : at + HOOKS_MAX] for at in range(0, len(asked.hooks), HOOKS_MAX)]


def hooks_at(point: ActPoint) -> tuple[Hook, ...]:
    """The active hooks of this point. UsageError for a file of the user's that is wrong."""
    return tuple(hook for hook in active_hooks()[0] if hook.on == point)


def _is_asked(point: ActPoint) -> bool:
    """Whether there is a hook to ask, or a file to complain about."""
    try:
        return bool(hooks_at(point))
    except UsageError:
        return True


def _outcome(host: subprocess.Popen[bytes], order: HooksToAsk) -> HooksAsked:
    """What came of it. If the process in which they run fails, it is as if each hook had failed."""
    seconds = sum(hook.timeout_seconds + BESIDE_SECONDS for hook in order.hooks) + END_SECONDS
    try:
        return msgspec.convert(answer(host, as_json(order), seconds), HooksAsked)
    except (OSError, ValueError):  # also what is no JSON, and a pipe that was closed because nobody waits any more
        return _failed(order)
    finally:
        hang_up(host)


def _failed(order: HooksToAsk) -> HooksAsked:
    said, blocks = "the process that asks hooks has failed", order.on != "before_cancel"
    runs = tuple(
        HookRun(hook.name, order.on, "block" if hook.blocking and blocks else "diagnostic", said) for hook in order.hooks
    )
    return HooksAsked(runs, order.about, said if any(ran.verdict == "block" for ran in runs) else "")
