"""Reads the daemon's settings from `<home>/crewd.toml`, and has those that hold now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crewd.model.config import Config, changed_keys, parse_config, with_live_keys
from crewd.model.errors import UsageError
from crewd.private_files import check_plain


def load_config(path: Path) -> Config:
    """The settings in `path`; the defaults if there is no such file. UsageError names what is wrong."""
    check_plain(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Config()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    return parse_config(text, str(path))


@dataclass(slots=True)
class HeldConfig:
    """The settings that hold now. The front replaces them when somebody asks for it; all read them from here."""

    now: Config
    asked: Config
    """What the file said at the start, where the machine allows less (`workers_max`)."""

    def reload(self, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read the file again: the keys that have changed and hold from now on, and those that wait for the next start.

        UsageError for a file that is wrong; nothing is changed then.
        """
        read = load_config(path)
        live, waiting = changed_keys(self.asked, read)
        self.now, self.asked = with_live_keys(self.now, read), with_live_keys(self.asked, read)
        return live, waiting
