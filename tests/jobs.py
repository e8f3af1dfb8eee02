"""Workers of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from crewd.worker import AsyncContext, Cancelled, Context, worker


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError("it went wrong: api_key=sk-abcdefghijklmnopqrstuv")


def leave(code: int) -> None:
    os._exit(code)


@worker
def listen(ctx: Context, until: str = "stop", limit: int = 4000) -> list[str]:
    """Collect steers until one says stop, then follow-ups; write each down at once, for tests that kill everything."""
    heard: list[str] = []
    diary = ctx.directory / "heard"
    for _ in range(limit):
        steer = ctx.safe_point()
        if steer is not None:
            heard.append(steer.text)
            with diary.open("a") as file:
                file.write(steer.text + "\n")
            if steer.text == until:
                break
        ctx.sleep(0.01)
    heard.extend(f"{message.kind}:{message.text}" for message in ctx.natural_stop())
    return heard


@worker(steer=True, follow_up=False)
async def alisten(ctx: AsyncContext) -> list[str]:
    heard: list[str] = []
    while "stop" not in heard:
        steer = ctx.safe_point()
        if steer is not None:
            heard.append(steer.text)
        await ctx.sleep(0.01)
    return heard


@worker
def ask(ctx: Context, timeout: float = 60.0) -> str | None:
    return ctx.ask("which colour?", timeout=timeout)


@worker
def operate(ctx: Context) -> None:
    with ctx.operation("tool", name="endless"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:  # it looks at nothing: no safe point, no token
            time.sleep(1)


@worker
def tidy(ctx: Context) -> str:
    try:
        while True:
            ctx.sleep(0.05)
    except Cancelled as cancelled:
        (ctx.directory / "tidied").write_text(cancelled.reason)
        raise


def stubborn() -> None:
    """Ignores TERM, and has a double-forked grandchild in a session of its own that ignores it too, and a stopped child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 1000\" &) ; sleep 1000"])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    os.kill(child.pid, signal.SIGSTOP)
    Path("/proc/self/comm").write_text("stubborn")
    while True:
        time.sleep(1)


def slow_import() -> str:
    return "imported"


def flood() -> None:
    line = b"x" * 65536
    while True:
        os.write(1, line)


def loaded(module: str) -> dict[str, object]:
    return {"loaded": module in sys.modules, "passed": os.environ.get("CREWD_TEST_SECRET")}
