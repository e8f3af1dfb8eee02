"""Workers that put a secret wherever a worker can put a text: see `test_secrets.py`. Each place has a secret of its own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from crewd.worker import Context, worker

SHAPES = ("github", "assigned", "pem", "url", "bearer", "pem assigned", "two words", "cookie")


def planted(place: str) -> str:
    """A text with a secret of each shape, from which one sees where it was planted."""
    return " ; ".join(_shape(shape, place) for shape in SHAPES)


def cores(place: str) -> dict[str, bytes]:
    """What must not be found of each, by its shape."""
    return {shape: _core(shape, place).encode() for shape in SHAPES}


def _core(shape: str, place: str) -> str:
    mark = "".join(each for each in place.title() if each.isalnum())
    match shape:
        case "github":
            return f"ghp_{mark}{'a1B2' * 9}"
        case "assigned":
            return f"Zq7{mark}xw9vK"
        case "pem":
            return f"MIIE{mark}owIBAAKC"
        case "url":
            return f"pw8{mark}XYz"
        case "pem assigned":
            return f"MIIF{mark}owIBAAKC"
        case "two words":
            return f"blue {mark}Kw4 lake"
        case "cookie":
            return f"sid={mark}s3ss10n"
        case _:
            return f"tok9{mark}AbCdEfGh12345"


def _shape(shape: str, place: str) -> str:
    core = _core(shape, place)
    match shape:
        case "github":
            return core
        case "assigned":
            return f"DB_PASSWORD={core}"
        case "pem":
            return f"-----BEGIN PRIVATE KEY-----\n{core}{'owIBAAKC' * 8}\n-----END PRIVATE KEY-----"
        case "url":
            return f"https://user:{core}@example.org/x"
        case "pem assigned":
            return f'TLS_PRIVATE_KEY="-----BEGIN ENCRYPTED PRIVATE KEY-----\\n{core}\\n-----END ENCRYPTED PRIVATE KEY-----"'
        case "two words":
            return f'password = "{core}"'
        case "cookie":
            return f"Cookie: {core}\n"
        case _:
            return f"Authorization: Bearer {core}"


@worker(message=True)
def everywhere(ctx: Context) -> object:
    """Each way of saying something, then a question, then a result."""
    print(planted("standard output"))
    print(planted("standard error"), file=sys.stderr)
    ctx.progress(1, 2, note=planted("progress"), phase=planted("phase")[:60])
    ctx.tell(planted("tell"))
    ctx.checkpoint({planted("checkpoint key")[:60]: [planted("checkpoint")]})
    with ctx.operation(planted("operation kind")[:60], name=planted("operation name")):
        pass
    try:
        with ctx.operation("tool", name="fails"):
            raise ValueError(planted("operation error"))
    except ValueError:
        pass
    ctx.artifact("text.txt", planted("artifact text"))
    ctx.artifact("large.txt", planted("artifact large") + "\nline" * 300_000)
    (ctx.directory / "left.txt").write_text(planted("artifact file"))
    ctx.artifact("file.txt", ctx.directory / "left.txt")
    (ctx.directory / "left.txt").unlink()
    ctx.ask(planted("question"), kind="choose", choices=["a", planted("choice")], timeout=600)
    ctx.ask("and?", default=planted("default"), timeout=600)
    ctx.safe_point(wait=600)
    return {"said": planted("result"), "list": [planted("result list")], planted("result key")[:70]: 1}


def large(_ctx: Context) -> object:
    """A result that is kept in a file."""
    return [planted("large result"), "x" * 100_000]


def fails() -> None:
    """An error."""
    raise ValueError(planted("error"))


def outputs(_ctx: Context) -> str:
    """A result that is the output of its step."""
    return planted("output")


def main() -> None:
    """The same for a program that speaks crewd-stdio, and for commands."""
    match sys.argv[1]:
        case "stdio":
            json.loads(sys.stdin.readline())
            for record in (
                {"type": "hello"},
                {"type": "progress", "note": planted("stdio progress")},
                {"type": "tell", "text": planted("stdio tell")},
                {"type": "checkpoint", "value": planted("stdio checkpoint")},
                {"type": "artifact", "name": "x.txt", "text": planted("stdio artifact")},
                {"type": "ponder", "what": planted("stdio nonsense")},
                {"type": "end", "state": "completed", "result": planted("stdio result")},
            ):
                print(json.dumps(record), flush=True)
        case "command":
            print(planted("command output"))
            print(planted("command error"), file=sys.stderr)
        case "large":
            print(planted("command large") + "\nline" * 100_000)
        case "fails":
            print(planted("command tail"), file=sys.stderr)
            sys.exit(3)
        case "waits":
            while not Path(sys.argv[2]).exists():
                time.sleep(0.05)
            print(planted("unsent reports"))


if __name__ == "__main__":
    main()
