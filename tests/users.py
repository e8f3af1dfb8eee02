"""As whom crewd runs in a test: as whoever runs the tests, and as a normal user, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

AS_IT_IS = "as the user of the tests"
NORMAL = "as a normal user"
LAUNCHER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""The same user without a capability: it may not look into processes that may not be dumped."""


@cache
def _can_launch() -> bool:
    if shutil.which(LAUNCHER[0]) is None:
        return False
    return subprocess.run([*LAUNCHER, "true"], capture_output=True, check=False, timeout=120).returncode == 0


def users() -> list[str]:
    """The two, if they differ here."""
    return [AS_IT_IS, NORMAL] if os.geteuid() == 0 and _can_launch() else [AS_IT_IS]


def launcher(user: str) -> tuple[str, ...]:
    """What `Daemon` takes to run as this user."""
    return LAUNCHER if user == NORMAL else ()
