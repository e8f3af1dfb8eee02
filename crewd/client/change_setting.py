"""Changes one key of a file of settings; everything else in it, comments too, stays as it is.

Tests: tests/client/cli/test_config.py.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, get_type_hints

import tomlkit
import tomlkit.exceptions

from crewd.client.settings import PROJECT_SETTINGS, SettingsSource, read_settings, settings_path, source_of, wrong_in
from crewd.client.user_file import alone
from crewd.model.config import KEYS, Config
from crewd.model.errors import Unavailable, UsageError
from crewd.model.home import Home
from crewd.model.run_settings import RUN_KEYS, RunSettings
from crewd.model.settings import type_words


def set_value(home: Home, key: str, text: str, *, project: bool) -> Any:
    """Write a key into its file; everything else in it stays. The value as it is read again.

    `text` is a value as in TOML; where a text or a list of texts is wanted, the bare words do too (a comma between them).
    UsageError, with nothing changed, for a value that is not possible.
    """
    source = source_of(key, project=project)
    path = settings_path(source, home)
    shape: type[Config | RunSettings] = Config if source == "daemon" else RunSettings
    value = _value(key, text, shape)
    with alone(path, 0o777 if path == PROJECT_SETTINGS else 0o700):
        document = _document(path, source)
        before = tomlkit.dumps(document)
        document[key] = value
        _write(path, before, tomlkit.dumps(document), source)
    return value


def unset_value(home: Home, key: str, *, project: bool) -> bool:
    """Take a key out of its file; whether it was there."""
    source = next(iter(_holding(home, key, project=project)), None) or source_of(key, project=project)
    path = settings_path(source, home)
    with alone(path, 0o777 if path == PROJECT_SETTINGS else 0o700):
        document = _document(path, source)
        if key not in document:
            return False
        before = tomlkit.dumps(document)
        del document[key]
        _write(path, before, tomlkit.dumps(document), source)
    return True


def _holding(home: Home, key: str, *, project: bool) -> list[SettingsSource]:
    """The files with a key that no file should have."""
    if key in KEYS or key in RUN_KEYS:
        return []
    sources: tuple[SettingsSource, ...] = ("project",) if project else ("user", "daemon")
    return [source for source in sources if key in _document(settings_path(source, home), source)]


def _value(key: str, text: str, shape: type[Config | RunSettings]) -> Any:
    wanted = type_words(get_type_hints(shape)[key])
    try:
        values = tomlkit.parse(f"value = {text}\n").unwrap()
    except (tomlkit.exceptions.TOMLKitError, ValueError, RecursionError):
        values = {}
    value = values["value"] if len(values) == 1 else text
    if isinstance(value, str) and value.startswith("[") and wanted.startswith("a list"):
        raise UsageError(f"{key}: {text} is no list", hint='["one", "two"], or one,two')
    if wanted == "a list of texts" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if wanted.startswith(("a text", "one of")) and not isinstance(value, str):
        return text
    return value


def _document(path: Path, source: SettingsSource) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(read_settings(path, source))
    except (tomlkit.exceptions.TOMLKitError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is wrong: {error}", hint="mend it first: crew config check") from None


def _write(path: Path, before: str, text: str, source: SettingsSource) -> None:
    """Replace a file. Nothing is changed if this raises.

    UsageError if something is wrong in it that was not before; Unavailable if it cannot be written.
    """
    known = {problem.message for problem in wrong_in(before, path, source)}
    for problem in wrong_in(text, path, source):
        if problem.message not in known:
            raise problem
    target = Path(os.path.realpath(path))  # a user's file may be a link
    beside = ""
    try:
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=".settings-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            Path(beside).chmod(target.stat().st_mode & 0o7777)
        elif source == "project":
            Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(beside or "/nowhere").unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
