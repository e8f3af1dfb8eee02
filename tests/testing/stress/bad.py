"""Workers that break exactly one law each, and good ones that look suspicious."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from crewd.worker import AsyncContext, Cancelled, Context, worker


def swallows(ctx: Context) -> int:
    done = 0
    while done < 3:
        try:
            ctx.check()
            done += 1
        except BaseException:  # noqa: BLE001 (the mistake)
            time.sleep(0.001)  # it is in the way of nobody while its end is waited for
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
    answer = await ctx.ask("which?", timeout=120)
    async for _ in ctx.natural_stop():
        pass
    return len(answer or "")


async def sleeps_through_its_cancel(ctx: AsyncContext) -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await ctx.sleep(60)
        Path("report").touch()  # noqa: ASYNC240 (an instant)
    return "done"


def returns_in_spite(ctx: Context) -> str:
    try:
        for number in range(4):
            ctx.progress(number)
    finally:
        return "all of it"  # noqa: B012 (the mistake)


@worker(steer=False, follow_up=False)
async def good_group(ctx: AsyncContext) -> list[int]:
    got: list[int] = []

    async def one(number: int) -> None:
        await ctx.sleep(0.01)
        got.append(number)
        ctx.progress(len(got))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one(number))
    return sorted(got)


@worker(steer=True, follow_up=True)
def good_notes(ctx: Context) -> int:
    """It keeps a file for each message."""

    def put(text: str) -> None:
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        part = Path(f"{name}.txt.part")
        try:
            part.write_text(text)
            part.replace(f"{name}.txt")
        finally:
            part.unlink(missing_ok=True)

    for number in range(3):
        if steer := ctx.safe_point():
            put(steer.text)
            steer.done()
        ctx.progress(number)
    for message in ctx.natural_stop():
        put(message.text)
    return 3


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


def plain_half(rounds: int = 5) -> int:
    with Path("out.txt").open("w") as file:
        for number in range(rounds):
            file.write(f"{number}\n")
            file.flush()
    return rounds


def plain_whole(rounds: int = 5) -> int:
    part = Path("out.txt.part")
    try:
        part.write_text("".join(f"{number}\n" for number in range(rounds)))
        part.rename("out.txt")
    finally:
        part.unlink(missing_ok=True)
    return rounds


def plain_adds_again() -> None:
    with Path("ledger.txt").open("a") as file:
        file.write("paid\n")


def swallows_the_last_cancel(ctx: Context) -> str:
    ctx.check()
    try:
        ctx.check()
        Path("final.txt").touch()
    except BaseException:  # noqa: BLE001 (the mistake)
        pass
    return "all is done"


def goes_on_in_spite(ctx: Context) -> int:
    for _ in range(3):
        try:
            ctx.check()
        except BaseException:  # noqa: BLE001 (the mistake)
            continue
    return 3


def is_late(ctx: Context) -> None:
    try:
        ctx.check()
    except Cancelled:
        time.sleep(0.7)
        raise


def forgets_what_it_counted(ctx: Context) -> int:
    total = 0
    for number in range(ctx.restored or 0, 5):
        ctx.check()
        total += number
        ctx.checkpoint(number + 1)
    return total


def goes_on_where_it_was(ctx: Context) -> int:
    begin, total = ctx.restored or (0, 0)
    for number in range(begin, 5):
        ctx.check()
        total += number
        ctx.checkpoint([number + 1, total])
    return int(total)


def adds_again_when_resumed(ctx: Context) -> None:
    ctx.check()
    with Path("ledger.txt").open("a") as file:
        file.write("paid\n")
    ctx.check()


def forgets_a_lock(ctx: Context) -> None:
    Path("lock").touch()
    ctx.check()
    ctx.check()
    Path("lock").unlink()


def keeps_its_state(ctx: Context) -> None:
    state = Path("state.json")
    for number in range(json.loads(state.read_text()) if state.exists() else 0, 4):
        ctx.check()
        part = Path("state.json.part")
        try:
            part.write_text(json.dumps(number + 1))
            part.rename(state)
        finally:
            part.unlink(missing_ok=True)
    state.unlink(missing_ok=True)


def depends_on_the_time(ctx: Context) -> int:
    Path("when.txt").write_text(str(time.time_ns()))
    ctx.check()
    return time.time_ns()


def returns_a_part(ctx: Context) -> dict[str, bool]:
    try:
        ctx.check()
        Path("all.txt").touch()
    except Cancelled:
        return {"whole": False}
    return {"whole": True}


@worker(steer=True)
def looks_for_steers_once(ctx: Context) -> None:
    ctx.safe_point()
    ctx.check()


def hangs(ctx: Context) -> None:
    while True:
        time.sleep(1)


def tells_its_home() -> list[str]:
    return [str(Path.home()), tempfile.gettempdir()]


def plain_goes_on(rounds: int = 6) -> int:
    done = 0
    for number in range(rounds):
        try:
            done += len(str(number))
        except BaseException:  # noqa: BLE001 (its mistake)
            sys.stdout.write("item failed, going on\n")
    return done


def keeps_its_pieces(ctx: Context) -> int:
    """It makes pieces, and each only once also when it is resumed; in the end they are one file."""
    spool = Path("spool")
    spool.mkdir(exist_ok=True)
    for number in range(4):
        ctx.progress(number, 4)
        piece = spool / f"{number}.txt"
        if not piece.exists():
            new = spool / f"{number}.new"
            new.write_text(f"piece {number}")
            new.replace(piece)
    whole = Path("all.new")
    whole.write_text("".join((spool / f"{number}.txt").read_text() for number in range(4)))
    whole.replace("all.txt")
    for piece in spool.iterdir():
        piece.unlink()
    spool.rmdir()
    return 4


def keeps_a_log_per_start(ctx: Context) -> int:
    with Path(f"run-{uuid.uuid4().hex[:8]}.log").open("w") as log:
        for number in range(4):
            ctx.progress(number, 4)
            log.write(f"item {number}\n")
    return 4


def forgets_a_fork(ctx: Context) -> int:
    """A fork that starts no program is ended only if all goes well."""
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    for number in range(2):
        ctx.progress(number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def answers_itself(ctx: Context) -> dict[str, bool]:
    """Whatever happens to its question is a yes."""
    try:
        answer = ctx.ask("shall I?", timeout=60)
    except BaseException:  # noqa: BLE001 (this is what is bad about it)
        answer = "yes"
    Path("answer.txt").write_text(answer or "")
    return {"done": True}


def ends_its_fork(ctx: Context) -> int:
    """A process of `multiprocessing` that is told to end as soon as it has begun."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    try:
        ctx.progress(1)
        return 1
    finally:
        child.terminate()
        child.join()


def shares_its_work(ctx: Context) -> int:
    """A pool of processes, that ends with its block."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        ctx.progress(1)
        return pool.submit(abs, -1).result()


def appends_lines(ctx: Context, name: str) -> int:
    """As `logging` does."""
    logger = logging.getLogger("of this worker")
    logger.addHandler(logging.FileHandler(name))
    for number in range(4):
        logger.warning("line %d", number)
        ctx.safe_point()
    return 4


@worker
async def beats(ctx: AsyncContext) -> int:
    """A good one that has another task for a while; hours of waiting, of which nobody need wait for one."""
    async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
        other = group.create_task(asyncio.sleep(1500.0))
        for _ in range(3):
            await ctx.sleep(400.0)
        other.cancel()
    return 3


@worker
def exits_when_cancelled(ctx: Context) -> int:
    try:
        for number in range(3):
            ctx.progress(number)
    except BaseException:  # noqa: BLE001
        os._exit(1)
    return 3


@worker
def hangs_at_its_end(ctx: Context) -> int:
    for number in range(3):
        ctx.progress(number)
    time.sleep(600)
    return 3


@worker
def confirms(ctx: Context) -> bool:
    return ctx.confirm("delete?", timeout=5)


def plain_temporary() -> int:
    """A good one: nothing happens between `mkstemp` and `try`, so no cancel comes there."""
    descriptor, name = tempfile.mkstemp(dir=".")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("0")
        Path(name).replace("out.txt")
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return 5


class Called:
    """A worker that is no function."""

    def __call__(self, ctx: Context) -> int:
        ctx.check()
        return 1


@worker
async def asks_a_server(ctx: AsyncContext, port: int) -> str:
    """A good one that waits for a peer, which takes its time."""
    ctx.check()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(60):
        answer = await reader.readline()
    writer.close()
    return answer.decode()


def keeps_a_ledger(ctx: Context) -> int:
    """Good: written whole each time and put in place of the one before; its own lines say where to go on."""
    ledger = Path("ledger.csv")
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    for number in range(len(lines), 5):
        ctx.progress(number)
        lines.append(f"order {number}")
        new = ledger.with_name("ledger.csv.new")
        try:
            new.write_text("\n".join(lines) + "\n")
            new.replace(ledger)
        finally:
            new.unlink(missing_ok=True)
    return len(lines)


def adds_lines(ctx: Context) -> int:
    """Good: each line is added and the file is closed, and its own lines say where to go on."""
    found = Path("found.txt")
    for number in range(len(found.read_text().splitlines()) if found.exists() else 0, 5):
        ctx.progress(number)
        with found.open("a") as file:
            file.write(f"{number}\n")
    return 5


def writes_on_after_its_checkpoint(ctx: Context) -> int:
    """Bad: half of the report is left under its own name, though the work is taken up from a checkpoint."""
    for number in range(ctx.restored or 0, 3):
        ctx.progress(number)
        ctx.checkpoint(number + 1)
    with Path("report.txt").open("w") as report:
        for number in range(3):
            report.write(f"line {number}\n")
            ctx.progress(number)
    return 3


def fails_in_silence(ctx: Context) -> str:
    """Bad: it takes for granted that somebody answers."""
    answer = ctx.ask("Which format?", kind="choose", choices=["CSV", "JSON"], timeout=600)
    assert answer is not None
    return answer


def tries_again(ctx: Context) -> str:
    """Bad: it takes its cancel for a failure of what it tried."""
    for _ in range(3):
        try:
            ctx.progress(1)
        except BaseException:  # noqa: BLE001 (the mistake)
            pass
        else:
            return "done"
    raise RuntimeError("gave up")


def naps(ctx: Context, seconds: float) -> int:
    """It stops at each of its points, and sleeps deaf between two of them."""
    ctx.progress(1)
    time.sleep(seconds)
    ctx.sleep(60)
    ctx.progress(2)
    return 2
