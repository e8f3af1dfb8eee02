"""Start a crewd by a fork: hundreds of tests start one, and reading in its code would take half of their time.

The code is read in once, by the fork server of `multiprocessing`; each crewd is a child of that, and its first guardian is a
fork of that child. A crewd for a normal user (`tests.users`) becomes one after the fork. Tests of how crewd starts, and those
that start it through any other program (`launcher`), start it as everybody does; so does a crewd that starts another guardian.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, popen_fork, popen_spawn_posix
from pathlib import Path
from typing import IO, Any

from crewd.guardian import marker
from crewd.testing.daemon import Process, start_process
from tests.users import LAUNCHER, become_normal

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.forked_code"])


class Forked:
    """A crewd that was forked, as `subprocess.Popen` would show it."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path, *, normal: bool) -> None:
        _start_server()
        self._process = _context.Process(
            target=_crewd, args=(list(words), dict(environment), str(Path.cwd()), str(log), normal)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, if it has ended; a negative one names a signal."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. TimeoutExpired if it has not ended by then."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("crewd", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()


def start_forked(command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> Process:
    """Start a crewd; through a fork if the command is that of crewd itself, and nothing is to be loaded before it."""
    normal = tuple(command[: len(LAUNCHER)]) == LAUNCHER
    words = list(command[len(LAUNCHER) :] if normal else command)
    if words[:3] != [sys.executable, "-m", "crewd"] or "LD_PRELOAD" in environment:
        return start_process(command, environment, log)
    return Forked(words[2:], environment, Path(log.name), normal=normal)


def _start_server() -> None:
    """Start the fork server if there is none, with the place in its environment where guardians' workers are marked.

    The kernel shows its environment for each of its children. So it has no more than it needs: some test's large variables
    would be read again and again by each guardian that looks for markers.
    """
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({name: before[name] for name in ("PATH", "HOME", "LANG") if name in before})
    os.environ[marker.VARIABLE] = marker.placeholder("0" * 16)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Guardian(popen_fork.Popen):
    """The guardian that was forked before crewd had any thread, and waits until crewd starts it."""

    def __init__(self, process: Any, pid: int, orders: int, sentinel: int) -> None:  # `Popen.__init__` would fork
        self.returncode: int | None = None
        self.finalizer = None
        self.pid, self.sentinel = pid, sentinel
        with os.fdopen(orders, "wb") as pipe:
            pickle.dump((process._target, process._args, dict(os.environ)), pipe)


def _fork_guardian() -> None:
    """Fork the process that this crewd's first guardian will be; it ends with crewd if it is not needed."""
    theirs, ours = os.pipe()
    sentinel, lives = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        os.close(sentinel)
        with os.fdopen(theirs, "rb") as pipe:
            order = pipe.read()
        if order:
            target, args, environment = pickle.loads(order)
            os.environ.clear()
            os.environ.update(environment)
            marker.write(marker.find_slot(), environment[marker.VARIABLE])
            target(*args)
        os._exit(0)
    os.close(theirs)
    os.close(lives)
    prepared = [pid]

    def start(process: Any) -> Any:
        return _Guardian(process, prepared.pop(), ours, sentinel) if prepared else popen_spawn_posix.Popen(process)

    multiprocessing.get_context("spawn").Process._Popen = staticmethod(start)  # type: ignore[assignment]


def _crewd(words: list[str], environment: dict[str, str], cwd: str, log: str, normal: bool) -> None:
    """What the child does: become what `python -m crewd` would be."""
    if normal:
        become_normal()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [cwd, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    for path, flags, targets in ((os.devnull, os.O_RDONLY, (0,)), (log, os.O_WRONLY | os.O_APPEND, (1, 2))):
        opened = os.open(path, flags)
        for target in targets:
            os.dup2(opened, target)
        os.close(opened)
    sys.argv[:] = words
    _fork_guardian()
    from crewd.__main__ import main

    main()
