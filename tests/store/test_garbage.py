"""Garbage is collected, and what is referred to, or about to be, never is, whatever comes in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crewd.guardian.files import BLOB_AGE_SECONDS as AGE_SECONDS
from crewd.guardian.files import Files
from crewd.model.home import Home, blob_path
from crewd.model.limits import INLINE_BYTES_MAX
from crewd.store.keeper.garbage import collect
from crewd.store.run_files import RunFiles
from crewd.worker.artifacts import shared, store

CONTENTS = [bytes([number]) * (INLINE_BYTES_MAX + 1) for number in range(3)]


class Writers(RuleBasedStateMachine):
    """Workers that store and report later, runs that are forgotten, time that passes, and a collector that comes at any moment.

    A worker that does not report within the age is dead: that is what the collector relies on.
    """

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.blobs = self.root / "blobs"
        self.now = 1e9
        self.files = RunFiles(Files(Home(self.root), self).answer)
        self.unreported: list[tuple[float, str]] = []
        self.referred: list[str] = []
        self.holder: Any = None
        self.number = 0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    @rule(content=st.sampled_from(CONTENTS))
    def put(self, content: bytes) -> None:
        self.number += 1
        stored = store(content, self.root / str(self.number), self.blobs, clean=True)
        os.utime(blob_path(self.blobs, stored.sha256), (self.now, self.now))  # the clock of this world
        self.unreported.append((self.now, stored.sha256))

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        if self.unreported:
            at = data.draw(st.integers(0, len(self.unreported) - 1))
            self.referred.append(self.unreported.pop(at)[1])

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if self.referred:
            self.referred.pop(data.draw(st.integers(0, len(self.referred) - 1)))

    @rule(seconds=st.sampled_from([1.0, AGE_SECONDS / 2, AGE_SECONDS + 1]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.unreported = [each for each in self.unreported if self.now - each[0] < AGE_SECONDS]

    @rule()
    def hold(self) -> None:
        if self.holder is None:
            self.blobs.mkdir(exist_ok=True)
            self.holder = shared(self.blobs)
            self.holder.__enter__()

    @rule()
    def let_go(self) -> None:
        if self.holder is not None:
            self.holder.__exit__(None, None, None)
            self.holder = None

    @rule()
    def collect(self) -> None:
        count = collect(self.files, lambda sha256: sha256 in self.referred)
        if self.holder is not None:
            assert count == 0, "somebody is storing"
            return
        for path in (self.blobs / "sha256").glob("??/*") if self.blobs.exists() else ():
            young = self.now - path.stat().st_mtime < AGE_SECONDS
            assert young or path.name in self.referred, "garbage stays"

    @invariant()
    def nothing_that_is_needed_is_gone(self) -> None:
        for sha256 in {*self.referred, *(sha256 for _, sha256 in self.unreported)}:
            found = self.files.blob(sha256, 0, 10)
            assert found is not None and found.size == INLINE_BYTES_MAX + 1

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.let_go()
            self.folder.cleanup()


Writers.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestWriters = Writers.TestCase
