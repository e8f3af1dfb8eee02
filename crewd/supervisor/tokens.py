"""Worker tokens: each is a keyed hash of its worker's name, so none has to be stored and all survive a restart.

Tests: tests/hostile/test_worker_channel.py.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.private_files import read_file

if TYPE_CHECKING:
    from crewd.clock import Chance

SECRET_BYTES = 32


class Tokens:
    """Makes and checks the token of one attempt. Any process that can read the home's secret file can make one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, task: str, epoch: int) -> str:
        """The token that this worker was given when it was started."""
        return hmac.new(self._secret, f"{task}#{epoch}".encode(), hashlib.sha256).hexdigest()

    def of_parent(self, task: str, epoch: int) -> str:
        """What proves that a client is a process of this worker; all of its processes have it in their environment."""
        return hmac.new(self._secret, f"parent {task}#{epoch}".encode(), hashlib.sha256).hexdigest()

    def right_for_parent(self, task: str, epoch: int, token: str) -> bool:
        """Whether `token` is that one."""
        return token.isascii() and hmac.compare_digest(self.of_parent(task, epoch), token)

    def right(self, task: str, epoch: int, token: str) -> bool:
        """Whether `token` is it; takes the same time either way."""
        return token.isascii() and hmac.compare_digest(self.of(task, epoch), token)


def load_secret(path: Path, chance: Chance) -> bytes:
    """The home's secret, made at first use with mode 0600 from its first instant.

    Raises UsageError for a file that is a link, or that others could read.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = read_file(path)
        if len(secret) == SECRET_BYTES:
            return secret
        path.unlink()  # half-written by a crewd that was killed: nothing was signed with it yet
        return load_secret(path, chance)
    secret = chance.bytes(SECRET_BYTES)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret
