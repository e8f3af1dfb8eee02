"""One worker for each feature of the SDK. Try one: `crew call examples.workers:counts --follow`."""

from __future__ import annotations

from crewd.worker import AsyncContext, Cancelled, Context, worker


def counts(ctx: Context, to: int = 10) -> int:
    """Progress: how far it is, and a sign of life. `progress` raises Cancelled, like every safe point."""
    for number in range(to):
        ctx.progress(number, to, f"number {number}")
        ctx.sleep(0.1)
    return to


@worker(steer=True, follow_up=False)
def listens(ctx: Context) -> list[str]:
    """Steers: one at a time, oldest first, until one says `stop`."""
    heard: list[str] = []
    while not heard or heard[-1] != "stop":
        steer = ctx.safe_point(wait=3600)
        if steer is None:
            continue
        if steer.text.startswith("!"):
            steer.refuse("I do not take orders that begin with !")
        else:
            heard.append(steer.text)
            steer.done(f"heard {len(heard)}")
    return heard


@worker(steer=False, follow_up=True)
def stops_naturally(ctx: Context) -> list[str]:
    """Follow-ups: what came in while it worked is done where the work would end."""
    ctx.sleep(0.5)
    return [message.text for message in ctx.natural_stop()]


def asks(ctx: Context) -> str:
    """Questions: the task is `waiting` until somebody answers, or the time is up."""
    if not ctx.confirm("Shall I go on?", timeout=600):
        return "nobody said yes"
    return ctx.ask("In which colour?", kind="choose", choices=["red", "blue"], timeout=600) or "no colour"


def operates(ctx: Context) -> None:
    """Operations: what it does right now; each gets exactly one terminal record, also if the worker is killed in it."""
    with ctx.operation("tool", name="look"), ctx.operation("model", name="think"):
        ctx.sleep(0.2)


def leaves_a_file(ctx: Context) -> str:
    """Artifacts: files for people, in the attempt's own directory, with their hash on record."""
    return str(ctx.artifact("hello.txt", f"hello from {ctx.task}\n"))


def tidies_up(ctx: Context) -> None:
    """Cancellation: clean up within the grace, and let Cancelled pass."""
    try:
        while True:
            ctx.sleep(60)
    except Cancelled as cancelled:
        print(f"cancelled: {cancelled.reason}; {cancelled.grace_seconds:.1f} s to clean up")
        raise


@worker(steer=True, follow_up=False)
async def awaits(ctx: AsyncContext) -> str:
    """The same for `async def`."""
    while True:
        steer = ctx.safe_point()
        if steer is not None:
            return steer.text
        await ctx.sleep(0.05)
