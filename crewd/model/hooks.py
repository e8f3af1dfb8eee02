"""Hooks: commands that are asked before something is done, and may stop or change it. Values only.

Those of a step are asked in its worker, before its code begins and after it has ended. Those of an act are asked where somebody
asks for it, before crewd hears of it. docs/hooks.md says what a hook is given and what it may answer.

Tests: tests/worker/test_hooks.py, tests/client/test_hooks.py, tests/client/test_acts.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.json_line import json_line

StepPoint = Literal["before_task_start", "before_retry", "run_recovery", "task_result"]
ActPoint = Literal[
    "before_run_start", "before_cancel", "before_forget", "before_cleanup", "before_publish", "before_compact",
    "session_before_switch",
]  # fmt: skip
HookPoint = StepPoint | ActPoint
HookVerdict = Literal["allow", "block", "modify", "diagnostic"]
STEP_POINTS: Final[tuple[StepPoint, ...]] = get_args(StepPoint)
"""The points at which a step's worker asks."""
ACT_POINTS: Final[tuple[ActPoint, ...]] = get_args(ActPoint)
"""The points of acts. The client that wants the act asks the hooks, before it sends its request."""
POINTS: Final[tuple[HookPoint, ...]] = (*STEP_POINTS, *ACT_POINTS)
BEFORE: Final[tuple[StepPoint, ...]] = ("before_task_start", "before_retry", "run_recovery")
"""The points at which a worker's code has not begun."""
CHANGES: Final[Mapping[HookPoint, str]] = {
    "before_task_start": "text", "before_retry": "text", "run_recovery": "text", "task_result": "result",
    "before_run_start": "goal", "before_compact": "text",
}  # fmt: skip
"""What the hooks at a point may change. At the others there is nothing to change."""
HOOKS_MAX = 16
"""Of one step."""
HOOK_SECONDS_DEFAULT = 10.0
HOOK_SECONDS_MAX = 60.0


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One hook. `run` is a command line for `/bin/sh`; it is given JSON and may answer with JSON.

    If a `blocking` one answers `block`, fails, or takes longer than `timeout_seconds`, the step does not start, or is not
    completed, or nothing is done. From one that is not blocking all of this is a remark; so is that one takes too long before a
    cancel. `roles`: only for steps of these roles (none: for each); an act has none.
    `source` says whose file it stands in. It runs in `directory`, else in the run's.
    """

    name: str
    on: HookPoint
    run: str
    blocking: bool = False
    timeout_seconds: float = HOOK_SECONDS_DEFAULT
    roles: tuple[str, ...] = ()
    source: Literal["", "user", "extension", "project"] = ""
    directory: str = ""


class HookRun(msgspec.Struct, frozen=True):
    """A hook that has run: what it answered, and in `note` why, in words. `changed` names what it has changed.

    `told` is the id of the request that told of it (`tell_hooks`); empty for a hook of a step.
    """

    name: str
    on: HookPoint
    verdict: HookVerdict
    note: str = ""
    seconds: float = 0.0
    changed: tuple[str, ...] = ()
    told: str = ""

    @property
    def words(self) -> str:
        """What came of it, for people."""
        did = {
            "block": "blocks it",
            "modify": f"changes its {', '.join(self.changed)}",
            "diagnostic": "remarks",
            "allow": "allows it",
        }
        return f"hook {self.name} ({self.on}) {did[self.verdict]}" + (f": {self.note}" if self.note else "")


def check_hooks(what: str, hooks: Sequence[Hook]) -> None:
    """UsageError for more hooks than a step may have, two of one name, or one that cannot be run."""
    if len(hooks) > HOOKS_MAX:
        raise UsageError(f"{what} has {len(hooks)} hooks", hint=f"at most {HOOKS_MAX}")
    names = [hook.name for hook in hooks]
    for hook in hooks:
        check_name(f"{what}: a hook", hook.name)
        if names.count(hook.name) > 1:
            raise UsageError(f"{what} has two hooks {hook.name!r}", hint="each needs a name of its own")
        if not hook.run.strip() or "\0" in hook.run:
            raise UsageError(f"{what}: hook {hook.name} has no command that can be run", hint='run = "python3 check.py"')
        if not 0 < hook.timeout_seconds <= HOOK_SECONDS_MAX:
            hint = f"more than 0, at most {HOOK_SECONDS_MAX:g}"
            raise UsageError(f"{what}: hook {hook.name}: timeout_seconds {hook.timeout_seconds:g} is not possible", hint=hint)
        if hook.roles and hook.on not in STEP_POINTS:
            raise UsageError(f"{what}: hook {hook.name}: {hook.on} is about no step", hint="leave its roles away")


def seconds_before(hooks: Sequence[Hook]) -> float:
    """How long the hooks may take, together, before a worker's code begins."""
    by_point = (sum(hook.timeout_seconds for hook in hooks if hook.on == point) for point in BEFORE)
    return float(sum(by_point))


class CommandToRun(msgspec.Struct, frozen=True, tag="command"):
    """A command of an extension, to be run in this directory with `data` as its input, for so many seconds at most.

    `only_beginning`: one that writes more than a MiB is ended then, and that is in order.
    """

    run: str
    directory: str
    seconds: float
    data: bytes = b""
    only_beginning: bool = False


class CommandEnded(msgspec.Struct, frozen=True):
    """How it ended: `code` is None if it was killed because it was late, or never ran; `error` says what was not in order.

    `cut` says that it wrote more than `output`, which is the first MiB.
    """

    code: int | None
    output: bytes = b""
    error: str = ""
    cut: bool = False


class HooksToAsk(msgspec.Struct, frozen=True, tag="hooks"):
    """Hooks to ask at one point, in this order. `given` is what they are told, `about` what they may change of it."""

    on: ActPoint
    hooks: tuple[Hook, ...]
    given: dict[str, object] = {}
    about: dict[str, object] = {}


class HooksAsked(msgspec.Struct, frozen=True):
    """What came of it: what each has answered, `about` as they have left it, and why nothing is done, if one `blocked`."""

    hooks: tuple[HookRun, ...] = ()
    about: dict[str, object] = {}
    blocked: str = ""


def as_json(value: object) -> bytes:
    """A line of JSON. What is no Unicode, as in names of files, is escaped as Python's `json` does it."""
    try:
        return json_line(msgspec.json.encode(value))
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode() + b"\n"
