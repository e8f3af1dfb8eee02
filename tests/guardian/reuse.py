"""In a pid namespace of its own: numbers of a worker's processes, groups and sessions that somebody else has got meanwhile.

Prints what became of each stranger, as JSON. `ns_last_pid` says which number the kernel gives next.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from crewd.client.blocking import RunHandle
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

LAST = Path("/proc/sys/kernel/ns_last_pid")
LEADS = "setsid sh -c 'echo $$ > {0}; while [ ! -e {1} ]; do sleep 0.05; done' & wait; touch {2}; exec sleep 1000"
"""A worker whose process leads a session for a while, and lives on when that is over.

It starts no process after it has said so: that one could get the number that is wanted.
"""


def stranger_with(number: int, *, session: bool) -> int:
    """A process in a session (or group) of this number whose leader has exited: it has nothing to do with crewd."""
    reading, writing = os.pipe()
    for _ in range(1_000):
        LAST.write_text(str(number - 1))
        leader = os.fork()
        if leader == 0:
            if os.getpid() == number:
                os.setsid() if session else os.setpgid(0, 0)
                child = os.fork()
                if child == 0:
                    signal.pause()
                os.write(writing, str(child).encode())
            os._exit(0)
        os.waitpid(leader, 0)
        if leader == number:
            return int(os.read(reading, 32))
        time.sleep(0.005)
    raise SystemExit(f"the number {number} could not be had again: {holder(number)} has it")


def holder(number: int) -> str:
    """The command of the process that has a number, or what else may have it."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ") or "a process that ended"
    except OSError:
        return "a thread, a group or a session"


def has_text(path: Path) -> bool:
    return path.exists() and path.read_text().strip() != ""


def has_looked(run: RunHandle) -> bool:
    used = run.show().usage
    return bool(used) and used[0].processes > 2


def main() -> None:
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        folder = Path(name)
        os.environ["CREWD_KEYS"] = f"{name}/keys"
        with Daemon(folder / "h") as daemon, daemon.connect() as crew:
            for what in ("session", "group"):
                leaders, go, over = (folder / f"{what}-{each}" for each in ("leaders", "go", "over"))
                run = crew.exec(["sh", "-c", LEADS.format(leaders, go, over)], cwd="/")
                wait_until(partial(has_text, leaders), "the leader")
                wait_until(partial(has_looked, run), "a look at the whole tree")
                go.touch()
                wait_until(over.exists, "the end of the leader")
                stranger = stranger_with(int(leaders.read_text()), session=what == "session")
                reply = run.cancel(mode="now")
                alive = Path(f"/proc/{stranger}").exists()
                found[what] = {"alive": alive, "verified": reply.verified}
                if alive:
                    os.kill(stranger, signal.SIGKILL)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
