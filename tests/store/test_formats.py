"""Every format that was ever written stays readable: databases, bundles, and events of a crewd to come."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import msgspec
import pytest

from crewd.model import events as ev
from crewd.model.errors import PeerError
from crewd.model.events import body_of
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.store.bundle import VERSION, Bundle
from crewd.store.database import Database
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.store.schema import MIGRATIONS

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("schema", [3, 4, 5])
def test_a_database_of_an_older_schema_is_brought_up_and_copied_first(schema: int, tmp_path: Path) -> None:
    path = tmp_path / "crewd.db"
    path.write_bytes(gzip.decompress((FIXTURES / f"schema-{schema}.db.gz").read_bytes()))
    before = sqlite3.connect(path)
    events = before.execute("SELECT count(*), max(seq) FROM events").fetchone()
    before.close()
    unflushed = 3 if schema == len(MIGRATIONS) else 0
    Database(path, "other").close()
    reader = ReadOnly(path)
    assert reader.store_id == "s"
    assert rebuild(reader) == ([], events[0] + unflushed)
    assert [event.seq for event in reader.unflushed()] == [events[1] + 1 + number for number in range(unflushed)]
    assert reader.last_seq() == events[1] and len(reader.events(limit=10**6)) == events[0]
    for run in reader.runs(ended=True, limit=99):
        assert reader.size_of(run.id)[0] == reader.count_events(run.id, 0)
    reader.close()
    kept = list(tmp_path.glob("before-schema-*.db"))
    assert len(kept) == (schema < len(MIGRATIONS))
    for copy in kept:
        sql = sqlite3.connect(copy)
        assert sql.execute("PRAGMA user_version").fetchone() == (schema,)
        assert sql.execute("SELECT count(*), max(seq) FROM events").fetchone() == events
        sql.close()


def test_there_is_a_fixture_of_this_version_of_everything() -> None:
    assert (FIXTURES / f"schema-{len(MIGRATIONS)}.db.gz").exists(), "a new schema needs a fixture, before it is released"
    assert (FIXTURES / f"bundle-{VERSION}.zip").exists()


def test_a_bundle_of_each_version_is_read() -> None:
    bundle = Bundle(FIXTURES / "bundle-1.zip")
    assert bundle.verify().id == bundle.manifest.run
    assert bundle.output("step/1/stdout", 0, 99).data == b"said\n"
    bundle.close()


def test_an_event_of_the_future_is_kept_and_shown() -> None:
    new = {"type": "moon.landed", "craft": "x", "when": [1, 2]}
    assert body_of(msgspec.msgpack.encode(new)) == ev.Foreign(name="moon.landed", data={"craft": "x", "when": [1, 2]})
    known = {"type": "run.started", "by_whom": "somebody new"}
    assert body_of(msgspec.msgpack.encode(known)) == ev.RunStarted(), "what is new in a type that is known is left out"
    event = {"seq": 1, "event_id": "e", "parent": 0, "run": "r", "task": "", "epoch": 0, "causation": "", "correlation": "",
             "provenance": "", "at": 1.0, "body": new, "mood": "good"}  # fmt: skip
    frames = codec.replies.encode("x", rl.EventsReply(events=()))
    frames[3] = msgspec.msgpack.encode({"events": [event, {**event, "body": known}], "more": False})
    reply = codec.replies.decode(frames).body
    assert isinstance(reply, rl.EventsReply)
    assert [each.type for each in reply.events] == ["crewd.foreign", "run.started"]
    frames[3] = msgspec.msgpack.encode({"events": [{**event, "seq": "one"}]})
    with pytest.raises(PeerError):
        codec.replies.decode(frames)
