"""Whole runs and the home, through the public socket and the shell: archive, forget, prune, export, import, backup, salvage."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crewd.client import keeping
from crewd.client.blocking import Crew, connect
from crewd.model.errors import CrewdError, Forbidden, NotFound, Refused, StoreDamaged, StoreUnavailable, Unavailable, UsageError
from crewd.model.events import RunArchived, RunForgotten
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import keeping as kp
from crewd.protocol import replies as rl
from crewd.respawn import is_accident
from crewd.store.database import Database
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.wire import Speaker
from tests.shell import Shell

pytestmark = pytest.mark.process


def everything(crew: Crew, run: str) -> dict[str, object]:
    """What the readers tell of a run, but for what is of the home."""
    shown = crew.show(run)
    return {
        "tasks": shown.tasks, "attempts": shown.attempts, "messages": shown.messages, "operations": shown.operations,
        "events": list(crew.events(run)), "all messages": crew.messages(run), "count": shown.events,
        "output": crew.log(run).data, "result": crew.wait(run).run.status,
    }  # fmt: skip


def finished(crew: Crew, jobs_dir: str, name: str) -> str:
    run = crew.call("jobs:listen", cwd=jobs_dir, name=name)
    run.steer("hello", wait="applied")
    run.steer("stop")
    run.wait()
    return run.id


def healthy(crew: Crew) -> bool:
    found = crew.doctor(rebuild=True)
    assert found.healthy, found.findings
    return True


def test_an_archived_run_is_read_as_before_and_changed_no_more(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = finished(crew, jobs_dir, "old")
    before = everything(crew, run)
    receipt = crew.show(run).messages[0].receipt
    assert keeping.archive(crew, "old").action == "archived"
    assert not (daemon.home.runs / run).exists()
    assert everything(crew, run) == before
    assert crew.receipt(receipt.id) == receipt, "receipts are found by their ids for ever after"
    with pytest.raises(Refused, match="archived"):
        crew.retry(run)
    assert "archived" in Shell(str(daemon.home.root), Path(jobs_dir)).fails(5, "steer", run, "late")
    assert keeping.archive(crew, "old").why == "it is archived already"
    wait_until(lambda: crew.doctor().counts["events"] < before["count"], "the log to be swept")  # type: ignore[operator]
    assert healthy(crew)
    daemon.kill()
    daemon.start()
    with daemon.connect() as again:
        assert everything(again, run) == before and healthy(again)


def test_a_disk_that_is_full_is_kept_for_cancels_and_ends(daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path) -> None:
    run = finished(crew, jobs_dir, "mine")
    daemon.home.reserve.unlink()
    daemon.home.reserve.mkdir()  # it cannot be made again
    with pytest.raises(Unavailable, match="for cancels and ends"):
        keeping.export(crew, run, tmp_path / "mine.zip")
    kept = keeping.archive(crew, run)
    assert (kept.action, "for cancels and ends" in kept.why) == ("kept", True)
    assert list(daemon.home.exports.iterdir()) == list(daemon.home.archive.iterdir()) == []
    assert keeping.forget(crew, run, intent="no room").action == "forgotten"


def test_what_was_forgotten_is_gone_and_nothing_revives_it(daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir, name="mine", request_id="once")
    with pytest.raises(Refused, match="it is"):
        _one(keeping.forget(crew, "mine"))
    run.steer("stop")
    run.wait()
    message = crew.show(run.id).messages[0].receipt.id
    assert keeping.forget(crew, "mine", dry_run=True).events > 5
    assert crew.show(run.id).run.id == run.id
    with connect(str(daemon.home.root), start=False, name="other") as other, pytest.raises(Forbidden):
        keeping.forget(other, run.id)
    keeping.export(crew, run.id, tmp_path / "mine.zip")
    assert list(daemon.home.exports.glob(f"{run.id}-*"))
    keeping.forget(crew, "mine", intent="no room")
    assert not list(daemon.home.exports.glob(f"{run.id}-*")), "it is not left in what was exported of it"
    for key in (run.id, "mine"):
        with pytest.raises(NotFound):
            crew.show(key)
    with pytest.raises(NotFound, match=r"forgotten by .*: no room"):
        crew.show(run.id)
    assert not (daemon.home.runs / run.id).exists()
    with pytest.raises(Refused, match="forgotten"):
        crew.call("jobs:listen", cwd=jobs_dir, name="mine", request_id="once")
    wait_until(lambda: len(list(crew.events(types=["message.*"]))) == 0, "its messages to go")
    with pytest.raises(NotFound):
        crew.receipt(message)
    (stone,) = crew.events(types=["run.forgotten"])
    assert isinstance(stone.body, RunForgotten)
    assert (stone.run, stone.body.intent) == (run.id, "no room")
    assert healthy(crew)
    assert crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir, name="mine").result() == 3, "its name is free"


def _one(kept: kp.Kept) -> None:
    if kept.action == "kept":
        raise Refused(kept.why)


def test_pruning_takes_what_is_old_and_leaves_what_somebody_must_see(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    names = ["a", "b", "c"]
    for name in names:
        finished(crew, jobs_dir, name)
    crew.call("jobs:fail", cwd=jobs_dir, name="dead").wait()
    live = crew.call("jobs:listen", cwd=jobs_dir, name="live")
    with connect(str(daemon.home.root), start=False, name="other") as other:
        assert keeping.prune(other, kp.Prune(older_seconds=0)) == ()
        with pytest.raises(UsageError, match="reason"):
            keeping.prune(other, kp.Prune(older_seconds=0, everyone=True))
    assert keeping.prune(crew, kp.Prune(older_seconds=3_600)) == ()
    would = keeping.prune(crew, kp.Prune(older_seconds=0, keep=1, dry_run=True))
    assert {each.name: each.action for each in would} == {"a": "forgotten", "b": "forgotten", "c": "forgotten"}
    assert {run.name for run in crew.runs(all=True).runs} == {*names, "dead", "live"}
    done = keeping.prune(crew, kp.Prune(older_seconds=0, archive=True))
    assert {each.name: each.action for each in done} == {"a": "archived", "b": "archived", "c": "archived", "dead": "kept"}
    assert "dead letters" in next(each.why for each in done if each.name == "dead")
    keeping.prune(crew, kp.Prune(older_seconds=0, keep=2))
    assert {run.name for run in crew.runs(all=True).runs} == {"c", "dead", "live"}
    assert healthy(crew)
    live.cancel(mode="now")


def test_a_run_travels_from_home_to_home(daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    run = finished(crew, jobs_dir, "far")
    before = everything(crew, run)
    file = tmp_path / "far.zip"
    shell.ok("export", "far", "-o", str(file))
    assert "exists" in shell.fails(2, "export", "far", "-o", str(file))
    assert "names a directory" in shell.fails(2, "export", "far", "-o", f"{tmp_path}/new/")
    assert "is no directory" in shell.fails(2, "export", "far", "-o", f"{tmp_path}/new/far.zip")
    assert not (tmp_path / "new").exists()
    assert "here already" in shell.ok("import", str(file))
    (copied,) = [line for line in shell.ok("import", str(file), "--on-conflict", "rename").splitlines() if "completed" in line]
    assert copied.startswith("far-2  ")
    shell.ok("forget", "far-2")
    with Daemon(daemon.home.root.parent / "b") as second, second.connect() as there:
        other = Shell(str(second.home.root), Path(jobs_dir))
        assert "nothing stands in its way" in other.ok("import", str(file), "--dry-run")
        other.ok("import", str(file))
        assert everything(there, run) == before
        again = tmp_path / "again.zip"
        other.ok("export", "far", "-o", str(again))
        assert again.read_bytes() == file.read_bytes(), "the round trip is identical"
        finished(there, jobs_dir, "near")
        assert healthy(there)
        other.ok("forget", "far", "--intent", "x")
        for words in ((), ("--dry-run",)):
            refused = other.run("import", str(file), *words)
            assert (refused.returncode, "--on-conflict rename" in refused.stderr) == (5, True)
            assert "it was forgotten by" in refused.stdout
        other.ok("import", str(file), "--on-conflict", "rename", "--dry-run")
        reply = other.json("import", str(file), "--on-conflict", "rename")
        assert reply["run"]["id"] != run and reply["run"]["name"] == "far"
        assert len(list(there.events(reply["run"]["id"]))) == len(before["events"])  # type: ignore[arg-type]
        (tmp_path / "bad.zip").write_bytes(file.read_bytes()[:-100])
        assert "no bundle" in other.fails(2, "import", str(tmp_path / "bad.zip"))
        assert not list(second.home.imports.iterdir()), "what was refused is not kept"
        assert healthy(there)


def crewd(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crewd", "--home", str(home), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_bundle_that_is_damaged_or_gone_is_named_and_keeps_nothing_else_out_of_a_backup(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path
) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    runs = {name: finished(crew, jobs_dir, name) for name in ("gone", "garbage", "whole")}
    for run in runs.values():
        keeping.archive(crew, run)
    made = shell.json("backup", str(tmp_path / "whole"))
    assert (made["bundles"], made["lacks"]) == (3, [])
    bundles = {name: daemon.home.archive / crew.show(run).run.archived for name, run in runs.items()}
    bundles["gone"].unlink()
    bundles["garbage"].write_bytes(b"garbage")
    done = shell.run("backup", str(tmp_path / "b"))
    assert done.returncode == 1 and "2 bundles are damaged or gone, and not in the backup: " in done.stderr
    assert "garbage" in done.stderr and "gone" in done.stderr
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    taken = crewd(daemon.home.root, "restore", str(tmp_path / "b"), "--replace")
    assert taken.returncode == 1 and "2 bundles are damaged or gone" in taken.stderr
    daemon.start()
    with daemon.connect() as again:
        assert again.show(runs["whole"]).tasks
        again.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    (tmp_path / "whole" / "archive" / bundles["whole"].name).write_bytes(b"garbage")
    assert "damaged" not in crewd(daemon.home.root, "restore", str(tmp_path / "whole"), "--replace").stderr
    daemon.start()
    with daemon.connect() as again:
        assert all(again.show(run).tasks for run in runs.values()), "what the backup has, and what was whole here"


def test_a_backup_is_taken_while_work_goes_on_and_taken_back(daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    old = finished(crew, jobs_dir, "old")
    keeping.archive(crew, old)
    working = crew.call("jobs:listen", cwd=jobs_dir, name="working")
    working.steer("before", wait="applied")
    made = shell.json("backup", str(tmp_path / "b"))
    assert made["bundles"] == 1 and made["events"] > 5
    assert "exists" in shell.fails(2, "backup", str(tmp_path / "b"))
    before = everything(crew, old)
    working.steer("stop")
    working.wait()
    later = finished(crew, jobs_dir, "later")
    assert "another crewd" in crewd(daemon.home.root, "restore", str(tmp_path / "b"), "--replace").stderr
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    assert "--replace" in crewd(daemon.home.root, "restore", str(tmp_path / "b")).stderr
    assert "this home itself" in crewd(daemon.home.root, "restore", str(daemon.home.root), "--replace").stderr
    kept = {path: path.read_bytes() for path in (daemon.home.database, *daemon.home.archive.iterdir())}
    odd = tmp_path / "b" / "archive" / "odd.zip"
    odd.mkdir()
    assert "nothing is changed here" in crewd(daemon.home.root, "restore", str(tmp_path / "b"), "--replace").stderr
    assert kept == {path: path.read_bytes() for path in (daemon.home.database, *daemon.home.archive.iterdir())}
    assert not daemon.home.quarantine.exists()
    odd.rmdir()
    assert "taken back" in crewd(daemon.home.root, "restore", str(tmp_path / "b"), "--replace").stdout
    daemon.start()
    with daemon.connect() as again:
        assert everything(again, old) == before
        with pytest.raises(NotFound):
            again.show(later)
        wait_until(lambda: again.show("working").run.ended_at, "the run whose worker is gone to end")
        assert healthy(again)


def test_a_database_of_a_newer_crewd_is_refused_once_and_in_words(home: Path) -> None:
    (home / "h").mkdir(mode=0o700)
    (home / "b").mkdir(mode=0o700)
    for folder in ("h", "b"):
        with contextlib.closing(sqlite3.connect(home / folder / "crewd.db")) as database:
            database.execute("PRAGMA user_version = 1000")
    for words in ((), ("restore", str(home / "b"), "--replace")):
        done = crewd(home / "h", *words)
        assert done.returncode and not is_accident(done.returncode), "nobody starts it again"
        assert "was written by a newer crewd (schema 1000" in done.stderr
        assert "upgrade crewd" in done.stderr
        assert "Traceback" not in done.stderr
    with contextlib.closing(sqlite3.connect(home / "h" / "crewd.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1000,), "it is left as it was"
    assert not (home / "h" / "quarantine").exists()


def test_a_damaged_database_is_put_aside_and_what_can_be_read_is_saved(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path
) -> None:
    runs = [finished(crew, jobs_dir, f"run{number}") for number in range(6)]
    before = {run: everything(crew, run) for run in runs}
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    data = bytearray(daemon.home.database.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    daemon.home.database.write_bytes(data)
    refused = crewd(daemon.home.root)
    assert refused.returncode == 65
    (said,) = (line for line in refused.stderr.splitlines() if "is damaged" in line)
    assert "crewd salvage" in said and "quarantine" in said, "in one line, which is what commands show of it"
    assert "quarantine" in crewd(daemon.home.root).stderr, "nor is it served the next time"
    assert not daemon.home.database.exists()
    (aside,) = daemon.home.quarantine.iterdir()
    assert (aside / "crewd.db").read_bytes() == data, "nothing of it is lost"
    told = crewd(daemon.home.root, "salvage")
    assert "events were saved" in told.stdout, told.stderr
    daemon.start()
    with daemon.connect() as again:
        saved = {run.id for run in again.runs(all=True).runs}
        assert len(saved) >= 4, "one page was damaged"
        whole = [run for run in saved if list(again.events(run)) == before[run]["events"]]
        assert len(whole) >= 3
        for run in whole:
            assert again.show(run).tasks == before[run]["tasks"]
        assert healthy(again)
        assert again.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir).result() == 3
    assert "nothing here waits" in crewd(daemon.home.root, "salvage").stderr or daemon.pid


def test_a_database_whose_log_is_missing_is_not_served_as_an_empty_one(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    finished(crew, jobs_dir, "before")
    lives = crew.exec(["sleep", "300"], cwd="/").id
    wait_until(lambda: crew.show(lives).tasks[0].status == "running", "it to run")
    daemon.kill()
    log = daemon.home.root / "crewd.db-wal"
    kept = log.read_bytes()
    for path in daemon.home.root.glob("crewd.db-*"):
        path.unlink()
    refused = crewd(daemon.home.root)
    assert (refused.returncode, "crewd.db-wal is not there" in refused.stderr) == (65, True), refused.stderr
    (aside,) = daemon.home.quarantine.iterdir()
    (aside / log.name).write_bytes(kept)  # it was found again
    assert "0 are lost" in crewd(daemon.home.root, "salvage").stdout
    daemon.start()
    with daemon.connect() as again:
        assert again.show(lives).tasks[0].status == "running", "its worker was left alone"
        assert again.cancel(lives).verified
        assert healthy(again)


def test_a_database_that_is_taken_away_is_missed_at_once_and_nothing_is_lost(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = finished(crew, jobs_dir, "before")
    before = everything(crew, run)
    lives = crew.exec(["sleep", "300"], cwd="/").id
    wait_until(lambda: crew.show(lives).tasks[0].status == "running", "it to run")

    def take_away() -> None:
        for path in daemon.home.root.glob("crewd.db*"):
            path.unlink()

    take_away()
    with pytest.raises(CrewdError):  # it is not taken in, and never said to be
        crew.exec(["true"], cwd="/")
    wait_until(lambda: daemon.stopped, "crewd to give up")
    refused = crewd(daemon.home.root)
    assert (refused.returncode, "quarantine/removed-1" in refused.stderr) == (65, True)
    assert "0 are lost" in crewd(daemon.home.root, "salvage").stdout
    daemon.start()
    with daemon.connect() as again:
        assert again.show(run).tasks == before["tasks"]
        assert again.show(lives).tasks[0].status == "running"
        assert again.cancel(lives).verified
        assert healthy(again)
        again.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    take_away()
    refused = crewd(daemon.home.root)
    assert (refused.returncode, "the database is gone, and there were runs" in refused.stderr) == (65, True)
    assert "nothing of" in crewd(daemon.home.root, "salvage").stderr
    aside = next(folder for folder in daemon.home.quarantine.iterdir() if folder.name != "removed-1")
    (aside / "settled").touch()
    daemon.start()
    with daemon.connect() as empty:
        assert empty.runs(all=True).runs == ()


def test_a_file_in_the_place_of_the_database_and_a_log_that_was_left_are_kept_and_never_mixed(
    daemon: Daemon, crew: Crew, jobs_dir: str
) -> None:
    run = finished(crew, jobs_dir, "mine")
    before = everything(crew, run)
    daemon.home.database.rename(daemon.home.database.with_name("moved"))
    daemon.home.database.write_bytes(b"somebody else's")
    with pytest.raises(CrewdError):
        crew.exec(["true"], cwd="/")
    wait_until(lambda: daemon.stopped, "crewd to give up")
    log = b"a log of no database" * 1_000
    (daemon.home.root / "crewd.db-wal").write_bytes(log)
    assert crewd(daemon.home.root).returncode == 65
    assert "0 are lost" in crewd(daemon.home.root, "salvage").stdout
    aside = daemon.home.quarantine / "removed-1"
    assert (aside / "in-its-place-crewd.db").read_bytes() == b"somebody else's"
    assert (aside / "in-its-place-crewd.db-wal").read_bytes() == log
    daemon.start()
    with daemon.connect() as again:
        assert again.show(run).tasks == before["tasks"]
        assert healthy(again)


def test_a_database_that_cannot_be_kept_now_is_kept_later(tmp_path: Path) -> None:
    quarantine = tmp_path / "quarantine"
    database = Database(tmp_path / "crewd.db", "e", None, quarantine)
    (tmp_path / "crewd.db").unlink()
    quarantine.write_text("no directory")
    with pytest.raises(StoreUnavailable, match="cannot be kept"):
        database.commit([])
    quarantine.unlink()
    with pytest.raises(StoreDamaged, match="what it held is in"):
        database.commit([])
    assert [path.name for path in (quarantine / "removed-1").iterdir()] == ["crewd.db"]
    database.close()


def test_the_shell_says_what_became_of_each_run(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    finished(crew, jobs_dir, "one")
    live = crew.call("jobs:listen", cwd=jobs_dir, name="live")
    assert "would be archived" in shell.ok("archive", "one", "-n")
    assert "one  archived" in shell.ok("archive", "one")
    assert "is kept: it is" in shell.fails(5, "forget", "live")
    assert json.loads(shell.ok("--json", "prune", "--older-than", "0s", "-n"))["runs"][0]["action"] == "forgotten"
    assert "is no time" in shell.fails(2, "prune", "--older-than", "long")
    live.cancel(mode="now")


def flip(path: Path, part: str) -> None:
    """Change a byte in the middle of a part of a zip file."""
    with zipfile.ZipFile(path) as bundle:
        info = bundle.getinfo(part)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(part) + info.compress_size // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_bundle_is_an_error_of_its_own_and_of_nothing_else(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path
) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    run, other = finished(crew, jobs_dir, "broken"), finished(crew, jobs_dir, "whole")
    shell.ok("export", "broken", "-o", str(tmp_path / "x.zip"))
    flip(tmp_path / "x.zip", "events/000000.jsonl")
    assert "cannot be read" in shell.fails(2, "import", str(tmp_path / "x.zip"))
    keeping.archive(crew, run)
    (bundle,) = daemon.home.archive.glob("*.zip")
    flip(bundle, "events/000000.jsonl")
    pid = daemon.pid
    for words in (("history", "broken"), ("events", "broken")):
        assert "events/000000.jsonl" in shell.fails(2, *words)
    assert "broken" in shell.ok("ps", "-a")
    assert "damaged" in shell.prints(1, "doctor", "--check")
    assert shell.fails(2, "export", "broken", "-o", str(tmp_path / "y.zip"))
    bundle.unlink()
    assert daemon.pid == pid and not daemon.stopped
    daemon.kill()
    daemon.start()
    assert "broken" in shell.ok("ps", "-a") and "is damaged or gone" in shell.fails(65, "show", "broken")
    assert "not there" in shell.prints(1, "doctor")
    assert "1 bundle is damaged or gone" in shell.fails(1, "backup", str(tmp_path / "b"))
    assert {each.name: each.action for each in keeping.prune(crew, kp.Prune(older_seconds=0, dry_run=True))} == {
        "broken": "forgotten", "whole": "forgotten",
    }  # fmt: skip
    shell.ok("forget", "broken", "--intent", f"its bundle is lost, password=hunter2secret {other}")
    assert "hunter2" not in shell.ok("events", "--type", "run.forgotten", "--since", "1h")
    assert healthy(crew)


def test_two_that_archive_the_same_run_at_once_lose_nothing(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = finished(crew, jobs_dir, "twice")
    before = everything(crew, run)

    def act(_: int) -> kp.Kept:
        with daemon.connect() as mine:
            return keeping.archive(mine, run)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(act, range(4)))
    assert sorted(each.action for each in done) == ["archived", "kept", "kept", "kept"]
    assert everything(crew, run) == before
    assert len(list(daemon.home.archive.glob("*.zip"))) == 1 and healthy(crew)
    again = finished(crew, jobs_dir, "again")
    left = [daemon.home.archive / f"{again}-{number}.zip" for number in range(300)]
    for path in left:  # of archives that were never recorded: they may be on their way into the log
        path.write_bytes(b"x")
    assert keeping.archive(crew, again, intent="why not").action == "archived"
    assert all(path.read_bytes() == b"x" for path in left if path.exists()) and crew.show(again).run.archived not in {
        path.name for path in left
    }  # fmt: skip
    (stone,) = (event.body for event in crew.events(types=["run.archived"]) if event.run == again)
    assert isinstance(stone, RunArchived) and stone.intent == "why not"


@pytest.mark.usefixtures("daemon")
def test_what_has_dead_letters_is_not_archived(crew: Crew, jobs_dir: str) -> None:
    crew.call("jobs:fail", cwd=jobs_dir, name="dead").wait()
    assert "dead letters" in keeping.archive(crew, "dead").why


@pytest.mark.parametrize(
    "damage", [pytest.param("header", marks=pytest.mark.long), pytest.param("schema", marks=pytest.mark.long), "all"]
)
def test_whatever_is_left_of_a_database_somebody_decides(daemon: Daemon, crew: Crew, jobs_dir: str, damage: str) -> None:
    run = finished(crew, jobs_dir, "one")
    keeping.archive(crew, finished(crew, jobs_dir, "two"))
    before = everything(crew, run)
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    data = daemon.home.database.read_bytes()
    schema = data.replace(b"CREATE TABLE events (", b"CREATE TABLE \xff\xff\xff\xff\xff\xff (")
    assert schema != data
    left = {"header": b"x" * 24 + data[24:], "schema": schema, "all": b""}[damage]
    daemon.home.database.write_bytes(left)
    assert crewd(daemon.home.root).returncode == 65
    assert "quarantine" in Shell(str(daemon.home.root), Path(jobs_dir)).fails(69, "daemon", "start"), "also crew says why"
    told = crewd(daemon.home.root, "salvage")
    (aside,) = daemon.home.quarantine.iterdir()
    assert (aside / "crewd.db").read_bytes() == left
    if damage == "header":  # it is the same in each database
        assert "0 are lost" in told.stdout, told.stderr
        daemon.start()
        with daemon.connect() as again:
            assert everything(again, run) == before and healthy(again)
    else:
        assert told.returncode == 65 and "nothing of" in told.stderr
        assert not daemon.home.database.exists() and list(daemon.home.archive.glob("*.zip"))
        (aside / "settled").touch()
        daemon.start()
        with daemon.connect() as again:
            assert again.runs(all=True).runs == ()


def test_what_workers_leave_is_listed_and_got_also_when_it_is_archived(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path
) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    first = crew.call("jobs:leave_files", {"size": 200_000}, cwd=jobs_dir, name="first")
    second = crew.call("jobs:leave_files", {"size": 200_000}, cwd=jobs_dir, name="second")
    for run in (first, second):
        assert run.wait().run.status == "completed"
    blobs = [path for path in daemon.home.blobs.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(blobs) == 2, "the same content is stored once"
    assert "large.bin" in shell.ok("artifacts", "first") and "small.txt" in shell.ok("artifacts", "first")
    listed = {row["name"]: row for row in shell.json("artifacts", "first")["artifacts"]}
    assert {listed[name]["sha256"] for name in ("large.bin", "brief.txt")} == {blob.name for blob in blobs}
    assert shell.ok("artifact", "get", "first", "small.txt") == "small"
    assert shell.ok("artifact", "get", "first", "small.txt", "-o", "-") == "small"
    for state in ("stored", "archived"):
        shell.ok("artifact", "get", "first", "large.bin", "-o", str(tmp_path / state))
        assert hashlib.sha256((tmp_path / state).read_bytes()).hexdigest() == listed["large.bin"]["sha256"]
        if state == "stored":
            assert "exists" in shell.fails(2, "artifact", "get", "first", "large.bin", "-o", str(tmp_path / state))
            keeping.archive(crew, "first")
    assert "no artifact" in shell.fails(4, "artifact", "get", "first", "../../etc/passwd")
    shell.ok("export", "first", "-o", str(tmp_path / "first.zip"))
    with zipfile.ZipFile(tmp_path / "first.zip") as bundle:
        names = {name.rpartition("/")[2] for name in bundle.namelist()}
    assert {"small.txt", "large.bin"} <= names and "brief.txt" not in names, "a temporary one is not archived"


@pytest.mark.parametrize("kind", ["gone", "changed"])
def test_a_bundle_says_which_artifacts_it_lacks_and_a_run_that_lacks_one_is_not_archived(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path, kind: str
) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    run = crew.call("jobs:leave_files", {"size": 200_000}, cwd=jobs_dir, name="lacks")
    run.wait()
    placed = next((daemon.home.runs / run.id).rglob("artifacts/large.bin"))
    digest = hashlib.sha256(placed.read_bytes()).hexdigest()
    blob = next(path for path in daemon.home.blobs.rglob(digest))
    placed.unlink()
    shell.ok("export", "lacks", "-o", str(tmp_path / "whole.zip"))
    with zipfile.ZipFile(tmp_path / "whole.zip") as bundle:
        assert f"files/blobs/{digest}" in bundle.namelist(), "its blob takes its place"
    blob.unlink()
    if kind == "changed":
        placed.write_bytes(b"another one")
    said = shell.run("export", "lacks", "-o", str(tmp_path / "left.zip"))
    assert said.returncode == 0
    assert "the artifact large.bin" in said.stderr and "is damaged or gone, and not in it as it was" in said.stderr
    assert "the artifact large.bin" in keeping.archive(crew, "lacks").why
    assert run.show().run.archived == ""


def test_a_row_that_is_damaged_is_named_and_made_anew(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = finished(crew, jobs_dir, "one")
    before = everything(crew, run)
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    with contextlib.closing(sqlite3.connect(daemon.home.database)) as sql:
        for key, doc in sql.execute("SELECT id, doc FROM tasks").fetchall():
            sql.execute("UPDATE tasks SET doc = ? WHERE id = ?", (doc.replace(b"runtime", b"runtimf"), key))
        sql.commit()
    daemon.start()
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    assert "crew doctor --check" in shell.fails(69, "ps", "-a")
    assert f"{run}/" in shell.run("doctor", "--check").stdout
    assert "cannot be compared" in shell.run("doctor", "--rebuild").stdout
    with daemon.connect() as again:
        again.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    assert crewd(daemon.home.root, "salvage", "--anyway").returncode == 0
    daemon.start()
    with daemon.connect() as again:
        assert everything(again, run) == before


def test_no_planted_secret_is_in_any_file_of_the_home(daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path) -> None:
    secret = "sk-proj-PLANTED0123456789abcdef"
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    flow = Workflow(
        "leaky", (Step("leak", worker=WorkerSpec(call="jobs:leak", args={"half": secret[:14], "rest": secret[14:]})),)
    )
    run = crew.run(flow, cwd=jobs_dir, name="leaky", goal=f"use {secret}")
    run.steer(f"the key is {secret}", wait="applied")
    assert run.wait().run.status == "completed"
    assert shell.ok("artifact", "get", "leaky", "large.txt").count("*" * len(secret)) == 1
    finished = crew.call("jobs:listen", cwd=jobs_dir, name="told")
    finished.steer(f"api_key={secret}", wait="accepted")
    finished.cancel(mode="now", intent=f"because {secret}")
    refused = shell.fails(2, "call", "jobs:add", "--arg", f'a="{secret}"')
    assert "looks like a secret" in refused and "args.a" in refused and secret not in refused
    assert "was masked" in shell.fails(5, "steer", "leaky", f"see {secret}")
    shown = json.dumps(shell.json("show", "leaky")) + shell.ok("logs", "leaky") + shell.ok("history", "leaky")
    assert secret not in shown and "[redacted]" in shown and "*****" in shell.ok("logs", "leaky")
    wait_until(lambda: list(daemon.home.runs.glob(f"{run.id}/*/*/scrubbed")), "the output to be scrubbed")
    shell.ok("export", "leaky", "-o", str(tmp_path / "leaky.zip"))
    crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    for path in [*daemon.home.root.rglob("*"), *Path(tmp_path).rglob("*")]:
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    with zipfile.ZipFile(tmp_path / "leaky.zip") as bundle:
        for name in bundle.namelist():
            assert secret.encode() not in bundle.read(name), name


def test_a_request_that_is_sent_again_is_not_carried_out_twice(daemon: Daemon) -> None:
    """A client that sees no answer sends its request again: several of one wait when crewd has been away."""
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        step = {"id": "a", "worker": {"argv": ["true"]}}
        speaker.say("start_run", "r", {"workflow": {"name": "w", "steps": [step]}, "goal": "", "cwd": "/"})
        started = speaker.replies("r")
        assert isinstance(started, rl.RunReply)
        speaker.say("await_end", "e", {"target": started.run.id})
        assert isinstance(speaker.replies("e"), rl.EndReply)
        for _ in range(5):
            speaker.say("archive", "a", {"target": started.run.id})
        kept = speaker.replies("a")
    assert isinstance(kept, kp.KeptReply)
    assert [(each.action, each.why) for each in kept.runs] == [("archived", "")], "the true answer comes first"
