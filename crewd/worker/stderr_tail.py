"""The end of what a program wrote to standard error, without secrets: every failure carries its cause.

Tests: tests/worker/test_command.py, tests/worker/test_stdio.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model.known_secrets import KnownSecrets
from crewd.model.redact import blot

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap

TAIL_BYTES = 2_048
"""Of standard error, in the error of a program that failed."""


def known_of(bootstrap: Bootstrap) -> KnownSecrets:
    """The values of the run's secrets, which are in this process's environment and nowhere else."""
    return KnownSecrets(os.environ.get(name, "") for name in bootstrap.masked)


def tail_of(path: Path, limit: int, known: KnownSecrets) -> str:
    """The last `limit` bytes of a file, as text without secrets; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit - known.reach))
            data = file.read(limit + known.reach)
    except OSError:
        return ""
    return blot(known.in_bytes(data))[-limit:].decode("utf-8", "replace").strip()
