"""The cgroup net, over a folder that stands for the kernel's tree, and over the real one where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.guardian.cgroups import Cgroups, _find_base

KEY = ("r_1/build", 2)


def test_a_worker_is_found_again_by_the_name_of_its_cgroup(tmp_path: Path) -> None:
    groups = Cgroups("home", tmp_path)
    procs = Path(groups.make(KEY))
    procs.write_text("12\n13\n")
    assert groups.pids(KEY) == {12, 13}
    assert Cgroups("home", tmp_path).found() == [KEY]
    assert Cgroups("other", tmp_path).found() == [], "another home's workers are none of ours"
    groups.kill(KEY)
    assert (procs.parent / "cgroup.kill").read_text() == "1"


def test_one_that_is_still_in_use_is_removed_later(tmp_path: Path) -> None:
    groups = Cgroups("home", tmp_path)
    procs = Path(groups.make(KEY))
    procs.write_text("12\n")
    groups.remove(KEY)
    assert procs.parent.exists()
    procs.unlink()
    groups.tidy()
    groups.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_makes_in_its_own_is_seen_and_removed(tmp_path: Path) -> None:
    groups = Cgroups("home", tmp_path)
    mine = Path(groups.make(KEY)).parent
    for number, folder in enumerate((mine, mine / "a", mine / "a" / "b", mine / "c")):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.procs").write_text(f"{number + 10}\n")
    (mine / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert groups.pids(KEY) == {10, 11, 12, 13}
    assert groups.is_populated(KEY)
    (mine / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert not groups.is_populated(KEY)
    for path in mine.rglob("cgroup.*"):
        path.unlink()
    groups.remove(KEY)
    assert not mine.exists()


def test_where_the_kernel_counts_processes_there_is_a_bound(tmp_path: Path) -> None:
    groups = Cgroups("home", tmp_path)
    mine = Path(groups.make(KEY)).parent
    (mine / "pids.max").write_text("max\n")
    groups.make(KEY, 100)
    assert (mine / "pids.max").read_text() == "200"


def test_without_a_tree_nothing_happens(tmp_path: Path) -> None:
    groups = Cgroups("home", tmp_path / "missing" / "deep")
    assert (groups.path, groups.make(KEY), groups.pids(KEY), groups.found()) == ("", "", frozenset(), [])
    groups.kill(KEY)
    groups.remove(KEY)
    groups.close()


def test_the_real_tree_kills_what_is_in_it(tmp_path: Path) -> None:
    import subprocess

    groups = Cgroups(f"test-{tmp_path.name}")
    if not groups.path or _find_base() is None:
        pytest.skip("no writable cgroup2 tree here")
    procs = groups.make(KEY)
    nested = Path(procs).parent / "a" / "b"
    inner = f"(echo 0 > {nested}/cgroup.procs; setsid sleep 1000; :)"
    script = f"echo $$ > {procs}; mkdir -p {nested}; {inner} & sleep 1000 & sleep 1000"
    process = subprocess.Popen(["sh", "-c", script])
    try:
        from crewd.testing.daemon import wait_until

        wait_until(lambda: len(groups.pids(KEY)) >= 4 and (nested / "cgroup.procs").read_text(), "the processes to be there")
        assert groups.is_populated(KEY)
        groups.kill(KEY)
        process.wait(10)
        wait_until(lambda: not groups.pids(KEY) and not groups.is_populated(KEY), "the cgroup to be empty")
    finally:
        process.kill()
        groups.remove(KEY)
        wait_until(lambda: groups.close() or not Path(groups.path).exists(), "the cgroups to be removed")  # type: ignore[func-returns-value]
