"""A disk that fails with EIO, for real: a library between SQLite and the system fails writes or syncs of the database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.model.errors import StoreUnavailable
from crewd.protocol import requests as rq
from crewd.store.database import Database
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler and Linux")


@pytest.fixture
def between(tmp_path: Path) -> Path:
    """The library that stands between."""
    assert COMPILER is not None
    made = tmp_path / "eio.so"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-o", made, ROOT / "tests/store/eio.c", "-ldl"], check=True, timeout=120
    )
    return made


WORK = """
    import sys
    from pathlib import Path
    from crewd.model import events as ev
    from crewd.model.errors import StoreUnavailable
    from crewd.store.cache import Cache
    from crewd.store.database import Database
    from crewd.store.fold import fold
    from crewd.store.readonly import ReadOnly
    from crewd.store.rebuild import rebuild
    from tests.store.test_store import FLOW

    path, trouble = Path(sys.argv[1]) / "x.db", Path(sys.argv[2])
    database, reader = Database(path, "s"), None
    database._sql.execute("PRAGMA wal_autocheckpoint=20")
    rows, seq, failures = Cache(database), 0, {"write": 0, "sync": 0}
    for number in range(120):
        mode = ("", "write", "", "sync", "")[number % 5]
        trouble.write_text(mode)
        body = ev.RunCreated(name=f"r_{number}", goal="g" * 3_000, cwd="/", workflow=FLOW)
        event = ev.Event(seq + 1, f"s-{seq + 1}", 0, f"r_{number}", "", 0, "", "", "", 1.0, body)
        fold(rows, event)
        try:
            database.commit([event])
        except StoreUnavailable:
            failures[mode] += 1
            rows.clear()
            for before in database.unflushed():
                fold(rows, before)
        else:
            seq += 1
        if number % 2:
            try:
                database.flush(rows.changed(), [])
            except StoreUnavailable:
                failures[mode] += 1
            else:
                rows.settle()
        reader = reader or ReadOnly(path)
        assert rebuild(reader) == ([], seq), (number, mode, seq, rebuild(reader))
    trouble.write_text("")
    database.flush(rows.changed(), [])
    assert min(failures.values()) >= 20, failures
    print(seq)
"""


def test_writes_and_syncs_that_fail_leave_all_or_nothing(between: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WORK), tmp_path, tmp_path / "trouble"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(between), "CREWD_TROUBLE": str(tmp_path / "trouble")},
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.strip().isdigit(), done.stderr[-3000:]
    database = Database(tmp_path / "x.db", "s")
    reader = ReadOnly(tmp_path / "x.db")
    assert rebuild(reader) == ([], int(done.stdout))
    reader.close()
    database.close()


def new_run(crew: Crew) -> bool:
    try:
        return crew.exec(["true"], cwd="/").result(timeout=120) == ""
    except StoreUnavailable:
        return False


@pytest.mark.process
def test_a_daemon_whose_disk_fails_cancels_all_the_same_and_recovers(
    between: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = tmp_path / "trouble"
    monkeypatch.setenv("CREWD_TROUBLE", str(trouble))
    monkeypatch.setenv("LD_PRELOAD", str(between))
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        monkeypatch.delenv("LD_PRELOAD")
        run = crew.exec(["sleep", "1000"], cwd="/")
        wait_until(lambda: run.show().attempts[-1:] and run.show().attempts[-1].ready_at, "the worker")
        trouble.write_text("sync")
        try:
            with pytest.raises(StoreUnavailable, match="no new work"):
                crew.exec(["sleep", "1000"], cwd="/")
            with daemon.connect() as other:  # which is answered when it is durable
                key, frames = other._connection.talk.ask(rq.Cancel(target=run.id, mode="now"))
                other._connection._send(frames)
                wait_until(lambda: not daemon.marked(), "the worker to be gone")
                assert other._connection.talk.take(key) is None
        finally:
            trouble.write_text("")
        reply = crew.wait(run.id, timeout=120)
        assert reply.run.status == "cancelled"
        wait_until(lambda: new_run(crew), "new work to be admitted again, once the store has looked at the disk")
        assert crew.doctor(rebuild=True).healthy
