"""A run directory of the original system: whatever is odd in it, it becomes a run of ours, and nothing of it is lost."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.model.events import Foreign
from crewd.model.rows import MessageRow, TaskRow
from crewd.store.bundle import Bundle
from crewd.store.original import convert, is_original

MANIFEST = {
    "schemaVersion": 1, "runId": "team_20260131120000_0123456789abcdef", "team": "builders", "workflow": "ship it",
    "goal": "a goal",
    "status": "completed", "createdAt": "2026-01-31T12:00:00.000Z", "updatedAt": "2026-01-31T12:10:00.000Z", "cwd": "/work",
    "somethingNew": {"x": 1},
}  # fmt: skip
TASKS = [
    {"id": "01_plan", "stepId": "plan", "role": "planner", "status": "completed", "startedAt": "2026-01-31T12:00:01Z",
     "finishedAt": "2026-01-31T12:01:00Z"},
    {"id": "02_build", "stepId": "build", "role": "builder", "status": "failed", "dependsOn": ["plan"], "error": "it broke"},
    {"id": "03_ship", "stepId": "ship", "status": "skipped", "dependsOn": ["02_build", "nobody"]},
    {"id": "04_ask", "stepId": "ask", "status": "waiting"},
]  # fmt: skip
EVENTS = [
    {"time": "2026-01-31T12:00:00Z", "type": "run.created", "runId": "x", "metadata": {"seq": 1}},
    {
        "time": "2026-01-31T12:00:30Z",
        "type": "task.progress",
        "taskId": "01_plan",
        "data": {"tool": "bash", "token": "hunter2222"},
    },
    {"time": "2026-01-31T12:01:00Z", "type": "something.else", "message": "hm"},
]
MAIL = [
    {"id": "msg_1", "time": "2026-01-31T12:00:20Z", "direction": "inbox", "from": "leader", "to": "01_plan", "body": "do this",
     "kind": "steer", "taskId": "01_plan"},
    {"id": "msg_2", "time": "2026-01-31T12:00:25Z", "direction": "inbox", "from": "leader", "body": "and later",
     "kind": "follow-up"},
]  # fmt: skip


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "upload"
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(f"original/{name}", data)
    return path


def directory(**changes: Any) -> dict[str, bytes]:
    return {
        "manifest.json": json.dumps({**MANIFEST, **changes}).encode(),
        "tasks.json": json.dumps(TASKS).encode(),
        "events.jsonl": b"\n".join(json.dumps(each).encode() for each in EVENTS) + b"\n{torn",
        "mailbox/inbox.jsonl": json.dumps(MAIL[1]).encode() + b"\n",
        "mailbox/tasks/01_plan/inbox.jsonl": json.dumps(MAIL[0]).encode() + b"\nnot json\n",
        "mailbox/delivery.json": json.dumps({"messages": {"msg_1": "acknowledged", "msg_2": "queued"}}).encode(),
        "agents/01_plan/output.log": b"worked\n",
    }


def test_what_is_known_there_becomes_our_rows_and_the_rest_is_kept(tmp_path: Path) -> None:
    files = directory()
    path = packed(tmp_path, files)
    assert is_original(path)
    convert(path, tmp_path / "made.zip", "test")
    bundle = Bundle(tmp_path / "made.zip")
    row = bundle.verify()
    assert (row.name, row.status.value, row.goal, row.cwd) == (MANIFEST["runId"], "completed", "a goal", "/work")
    tasks = {task.step: task for task in bundle.rows_of(TaskRow, row.id, 99)}
    assert {step: task.status.value for step, task in tasks.items()} == {
        "01_plan": "completed", "02_build": "failed", "03_ship": "skipped", "04_ask": "cancelled",
    }  # fmt: skip
    assert tasks["02_build"].error == "it broke" and tasks["04_ask"].reason == "it was waiting there"
    assert tasks["02_build"].depends_on == (f"{row.id}/01_plan",) and tasks["03_ship"].depends_on == (f"{row.id}/02_build",)
    mail = {message.text: message.receipt for message in bundle.rows_of(MessageRow, row.id, 99)}
    assert (mail["do this"].kind, mail["do this"].outcome) == ("steer", "done")
    assert (mail["and later"].kind, mail["and later"].outcome) == ("follow_up", "refused")
    foreign = [event.body for event in bundle.events(limit=999) if isinstance(event.body, Foreign)]
    assert [each.name for each in foreign] == ["run.created", "task.progress", "something.else", "original.unreadable"]
    assert foreign[1].data["data"] == {"tool": "bash", "token": "[redacted]"} and foreign[1].data["taskId"] == "01_plan"
    for name, data in files.items():
        assert bundle.part(f"original/{name}") == data.replace(b"hunter2222", b"*" * 10), name
    bundle.close()


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"runId": 5}', b"\xff"])
def test_without_a_run_id_it_is_no_run(manifest: bytes, tmp_path: Path) -> None:
    path = packed(tmp_path, {**directory(), "manifest.json": manifest})
    with pytest.raises(UsageError, match="runId"):
        convert(path, tmp_path / "made.zip", "test")
    assert not (tmp_path / "made.zip").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6,
)  # fmt: skip
ODD = st.dictionaries(
    st.sampled_from(["id", "stepId", "status", "dependsOn", "startedAt", "finishedAt", "error", "title", "role", "time", "type",
                     "taskId", "kind", "body", "from", "direction", "data"]), JSON, max_size=6,
)  # fmt: skip


@given(JSON, st.lists(ODD | JSON, max_size=4), st.lists(ODD, max_size=4), st.lists(ODD, max_size=3), st.binary(max_size=20))
def test_whatever_is_odd_in_it_it_becomes_a_whole_run(
    tmp_path_factory: pytest.TempPathFactory, status: object, tasks: list[object], events: list[object],
    mail: list[object], torn: bytes,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("odd")
    path = packed(folder, {
        "manifest.json": json.dumps({"runId": "team_1", "status": status, "createdAt": status, "goal": status}).encode(),
        "tasks.json": json.dumps(tasks).encode(),
        "events.jsonl": b"\n".join(json.dumps(each).encode() for each in events) + b"\n" + torn,
        "mailbox/outbox.jsonl": b"\n".join(json.dumps(each).encode() for each in mail),
    })  # fmt: skip
    convert(path, folder / "made.zip", "test")
    bundle = Bundle(folder / "made.zip")
    bundle.verify()
    bundle.close()
    for each in (path, folder / "made.zip"):
        each.unlink()


def test_a_zip_of_a_version_that_nobody_knows_is_no_original(tmp_path: Path) -> None:
    path = packed(tmp_path, directory())
    raw = path.read_bytes()
    at = raw.index(b"PK\x01\x02") + 6  # the version that is needed to unpack the first entry of the central directory
    path.write_bytes(raw[:at] + b"\xff" + raw[at + 1 :])
    assert not is_original(path)
    with pytest.raises(UsageError, match="cannot be read"):
        convert(path, tmp_path / "made.zip", "test")
