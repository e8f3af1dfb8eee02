"""What `crew doctor` looks at on the machine: the home, its sockets, the disk, limits, and processes that nobody owns."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from crewd import limit_mark
from crewd.guardian import marker
from crewd.guardian.processes import command_of
from crewd.supervisor.open_files import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.model.home import Home

DISK_BYTES_LOW = 256 << 20
"""Less free room than this is a finding."""
Counts = dict[str, int | float | str]


def examine(home: Home, workers_max: int, files: Budget, is_live: Callable[[str, int], bool]) -> tuple[list[str], Counts]:
    """Findings, each with what to do about it, and counts. `is_live` tells whether an attempt is not over.

    `workers_max` is what the configuration says; there may be `files` for fewer.
    """
    try:
        findings, counts = _places(home)
        free = shutil.disk_usage(home.root).free
    except OSError as error:  # somebody has cleared a directory away: that is what a doctor is to find
        return [f"the home is damaged: {error}; 'crew daemon stop --keep', then 'crew daemon start'"], {"home": str(home.root)}
    counts["disk_free_mib"] = free >> 20
    if free < DISK_BYTES_LOW:
        findings.append(f"{home.root} has {free >> 20} MiB of room left: new work will be refused; free some")
    counts["open_files_max"], counts["connections_max"] = files.files, files.connections
    if files.workers < workers_max:
        findings.append(
            f"crewd may open {files.files} files: no more than {files.workers} workers live at once, of {workers_max}; "
            "raise 'ulimit -Hn' before crewd starts, or lower workers_max"
        )
    if home.full.is_file():
        findings.append(
            f"crewd has {files.connections} connections of clients and takes no more: close some, "
            "or raise 'ulimit -Hn' before crewd starts"
        )
    with contextlib.suppress(OSError, ValueError):
        counts["pid_max"] = int(Path("/proc/sys/kernel/pid_max").read_text())
    counts["memory_available_mib"] = psutil.virtual_memory().available >> 20
    marked = orphans = 0
    for pid, task, epoch in _marked(home):
        marked += 1
        if not is_live(task, epoch):
            orphans += 1
            findings.append(f"pid {pid} ({_command(pid)}) is left of {task}#{epoch}, which is over: kill -9 {pid}")
    counts["worker_processes"], counts["orphans"] = marked, orphans
    findings += [
        f"pid {pid} ({_command(pid)}) came from a worker, nobody can say which; it ends with the last one, or: kill -9 {pid}"
        for pid in _unowned(home)
    ]
    return findings, counts


def _places(home: Home) -> tuple[list[str], Counts]:
    findings: list[str] = []
    for path in (home.root, home.run, home.logs):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077 or path.stat().st_uid != os.getuid():
            findings.append(f"{path} is open to others (mode {mode:o}): chmod 700 {path}")
    findings += [
        f"the socket {path} is gone: 'crew daemon stop --keep', then 'crew daemon start'"
        for path in (home.clients_socket, home.workers_socket)
        if not path.is_socket()
    ]
    size = sum(path.stat().st_size for path in home.root.glob("crewd.db*"))
    return findings, {"home": str(home.root), "database_mib": size >> 20}


def _marked(home: Home) -> list[tuple[int, str, int]]:
    found = []
    for pid in psutil.pids():
        key = marker.owner(marker.read(pid) or "", home.key)
        if key == ("", 0):  # it may have been half-written
            key = marker.owner(marker.read(pid) or "", home.key)
        if key is not None:
            found.append((pid, *key))
    return found


def _unowned(home: Home) -> list[int]:
    """Children of the guardian or of its zygote that bear no mark of any worker, and are not waiting to become one."""
    parents = {pid for pid in psutil.pids() if (marker.read(pid) or "").startswith(f"{home.key}:-")}
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
