"""What a real worker process runs in place of the worker under stress: the same worker, which waits at the points of a history.

At such a point it leaves a file `point-N` in the gate's folder and waits for `go-N` (or for its cancel). Each point is
written down as a line of `points`, so that it is known also when the process is killed.

Tests: tests/testing/stress/test_real.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewd.clock import SystemClock
from crewd.testing.stress.lines import is_plain, lines_of
from crewd.testing.stress.where import where
from crewd.worker import Context, worker
from crewd.worker.call import invoke, load
from crewd.worker.declare import capabilities_of
from crewd.worker.token import Cancelled

if TYPE_CHECKING:
    from crewd.protocol.reports import ProgressReport
    from crewd.worker.context import SignsOfLife

LOOK_SECONDS = 0.002
POINTS_MAX = 1_000
"""Lines of a plain function beyond these are no points."""


class Gate:
    """A `SignsOfLife` that holds the worker at chosen points."""

    def __init__(self, pulse: SignsOfLife, folder: Path, stops: list[int], before: int, ctx: Context) -> None:
        self._pulse = pulse
        self._folder = folder
        self._stops = set(stops)
        self._number = self._before = before
        self._ctx = ctx
        self._clock = SystemClock()
        self._lines: set[str] = set()
        self._again = 0
        """Lines of a plain function that it comes to once more after its cancel: it goes on with its work."""

    def progress(self, report: ProgressReport) -> None:
        """See `SignsOfLife`."""
        self._pulse.progress(report)
        self._point()

    def beat(self, beats: int) -> None:
        """See `SignsOfLife`."""
        self._pulse.beat(beats)
        self._point()

    def line(self, line: str) -> None:
        """A plain function is at its next line. A cancel does not open the gate: crewd's TERM interrupts it there."""
        if self._ctx.token.cancelled:
            if line in self._lines:
                self._again += 1
                leave(self._folder / "ignored", str(self._again))
        elif self._number < self._before + POINTS_MAX:
            self._lines.add(line)
            self._reached("", line, lambda: False)

    def note_cancel(self) -> None:
        """Write down at how many points `Cancelled` was raised for the first time."""
        check = self._ctx.token.check

        def noting() -> None:
            try:
                check()
            except Cancelled:
                if not (self._folder / "raised").exists():
                    leave(self._folder / "raised", str(self._number))
                raise

        self._ctx.token.check = noting  # type: ignore[method-assign]

    def _point(self) -> None:
        call, line = where()
        self._reached(call, line, lambda: self._ctx.token.cancelled)

    def _reached(self, call: str, line: str, opens: Callable[[], bool]) -> None:
        self._number += 1
        with (self._folder / "points").open("a") as file:
            file.write(json.dumps([self._number, call, line, self._ctx.token.cancelled]) + "\n")
        if self._number in self._stops:
            (self._folder / f"point-{self._number}").touch()
            go = self._folder / f"go-{self._number}"
            while not go.exists() and not opens():
                self._clock.sleep(LOOK_SECONDS)


def _gated(
    ctx: Context, target: str, args: dict[str, Any], folder: str, stops: list[int], before: int, attempt: str,
    temporary: str, home: str, checkpoint: object,
) -> object:  # fmt: skip
    threads = set(threading.enumerate())
    os.environ |= {"TMPDIR": temporary, "HOME": home}
    tempfile.tempdir = None
    ctx.directory = Path(attempt)
    ctx.restored = checkpoint
    gate = Gate(ctx._pulse, Path(folder), stops, before, ctx)  # noqa: SLF001 (this is what a gate is)
    ctx._pulse = gate  # noqa: SLF001
    gate.note_cancel()
    function = load(target)
    try:
        with lines_of(function, gate.line) if is_plain(function) else contextlib.nullcontext():
            return invoke(function, ctx, args)
    finally:
        left = [t.name for t in threading.enumerate() if t not in threads and t.is_alive() and not t.daemon]
        leave(Path(folder) / "threads", json.dumps(left))


def leave(path: Path, text: str) -> None:
    """Write so that a reader sees all of it or nothing: the worker may be killed at any time."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


@worker(steer=True, follow_up=True)
def both(ctx: Context, **given: Any) -> object:
    """For a worker that takes steers and follow-ups."""
    return _gated(ctx, **given)


@worker(steer=True, follow_up=False)
def steers(ctx: Context, **given: Any) -> object:
    """For a worker that takes steers."""
    return _gated(ctx, **given)


@worker(steer=False, follow_up=True)
def follow_ups(ctx: Context, **given: Any) -> object:
    """For a worker that takes follow-ups."""
    return _gated(ctx, **given)


def neither(ctx: Context, **given: Any) -> object:
    """For a worker that takes no messages."""
    return _gated(ctx, **given)


def gate_for(function: Callable[..., Any]) -> str:
    """The gate that declares what this worker declares."""
    names = {("steer", "follow_up"): "both", ("steer",): "steers", ("follow_up",): "follow_ups"}
    return f"{__name__}:{names.get(capabilities_of(function), 'neither')}"
