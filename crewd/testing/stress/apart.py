"""A piece of work in a forked child: it may be killed, may hang and may leave things behind, and its parent sees all of it.

The child inherits everything that the parent has imported, so that a trial costs a fork and not a start of Python.

Tests: tests/testing/stress/test_real.py.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import select
import signal
import struct
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import psutil

from crewd.clock import SystemChance, SystemClock

MARKER = "CREWD_STRESS"
"""In the environment of the child and of everything that it starts."""
SLACK_SECONDS = 1.0
"""Beyond the grace of a cancel, before a child counts as stuck: machines are busy."""
STACK = "stack"
"""The file beside the folder in which a child that had to be killed says where its threads were."""
SETTLE_SECONDS = 0.5
"""What was told to end may take so long to be gone."""
_HEAD = struct.Struct("!cI")
_GRACE = struct.Struct("!d")


class ParentLink:
    """The child's end: `at` at each point, `told` once when its cancel fires, `leave` once with its last word."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def at(self, point: bytes) -> None:
        """The worker is at a point."""
        self._write(b"p", point)

    def told(self, grace_seconds: float, record: bytes) -> None:
        """From now on the grace runs; `record` is what is known if nothing more is heard."""
        self._write(b"c", _GRACE.pack(grace_seconds) + record)

    def leave(self, record: bytes) -> NoReturn:
        """Say the last word and be killed, as a process is that crashes: no handler runs, nothing is flushed."""
        self._write(b"r", record)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def _write(self, kind: bytes, data: bytes) -> None:
        data = _HEAD.pack(kind, len(data)) + data
        while data:
            data = data[os.write(self._descriptor, data) :]


class ChildSaid(NamedTuple):
    """What was heard of a child. `how`: it has said its last `word`, is `gone` without one, or was `late` and was killed.

    Without a last word, `data` is what it recorded when it was told to stop; empty if it never was. `points` are where it was.
    """

    how: Literal["word", "gone", "late"]
    data: bytes
    points: Sequence[bytes]


class Traces:
    """By what the processes of a trial are known: they were not there before, and carry its marker or are in its sessions.

    A program that the worker starts has the marker in its environment. A fork of the worker is in the session of its act. Only
    a fork that begins a session of its own, and starts no program, is not found.
    """

    def __init__(self) -> None:
        self.marker = SystemChance().bytes(8).hex()
        self._before = set(psutil.pids())
        self._sessions: set[int] = set()

    def begin(self, session: int) -> None:
        """An act has begun: a child that has a session of its own."""
        self._sessions.add(session)

    def left(self) -> list[psutil.Process]:
        """The living processes of the trial; those that are just ending get a moment."""
        clock = SystemClock()
        deadline = clock.monotonic() + SETTLE_SECONDS
        while True:
            new = set(psutil.pids()) - self._before - {os.getpid()}
            found = [process for pid in new if (process := self._of_trial(pid)) is not None]
            if not found or clock.monotonic() > deadline:
                return found
            clock.sleep(0.005)

    def _of_trial(self, pid: int) -> psutil.Process | None:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            mine = os.getsid(pid) in self._sessions or process.environ().get(MARKER) == self.marker
        except (psutil.Error, OSError):
            return None
        return process if mine else None


def apart(
    work: Callable[[ParentLink], bytes], folder: Path, temporary: Path, traces: Traces, patience: float
) -> ChildSaid:  # fmt: skip
    """What `work` returns (or leaves) in a child that runs in `folder`.

    `patience`: seconds that it gets; less when its cancel fires, its grace then. Its output goes to `folder/../output`.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads; the child uses none of them
        child = os.fork()
    if not child:
        os.close(reading)
        _live(work, folder, temporary, traces.marker, ParentLink(writing))
    os.close(writing)
    traces.begin(child)
    try:
        said = _listen(reading, patience)
        if said.how == "late":
            _ask_where(child, folder.parent / STACK)
        return said
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _live(work: Callable[[ParentLink], bytes], folder: Path, temporary: Path, marker: str, line: ParentLink) -> NoReturn:
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the program does that runs the trial
        gc.freeze()  # what the parent has made is no garbage of the child: a collection would copy each page of it
        os.setsid()
        output = os.open(folder.parent / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, output), (2, output)):
            os.dup2(source, target)
        settle_in(folder, temporary, marker)
        with (folder.parent / STACK).open("w") as stack:
            faulthandler.register(signal.SIGUSR2, stack, all_threads=True)
            line.leave(work(line))
    except BaseException:  # noqa: BLE001 (only if the harness itself is wrong: a worker's errors are in its record)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(70)


def settle_in(folder: Path, temporary: Path, marker: str) -> None:
    """Make this process one that works in `folder`, keeps its temporary files in `temporary` and has a home of its own.

    A `breakpoint()` does nothing in it: nobody is there to answer.
    """
    home = folder.parent / "home"
    os.chdir(folder)
    os.environ |= {"TMPDIR": str(temporary), "HOME": str(home), "PYTHONBREAKPOINT": "0", MARKER: marker}
    tempfile.tempdir = None


def _ask_where(child: int, stack: Path) -> None:
    """Let the child write down where its threads are; one that cannot is killed all the same."""
    clock = SystemClock()
    deadline = clock.monotonic() + SETTLE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        if stack.exists():  # else it does not listen yet, and the signal would kill it
            os.kill(child, signal.SIGUSR2)
        while stack.exists() and not stack.stat().st_size and clock.monotonic() < deadline:
            clock.sleep(0.005)


def _listen(reading: int, patience: float) -> ChildSaid:
    clock, buffer, record = SystemClock(), b"", b""
    points: list[bytes] = []
    deadline = clock.monotonic() + patience
    while True:
        left = deadline - clock.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return ChildSaid("late", record, points)
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            return ChildSaid("gone", record, points)
        buffer += chunk
        while len(buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(buffer)
            if len(buffer) < _HEAD.size + size:
                break
            data, buffer = buffer[_HEAD.size : _HEAD.size + size], buffer[_HEAD.size + size :]
            if kind == b"r":
                return ChildSaid("word", data, points)
            if kind == b"p":
                points.append(data)
                continue
            deadline = clock.monotonic() + _GRACE.unpack_from(data)[0] + SLACK_SECONDS
            record = data[_GRACE.size :]
