"""The daemon's configuration: `<home>/crewd.toml`, every key optional, unknown keys refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from crewd.model.errors import UsageError
from crewd.model.limits import CONCURRENCY_MAX, DEPTH_MAX, RUNS_LIVE_MAX, WARM_MAX, WORKERS_MAX
from crewd.model.numbers import SECONDS_MAX
from crewd.model.permanent import check_texts
from crewd.model.policy import RUN_OUTPUT_BYTES_KEPT, RUN_STORE_BYTES_MAX
from crewd.model.variables import check_variable
from crewd.private_files import check_plain

_BOUNDS = {
    "warm": (0, WARM_MAX),
    "runs_live_max": (1, 1_000_000),
    "workers_max": (1, WORKERS_MAX),
    "memory_reserve_bytes": (0, 1 << 50),
    "depth_max": (0, DEPTH_MAX),
    "heartbeat_seconds": (0.1, 3_600.0),
    "run_output_bytes": (1 << 16, 1 << 50),
    "run_store_bytes": (0, 1 << 50),
    "concurrency_max": (1, WORKERS_MAX),
}


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
    `concurrency_max`: steps of one run at once, unless its workflow says that it is unbounded. `execution`: whether workers are
    started; where they are not, runs are blocked.
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
    concurrency_max: int = CONCURRENCY_MAX
    execution: bool = True

    @property
    def idle_seconds(self) -> float:
        """Between two heartbeats of a worker whose code gives no sign: well before its silence would be a warning."""
        return max(self.heartbeat_seconds, min(3 * self.heartbeat_seconds, self.liveness_seconds[0] / 2))


def load_config(path: Path) -> Config:
    """The configuration in `path`; the defaults if there is no such file. UsageError names what is wrong."""
    check_plain(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path} is wrong: {error}", hint="keys: " + ", ".join(Config.__struct_fields__)) from None
    _check(path, config)
    return config


def _check(path: Path, config: Config) -> None:
    """UsageError naming the key whose value is not possible, the value, and what is."""
    check_texts(str(path), config.permanent_texts or ())
    for name in config.env_pass:
        check_variable(f"{path}: env_pass", name)
    for module in config.preload:
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(f"{path}: preload: {module!r} is no name of a module", hint="for example json or package.module")
    for key, (least, most) in _BOUNDS.items():
        value = getattr(config, key)
        if not least <= value <= most:
            raise UsageError(f"{path}: {key} = {value:g} is not possible", hint=f"{least:g} to {most:,.10g}")
    warn, stale, dead = config.liveness_seconds
    if not config.heartbeat_seconds < warn <= stale <= dead <= SECONDS_MAX:
        hint = f"three times that grow: above heartbeat_seconds ({config.heartbeat_seconds:g}), at most {SECONDS_MAX:g}"
        raise UsageError(f"{path}: liveness_seconds = [{warn:g}, {stale:g}, {dead:g}] is not possible", hint=hint)
