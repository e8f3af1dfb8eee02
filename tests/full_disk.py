"""Run inside a mount namespace of its own: a home on a small file system that fills up, turns read-only and recovers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import crewd
from crewd.client.blocking import Crew
from crewd.model.errors import StoreUnavailable
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

HERE = Path(__file__).parent
MIB = 1 << 20


def refused(crew: Crew) -> bool:
    """Whether new work is refused with the reason; what was admitted is cancelled again."""
    try:
        crew.call("jobs:listen", cwd=str(HERE)).cancel(mode="now")
    except StoreUnavailable as error:
        return "no new work is admitted" in error.message
    return False


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def main(folder: Path) -> None:
    """Everything in order. AssertionError if a promise is broken."""
    mount = folder / "m"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "crewd-test", str(mount)], check=True)
    with Daemon(mount / "h") as daemon, daemon.connect() as crew:
        run = crew.call("jobs:listen", cwd=str(HERE), name="first")
        other = crew.call("jobs:listen", cwd=str(HERE), name="second")
        for each in (run, other):
            each.steer("hello", wait="applied")
        daemon.kill()
        fill(mount / "ballast")
        daemon.start()  # nothing has room, and the reserve is whole
        wait_until(lambda: refused(crew), "new work to be refused")
        reply = run.cancel(mode="now")
        assert reply is not None and reply.verified, "cancels work on a full disk"
        assert crew.show("first").run.status == "cancelled", "and are recorded, in the reserve if there is no other room"
        assert refused(crew), "the reserve is not for new work"
        assert "takes no new work" in crew.doctor().findings[0], "and that is no secret"
        daemon.kill()  # on a full disk
        daemon.start()
        with daemon.connect() as again:
            assert again.show("first").run.status == "cancelled"
            fill(mount / "more")  # what the new crewd has tidied up
            wait_until(lambda: refused(again), "new work to be refused again")
            (mount / "ballast").unlink()
            wait_until(lambda: not refused(again), "new work to be admitted when there is room again")
            assert daemon.home.reserve.exists()
            reply = again.cancel("second", mode="now")
            assert reply is not None and reply.verified
            found = again.doctor(rebuild=True)
            assert not [finding for finding in found.findings if "room" not in finding], found.findings
        daemon.stop()
        read_only = ["mount", "-o", "remount,ro", str(mount)]
        wait_until(
            lambda: subprocess.run(read_only, capture_output=True, check=False).returncode == 0, "all files to be closed"
        )
        command = [sys.executable, "-m", "crewd", "--home", str(daemon.home.root)]
        started = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert started.returncode == 69, started
        assert "cannot be written" in started.stderr and "Traceback" not in started.stderr, started.stderr
        subprocess.run(["mount", "-o", "remount,rw", str(mount)], check=True)


if __name__ == "__main__":
    assert crewd.__version__
    main(Path(sys.argv[1]))
