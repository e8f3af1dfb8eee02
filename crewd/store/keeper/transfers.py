"""Bundles that come and go: export and fetch, upload and import.

Tests: tests/test_keeping.py, tests/hostile/test_bundles.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crewd.model.errors import CrewdError, Forbidden, NotFound, Refused, Unavailable, UsageError
from crewd.model.events import Draft, RunArchived
from crewd.model.ids import RUN
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.model.rows import ForgottenRow, RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.private_files import open_plain
from crewd.protocol import keeping as kp
from crewd.store.bundle import BUNDLE_BYTES_MAX, Bundle, renamed, sync_directory
from crewd.store.keeper.archives import Archives, digest_of
from crewd.store.keeper.jobs import Job, Jobs
from crewd.store.keeper.removal import RUNS_MAX
from crewd.store.messages import Arrival, Keep
from crewd.store.original import convert, is_original
from crewd.store.ports import FREE_SPACE, Where
from crewd.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from crewd.model.ids import IdSource

FILES_KEPT = 20
"""Exported bundles, and unfinished uploads, that are kept: the oldest go first."""
FILE_NAME = re.compile(r"[a-z]_[0-9a-z]{26}(?:-\d+)?\.zip\Z")
ROOM_LEFT_BYTES = 32 << 20
"""Left on the disk after each piece that is uploaded: twice the home's reserve, so that events can still be written."""
_UPLOAD = re.compile(r"x_[0-9a-z]{26}\Z")


class Transfers:
    """Writes bundles for others, and takes in theirs after it has looked at everything in them."""

    def __init__(self, archives: Archives, jobs: Jobs, ids: IdSource) -> None:
        self._archives, self._jobs, self._ids = archives, jobs, ids

    def export(self, run: RunRow) -> kp.BundleReply:
        """Write the bundle of an ended run, to be fetched."""
        if run.status not in RUN_TERMINAL:
            raise Refused(f"run {run.name} is {run.status}", hint="crew wait, or crew cancel", reason="live")
        self._archives.check_room()
        name = f"{run.id}-{self._archives.library.last_seq()}.zip"
        path = self._archives.home.exports / name
        self._keep_few(self._archives.home.exports)
        try:
            if run.archived:
                shutil.copyfile(self._archives.bundle_of(run), path)
            else:
                self._archives.write(path, run)
            with contextlib.closing(Bundle(path)) as bundle:
                bundle.verify()
                return kp.BundleReply(name, path.stat().st_size, digest_of(path), bundle.manifest.events, bundle.manifest.lost)
        except BaseException:
            path.unlink(missing_ok=True)  # no disk is filled with what is not whole
            raise

    def _keep_few(self, folder: Path) -> None:
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - FILES_KEPT + 1)]:
            path.unlink(missing_ok=True)

    def fetch(self, name: str, offset: int) -> kp.ChunkReply:
        """A piece of a bundle that was exported."""
        if not FILE_NAME.match(name):
            raise UsageError(f"{name[:80]!r} is no exported bundle")
        try:
            with open_plain(self._archives.home.exports / name) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(min(max(0, offset), size))
                data = file.read(kp.CHUNK_BYTES_MAX)
                return kp.ChunkReply(data, file.tell(), size)
        except FileNotFoundError:
            raise NotFound(f"the bundle {name} is not here any more", hint="export it again") from None

    def upload(self, piece: kp.Upload) -> kp.ChunkReply:
        """Keep a piece of a file on its way in; the answer says where the next one begins."""
        path = self._uploaded(piece.upload)
        self._archives.check_room()
        if piece.offset == 0 and not path.exists():
            self._keep_few(self._archives.home.imports)
        if len(piece.data) > kp.CHUNK_BYTES_MAX or piece.offset + len(piece.data) > BUNDLE_BYTES_MAX:
            raise UsageError("the piece, or the file, is too large", hint=f"pieces of {kp.CHUNK_BYTES_MAX} bytes")
        if shutil.disk_usage(path.parent).free - len(piece.data) < ROOM_LEFT_BYTES:
            path.unlink(missing_ok=True)  # what cannot be whole takes no room
            left = f"{ROOM_LEFT_BYTES >> 20} MiB"
            raise Unavailable(f"the disk has no room for this: {left} are kept for what runs", hint=FREE_SPACE)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if not 0 <= piece.offset <= size:
                raise UsageError(f"the upload has {size} bytes, this piece begins at {piece.offset}", hint="go on from there")
            file.seek(piece.offset)
            file.write(piece.data)
            file.truncate()
            return kp.ChunkReply(b"", file.tell(), file.tell())

    def clear_uploads(self, before: float) -> None:
        """Delete uploads that nobody has gone on with since then."""
        for path in self._archives.home.imports.iterdir():
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)

    def _uploaded(self, upload: str) -> Path:
        if not _UPLOAD.match(upload):
            raise UsageError(f"{upload[:80]!r} is no id of an upload", hint="x_ and 26 characters")
        return self._archives.home.imports / upload

    def take(self, keep: Keep, order: kp.Import) -> None:
        """Import what was uploaded, if everything in it is what it must be and nothing stands in the way."""
        path = self._uploaded(order.upload)
        if not path.is_file():
            raise NotFound("nothing was uploaded under this id")
        try:
            self._take_apart(keep, order, path)
        except Exception:  # whatever was wrong with it, it was uploaded in vain
            self._discard(path)
            self._discard(path.with_name(f"{path.name}.zip"))
            raise

    def _take_apart(self, keep: Keep, order: kp.Import, path: Path) -> None:
        if is_original(path):
            made = path.with_name(f"{path.name}.zip")
            convert(path, made, self._archives.software)
            made.replace(path)
        digest = digest_of(path)
        with contextlib.closing(Bundle(path)) as bundle:
            row, manifest = bundle.verify(), bundle.manifest
        if row.status not in RUN_TERMINAL:
            raise Refused(f"run {row.name} had not ended when it was exported", reason="live")
        there, gone = self._archives.library.row(RunRow, row.id), self._archives.library.row(ForgottenRow, row.id)
        same = there is not None and self._same(there, path)
        if same and order.on_conflict != "rename":
            self._discard(path)
            self._jobs.answer(keep, kp.ImportReply(None, identical=True))
            return
        conflicts = self._conflicts(row, there, gone, manifest.schema, same=same)
        serious = [each for each in conflicts if each.kind != "drift"]
        if order.dry_run or (serious and order.on_conflict in {"refuse", "skip"}):
            self._discard(path)
            self._jobs.answer(keep, kp.ImportReply(None, tuple(conflicts)))
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
            if self._archives.library.size_of(there.id)[0] != bundle.manifest.events:
                return False
            after = 0
            while page := bundle.events(after=after, limit=1_000):
                if page != self._archives.library.events(after=after, limit=1_000, where=Where(there.id)):
                    return False
                after = page[-1].seq
            return True

    def _conflicts(
        self, row: RunRow, there: RunRow | None, gone: ForgottenRow | None, schema: int, *, same: bool
    ) -> list[kp.Conflicting]:  # fmt: skip
        found: list[kp.Conflicting] = []
        if there is not None:
            found.append(kp.Conflicting("overwrite", f"run {row.id} is here, as {there.name}"))
            found += [] if same else [kp.Conflicting("mismatch", "its events are not those of the bundle")]
        elif any(run.name == row.name and run.id != row.id for run in self._archives.library.runs_matching(row.name, 2)):
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
        taken = {run.name for run in self._archives.library.runs(ended=True, limit=RUNS_MAX)}
        if name not in taken:
            return name
        return next(each for number in range(2, RUNS_MAX + 3) if (each := f"{name[:56]}-{number}") not in taken)

    def _rename(self, path: Path, old: str, new: str) -> tuple[Path, str]:
        if old == new:
            return path, digest_of(path)
        made = path.with_name(f"{path.name}.zip")
        renamed(path, made, old, new)
        self._discard(path)
        return made, digest_of(made)

    def _take_in(
        self, keep: Keep, row: RunRow, path: Path, digest: str, conflicts: tuple[kp.Conflicting, ...], *, replaces: bool
    ) -> None:
        name = self._archives.new_bundle(row.id).name
        taken_in = replace(row, owner=keep.owner, archived="")
        with open_plain(path) as file:
            os.fsync(file.fileno())
        last_seq = self._archives.database.last_seq_of_run(row.id)
        events = self._archives.gone_with(row) if replaces else 0
        intent = clip(getattr(keep.request, "intent", ""), NOTE_CHARS_MAX)
        body = RunArchived(row=taken_in, bundle=name, sha256=digest, events=events, by=keep.owner, intent=intent)
        outcome: list[kp.ImportReply | CrewdError] = []

        def finish() -> kp.KeepReply:
            if isinstance(outcome[0], CrewdError):
                raise outcome[0]
            return outcome[0]

        def durable() -> None:
            self._archives.clear_away(row.id, name)
            outcome.append(kp.ImportReply(replace(taken_in, archived=name), conflicts))

        def refused(error: CrewdError) -> None:
            (self._archives.home.archive / name).unlink(missing_ok=True)
            outcome.append(error)

        path.replace(self._archives.home.archive / name)
        sync_directory(self._archives.home.archive)
        self._archives.note_ids(Bundle(self._archives.home.archive / name), row.id)
        job = Job(keep, finish)
        draft = Draft(body, row.id, provenance=f"client:{keep.owner}")
        self._jobs.send(job, draft, Arrival(row.id, taken_in.name, replaces, last_seq), durable, refused)

    def _discard(self, path: Path) -> None:
        path.unlink(missing_ok=True)
