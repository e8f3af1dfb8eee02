"""The second phase of an extension: its command `initialise` runs once for each version, before something is started with it.

What came of it is kept in the user's own configuration. An extension whose command has failed brings nothing until there is
another version of it, or `crew initialise NAME` runs the command again.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

from collections.abc import Callable

from crewd.client.extension_run import run_once
from crewd.client.extensions import INITIALISED, Extension, Outcome, enabled_extensions, extensions, outcomes
from crewd.client.user_file import alone, change_json, user_path
from crewd.model.errors import NotFound, Refused
from crewd.model.markdown import did_you_mean
from crewd.model.redact import clip

WORDS_MAX = 500


def initialise_extensions(say: Callable[[str], object] = lambda _text: None) -> None:
    """Run the command of each extension that has not run it in this version. Of two callers, one runs it.

    It may take as long as the command may; `say` is told of it first.
    """
    for extension in enabled_extensions():
        if extension.declared.initialise is not None and not extension.fault and not _is_done(extension):
            with alone(user_path("initialise") / extension.name):
                if not _is_done(extension):
                    most = extension.declared.initialise.timeout_seconds
                    say(f"extension {extension.name} {extension.version} is initialised, once (it has {most:g} s for that)")
                    _initialise(extension)


def initialise_again(name: str) -> str:
    """Run the command of this extension again; why it has failed, or nothing. NotFound if there is no such extension.

    Refused if it has no such command.
    """
    found = next((each for each in extensions() if each.name == name), None)
    if found is None:
        hint = did_you_mean(name, [each.name for each in extensions()], {}) or "crew capabilities --kind extension"
        raise NotFound(f"there is no extension {name}", hint=hint)
    if found.declared.initialise is None:
        raise Refused(
            f"extension {name} has nothing to initialise", hint="extension.toml: [initialise]", reason="nothing_to_do"
        )
    with alone(user_path("initialise") / name):
        return _initialise(found)


def _is_done(extension: Extension) -> bool:
    return outcomes().get(extension.name, Outcome("")).version == extension.version


def _initialise(extension: Extension) -> str:
    command = extension.declared.initialise
    ended = run_once(extension, command.run, command.timeout_seconds) if command else None
    fault = clip(ended.error, WORDS_MAX) if ended is not None and ended.code != 0 else ""
    outcome = Outcome(extension.version, fault)
    change_json(
        INITIALISED, dict[str, Outcome], {}, "each is initialised again", lambda kept: {**kept, extension.name: outcome}
    )
    extensions.cache_clear()
    return fault
