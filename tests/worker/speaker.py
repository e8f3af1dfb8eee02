"""A program that speaks crewd-stdio, as somebody would write it who has only read docs/stdio.md. It does not import crewd."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def say(record: str, /, **keys: object) -> None:
    print(json.dumps({"type": record, **keys}), flush=True)


def heard(*kinds: str) -> dict[str, object]:
    """The next record of one of these kinds."""
    for record in records():
        if record["type"] in kinds:
            return record
    raise SystemExit("crewd has hung up")


def records() -> Iterator[dict[str, object]]:
    for line in iter(sys.stdin.readline, ""):
        yield json.loads(line)


def done(message: dict[str, object], note: str = "") -> object:
    say("receipt", id=message["id"], state="applied")
    say("receipt", id=message["id"], state="done", note=note)
    return message["text"]


def everything(start: dict[str, object]) -> None:
    """Ask, be steered, stop where nothing is left."""
    say("progress", done=1, total=3, note="begun")
    say("ask", id="colour", question="which colour?")
    answer, steers = None, []
    while answer is None or not steers:
        record = heard("answer", "message")
        if record["type"] == "answer":
            answer = record["text"]
        else:
            steers.append(done(record, "steered"))
    say("usage", turns=1, tokens=20)
    say("tell", text="half of it is done")
    say("checkpoint", value={"at": 2})
    say("artifact", name="notes.txt", text="all of it")
    follow_ups = []
    say("idle")
    while (record := heard("message", "stop"))["type"] == "message":
        if record["text"] == "unwanted":
            say("receipt", id=record["id"], state="refused", reason="unwanted")
        else:
            follow_ups.append(done(record))
        say("idle")
    say(
        "end", state="completed",
        result={"goal": start["goal"], "args": start["args"], "answer": answer, "steers": steers, "follow_ups": follow_ups},
    )  # fmt: skip


def noisy(_start: dict[str, object]) -> None:
    """What is no record, and records that are wrong."""
    print("plain words", flush=True)
    print('{"no": "record"}', flush=True)
    print("{not even JSON", flush=True)
    say("progress", done="half")
    say("ponder", deeply=True)
    say("receipt", id="m_nobody", state="done")
    say("artifact", name="both", text="a", path="/etc/hostname")
    complaints = [heard("error")["message"] for _ in range(4)]
    say("ask", id="choice", question="which?", kind="choose")
    complaints.append(heard("error", "answer")["message"])
    say("ask", id="choice", question="which?", timeout=0)
    complaints.append(str(heard("error", "answer")["id"]))  # the answer to this one, and not to the one that was wrong
    say("end", state="completed", result=complaints)


def again(start: dict[str, object]) -> None:
    """Fail once, go on from the checkpoint."""
    if start["restored"] is None:
        say("checkpoint", value=[1, 2])
        say("end", state="failed", error="not yet", error_class="TryAgain")
    else:
        say("end", state="completed", result=start["restored"])


def main() -> None:
    mode = sys.argv[1]
    if mode == "silent":
        sys.exit("no hello today")
    start = heard("start")
    say("hello", capabilities=["steer", "follow_up"])
    match mode:
        case "everything":
            everything(start)
        case "noisy":
            noisy(start)
        case "again":
            again(start)
        case "large":
            say("end", state="completed", result="x" * 5_000_000)
        case "hopeless":
            say("end", state="failed", error="never", permanent=True)
        case "mute":
            print("why it ended", file=sys.stderr)
            sys.exit(3)
        case "lingers":
            say("end", state="completed", result=1)
            time.sleep(600)
        case "stops":
            reason = heard("cancel")["reason"]
            Path(sys.argv[2]).write_text(str(reason))
            say("end", state="cancelled")
        case "deaf":
            heard("nothing")
        case "gate":
            while not Path(sys.argv[2]).exists():
                say("progress", note="waiting")
                time.sleep(0.05)
            say("end", state="completed", result="through")


if __name__ == "__main__":
    main()
