"""The input that `crew exec` gives to its command.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import os
import select
import shlex
import stat
import sys
from pathlib import Path

from crewd.client.cli.common import warn
from crewd.client.texts import not_utf8
from crewd.model.errors import UsageError
from crewd.model.limits import INPUT_BYTES_MAX

PIPE_SECONDS = 1.0
"""How long a pipe that nobody asked for is looked at: one that stays silent is not meant for the command."""


_CHOICES = "--stdin none, lines, - (standard input), or the path of a file"


def input_of(chosen: str) -> str | bytes:
    """What `exec_workflow` takes as `stdin`: bytes that were read here, a file's path, `lines` or `none`.

    Without a choice (`auto`) it is what is piped in, if anything is; that is said on standard error.
    """
    if chosen == "auto":
        return _piped()
    if chosen == "-":
        return _read()
    if chosen not in {"none", "lines"}:
        path = Path(chosen)
        if not chosen or not path.exists():
            raise UsageError(f"there is no file {chosen!r}", hint=_CHOICES)
        if not path.is_file() and not path.samefile(os.devnull):
            if path.is_dir():
                raise UsageError(f"{chosen} is a directory", hint=_CHOICES)
            raise UsageError(f"{chosen} is no plain file", hint=f"pipe it in: crew exec --stdin - ... < {shlex.quote(chosen)}")
    return chosen


def _piped() -> str | bytes:
    try:
        piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return "none"  # standard input is closed
    if not piped:
        return "none"
    if not select.select([0], [], [], PIPE_SECONDS)[0]:
        warn("crew: nothing comes from the pipe on standard input; started without (--stdin - waits for it)")
        return "none"
    data = _read()
    if data:
        warn(f"crew: {len(data)} bytes from standard input are the command's input (--stdin none: not)")
    return data or "none"


def text_from_here() -> str:
    """What stands on standard input, as text. UsageError if it is closed, or no UTF-8."""
    if sys.stdin is None:
        raise UsageError("standard input is closed, and '-' means to read it", hint="give the text itself")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise not_utf8("standard input", error) from None


def _read() -> bytes:
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="--stdin none")
    data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    if len(data) > INPUT_BYTES_MAX:
        hint = "write it to a file, and name that: --stdin FILE"
        raise UsageError(f"standard input has more than {INPUT_BYTES_MAX} bytes", hint=hint)
    return data
