"""What a run brings from the environment of its caller: `PATH`, what the home's `env_pass` names, and secrets.

Tests: tests/worker/test_command.py, tests/test_secrets.py.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from crewd.model.arguments import checked
from crewd.model.errors import UsageError
from crewd.model.home import Home
from crewd.model.inventory import Item, kept_with_run
from crewd.model.pairs import add_pair
from crewd.model.variables import is_own

Bring = Literal["path", "all", "nothing"]
_OF_CLIENTS = ("CREWD_HOME", "CREWD_AUTOSTART", "CREWD_AS", "CREWD_KEYS")


class Brought(NamedTuple):
    """What a client brings for a run's workers.

    `env` is kept with the run, `secrets` and `passed` by name only; a run that is resumed needs its secrets again.
    `inventory` is kept, too: what there was to run with.
    """

    env: dict[str, str]
    secrets: dict[str, str]
    passed: dict[str, str]
    inventory: tuple[Item, ...] = ()


@checked
def bring(home: Home, how: Bring = "path", secrets: Iterable[str] = (), inventory: Iterable[Item] = ()) -> Brought:
    """What to send with a run.

    `secrets` are `NAME` (a variable of the caller) or `NAME=@FILE`. UsageError if one is not there.
    """
    given: dict[str, str] = {}
    for text in secrets:
        add_pair(given, *secret(text), "--secret", shown=False)
    if how == "nothing":
        return Brought({}, given, {}, kept_with_run(inventory))
    if how == "all":
        everything = {name: value for name, value in os.environ.items() if not (name in _OF_CLIENTS or is_own(name))}
        passed = {name: value for name, value in everything.items() if name not in given}
        return Brought({}, given, passed, kept_with_run(inventory))
    path = os.environ.get("PATH")
    passed = {name: os.environ[name] for name in _env_pass(home.config) if name in os.environ and name not in given}
    return Brought({"PATH": path} if path else {}, given, passed, kept_with_run(inventory))


def secret(text: str) -> tuple[str, str]:
    """The name and value of a secret: of the variable `NAME`, or of the file in `NAME=@FILE`. UsageError if it is not there."""
    name, equals, place = text.partition("=")
    if not name or place == "@":
        raise UsageError(f"--secret {text!r} is not NAME or NAME=@FILE", hint="--secret TOKEN, or --secret TOKEN=@token.txt")
    if equals and not place.startswith("@"):
        raise UsageError(f"--secret {name}=... shows its value to everybody", hint=f"--secret {name}, or --secret {name}=@FILE")
    if equals:
        try:
            return name, Path(place[1:]).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise UsageError(f"the secret {name} cannot be read from {place[1:]}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"the secret {name} cannot be read from {place[1:]}: it is not UTF-8") from None
    value = os.environ.get(name)
    if value is None:
        raise UsageError(f"there is no variable {name} in this environment", hint=f"export it, or use --secret {name}=@FILE")
    return name, value


def _env_pass(path: Path) -> list[str]:
    """The names that the home's configuration passes on; the daemon says what is wrong with the file, if anything is."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("env_pass", [])
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
