"""The second phase of an extension: its command `initialise` runs once for each version, before something is started with it.

What came of it is kept in the user's own configuration. An extension whose command has failed brings nothing until there is
another version of it, or `crew initialise NAME` runs the command again.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crewd.client.extension_run import INITIALISING, run_once
from crewd.client.extensions import FAILED, INITIALISED, NOT_KEPT, Extension, InitialiseOutcome, enabled_extensions, outcomes
from crewd.client.user_file import alone, change_json, user_path
from crewd.model.errors import NotFound, Refused, Unavailable
from crewd.model.markdown import did_you_mean
from crewd.model.redact import clip

WORDS_MAX = 500


def is_due(extension: Extension) -> bool:
    """Whether its command is to be run before something is started with it."""
    return extension.declared.initialise is not None and not extension.fault and not _is_done(extension)


def initialise_extensions(say: Callable[[str], object] = lambda _text: None) -> None:
    """Run the command of each extension that has one and has not run it in this version. Of two callers, one runs it.

    It may take as long as the command may; `say` is told of it first. A command that starts something itself does not wait
    for its own end.
    """
    for extension in enabled_extensions():
        command = extension.declared.initialise
        if command is None or not is_due(extension) or os.environ.get(INITIALISING) == extension.name:
            continue
        try:
            with alone(_lock(extension)):
                if not _is_done(extension):
                    most = f"at most {command.timeout_seconds:g} s"
                    say(f"initialising extension {extension.name} {extension.version} ({most})")
                    _initialise(extension)
        except Unavailable as error:
            NOT_KEPT[extension.name] = InitialiseOutcome(extension.version, error.message)


def initialise_again(name: str) -> str:
    """Run the command of this extension again; why it has failed, or nothing. NotFound if there is no such extension.

    Refused if it has no such command.
    """
    found = next((each for each in enabled_extensions() if each.name == name), None)
    if found is None:
        hint = did_you_mean(name, [each.name for each in enabled_extensions()], {}) or "crew capabilities --kind extension"
        raise NotFound(f"there is no extension {name} that is enabled", hint=hint)
    if found.declared.initialise is None:
        raise Refused(
            f"extension {name} has nothing to initialise", hint="extension.toml: [initialise]", reason="nothing_to_do"
        )
    if found.fault and not found.fault.startswith(FAILED):
        raise Refused(f"extension {name} brings nothing: {found.fault}", hint="initialise does not mend that")
    NOT_KEPT.pop(name, None)
    with alone(_lock(found)):
        return _initialise(found)


def _lock(extension: Extension) -> Path:
    return user_path("initialise") / extension.name / "lock"


def _is_done(extension: Extension) -> bool:
    return outcomes().get(extension.name, InitialiseOutcome("")).version == extension.version


def _initialise(extension: Extension) -> str:
    command = extension.declared.initialise
    ended = (
        run_once(extension, f"export {INITIALISING}={extension.name}\n{command.run}", command.timeout_seconds)
        if command
        else None
    )
    fault = clip(ended.error, WORDS_MAX) if ended is not None and ended.code != 0 else ""
    outcome = InitialiseOutcome(extension.version, fault)
    change_json(
        INITIALISED,
        dict[str, InitialiseOutcome],
        {},
        "each is initialised again",
        lambda kept: {**kept, extension.name: outcome},
    )
    return fault
