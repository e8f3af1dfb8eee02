"""What `crew doctor` asks of a worker's machine: its memory, and processes that are left of workers, or that nobody owns."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import psutil

from crewd import limit_mark
from crewd.guardian import marker
from crewd.guardian.processes import command_of, lacks
from crewd.guardian.tree import Key
from crewd.protocol.guardian import Examined, SeenProcess

SEEN_MAX = 200
"""Processes of each sort that are named."""


def examine(number: int, home_key: str, in_care: Collection[Key]) -> Examined:
    """The answer to the question `number`. `in_care` are the workers that the guardian looks after."""
    marked = [(pid, *key) for pid in psutil.pids() if (key := _owner(pid, home_key)) is not None]
    left = [SeenProcess(pid, _command(pid), task, epoch) for pid, task, epoch in marked if (task, epoch) not in in_care]
    unowned = [SeenProcess(pid, _command(pid)) for pid in _unowned(home_key)]
    pid_max = 0
    with contextlib.suppress(OSError, ValueError):
        pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    return Examined(
        number=number, marked=len(marked), left=tuple(left[:SEEN_MAX]), unowned=tuple(unowned[:SEEN_MAX]), lacks=lacks(),
        pid_max=pid_max, memory_available_bytes=psutil.virtual_memory().available,
    )  # fmt: skip


def _owner(pid: int, home_key: str) -> Key | None:
    key = marker.owner(marker.read(pid) or "", home_key)
    return marker.owner(marker.read(pid) or "", home_key) if key == ("", 0) else key  # it may have been half-written


def _unowned(home_key: str) -> list[int]:
    """Children of the guardian or of its zygote that bear no mark of any worker, and are not waiting to become one."""
    parents = {pid for pid in psutil.pids() if (marker.read(pid) or "").startswith(f"{home_key}:-")}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            known = process.pid in parents or marker.read(process.pid) or limit_mark.read(process.pid)
            if process.ppid() in parents and not known and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _command(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        return command_of(pid) or psutil.Process(pid).name()
    return "?"
