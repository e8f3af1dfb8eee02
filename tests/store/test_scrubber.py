"""What is blotted when, and that nobody waits for more of it than a portion."""

from __future__ import annotations

from pathlib import Path

from crewd.clock import SystemClock
from crewd.guardian.files import SCRUBBED, Files
from crewd.guardian.output_files import EXIT_FILE, SCRUB_BYTES
from crewd.model.home import Home
from crewd.model.ids import RUN
from crewd.store.keeper.scrubber import Scrubber
from crewd.store.run_files import RunFiles

SECRET = b"api_key=abcdefgh12345678\n"


RUNS = {name: f"{RUN}_{name * 26}"[:28] for name in "abc"}


def scrubber(root: Path) -> Scrubber:
    return Scrubber(RunFiles(Files(Home(root), SystemClock()).answer))


def attempt(root: Path, run: str, step: str, filling: int = 0) -> Path:
    directory = Home(root).runs / RUNS[run] / step / "1"
    directory.mkdir(parents=True)
    (directory / EXIT_FILE).touch()
    (directory / "stdout").write_bytes(b"." * filling + b"\n" + SECRET)
    return directory


def add(to: Scrubber, directory: Path) -> None:
    to.add(directory.parts[-3], "/".join(directory.parts[-2:]).encode())


def is_clean(directory: Path) -> bool:
    return b"abcdefgh" not in (directory / "stdout").read_bytes() and (directory / SCRUBBED).exists()


def test_what_is_long_is_done_a_portion_at_a_time(tmp_path: Path) -> None:
    to, long = scrubber(tmp_path), attempt(tmp_path, "a", "long", 5 * SCRUB_BYTES)
    add(to, long)
    steps = 0
    while to:
        assert not is_clean(long)
        to.step()
        steps += 1
    assert is_clean(long)
    assert steps >= 6


def test_what_is_short_shares_a_step(tmp_path: Path) -> None:
    to = scrubber(tmp_path)
    short = [attempt(tmp_path, "a", str(number)) for number in range(10)]
    for directory in short:
        add(to, directory)
    to.step()
    assert is_clean(short[0]) and is_clean(short[1]) and not is_clean(short[9])


def test_a_run_that_leaves_is_done_at_once_and_the_others_wait(tmp_path: Path) -> None:
    to = scrubber(tmp_path)
    begun, mine, other = (
        attempt(tmp_path, run, step, 3 * SCRUB_BYTES) for run, step in (("a", "one"), ("a", "two"), ("b", "one"))
    )
    for directory in (begun, other, mine):
        add(to, directory)
    to.step()
    to.finish(RUNS["a"])
    assert is_clean(begun) and is_clean(mine) and not is_clean(other)
    to.finish()
    assert is_clean(other) and not to


def test_what_is_gone_or_elsewhere_is_left_alone(tmp_path: Path) -> None:
    outside = attempt(tmp_path / "elsewhere", "a", "one")
    to = scrubber(tmp_path)
    Home(tmp_path).runs.mkdir()
    (Home(tmp_path).runs / RUNS["a"]).symlink_to(outside.parent.parent)
    add(to, outside)
    to.add(RUNS["b"], b"gone/1")
    to.add(RUNS["b"], b"../../elsewhere")
    to.add("..", b"elsewhere/1")
    to.finish()
    assert b"abcdefgh" in (outside / "stdout").read_bytes() and not to
