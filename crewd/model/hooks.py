"""Hooks: commands that are asked before a worker's code begins and after it has ended, and may stop or change it. Values only.

docs/hooks.md says what a hook is given and what it may answer.

Tests: tests/worker/test_hooks.py, tests/client/test_hooks.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import msgspec

from crewd.model.errors import UsageError
from crewd.model.ids import check_name

HookPoint = Literal["before_task_start", "before_retry", "task_result"]
HookVerdict = Literal["allow", "block", "modify", "diagnostic"]
POINTS: Final[tuple[HookPoint, ...]] = get_args(HookPoint)
BEFORE: Final[tuple[HookPoint, ...]] = ("before_task_start", "before_retry")
"""The points at which a worker's code has not begun."""
HOOKS_MAX = 16
"""Of one step."""
HOOK_SECONDS_DEFAULT = 10.0
HOOK_SECONDS_MAX = 60.0


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One hook. `run` is a command line for `/bin/sh`; it is given JSON and may answer with JSON.

    If a `blocking` one answers `block`, fails, or takes longer than `timeout_seconds`, the step does not start, or is not
    completed. From one that is not blocking all of this is a remark. `roles`: only for steps of these roles (none: for each).
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
    """A hook that has run: what it answered, and in `note` why, in words. `changed` names what it has changed."""

    name: str
    on: HookPoint
    verdict: HookVerdict
    note: str = ""
    seconds: float = 0.0
    changed: tuple[str, ...] = ()

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


def seconds_before(hooks: Sequence[Hook]) -> float:
    """How long the hooks may take, together, before a worker's code begins."""
    by_point = (sum(hook.timeout_seconds for hook in hooks if hook.on == point) for point in BEFORE)
    return float(sum(by_point))
