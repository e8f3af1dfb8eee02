"""Workers of the tests."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import crewd
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.message_kinds import MessageKind
from crewd.model.questions import QuestionKind
from crewd.worker import AsyncContext, Cancelled, Context, Letter, PermanentError, worker


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
def clutch(ctx: Context) -> None:
    """Takes one steer, and does not come to say what became of it."""
    while ctx.safe_point() is None:
        ctx.sleep(0.01)
    ctx.sleep(1_000)


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


def falter(ctx: Context, tries: int) -> int:
    """Raise until the epoch is beyond `tries`."""
    if ctx.epoch <= tries:
        raise ValueError(f"try {ctx.epoch}")
    return ctx.epoch


def hopeless() -> None:
    raise PermanentError("never")


def eat(ctx: Context, step: int = 16 << 20) -> None:
    """Use more and more memory."""
    kept = []
    while True:
        kept.append(b"x" * step)
        ctx.sleep(0.02)


def spin() -> None:
    """Use a processor, and look at nothing."""
    while True:
        pass


def spend(ctx: Context) -> None:
    """Turn after turn."""
    while True:
        ctx.usage(turns=1, tokens=100, cost=0.01)
        ctx.sleep(0.01)


def spend_15_turns(ctx: Context) -> None:
    """So many turns, and then it waits to be told to end."""
    for _ in range(15):
        ctx.usage(turns=1, tokens=100)
    while True:
        ctx.sleep(1.0)


def spend_and_fail(ctx: Context) -> None:
    """Ten turns, and then an error."""
    for _ in range(10):
        ctx.usage(turns=1)
    raise RuntimeError("not yet")


def scribble(ctx: Context) -> None:
    """Leaves artifacts for as long as it may."""
    for number in range(200):
        ctx.artifact(f"page{number}", bytes([number]) * 50_000)
        ctx.sleep(0.1)


def did(ctx: Context) -> None:
    """One operation, and then the end."""
    with ctx.operation("tool", name="did"):
        ctx.progress(note="at it")


def build(ctx: Context, seconds: float) -> None:
    """One operation that does not end."""
    with ctx.operation("tool", name="build", seconds=seconds):
        ctx.sleep(1_000)


@worker
def toil(ctx: Context, until: str = "stop") -> list[str]:
    """Long operations that can be broken off, with a safe point after each; then what follows, each in a turn of its own."""
    heard: list[str] = []
    while until not in heard:
        with ctx.operation("tool", name="toil", interruptible=True) as operation:
            time.sleep(1_000)
        heard.append(f"broken off for {operation.interrupted}")
        while steer := ctx.safe_point():
            heard.append(steer.text)
    heard += [message.text for message in ctx.natural_stop()]
    return heard


@worker
async def atoil(ctx: AsyncContext) -> list[str]:
    """The same in a coroutine, once."""
    with ctx.operation("model", name="think", interruptible=True) as operation:
        await asyncio.sleep(1_000)
    while (steer := ctx.safe_point()) is None:
        await ctx.sleep(0.01)
    return [operation.interrupted and "broken off", steer.text]


@worker
def converse(ctx: Context) -> dict[str, object]:
    """Nothing to do but what it is told; says which attempt it was and what it heard."""
    return {"epoch": ctx.epoch, "heard": [f"{m.kind}:{m.text}" for m in ctx.natural_stop()]}


@worker
def turns(ctx: Context) -> list[str]:
    """A turn ends with the steer `next`; the follow-up after it begins another one."""
    heard: list[str] = []
    for _ in range(3):
        while (steer := ctx.safe_point(wait=30.0)) is not None:
            heard.append(steer.text)
            if steer.text == "next":
                break
        follow_up = next(iter(ctx.natural_stop()), None)
        if follow_up is None:
            break
        heard.append(f"follow_up:{follow_up.text}")
    return heard


@worker(message=True)
def correspond(ctx: Context) -> list[str]:
    """Say hello, and read the mailbox until `stop` lies in it."""
    ctx.tell("hello", priority="urgent")
    read: list[str] = []
    while "stop" not in read:
        read += [letter.text for letter in ctx.messages()]
        ctx.sleep(0.01)
    ctx.tell("bye")
    return read


@worker
def chatter(ctx: Context) -> list[str]:
    """An operation that reports without a pause, with a smaller one inside, broken off in the middle of it."""
    with ctx.operation("tool", name="outer", interruptible=True) as outer:
        while True:
            with ctx.operation("tool", name="inner"):
                ctx.tell("x")
    return ["went on" if outer.interrupted else "", *(steer.text for steer in ctx.steers(wait=10.0))]


def quiet(ctx: Context) -> None:
    """Say nothing, but stop when told."""
    ctx.token.wait(1_000)


def count(ctx: Context, until: int) -> list[int]:
    """Go on where the attempt before has stopped; each attempt does one number and fails until all are done."""
    done = [*(ctx.restored or []), ctx.epoch]
    ctx.checkpoint(done)
    ctx.artifact("progress.txt", str(done))
    if len(done) < until:
        raise RuntimeError(f"{len(done)} of {until}")
    return done


def lead(ctx: Context, keep: bool = False) -> None:
    """Start a worker of one's own and wait."""
    with crewd.connect() as crew:
        run = crew.call("jobs:listen", {"limit": 10**9}, cwd=str(Path(__file__).parent), keep=keep)
        ctx.progress(note=run.id)
        ctx.sleep(1_000)


def lead_spenders(ctx: Context) -> str:
    """Start one worker that spends after the other, until crewd says no."""
    with crewd.connect() as crew:
        try:
            while True:
                run = crew.call("jobs:spend_5_turns", cwd=str(Path(__file__).parent))
                ctx.progress(note=run.id)
                run.wait(timeout=120)
        except crewd.CrewdError as error:
            return error.message


def lead_relays(ctx: Context) -> str:
    """Start one after the other that starts one that spends and stays, until crewd says no."""
    with crewd.connect() as crew:
        try:
            while True:
                spender = crew.call("jobs:relay", cwd=str(Path(__file__).parent)).result(timeout=120)
                crew.wait(str(spender), timeout=120)
        except crewd.CrewdError as error:
            return error.message


def relay() -> str:
    """Start a worker that stays, and end."""
    with crewd.connect() as crew:
        return crew.call("jobs:spend_5_turns", cwd=str(Path(__file__).parent), keep=True).id


def lead_and_spend(ctx: Context) -> None:
    """Start a worker that stays, and use everything."""
    with crewd.connect() as crew:
        run = crew.call("jobs:listen", {"limit": 10**9}, cwd=str(Path(__file__).parent), keep=True)
        ctx.progress(note=run.id)
        ctx.usage(turns=1, tokens=1_000)
        ctx.sleep(1_000)


def spend_5_turns(ctx: Context) -> None:
    """So many turns, and the end."""
    for _ in range(5):
        ctx.usage(turns=1, tokens=100)


def lead_deep(ctx: Context, depth: int) -> str:
    """Start a worker that starts a worker, and so on, until crewd says no; how deep it came."""
    with crewd.connect() as crew:
        try:
            run = crew.call("jobs:lead_deep", {"depth": depth + 1}, cwd=str(Path(__file__).parent))
        except crewd.CrewdError as error:
            return f"{depth}: {error.message}"
        return str(run.result(timeout=120))


def surroundings() -> dict[str, object]:
    """What a worker finds around it."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "env": dict(os.environ), "umask": mask, "nice": os.nice(0), "cwd": str(Path.cwd()),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }  # fmt: skip


class _Slow:
    """Is in no hurry when it is taken away."""

    seconds = 0.0

    def __del__(self) -> None:
        time.sleep(self.seconds)


_SLOW = _Slow()


def linger(seconds: float) -> str:
    """Return at once, and hold up the end of the interpreter, when nothing of the worker's own code runs any more."""
    _Slow.seconds = seconds
    return "done"


def pour(megabytes: int) -> None:
    """Many bytes, in one line without end."""
    for number in range(megabytes):
        os.write(1, bytes([number % 256]) * (1 << 20))


def empty(ctx: Context) -> list[object]:
    """Note something and then nothing; what each attempt found, from a file beside the attempts."""
    diary = ctx.directory.parent / "found"
    with diary.open("a") as file:
        file.write(json.dumps(ctx.restored) + "\n")
    found = [json.loads(line) for line in diary.read_text().splitlines()]
    if len(found) < 3:
        ctx.checkpoint([1] if len(found) == 1 else [])
        raise RuntimeError("once more")
    return found


@worker
def question(ctx: Context, kind: QuestionKind, text: str = "which?", **given: Any) -> str | None:
    """One question of any kind."""
    return ctx.ask(text, kind=kind, **given)


@worker
def permit(ctx: Context, timeout: float = 60.0) -> list[bool]:
    """Two questions in their short forms."""
    return [ctx.permission("may I?", timeout=timeout), ctx.confirm("sure?", default=True, timeout=0.05)]


@worker
def plan(ctx: Context) -> dict[str, list[str]]:
    """Three queued operations; before the second one it waits for a steer. Then it takes all steers that wait at once."""
    queued = [ctx.queue("tool", name=name, priority=priority) for name, priority in PLANNED]
    done: list[str] = []
    for operation in ctx.queued():
        with operation:
            done.append(operation.id.rpartition(":")[2])
        if len(done) == 1:
            while ctx.safe_point(wait=30.0) is None:
                pass
    ctx.sleep(0.3)
    return {
        "done": done,
        "skipped": [operation.id.rpartition(":")[2] for operation in queued if operation.skipped],
        "all": [message.text for message in ctx.steers(wait=30.0)],
    }


PLANNED: tuple[tuple[str, Literal["normal", "low"]], ...] = (("a", "low"), ("b", "low"), ("c", "normal"), ("d", "low"))


@worker(message=True)
def foreman(ctx: Context) -> dict[str, Any]:
    """Start a worker, hear from it, let it go on, and wait for its end."""
    with crewd.connect() as crew:
        child = crew.call("jobs:report_up", cwd=str(Path(__file__).parent))
    letters: list[Letter] = []
    while not letters:
        ctx.sleep(0.01)
        letters = ctx.messages()
    ctx.send(child.id, "go", kind="steer", wait="applied")
    ended = ctx.wait_for(child.id)
    return {
        "heard": letters[0].text,
        "from_child": letters[0].sender == f"{child.id}/report_up#1",
        "child": ended.run.status.value,
    }


@worker
def report_up(ctx: Context) -> str:
    """Say something to whoever started this, and do what it says."""
    ctx.contact_supervisor("the disk is nearly full")
    steer = ctx.safe_point(wait=60.0)
    return "" if steer is None else steer.text


@worker(message=True)
def mate(ctx: Context, to: str, kind: MessageKind = "message", waits: bool = False) -> list[str]:
    """Write to another step, or wait for it; what came of it."""
    try:
        if waits:
            ended = ctx.wait_for(to, timeout=60.0)
            return [ended.attention or (ended.run if ended.task is None else ended.task).status.value]
        return [ctx.send(to, f"from {ctx.task.rpartition('/')[2]}", kind=kind).effect]
    except crewd.CrewdError as error:
        return [error.code, error.message]


@worker(message=True)
def reader(ctx: Context) -> list[str]:
    """Wait for a letter."""
    while True:
        letters = ctx.messages()
        if letters:
            return [letter.text for letter in letters]
        ctx.sleep(0.01)


async def amate(ctx: AsyncContext, to: str) -> str:
    """The same, asynchronous."""
    await ctx.contact_supervisor("here I am")
    return (await ctx.wait_for(to)).run.status.value


@worker
def patience(ctx: Context, to: str) -> str:
    """Wait for somebody until a steer says that it is enough."""
    with ctx.operation("waiting", name=to, interruptible=True):
        ctx.wait_for(to)
    steer = ctx.safe_point(wait=10.0)
    return "" if steer is None else steer.text


async def hasty(ctx: AsyncContext, to: str) -> str:
    """Give up a wait."""
    try:
        async with asyncio.timeout(0.3):
            await ctx.wait_for(to)
    except TimeoutError:
        return "given up"
    return "it ended"


async def impatient(ctx: AsyncContext) -> list[str]:
    """Ask, and give up each question; a task that was cancelled gives up its own, too."""
    said = []
    for asking in (ctx.ask("what?"), ctx.confirm("sure?"), ctx.permission("may I?")):
        try:
            async with asyncio.timeout(0.2):
                await asking
        except TimeoutError:
            said.append("given up")
    asked = asyncio.ensure_future(ctx.ask("and now?"))
    await ctx.sleep(0.2)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    for wrong in (lambda: ctx.safe_point(wait=1.0), lambda: ctx.steers(wait=1.0)):
        try:
            wrong()
        except crewd.UsageError:
            said.append("refused")
    return said


def mangled(ctx: Context) -> list[str]:
    """Say things that are no text, too long, or of no kind."""
    ctx.tell("a\udcffb")
    ctx.progress(note="a\udcffb")
    found: list[str] = []
    for wrong in (
        lambda: ctx.send("parent", "a\udcffb"),
        lambda: ctx.tell("x" * 70_000),
        lambda: ctx.operation("crewd.wait", name="x"),
    ):
        try:
            wrong()
        except crewd.CrewdError as error:
            found.append(error.code)
    return found


def advance(ctx: Context) -> None:
    for number in range(100):
        ctx.progress(number + 1, 100, f"file {number}")


@worker
def leak(ctx: Context, half: str, rest: str) -> dict[str, object]:
    secret = half + rest
    sys.stdout.write(f"the key is {secret}\n")
    ctx.progress(1, 2, note=f"with {secret}", phase=f"p {secret}"[:40])
    ctx.tell(f"I hold {secret}")
    ctx.checkpoint({"key": secret})
    with ctx.operation("tool", name=f"curl {secret}"):
        pass
    ctx.artifact("notes.txt", f"token: {secret}")
    large = Path(ctx.directory / "large.txt")
    large.write_text("line\n" * 300_000 + secret + "\nline" * 9)
    ctx.artifact("large.txt", large)
    large.unlink()
    ctx.safe_point(wait=10.0)
    try:
        raise ValueError(secret)
    except ValueError as error:
        return {"said": str(error), "password": "x"}


def leave_files(ctx: Context, size: int) -> None:
    ctx.artifact("small.txt", "small")
    ctx.artifact("large.bin", bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    ctx.artifact("brief.txt", "b" * 100_000, retention="temporary")


def leave_and_return(ctx: Context, size: int) -> str:
    leave_files(ctx, size)
    return "r" * size


def tell_secret(ctx: Context) -> object:
    value = os.environ["HUSH"]
    sys.stdout.write(f"it is {value}\n")
    ctx.progress(note=f"with {value}")
    ctx.tell(f"it is {value}")
    ctx.progress(note=f"{'n' * (NOTE_CHARS_MAX // 2 - 12)}{value}{'n' * NOTE_CHARS_MAX}")  # what is too long is cut inside it
    ctx.checkpoint({value: value})
    return {"it": value, value: 1}


def play_with_files(ctx: Context, game: str, precious: str) -> None:
    """Put something else in the place of each file that crewd writes or reads for this worker."""
    for name in (
        "stdout",
        "stderr",
        "exit",
        "times",
        "unsent_reports",
        "result.json",
        "scrubbed",
        "bootstrap",
        "exit.crewd-part",
    ):
        path = ctx.directory / name
        path.unlink(missing_ok=True)
        match game:
            case "pipes":
                os.mkfifo(path)
            case "links":
                path.symlink_to(precious)
            case "names":
                path.hardlink_to(precious)
            case _:
                path.mkdir()
    ctx.progress(note="done")
    ctx.sleep(1_000)


def hand_in(ctx: Context, plans: list[object]) -> object:
    """The plan of this attempt; the last one, if there are not so many."""
    return plans[min(ctx.epoch, len(plans)) - 1]


def do_task(ctx: Context) -> dict[str, object]:
    """What it was to do, and what earlier steps have left for it."""
    return {"task": ctx.text, "reads": {name: ctx.read(name) for name in ctx.reads}}
