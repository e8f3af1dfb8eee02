"""As whom crewd runs in a test: as whoever runs the tests, and as a normal user, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from crewd.guardian.cgroups import Cgroups

AS_IT_IS = "as the user of the tests"
NORMAL = "as a normal user"
LAUNCHER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""The same user without a capability: it may not look into processes that may not be dumped."""
_NEW_USER_NAMESPACE = 0x10000000
_CAPABILITIES_VERSION = 0x20080522


@cache
def _can_launch() -> bool:
    if shutil.which(LAUNCHER[0]) is None:
        return False
    return subprocess.run([*LAUNCHER, "true"], capture_output=True, check=False, timeout=120).returncode == 0


def users() -> list[str]:
    """The two, if they differ here."""
    return [AS_IT_IS, NORMAL] if os.geteuid() == 0 and _can_launch() else [AS_IT_IS]


def ways() -> list[tuple[str, str]]:
    """As whom, and with what: mostly without cgroups, which make it easy and which not every machine has."""
    probe = Cgroups(f"probe-{os.getpid()}")
    found = [(user, "without cgroups") for user in users()]
    if probe.path:
        found.append((AS_IT_IS, "with cgroups"))
    probe.close()
    return found


def launcher(user: str) -> tuple[str, ...]:
    """What `Daemon` takes to run as this user."""
    return LAUNCHER if user == NORMAL else ()


def become_normal() -> None:
    """Become what the launcher makes of a process; one that executes nothing loses its capabilities only if it gives them up.

    OSError where the kernel refuses it. unshare(2), user_namespaces(7), capset(2).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    maps = {"setgroups": "deny", "uid_map": f"1000 {os.geteuid()} 1", "gid_map": f"1000 {os.getegid()} 1"}
    if libc.unshare(_NEW_USER_NAMESPACE) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text)
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")
