"""What there is to run with, and its states: agents, teams, workflows, skills, runtimes, hooks and extensions."""

from __future__ import annotations

import shutil
from typing import Final

from crewd.agents.catalogue import CATALOGUE
from crewd.client.disabled import change_disabled, disabled
from crewd.client.extensions import extensions
from crewd.client.hooks import found_hooks
from crewd.client.resources import Kind, resources
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.inventory import Item, ItemKind, ItemState
from crewd.model.markdown import did_you_mean

_FILES: Final[dict[ItemKind, Kind]] = {"agent": "agents", "team": "teams", "workflow": "workflows", "skill": "skills"}
REASON_CHARS_MAX = 500


def inventory() -> list[Item]:
    """All of them, by kind and name."""
    off = disabled()
    found: list[Item] = []
    for kind, files in _FILES.items():
        for each in resources(files):
            key = f"{kind}:{each.id if each.shadowed_by else each.name}"
            state: ItemState = "missing" if each.refused else "shadowed" if each.shadowed_by else "active"
            if state == "active" and key in off:
                found.append(Item(key, kind, each.name, each.source, "disabled", off[key]))
            else:
                found.append(Item(key, kind, each.name, each.source, state, each.refused, each.shadowed_by))
    for name, known in sorted(CATALOGUE.items()):
        key, program = f"runtime:{name}", known.command[0]
        if key in off:
            found.append(Item(key, "runtime", name, "crewd", "disabled", off[key]))
        elif shutil.which(program):
            found.append(Item(key, "runtime", name, "crewd", "active"))
        else:
            found.append(Item(key, "runtime", name, "crewd", "missing", f"{program} was not found in PATH: {known.install}"))
    for one in found_hooks():
        name, source = one.hook.name, one.hook.source
        if one.state == "shadowed":
            found.append(Item(f"hook:{source}:{name}", "hook", name, source, "shadowed", one.reason, one.shadowed_by))
        elif f"hook:{name}" in off:
            found.append(Item(f"hook:{name}", "hook", name, source, "disabled", off[f"hook:{name}"]))
        else:
            found.append(Item(f"hook:{name}", "hook", name, source, one.state, one.reason))
    for extension in extensions():
        key, where = f"extension:{extension.name}", f"{extension.package} {extension.version}"
        state = "disabled" if key in off else "missing" if extension.fault else "active"
        found.append(Item(key, "extension", extension.name, where, state, off.get(key, extension.fault)))
    return found


def disable(key: str, reason: str) -> None:
    """Run nothing with it from now on. NotFound if there is no such item; UsageError without a reason."""
    if not reason.strip():
        raise UsageError("why it is disabled is not said", hint="--reason 'it deletes tests'")
    if len(reason) > REASON_CHARS_MAX:
        raise UsageError(f"the reason has {len(reason)} characters", hint=f"at most {REASON_CHARS_MAX}")
    _known(key)
    change_disabled(lambda off: {**off, key: reason.strip()})


def enable(key: str) -> bool:
    """Allow it again; whether it was disabled."""
    if key not in disabled():
        _known(key)
        return False
    return change_disabled(lambda off: {each: reason for each, reason in off.items() if each != key})


def check_enabled(kind: ItemKind, name: str) -> None:
    """Refused, with the reason, if the user has disabled it."""
    key = f"{kind}:{name}"
    reason = disabled().get(key)
    if reason is not None:
        raise Refused(f"{kind} {name} is disabled: {reason}", hint=f"crew enable {key}")


def _known(key: str) -> None:
    known = [each.id for each in inventory() if each.state != "shadowed"]
    if key not in known:
        hint = did_you_mean(key, known, {}) or "crew capabilities lists what there is"
        raise NotFound(f"there is no {key}", hint=hint)
