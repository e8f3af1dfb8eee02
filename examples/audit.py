"""The main job, for people to watch: `make run` audits a directory (default: this repository).

Usage: audit.py [DIRECTORY [REPORT]], where REPORT is a directory for the report (default: `audit-report` in the repository).

It follows the run live, steers one step while it works, queues a follow-up, cancels one deliberately slow step, shows the
receipts, says where the report is, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import crewd
from crewd import CrewdError
from crewd.client.cli.follow import follow

ROOT = Path(__file__).resolve().parent.parent
LIVE_SECONDS = 60.0


def main() -> int:
    """Run the audit; the exit code says whether it completed."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve()
    report = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "audit-report")
    home = Path(tempfile.mkdtemp(prefix="crewd-audit-"))
    home.chmod(0o700)
    os.environ["CREWD_KEYS"] = str(home / "keys")  # nothing of this example stays behind, its key neither
    print(f"auditing {target} with a crewd of its own in {home}\n")
    try:
        with crewd.connect(str(home), start=True) as crew:
            try:
                return _audit(crew, home, target, report)
            finally:
                crew.stop_daemon()
                _wait_until_gone(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _audit(crew: crewd.Crew, home: Path, target: Path, report: Path) -> int:
    run = crew.run(str(ROOT / "examples" / "audit.workflow.md"), goal=str(target), cwd=str(ROOT), name="audit")
    hand = threading.Thread(target=_intervene, args=(home, run.id), daemon=True)
    hand.start()
    follow(crew, run.id, as_json=False)
    hand.join(LIVE_SECONDS)
    shown = run.show()
    print("\nreceipts:")
    for message in shown.messages:
        receipt = message.receipt
        seconds = (receipt.settled_at or receipt.accepted_at) - receipt.accepted_at
        print(f"  {receipt.kind:<10} {message.text!r:<24} {receipt.level} {receipt.outcome} in {seconds:.2f} s: {receipt.note}")
    report.mkdir(exist_ok=True)
    for artifact in shown.artifacts:
        shutil.copyfile(artifact.path, report / artifact.name)
    slow = next(task for task in shown.tasks if task.step == "slow")
    print(f"\nslow was {slow.status}: {slow.reason}; run {shown.run.status} {shown.run.reason}")
    print(f"report: {report / 'audit.md'}")
    return 0 if shown.run.status == "completed" else 1


def _intervene(home: Path, run: str) -> None:
    """What a person would do from another terminal: steer, follow up, cancel."""
    with crewd.connect(str(home), start=False) as crew:
        handle = crew.get(run)
        crew.wait(f"{run}/survey", timeout=LIVE_SECONDS)
        handle.steer("skip examples", step="duplicates", wait="applied")
        handle.follow_up("top 8", step="duplicates")
        handle.cancel(step="slow", intent="it was only there to be cancelled")


def _wait_until_gone(home: Path) -> None:
    """Until the daemon has let go of its home, and then a proof that no process carries its mark."""
    import psutil  # here, so that the example's head stays short

    lock = home / "crewd.lock"
    pid = int(lock.read_text().strip() or 0)
    if pid and psutil.pid_exists(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(LIVE_SECONDS)
    found = [each for each in psutil.process_iter(["cmdline"]) if str(home) in " ".join(each.info["cmdline"] or [])]
    _, left = psutil.wait_procs(found, LIVE_SECONDS)  # what looks after crewd ends a moment after it
    print(f"processes left behind: {len(left)}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CrewdError as error:
        print(f"audit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
