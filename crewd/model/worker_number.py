"""The number that every process of a worker bears in a resource limit (see `crewd.limit_mark`). It names home and worker.

Tests: tests/hostile/test_forged_marks.py.
"""

from __future__ import annotations

import hashlib

BASE = 1 << 62
"""No lower number is a worker's."""
_WORKER_BITS = 38


def number_of(home_key: str, task: str, epoch: int) -> int:
    """The number of a worker."""
    worker = int.from_bytes(hashlib.sha256(f"{task}#{epoch}".encode()).digest()[:8], "big") % (1 << _WORKER_BITS)
    return home_number(home_key) + worker


def home_number(home_key: str) -> int:
    """The part of it that all workers of a home share."""
    home = int.from_bytes(hashlib.sha256(home_key.encode()).digest()[:8], "big") % (1 << 62 - _WORKER_BITS)
    return BASE + (home << _WORKER_BITS)


def home_part(number: int) -> int:
    """The same, of a number that was read."""
    return number >> _WORKER_BITS << _WORKER_BITS
