"""What this crewd folds logs of simulated runs to, in a file: `python -m tests.store.folded --write` after `FOLDED` was raised.

The logs stay as they were written, so that only the fold can change what comes of them.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import msgspec

from crewd.model.events import Event
from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import FOLDED, fold
from crewd.testing.world import FLAKY
from crewd.testing.world.play import draw, play

FILE = Path(__file__).parent / "fixtures" / "folded.gz"
SEEDS = 40
EVENTS_MAX = 600


class Folded(msgspec.Struct):
    """Logs, and the digest of the rows that the fold `folded` makes of each."""

    folded: int
    logs: list[list[Event]]
    digests: list[str]


def digest_of(log: list[Event]) -> str:
    """The rows of a log."""
    rows = Cache(Nowhere())
    for event in log:
        fold(rows, event)
    everything = sorted((kind.__name__, key, repr(_said(row))) for (kind, key), row in rows.everything().items())
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def _said(value: object) -> object:
    """A value without the fields that are at their defaults: a new one that no event sets changes no row."""
    if isinstance(value, msgspec.Struct):
        fields = {each.name: (getattr(value, each.name), each.default) for each in msgspec.structs.fields(value)}
        return {name: _said(given) for name, (given, default) in sorted(fields.items()) if given != default}
    if isinstance(value, dict):
        return {str(key): _said(given) for key, given in sorted(value.items())}
    return [_said(each) for each in value] if isinstance(value, list | tuple) else value


def read() -> Folded:
    """What the file holds."""
    return msgspec.msgpack.decode(gzip.decompress(FILE.read_bytes()), type=Folded)


def _drawn() -> list[list[Event]]:
    """Logs that have, one after the other, kinds of events that those before have not."""
    seen: set[str] = set()
    logs = []
    for seed in range(SEEDS):
        log = list(play(seed, draw(seed), FLAKY).disk.events)[:EVENTS_MAX]
        if not {event.type for event in log} <= seen:
            seen |= {event.type for event in log}
            logs.append(log)
    return logs


def main() -> None:
    """Write the file: the digests of the logs in it, or of newly drawn ones where there is none (`--draw`)."""
    logs = _drawn() if "--draw" in sys.argv else read().logs
    logs = msgspec.msgpack.decode(msgspec.msgpack.encode(logs), type=list[list[Event]])  # as they will be read
    data = msgspec.msgpack.encode(Folded(FOLDED, logs, [digest_of(log) for log in logs]))
    FILE.write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    main()
