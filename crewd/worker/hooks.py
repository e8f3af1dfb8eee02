"""Asks the hooks of a step, in its worker: before its code begins, and when its result is there (docs/hooks.md).

Whatever ends the worker ends its hooks too: they run below it.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crewd.model import variables
from crewd.model.hooks import StepPoint
from crewd.model.reasons import FailureReason
from crewd.model.redact import redact_value
from crewd.protocol.reports import HookAsked, Outcome
from crewd.worker.hook_command import Asking, ask

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.desk import Desk


def before_start(bootstrap: Bootstrap, desk: Desk) -> tuple[Bootstrap, Outcome | None]:
    """Ask the hooks before the code begins. What the worker is to do then, and the outcome if it is not to begin."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a hook that reads nothing is no reason to die
    points: list[StepPoint] = ["before_task_start"]
    if bootstrap.epoch > 1:
        points.insert(0, "before_retry")
    if bootstrap.recovers:
        points.insert(0, "run_recovery")
    for point in points:
        told = bootstrap.text or bootstrap.goal
        about, blocked = _ask(bootstrap, desk, point, {"text": told})
        if about["text"] != told:
            changed_goal = bootstrap.changed_goal or not bootstrap.text
            bootstrap = replace(bootstrap, text=str(about["text"]), changed_goal=changed_goal)
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
    bootstrap: Bootstrap, desk: Desk, point: StepPoint, about: dict[str, object], *, only_remarks: bool = False
) -> tuple[dict[str, object], str]:  # fmt: skip
    run, _, step = bootstrap.task.partition("/")
    given = {
        "run": run, "task": bootstrap.task, "step": step, "epoch": bootstrap.epoch, "cwd": bootstrap.cwd,
        "runtime": bootstrap.worker.runtime, "goal": bootstrap.goal, "inputs": bootstrap.inputs,
    }  # fmt: skip
    asking = Asking(desk.token, bootstrap.cwd, desk.known, lambda run: desk.report(HookAsked(run=run)))
    return ask(bootstrap.worker.hooks, point, given, about, asking, only_remarks=only_remarks)
