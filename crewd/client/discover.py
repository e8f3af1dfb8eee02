"""Finding the daemon, and starting it if that is allowed.

Tests: tests/test_private_files.py, tests/client/test_cli.py.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.client.paths import is_directory, real_path
from crewd.model.arguments import PathText
from crewd.model.errors import DaemonUnreachable, UsageError
from crewd.model.home import Home
from crewd.private_files import WRITE_FOR_OTHERS, check_directory, file_at, make_directory, open_log
from crewd.respawn import SERVES, STARTS

if TYPE_CHECKING:
    import psutil

START_SECONDS = 15.0
RESPAWN = "crewd.respawn"
"""The module that starts crewd, and starts it again."""
PID_DIGITS = 10
"""A lock with more digits holds no pid: Linux has pids up to 4,194,304."""
BOOT_SECONDS = 2.0
"""So exact is the time at which a process began: the kernel counts it from a boot time in whole seconds."""
SAID_BYTES = 65_536
"""Of the end of crewd's log, in which it may have said why it does not serve."""
LOOK_SECONDS = 0.5
"""Between two looks at whether the daemon that was started has given up."""


def find_home(home: PathText | None = None) -> Home:
    """The home that is meant: the argument, else `CREWD_HOME`, else the platform's state directory. UsageError for a file."""
    chosen = home or os.environ.get("CREWD_HOME")
    if not chosen:
        import platformdirs

        chosen = platformdirs.user_state_dir("crewd", appauthor=False)
    root = Path(real_path(Path(chosen).expanduser()))
    try:
        root.stat()
    except FileNotFoundError:
        return Home(root)
    except OSError as error:
        raise UsageError(f"the home {root} cannot be used: {error.strerror}", hint="--home names a directory") from None
    if not is_directory(root):
        raise UsageError(f"the home {root} is no directory", hint="--home, or CREWD_HOME, names a directory")
    return Home(root)


def check_home(home: Home) -> None:
    """UsageError for a home in which others can write: who answers there may be anybody, and would be given the key."""
    for directory in (home.root, home.run):
        with contextlib.suppress(FileNotFoundError):
            check_directory(directory, WRITE_FOR_OTHERS)


def may_start(start: bool | None) -> bool:  # noqa: FBT001 (three-valued: yes, no, as the environment says)
    """Whether the daemon may be started: the argument, else not if `CREWD_AUTOSTART=0`."""
    return os.environ.get("CREWD_AUTOSTART", "1") not in {"0", "no", "false"} if start is None else start


def start_daemon(home: Home) -> Callable[[], bool]:
    """Start `crewd` in the background, in a session of its own: it outlives its starter, and accidents (`respawn`).

    The answer tells whether it has given up: another one that serves the home meanwhile is no failure.
    """
    for directory in (home.root, home.logs):
        make_directory(directory)
    with os.fdopen(open_log(home.logs / "crewd.stderr"), "ab", 0) as log:
        log.write(f"crewd: {STARTS}\n".encode())
        process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", RESPAWN, "--home", str(home.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={name: value for name, value in os.environ.items() if name != "CREWD_AS"} | {"PYTHONPATH": _python_path()},
        )
    return lambda: process.poll() not in {None, DaemonUnreachable.exit_code}


def _python_path() -> str:
    """So that the daemon finds this very package, also when it is run from a checkout."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    rest = os.environ.get("PYTHONPATH", "")
    return package if not rest else f"{package}{os.pathsep}{rest}"


def unreachable(home: Home) -> DaemonUnreachable:
    """The error for a home that nobody serves; with what crewd said last, if that is why."""
    if home.full.is_file():
        return DaemonUnreachable(home.full.read_text().strip(), hint="close some, or raise 'ulimit -Hn' before crewd starts")
    pid = silent_holder(home)
    if pid is not None:
        stopped, said = _said_of(pid), _last_said(home)
        why = f"it says: {said}" if said else "'crew daemon logs' may say why"
        hint = f"kill -CONT {pid}" if stopped else f"{why}; 'crew daemon stop --end' ends it and its workers"
        return DaemonUnreachable(f"crewd (pid {pid}) serves {home.root} and does not answer{stopped}", hint=hint)
    said, again = _last_said(home), restarter(home)
    if again is not None:
        hint = f"it says: {said}; crew daemon stop ends that" if said else "try again in a moment"
        return DaemonUnreachable(f"crewd on {home.root} is being started (by the process {again.pid})", hint=hint)
    if said:
        return DaemonUnreachable(f"no crewd answers on {home.root}", hint=f"it says: {said}")
    return DaemonUnreachable(f"no crewd answers on {home.root}", hint="crew daemon start")


def holder(home: Home) -> int | None:
    """The pid of the crewd that serves a home, as its lock says; None if there is no such process."""
    try:
        text = home.daemon_lock.read_text().strip()
    except OSError:
        return None
    import psutil

    pid = int(text) if text.isdigit() and len(text) < PID_DIGITS else 0
    return pid if pid and psutil.pid_exists(pid) else None


def silent_holder(home: Home) -> int | None:
    """The same, for a home on which nobody answers.

    After a reboot another program may have the pid that the lock says, and in a copy of a home it is of the original's crewd.
    """
    import psutil

    pid = holder(home)
    with contextlib.suppress(psutil.Error, OSError):
        if pid is not None:
            process, lock = psutil.Process(pid), home.daemon_lock.stat()
            if process.create_time() > lock.st_mtime + BOOT_SECONDS:
                return None
            opened = [file_at(Path(each.path)) for each in process.open_files()]
            return pid if not opened or (lock.st_dev, lock.st_ino) in opened else None
    return None


def restarter(home: Home) -> psutil.Process | None:
    """The process of this user that starts the crewd of a home again when it has died (`crewd.respawn`), if there is one."""
    import psutil

    tail = [RESPAWN, "--home", str(home.root)]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-len(tail) :] == tail and process.uids().effective == os.geteuid():
                return process
    return None


def _said_of(pid: int) -> str:
    """Why a process that is there may not answer, as the end of a sentence; empty if that cannot be seen."""
    import psutil

    with contextlib.suppress(psutil.Error):
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            return ": it is stopped"
    return ""


def _last_said(home: Home) -> str:
    """What crewd has said last of why it does not serve, in one line; empty if the end of its log says nothing like that."""
    with contextlib.suppress(OSError), (home.logs / "crewd.stderr").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - SAID_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
        said = next((line for line in reversed(lines) if line.startswith("crewd: ")), "")
        said = said.removeprefix("crewd: ")
        return "" if said in {STARTS, SERVES} else said
    return ""
