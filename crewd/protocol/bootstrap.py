"""What a worker process is told when it starts.

Tests: tests/testing/world/test_ports.py, tests/hostile/test_numbers.py.
"""

from __future__ import annotations

import msgspec

from crewd.model.known_secrets import KnownSecrets
from crewd.model.packet import Packet
from crewd.model.workflow import WorkerSpec


class Bootstrap(msgspec.Struct, frozen=True):
    """All that a worker process is told when it starts. It is never in argv or in the environment: the token is a secret.

    `env` are the variables of the run and of the step, the step's before the run's; `secrets` are those that are never
    written anywhere, and `masked` the names of those of them whose values are masked in whatever the worker says and writes.
    `recovers`: the attempt before was lost or cancelled, and this one takes up its work. `changed_goal`: the step says nothing,
    and a hook has changed the goal: `text` is what became of it.
    """

    task: str
    epoch: int
    token: str
    endpoint: str
    directory: str
    shared: str
    cwd: str
    goal: str
    text: str
    reads: tuple[str, ...]
    output: str
    worker: WorkerSpec
    checkpoint: object = None
    parent: str = ""
    blobs: str = ""
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    inputs: dict[str, object] = {}
    masked: tuple[str, ...] = ()
    packet: Packet | None = None
    recovers: bool = False
    changed_goal: bool = False

    @property
    def known(self) -> KnownSecrets:
        """The values that are masked."""
        return KnownSecrets(self.secrets.get(name, "") for name in self.masked)
