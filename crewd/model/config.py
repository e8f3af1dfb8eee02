"""The daemon's settings, of `<home>/crewd.toml`: every key is optional, unknown keys are refused by name. Pure.

Tests: tests/supervisor/test_config.py, tests/client/cli/test_config.py.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from crewd.model.errors import UsageError
from crewd.model.limits import CONCURRENCY_MAX, DEPTH_MAX, RUNS_LIVE_MAX, WARM_MAX, WORKERS_MAX
from crewd.model.numbers import SECONDS_MAX
from crewd.model.permanent import check_texts
from crewd.model.policy import RUN_OUTPUT_BYTES_KEPT, RUN_STORE_BYTES_MAX
from crewd.model.settings import Key, check_settings, parse_settings, shown
from crewd.model.variables import check_variable

KEYS: Final = {
    "preload": Key("Modules that the zygote imports, so that workers start with them."),
    "warm": Key("Processes that wait, forked and ready, for the next workers.", 0, WARM_MAX),
    "env_pass": Key("Names of environment variables that workers inherit besides the usual ones."),
    "runs_live_max": Key("Runs that may be live at once.", 1, 1_000_000, live=True),
    "workers_max": Key("Workers that may be live at once.", 1, WORKERS_MAX),
    "memory_reserve_bytes": Key(
        "No worker is started while less memory is free and another worker lives.", 0, 1 << 50, live=True
    ),
    "depth_max": Key("How deep workers may start workers.", 0, DEPTH_MAX, live=True),
    "heartbeat_seconds": Key("Between two signs of life of a worker that works.", 0.1, 3_600.0),
    "liveness_seconds": Key("Silence until a worker is `warn`, `stale`, `dead`."),
    "cgroups": Key("Whether each worker gets a cgroup, where that can be. Decision 9 in docs/decisions says what it costs."),
    "run_output_bytes": Key("What the living workers of one run may keep of their output together.", 1 << 16, 1 << 50),
    "run_store_bytes": Key(
        "What one run may write into the store, its artifacts included; beyond it its workers are ended. 0: no bound.",
        0,
        1 << 50,
    ),
    "on_sigterm": Key(
        "What SIGTERM means to crewd: end its workers, wait for them, or leave them to the next crewd.", live=True
    ),
    "require_intent": Key("Whether what ends or deletes something needs a reason in words (`--intent`).", live=True),
    "permanent_texts": Key(
        "Phrases that mark an error as permanent (no retry), in place of crewd's own. They hold for runs that start later.",
        live=True,
    ),
    "concurrency_max": Key(
        "Steps of one run at once, unless it is unbounded. Runs that are started later take it.", 1, WORKERS_MAX, live=True
    ),
    "execution": Key("Whether workers are started. Where they are not, runs are blocked."),
}
"""What each key is for."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys with their defaults; `KEYS` says what each is for."""

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


def parse_config(text: str, where: str) -> Config:
    """The settings in a TOML text. UsageError names `where`, and the key whose value is not possible."""
    values = parse_settings(text, where)
    config = check_settings(Config, KEYS, values, where)
    check_texts(where, config.permanent_texts or ())
    for name in config.env_pass:
        check_variable(f"{where}: env_pass", name)
    for module in config.preload:
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(f"{where}: preload: {module!r} is no name of a module", hint="for example json or package.module")
    warn, stale, dead = config.liveness_seconds
    if not config.heartbeat_seconds < warn <= stale <= dead <= SECONDS_MAX:
        hint = f"three times that grow: above heartbeat_seconds ({config.heartbeat_seconds:g}), at most {SECONDS_MAX:,.0f}"
        said = shown(values.get("liveness_seconds", config.liveness_seconds))
        raise UsageError(f"{where}: liveness_seconds = {said} is not possible", hint=hint)
    return config


def changed_keys(before: Config, after: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys whose values differ: those that take effect at once, and those that need a restart of the daemon."""
    differ = [key for key in KEYS if getattr(before, key) != getattr(after, key)]
    return tuple(key for key in differ if KEYS[key].live), tuple(key for key in differ if not KEYS[key].live)


def with_live_keys(before: Config, after: Config) -> Config:
    """`before` with the values of `after` for the keys that take effect at once."""
    return msgspec.structs.replace(before, **{key: getattr(after, key) for key in changed_keys(before, after)[0]})
