"""Runs of hostile workers, for the tests beside this file."""

from __future__ import annotations

import contextlib
from pathlib import Path

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import CrewdError
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

HERE = str(Path(__file__).parent.parent)


def begun(daemon: Daemon, crew: Crew, deed: str, **given: object) -> RunHandle:
    """A run of a deed that has done it."""
    run = crew.call(f"hostile.deeds:{deed}", given, cwd=HERE)
    wait_until((daemon.home.attempt(f"{run.id}/{deed}", 1) / "did").exists, f"{deed} to be done")
    return run


def serves(crew: Crew) -> bool:
    """Whether another run can still be carried out."""
    with contextlib.suppress(CrewdError):
        return crew.exec(["echo", "fine"], cwd="/").result(timeout=60) == "fine"
    return False
