"""The keeper's actor: what takes long and concerns whole runs or the whole home, on a thread of its own.

Rule 1: a bundle is on disk before the log says that a run is in it; files are deleted after the log says that they may be.
Rule 2: the store decides. Whatever this actor saw may have changed since: each of its appends says what it relies on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from crewd.actors import Lane, Ref
from crewd.protocol import keeping as kp
from crewd.protocol import requests as rq
from crewd.protocol.errors import (
    CrewdError,
    Forbidden,
    InvariantError,
    NotFound,
    Refused,
    StoreDamaged,
    StoreUnavailable,
    Unavailable,
    UsageError,
)
from crewd.protocol.events import Draft, RunArchived, RunForgotten, type_of_class
from crewd.protocol.ids import RUN
from crewd.protocol.limits import NOTE_CHARS_MAX
from crewd.protocol.redact import clip
from crewd.protocol.rows import ArtifactRow, AskRow, ForgottenRow, MessageRow, RunRow, TaskRow
from crewd.protocol.statuses import RUN_TERMINAL
from crewd.store.blobs import collect, read_blob
from crewd.store.bundle import BUNDLE_BYTES_MAX, Bundle, renamed, sync_directory, write_bundle
from crewd.store.checkup import Examine, checkup
from crewd.store.follower import Follower
from crewd.store.library import HINT, Library
from crewd.store.messages import (
    Answer,
    Append,
    Arrival,
    Committed,
    Delayed,
    Flushed,
    Keep,
    Known,
    Put,
    Rejected,
    Removal,
    Scrub,
)
from crewd.store.original import convert, is_original
from crewd.store.output import EXIT_FILE, scrub
from crewd.store.ports import Where
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from crewd.clock import Clock
    from crewd.protocol.home import Home
    from crewd.protocol.ids import IdSource
    from crewd.store.overlay import Overlay

RUNS_MAX = 100_000
"""Ended runs that a prune looks at."""
LEFT_OVER_SECONDS = 3_600.0
"""A bundle that the log does not know after this was not taken in, or has been replaced."""
COLLECT_SECONDS = 600.0
"""Between two looks for blobs that nothing refers to."""
FILES_KEPT = 20
"""Exported bundles, and unfinished uploads, that are kept: the oldest go first."""
_OUTPUT = ("stdout", "stderr")
_SCRUBBED = "scrubbed"
_FILE_NAME = re.compile(r"[a-z]_[0-9a-z]{26}(?:-\d+)?\.zip\Z")
_UPLOAD = re.compile(r"x_[0-9a-z]{26}\Z")


@dataclass(frozen=True, slots=True)
class _Collect:
    pass


@dataclass(frozen=True, slots=True)
class _Tidy:
    pass


@dataclass(slots=True)
class _Job:
    """An answer that waits for the store: appends that are on the way, and what they do when they are durable."""

    keep: Keep
    finish: Callable[[], kp.KeepReply]
    waits: set[int] = field(default_factory=set)


class Keeper(Follower):
    """Answers `Keep`. One request is worked on at a time; waiting for the store holds up nobody."""

    data_max = 1_000

    def __init__(
        self, home: Home, clock: Clock, ids: IdSource, overlay: Overlay, store: Callable[[], Ref[Any]], software: str,
        examine: Examine,
    ) -> None:  # fmt: skip
        super().__init__(overlay, store)
        self._home, self._clock, self._ids, self._store, self._software = home, clock, ids, store, software
        self._examine = examine
        self._jobs: dict[int, _Job] = {}
        self._changing: set[str] = set()
        self._after: dict[int, Callable[[], None]] = {}
        self._refused: dict[int, Callable[[CrewdError], None]] = {}
        self._token = 0

    def on_start(self) -> None:
        """Open a connection of its own, and clear away what a crash has left."""
        self._database = ReadOnly(self._home.database)
        self._library = Library(self._database, self._home.archive, self._home.runs)
        with contextlib.suppress(OSError):  # a disk that is full takes no bundles, and must not keep crewd from starting
            for folder in (self._home.archive, self._home.exports, self._home.imports):
                folder.mkdir(mode=0o700, exist_ok=True)
        self.context.after(0.0, _Tidy())
        self.context.after(COLLECT_SECONDS, _Collect())  # by then each worker that lives has said what it left

    def _tidy(self) -> None:
        """What a crash has left: of runs that are forgotten, of bundles that were replaced, of output that was not scrubbed."""
        with contextlib.suppress(OSError, CrewdError):
            self._clear_up()

    def _clear_up(self) -> None:
        for folder in (self._home.archive, self._home.exports, self._home.imports):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)
        for path in self._home.runs.iterdir() if self._home.runs.is_dir() else ():
            self._clear_away(path.name)
        for marker in self._home.runs.glob(f"*/*/*/{EXIT_FILE}"):
            if not (marker.parent / _SCRUBBED).exists():
                self._scrub(marker.parent)
        long_ago = self._clock.wall() - LEFT_OVER_SECONDS
        for path in self._home.archive.iterdir():
            if not _FILE_NAME.match(path.name):
                continue
            run = path.name.partition("-")[0]
            row = self._database.row(RunRow, run)
            forgotten = row is None and self._database.row(ForgottenRow, run) is not None
            replaced = row is not None and row.archived not in {"", path.name} and (self._home.archive / row.archived).is_file()
            if forgotten or (replaced and path.stat().st_mtime < long_ago):
                path.unlink(missing_ok=True)  # what nothing is known of is left to people

    def on_stop(self) -> None:
        """Close it."""
        if hasattr(self, "_library"):
            self._library.close()

    def receive(self, message: Any) -> None:
        """Do what is asked; what the store says goes on with it."""
        match message:
            case Flushed(stale):
                self.flushed(stale=stale)
            case Keep():
                self.when_flushed(lambda: self._try(message, lambda: self._begin(message)))
            case Committed(token) | Rejected(token) | Known(token) if token in self._jobs:
                self._try(self._jobs[token].keep, lambda: self._heard(token, message))
            case Committed() | Rejected() | Known() | Delayed():
                pass  # after `Delayed`, `Committed` follows
            case _Collect():
                self.when_flushed(self._collect)
            case _Tidy():
                self.when_flushed(self._tidy)
            case Scrub(directory):
                self._scrub(Path(directory))
            case _:
                raise TypeError(f"the keeper does not know {message!r}")

    def _try(self, keep: Keep, act: Callable[[], None]) -> None:
        """Whatever a file or a request holds, its answer is an error, and not the end of everything below this actor."""
        try:
            act()
        except InvariantError as error:
            self._answer(keep, StoreDamaged(f"the log cannot be folded: {error}", hint="see docs/store.md"))
        except CrewdError as error:
            self._answer(keep, error)
        except OSError as error:
            self._answer(keep, Unavailable(f"the disk refuses: {error}", hint="crew doctor"))
        except Exception as error:  # noqa: BLE001 (see above)
            self._answer(keep, Unavailable(f"this cannot be done: {type(error).__name__}: {error}", hint="crew doctor --check"))

    def _scrub(self, directory: Path) -> None:
        """No secret of a worker's output stays in the home; what is marked as done is not looked at again."""
        if self._home.runs not in directory.parents or not directory.is_dir():
            return
        try:
            for name in _OUTPUT:
                with contextlib.suppress(FileNotFoundError):
                    scrub(directory / name)
            (directory / _SCRUBBED).touch(mode=0o600)
        except OSError:
            return  # a link, or a disk that refuses: the next start tries again

    def _begin(self, keep: Keep) -> None:
        match keep.request:
            case kp.Forget() | kp.Archive():
                run = self._run(keep.request.target)
                self._change(keep, [run], archive=isinstance(keep.request, kp.Archive), dry=keep.request.dry_run)
            case kp.Prune():
                self._prune(keep, keep.request)
            case kp.Export(target):
                self._answer(keep, self._export(self._run(target)))
            case kp.GetArtifact():
                self._answer(keep, self._artifact(keep.request))
            case kp.Fetch(name, offset):
                self._answer(keep, self._fetch(name, offset))
            case kp.Upload():
                self._answer(keep, self._upload(keep.request))
            case kp.Import():
                self._import(keep, keep.request)
            case kp.Backup(path):
                self._answer(keep, self._backup(Path(path)))
            case rq.Doctor():
                self._answer(keep, checkup(self._library, self._examine, keep.request))

    def _answer(self, keep: Keep, reply: kp.KeepReply | rq.DoctorReply | CrewdError) -> None:
        keep.reply_to.offer(Answer(keep.token, reply), lane=Lane.CONTROL)

    def _run(self, run: str) -> RunRow:
        row = self._library.row(RunRow, run)
        if row is None:
            raise NotFound(f"no run has the id {run}")
        return row

    # -- forgetting and archiving -------------------------------------------------------------------------------

    def _prune(self, keep: Keep, prune: kp.Prune) -> None:
        if prune.older_seconds < 0 or prune.keep < 0:
            raise UsageError("what is to be pruned is older than some time, and some may be kept", hint="--older-than 30d")
        ended = [run for run in self._library.runs(ended=True, limit=RUNS_MAX) if run.status in RUN_TERMINAL]
        mine = [run for run in ended if prune.everyone or run.owner in {"", keep.owner}]
        before = self._clock.wall() - prune.older_seconds
        chosen = [run for run in mine[prune.keep :] if (run.ended_at or run.created_at) <= before]
        self._change(keep, chosen, archive=prune.archive, dry=prune.dry_run, careful=True)

    def _change(self, keep: Keep, runs: Sequence[RunRow], *, archive: bool, dry: bool, careful: bool = False) -> None:
        """Forget or archive these runs. `careful`: not those that somebody still has to look at."""
        done: list[kp.Kept] = []
        job = _Job(keep, lambda: kp.KeptReply(tuple(sorted(done, key=lambda each: each.run)), dry_run=dry))
        for run in runs:
            count = 0
            why = self._why_kept(run, archive=archive, careful=careful)
            with contextlib.suppress(StoreDamaged):  # a bundle that is gone must not keep its run for ever
                count = self._library.size_of(run.id)[0]
            if why or dry:
                action: Literal["kept", "archived", "forgotten"] = "kept" if why else "archived" if archive else "forgotten"
                done.append(kp.Kept(run.id, run.name, action, why, count))
            elif run.id in self._changing:
                done.append(kp.Kept(run.id, run.name, "kept", "something is done with it already", count))
            else:
                try:
                    (self._archive if archive else self._forget)(job, run, done)
                except (CrewdError, OSError, ValueError) as error:  # the others go on
                    done.append(kp.Kept(run.id, run.name, "kept", str(error), count))
        self._settle(job)

    def _why_kept(self, run: RunRow, *, archive: bool, careful: bool) -> str:
        if run.status not in RUN_TERMINAL:
            return f"it is {run.status}"
        if archive and run.archived:
            return "it is archived already"
        if (careful or archive) and not run.archived:
            if any(task.dead == "open" for task in self._library.rows_of(TaskRow, run.id, RUNS_MAX)):
                return "it has dead letters: crew retry, or crew dismiss"
            if any(row.direction == "out" and row.unread for row in self._library.rows_of(MessageRow, run.id, RUNS_MAX)):
                return "its workers said something that nobody has read: crew inbox"
        return ""

    def _gone_with(self, run: RunRow) -> int:
        """How many events the log has lost when this run is gone, those included that it was to lose before."""
        before = self._database.events(limit=1 << 31, where=Where(run.id, types=frozenset({type_of_class(RunArchived)})))
        last = before[-1] if before else None
        if last is None or not isinstance(last.body, RunArchived):
            return self._database.count_events(run.id, 0)
        return last.body.events + self._database.count_events(run.id, last.seq)

    def _forget(self, job: _Job, run: RunRow, done: list[kp.Kept]) -> None:
        intent = clip(getattr(job.keep.request, "intent", ""), NOTE_CHARS_MAX)
        guard = Removal(run.id, self._database.last_seq_of_run(run.id))  # what comes after this look makes the store refuse
        events, keys = self._gone_with(run), self._noted(run)
        body = RunForgotten(name=run.name, owner=run.owner, by=job.keep.owner, intent=intent, events=events)

        def durable() -> None:
            self._clear_away(run.id)
            for key in keys:
                self._store().tell(Put(f"archived:{key}", None))
            done.append(kp.Kept(run.id, run.name, "forgotten", events=events))

        self._remove(job, run, body, guard, durable, done)

    def _noted(self, run: RunRow) -> list[str]:
        """The ids under which messages and questions of an archived run are found."""
        if not run.archived:
            return []
        with contextlib.suppress(CrewdError), contextlib.closing(Bundle(self._bundle_of(run))) as bundle:
            keys = [row.receipt.id for row in bundle.rows_of(MessageRow, run.id, 1 << 31)]
            return keys + [row.id for row in bundle.rows_of(AskRow, run.id, 1 << 31)]
        return []

    def _archive(self, job: _Job, run: RunRow, done: list[kp.Kept]) -> None:
        path = self._new_bundle(run.id)
        guard, events = self._write(path, run)
        try:
            with contextlib.closing(Bundle(path)) as bundle:
                bundle.verify()  # before anything that is in it leaves the database
        except UsageError:
            path.unlink()
            raise
        intent = clip(getattr(job.keep.request, "intent", ""), NOTE_CHARS_MAX)
        body = RunArchived(row=run, bundle=path.name, sha256=_digest(path), events=events, by=job.keep.owner, intent=intent)
        self._note_ids(Bundle(path), run.id)

        def durable() -> None:
            self._clear_away(run.id)
            done.append(kp.Kept(run.id, run.name, "archived", events=events))

        self._remove(job, run, body, guard, durable, done)

    def _new_bundle(self, run: str) -> Path:
        """A name that no bundle of the archive has: one that is there may be in the log, or on its way into it."""
        number = self._database.last_seq()
        while (path := self._home.archive / f"{run}-{number}.zip").exists():
            number += 1
        return path

    def _write(self, path: Path, run: RunRow) -> tuple[Removal, int]:
        """Write the bundle of a run: its events and rows are of one moment. On what it relies, and what goes with the run."""
        home = self._home
        self._database.snapshot()
        try:
            guard = Removal(run.id, self._database.last_seq_of_run(run.id), archive=True)
            write_bundle(path, self._database, run, home.run_directory(run.id), self._software, blobs=home.blobs)
            return guard, self._gone_with(run)
        finally:
            self._database.release()

    def _note_ids(self, bundle: Bundle, run: str) -> None:
        """Receipts and questions are found by their ids for ever after: in which bundle each of them is."""
        with contextlib.closing(bundle):
            keys = [row.receipt.id for row in bundle.rows_of(MessageRow, run, 1 << 31)]
            keys += [row.id for row in bundle.rows_of(AskRow, run, 1 << 31)]
        for key in keys:
            if f"archived:{key}" not in self._database.latest(f"archived:{key}"):
                self._store().tell(Put(f"archived:{key}", run.encode()))

    def _remove(
        self, job: _Job, run: RunRow, body: RunForgotten | RunArchived, guard: Removal, durable: Callable[[], None],
        done: list[kp.Kept],
    ) -> None:  # fmt: skip
        self._changing.add(run.id)

        def act() -> None:
            self._changing.discard(run.id)
            durable()

        def refused(error: CrewdError) -> None:
            self._changing.discard(run.id)
            if isinstance(body, RunArchived):
                (self._home.archive / body.bundle).unlink(missing_ok=True)
            done.append(kp.Kept(run.id, run.name, "kept", error.message))

        self._send(job, Draft(body, run.id, provenance=f"client:{job.keep.owner}"), guard, act, refused)

    def _send(
        self, job: _Job, draft: Draft, guard: Removal | Arrival, durable: Callable[[], None],
        refused: Callable[[CrewdError], None],
    ) -> None:  # fmt: skip
        self._token += 1
        job.waits.add(self._token)
        self._jobs[self._token], self._after[self._token], self._refused[self._token] = job, durable, refused
        self._store().tell(Append((draft,), self.ref, self._token, guard))

    def _heard(self, token: int, answer: Committed | Rejected | Known) -> None:
        job, durable, refused = self._jobs.pop(token), self._after.pop(token), self._refused.pop(token)
        job.waits.discard(token)
        if isinstance(answer, Rejected):
            refused(answer.error)
        else:
            durable()
        self._settle(job)

    def _settle(self, job: _Job) -> None:
        if not job.waits:
            try:
                self._answer(job.keep, job.finish())
            except CrewdError as error:
                self._answer(job.keep, error)

    def _clear_away(self, run: str) -> None:
        """The files of a run that is forgotten, or in a bundle: the log has said so."""
        row = self._database.row(RunRow, run)
        if row is None and self._database.row(ForgottenRow, run) is None:
            return
        if row is None or row.archived:
            shutil.rmtree(self._home.run_directory(run), ignore_errors=True)
            for path in self._home.archive.glob(f"{run}-*.zip"):
                if row is None or path.name != row.archived:
                    path.unlink(missing_ok=True)

    # -- bundles that come and go -------------------------------------------------------------------------------

    def _export(self, run: RunRow) -> kp.BundleReply:
        if run.status not in RUN_TERMINAL:
            raise Refused(f"run {run.name} is {run.status}", hint="crew wait, or crew cancel", reason="live")
        name = f"{run.id}-{self._library.last_seq()}.zip"
        path = self._home.exports / name
        self._keep_few(self._home.exports)
        if run.archived:
            shutil.copyfile(self._bundle_of(run), path)
        else:
            self._write(path, run)
        with contextlib.closing(Bundle(path)) as bundle:
            bundle.verify()
            return kp.BundleReply(name, path.stat().st_size, _digest(path), bundle.manifest.events)

    def _bundle_of(self, run: RunRow) -> Path:
        path = self._home.archive / run.archived
        if not path.is_file():
            raise StoreDamaged(f"the bundle of {run.name} is not there: {path}", hint=HINT)
        return path

    def _keep_few(self, folder: Path) -> None:
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - FILES_KEPT + 1)]:
            path.unlink(missing_ok=True)

    def _fetch(self, name: str, offset: int) -> kp.ChunkReply:
        if not _FILE_NAME.match(name):
            raise UsageError(f"{name[:80]!r} is no exported bundle")
        try:
            with (self._home.exports / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(min(max(0, offset), size))
                data = file.read(kp.CHUNK_BYTES_MAX)
                return kp.ChunkReply(data, file.tell(), size)
        except FileNotFoundError:
            raise NotFound(f"the bundle {name} is not here any more", hint="export it again") from None

    def _upload(self, piece: kp.Upload) -> kp.ChunkReply:
        path = self._uploaded(piece.upload)
        if piece.offset == 0 and not path.exists():
            self._keep_few(self._home.imports)
        if len(piece.data) > kp.CHUNK_BYTES_MAX or piece.offset + len(piece.data) > BUNDLE_BYTES_MAX:
            raise UsageError("the piece, or the file, is too large", hint=f"pieces of {kp.CHUNK_BYTES_MAX} bytes")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if not 0 <= piece.offset <= size:
                raise UsageError(f"the upload has {size} bytes, this piece begins at {piece.offset}", hint="go on from there")
            file.seek(piece.offset)
            file.write(piece.data)
            file.truncate()
            return kp.ChunkReply(b"", file.tell(), file.tell())

    def _uploaded(self, upload: str) -> Path:
        if not _UPLOAD.match(upload):
            raise UsageError(f"{upload[:80]!r} is no id of an upload", hint="x_ and 26 characters")
        return self._home.imports / upload

    def _import(self, keep: Keep, order: kp.Import) -> None:
        path = self._uploaded(order.upload)
        if not path.is_file():
            raise NotFound("nothing was uploaded under this id")
        try:
            self._take_apart(keep, order, path)
        except CrewdError:
            self._discard(path)
            raise

    def _take_apart(self, keep: Keep, order: kp.Import, path: Path) -> None:
        if is_original(path):
            made = path.with_name(f"{path.name}.zip")
            convert(path, made, self._software)
            made.replace(path)
        digest = _digest(path)
        with contextlib.closing(Bundle(path)) as bundle:
            row, manifest = bundle.verify(), bundle.manifest
        if row.status not in RUN_TERMINAL:
            raise Refused(f"run {row.name} had not ended when it was exported", reason="live")
        there, gone = self._library.row(RunRow, row.id), self._library.row(ForgottenRow, row.id)
        if there is not None and self._same(there, path):
            self._discard(path)
            self._answer(keep, kp.ImportReply(None, identical=True))
            return
        conflicts = self._conflicts(row, there, gone, manifest.schema)
        serious = [each for each in conflicts if each.kind != "drift"]
        if order.dry_run or (serious and order.on_conflict in {"refuse", "skip"}):
            self._discard(path)
            self._answer(keep, kp.ImportReply(None, tuple(conflicts)))
            return
        if serious and order.on_conflict == "overwrite":
            self._check_overwrite(keep, order, row, there)
        if serious and order.on_conflict == "rename":
            run = self._ids.next(RUN) if there is not None or gone is not None else row.id
            row = replace(row, id=run, name=self._free_name(row.name))
            path, digest = self._rename(path, manifest.run, run)
        self._take_in(keep, row, path, digest, tuple(conflicts), replaces=bool(serious) and order.on_conflict == "overwrite")

    def _same(self, there: RunRow, path: Path) -> bool:
        """Whether the run that is here is the very one in the bundle: the same events, whatever else there is around them."""
        with contextlib.closing(Bundle(path)) as bundle:
            if self._library.size_of(there.id)[0] != bundle.manifest.events:
                return False
            after = 0
            while page := bundle.events(after=after, limit=1_000):
                if page != self._library.events(after=after, limit=1_000, where=Where(there.id)):
                    return False
                after = page[-1].seq
            return True

    def _conflicts(self, row: RunRow, there: RunRow | None, gone: ForgottenRow | None, schema: int) -> list[kp.Conflicting]:
        found: list[kp.Conflicting] = []
        if there is not None:
            found.append(kp.Conflicting("overwrite", f"run {row.id} is here, as {there.name}"))
            found.append(kp.Conflicting("mismatch", "its events are not those of the bundle"))
        elif any(run.name == row.name and run.id != row.id for run in self._library.runs_matching(row.name, 2)):
            found.append(kp.Conflicting("name", f"another run has the name {row.name}"))
        if gone is not None:
            found.append(kp.Conflicting("forgotten", f"it was forgotten by {gone.by}: {gone.intent or 'no reason given'}"))
        if schema < len(MIGRATIONS):
            found.append(kp.Conflicting("drift", f"its rows are of version {schema}, these here of {len(MIGRATIONS)}"))
        return found

    def _check_overwrite(self, keep: Keep, order: kp.Import, row: RunRow, there: RunRow | None) -> None:
        if there is None:
            why = "its name is taken, or it was forgotten: what is gone does not come back under its id"
            raise Refused(f"run {row.name} cannot replace anything: {why}", hint="--on-conflict rename", reason="conflict")
        if there.status not in RUN_TERMINAL:
            raise Refused(f"run {there.name} is {there.status}", hint="crew wait, or crew cancel", reason="live")
        if there.owner not in {"", keep.owner} and not (keep.force and order.intent.strip()):
            raise Forbidden(f"run {there.name} belongs to {there.owner}", hint="--force with an --intent, if you are sure")

    def _free_name(self, name: str) -> str:
        taken = {run.name for run in self._library.runs(ended=True, limit=RUNS_MAX)}
        if name not in taken:
            return name
        return next(each for number in range(2, RUNS_MAX + 3) if (each := f"{name[:56]}-{number}") not in taken)

    def _rename(self, path: Path, old: str, new: str) -> tuple[Path, str]:
        if old == new:
            return path, _digest(path)
        made = path.with_name(f"{path.name}.zip")
        renamed(path, made, old, new)
        self._discard(path)
        return made, _digest(made)

    def _take_in(
        self, keep: Keep, row: RunRow, path: Path, digest: str, conflicts: tuple[kp.Conflicting, ...], *, replaces: bool
    ) -> None:
        name = self._new_bundle(row.id).name
        taken_in = replace(row, owner=keep.owner, archived="")
        with path.open("rb") as file:
            os.fsync(file.fileno())
        last_seq = self._database.last_seq_of_run(row.id)
        events = self._gone_with(row) if replaces else 0
        intent = clip(getattr(keep.request, "intent", ""), NOTE_CHARS_MAX)
        body = RunArchived(row=taken_in, bundle=name, sha256=digest, events=events, by=keep.owner, intent=intent)
        outcome: list[kp.ImportReply | CrewdError] = []

        def finish() -> kp.KeepReply:
            if isinstance(outcome[0], CrewdError):
                raise outcome[0]
            return outcome[0]

        def durable() -> None:
            self._clear_away(row.id)
            outcome.append(kp.ImportReply(replace(taken_in, archived=name), conflicts))

        def refused(error: CrewdError) -> None:
            (self._home.archive / name).unlink(missing_ok=True)
            outcome.append(error)

        path.replace(self._home.archive / name)
        sync_directory(self._home.archive)
        self._note_ids(Bundle(self._home.archive / name), row.id)
        job = _Job(keep, finish)
        draft = Draft(body, row.id, provenance=f"client:{keep.owner}")
        self._send(job, draft, Arrival(row.id, taken_in.name, replaces, last_seq), durable, refused)

    def _discard(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _artifact(self, wanted: kp.GetArtifact) -> kp.ArtifactReply:
        run, _, step = wanted.target.partition("/")
        rows = self._library.rows_of(ArtifactRow, run, RUNS_MAX)
        mine = [row for row in rows if wanted.name in {row.name, row.id} and wanted.target in {row.run, row.task}]
        if not mine:
            names = ", ".join(sorted({row.name for row in rows})[:20]) or "none"
            raise NotFound(f"{step or 'the run'} has left no artifact {wanted.name[:80]!r}", hint=f"there are: {names}")
        row, offset = mine[-1], max(0, wanted.offset)
        if row.data or not row.size:
            data = row.data[offset : offset + kp.CHUNK_BYTES_MAX]
            return kp.ArtifactReply(row, data, min(offset + len(data), row.size))
        found = read_blob(self._home.blobs, row.sha256, offset, kp.CHUNK_BYTES_MAX)
        if found is None:  # of an archived run, or left before there were blobs
            bundle = self._library.bundle(run)
            if bundle is None and (not _is_file(Path(row.path)) or self._home.runs not in Path(row.path).parents):
                raise NotFound(f"the artifact {row.name} is not here any more", hint="it was deleted by hand, or never written")
            blob = None if bundle is None else bundle.output(f"blobs/{row.sha256}", offset, kp.CHUNK_BYTES_MAX)
            piece = (
                blob
                if blob is not None and blob.size
                else self._library.output(
                    run, str(Path(row.path).parent.parent), f"artifacts/{row.name}", offset, kp.CHUNK_BYTES_MAX
                )
            )
            found = piece.data, piece.size
        if found[1] != row.size:
            raise NotFound(f"the artifact {row.name} is not here any more", hint="it was deleted by hand, or never written")
        return kp.ArtifactReply(row, found[0], offset + len(found[0]))

    def _collect(self) -> None:
        """Blobs that nothing refers to any more are deleted, now and then."""
        self.context.after(COLLECT_SECONDS, _Collect())
        with contextlib.suppress(OSError, StoreUnavailable):
            collect(self._home.blobs, self._clock.wall(), lambda sha256: bool(self._database.rows_with(ArtifactRow, sha256, 1)))

    # -- the whole home -----------------------------------------------------------------------------------------

    def _backup(self, path: Path) -> kp.BackupReply:
        if not path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{path} is not an absolute path")
        try:
            path.mkdir(mode=0o700)
            (path / "archive").mkdir(mode=0o700)
        except FileExistsError:
            raise UsageError(f"{path} exists", hint="a backup is a new directory") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error}") from None
        try:
            self._database.backup(path / "crewd.db")
            copy = ReadOnly(path / "crewd.db")
            try:
                differences, events = rebuild(copy)
                archived = [run for run in copy.runs(ended=True, limit=1 << 31) if run.archived]
            finally:
                copy.close()
            if differences:
                raise StoreUnavailable(f"the backup is not what it must be: {differences[0]}", hint="crew doctor --rebuild")
            for run in archived:
                with contextlib.closing(Bundle(self._bundle_of(run))):
                    shutil.copyfile(self._bundle_of(run), path / "archive" / run.archived)
            size = 0
            for each in (path / "crewd.db", *(path / "archive" / run.archived for run in archived)):
                with each.open("rb") as file:
                    size += os.fstat(file.fileno()).st_size
                    os.fsync(file.fileno())
            for folder in (path / "archive", path, path.parent):
                sync_directory(folder)
        except (CrewdError, OSError):
            shutil.rmtree(path, ignore_errors=True)
            raise
        return kp.BackupReply(str(path), events, size, len(archived))


def _is_file(path: Path) -> bool:
    """Whether it is a regular file, and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and ".." not in path.parts
    except OSError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
