"""What tests wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from crewd.client.blocking import RunHandle
from crewd.model.rows import AttemptRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

if TYPE_CHECKING:
    from crewd.testing.world import World


def pid_of(run: RunHandle) -> int:
    """The process of the run's last attempt, which may be known a moment after the worker has said hello."""
    wait_until(lambda: run.show().attempts and run.show().attempts[-1].pid, "the process to be known")
    return run.show().attempts[-1].pid or 0


def host_of(run: RunHandle) -> int:
    """The worker process that waits for the run's command. crewd may hear of it after the command's own hello."""
    wait_until(lambda: run.show().attempts and run.show().attempts[-1].host_pid, "the worker process to be known")
    return run.show().attempts[-1].host_pid or 0


def command_of(run: RunHandle, name: str) -> int:
    """The process of the run's command, once it is that: before, the process that starts it is shown."""
    wait_until(lambda: psutil.Process(pid_of(run)).name() == name, f"{name} to run")
    return pid_of(run)


def guardian_of(daemon: Daemon) -> psutil.Process:
    """The guardian's process, which stands a moment after crewd answers."""
    wait_until(daemon.guardian_pid, "a guardian")
    return psutil.Process(daemon.guardian_pid())


def ready(run: RunHandle, epoch: int = 0) -> AttemptRow:
    """The newest attempt, or that of this epoch, when its worker is ready. AssertionError tells of all if none will be."""

    def found() -> AttemptRow | None:
        shown = run.show()
        each = [row for row in shown.attempts if epoch in {0, row.epoch}][-1:]
        assert shown.run.status not in RUN_TERMINAL or (each and each[0].ready_at), f"it is over: {shown.attempts}"
        return each[0] if each and each[0].ready_at else None

    try:
        wait_until(found, "the worker to be ready")
    except AssertionError as error:
        raise AssertionError(f"{error}: {run.show().attempts}") from None
    row = found()
    assert row is not None
    return row


def go_until(world: World, condition: Callable[[], object]) -> None:
    """Let a simulated world go on until the condition holds."""
    for _ in range(3_000):
        if condition():
            return
        world.go(1)
    raise AssertionError("it does not come")
