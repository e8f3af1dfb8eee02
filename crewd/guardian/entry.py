"""How the guardian's process begins: apart from crewd's session and descriptors, with the home's lock, a log and its name.

Tests: tests/guardian/test_survivors.py.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import traceback
from pathlib import Path
from typing import Any

from crewd.guardian import processes
from crewd.guardian.program import Guardian, Settings
from crewd.model.errors import UsageError
from crewd.model.home import Home
from crewd.private_files import open_file, open_log

_log = logging.getLogger("crewd.guardian")


def _log_to_stderr() -> None:
    """Not through the root logger: workers are forked from here, and it is theirs to configure."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s guardian: %(message)s"))
    _log.addHandler(handler)
    _log.propagate = False


def guardian_main(home_path: str, settings: Settings) -> None:
    """The guardian's program. Ends at once if another guardian holds this home."""
    home = Home(Path(home_path))
    os.setsid()
    _leave_resource_tracker()
    home.logs.mkdir(mode=0o700, exist_ok=True)
    log = open_log(home.logs / "guardian.log")
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _log_to_stderr()
    processes.set_name("crewd-guardian")
    processes.become_subreaper()
    try:
        lock = open_file(home.guardian_lock, os.O_RDWR | os.O_CREAT)
    except (UsageError, OSError) as error:
        _log.error(str(error))
        os._exit(73)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(0)
    try:
        gc.disable()  # no cycles are made here; a collection in the middle of a ladder costs time
        Guardian(home, settings, lock).run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 (the outermost frame: workers stay, the next guardian adopts them)
        traceback.print_exc()
        os._exit(70)


def _leave_resource_tracker() -> None:
    """Forget multiprocessing's resource tracker, which is crewd's: a worker must neither use it nor keep it alive."""
    from multiprocessing import resource_tracker

    tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001
    tracker._fd = None  # noqa: SLF001
    tracker._pid = None  # noqa: SLF001
