"""What is blotted when, and that nobody waits for more of it than a portion."""

from __future__ import annotations

from pathlib import Path

from crewd.store.keeper.scrubber import SCRUBBED, Scrubber
from crewd.worker_output import SCRUB_BYTES

SECRET = b"api_key=abcdefgh12345678\n"


def attempt(runs: Path, name: str, filling: int = 0) -> Path:
    directory = runs / name
    directory.mkdir(parents=True)
    (directory / "stdout").write_bytes(b"." * filling + b"\n" + SECRET)
    return directory


def is_clean(directory: Path) -> bool:
    return b"abcdefgh" not in (directory / "stdout").read_bytes() and (directory / SCRUBBED).exists()


def test_what_is_long_is_done_a_portion_at_a_time(tmp_path: Path) -> None:
    scrubber, long = Scrubber(tmp_path), attempt(tmp_path, "r/long/1", 5 * SCRUB_BYTES)
    scrubber.add(long)
    steps = 0
    while scrubber:
        assert not is_clean(long)
        scrubber.step()
        steps += 1
    assert is_clean(long)
    assert steps >= 6


def test_what_is_short_shares_a_step(tmp_path: Path) -> None:
    scrubber = Scrubber(tmp_path)
    short = [attempt(tmp_path, f"r/{number}/1") for number in range(10)]
    for directory in short:
        scrubber.add(directory)
    scrubber.step()
    assert all(map(is_clean, short[:3]))


def test_a_run_that_leaves_is_done_at_once_and_the_others_wait(tmp_path: Path) -> None:
    scrubber = Scrubber(tmp_path)
    begun, mine, other = (attempt(tmp_path, name, 3 * SCRUB_BYTES) for name in ("mine/a/1", "mine/b/1", "other/a/1"))
    for directory in (begun, other, mine):
        scrubber.add(directory)
    scrubber.step()
    scrubber.finish("mine")
    assert is_clean(begun) and is_clean(mine) and not is_clean(other)
    scrubber.finish()
    assert is_clean(other) and not scrubber


def test_what_is_gone_or_elsewhere_is_left_alone(tmp_path: Path) -> None:
    outside = attempt(tmp_path, "elsewhere/a/1")
    scrubber = Scrubber(tmp_path / "runs")
    scrubber.add(outside)
    scrubber.add(tmp_path / "runs" / "r" / "gone" / "1")
    scrubber.finish()
    assert b"abcdefgh" in (outside / "stdout").read_bytes() and not scrubber
