"""What the configuration of a home may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.model.config import Config
from crewd.model.errors import UsageError
from crewd.supervisor.config import load_config


def test_every_key_is_optional(tmp_path: Path) -> None:
    assert load_config(tmp_path / "crewd.toml") == Config()
    path = tmp_path / "crewd.toml"
    path.write_text('warm = 2\nenv_pass = ["SITE_KEY"]\n')
    assert load_config(path) == Config(warm=2, env_pass=("SITE_KEY",))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("heartbeat_seconds = 1e-9", "heartbeat_seconds = 1e-09"),
        ("heartbeat_seconds = nan", "heartbeat_seconds = nan"),
        ("heartbeat_seconds = inf", "heartbeat_seconds = inf"),
        ("runs_live_max = -5", "runs_live_max = -5"),
        ("workers_max = 0", "workers_max = 0"),
        ("warm = 1000000", "warm = 1000000"),
        ("depth_max = -1", "depth_max = -1"),
        ("memory_reserve_bytes = -1", "memory_reserve_bytes = -1"),
        ("run_output_bytes = 0", "run_output_bytes = 0"),
        ("run_store_bytes = 99999999999999999999", "run_store_bytes"),
        ('env_pass = ["A=B"]', "'A=B'"),
        ('env_pass = ["CREWD_WORKER"]', "CREWD_WORKER"),
        ('preload = ["os; rm"]', "'os; rm'"),
        ("liveness_seconds = [30, 20, 10]", "liveness_seconds = [30, 20, 10]"),
        ("liveness_seconds = [30, 60, inf]", "liveness_seconds"),
        ("on_sigterm = 'sleep'", "on_sigterm"),
        ("colour = 1", "colour"),
        ("warm", "line 1"),
    ],
)
def test_what_is_not_possible_is_named(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "crewd.toml"
    path.write_text(line + "\n")
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert named in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint
