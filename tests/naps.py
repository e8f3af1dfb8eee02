"""Seconds for the `sleep` of a test that no other process sleeps: a list of processes shows whose it is."""

from __future__ import annotations

import itertools
import os

import psutil

_SECONDS = itertools.count(3_000_000_000 + os.getpid() * 1_000)


def unique_seconds() -> str:
    """Seconds that nobody else sleeps."""
    return str(next(_SECONDS))


def sleepers(seconds: str) -> list[int]:
    """The processes that have this word in their command line: those that sleep so long."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if seconds in (process.info["cmdline"] or ())]
