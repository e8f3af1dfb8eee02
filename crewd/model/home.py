"""Where things of one crewd home are: path arithmetic only, so that daemon, guardian, client and worker agree.

A home is a directory of its user. Sockets live in `<home>/run`, or, when that path would be too long for a unix socket
(107 bytes), in a short directory of the user named after the home's key.

Tests: tests/testing/world/test_ports.py, tests/model/test_values.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from crewd.model.errors import UsageError

SOCKET_PATH_BYTES_MAX = 107
_LONGEST_SOCKET = "guardian.sock"
ROOT_BYTES_MAX = 480
"""SQLite opens no file whose path has more than 512 bytes (its `mxPathname`), with the names of its own files beside it."""
BLOBS_LOCK = "lock"
"""Beside the blobs: held shared by who stores one, and alone by who deletes some."""


class Home:
    """Paths of a home. `root` must be absolute and free of links (`os.path.realpath`); nothing here looks at the disk.

    Raises UsageError for a name that is not UTF-8, as it travels in messages, and for one that is too long for SQLite.
    """

    def __init__(self, root: Path, short_base: Path = Path("/tmp")) -> None:  # noqa: S108 (only a per-user 0700 folder below)
        self.root = root
        try:
            self.key = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        except UnicodeEncodeError:
            hint = "name another one: --home, or CREWD_HOME"
            raise UsageError(f"the name of the home {str(root)!r} is not UTF-8", hint=hint) from None
        if len(str(root).encode()) > ROOT_BYTES_MAX:
            hint = f"at most {ROOT_BYTES_MAX} are possible: --home, or CREWD_HOME"
            raise UsageError(f"the path of the home has {len(str(root).encode())} bytes", hint=hint)
        run = root / "run"
        if len(str(run / _LONGEST_SOCKET).encode()) > SOCKET_PATH_BYTES_MAX:
            run = short_base / f"crewd-{self.key}"
        self.run = run
        self.database = root / "crewd.db"
        self.reserve = root / "reserve"
        self.runs = root / "runs"
        self.archive = root / "archive"
        self.exports = root / "exports"
        self.imports = root / "imports"
        self.quarantine = root / "quarantine"
        self.blobs = root / "blobs"
        self.logs = root / "logs"
        self.exits = root / "exits"
        self.config = root / "crewd.toml"
        self.clock = root / "clock"
        self.daemon_lock = root / "crewd.lock"
        self.guardian_lock = root / "guardian.lock"
        self.guardian_socket = run / "guardian.sock"
        self.files_socket = run / "files.sock"
        self.clients_socket = run / "clients.sock"
        self.workers_socket = run / "workers.sock"
        self.full = run / "full"
        """Says, while it is there, why no more clients can connect."""
        self.daemon_log = self.logs / "crewd.jsonl"

    @property
    def clients_endpoint(self) -> str:
        """Where clients connect."""
        return f"ipc://{self.clients_socket}"

    @property
    def workers_endpoint(self) -> str:
        """Where workers connect."""
        return f"ipc://{self.workers_socket}"

    def run_directory(self, run: str) -> Path:
        """What belongs to a run."""
        return self.runs / run

    def shared(self, run: str) -> Path:
        """Outputs of a run's steps, for the steps after them."""
        return self.run_directory(run) / "shared"

    def attempt(self, task: str, epoch: int) -> Path:
        """What belongs to one attempt: stdout, stderr, artifacts, result."""
        run, _, step = task.partition("/")
        return self.run_directory(run) / step / str(epoch)


def blob_path(blobs: Path, sha256: str) -> Path:
    """Where the blob of this hash is."""
    return blobs / "sha256" / sha256[:2] / sha256
