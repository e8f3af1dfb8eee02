"""Workers of the bench."""

from __future__ import annotations

import signal
import subprocess
import time

import zmq

from crewd.worker import Context, worker


@worker
def listen(ctx: Context) -> None:
    while True:
        ctx.safe_point(wait=3600)


@worker
def idle(ctx: Context) -> None:
    while True:
        ctx.sleep(3600)


def nothing() -> None:
    """It is over at once."""


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def tree() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 1000\" &) ; sleep 1000"])
    while True:
        time.sleep(1)


def echo(endpoint: str) -> None:
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    socket.bind(endpoint)
    while True:
        frames = socket.recv_multipart()
        socket.send_multipart(frames)
        if frames[-1] == b"end":
            return
