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

from crewd.client.settings import SettingsSource, read_settings, settings_path, source_of
from crewd.model.config import Config, parse_config
from crewd.model.errors import Unavailable, UsageError
from crewd.model.home import Home
from crewd.model.run_settings import RunSettings, parse_run_settings
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
    document = _document(path, source)
    document[key] = value
    _write(path, tomlkit.dumps(document), source)
    return value


def unset_value(home: Home, key: str, *, project: bool) -> bool:
    """Take a key out of its file; whether it was there."""
    source = source_of(key, project=project)
    path = settings_path(source, home)
    document = _document(path, source)
    if key not in document:
        return False
    del document[key]
    _write(path, tomlkit.dumps(document), source)
    return True


def _value(key: str, text: str, shape: type[Config | RunSettings]) -> Any:
    wanted = type_words(get_type_hints(shape)[key])
    try:
        values = tomlkit.parse(f"value = {text}\n").unwrap()
    except tomlkit.exceptions.TOMLKitError:
        values = {}
    value = values["value"] if len(values) == 1 else text
    if wanted == "a list of texts" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if wanted.startswith(("a text", "one of")) and not isinstance(value, str):
        return text
    return value


def _document(path: Path, source: SettingsSource) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(read_settings(path, source))
    except tomlkit.exceptions.TOMLKitError as error:
        raise UsageError(f"{path} is wrong: {error}", hint="mend it first: crew config check") from None


def _write(path: Path, text: str, source: SettingsSource) -> None:
    """Replace a file, once the whole of it is known to be right. Unavailable if that cannot be; nothing is changed then."""
    if source == "daemon":
        parse_config(text, str(path))
    else:
        parse_run_settings(text, str(path), project=source == "project")
    target = Path(os.path.realpath(path))  # a user's file may be a link
    mode, open_to_all = (0o700, False) if source != "project" else (0o777, True)
    beside = ""
    try:
        target.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=".settings-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            Path(beside).chmod(target.stat().st_mode & 0o7777)
        elif open_to_all:
            Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(beside or "/nowhere").unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
