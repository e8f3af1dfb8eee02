"""A run directory of the original system, read as a bundle of ours: tolerant of what is missing or odd, and without loss.

What is known there becomes our rows: the run, its tasks with their ends, the messages of its mailboxes. Each of its events
becomes one of ours of the type `crewd.foreign`, with all that it said. The files themselves are in the bundle, too, under
`original/`, as they were but for secrets.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from crewd.clock import parse_time
from crewd.model.errors import UsageError
from crewd.model.events import (
    AttemptEnded,
    AttemptOutcome,
    AttemptReserved,
    AttemptStarting,
    Body,
    Draft,
    Event,
    Foreign,
    MessageAccepted,
    MessageSettled,
    RunCreated,
    RunEnded,
    RunStarted,
    TaskEnded,
)
from crewd.model.ids import MESSAGE, RUN, spell, task_id, uuid7
from crewd.model.limits import NAME_CHARS_MAX, NOTE_CHARS_MAX, STEPS_MAX, TEXT_CHARS_MAX
from crewd.model.receipts import Outcome
from crewd.model.redact import blot, clip, redact_value
from crewd.model.rows import RunRow
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.store.bundle import BROKEN, PART_BYTES_MAX, check_memory, write_bundle
from crewd.store.cache import Cache, Nowhere, run_of
from crewd.store.fold import R, fold
from crewd.store.places import Branches
from crewd.store.ports import EVERYWHERE, Where

ROOT = "original/"
ORIGINAL_BYTES_MAX = 256 << 20
"""Of all its files, unpacked: they are read into memory."""
ERA_SECONDS = (0.0, 1e11)
"""1970 to 5138."""
UNREADABLE_TASKS = b'{"type": "original.unreadable", "message": "tasks.json cannot be read: the run has no tasks here"}'
_TASK_ENDS = {
    "completed": TaskStatus.COMPLETED, "failed": TaskStatus.FAILED, "cancelled": TaskStatus.CANCELLED,
    "skipped": TaskStatus.SKIPPED,
}  # fmt: skip
_RUN_ENDS = {"completed": RunStatus.COMPLETED, "failed": RunStatus.FAILED, "cancelled": RunStatus.CANCELLED}
_KINDS = {"follow-up": "follow_up", "message": "message", "steer": "steer", "response": "response", "group_join": "group_join"}


class _Said(NamedTuple):
    """A fact of ours on its way: when, what, of which step and attempt."""

    at: float
    body: Body
    step: str = ""
    epoch: int = 0


def is_original(path: Path) -> bool:
    """Whether an upload holds a run directory of the original system."""
    try:
        with zipfile.ZipFile(path) as packed:
            return f"{ROOT}manifest.json" in packed.namelist()
    except BROKEN:
        return False


def convert(path: Path, made: Path, software: str) -> None:
    """Write the bundle `made` from the run directory packed in `path`. Raises UsageError for what cannot be understood."""
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(info.file_size for info in packed.infolist())
            check_memory(unpacked, path.stat().st_size)
            if unpacked > ORIGINAL_BYTES_MAX:
                raise UsageError(f"the directory holds more than {ORIGINAL_BYTES_MAX >> 20} MiB")
            files = {info.filename: packed.read(info) for info in packed.infolist() if _wanted(info)}
    except BROKEN as error:
        raise UsageError(f"this packed directory cannot be read: {error}") from None
    manifest = _json(files.get(f"{ROOT}manifest.json", b""))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("runId"), str):
        raise UsageError("the manifest.json is not one of a run: it has no runId")
    tasks = _json(files.get(f"{ROOT}tasks.json", b"[]"))
    if tasks is None:
        files[f"{ROOT}events.jsonl"] = files.get(f"{ROOT}events.jsonl", b"") + b"\n" + UNREADABLE_TASKS
    tasks = tasks.get("tasks", []) if isinstance(tasks, dict) else tasks
    memory = _Memory(_Run(manifest, [task for task in tasks or [] if isinstance(task, dict)][:STEPS_MAX], files))
    write_bundle(made, memory, memory.run, None, software, {name: blot(data) for name, data in files.items()})


def _wanted(info: zipfile.ZipInfo) -> bool:
    if not info.filename.startswith(ROOT) or info.is_dir():
        return False
    if info.file_size > PART_BYTES_MAX:
        raise UsageError(f"{info.filename[:80]} is too large")
    return True


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; what cannot be read is an object that holds the line."""
    for line in data.splitlines():
        value = _json(line)
        if isinstance(value, dict):
            yield value
        elif line.strip():
            yield {"type": "original.unreadable", "line": line.decode("utf-8", "replace")}


def _time(value: object, otherwise: float) -> float:
    """Wall-clock seconds from what may be seconds, milliseconds or ISO 8601; what is no time of this era is `otherwise`."""
    found = otherwise
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            found = float(value) / (1000.0 if value > ERA_SECONDS[1] else 1.0)
    elif isinstance(value, str) and value:
        with contextlib.suppress(ValueError, OverflowError):
            found = parse_time(value.replace("Z", "+00:00"), otherwise)
    return found if ERA_SECONDS[0] <= found <= ERA_SECONDS[1] else otherwise


def _text(value: object, limit: int = NOTE_CHARS_MAX) -> str:
    return clip(value if isinstance(value, str) else "" if value is None else str(value), limit)


def _name(text: str) -> str:
    clean = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]", "-", text)).lstrip("._-")[:NAME_CHARS_MAX]
    return clean or "unnamed"


def _id(prefix: str, text: str, at: float) -> str:
    """An id of ours for something of theirs: the same one each time."""
    return spell(prefix, uuid7(max(0, int(at * 1000)), hashlib.sha256(text.encode("utf-8", "replace")).digest()[:10]))


class _Run:
    """What the files say, in our words."""

    def __init__(self, manifest: dict[str, Any], tasks: list[dict[str, Any]], files: dict[str, bytes]) -> None:
        self.begun = _time(manifest.get("createdAt"), 0.0)
        self.ended = _time(manifest.get("updatedAt"), self.begun)
        self.id = _id(RUN, manifest["runId"], self.begun)
        self._manifest, self._tasks, self._files = manifest, tasks, files
        self._own = self._step_names()
        self._steps = self._steps_by_id()

    def _step_names(self) -> list[str]:
        """A name for the step of each task: no two are the same."""
        names: list[str] = []
        for number, task in enumerate(self._tasks):
            name = _name(str(task.get("id") or task.get("stepId") or number))
            extra = 0
            while name in names:
                extra += 1
                name = f"{name[:40]}-{number}-{extra}"
            names.append(name)
        return names

    def _steps_by_id(self) -> dict[str, str]:
        """The names by the ids of tasks there, and (what dependencies may use as well) by the ids of their steps."""
        found: dict[str, str] = {}
        for field in ("id", "stepId"):
            for name, task in zip(self._own, self._tasks, strict=True):
                if task.get(field):
                    found.setdefault(str(task[field]), name)
        return found

    def workflow(self) -> Workflow:
        """Steps that nobody will start: they are over."""
        steps = []
        for number, task in enumerate(self._tasks):
            wanted = task.get("dependsOn")
            needs = tuple(dict.fromkeys(
                self._steps[str(each)] for each in (wanted if isinstance(wanted, list) else []) if str(each) in self._steps
            ))  # fmt: skip
            mine = self._own[number]
            steps.append(
                Step(
                    id=mine, role=_text(task.get("role"), NAME_CHARS_MAX), text=_text(task.get("title")),
                    depends_on=tuple(name for name in needs if name != mine), worker=WorkerSpec(outside=True),
                )
            )  # fmt: skip
        return Workflow(
            name=_name(str(self._manifest.get("workflow") or self._manifest.get("team") or "original")), steps=tuple(steps)
        )

    def story(self) -> list[_Said]:
        """All facts in the order of their times; those of the same time as they stand here."""
        manifest = self._manifest
        created = RunCreated(
            name=_name(manifest["runId"]), goal=_text(manifest.get("goal"), TEXT_CHARS_MAX),
            cwd=_text(manifest.get("cwd")) or "/", workflow=self.workflow(), request_id="",
        )  # fmt: skip
        middle = [
            *self._events(),
            *(said for number, task in enumerate(self._tasks) for said in self._task(number, task)),
            *self._messages(),
        ]
        middle.sort(key=lambda said: said.at)
        last = max([self.ended, *(said.at for said in middle)])
        status = str(manifest.get("status"))
        reason = "" if status in _RUN_ENDS else f"it was {_text(status, NAME_CHARS_MAX)} there"
        end = RunEnded(status=_RUN_ENDS.get(status, RunStatus.CANCELLED), reason=reason)
        return [_Said(self.begun, created), _Said(self.begun, RunStarted()), *middle, _Said(last, end)]

    def _events(self) -> Iterator[_Said]:
        at = self.begun
        for line in _lines(self._files.get(f"{ROOT}events.jsonl", b"")):
            at = _time(line.get("time"), at)
            data = {key: value for key, value in redact_value(line).items() if key != "type"}
            name = line.get("type") if isinstance(line.get("type"), str) else "original.event"
            step = self._steps.get(str(line.get("taskId")), "")
            yield _Said(at, Foreign(name=clip(str(name), NAME_CHARS_MAX), data=data), step)

    def _task(self, number: int, task: dict[str, Any]) -> Iterator[_Said]:
        step, status = self._own[number], str(task.get("status"))
        begin = _time(task.get("startedAt"), self.begun)
        end = max(begin, _time(task.get("finishedAt"), max(begin, self.ended)))
        error = _text(task.get("error"))
        after = _TASK_ENDS.get(status, TaskStatus.CANCELLED)
        reason = "" if status in _TASK_ENDS else f"it was {_text(status, NAME_CHARS_MAX)} there"
        if after in {TaskStatus.COMPLETED, TaskStatus.FAILED}:
            yield _Said(begin, AttemptReserved(directory=""), step, 1)
            yield _Said(begin, AttemptStarting(), step, 1)
            yield _Said(end, AttemptOutcome(outcome=after.value, error=error), step, 1)
            yield _Said(end, AttemptEnded(status=AttemptStatus(after.value), error=error), step, 1)
        yield _Said(end, TaskEnded(status=after, reason=reason, error=error), step, 1 if after != TaskStatus.CANCELLED else 0)

    def _messages(self) -> Iterator[_Said]:
        states = _json(self._files.get(f"{ROOT}mailbox/delivery.json", b"{}"))
        known = states.get("messages", {}) if isinstance(states, dict) else {}
        for path in sorted(name for name in self._files if name.startswith(f"{ROOT}mailbox/") and name.endswith("box.jsonl")):
            for number, line in enumerate(_lines(self._files[path])):
                yield from self._message(path, number, line, known if isinstance(known, dict) else {})

    def _message(self, path: str, number: int, line: dict[str, Any], known: dict[str, Any]) -> Iterator[_Said]:
        at = _time(line.get("time"), self.begun)
        key = _id(MESSAGE, f"{self.id}{path}{line.get('id') or number}", at)
        step = self._steps.get(str(line.get("taskId")), "")
        out = line.get("direction") == "outbox" or path.endswith("outbox.jsonl")
        body = MessageAccepted(
            id=key, kind=_KINDS.get(str(line.get("kind")), "message"), sender=_text(line.get("from"), NAME_CHARS_MAX),
            text=_text(line.get("body") if "body" in line else line.get("line"), TEXT_CHARS_MAX),
            direction="out" if out else "in",
        )  # fmt: skip
        state = str(known.get(str(line.get("id")), line.get("status")))
        taken = out or state in {"delivered", "acknowledged"}
        settled = MessageSettled(
            id=key, outcome=Outcome.DONE if taken else Outcome.REFUSED, note=f"it was {state} there" if not taken else ""
        )
        yield _Said(at, body, step)
        yield _Said(at, settled, step)


class _Memory:
    """A converted run as a bundle's writer reads it."""

    def __init__(self, run: _Run) -> None:
        self._rows = Cache(Nowhere())
        self._events: list[Event] = []
        places = Branches(self, self._rows)
        for seq, said in enumerate(run.story(), 1):
            draft = Draft(said.body, run.id, task_id(run.id, said.step) if said.step else "", said.epoch)
            parent, correlation = places.place(draft, seq)
            event = Event(
                seq, f"original-{seq}", parent, run.id, draft.task, draft.epoch, "", correlation, "original", said.at, said.body
            )
            fold(self._rows, event)
            self._events.append(event)
        row = self._rows.get(RunRow, run.id)
        assert row is not None  # noqa: S101 (the first event of each story makes it)
        self.run = row

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        """Nothing is written yet."""
        del run, task, epoch
        return 0

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """See `Reading`."""
        fitting = [event for event in self._events if event.seq > after and where.takes(event)]
        return [event for event in fitting if not before or event.seq < before][:limit]

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """See `Reading`."""
        rows = [row for row in self._rows.everything().values() if isinstance(row, kind) and run_of(row) == run]
        return rows[-limit:]

    def size_of(self, run: str) -> tuple[int, int]:
        """See `Reading`."""
        del run
        return len(self._events), sum(len(msgspec.msgpack.encode(event.body)) for event in self._events)
