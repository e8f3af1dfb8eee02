"""`crew logs` through the command line: lines and bytes as they were written, and nothing that steers a terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from crewd.client.blocking import Crew, RunHandle
from crewd.client.cli.main import main
from crewd.client.shapes import one_step
from crewd.model.policy import Limits
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing.daemon import wait_until
from tests.shell import MAIN

pytestmark = pytest.mark.process


def shown(crew: Crew, *words: str) -> subprocess.CompletedProcess[bytes]:
    done = CliRunner().invoke(main, ["--home", str(crew.home.root), "logs", *words], prog_name="crew")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout_bytes, done.stderr_bytes)


def logs(crew: Crew, *words: str) -> bytes:
    done = shown(crew, *words)
    assert done.returncode == 0, done
    return done.stdout


def ended(crew: Crew, script: str) -> RunHandle:
    run = crew.exec(["sh", "-c", script], cwd="/")
    run.wait(timeout=120)
    return run


@pytest.mark.parametrize("count", [0, 1, 7, 4_000, 50_000])
def test_a_tail_is_so_many_lines(crew: Crew, count: int) -> None:
    run = ended(crew, "seq 1 30000")
    expected = [f"{number}\n".encode() for number in range(1, 30_001)]
    assert logs(crew, run.id, "--tail", str(count)) == b"".join(expected[len(expected) - min(count, 30_000) :])


def test_lines_of_any_length_and_a_last_one_without_an_end(crew: Crew) -> None:
    run = ended(crew, "for i in 1 2 3; do head -c 700000 /dev/zero | tr '\\0' x; echo; done; printf last")
    assert logs(crew, run.id, "--tail", "2") == b"x" * 700_000 + b"\nlast"
    assert len(logs(crew, run.id)) == 3 * 700_001 + 4
    longer = ended(crew, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo more")
    assert logs(crew, longer.id) == b"x" * 3_000_000 + b"\nmore\n"


def test_no_character_is_cut_and_bytes_that_are_none_are_kept(crew: Crew) -> None:
    text = "ü€😀" * 60_000
    run = crew.exec(["cat"], stdin=text.encode()[:262_143], cwd="/")
    run.wait(timeout=120)
    assert logs(crew, run.id) == text.encode()[:262_143]
    run = ended(crew, r"printf 'caf\351\n'")
    assert logs(crew, run.id) == b"caf\xe9\n"


def test_nothing_steers_a_terminal_unless_it_is_asked_for(crew: Crew) -> None:
    run = ended(crew, r"printf 'a\033[31mred\033[0m\n10%%\r20%%\r\n\033]0;title\007b\n'")
    assert logs(crew, run.id) == b"ared\n20%\nb\n"
    assert logs(crew, run.id, "--raw") == b"a\x1b[31mred\x1b[0m\n10%\r20%\r\n\x1b]0;title\x07b\n"


def test_lines_are_chosen_by_pattern_and_time_and_shown_with_their_time(crew: Crew, tmp_path: Path) -> None:
    script = f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo two; echo three"
    run = crew.exec(["sh", "-c", script], cwd="/")
    times = crew.home.attempt(f"{run.id}/sh", 1) / "times"
    wait_until(lambda: times.exists() and times.stat().st_size, "the time of the first line to be noted")
    first = times.stat().st_mtime
    wait_until(lambda: time.time() > first + 0.1, "the clock to move on")
    (tmp_path / "go").touch()
    run.wait(timeout=120)
    assert logs(crew, run.id, "--grep", "^t") == b"two\nthree\n"
    stamped = logs(crew, run.id, "--timestamps").decode().splitlines()
    assert [line.split()[-1] for line in stamped] == ["one", "two", "three"]
    assert all(line[:2] == "20" for line in stamped)
    abroad = subprocess.run(
        [sys.executable, "-c", MAIN, "--home", str(crew.home.root), "logs", run.id, "--timestamps"], check=True,
        capture_output=True, text=True, env={**os.environ, "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert all(line.split()[0].endswith("+09:00") for line in abroad.stdout.splitlines())
    lines = [json.loads(line) for line in logs(crew, run.id, "--json").splitlines()]
    assert lines[0]["at"] < lines[1]["at"]
    assert b"one" not in logs(crew, run.id, "--since", _iso(lines[1]["at"]))


def test_an_attempt_that_never_was_is_no_empty_output(crew: Crew) -> None:
    run = ended(crew, "echo one")
    assert logs(crew, run.id, "--attempt", "1") == b"one\n"
    for target in (run.id, f"{run.id}/sh"):
        for more in ((), ("--follow",)):
            told = shown(crew, target, "--attempt", "9", *more)
            assert told.returncode == 4
            assert b"has no attempt 9" in told.stderr


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def test_a_tail_of_a_run_is_so_many_lines_of_all_its_steps(crew: Crew) -> None:
    steps = (
        Step("a", worker=WorkerSpec(shell="seq 1 5")),
        Step("b", depends_on=("a",), worker=WorkerSpec(shell="seq 6 7")),
    )
    run = crew.run(Workflow("w", steps), cwd="/")
    run.wait(timeout=120)
    for count, shown in ((1, ["b | 7"]), (3, ["a | 5", "b | 6", "b | 7"]), (0, []), (99, None)):
        lines = logs(crew, run.id, "--tail", str(count)).decode().splitlines()
        assert lines == shown if shown is not None else len(lines) == 7
    assert logs(crew, f"{run.id}/a", "--tail", "2", "--grep", "[13]") == b"1\n3\n", "of the lines that match"


def test_what_was_written_over_is_what_a_terminal_would_show(crew: Crew) -> None:
    run = ended(crew, r"printf 'long text\rsho\n50%%\r\033[K7%%\nab\r\n\2337m\n'")
    assert logs(crew, run.id) == "shog text\n7%\nab\n\ufffd7m\n".encode()


def test_the_logs_of_a_run_name_their_steps(crew: Crew) -> None:
    steps = (
        Step("a", worker=WorkerSpec(shell="echo 1; echo 2")),
        Step("bb", depends_on=("a",), worker=WorkerSpec(shell="echo 3")),
    )
    run = crew.run(Workflow("w", steps), cwd="/")
    run.wait(timeout=120)
    assert logs(crew, run.id) == b"a  | 1\na  | 2\nbb | 3\n"
    assert logs(crew, f"{run.id}/bb") == b"3\n"


def test_what_is_not_kept_is_said_and_the_tail_is_what_is_kept(crew: Crew) -> None:
    spec = WorkerSpec(shell="seq 1 2000000; sleep 4", limits=Limits(output_bytes=1 << 20))
    run = crew.run(one_step("big", spec), cwd="/")
    run.wait(timeout=120)
    assert logs(crew, run.id, "--tail", "3") == b"1999998\n1999999\n2000000\n"
    assert logs(crew, run.id, "--tail", "3000000").endswith(b"2000000\n")


def test_a_terminal_for_a_command_is_shown_and_typed_at(crew: Crew, tmp_path: Path) -> None:
    script = 'test -t 0 && test -t 1 && test -t 2 && echo tty; stty size; read x; echo "got $x"; read y; stty size'
    run = crew.exec(["sh", "-c", script], pty=(33, 77), cwd=str(tmp_path))
    wait_until(lambda: b"33 77" in crew.log(run.id).data, "the size that it began with")
    assert run.steer("hello", wait="settled", timeout=120).note == "typed"

    assert "10 rows" in run.steer("10x20", wait="settled", timeout=120, terms=Terms(typed="size")).note
    run.steer("k", terms=Terms(typed="keys"))
    run.steer("\r", terms=Terms(typed="keys"))
    run.wait(timeout=120)
    shown = logs(crew, run.id).decode()
    assert "tty\n33 77\n" in shown
    assert "got hello\n" in shown
    assert shown.rstrip().endswith("10 20")


def test_where_only_standard_error_holds_something_it_is_named(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:fail", cwd=jobs_dir)
    run.wait(timeout=120)
    errors = logs(crew, run.id, "--stderr").decode()
    assert errors.splitlines()[1].strip().startswith(f'File "{jobs_dir}/jobs.py"'), "it begins with the worker's own code"
    done = shown(crew, run.id)
    assert (done.returncode, done.stdout) == (0, b"")
    assert f"crew logs {run.id} --stderr shows {len(errors)} bytes".encode() in done.stderr
    assert shown(crew, ended(crew, "true").id).stderr == b""


def test_output_that_somebody_has_deleted_is_said_to_be_gone(crew: Crew) -> None:
    quiet = ended(crew, "true")
    assert logs(crew, quiet.id) == b"", "it has written nothing"
    run = ended(crew, "echo said")
    shutil.rmtree(crew.home.runs / run.id)
    done = shown(crew, run.id)
    assert done.returncode == 4
    assert b"is not here any more" in done.stderr
