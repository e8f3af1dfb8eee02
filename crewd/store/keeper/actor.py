"""The keeper's actor: what takes long and concerns whole runs or the whole home, on a thread of its own.

Rule 1: a bundle is on disk before the log says that a run is in it; files are deleted after the log says that they may be.
Rule 2: the store decides. Whatever this actor saw may have changed since: each of its appends says what it relies on.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from crewd.actors import Ref
from crewd.model.errors import CrewdError, InvariantError, StoreDamaged, StoreUnavailable, Unavailable
from crewd.model.ids import RUN, is_id
from crewd.model.rows import ArtifactRow, ForgottenRow, RunRow
from crewd.protocol import keeping as kp
from crewd.protocol import requests as rq
from crewd.store.checkup import Examine, checkup
from crewd.store.follower import Follower
from crewd.store.keeper.archives import Archives
from crewd.store.keeper.artifacts import artifact
from crewd.store.keeper.backup import backup
from crewd.store.keeper.garbage import collect
from crewd.store.keeper.jobs import Jobs
from crewd.store.keeper.removal import Removals
from crewd.store.keeper.scrubber import Scrubber
from crewd.store.keeper.transfers import FILE_NAME, Transfers
from crewd.store.messages import Committed, Delayed, Flushed, Journaled, Keep, Known, Rejected, ScrubOutput, ToKeeper, ToStore
from crewd.store.ports import LOOK_AT_DISK
from crewd.store.run_files import AskFiles, RunFiles

if TYPE_CHECKING:
    from crewd.clock import Clock
    from crewd.model.home import Home
    from crewd.model.ids import IdSource
    from crewd.store.overlay import Overlay

LEFT_OVER_SECONDS = 3_600.0
"""A bundle that the log does not know after this was not taken in, or has been replaced; an upload that stands still for so
long is given up."""
TIDY_AGAIN_SECONDS = 10.0
COLLECT_SECONDS = 600.0
"""Between two looks for blobs that nothing refers to."""
SCRUB_REST = 4.0
"""The pause before the next portion of output, in multiples of the time that the last one took to scrub."""


class _Collect(msgspec.Struct, frozen=True):
    pass


class _Tidy(msgspec.Struct, frozen=True):
    pass


class _ScrubOn(msgspec.Struct, frozen=True):
    pass


KeeperMessage: TypeAlias = ToKeeper | Journaled | _Collect | _Tidy | _ScrubOn
"""What the keeper takes, besides `Flushed`."""


class Keeper(Follower[KeeperMessage]):
    """Answers `Keep`. One request is worked on at a time; waiting for the store holds up nobody."""

    data_max = 1_000
    works_long = True

    def __init__(
        self, home: Home, clock: Clock, ids: IdSource, overlay: Overlay, store: Callable[[], Ref[ToStore]], software: str,
        examine: Examine, ask_files: AskFiles,
    ) -> None:  # fmt: skip
        super().__init__(overlay, store)
        self._home, self._clock, self._ids, self._store, self._software = home, clock, ids, store, software
        self._examine = examine
        self._files = RunFiles(ask_files)
        self._scrubber = Scrubber(self._files)
        self._scrubbing = False

    def on_start(self) -> None:
        """Open a connection of its own, and clear away what a crash has left."""
        self._archives = Archives(self._home, self._store, self._software, self._files)
        self._jobs = Jobs(self.ref, self._store)
        self._removals = Removals(self._archives, self._jobs, self._clock)
        self._transfers = Transfers(self._archives, self._jobs, self._ids)
        with contextlib.suppress(OSError):  # a disk that is full takes no bundles, and must not keep crewd from starting
            for folder in (self._home.archive, self._home.exports, self._home.imports):
                folder.mkdir(mode=0o700, exist_ok=True)
        self._clear_uploads()
        self.context.after(0.0, _Tidy())
        self.context.after(COLLECT_SECONDS, _Collect())  # by then each worker that lives has said what it left

    def _tidy(self) -> None:
        """What a crash has left: of runs that are forgotten, of bundles that were replaced, of output that was not scrubbed."""
        if self.stale:
            self.context.after(LEFT_OVER_SECONDS, _Tidy())
            return
        with contextlib.suppress(OSError, CrewdError):
            self._clear_bundles()
        try:
            self._clear_runs()
        except CrewdError:  # the guardian is not there yet
            self.context.after(TIDY_AGAIN_SECONDS, _Tidy())

    def _clear_bundles(self) -> None:
        for folder in (self._home.archive, self._home.exports, self._home.imports):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)
        long_ago = self._clock.wall() - LEFT_OVER_SECONDS
        for path in self._home.archive.iterdir():
            if not FILE_NAME.match(path.name):
                continue
            run = path.name.partition("-")[0]
            row = self._archives.database.row(RunRow, run)
            forgotten = row is None and self._archives.database.row(ForgottenRow, run) is not None
            replaced = row is not None and row.archived not in {"", path.name} and (self._home.archive / row.archived).is_file()
            if forgotten or (replaced and path.stat().st_mtime < long_ago):
                path.unlink(missing_ok=True)  # what nothing is known of is left to people

    def _clear_runs(self) -> None:
        for name in self._files.runs():
            run = os.fsdecode(name)
            if is_id(run, RUN):
                self._archives.clear_left(run)
                for directory in self._files.unscrubbed(run):
                    self._scrubber.add(run, directory)
        self._scrub_later(0.0)

    def on_stop(self) -> None:
        """Close it."""
        if hasattr(self, "_archives"):
            self._archives.close()

    def receive(self, message: Flushed | KeeperMessage) -> None:
        """Do what is asked; what the store says goes on with it."""
        match message:
            case Flushed(stale):
                self.flushed(stale=stale)
            case Keep():
                self.when_flushed(lambda: self._try(message, lambda: self._begin(message)))
            case Committed(token) | Rejected(token) | Known(token):
                keep = self._jobs.keep_of(token)
                if keep is not None:
                    self._try(keep, lambda: self._jobs.heard(token, message))
            case Delayed():
                pass  # `Committed` follows
            case _Collect():
                self.when_flushed(self._collect)
            case _Tidy():
                self.when_flushed(self._tidy)
            case ScrubOutput(task, epoch, values):
                run, _, step = task.partition("/")
                self._scrubber.add(run, f"{step}/{epoch}".encode(), values)
                self._scrub_later(0.0)
            case _ScrubOn():
                self._scrubbing = False
                begun = self._clock.monotonic()
                self._scrubber.step()
                self._scrub_later(SCRUB_REST * (self._clock.monotonic() - begun))
            case _:
                self.unexpected(message)

    def _try(self, keep: Keep, act: Callable[[], None]) -> None:
        """Whatever a file or a request holds, its answer is an error, and not the end of everything below this actor."""
        try:
            act()
        except InvariantError as error:
            self._jobs.answer(keep, StoreDamaged(f"the log cannot be folded: {error}", hint="see docs/store.md"))
        except CrewdError as error:
            self._jobs.answer(keep, error)
        except OSError as error:
            self._jobs.answer(keep, Unavailable(f"the disk refuses: {error}", hint="crew doctor"))
        except Exception as error:  # noqa: BLE001 (see above)
            self._jobs.answer(
                keep, Unavailable(f"this cannot be done: {type(error).__name__}: {error}", hint="crew doctor --check")
            )

    def _scrub_later(self, seconds: float) -> None:
        if self._scrubber and not self._scrubbing:
            self._scrubbing = True
            self.context.after(seconds, _ScrubOn())

    def _begin(self, keep: Keep) -> None:
        answer, archives = self._jobs.answer, self._archives
        if self.stale and not isinstance(keep.request, kp.GetArtifact | kp.Fetch | kp.Upload | rq.Doctor):
            why = "the disk refuses what was recorded lately: nothing is taken away, in or along now"
            raise StoreUnavailable(why, hint=LOOK_AT_DISK)
        match keep.request:
            case kp.Forget() | kp.Archive():
                run, archive = archives.run(keep.request.target), isinstance(keep.request, kp.Archive)
                if archive and not keep.request.dry_run:
                    self._scrubber.finish(run.id)  # what is in a bundle is not looked through again
                self._removals.change(keep, [run], archive=archive, dry=keep.request.dry_run)
            case kp.Prune():
                if keep.request.archive and not keep.request.dry_run:
                    self._scrubber.finish()
                self._removals.prune(keep, keep.request)
            case kp.Export(target):
                run = archives.run(target)
                self._scrubber.finish(run.id)
                answer(keep, self._transfers.export(run))
            case kp.GetArtifact():
                answer(keep, artifact(archives, keep.request))
            case kp.Fetch(name, offset):
                answer(keep, self._transfers.fetch(name, offset))
            case kp.Upload():
                answer(keep, self._transfers.upload(keep.request))
            case kp.Import():
                self._transfers.take(keep, keep.request)
            case kp.Backup(path):
                answer(keep, backup(archives, Path(path)))
            case rq.Doctor():
                answer(keep, checkup(archives.library, self._examine, keep.request, self._files))

    def _clear_uploads(self) -> None:
        with contextlib.suppress(OSError):
            self._transfers.clear_uploads(self._clock.wall() - LEFT_OVER_SECONDS)

    def _collect(self) -> None:
        """Blobs that nothing refers to any more are deleted, now and then."""
        self.context.after(COLLECT_SECONDS, _Collect())
        self._clear_uploads()
        if self.stale:
            return  # something may refer to one that the tables do not know yet

        def referred(sha256: str) -> bool:
            return bool(self._archives.database.rows_with(ArtifactRow, sha256, 1))

        with contextlib.suppress(Unavailable, StoreUnavailable):
            collect(self._files, referred)
