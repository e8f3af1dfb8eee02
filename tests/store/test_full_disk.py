"""A disk that is full, short of room or read-only, for real: new work is refused, cancels go on, and it recovers by itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from crewd.model.errors import StoreUnavailable
from crewd.store.database import Database

ROOT = Path(__file__).resolve().parent.parent.parent


def namespace() -> list[str]:
    """How to get a mount namespace here; empty if one cannot."""
    for words in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        probe = [*words, "sh", "-c", "mount -t tmpfs none /mnt"]
        try:
            if subprocess.run(probe, capture_output=True, check=False, timeout=120).returncode == 0:
                return words
        except OSError:
            return []
    return []


@pytest.mark.process
def test_on_a_full_disk_new_work_is_refused_and_cancels_are_recorded(home: Path) -> None:
    words = namespace()
    if not words:
        pytest.skip("no mount namespaces here")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [*words, sys.executable, "-m", "tests.full_disk", str(home)], capture_output=True, text=True, timeout=120, check=False,
        env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_start_that_needs_room_gets_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, reserve = Database._prepare, tmp_path / "reserve"

    def full(database: Database, path: Path, store_id: str) -> None:
        if reserve.exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        real(database, path, store_id)

    monkeypatch.setattr(Database, "_prepare", full)
    reserve.write_bytes(bytes(10))
    assert Database(tmp_path / "a.db", "s", reserve).store_id == "s"
    reserve.write_bytes(bytes(10))
    with pytest.raises(StoreUnavailable, match="disk is full"):
        Database(tmp_path / "b.db", "s", None)


SHORT_WRITES = """
    import resource, signal, sys
    from pathlib import Path
    from crewd.model.errors import StoreUnavailable
    from crewd.model import events as ev
    from crewd.store.database import Database
    from crewd.store.readonly import ReadOnly
    from crewd.store.rebuild import rebuild
    from tests.store.test_store import FLOW

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(sys.argv[1]) / "x.db"
    database = Database(path, "s")
    from crewd.store.cache import Cache
    from crewd.store.fold import fold
    rows = Cache(database)
    seq = failures = 0
    for size in range(100_000, 1_500_000, 7_777):  # the file may grow to here and no further: some writes are cut in the middle
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        run = f"r_{seq}"
        body = ev.RunCreated(name=run, goal="g" * 3_000, cwd="/", workflow=FLOW)
        event = ev.Event(seq + 1, f"s-{seq + 1}", 0, run, "", 0, "", "", "", 1.0, body)
        fold(rows, event)
        try:
            database.commit([event])
        except StoreUnavailable:
            failures += 1
            rows.clear()
            for before in database.unflushed():
                fold(rows, before)
        else:
            seq += 1
        try:
            database.flush(rows.changed(), [])
        except StoreUnavailable:
            failures += 1
        else:
            rows.settle()
        reader = ReadOnly(path)
        assert rebuild(reader) == ([], seq), (seq, rebuild(reader))
        reader.close()
    assert failures > 10 and seq > 10, (failures, seq)
    print("ok")
"""


def test_a_write_that_is_cut_short_leaves_all_or_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHORT_WRITES), str(tmp_path)], capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "ok\n", done.stderr[-3000:]
