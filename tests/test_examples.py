"""What the examples show is true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.model.receipts import Outcome
from crewd.model.statuses import RunStatus

pytestmark = pytest.mark.process
ROOT = str(Path(__file__).resolve().parent.parent)


@pytest.mark.usefixtures("daemon")
def test_each_worker_does_what_it_says(crew: Crew) -> None:
    def call(name: str, **args: object):  # type: ignore[no-untyped-def]
        return crew.call(f"examples.workers:{name}", args, cwd=ROOT)

    assert call("counts", to=3).result(timeout=120) == 3
    listens = call("listens")
    refused = listens.steer("!no", wait="settled")
    assert (refused.outcome, refused.note) == (Outcome.REFUSED, "I do not take orders that begin with !")
    assert listens.steer("yes", wait="settled").note == "heard 1"
    listens.steer("stop")
    assert listens.result(timeout=120) == ["yes", "stop"]
    stops = call("stops_naturally")
    stops.follow_up("one more")
    assert stops.result(timeout=120) == ["one more"]
    asks = call("asks")
    for answer in ("yes", "blue"):
        crew.wait(f"{asks.id}/asks", or_waiting=True, timeout=120)
        crew.respond(crew.inbox()[0].id, answer, wait="settled")
    assert asks.result(timeout=120) == "blue"
    operates = call("operates")
    operates.wait(timeout=120)
    assert [(op.name, op.outcome, op.synthetic) for op in operates.show().operations] == [
        ("look", "done", False),
        ("think", "done", False),
    ]
    leaves = call("leaves_a_file")
    path = Path(str(leaves.result(timeout=120)))
    assert path.read_text() == f"hello from {leaves.id}/leaves_a_file\n"
    assert leaves.show().artifacts[0].path == str(path)
    tidies = call("tidies_up")
    assert tidies.cancel() is not None
    assert tidies.show().run.status is RunStatus.CANCELLED
    awaits = call("awaits")
    awaits.steer("hello")
    assert awaits.result(timeout=120) == "hello"


def test_the_audit_that_make_run_shows_completes_and_leaves_a_report_and_no_process(tmp_path: Path) -> None:
    audited, report = tmp_path / "audited", tmp_path / "report"
    audited.mkdir()
    for name in ("one.py", "two.py"):
        (audited / name).write_text("def double(number: int) -> int:\n    return 2 * number\n" * 30)
    done = subprocess.run(
        [sys.executable, f"{ROOT}/examples/audit.py", str(audited), str(report)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run completed" in done.stdout
    assert "slow was cancelled" in done.stdout
    assert "processes left behind: 0" in done.stdout
    assert "one.py" in (report / "audit.md").read_text()
