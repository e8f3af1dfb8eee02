"""What hooks are given at each point, as JSON on their standard input (docs/hooks.md). Values only.

docs/hooks.schema.json says the same as JSON Schema, and so does `crew hooks --schema POINT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from crewd.model.hooks import HookPoint


class HookChange(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What an earlier hook at this point has changed: one of `text`, `result` and `goal`."""

    hook: str
    text: str | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET
    goal: str | msgspec.UnsetType = msgspec.UNSET


class HookRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every hook is given: the point, its own name, where the work is done, and what earlier hooks have changed."""

    on: HookPoint
    hook: str
    cwd: str
    changes: list[HookChange]


class StepRequest(HookRequest, kw_only=True):
    """About an attempt of a step. `task` is `RUN/STEP`, `epoch` the number of the attempt."""

    run: str
    task: str
    step: str
    epoch: int
    runtime: str
    goal: str
    inputs: dict[str, Any]


class StartRequest(StepRequest, kw_only=True):
    """Before a worker's code begins. `text`: what is to be done, as earlier hooks have left it."""

    text: str


class ResultRequest(StepRequest, kw_only=True):
    """When a worker's code has ended. A large result stands in the file `result_path`, and `result` is null."""

    outcome: Literal["completed", "failed"]
    error: str
    result: Any
    result_path: str


class StepToStart(msgspec.Struct, forbid_unknown_fields=True):
    """A step of a run that is to be started."""

    id: str
    runtime: str
    role: str


class RunStartRequest(HookRequest, kw_only=True):
    """Before a run is started. `cwd` is where it is to work, `name` the name that was asked for, or nothing."""

    workflow: str
    name: str
    goal: str
    labels: dict[str, str]
    steps: list[StepToStart]


class RunRequest(HookRequest, kw_only=True):
    """About a run, or about one `step` of it. `cwd` is where the act was asked for."""

    run: str
    name: str
    status: str
    owner: str
    goal: str
    labels: dict[str, str]
    step: str


class EndRequest(RunRequest, kw_only=True):
    """Before a run is cancelled or forgotten. `intent`: why, as somebody has said, or nothing."""

    intent: str


class PublishRequest(RunRequest, kw_only=True):
    """Before a run is written into a file."""

    path: str


class CleanupRequest(HookRequest, kw_only=True):
    """Before many runs are taken away, or put into the archive. `runs` are their ids, 1,000 at most."""

    runs: list[str]
    archive: bool
    intent: str


class CompactRequest(HookRequest, kw_only=True):
    """Before a summary of `runs` is printed or sent. `text` is that summary, as earlier hooks have left it."""

    runs: list[str]
    text: str


class SwitchRequest(RunRequest, kw_only=True):
    """Before an editor opens the run in a session, or closes its session."""

    session: str
    wants: Literal["open", "close"]


REQUESTS_OF_HOOKS: Final[Mapping[HookPoint, type[HookRequest]]] = {
    "before_task_start": StartRequest,
    "before_retry": StartRequest,
    "run_recovery": StartRequest,
    "task_result": ResultRequest,
    "before_run_start": RunStartRequest,
    "before_cancel": EndRequest,
    "before_forget": EndRequest,
    "before_cleanup": CleanupRequest,
    "before_publish": PublishRequest,
    "before_compact": CompactRequest,
    "session_before_switch": SwitchRequest,
}


def hook_schema(point: HookPoint) -> dict[str, Any]:
    """What a hook at this point is given, as JSON Schema (2020-12)."""
    return msgspec.json.schema(REQUESTS_OF_HOOKS[point])
