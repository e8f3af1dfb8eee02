"""Damage in the log of commits: SQLite stops reading there, and says nothing of what follows."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from crewd.clock import SystemClock
from crewd.store.readonly import ReadOnly
from crewd.store.wal import UNSYNCED_COMMITS_MAX, commits_lost

COMMITS = 30


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A database whose writer was killed, with a log that had just been restarted and holds some commits."""
    path = tmp_path / "writer.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("PRAGMA journal_mode=WAL")
        sql.execute("CREATE TABLE t (n INTEGER)")
        for number in range(COMMITS * 2):
            sql.execute("INSERT INTO t VALUES (?)", (number,))
        sql.execute("PRAGMA wal_checkpoint(RESTART)")
        for number in range(COMMITS):
            sql.execute("INSERT INTO t VALUES (?)", (number,))
        copy = tmp_path / "copy.db"
        shutil.copyfile(path, copy)
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    return copy


def lost(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as sql:
        sql.execute("SELECT count(*) FROM t").fetchone()
        return commits_lost(path)


def changed(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(Path(f"{path}-wal").read_bytes())
    change(data)
    Path(f"{path}-wal").write_bytes(data)


def flip(place: int) -> Callable[[bytearray], object]:
    return lambda data: data.__setitem__(place, data[place] ^ 0xFF)


def test_what_follows_of_an_earlier_log_is_not_lost(log: Path) -> None:
    assert Path(f"{log}-wal").stat().st_size > COMMITS * 2 * 4096
    assert lost(log) == 0
    assert ReadOnly.verdict(log, SystemClock(), 10) == ""


def test_no_log_and_one_without_frames_have_lost_nothing(log: Path) -> None:
    changed(log, lambda data: data.__delitem__(slice(32, None)))
    assert lost(log) == 0
    Path(f"{log}-wal").unlink()
    assert lost(log) == 0


@pytest.mark.parametrize("frame", [0, 3, COMMITS // 2])
def test_commits_after_a_damaged_one_are_counted_and_the_file_is_called_damaged(log: Path, frame: int) -> None:
    changed(log, flip(32 + frame * (4096 + 24) + 24 + 100))
    assert lost(log) == COMMITS - frame
    assert "commits follow a damaged place" in ReadOnly.verdict(log, SystemClock(), 10)


@pytest.mark.parametrize("change", [flip(17), flip(9), lambda data: data.__setitem__(slice(32), bytes(32))])
def test_a_header_that_cannot_be_read_loses_all(log: Path, change: Callable[[bytearray], object]) -> None:
    changed(log, change)
    assert lost(log) >= COMMITS
    assert "commits follow a damaged place" in ReadOnly.verdict(log, SystemClock(), 10)


def test_the_end_may_be_torn_by_a_power_cut(log: Path) -> None:
    first_of_the_last = COMMITS - UNSYNCED_COMMITS_MAX
    changed(log, flip(32 + first_of_the_last * (4096 + 24) + 24 + 100))
    assert lost(log) == UNSYNCED_COMMITS_MAX
    assert ReadOnly.verdict(log, SystemClock(), 10) == ""


def test_a_schema_that_is_no_text_is_damage(log: Path) -> None:
    Path(f"{log}-wal").unlink()
    data = bytearray(log.read_bytes())
    place = data.index(b"CREATE TABLE t (n")
    data[place : place + 17] = b"CREATE TABLE t \xff\xff"
    log.write_bytes(data)
    assert ReadOnly.verdict(log, SystemClock(), 10)
