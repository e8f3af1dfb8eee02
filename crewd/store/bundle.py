"""A run in one file: its events, its rows, what its workers left, and a manifest that names each part with its hash.

A bundle is a zip file, so that anybody can look into it. Its parts are `events/NNNNNN.jsonl` (a thousand events each),
`rows/TABLE.jsonl` (a line is a key and a row), and `files/...` (the run's directory). What comes from elsewhere is looked at
before anything of it is used: names, sizes, hashes, ids, versions, and that the rows are the fold of the events.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from crewd.model.errors import InvariantError, NotFound, Unavailable, UsageError
from crewd.model.events import Event, with_foreign
from crewd.model.ids import RUN, check_run_name, is_id
from crewd.model.rows import ArtifactRow, ClientRow, ForgottenRow, MessageRow, RunRow
from crewd.private_files import check_plain
from crewd.protocol.files import Piece
from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import R, Row, fold
from crewd.store.ports import EVERYWHERE, LOOK_AT_DISK, Where
from crewd.store.run_files import RunFiles
from crewd.store.schema import MIGRATIONS, TABLES

FORMAT = "crewd-bundle"
VERSION = 1
EVENTS_PER_PART = 1_000
PART_BYTES_MAX = 256 << 20
"""One part, unpacked: an attempt's output is at most 64 MiB a stream unless its limits say more."""
BUNDLE_BYTES_MAX = 4 << 30
"""All parts, unpacked (a run's output is at most 4 GiB)."""
MEMORY_BYTES_FREE = 8 << 20
MEMORY_BYTES_PER_BYTE = 50
"""What is read into memory as a whole (events, rows, the manifest) has at most so many bytes, unpacked, and so many for each
byte of the file: a file of some kilobytes must not become gigabytes. crewd's own JSON is packed to a tenth or twentieth."""
SEQ_MAX = 1 << 62
PARTS_MAX = 100_000
_NAME = re.compile(r"(?:manifest\.json|events/\d{6}\.jsonl|rows/[a-z]+\.jsonl|(?:files|original)/[^\0]+)")
_FILES = ("files/", "original/")
_CHUNK = 1 << 20
BROKEN = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError)
"""What the zip library raises for one that is damaged, encrypted, or packed in a way that it does not know."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What is raised for JSON that is none, or that is nested too deep."""
_NOT_KEPT = frozenset({b"lock", b"scrubbed"})
_KINDS: tuple[Any, ...] = tuple(kind for kind in TABLES if kind not in {ClientRow, ForgottenRow})


class BundlePart(msgspec.Struct, frozen=True):
    """A part of a bundle. `offset`: where in the worker's file its bytes begin (what came before was given up)."""

    sha256: str
    size: int
    offset: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle holds. `schema` is the version of the rows. `lost`: artifacts that were not there to be put into it."""

    run: str
    name: str
    status: str
    events: int
    first_seq: int
    last_seq: int
    bytes: int
    parts: dict[str, BundlePart]
    format: str = FORMAT
    version: int = VERSION
    schema: int = len(MIGRATIONS)
    software: str = ""
    lost: tuple[str, ...] = ()


class BundleSource(Protocol):
    """What a bundle is written from: what `Reading` says of these."""

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """See `Reading`."""
        ...

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """See `Reading`."""
        ...

    def size_of(self, run: str) -> tuple[int, int]:
        """See `Reading`."""
        ...


def write_bundle(
    path: Path, database: BundleSource, run: RunRow, files: RunFiles | None, software: str,
    extra: Mapping[str, bytes] | None = None,
) -> Manifest:  # fmt: skip
    """Write the run as it is now, wholly or not at all; the file is on disk when this returns.

    `files`: those of runs, if it has any; `extra`: parts besides. Raises Unavailable if the disk or the guardian refuses,
    UsageError if the run is larger than a bundle may be.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            manifest = _Writer(file, database, run, files).write(software, extra or {})
            if not _fits(sum(part.size for name, part in manifest.parts.items() if not name.startswith(_FILES)), file.tell()):
                file.truncate(0)  # it says the same again and again, and would be taken for a trap
                file.seek(0)
                manifest = _Writer(file, database, run, files, zipfile.ZIP_STORED).write(software, extra or {})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except FileExistsError:
        raise Unavailable(f"{path.name} is being written already", hint="try again") from None
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Unavailable(f"the bundle {path} cannot be written: {error.strerror}", hint=LOOK_AT_DISK) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return manifest


def sync_directory(path: Path) -> None:
    """Make a new name in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Writer:
    """`packing` is that of events and rows; files are always packed."""

    def __init__(
        self, file: IO[bytes], database: BundleSource, run: RunRow, files: RunFiles | None, packing: int = zipfile.ZIP_DEFLATED
    ) -> None:
        self._packing = packing
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self._database, self._run, self._files = database, run, files
        self._parts: dict[str, BundlePart] = {}
        self._size = 0
        self._lost: list[str] = []

    def write(self, software: str, extra: Mapping[str, bytes]) -> Manifest:
        seqs: list[int] = []
        after = 0
        for number in itertools.count():
            page = self._database.events(after=after, limit=EVENTS_PER_PART, where=Where(self._run.id))
            if not page:
                break
            after = page[-1].seq
            seqs += (page[0].seq, after)
            self._add(f"events/{number:06}.jsonl", (msgspec.json.encode(event) + b"\n" for event in page))
        count, size = self._database.size_of(self._run.id)
        for kind in _KINDS:
            rows = self._database.rows_of(kind, self._run.id, 1 << 31)
            if rows:
                self._add(f"rows/{TABLES[kind]}.jsonl", (msgspec.json.encode(row) + b"\n" for row in rows))
        if self._files is not None:
            self._add_files(self._files)
        for name, data in sorted(extra.items()):
            self._add(name, iter([data]))
        manifest = Manifest(
            run=self._run.id, name=self._run.name, status=self._run.status.value, events=count,
            first_seq=seqs[0] if seqs else 0, last_seq=seqs[-1] if seqs else 0, bytes=size, parts=self._parts,
            software=software, lost=tuple(self._lost),
        )  # fmt: skip
        self._zip.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        self._zip.close()
        return manifest

    def _add_files(self, files: RunFiles) -> None:
        artifacts = self._database.rows_of(ArtifactRow, self._run.id, 1 << 31)
        last = {row.path: row for row in artifacts}
        left_out = {_place(row).encode() for row in last.values() if row.retention == "temporary"}
        for row in artifacts:  # a later one of the same name has taken its place in the directory
            name = f"files/blobs/{row.sha256}"
            if not row.data and row is not last[row.path] and row.retention != "temporary" and name not in self._parts:
                chunks = files.blob_chunks(row.sha256)
                if chunks is not None:
                    self._add(name, chunks)
        for path in files.files(self._run.id):
            if path in left_out or path.rpartition(b"/")[2] in _NOT_KEPT:
                continue
            with contextlib.suppress(NotFound):
                offset, chunks = files.chunks(self._run.id, path)
                self._add(_part(path), chunks, offset)
        for row in last.values():
            if row.retention != "temporary" and not row.data and self._digest(_part(_place(row).encode())) != row.sha256:
                self._add_blob(files, row)

    def _add_blob(self, files: RunFiles, row: ArtifactRow) -> None:
        """Somebody has removed or changed the file of an artifact in its run's directory: its blob may be whole."""
        name = f"files/blobs/{row.sha256}"
        if name not in self._parts and files.digest_of_blob(row.sha256) == row.sha256:
            chunks = files.blob_chunks(row.sha256)
            if chunks is not None:
                self._add(name, chunks)
        if self._digest(name) != row.sha256:
            self._lost.append(f"{row.name} of {row.task}")

    def _digest(self, name: str) -> str:
        return self._parts[name].sha256 if name in self._parts else ""

    def _add(self, name: str, chunks: Iterator[bytes], offset: int = 0) -> None:
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if name.startswith(_FILES) else self._packing
        with self._zip.open(info, "w", force_zip64=True) as part:
            for chunk in chunks:
                part.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                self._size += len(chunk)
                if size > PART_BYTES_MAX or self._size > BUNDLE_BYTES_MAX or len(self._parts) >= PARTS_MAX:
                    raise UsageError(f"run {self._run.name} is too large for a bundle", hint="it stays where it is")
        self._parts[name] = BundlePart(digest.hexdigest(), size, offset)


def _part(path: bytes) -> str:
    """The name in a bundle of a file of the run's directory."""
    return "files/" + path.decode("utf-8", "replace").replace("\\", "_")


def _place(row: ArtifactRow) -> str:
    """The name of an artifact's file in its run's directory."""
    return f"{row.task.partition('/')[2]}/{row.epoch}/artifacts/{row.name}"


class Bundle:
    """A bundle that is read. Only the parts that are asked for are unpacked. Raises UsageError for what is no bundle."""

    def __init__(self, path: Path) -> None:
        try:
            check_plain(path)
            self._zip = zipfile.ZipFile(path)
            self._check_names(path.stat().st_size)
            raw = self._read("manifest.json")
            self.manifest = msgspec.json.decode(raw, type=Manifest)
        except RecursionError:
            raise UsageError("this is no bundle of crewd: its manifest is nested too deep") from None
        except (*BROKEN, msgspec.DecodeError) as error:
            raise UsageError(f"this is no bundle of crewd: {error}") from None
        if (self.manifest.format, self.manifest.version) != (FORMAT, VERSION):
            raise UsageError(
                f"this is a {self.manifest.format} of version {self.manifest.version}",
                hint=f"this crewd reads version {VERSION} of {FORMAT}",
            )
        if self.manifest.schema > len(MIGRATIONS):
            raise UsageError("this bundle was written by a newer crewd", hint="upgrade crewd")
        self._seen: dict[str, list[Any]] = {}

    def _check_names(self, packed: int) -> None:
        names = self._zip.namelist()
        if len(names) != len(set(names)) or len(names) > PARTS_MAX + 1:
            raise UsageError("the bundle names a part twice, or has too many")
        total = 0
        for info in self._zip.infolist():
            total += info.file_size
            parts = info.filename.split("/")
            wrong = not _NAME.fullmatch(info.filename) or {"", ".", ".."} & set(parts) or "\\" in info.filename
            if wrong or stat.S_ISLNK(info.external_attr >> 16) or info.file_size > PART_BYTES_MAX or total > BUNDLE_BYTES_MAX:
                raise UsageError(f"the bundle has a part that it may not have: {info.filename[:80]!r}")
        check_memory(sum(info.file_size for info in self._zip.infolist() if not info.filename.startswith(_FILES)), packed)

    def _read(self, name: str) -> bytes:
        try:
            with self._zip.open(name) as part:
                data = part.read(PART_BYTES_MAX + 1)
        except BROKEN as error:
            raise UsageError(f"{name} of the bundle cannot be read: {error}") from None
        if len(data) > PART_BYTES_MAX:
            raise UsageError(f"{name} is too large")
        return data

    def part(self, name: str) -> bytes:
        """The bytes of a part that the manifest names, if they are what it says."""
        part, data = self.manifest.parts[name], self._read(name)
        if hashlib.sha256(data).hexdigest() != part.sha256 or len(data) != part.size:
            raise UsageError(f"{name} of the bundle of {self.manifest.name} is not what its manifest says")
        return data

    def _check_file(self, name: str) -> None:
        """Whether the bytes of a file are what the manifest says. It is read in pieces: it may be large."""
        part, digest, size = self.manifest.parts[name], hashlib.sha256(), 0
        for chunk in self.chunks(name):
            digest.update(chunk)
            size += len(chunk)
        if digest.hexdigest() != part.sha256 or size != part.size:
            raise UsageError(f"{name} of the bundle of {self.manifest.name} is not what its manifest says")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a part, in pieces."""
        try:
            with self._zip.open(name) as part:
                yield from iter(lambda: part.read(_CHUNK), b"")
        except BROKEN as error:
            raise UsageError(f"{name} of the bundle cannot be read: {error}") from None

    def verify(self) -> RunRow:
        """Look at everything: parts, hashes, ids, and that the rows are the fold of the events. The run's row.

        Raises UsageError for whatever is not as it must be.
        """
        manifest = self.manifest
        if not is_id(manifest.run, RUN):
            raise UsageError(f"{manifest.run[:80]!r} is no run id")
        if set(self._zip.namelist()) - {"manifest.json"} != set(manifest.parts):
            raise UsageError("the bundle does not hold what its manifest says")
        for name in manifest.parts:
            if name.startswith(_FILES):
                self._check_file(name)
        folded, last, count = Cache(Nowhere()), 0, 0
        try:
            for event in self._every_event():
                if not 0 <= event.parent < event.seq < SEQ_MAX:
                    raise UsageError(f"event {event.seq} hangs on event {event.parent}, which is not before it")
                if event.run != manifest.run or event.seq <= last or event.task.partition("/")[0] not in {"", manifest.run}:
                    raise UsageError(f"event {event.seq} is not of this run, or not in order")
                last, count = event.seq, count + 1
                fold(folded, event)
        except InvariantError as error:
            raise UsageError(f"the events of the bundle do not follow each other: {error}") from None
        wanted = Counter(_digest(row) for row in folded.everything().values())
        found = Counter(_digest(row) for kind in _KINDS for row in self.rows_of(kind, manifest.run, 1 << 31))
        if wanted != found or count != manifest.events:
            raise UsageError("the rows of the bundle are not what its events say")
        row = self.row(RunRow, manifest.run)
        if row is None:
            raise UsageError("the bundle has no run")
        check_run_name(row.name)
        try:
            for each in folded.everything().values():
                msgspec.msgpack.encode(each)
        except (OverflowError, ValueError, TypeError) as error:
            raise UsageError(f"a row of the bundle cannot be kept: {error}") from None
        return row

    def _every_event(self) -> Iterator[Event]:
        for name in sorted(name for name in self.manifest.parts if name.startswith("events/")):
            yield from self._lines(name, Event)

    def _lines(self, name: str, kind: Any) -> list[Any]:
        """The values of a part, remembered: there are few parts that one looks at twice."""
        found = self._seen.get(name)
        if found is None:
            try:
                found = [_decode(line, kind) for line in self.part(name).splitlines()]
            except _UNREADABLE as error:
                raise UsageError(f"{name} of the bundle cannot be read: {error}") from None
            if len(self._seen) > len(TABLES):
                self._seen.clear()
            self._seen[name] = found
        return found

    # -- what a database answers, of this one run ---------------------------------------------------------------

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """See `Reading`."""
        return [row for _, row in reversed(self.rows_before(kind, run, 0, limit))]

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:  # noqa: ARG002 (see `Reading`)
        """See `Reading`."""
        name = f"rows/{TABLES[kind]}.jsonl"
        rows: list[R] = self._lines(name, kind) if name in self.manifest.parts else []
        placed = list(enumerate(rows, 1))
        return [(place, row) for place, row in reversed(placed) if not before or place < before][:limit]

    def row(self, kind: type[R], key: str) -> R | None:
        """See `Reading`."""
        return next((row for row in self.rows_of(kind, "", 1 << 31) if key_of(row) == key), None)

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """See `Reading`."""
        names = sorted(name for name in self.manifest.parts if name.startswith("events/"))
        found: list[Event] = []
        for name in reversed(names) if before else names:
            lines: list[Event] = self._lines(name, Event)
            for event in reversed(lines) if before else lines:
                if event.seq > after and (not before or event.seq < before) and where.takes(event):
                    found.append(event)
                if len(found) >= limit:
                    return found[::-1] if before else found
        return found[::-1] if before else found

    def size_of(self, run: str) -> tuple[int, int]:  # noqa: ARG002 (see `Reading`)
        """See `Reading`."""
        return self.manifest.events, self.manifest.bytes

    def output(self, name: str, offset: int, limit: int) -> Piece:
        """Bytes of a file of the run's directory, see `ReadFile`."""
        part = self.manifest.parts.get(f"files/{name}")
        if part is None:
            return Piece(b"", 0, 0)
        size = part.offset + part.size
        offset = min(size, max(part.offset, offset if offset >= 0 else size + offset))
        try:
            with self._zip.open(f"files/{name}") as file:
                file.seek(offset - part.offset)
                return Piece(file.read(limit), offset, size)
        except BROKEN as error:
            raise UsageError(f"{name} of the bundle cannot be read: {error}") from None

    def packing(self, name: str) -> int:
        """How a part is packed."""
        return self._zip.getinfo(name).compress_type

    def close(self) -> None:
        """Give the file back."""
        self._zip.close()


def renamed(path: Path, made: Path, old: str, new: str) -> None:
    """Write the bundle in `path` again, with another run id: ids are made so that nothing else looks like them."""
    before, after = old.encode(), new.encode()
    with contextlib.closing(Bundle(path)) as bundle, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        parts: dict[str, BundlePart] = {}
        for name, part in bundle.manifest.parts.items():
            if name.startswith(_FILES):
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                with target.open(info, "w", force_zip64=True) as file:
                    for chunk in bundle.chunks(name):
                        file.write(chunk)
                parts[name] = part
                continue
            data = bundle.part(name).replace(before, after)
            target.writestr(name, data, bundle.packing(name))
            parts[name] = BundlePart(hashlib.sha256(data).hexdigest(), len(data), part.offset)
        manifest = msgspec.structs.replace(bundle.manifest, run=new, parts=parts)
        target.writestr("manifest.json", msgspec.json.encode(manifest))


def check_memory(unpacked: int, packed: int) -> None:
    """UsageError if what must be read into memory of a packed file is much more than the file itself."""
    if not _fits(unpacked, packed):
        most = MEMORY_BYTES_FREE + MEMORY_BYTES_PER_BYTE * packed
        raise UsageError(f"{packed:,} bytes become {unpacked:,} when they are unpacked", hint=f"at most {most:,} are read")


def _fits(unpacked: int, packed: int) -> bool:
    return unpacked <= MEMORY_BYTES_FREE + MEMORY_BYTES_PER_BYTE * packed


def _digest(row: Row) -> bytes:
    return hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _decode(line: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError:
        return msgspec.convert(with_foreign(msgspec.json.decode(line)), kind)


def key_of(row: Row) -> str:
    """The key of a row of a run, as the fold gives it."""
    match row:
        case MessageRow():
            return row.receipt.id
        case _:
            return f"{row.task}#{row.epoch}" if not hasattr(row, "id") else row.id  # type: ignore[union-attr]
