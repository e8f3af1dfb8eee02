"""What a worker may use and keep, by value and with real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.guardian import processes
from crewd.guardian.care_record import CareRecord
from crewd.guardian.folder import Folder
from crewd.guardian.output import Output, cap
from crewd.guardian.usage import exceeded
from crewd.model.policy import Limits


def test_the_first_limit_that_is_exceeded_is_named() -> None:
    limits = Limits(memory_bytes=100, cpu_seconds=2.0, processes=3)
    assert exceeded(limits, 100, 2.0, 3) is None
    assert exceeded(limits, 101, 9.0, 9) == ("memory_bytes", "101 bytes, 100 bytes are allowed")
    assert exceeded(limits, 1, 2.5, 9) == ("cpu_seconds", "2.5 s, 2 s are allowed")
    assert exceeded(limits, 1, 1.0, 4) == ("processes", "4, 3 are allowed")
    assert exceeded(Limits(memory_bytes=50 << 20), 126427136, 0.0, 1) == ("memory_bytes", "120.6 MiB, 50.0 MiB are allowed")
    assert exceeded(Limits(processes=0), 1 << 60, 1e9, 1 << 20) is None
    assert exceeded(Limits(), 1, 1.0, 5_000) == ("processes", "5000, 4096 are allowed"), "unless it says otherwise"


@pytest.mark.skipif(not processes.LINUX, reason="holes are punched on Linux")
def test_the_workers_of_a_run_share_what_it_may_keep(tmp_path: Path) -> None:
    outputs = []
    for number in range(4):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "stdout").write_bytes(b"x" * 1_000_000)
        (directory / "stderr").write_bytes(b"x" * 1_000)
        outputs.append(Output((f"r_1/{number}", 1), directory, 16 << 20))
    cap(outputs, 10_000_000)
    held = [(output.directory / "stdout").stat().st_blocks * 512 for output in outputs]
    assert all(size >= 1_000_000 for size in held), "there is room for all"
    cap(outputs, 800_000)
    held = [(output.directory / "stdout").stat().st_blocks * 512 for output in outputs]
    assert all(size < 150_000 for size in held), "an eighth each"
    assert all((output.directory / "stdout").stat().st_size == 1_000_000 for output in outputs), "offsets stay true"


def test_a_record_is_found_by_the_next_guardian(tmp_path: Path) -> None:
    record = CareRecord(
        "r_1/a", 2, pid=7, start=1.5, boot_id="b", on_orphan="end", limits=Limits(processes=3), unmarked=((9, 2.0),)
    )
    Folder(tmp_path / "n", CareRecord).keep(("r_1/a", 2), record)
    (tmp_path / "n" / "broken.msgpack").write_bytes(b"\xff")
    again = Folder(tmp_path / "n", CareRecord)
    assert list(again.all()) == [record]
    assert record.members("b") == ((7, 1.5), (9, 2.0))
    assert record.members("another boot") == (), "those pids are somebody else's now"
    assert (record.seconds_alone, CareRecord("t", 1).seconds_alone) == (0.0, 600.0)
    again.forget(("r_1/a", 2))
    assert list(again.all()) == []
