"""What there is to run with, and the state of each: agents, teams, workflows, skills, runtimes and so on."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Iterable
from typing import Final, Literal

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.providers import PROVIDERS
from crewd.agents.tools import TOOLS, runtimes_of, tool_id
from crewd.client.disabled import change_disabled, disabled
from crewd.client.extensions import Extension, active_extensions, extensions
from crewd.client.hooks import PROJECT_FILE, listed_hooks
from crewd.client.resources import Kind, resources
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.inventory import KINDS, Item, ItemKind, ItemState
from crewd.model.markdown import did_you_mean

_FILES: Final[dict[ItemKind, Kind]] = {"agent": "agents", "team": "teams", "workflow": "workflows", "skill": "skills"}
REASON_CHARS_MAX = 500
_ANY: Final = frozenset({"tool", "provider"})
_OF_ANY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def inventory() -> list[Item]:
    """All of them, by kind and name."""
    off = disabled()
    found: list[Item] = []
    for kind, files in _FILES.items():
        for each in resources(files):
            known = kind == "agent" and each.source != "user" and each.name in CATALOGUE  # a project takes none of these names
            shadowed_by = each.shadowed_by or ("crewd" if known else "")
            key = f"{kind}:{each.id if shadowed_by else each.name}"
            state: ItemState = "missing" if each.refused else "shadowed" if shadowed_by else "active"
            if state == "active" and key in off:
                found.append(Item(key, kind, each.name, each.source, "disabled", off[key]))
            else:
                found.append(Item(key, kind, each.name, each.source, state, each.refused, shadowed_by))
    for name, program_known in sorted(CATALOGUE.items()):
        key, program = f"runtime:{name}", program_known.command[0]
        if key in off:
            found.append(Item(key, "runtime", name, "crewd", "disabled", off[key]))
        elif shutil.which(program):
            found.append(Item(key, "runtime", name, "crewd", "active"))
        else:
            found.append(
                Item(key, "runtime", name, "crewd", "missing", f"{program} was not found in PATH: {program_known.install}")
            )
    tools = {tool_id(name) for names in TOOLS.values() for name in names} | _disabled(off, "tool")
    for name in sorted(tools):
        key, where = f"tool:{name}", ", ".join(runtimes_of(name)) or "agents"
        found.append(Item(key, "tool", name, where, "disabled" if key in off else "active", off.get(key, "")))
    for name in sorted(PROVIDERS.keys() | _disabled(off, "provider")):
        key, keys = f"provider:{name}", PROVIDERS.get(name, ())
        if key in off:
            found.append(Item(key, "provider", name, "crewd", "disabled", off[key]))
        elif keys and not any(os.environ.get(each) for each in keys):
            why = f"{' or '.join(keys)} is not set; a program that is logged in has a key of its own"
            found.append(Item(key, "provider", name, "crewd", "missing", why))
        else:
            found.append(Item(key, "provider", name, "crewd", "active"))
    hooks, fault = listed_hooks()
    if fault:
        found.append(Item(f"hook:{PROJECT_FILE.name}", "hook", PROJECT_FILE.name, "project", "missing", fault))
    for one in hooks:
        name, source = one.hook.name, one.owner
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
    for kind, name, extension in commands_of_extensions():
        key = f"{kind}:{extension.name}.{name}"
        state = "disabled" if key in off else "active"
        found.append(Item(key, kind, f"{extension.name}.{name}", extension.name, state, off.get(key, "")))
    return found


def commands_of_extensions() -> list[tuple[Literal["renderer", "sink"], str, Extension]]:
    """The renderers and sinks that extensions bring: the kind, the name and whose it is. Also those that are disabled."""
    return [(kind, name, each) for each in active_extensions() for kind, names in _commands(each) for name in names]


def _commands(extension: Extension) -> tuple[tuple[Literal["renderer", "sink"], Iterable[str]], ...]:
    return ("renderer", extension.declared.renderers), ("sink", extension.declared.sinks)


def _disabled(off: dict[str, str], kind: ItemKind) -> set[str]:
    return {key.partition(":")[2] for key in off if key.startswith(f"{kind}:")}


def disable(key: str, reason: str) -> str:
    """Run nothing with it from now on; its id. NotFound if there is no such item; UsageError without a reason.

    A tool and a provider need not be known: what an agent may have, its program decides.
    """
    if not reason.strip():
        raise UsageError("why it is disabled is not said", hint="--reason 'it deletes tests'")
    if len(reason) > REASON_CHARS_MAX:
        raise UsageError(f"the reason has {len(reason)} characters", hint=f"at most {REASON_CHARS_MAX}")
    key = _id(key)
    _known(key)
    change_disabled(lambda off: {**off, key: reason.strip()})
    return key


def enable(key: str) -> bool:
    """Allow it again; whether it was disabled."""
    key = _id(key)
    if key not in disabled():
        _known(key)
        return False
    return change_disabled(lambda off: {each: reason for each, reason in off.items() if each != key})


def check_enabled(kind: ItemKind, name: str) -> None:
    """Refused, with the reason, and the item in `values["disabled"]`, if the user has disabled it."""
    key = f"{kind}:{name}"
    reason = disabled().get(key)
    if reason is not None:
        raise Refused(f"{kind} {name} is disabled: {reason}", hint=f"crew enable {key}", disabled=key)


def _id(key: str) -> str:
    """As it is kept: a known tool and a provider have no large letters."""
    kind, _, name = key.partition(":")
    return f"tool:{tool_id(name)}" if kind == "tool" else key.lower() if kind == "provider" else key


def _known(key: str) -> None:
    kind, _, name = key.partition(":")
    if kind in _ANY:
        if not _OF_ANY.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a {kind}", hint="letters, digits, and _ . - in it")
        return
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS, {})
        raise UsageError(f"{key!r} is not KIND:NAME", hint=f"{hint}; crew capabilities lists what there is")
    known = {each.id.partition(":")[2]: each.id for each in inventory() if each.state != "shadowed" and each.kind == kind}
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {known[close[0]]}?" if close else f"crew capabilities --kind {kind} lists what there is"
        raise NotFound(f"there is no {key}", hint=hint)
