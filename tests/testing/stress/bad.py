"""Workers that break exactly one law each, and good ones that look suspicious."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from crewd.worker import AsyncContext, Cancelled, Context, worker


def swallows(ctx: Context) -> int:
    done = 0
    while done < 3:
        try:
            ctx.check()
            done += 1
        except BaseException:  # noqa: BLE001 (the mistake)
            continue
    return done


def sleeps_on(ctx: Context) -> None:
    try:
        ctx.sleep(1)
    except Cancelled:
        time.sleep(1_000)


def trips_over_its_cleanup(ctx: Context) -> None:
    opened: dict[str, int] = {}
    try:
        ctx.check()
        opened["file"] = 1
        ctx.check()
    finally:
        del opened["file"]


@worker
def ignores_steers(ctx: Context) -> None:
    for _ in range(3):
        ctx.check()


@worker
def carries_out_twice(ctx: Context) -> None:
    for message in ctx.natural_stop():
        with Path("done.txt").open("a") as file:
            file.write(f"{message.text}\n" * 2)


def forgets_a_child(ctx: Context) -> None:
    ctx.check()
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    ctx.sleep(1)
    child.kill()
    child.wait()


def forgets_a_thread(ctx: Context) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="helper")
    thread.start()
    ctx.check()
    stop.set()
    thread.join()


def forgets_a_file(ctx: Context) -> None:
    handle, name = tempfile.mkstemp()
    os.close(handle)
    ctx.check()
    Path(name).unlink()


def adds_again(ctx: Context) -> None:
    with Path("ledger.txt").open("a") as file:
        file.write("paid\n")
    ctx.check()
    Path("ok").touch()


def cannot_start_again(ctx: Context) -> None:
    Path("build").mkdir()
    ctx.check()


def leaves_without_a_word(ctx: Context) -> None:
    if ctx.token.cancelled:
        os._exit(0)
    ctx.check()


async def slow_async(ctx: AsyncContext) -> int:
    await ctx.sleep(3_600)
    answer = await ctx.ask("which?", timeout=60)
    async for _ in ctx.natural_stop():
        pass
    return len(answer or "")


@worker
async def good_async(ctx: AsyncContext) -> list[str]:
    heard = []
    for _ in range(3):
        if steer := ctx.safe_point():
            heard.append(steer.text)
        await ctx.sleep(60)
    return heard + [message.text async for message in ctx.natural_stop()]


@worker
def good_listener(ctx: Context) -> list[str]:
    """It would wait for ever: the harness tells it when nobody will send any more."""
    heard: list[str] = []
    while "stop" not in heard:
        if steer := ctx.safe_point(wait=3_600):
            heard.append(steer.text.partition(" ")[2])
    return [*heard, *(message.text for message in ctx.natural_stop())]


@worker
def good(ctx: Context, rounds: int = 2) -> dict[str, object]:
    heard = []
    with ctx.operation("tool", name="work"):
        for number in range(rounds):
            ctx.progress(number, rounds)
            if steer := ctx.safe_point():
                heard.append(steer.text)
    colour = ctx.ask("which colour?", kind="choose", choices=["red", "blue"], timeout=5)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "x"
        part.write_text("x" * 1_000)
        ctx.check()
        ctx.artifact("x.txt", part)
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    heard += [message.text for message in ctx.natural_stop()]
    return {"colour": colour, "heard": heard, "in": str(ctx.directory)}


def plain(number: int = 1) -> int:
    return number + 1
