"""Requests as both clients build them, and replies as both read them.

Tests: tests/client/test_api.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crewd.client.conversation import CREDIT
from crewd.client.environment import Brought, bring
from crewd.client.paths import is_directory, is_file, is_there, real_path
from crewd.client.texts import check_no_directory, not_utf8
from crewd.model import variables
from crewd.model.agent import Agent
from crewd.model.arguments import PathText, checked
from crewd.model.budget import Budget
from crewd.model.errors import CrewdError, PeerError, Refused, RunCancelled, RunFailed, UsageError, from_info
from crewd.model.home import Home
from crewd.model.ids import IdSource, split_marker
from crewd.model.inputs import GOAL, resolve
from crewd.model.kinds import types_named
from crewd.model.limits import LOG_CHUNK_BYTES_MAX, RESULT_BYTES_MAX
from crewd.model.policy import Limits, RestartPolicy, Restarts, Retry
from crewd.model.reasons import FailureReason
from crewd.model.rows import RunRow, TaskRow
from crewd.model.runtimes import runtime_named
from crewd.model.statuses import RunStatus, TaskStatus
from crewd.model.workflow import Join, PeerProtocol, Step, WorkerSpec, Workflow, with_workers
from crewd.model.workflow_markdown import Understood, understand
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

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
    of_others = {name: value for name, value in changes.items() if name == "retry"}  # crewd runs nothing there
    return with_workers(workflow, lambda worker: msgspec.structs.replace(worker, **(of_others if worker.outside else changes)))


def call_workflow(
    target: str, args: Mapping[str, object] | None, *, start: str = "fork", on_orphan: str = "keep", clean_env: bool = False
) -> Workflow:
    """One Python callable. UsageError if nothing is named."""
    if not target.strip():
        raise UsageError("there is no function to call", hint="name it as 'module:function'")
    name = target.rpartition(":")[2].rpartition(".")[2] or "call"
    spec = WorkerSpec(
        call=target,
        args=dict(args or {}),
        start="spawn" if start == "spawn" else "fork",
        on_orphan="end" if on_orphan == "end" else "keep",
        clean_env=clean_env,
    )
    return one_step(step_name(name, "call"), spec)


def exec_workflow(
    argv: Sequence[str], *, stdin: PathText | bytes = "none", env: Mapping[str, str] | None = None, on_orphan: str = "keep",
    clean_env: bool = False, pty: tuple[int, int] | None = None, protocol: PeerProtocol = "",
) -> Workflow:  # fmt: skip
    """One command.

    `stdin` is `none`, `lines`, a file's path, or the input itself as bytes. UsageError if there is no command. `protocol`: see
    `WorkerSpec`.
    """
    if not argv or not argv[0]:
        raise UsageError("there is no command to run", hint="name a program and its arguments")
    if isinstance(stdin, bytes):
        given: dict[str, Any] = {"stdin": "input", "input": stdin}
    elif stdin in {"none", "lines"}:
        given = {"stdin": stdin}
    else:
        given = {"stdin": "file", "stdin_file": real_path(stdin)}
        if not is_there(given["stdin_file"]):
            raise UsageError(f"there is no file {os.fspath(stdin)!r} to read", hint="stdin: 'none', 'lines', a file, or bytes")
    spec = WorkerSpec(
        argv=tuple(argv),
        env=dict(env or {}),
        on_orphan="end" if on_orphan == "end" else "keep",
        clean_env=clean_env,
        pty=pty,
        protocol=protocol,
        **given,
    )
    return one_step(step_name(Path(argv[0]).name, "exec"), spec)


def agent_workflow(agent: Agent, env: Mapping[str, str] | None = None) -> Workflow:
    """One agent, which is given the goal of the run."""
    return one_step(step_name(agent.name, "agent"), WorkerSpec(agent=agent, env=dict(env or {})))


def step_name(text: str, otherwise: str) -> str:
    """A step's name made of the name of what it runs."""
    kept = "".join(c for c in text if c.isascii() and (c.isalnum() or c in "._-")).strip("._-").replace("..", ".")
    return kept[:32] or otherwise


@checked
def load_workflow(source: PathText) -> Workflow:
    """A workflow by file, or by name: from `workflows/` of the working directory, else one that `crew workflows` lists.

    UsageError says what is wrong.
    """
    return understand_workflow(os.fspath(source)).workflow


def understand_workflow(source: str) -> Understood:
    """The same, with the fields of the file that change nothing."""
    for candidate in (Path(source), Path("workflows") / f"{source}.workflow.md", Path(f"{source}.workflow.md")):
        if is_there(candidate) and not is_directory(candidate):
            return read_workflow(candidate)
    check_no_directory(source)
    return named_workflow(source)


def named_workflow(name: str) -> Understood:
    """A workflow that `crew workflows` lists. Files of the working directory that are called so do not take its place.

    Raises NotFound, Refused if it is disabled, or UsageError.
    """
    from crewd.client.inventory import check_enabled
    from crewd.client.resources import resource

    found = resource("workflows", name)
    if found.refused:
        raise UsageError(f"{found.path} {found.refused}")
    check_enabled("workflow", found.name)
    return read_workflow(found.path)


def read_workflow(path: Path) -> Understood:
    """The workflow in a file. UsageError names the file, the line and what is wrong."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".md").removesuffix(".workflow")).strip("-._")
    try:
        return understand(path.read_text(encoding="utf-8"), default_name=name)
    except UnicodeDecodeError as error:
        raise not_utf8(str(path), error) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except UsageError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint, **error.values) from None


def marked(workflow: Workflow, labels: Mapping[str, str], join: Join | None) -> Workflow:
    """The workflow with these labels beside its own, and told of as `join` says, if it says anything."""
    return msgspec.structs.replace(workflow, labels={**workflow.labels, **labels}, join=join or workflow.join)


def with_clean_environment(workflow: Workflow) -> Workflow:
    """The workflow with workers that inherit nothing of the daemon's environment but the least."""
    return with_workers(workflow, lambda worker: msgspec.structs.replace(worker, clean_env=True))


def start_request(
    workflow: Workflow, goal: str, cwd: PathText | None, name: str, request_id: str, ids: IdSource, home: Home, *, keep: bool,
    brought: Brought | None = None, inputs: Mapping[str, str] | None = None,
) -> rq.StartRun:  # fmt: skip
    """A request that admits the run once, however often it is sent. Inside a worker of this home it names the worker.

    What it brings of the caller's environment is `brought`, or the caller's `PATH` and what the home's `env_pass` names.
    """
    brought = bring(home) if brought is None else brought
    check_paths(workflow, *resolve(workflow.inputs, goal, inputs or {}), directory(cwd))
    return rq.StartRun(
        workflow=workflow,
        goal=goal,
        cwd=directory(cwd),
        env=brought.env,
        secrets=brought.secrets,
        passed=brought.passed,
        inventory=brought.inventory,
        inputs=dict(inputs or {}),
        name=name,
        request_id=request_id or ids.next("x"),
        parent=own_attempt(home),
        parent_token=os.environ.get(variables.PARENT_TOKEN, ""),
        on_parent="keep" if keep else "end",
    )


def budgeted(workflow: Workflow, budget: Mapping[str, float]) -> Workflow:
    """The workflow with this budget beside its own: of each bound the lower one holds. UsageError for what is no budget."""
    if not budget:
        return workflow
    found = {name: int(value) if float(value).is_integer() else value for name, value in budget.items()}
    try:
        said = msgspec.convert(found, Budget)
    except msgspec.ValidationError as error:
        raise UsageError(f"the budget is wrong: {error}", hint="turns and tokens are whole numbers, cost is a number") from None
    return msgspec.structs.replace(workflow, budget=said.within(workflow.budget))


def approval(target: str, key: str, *, approved: bool, intent: str, force: bool) -> rq.Approve:
    """A request that lets a blocked run go on, or ends it. It says if it comes from inside a worker."""
    token = os.environ.get(variables.PARENT_TOKEN, "")
    return rq.Approve(target=target, approved=approved, intent=intent, force=force, parent_token=token, id=key)


def brought_again(run: RunRow, secrets: Mapping[str, str] | None) -> dict[str, str]:
    """Values for a run that is done again: of its secrets, and of what it had brought from its caller's environment."""
    return {**{name: os.environ[name] for name in run.passed if name in os.environ}, **(secrets or {})}


def check_paths(workflow: Workflow, goal: str, inputs: Mapping[str, str], cwd: str) -> None:
    """UsageError for an input that must be a file or a directory and is none, seen from `cwd`."""
    for name, each in workflow.inputs.items():
        text = goal if name == GOAL else inputs[name]
        path = Path(cwd) / text
        if each.type in {"file", "directory"} and not (is_file(path) if each.type == "file" else is_directory(path)):
            raise UsageError(f"the input {name} is {text!r}, which is no {each.type}", hint=f"seen from {cwd}")


def directory(cwd: PathText | None) -> str:
    """The absolute path of the directory that workers start in. UsageError if it is not there."""
    try:
        path = real_path(cwd or Path.cwd())
    except FileNotFoundError:
        raise UsageError("the working directory is gone", hint="go to another one, or name one with --cwd") from None
    if not is_directory(path):
        raise UsageError(f"{cwd or path} is no directory", hint="--cwd names the directory that workers start in")
    return path


def own_attempt(home: Home) -> str:
    """The attempt (`task#epoch`) of this home whose process this is; empty if it is none."""
    found = split_marker(os.environ.get(variables.MARKER, "").strip())
    return f"{found[1]}#{found[2]}" if found is not None and found[0] == home.key else ""


class Watched:
    """What is watched, how it is asked for, and when it is over: for one run or task, when that has ended.

    Raises UsageError for labels beside a run or task: they choose among all.
    """

    def __init__(self, target: str, types: Sequence[str], labels: Mapping[str, str] | None) -> None:
        if target and labels:
            raise UsageError(f"labels choose among all runs, and {target} is one", hint="leave one of the two out")
        self._target = target
        self._shown = types_named(types)
        self._labels = dict(labels or {})

    def request(self, after: int, *, progress: bool) -> rq.Subscribe:
        """The subscription."""
        ends = {self.last} if self._target and self._shown else set()
        return rq.Subscribe(
            target=self._target, after=after, progress=progress, types=tuple(self._shown | ends), labels=self._labels,
            credit=CREDIT,
        )  # fmt: skip

    def shows(self, note: rl.EventNote | rl.ProgressNote) -> bool:
        """Whether it was asked for."""
        return isinstance(note, rl.ProgressNote) or not self._shown or note.event.type in self._shown

    @property
    def last(self) -> str:
        """The type of the event with which a run or task ends."""
        return "task.ended" if "/" in self._target else "run.ended"

    def ends(self, note: rl.EventNote | rl.ProgressNote, since: int) -> float | None:
        """When it ended, if this says that it has: 0.0 if nothing can follow, as it came after the event `since`.

        What had happened by then may have been followed by another opening: `event_pages.ended_at` tells when it ended last.
        """
        if not (self._target and isinstance(note, rl.EventNote) and note.event.type == self.last):
            return None
        return 0.0 if note.event.seq > since else note.event.at


def expect(reply: rl.Reply, kind: type[R]) -> R:
    """The reply, if it is of this kind; what an `ErrorReply` says is raised."""
    if isinstance(reply, rl.ErrorReply):
        error = from_info(reply.error)
        error.receipt = reply.receipt
        raise error
    if not isinstance(reply, kind):
        raise PeerError(f"crewd answered {type(reply).__name__} instead of {kind.__name__}")
    return reply


def with_older(found: rl.RunsReply, older: rl.RunsReply) -> rl.RunsReply:
    """One list of runs from two answers, the second of which has older runs."""
    parts = {name: (*getattr(found, name), *getattr(older, name)) for name in ("runs", "tasks", "progress", "usage")}
    return msgspec.structs.replace(found, **parts, before=older.before, stale=found.stale or older.stale)


def kept_as_file(task: TaskRow) -> bool:
    """Whether the result of a completed task must be read from the file that the worker left it in."""
    return task.status is TaskStatus.COMPLETED and task.result is None and bool(task.result_path)


def result_from(task: TaskRow, data: bytes) -> object:
    """The result that a file holds: a command's output as text, or as bytes if it is no UTF-8; JSON of any other worker."""
    if not data:
        raise CrewdError(f"the file with the result of {task.id} is gone", hint="somebody has deleted it; a backup may have it")
    if not runtime_named(task.runtime).plain_output:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CrewdError(f"the file with the result of {task.id} is not what was kept: {error}", hint="crew logs") from None
    try:
        return data.decode().rstrip("\n")
    except UnicodeDecodeError:
        return data


class ResultFile:
    """Reads the result of a task piece by piece: `ask` for the next piece until `whole`, `hear` each answer."""

    def __init__(self, task: TaskRow) -> None:
        self._task = task
        self._data = bytearray()
        self.whole = not kept_as_file(task)

    def ask(self) -> rq.ReadLog:
        """What to ask for."""
        return rq.ReadLog(
            task=self._task.id, stream="result", epoch=self._task.epoch, offset=len(self._data), limit=LOG_CHUNK_BYTES_MAX
        )

    def hear(self, reply: rl.LogReply) -> None:
        """Take a piece in. Refused if the result is not whole any more, or larger than a client reads."""
        if reply.offset != len(self._data):
            raise Refused(
                f"the beginning of the result of {self._task.id} is not kept (output_bytes)", hint="crew logs shows the rest",
                reason="not_kept",
            )  # fmt: skip
        if reply.size > RESULT_BYTES_MAX:
            raise Refused(
                f"the result of {self._task.id} has {reply.size} bytes, {RESULT_BYTES_MAX} are read at once",
                hint="crew logs prints it", reason=FailureReason.TOO_LARGE,
            )  # fmt: skip
        self._data += reply.data
        self.whole = reply.next >= reply.size or not reply.data

    def result(self) -> object:
        """The result of the task."""
        return result_from(self._task, bytes(self._data)) if kept_as_file(self._task) else self._task.result


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
