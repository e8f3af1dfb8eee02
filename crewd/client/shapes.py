"""Requests as both clients build them, and replies as both read them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crewd.client.conversation import CREDIT
from crewd.protocol import requests as rq
from crewd.protocol.errors import (
    PeerError,
    RunCancelled,
    RunFailed,
    from_info,
)
from crewd.protocol.events import RunEnded, TaskEnded
from crewd.protocol.home import Home
from crewd.protocol.ids import IdSource, split_marker
from crewd.protocol.kinds import types_named
from crewd.protocol.policy import Limits, RestartPolicy, Restarts, Retry
from crewd.protocol.rows import RunRow, TaskRow
from crewd.protocol.statuses import RunStatus, TaskStatus
from crewd.protocol.workflow import MARKER_VARIABLE, Join, Step, WorkerSpec, Workflow
from crewd.protocol.workflow_markdown import parse_workflow

R = TypeVar("R")


def one_step(name: str, worker: WorkerSpec, *, output: str = "") -> Workflow:
    """A workflow of a single worker: there is one model, not two."""
    return Workflow(name=name, steps=(Step(id=name, worker=worker, output=output),))


def policed(
    workflow: Workflow,
    limits: Limits | None = None,
    retry: Retry | None = None,
    restart: Restarts | RestartPolicy | None = None,
) -> Workflow:
    """The workflow with these policies for each of its workers; what is None stays as it is."""
    changes: dict[str, Any] = {
        "limits": limits, "retry": retry, "restart": Restarts(policy=restart) if isinstance(restart, str) else restart
    }  # fmt: skip
    changes = {name: value for name, value in changes.items() if value is not None}
    change = msgspec.structs.replace
    return change(
        workflow, steps=tuple(change(step, worker=change(step.worker, **changes)) for step in workflow.steps)
    )  # fmt: skip


def call_workflow(target: str, args: Mapping[str, object] | None, *, start: str = "fork", on_orphan: str = "keep") -> Workflow:
    """One Python callable."""
    name = target.rpartition(":")[2].rpartition(".")[2] or "call"
    spec = WorkerSpec(
        call=target,
        args=dict(args or {}),
        start="spawn" if start == "spawn" else "fork",
        on_orphan="end" if on_orphan == "end" else "keep",
    )
    return one_step(name.strip("_") or "call", spec)


def exec_workflow(
    argv: Sequence[str], *, stdin: str = "none", env: Mapping[str, str] | None = None, on_orphan: str = "keep"
) -> Workflow:
    """One command."""
    base = "".join(c for c in Path(argv[0]).name if c.isalnum() or c in "._-").lstrip("._-")[:32] if argv else ""
    spec = WorkerSpec(
        argv=tuple(argv),
        stdin="lines" if stdin == "lines" else "none",
        env=dict(env or {}),
        on_orphan="end" if on_orphan == "end" else "keep",
    )
    return one_step(base or "exec", spec)


def load_workflow(source: str) -> Workflow:
    """A workflow by file, or by name from `workflows/` of the working directory. UsageError says what is wrong."""
    from crewd.protocol.errors import NotFound

    for candidate in (Path(source), Path("workflows") / f"{source}.workflow.md", Path(f"{source}.workflow.md")):
        if candidate.is_file():
            name = candidate.name.removesuffix(".md").removesuffix(".workflow")
            return parse_workflow(candidate.read_text(encoding="utf-8"), default_name=name)
    raise NotFound(f"no workflow {source}", hint="give a file, or a name for workflows/NAME.workflow.md")


def marked(workflow: Workflow, labels: Mapping[str, str], join: Join | None) -> Workflow:
    """The workflow with these labels beside its own, and told of as `join` says, if it says anything."""
    return msgspec.structs.replace(workflow, labels={**workflow.labels, **labels}, join=join or workflow.join)


def start_request(
    workflow: Workflow, goal: str, cwd: str | None, name: str, request_id: str, ids: IdSource, home: Home, *, keep: bool
) -> rq.StartRun:
    """A request that admits the run once, however often it is sent. Inside a worker of this home it names the worker."""
    return rq.StartRun(
        workflow=workflow,
        goal=goal,
        cwd=os.path.realpath(cwd or "."),
        name=name,
        request_id=request_id or ids.next("x"),
        parent=own_attempt(home),
        on_parent="keep" if keep else "end",
    )


def own_attempt(home: Home) -> str:
    """The attempt (`task#epoch`) of this home whose process this is; empty if it is none."""
    found = split_marker(os.environ.get(MARKER_VARIABLE, "").strip())
    return f"{found[1]}#{found[2]}" if found is not None and found[0] == home.key else ""


class Watch:
    """What is watched, how it is asked for, and when it is over: for one run or task, when that has ended."""

    def __init__(self, target: str, types: Sequence[str], labels: Mapping[str, str] | None) -> None:
        self._target = target
        self._shown = types_named(types)
        self._labels = dict(labels or {})

    def request(self, after: int, *, progress: bool) -> rq.Subscribe:
        """The subscription."""
        ends = {"task.ended" if "/" in self._target else "run.ended"} if self._target and self._shown else set()
        return rq.Subscribe(
            target=self._target, after=after, progress=progress, types=tuple(self._shown | ends), labels=self._labels,
            credit=CREDIT,
        )  # fmt: skip

    def shows(self, note: rq.EventNote | rq.ProgressNote) -> bool:
        """Whether it was asked for."""
        return isinstance(note, rq.ProgressNote) or not self._shown or note.event.type in self._shown

    def ends(self, note: rq.EventNote | rq.ProgressNote) -> bool:
        """Whether nothing follows it."""
        last = TaskEnded if "/" in self._target else RunEnded
        return bool(self._target) and isinstance(note, rq.EventNote) and isinstance(note.event.body, last)


def expect(reply: rq.Reply, kind: type[R]) -> R:
    """The reply, if it is of this kind; what an `ErrorReply` says is raised."""
    if isinstance(reply, rq.ErrorReply):
        error = from_info(reply.error)
        error.__dict__["receipt"] = reply.receipt
        raise error
    if not isinstance(reply, kind):
        raise PeerError(f"crewd answered {type(reply).__name__} instead of {kind.__name__}")
    return reply


def result_of_task(task: TaskRow) -> object:
    """The result of an ended task, whatever became of the others. RunFailed or RunCancelled if it has none."""
    if task.status is TaskStatus.COMPLETED:
        return task.result
    text = f"{task.id} is {task.status}: {task.reason} {task.error}".strip()
    if task.status in {TaskStatus.CANCELLED, TaskStatus.CANCEL_INCOMPLETE}:
        raise RunCancelled(text, status=task.status.value)
    raise RunFailed(text, status=task.status.value)


def result_of(run: RunRow, tasks: Sequence[TaskRow]) -> object:
    """The result of an ended run: of its only task, or of each task by step. RunFailed or RunCancelled otherwise."""
    if run.status in {RunStatus.CANCELLED, RunStatus.CANCEL_INCOMPLETE}:
        raise RunCancelled(
            f"run {run.name} was cancelled: {run.reason}", status=run.status.value, undelivered=len(run.undelivered)
        )
    if run.status is not RunStatus.COMPLETED:
        errors = [f"{t.step}: {t.reason} {t.error}".strip() for t in tasks if t.status is TaskStatus.FAILED]
        raise RunFailed(
            f"run {run.name} {run.status}: " + "; ".join(errors), status=run.status.value, undelivered=len(run.undelivered)
        )
    if len(tasks) == 1:
        return tasks[0].result
    return {task.step: task.result for task in tasks}
