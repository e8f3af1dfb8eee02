"""Before a home is served: is its database whole? A damaged one is put aside, never opened for writing, never deleted.

Rule: while what was put aside waits for somebody's decision (`crewd salvage` or `crewd restore`), the home is not served.

Tests: tests/store/test_full_disk.py.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model.errors import InvariantError, StoreDamaged, StoreUnavailable, Unavailable, UsageError
from crewd.model.events import Event, Salvaged
from crewd.private_files import make_directory
from crewd.store.bundle import sync_directory
from crewd.store.cache import Cache
from crewd.store.database import Database, take_in_log
from crewd.store.fold import fold
from crewd.store.library import lacking
from crewd.store.ports import EVERYWHERE
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import Taken, pages, rebuild
from crewd.store.refold import fold_again
from crewd.store.schema import check_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crewd.clock import Clock
    from crewd.model.home import Home
    from crewd.model.rows import RunRow

CHECK_SECONDS = 1.0
"""How long the look at a database may take before it is served; `crew doctor` looks at all of a large one."""
SETTLED = "settled"
"""In a folder of the quarantine: somebody has decided what becomes of it."""
DECIDE = "'crewd salvage' saves what can be read, 'crewd restore BACKUP' goes back to a backup"
HEADER = b"SQLite format 3\0\x10\0\2\2\0\x40\x20\x20"
"""The first bytes of a database file: pages of 4,096 bytes, a write-ahead log."""
_BATCH = 1_000


def waiting(home: Home) -> Path | None:
    """The damaged database about which nobody has decided, if there is one."""
    folders = sorted(home.quarantine.iterdir()) if home.quarantine.is_dir() else []
    return next((folder for folder in folders if not (folder / SETTLED).exists()), None)


def _finish_moving(home: Home, aside: Path) -> None:
    """A crash may have come while the database was put aside: the rest of it goes there, too.

    What lies in the place of one that is there already belongs to another one: it is kept under another name.
    """
    beside = "in-its-place-" if (aside / "crewd.db").exists() else ""
    for path in sorted(home.root.glob("crewd.db*"), reverse=True):
        path.rename(aside / f"{beside}{path.name}")


def admit(home: Home, clock: Clock) -> None:
    """Let a home be served if its database is whole, or is not there yet.

    Raises StoreDamaged, which says what to do, and StoreUnavailable for a database that a newer crewd has written.
    """
    aside = waiting(home)
    if aside is not None:
        _finish_moving(home, aside)
        raise StoreDamaged(f"the database was put aside and is in {aside}, and nobody has decided about it", hint=DECIDE)
    had_runs = home.runs.is_dir() and any(home.runs.iterdir())
    if not home.database.exists():
        if had_runs and not _begun_anew(home):
            aside = put_aside(home, clock)
            raise StoreDamaged("the database is gone, and there were runs", hint=DECIDE)
        return
    check_version(ReadOnly.version_of(home.database) or 0)
    verdict = ""
    if home.database.stat().st_size == 0 and had_runs:
        verdict = "it is empty, and there were runs"
    if had_runs and not verdict and ReadOnly.has_no_tables(home.database) and not _begun_anew(home):
        verdict = "it holds nothing, and there were runs: its log crewd.db-wal is not there"
    verdict = verdict or ReadOnly.verdict(home.database, clock, CHECK_SECONDS)
    if verdict:
        aside = put_aside(home, clock)
        raise StoreDamaged(f"the database is damaged ({verdict}); it was put into {aside}", hint=DECIDE)


def _begun_anew(home: Home) -> bool:
    """Whether somebody has decided to go on without the database that was here: with an empty file, which they have made."""
    settled = (folder / SETTLED for folder in home.quarantine.iterdir()) if home.quarantine.is_dir() else ()
    return any(file.exists() and not file.stat().st_size for file in settled)


def open_database(home: Home, store_id: str) -> Database:
    """The database of a home that is served. Raises StoreDamaged while nobody has decided about one that was put aside."""
    aside = waiting(home)
    if aside is not None:
        raise StoreDamaged(f"what the database held is in {aside}", hint=DECIDE)
    database = Database(home.database, store_id, home.reserve, home.quarantine, home.daemon_lock)
    fold_again(database, home.database)
    return database


def put_aside(home: Home, clock: Clock) -> Path:
    """Move the database and its log into a folder of the quarantine."""
    aside = home.quarantine / f"{clock.wall():.0f}"
    make_directory(aside)
    for path in sorted(home.root.glob("crewd.db*"), reverse=True):  # the database last: a log without one is moved again
        path.rename(aside / path.name)
    sync_directory(aside)
    sync_directory(home.root)
    return aside


def _copy_of(home: Home, aside: Path) -> Path:
    """A copy of what was put aside, to read; empty if the file is gone."""
    source = home.root / ".damaged.db"
    for path in home.root.glob(f"{source.name}*"):
        path.unlink()
    for path in aside.glob("crewd.db*"):
        shutil.copyfile(path, home.root / path.name.replace("crewd.db", source.name, 1))
    source.touch(mode=0o600)
    with source.open("r+b") as file:
        file.write(HEADER)  # the same in each database of crewd's: its loss alone makes nothing unreadable
    return source


def salvage(home: Home, clock: Clock, *, anyway: bool = False) -> tuple[int, int]:
    """Make a new database of what can be read of the damaged one: how many events were saved, and how many were lost.

    Events keep their numbers. Of a run whose beginning is lost nothing can be saved; what is known of the others is what
    their remaining events say. `anyway`: also of a database that is whole. Raises UsageError if there is nothing to do.
    """
    aside = waiting(home)
    if aside is None and anyway and home.database.exists():
        aside = put_aside(home, clock)
    if aside is None:
        raise UsageError("nothing here waits to be salvaged", hint="crew doctor tells how the home is")
    new = home.root / ".salvaged.db"
    for path in home.root.glob(f"{new.name}*"):
        path.unlink()
    _finish_moving(home, aside)
    source = _copy_of(home, aside)
    with contextlib.closing(ReadOnly.damaged(source)) as old:
        store_id = old.store_id or f"e_{aside.name}"
        database = Database(new, store_id)
        rows = Cache(database)
        saved = last = 0
        batch: list[Event] = []

        def write() -> None:
            database.commit(batch)
            database.flush(rows.changed(), [])
            rows.settle()
            batch.clear()

        for event in old.readable_events():
            rows.begin()
            try:
                fold(rows, event)
            except InvariantError:  # what it follows is lost
                rows.take_back()
                last = event.seq
                continue
            batch.append(event)
            saved, last = saved + 1, event.seq
            if len(batch) >= _BATCH:
                write()
        write()
        lost = last - saved - _explained(new)
        end = Salvaged(lost=lost, quarantine=aside.name)
        note = Event(last + 1, f"{store_id}-{last + 1}", 0, "", "", 0, "", "", "crewd", clock.wall(), end)
        database.commit([note])
        database.flush([], old.readable_latest())
        database.close()
    for path in home.root.glob(f"{source.name}*"):
        path.unlink()
    if not saved:
        new.unlink()
        raise StoreDamaged(
            f"nothing of {aside / 'crewd.db'} can be read",
            hint=f"'crewd restore BACKUP', or begin with an empty home: touch '{aside / SETTLED}'",
        )
    new.rename(home.database)
    (aside / SETTLED).write_text("there is a database again\n")
    sync_directory(home.root)
    return saved, lost


def unknown_bundles(home: Home) -> list[Path]:
    """Bundles that no run of the database is in: after a loss they can be imported again."""
    with contextlib.closing(ReadOnly(home.database)) as reader:
        known = {run.archived for run in reader.runs(ended=True, limit=1 << 31)}
    return sorted(path for path in home.archive.glob("*.zip") if path.name not in known)


def _explained(path: Path) -> int:
    """How many of the events that are not in this database were taken away on purpose."""
    with contextlib.closing(ReadOnly(path)) as reader:
        taken = Taken(reader)
        for event in pages(reader, EVERYWHERE):
            taken.has(event)
        return taken.explained()


def restore(home: Home, backup: Path, clock: Clock, *, replace: bool) -> tuple[int, list[str]]:
    """Take a backup back, after it was folded: the number of its events, and runs whose bundles it lacks, or has damaged.

    With `replace`, the database that is here is put aside. Everything is copied before the home is changed: an interrupt or a
    full disk loses nothing.

    Raises UsageError if the backup is not one, or the home has a database and is not to be replaced; Unavailable, with
    nothing changed, if it cannot be copied.
    """
    source = backup / "crewd.db"
    if not source.is_file():
        raise UsageError(f"{backup} is no backup", hint="crew backup makes one")
    if backup.resolve() == home.root.resolve():
        raise UsageError(f"{backup} is this home itself, and no backup of it", hint="name a folder that crew backup has made")
    aside = waiting(home)
    if home.database.exists() and not replace:
        raise UsageError(f"{home.root} has a database", hint="--replace puts it into the quarantine")
    home.archive.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in (*home.root.glob(".restored-*"), *home.archive.glob(".restored-*"), *home.blobs.rglob(".restored-*")):
        left.unlink()  # of a restore that was killed; below `runs` such a name may be a worker's
    taken = _take_database(home, backup)
    try:
        events, archived = _checked(taken, backup)
        damaged = {run.archived for run in lacking(backup / "archive", archived)}
        wanted: dict[Path, Path] = {}
        for path in (backup / "archive").glob("*.zip"):
            here = home.archive / path.name
            if path.name not in damaged or not here.exists():  # what is here may be whole
                wanted[path] = here
        for folder, here in ((backup / "blobs", home.blobs), (backup / "runs", home.runs)):
            wanted |= {path: here / path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        copies = _copied(home, backup, wanted)
    except BaseException:
        taken.unlink(missing_ok=True)
        raise
    if home.database.exists():
        aside = put_aside(home, clock)
    if aside is not None:
        _finish_moving(home, aside)  # SQLite would add a log that was left here to the database of the backup
    for made, here in copies.items():
        made.rename(here)
    taken.rename(home.database)  # last: with it the home can be served
    if aside is not None:
        (aside / SETTLED).write_text("there is a database again\n")
    for folder in {here.parent for here in copies.values()} | {home.archive, home.root}:
        sync_directory(folder)
    return events, [run.name for run in lacking(home.archive, archived)]


def _take_database(home: Home, backup: Path) -> Path:
    """A copy of the backup's database in the home, with what a log of SQLite beside it adds.

    The backup is not opened: it may lie where nothing can be written, and a copied home has commits in such a log only.
    """
    taken = home.database.with_name(f".restored-{home.database.name}")
    copied = [taken]
    try:
        shutil.copyfile(backup / "crewd.db", taken)
        log = backup / "crewd.db-wal"
        if log.is_file():
            copied.append(taken.with_name(f"{taken.name}-wal"))
            shutil.copyfile(log, copied[-1])
            take_in_log(taken)
        taken.chmod(0o600)
    except OSError as error:
        for path in copied:
            path.unlink(missing_ok=True)
        said = f"{error.filename or backup} cannot be copied: {error.strerror or error}"
        raise Unavailable(said, hint="nothing is changed here") from None
    except StoreUnavailable as error:
        for path in copied:
            path.unlink(missing_ok=True)
        raise UsageError(f"the backup {backup} is damaged: {error.message}", hint="use another one") from None
    return taken


def _checked(taken: Path, backup: Path) -> tuple[int, list[RunRow]]:
    """The number of its events, and its archived runs. Raises UsageError for what is no backup, or a damaged one."""
    try:
        check_version(ReadOnly.version_of(taken) or 0)
    except StoreUnavailable as error:
        raise UsageError(f"the backup {backup} cannot be taken back: {error.message}", hint="upgrade crewd") from None
    try:
        with contextlib.closing(ReadOnly(taken)) as copy:
            differences, events = rebuild(copy)
            archived = [run for run in copy.runs(ended=True, limit=1 << 31) if run.archived]
    except InvariantError as error:
        raise UsageError(f"the log of {backup} cannot be folded: {error}") from None
    except StoreUnavailable as error:
        raise UsageError(f"the backup {backup} is damaged: {error.message}", hint="use another one") from None
    finally:
        for suffix in ("-wal", "-shm"):  # of this look at it; there is nothing in them
            taken.with_name(f"{taken.name}{suffix}").unlink(missing_ok=True)
    if differences:
        raise UsageError(f"{backup} is not what it must be: {differences[0]}")
    return events, archived


def _copied(home: Home, backup: Path, wanted: Mapping[Path, Path]) -> dict[Path, Path]:
    """Copies of files, each beside the place that it is for, and that place. Files that are the same there are left out.

    Raises Unavailable, and leaves no copy, if that is not possible.
    """
    copies: dict[Path, Path] = {}
    try:
        for path, here in wanted.items():
            if here.is_file() and filecmp.cmp(path, here, shallow=False):
                continue
            _make_directories(here.parent)
            if Path(os.path.realpath(here.parent)) != here.parent:  # a worker may have put a link there
                raise OSError(errno.ELOOP, "a link is in the place of a directory", str(here.parent))
            copy = here.with_name(f".restored-{here.name}")
            copies[copy] = here
            shutil.copyfile(path, copy)
            copy.chmod(0o400 if here.is_relative_to(home.blobs) else 0o600)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        for copy in copies:
            copy.unlink(missing_ok=True)
        said = f"{error.filename or backup} cannot be copied: {error.strerror or error}"
        raise Unavailable(said, hint="nothing is changed here") from None
    return copies


def _make_directories(folder: Path) -> None:
    """Make a directory below the home, and those above it that are not there, for this user alone."""
    if not folder.exists():
        _make_directories(folder.parent)
        folder.mkdir(mode=0o700)
