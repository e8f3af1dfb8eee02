"""Which worker is at the other end of which connection, as its hello has said. A table; it neither reads nor sends.

A worker's identity on the wire says nothing of it: a process that waits for work connects before it knows whose worker it
will be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewd.model.rows import Progress


@dataclass(slots=True)
class ConnectedWorker:
    """A worker that said hello on the present connection."""

    task: str
    epoch: int
    heard_at: float
    beats: int = 0
    noted_at: float = 0.0
    progress: Progress | None = None


class ConnectedWorkers:
    """The table: at most one connection for each worker, the one that said hello last."""

    def __init__(self) -> None:
        self._by_identity: dict[bytes, ConnectedWorker] = {}
        self._identities: dict[tuple[str, int], bytes] = {}

    def __len__(self) -> int:
        return len(self._by_identity)

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._by_identity

    def __iter__(self) -> Iterator[ConnectedWorker]:
        return iter(self._by_identity.values())

    def greet(self, identity: bytes, task: str, epoch: int, now: float) -> None:
        """This worker said hello here; what was said on another connection of it is not heard any more."""
        before = self._identities.get((task, epoch))
        if before is not None:
            self._by_identity.pop(before, None)
        known = self._by_identity.get(identity)
        if known is not None:  # it was another worker's a moment ago, and said so with that one's token
            self._identities.pop((known.task, known.epoch), None)
        self._by_identity[identity] = ConnectedWorker(task, epoch, now)
        self._identities[task, epoch] = identity

    def at(self, identity: bytes) -> ConnectedWorker | None:
        """The worker at the end of this connection."""
        return self._by_identity.get(identity)

    def of(self, task: str, epoch: int) -> bytes | None:
        """The connection of this worker."""
        return self._identities.get((task, epoch))

    def forget(self, task: str, epoch: int) -> None:
        """Its connection is gone, or its attempt is over."""
        identity = self._identities.pop((task, epoch), None)
        if identity is not None:
            del self._by_identity[identity]
