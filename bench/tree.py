"""The worker of the matrix: c1 (same group), c2 (a session of its own), g (a child of c2). Standard library only, for peers.

`python tree.py SECONDS [deaf]` is the worker; `python tree.py --supervise SECONDS [deaf]` keeps it as a daemon process of
`multiprocessing` until its input ends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import subprocess
import sys
import time


def grow(seconds: int, *, deaf: bool = False) -> None:
    """The argument of the sleeps tells the trees apart, and c1 from g. `deaf`: the worker itself ignores TERM."""
    subprocess.Popen(["sleep", f"{seconds}.1"])
    subprocess.Popen(["sh", "-c", f"sleep {seconds}.2 & wait"], start_new_session=True)
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)


def supervise(seconds: int, *, deaf: bool) -> None:
    """What the standard library offers: the end of the program ends its daemon processes."""
    multiprocessing.Process(target=grow, args=(seconds,), kwargs={"deaf": deaf}, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--supervise", action="store_true")
    parser.add_argument("seconds", type=int)
    parser.add_argument("deaf", nargs="?", choices=["deaf"])
    given = parser.parse_args()
    (supervise if given.supervise else grow)(given.seconds, deaf=given.deaf is not None)
