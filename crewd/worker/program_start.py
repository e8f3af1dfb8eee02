"""What is executed for a command, and the outcome of a command that could not be started."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model.inputs import GOAL
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason
from crewd.model.redact import clip
from crewd.model.shell import place_values, with_exec
from crewd.protocol.reports import Outcome

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap

TRANSIENT = frozenset({errno.ETXTBSY, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Errors of a start after which another try may succeed."""

FIRST_LINE_BYTES = 256
"""What the system reads of a script to find its interpreter (`execve(2)`)."""


def argv_of(bootstrap: Bootstrap) -> list[str]:
    """What is executed for the command of a worker."""
    worker = bootstrap.worker
    return list(worker.argv) or ["/bin/sh", "-c", with_exec(place_values(worker.shell, (GOAL, *bootstrap.inputs)))]


class InputError(OSError):
    """The file that a command is to read cannot be used. The command itself was not looked for."""


def not_started(argv: list[str], error: OSError | ValueError) -> Outcome:
    """The outcome of a command that could not be executed, and whether another try may help."""
    number = error.errno if isinstance(error, OSError) else None
    why = f"{argv[0]}: {(error.strerror if isinstance(error, OSError) else '') or error}"
    if isinstance(error, InputError):
        why = str(error.strerror)
    elif (name := _file_of(argv[0])) and os.path.exists(name):  # noqa: PTH110 (it never raises)
        why = _of_file(name, number) or why
    elif number == errno.ENOENT and "/" not in argv[0]:
        why = f"{argv[0]} was not found in PATH={os.environ.get('PATH', '')}"
    if number == errno.ENOENT and _directory_is_gone():
        why = "the working directory is not there any more"
    transient = number in TRANSIENT
    return Outcome(
        outcome="failed", reason=FailureReason.START_BUSY if transient else FailureReason.SPAWN_FAILED,
        error=clip(why, NOTE_CHARS_MAX),
        error_class=errno.errorcode.get(number, "") if number else "",
    )  # fmt: skip


def _file_of(program: str) -> str:
    """The file that the name of a program means; an empty text if there is none."""
    return program if "/" in program else shutil.which(program, os.F_OK) or ""


def _of_file(path: str, number: int | None) -> str:
    """Why a file that is there was not executed; an empty text if nothing is known beyond the error itself."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return ""
    if not stat.S_ISREG(mode):
        return f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'no plain file'}"
    if number == errno.EACCES and not mode & 0o111:
        return f"{path} is not executable: chmod +x makes it so, or begin the command with its interpreter"
    try:
        with Path(path).open("rb") as file:
            line = file.read(FIRST_LINE_BYTES).partition(b"\n")[0]
    except OSError:
        return ""
    script, interpreter = line.startswith(b"#!"), os.fsdecode(line[2:].strip().partition(b" ")[0])
    if number == errno.ENOENT and script:
        why = f"{path} names the interpreter {interpreter} in its first line, and there is no such file"
        return f"{why}: the line ends with a carriage return, as on Windows" if line.endswith(b"\r") else why
    if number == errno.ENOENT:
        return f"{path} is there, but its dynamic loader is not: it was built for another system"
    if number == errno.ENOEXEC and not script:
        return f"{path} has no #! line, and is no program of this machine: begin the command with its interpreter"
    return ""


def _directory_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
