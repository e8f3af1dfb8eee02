"""What there is to run with: agents, teams, workflows, skills, runtimes, with their states; and what the user has disabled.

What is disabled is kept by id (`agent:explorer`) in the user's own configuration. A project cannot change it.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
import platformdirs

from crewd.agents.catalogue import CATALOGUE
from crewd.client.resources import Kind, resources
from crewd.model.errors import NotFound, Refused, Unavailable, UsageError
from crewd.model.markdown import did_you_mean

ItemKind = Literal["agent", "team", "workflow", "skill", "runtime"]
ItemState = Literal["active", "disabled", "shadowed", "missing"]
KINDS: Final[tuple[ItemKind, ...]] = get_args(ItemKind)
_FILES: Final[dict[ItemKind, Kind]] = {"agent": "agents", "team": "teams", "workflow": "workflows", "skill": "skills"}
REASON_CHARS_MAX = 500


class Item(msgspec.Struct, frozen=True):
    """One of them. `id` is `kind:name`, or `kind:source:name` for a file that its name does not mean."""

    id: str
    kind: ItemKind
    name: str
    source: str
    state: ItemState
    reason: str = ""
    shadowed_by: str = ""


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
    return found


def disabled() -> dict[str, str]:
    """What the user has disabled: ids, with the reasons. UsageError if the file that says so cannot be read."""
    path = _path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="mend it, or remove it: then nothing is disabled") from None


def disable(key: str, reason: str) -> None:
    """Run nothing with it from now on. NotFound if there is no such item; UsageError without a reason."""
    if not reason.strip():
        raise UsageError("why it is disabled is not said", hint="--reason 'it deletes tests'")
    if len(reason) > REASON_CHARS_MAX:
        raise UsageError(f"the reason has {len(reason)} characters", hint=f"at most {REASON_CHARS_MAX}")
    _known(key)
    _write({**disabled(), key: reason.strip()})


def enable(key: str) -> bool:
    """Allow it again; whether it was disabled."""
    off = disabled()
    if key not in off:
        _known(key)
        return False
    del off[key]
    _write(off)
    return True


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


def _path() -> Path:
    return platformdirs.user_config_path("crewd", appauthor=False) / "disabled.json"


def _write(off: dict[str, str]) -> None:
    path = _path()
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(off.items())))) + b"\n")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
