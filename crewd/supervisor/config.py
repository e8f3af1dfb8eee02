"""The daemon's configuration: `<home>/crewd.toml`, every key optional, unknown keys refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.limits import RUNS_LIVE_MAX


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys with their defaults.

    `preload`: modules that the zygote imports, so that workers start with them. `env_pass`: names of environment variables
    that workers inherit besides the usual ones. `runs_live_max`: runs that may be live at once.
    """

    preload: tuple[str, ...] = ()
    env_pass: tuple[str, ...] = ()
    runs_live_max: int = RUNS_LIVE_MAX
    heartbeat_seconds: float = 5.0


def load_config(path: Path) -> Config:
    """The configuration in `path`; the defaults if there is no such file. UsageError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path} is wrong: {error}", hint="keys: " + ", ".join(Config.__struct_fields__)) from None
    if config.heartbeat_seconds <= 0 or config.runs_live_max < 1:
        raise UsageError(f"{path} is wrong: heartbeat_seconds and runs_live_max must be positive")
    return config
