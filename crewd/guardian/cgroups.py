"""A fourth way to find a worker's processes: a cgroup (v2) per worker, which no descendant leaves without the rights to.

`cgroup.kill` ends everything in it at once, also in cgroups that the worker has made in its own, and `populated 0` in
`cgroup.events` is proof. Without a writable cgroup2 tree nothing of this is used, and the other ways remain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from crewd.guardian.tree import Key

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")
NESTED_MAX = 1_000
"""Cgroups that a worker has made in its own, of which the processes are read; what is in others is killed all the same."""
PIDS_FACTOR = 2
"""The kernel lets a worker have so many times its limit of processes: a look that finds more than the limit ends it before."""


class Cgroups:
    """The cgroups of one home's workers. Every method is harmless where there are none."""

    def __init__(self, home_key: str, base: Path | None = None, *, wanted: bool = True) -> None:
        self._base = base if base is not None or not wanted else _find_base()
        self._home = None if self._base is None else self._base / f"crewd-{home_key}"
        self._leftovers: set[Path] = set()
        if self._home is not None:
            try:
                self._home.mkdir(exist_ok=True)
                if not (self._home / "cgroup.kill").exists() and base is None:
                    raise OSError("a kernel without cgroup.kill")
                if (self._home / "cgroup.subtree_control").exists():
                    with contextlib.suppress(OSError):  # only where this was given to us
                        (self._home / "cgroup.subtree_control").write_text("+pids")
            except OSError:
                with contextlib.suppress(OSError):
                    self._home.rmdir()
                self._home = None

    @property
    def path(self) -> str:
        """Where they are; empty where there are none."""
        return "" if self._home is None else str(self._home)

    def _of(self, key: Key) -> Path | None:
        return None if self._home is None else self._home / f"{key[0].replace('/', '@')}#{key[1]}"

    def make(self, key: Key, processes: int = 0) -> str:
        """Make the worker's, which may have so many processes; the file that its first one writes itself into, or nothing."""
        path = self._of(key)
        if path is None:
            return ""
        try:
            path.mkdir(exist_ok=True)
        except OSError:
            return ""
        if processes and (path / "pids.max").exists():
            with contextlib.suppress(OSError):
                (path / "pids.max").write_text(str(PIDS_FACTOR * processes))
        return str(path / "cgroup.procs")

    def pids(self, key: Key) -> frozenset[int]:
        """Who is in it."""
        path = self._of(key)
        if path is None:
            return frozenset()
        found: set[int] = set()
        for folder in islice(_tree(path), NESTED_MAX):
            with contextlib.suppress(OSError, ValueError):  # one that has only threads tells nothing
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        return frozenset(found)

    def is_populated(self, key: Key) -> bool:
        """Whether a process lives in it, or in any below it."""
        path = self._of(key)
        if path is None:
            return False
        try:
            return "populated 1" in (path / "cgroup.events").read_text()
        except OSError:
            return False

    def kill(self, key: Key) -> None:
        """SIGKILL to all of it, also to what is being forked now."""
        path = self._of(key)
        if path is not None:
            with contextlib.suppress(OSError):
                (path / "cgroup.kill").write_text("1")

    def cpu_seconds(self, key: Key) -> float | None:
        """What everything that ever was in it has used."""
        path = self._of(key)
        if path is None:
            return None
        try:
            for line in (path / "cpu.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "usage_usec":
                    return int(value) / 1e6
        except (OSError, ValueError):
            pass
        return None

    def remove(self, key: Key) -> None:
        """The worker is over. One that the kernel still holds is removed later."""
        path = self._of(key)
        if path is not None:
            self._leftovers.add(path)
            self.tidy()

    def tidy(self) -> None:
        """Remove what can be removed now."""
        for path in list(self._leftovers):
            try:
                for folder in reversed(list(islice(_tree(path), NESTED_MAX))):
                    folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                continue
            if not path.exists():
                self._leftovers.discard(path)

    def found(self) -> list[Key]:
        """The workers whose cgroup an earlier guardian has left."""
        if self._home is None:
            return []
        keys = []
        for path in self._home.iterdir():
            task, _, epoch = path.name.replace("@", "/", 1).rpartition("#")
            if path.is_dir() and task and epoch.isdigit():
                keys.append((task, int(epoch)))
        return keys

    def close(self) -> None:
        """Nothing lives any more."""
        self.tidy()
        if self._home is not None:
            with contextlib.suppress(OSError):
                self._home.rmdir()


def _tree(path: Path) -> Iterator[Path]:
    """The directory, and those below it, each before those in it."""
    for folder, _, _ in os.walk(path):
        yield Path(folder)


def _find_base() -> Path | None:
    """This process's own place in the cgroup2 tree."""
    try:
        own = next(line for line in _OWN.read_text().splitlines() if line.startswith("0::"))[3:]
        for line in _MOUNTS.read_text().splitlines():
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                return Path(before.split()[4]) / own.lstrip("/")
    except (OSError, StopIteration):
        pass
    return None
