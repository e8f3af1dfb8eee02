"""A worker with a bug that only a cancel shows, and its mended twin. Try `crew stress examples.stressed:report`.

Both write a report line by line, take steers that name a line to leave out, and wait for follow-ups. `report` was tested
and works; cancelled in the middle, it leaves half a report that looks like a whole one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from crewd.worker import Context, worker

ROWS = [f"row {number}" for number in range(5)]


@worker
def report(ctx: Context) -> int:
    """The bug: whoever reads report.txt cannot know whether it is all of it."""
    skipped: set[str] = set()
    with Path("report.txt").open("w") as file:
        for row in ROWS:
            ctx.progress(note=row)
            if steer := ctx.safe_point():
                skipped.add(steer.text)
            if row not in skipped:
                file.write(f"{row}\n")
    return _follow_ups(ctx)


@worker
def mended(ctx: Context) -> int:
    """The file appears when it is whole, and what was begun goes away with the worker, however it ends."""
    skipped: set[str] = set()
    part = Path("report.txt.part")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(part.open("w"))
        stack.callback(part.unlink, missing_ok=True)
        for row in ROWS:
            ctx.progress(note=row)
            if steer := ctx.safe_point():
                skipped.add(steer.text)
            if row not in skipped:
                file.write(f"{row}\n")
        file.flush()
        part.replace("report.txt")
    return _follow_ups(ctx)


def _follow_ups(ctx: Context) -> int:
    """Steers that came too late for the rows are refused, with the reason; follow-ups are counted."""
    done = 0
    for message in ctx.natural_stop():
        if message.kind == "steer":
            message.refuse("the report is written")
        else:
            done += 1
    return done
