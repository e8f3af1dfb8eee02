"""The key that says who a client is: made at its first use, kept in a directory of the user's, shown to nobody but crewd.

Tests: tests/test_ownership.py, tests/test_private_files.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

import platformdirs

from crewd.client.paths import real_path
from crewd.clock import SystemChance
from crewd.model.arguments import PathText
from crewd.model.errors import Unavailable, UsageError
from crewd.model.ids import check_name
from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.quantities import counted
from crewd.model.rights import KEY_CHARS
from crewd.private_files import WRITE_FOR_OTHERS, check_directory, read_file


class Identity(tuple[str, str]):
    """A client's name and key. Its text shows the name alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<client {self[0]}>"


def keys_directory(chosen: PathText | None = None) -> Path:
    """What was chosen, else `CREWD_KEYS`, else a directory of the platform's for what users configure."""
    chosen = chosen or os.environ.get("CREWD_KEYS")
    return Path(real_path(chosen)) if chosen else platformdirs.user_config_path("crewd", appauthor=False) / "keys"


def identity(name: str = "", directory: PathText | None = None) -> Identity:
    """Who this client is: `name`, else `CREWD_AS`, else the user; with the key that is kept for it, made if there is none.

    `directory` is where keys are kept, else `keys_directory()`. Raises UsageError for a name that is none, and for a
    key that is a link or open to others; Unavailable if the key can neither be read nor kept.
    """
    user = re.sub(r"[^A-Za-z0-9_.-]", "-", os.environ.get("USER") or f"uid{os.getuid()}")[:NAME_CHARS_MAX]
    name = check_name("client name", name or os.environ.get("CREWD_AS", "") or user)
    path = keys_directory(directory) / name
    try:
        return Identity((name, _kept(path)))
    except OSError as error:
        raise Unavailable(f"no key can be kept in {path}: {error.strerror}", hint="set CREWD_KEYS to a directory") from error


def _kept(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # whoever is first makes the key of all
        if not path.is_symlink() and not path.exists():
            temporary = path.with_name(f".{path.name}.new")
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(SystemChance().bytes(32).hex())
            temporary.rename(path)
    finally:
        os.close(folder)
    return _read(path)


def _read(path: Path) -> str:
    check_directory(path.parent, WRITE_FOR_OTHERS)
    try:
        key = read_file(path).decode("ascii").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no key: it is no text", hint="remove it, and another one is made") from None
    if not KEY_CHARS[0] <= len(key) <= KEY_CHARS[1]:
        said = f"{path} is no key: it has {counted(len(key), 'character')}, and a key has {KEY_CHARS[0]} to {KEY_CHARS[1]}"
        raise UsageError(said, hint="remove it, and another one is made")
    return key
