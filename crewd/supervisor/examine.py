"""What `crew doctor` looks at around crewd itself: the home, its sockets, the disk, and limits.

What is on the workers' machine is asked of the guardian (`guardian/examine.py`).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from crewd.supervisor.open_files import FileShares

if TYPE_CHECKING:
    from crewd.model.home import Home

DISK_BYTES_LOW = 256 << 20
"""Less free room than this is a finding."""
FILES_LOW = 1_000
"""So is room for fewer new files than this: a worker needs about ten. Some file systems do not count them."""
Counts = dict[str, int | float | str]


def examine(home: Home, workers_max: int, files: FileShares) -> tuple[list[str], Counts]:
    """Findings, each with what to do about it, and counts.

    `workers_max` is what the configuration says; there may be `files` for fewer.
    """
    try:
        findings, counts = _places(home)
        room = os.statvfs(home.root)
    except OSError as error:  # somebody has cleared a directory away: that is what a doctor is to find
        return [f"the home is damaged: {error}; 'crew daemon stop --keep', then 'crew daemon start'"], {"home": str(home.root)}
    free = room.f_bavail * room.f_frsize
    counts["disk_free_mib"] = free >> 20
    if room.f_files and room.f_favail < FILES_LOW:
        findings.append(
            f"{home.root} has room for {room.f_favail} new files; new work is refused when there is none: remove some files"
        )
    if free < DISK_BYTES_LOW:
        findings.append(f"{home.root} has {free >> 20} MiB of room left; new work is refused when there is none: free some")
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
