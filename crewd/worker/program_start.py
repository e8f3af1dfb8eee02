"""What is executed for a command, and the outcome of a command that could not be started.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import errno
import os
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


def _directory_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
