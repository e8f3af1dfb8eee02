"""The `exec` runtime: any command. Its output goes to the worker's files directly; its input is null, or one line per steer."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from crewd.protocol.limits import INLINE_BYTES_MAX, NOTE_CHARS_MAX
from crewd.protocol.redact import clip
from crewd.protocol.reports import Applied, Outcome, Settled

if TYPE_CHECKING:
    from crewd.protocol.hands import Bootstrap
    from crewd.worker.desk import Desk

STDIN_SECONDS = 1.0
"""A command whose input was closed gets so long to end by that alone, at most half of its grace."""
TAIL_BYTES = 2_048
"""Of stderr, in the error of a command that failed: every terminal carries its cause."""


def argv_of(bootstrap: Bootstrap) -> list[str]:
    """What is executed. In a command line `{goal}` stands quoted, so that a goal is never read as shell."""
    worker = bootstrap.worker
    if worker.argv:
        return [part.replace("{goal}", bootstrap.goal) for part in worker.argv]
    return ["/bin/sh", "-c", worker.shell.replace("{goal}", shlex.quote(bootstrap.goal))]


def run_command(bootstrap: Bootstrap, desk: Desk) -> Outcome:
    """Run the command to its end and say how it ended. A cancel is a TERM to it; the guardian does the rest."""
    lines = bootstrap.worker.stdin == "lines"
    argv = argv_of(bootstrap)
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE if lines else subprocess.DEVNULL)  # noqa: S603 (its purpose)
    except OSError as error:
        return Outcome(outcome="failed", reason="spawn_failed", error=f"{argv[0]}: {error.strerror or error}")
    desk.token.listen(lambda: threading.Thread(target=_end, args=(process, desk), name="end", daemon=True).start())
    writer = None
    if process.stdin is not None:
        writer = threading.Thread(target=_write_steers, args=(process.stdin, desk), name="stdin", daemon=True)
        writer.start()
    code = process.wait()
    desk.finish()
    if desk.token.cancelled:
        return Outcome(outcome="cancelled", reason=desk.token.reason, exit_code=code if code >= 0 else None)
    directory = Path(bootstrap.directory)
    if code != 0:
        tail = _tail(directory / "stderr", TAIL_BYTES)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Outcome(
            outcome="failed",
            reason="killed_by_signal" if code < 0 else "exit_code",
            error=clip(f"{how}: {tail}" if tail else how, NOTE_CHARS_MAX),
            exit_code=code if code > 0 else None,
        )
    if bootstrap.output:
        part = Path(bootstrap.shared) / f".{bootstrap.output}.part"
        shutil.copyfile(directory / "stdout", part)
        part.replace(Path(bootstrap.shared) / bootstrap.output)
    return Outcome(
        outcome="completed",
        result=_tail(directory / "stdout", INLINE_BYTES_MAX // 2),
        result_path=str(directory / "stdout"),
        exit_code=0,
    )


def _end(process: subprocess.Popen[bytes], desk: Desk) -> None:
    """The steps of the ladder that a command can understand: the end of its input, then TERM. The guardian does the rest."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(STDIN_SECONDS, desk.token.remaining() / 2))
    process.terminate()


def _write_steers(stdin: IO[bytes], desk: Desk) -> None:
    """One line per steer, oldest first. `applied` when the pipe took it; a command that does not read leaves it `delivered`."""
    while (steer := desk.wait_for_steer()) is not None:
        line = " ".join(steer.text.splitlines()) + "\n"
        try:
            stdin.write(line.encode())
            stdin.flush()
        except (OSError, ValueError):
            desk.report(Settled(id=steer.id, outcome="refused", reason="stdin_closed"))
            continue
        desk.report(Applied(id=steer.id))
        desk.report(Settled(id=steer.id, outcome="done", note="written to stdin"))


def _tail(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            return file.read(limit).decode("utf-8", "replace").strip()
    except OSError:
        return ""
