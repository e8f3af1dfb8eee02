"""The daemon's configuration: `<home>/crewd.toml`, every key optional, unknown keys refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.limits import DEPTH_MAX, RUNS_LIVE_MAX, WARM_MAX, WORKERS_MAX
from crewd.protocol.permanent import check_texts
from crewd.protocol.policy import RUN_OUTPUT_BYTES_KEPT, RUN_STORE_BYTES_MAX


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys with their defaults.

    `preload`: modules that the zygote imports, so that workers start with them. `warm`: processes that wait, forked and
    ready, for the next workers. `env_pass`: names of environment variables that workers inherit besides the usual ones.
    `runs_live_max`: runs that may be live at once; `workers_max`: workers; `memory_reserve_bytes`: no worker is started
    while less memory is free and another one lives. `depth_max`: how deep workers may start workers. `liveness_seconds`:
    silence until `warn`, `stale`, `dead`. `cgroups`: whether each worker gets one, where that can be (decision 9 says what
    it costs). `run_output_bytes`: what the living workers of one run may keep of their output together. `run_store_bytes`:
    what one run may write into the store, its artifacts included; beyond it its workers are ended (0: no bound).
    `on_sigterm`: what the signal means (`end`, `drain` or `keep`). `require_intent`: what ends or puts away something needs
    a reason in words. `permanent_texts`: words in place of the table of errors after which nothing is tried again.
    """

    preload: tuple[str, ...] = ()
    warm: int = 0
    env_pass: tuple[str, ...] = ()
    runs_live_max: int = RUNS_LIVE_MAX
    workers_max: int = WORKERS_MAX
    memory_reserve_bytes: int = 64 << 20
    depth_max: int = 2
    heartbeat_seconds: float = 5.0
    liveness_seconds: tuple[float, float, float] = (30.0, 60.0, 300.0)
    cgroups: bool = False
    run_output_bytes: int = RUN_OUTPUT_BYTES_KEPT
    run_store_bytes: int = RUN_STORE_BYTES_MAX
    on_sigterm: Literal["end", "drain", "keep"] = "end"
    require_intent: bool = False
    permanent_texts: tuple[str, ...] | None = None


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
    check_texts(str(path), config.permanent_texts or ())
    warn, stale, dead = config.liveness_seconds
    for wrong, why in (
        (config.heartbeat_seconds <= 0 or config.runs_live_max < 1, "heartbeat_seconds and runs_live_max must be positive"),
        (not 1 <= config.workers_max <= WORKERS_MAX, f"workers_max is 1 to {WORKERS_MAX}"),
        (not 0 <= config.warm <= WARM_MAX, f"warm is 0 to {WARM_MAX}"),
        (not 0 <= config.depth_max <= DEPTH_MAX, f"depth_max is 0 to {DEPTH_MAX}"),
        (
            not config.heartbeat_seconds < warn <= stale <= dead,
            "liveness_seconds grow, and begin above the heartbeat",
        ),
        (config.memory_reserve_bytes < 0, "memory_reserve_bytes is negative"),
        (config.run_store_bytes < 0, "run_store_bytes is negative"),
    ):
        if wrong:
            raise UsageError(f"{path} is wrong: {why}")
    return config
