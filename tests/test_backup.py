"""What a backup holds, and what taking it back does to the backup and to the home: through the public socket and the shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process
LARGE = 200_000


def fill(crew: Crew, jobs_dir: str) -> list[RunHandle]:
    """Runs whose artifacts, results and outputs are files: one of a callable, one of two steps."""
    left = crew.call("jobs:leave_and_return", {"size": LARGE}, cwd=jobs_dir)
    left.result(timeout=120)
    steps = (
        Step("a", worker=WorkerSpec(shell="echo of a"), output="a.txt"),
        Step("b", worker=WorkerSpec(shell="cat a.txt"), depends_on=("a",), reads=("a.txt",)),
    )
    waits = crew.run(Workflow("two", steps), cwd="/")
    waits.wait(timeout=120)
    return [left, waits]


def restore(backup: Path, home: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "crewd", "--home", str(home), "restore", str(backup)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    return {str(each.relative_to(folder)): (each.stat().st_size, each.stat().st_mtime_ns) for each in folder.rglob("*")}


def test_artifacts_results_and_outputs_are_in_a_backup(
    daemon: Daemon, crew: Crew, jobs_dir: str, home: Path, tmp_path: Path
) -> None:  # fmt: skip
    left, waits = fill(crew, jobs_dir)
    shell = Shell(str(daemon.home.root), tmp_path)
    result = left.result(timeout=60)
    shell.ok("backup", str(tmp_path / "b"))
    assert not list(tmp_path.glob(".b.*"))
    before = tree(tmp_path / "b")
    done = restore(tmp_path / "b", home / "other")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "b") == before, "nothing is written to a backup, which may lie on read-only media"
    with Daemon(home / "other") as other, other.connect() as again:
        assert again.doctor(check=True).healthy
        shell = Shell(str(other.home.root), tmp_path)
        shell.ok("artifact", "get", left.id, "large.bin", "-o", "large.bin")
        assert (tmp_path / "large.bin").stat().st_size == LARGE
        assert again.result(left.id, timeout=60) == result
        assert (other.home.shared(waits.id) / "a.txt").read_text() == "of a\n"
        assert "was temporary" in shell.fails(4, "artifact", "get", left.id, "brief.txt", "-o", "brief.txt")
        for each in (other.home.root, *other.home.blobs.rglob("*"), *other.home.runs.rglob("*")):
            assert not each.stat().st_mode & 0o077, each


@pytest.mark.parametrize("gone", [True, False])
def test_an_artifact_that_is_damaged_or_gone_is_named(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path, gone: bool
) -> None:  # fmt: skip
    fill(crew, jobs_dir)
    for blob in [each for each in daemon.home.blobs.rglob("*") if each.is_file() and each.stat().st_size == LARGE]:
        blob.chmod(0o600)
        blob.unlink() if gone else blob.write_bytes(b"x" * LARGE)
    assert "the artifact large.bin of " in Shell(str(daemon.home.root), tmp_path).fails(1, "backup", str(tmp_path / "b"))


def test_a_copied_home_is_taken_back_with_what_its_log_adds(daemon: Daemon, crew: Crew, home: Path, tmp_path: Path) -> None:
    run = crew.exec(["true"], cwd="/")
    run.wait(timeout=120)
    daemon.kill()
    copied = tmp_path / "copied"
    copied.mkdir()
    for path in daemon.home.root.glob("crewd.db*"):
        shutil.copyfile(path, copied / path.name)
    assert (copied / "crewd.db-wal").stat().st_size
    before = tree(copied)
    assert restore(copied, home / "other").returncode == 0
    assert tree(copied) == before
    with Daemon(home / "other") as other, other.connect() as again:
        assert again.show(run.id).run.status == "completed"


def test_what_a_killed_backup_left_is_no_backup_and_is_replaced(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    crew.exec(["true"], cwd="/").wait(timeout=120)
    left, other = tmp_path / f".b.{daemon.home.key}.part", tmp_path / ".b.part"
    for each in (left, other):
        each.mkdir()
        (each / "crewd.db").write_text("half")
    shell = Shell(str(daemon.home.root), tmp_path)
    shell.ok("backup", str(tmp_path / "b"))
    assert sorted(each.name for each in (tmp_path / "b").iterdir()) == ["archive", "crewd.db"]
    assert not left.exists()
    assert (other / "crewd.db").read_text() == "half", "it is not this home's"
    wait_until(lambda: crew.doctor().healthy, "the home to be well")


def test_a_restore_follows_no_link_and_removes_nothing_of_a_worker(
    daemon: Daemon, crew: Crew, jobs_dir: str, tmp_path: Path
) -> None:  # fmt: skip
    _, waits = fill(crew, jobs_dir)
    Shell(str(daemon.home.root), tmp_path).ok("backup", str(tmp_path / "b"))
    shared, mine, elsewhere = (
        daemon.home.shared(waits.id),
        daemon.home.runs / waits.id / ".restored-mine",
        tmp_path / "elsewhere",
    )
    mine.write_text("a worker's")
    crew.stop_daemon(mode="end")
    wait_until(lambda: daemon.stopped, "crewd to stop")
    shutil.copytree(shared, elsewhere)
    shutil.rmtree(shared)
    (elsewhere / "a.txt").write_text("precious")
    shared.symlink_to(elsewhere)
    words = [sys.executable, "-m", "crewd", "--home", str(daemon.home.root), "restore", "--replace", str(tmp_path / "b")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert "a link is in the place of a directory" in done.stderr
    assert (elsewhere / "a.txt").read_text() == "precious"
    shared.unlink()
    assert subprocess.run(words, capture_output=True, text=True, check=False, timeout=120).returncode == 0
    assert (shared / "a.txt").read_text() == "of a\n"
    assert mine.read_text() == "a worker's"
