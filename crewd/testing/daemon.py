"""A real daemon in a home of its own, for tests: start it, kill it, prove that nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

import psutil

import crewd
from crewd.client.blocking import Crew, connect
from crewd.clock import SystemClock
from crewd.guardian import marker
from crewd.model.arguments import PathText, checked
from crewd.model.home import Home

DEADLINE_SECONDS = 120.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for a condition with a deadline. AssertionError names what did not come.

    The condition is looked at less often the more it costs, and the longer it takes: looking competes with what is awaited.
    """
    clock = SystemClock()
    began = before = clock.monotonic()
    while not condition():
        looked = clock.monotonic()
        assert looked < began + seconds, f"waited {seconds:g} s for: {what}"
        # Spend at most a quarter of the time on looking, and see what has come at most a fifth of the wait late.
        clock.sleep(max(0.01, 3 * (looked - before), min(0.1, (looked - began) / 5)))
        before = clock.monotonic()


def _listening(path: Path) -> set[str]:
    """The sockets that listen at a path, as `/proc/PID/fd` names them.

    psutil raises for the whole table when the path of any process's socket has a line break in it.
    """
    lines = (line.split(None, 7) for line in Path("/proc/net/unix").read_bytes().split(b"\n"))
    return {f"socket:[{int(words[6])}]" for words in lines if words[7:] == [os.fsencode(path)]}


def children_of(process: psutil.Process, *, recursive: bool = False) -> list[tuple[psutil.Process, str, str]]:
    """Each child with its name and status, zombies too. A child that goes while it is looked at is left out."""
    found: list[tuple[psutil.Process, str, str]] = []
    for child in process.children(recursive=recursive):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append((child, child.name(), child.status()))
    return found


class Process(Protocol):
    """A process that was started, as `subprocess.Popen` shows it."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. `subprocess.TimeoutExpired` if it has not ended by then."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def terminate(self) -> None:
        """SIGTERM."""
        ...


def start_process(command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> Process:
    """Start a command with this environment, no input, and `log` as its output."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)  # noqa: S603


class Daemon:
    """A crewd on `root` (made with mode 0700). As a context manager it ends everything and checks that nothing is left.

    `python_path`: where its workers find modules, besides the directory that they run in and PYTHONPATH. `launcher`: the
    command that it is started through, like `nice`.
    """

    @checked
    def __init__(self, root: PathText, python_path: Sequence[str] = (), launcher: Sequence[str] = ()) -> None:
        Path(root).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = Home(Path(os.path.realpath(root)))
        self._python_path = python_path
        self._launcher = launcher
        self._process: Process | None = None

    def start(self) -> Self:
        """Start the daemon and wait until it answers. One that runs already is left so."""
        if self._process is not None and self._process.poll() is None:
            return self
        package = str(Path(crewd.__file__).resolve().parent.parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([package, *self._python_path, os.environ.get("PYTHONPATH", "")]),
        }
        with (self.home.root / "stderr.txt").open("ab") as log:
            command = [*self._launcher, sys.executable, "-m", "crewd", "--home", str(self.home.root)]
            self._process = start_process(command, environment, log)

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            if not self.home.clients_socket.exists():
                return False
            try:
                self.connect().close()
            except crewd.CrewdError:
                return False
            return True

        wait_until(answers, "the daemon to answer")
        return self

    def connect(self) -> Crew:
        """A client of it; never starts one. Its key is kept in the home (unless `CREWD_KEYS` says where), not in the user's."""
        keys = None if "CREWD_KEYS" in os.environ else self.home.root / "keys"
        return connect(str(self.home.root), start=False, keys=keys)

    def log(self) -> str:
        """What it wrote to stderr, the end of it."""
        return (self.home.root / "stderr.txt").read_text(errors="replace")[-4_000:]

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def stopped(self) -> bool:
        """Whether the daemon's process has ended."""
        return self._process is None or self._process.poll() is not None

    def guardian_pid(self) -> int:
        """The guardian's process: the one that listens on its socket."""
        sockets = _listening(self.home.guardian_socket)
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_bytes() != b"crewd-guardian\n":
                    continue
                if any(str(each.readlink()) in sockets for each in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
        return 0

    def kill(self) -> None:
        """SIGKILL the daemon and reap it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE_SECONDS)

    def kill_guardian(self) -> int:
        """SIGKILL the guardian; its pid."""
        wait_until(self.guardian_pid, "a guardian")
        pid = self.guardian_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def marked(self) -> list[int]:
        """Every living process that carries the marker of one of this home's workers."""
        found = []
        for pid in psutil.pids():
            text = marker.read(pid)
            if text and text.startswith(f"{self.home.key}:") and not text.startswith(f"{self.home.key}:-"):
                with contextlib.suppress(psutil.Error):
                    if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                        found.append(pid)
        return found

    def stop(self) -> None:
        """End the daemon in order."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS * 2)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.start()  # it was killed: another one ends what it left
        self.stop()
        wait_until(lambda: not self.guardian_pid(), "the guardian to end")
        wait_until(lambda: not self.marked(), "every worker process to end")
