"""Links, pipes, directories and holes in the places of files that crewd and its guardian open."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from crewd.client.blocking import Crew
from crewd.model.errors import CrewdError
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.runs import HERE, begun, serves
from tests.hostile.wire import Speaker

pytestmark = pytest.mark.process


@contextlib.contextmanager
def hurt(daemon: Daemon, path: Path) -> Iterator[None]:
    """What stands in this place is taken away in the end, so that the daemon can be stopped."""
    try:
        yield
    finally:
        if path.is_fifo():
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # who waits for its other end goes on
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(("name", "what"), [("RECORD", "folder"), ("x", "pipe")])
def test_something_else_in_the_place_of_an_exit_record(daemon: Daemon, crew: Crew, name: str, what: str) -> None:
    run = begun(daemon, crew, "in_home", name=f"exits/{name}.msgpack", what=what)
    (path,) = [each for each in daemon.home.exits.glob("*.msgpack") if each.is_dir() or each.is_fifo()]
    with hurt(daemon, path):
        run.wait(timeout=120)
        if guardian := daemon.guardian_pid():
            os.kill(guardian, signal.SIGKILL)
        assert serves(crew)


def test_a_pipe_in_the_place_of_a_charge(daemon: Daemon, crew: Crew) -> None:
    begun(daemon, crew, "in_home", name="charges/x.msgpack", what="pipe")
    with hurt(daemon, daemon.home.root / "charges" / "x.msgpack"):
        daemon.kill_guardian()
        assert serves(crew)


def test_a_pipe_in_the_place_of_the_guardians_log(daemon: Daemon, crew: Crew) -> None:
    begun(daemon, crew, "in_home", name="logs/guardian.log", what="pipe")
    with hurt(daemon, daemon.home.logs / "guardian.log"):
        daemon.kill_guardian()
        assert serves(crew)


def test_a_link_in_the_place_of_an_exit_record_that_is_being_written(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run = begun(daemon, crew, "in_home", name="exits/RECORD.tmp", what=str(precious))
    run.wait(timeout=120)
    assert precious.read_text() == "precious"


def test_a_steps_directory_that_leads_elsewhere(daemon: Daemon, crew: Crew, home: Path) -> None:
    away = home / "away"
    away.mkdir()
    run = crew.call("hostile.deeds:elsewhere", {"away": str(away)}, cwd=HERE)
    run.wait(timeout=120)
    crew.retry(run.id)
    run.wait(timeout=120)
    assert not list(away.iterdir())


def test_an_output_file_that_claims_to_be_large(daemon: Daemon, crew: Crew) -> None:
    begun(daemon, crew, "sparse", size=4_000_000_000_000, name="stdout").wait(timeout=120)
    other = begun(daemon, crew, "sparse", size=100, name="stdout")
    other.wait(timeout=120)
    wait_until((daemon.home.attempt(f"{other.id}/sparse", 1) / "scrubbed").exists, "another attempt to be scrubbed")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("crewd.toml", os.mkfifo), ("logs/crewd.jsonl", os.mkfifo), ("run/clients.sock", os.mkdir),
        ("run/guardian.sock", os.mkfifo),
        ("crewd.lock", os.mkfifo), ("logs", lambda path: path.symlink_to("nowhere")),
    ],
)  # fmt: skip
def test_what_stands_in_the_place_of_a_file_that_crewd_opens_first_is_named(
    home: Path, name: str, make: Callable[[Path], object]
) -> None:
    root = home / "h"
    path = root / name
    path.parent.mkdir(mode=0o700, parents=True)
    for each in (root, path.parent):
        each.chmod(0o700)
    make(path)
    done = subprocess.run(
        [sys.executable, "-m", "crewd", "--home", str(root)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_result_file_that_is_no_json(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    run = crew.exec(
        ["sh", "-c", f'cp "$CREWD_BOOTSTRAP" {papers}.part; mv {papers}.part {papers}; exec sleep 30'],
        cwd="/",
        protocol="crewd",
    )
    wait_until(papers.exists, "the papers")
    mine = msgspec.msgpack.decode(papers.read_bytes())
    (Path(mine["directory"]) / "result.json").write_text("[1, ")
    with Speaker(daemon.home.workers_endpoint) as speaker:
        speaker.say(
            "hello",
            "",
            {"task": mine["task"], "epoch": 1, "token": mine["token"], "pid": 1, "software": "x", "capabilities": []},
        )
        speaker.hear()
        body = {"type": "outcome", "outcome": "completed", "result_path": f"{mine['directory']}/result.json"}
        speaker.say("reports", "1", {"reports": [{"number": 1, "body": body}]})
        speaker.hear()
    run.wait(timeout=120)
    code = "import sys; from crewd.client.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "CREWD_HOME": str(daemon.home.root), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "result", run.id], capture_output=True, text=True, env=environment, check=False
    )
    assert "Traceback" not in done.stderr
    with pytest.raises(CrewdError):
        run.result(timeout=120)
