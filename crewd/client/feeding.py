"""Feeds metrics to the sink of an extension: a command that reads a line of JSON each time, as long as this process feeds it.

A sink that reads too slowly misses lines; it never holds anything up. When it ends, so does the feeding.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Sequence

import msgspec

from crewd.client.disabled import disabled
from crewd.client.extension_run import in_context
from crewd.client.extensions import Extension
from crewd.client.initialised import initialise_extensions
from crewd.client.inventory import check_enabled, commands_of_extensions
from crewd.client.metrics import Sample
from crewd.model.errors import CrewdError, NotFound
from crewd.model.markdown import did_you_mean

LEAVE_SECONDS = 5.0
"""What a sink has after the end of its input, before it is killed."""


def sink_named(name: str) -> tuple[Extension, str]:
    """The extension and the command of the sink `EXTENSION.NAME`. NotFound if there is none; Refused if it is disabled."""
    initialise_extensions()
    found = {f"{extension.name}.{each}": extension for kind, each, extension in commands_of_extensions() if kind == "sink"}
    if name not in found:
        hint = did_you_mean(name, found, {}) or "crew capabilities --kind sink lists what there is"
        raise NotFound(f"there is no sink {name}", hint=hint)
    if f"sink:{name}" in disabled():
        check_enabled("sink", name)
    extension = found[name]
    return extension, in_context(extension, extension.declared.sinks[name.partition(".")[2]].run)


def feed(run: str, look: Callable[[], Sequence[Sample]], every: float) -> int:
    """Start the command, and give it a line with all values at once, and every so many seconds, until it ends.

    How many lines it has missed. Raises CrewdError if it ends in another way than with exit code 0.
    """
    process = subprocess.Popen(["/bin/sh", "-c", run], stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 (its purpose)
    missed, pipe, rest = 0, process.stdin, b""
    try:
        while pipe is not None:
            line = msgspec.json.encode({sample.name: sample.value for sample in look()}) + b"\n"
            missed += bool(rest)
            rest = rest or line
            os.set_blocking(pipe.fileno(), False)
            try:
                rest = rest[os.write(pipe.fileno(), rest) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                break
            if _has_ended(process, every):
                break
    finally:
        _end(process)
    if process.returncode != 0:
        how = "signal" if process.returncode < 0 else "exit code"
        raise CrewdError(f"the sink has ended: {how} {abs(process.returncode)}")
    return missed


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """The end of its input tells it to go."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if not _has_ended(process, LEAVE_SECONDS):
        process.kill()
        process.wait()
