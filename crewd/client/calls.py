"""Every call of a client, described once: what it asks, for how long, and what its caller gets. No socket, no waiting.

A call is a generator: it yields a request and how many seconds to wait for its reply, gets the reply, and returns its value.
`blocking` and `aio` drive the same calls; the names, parameters and docstrings of both are those that stand here, and for the
handle of a run in `run_calls`.

Tests: tests/client/test_api.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from crewd.client import shapes
from crewd.client.environment import Brought
from crewd.model.arguments import PathText
from crewd.model.home import Home
from crewd.model.hooks import HookRun
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.limits import GRACE_SECONDS_SHORT, LEASE_SECONDS_DEFAULT, LOG_CHUNK_BYTES_MAX, ROWS_MAX
from crewd.model.message_kinds import MessageKind
from crewd.model.policy import Limits, RestartPolicy, Restarts, Retry
from crewd.model.receipts import Level, Receipt
from crewd.model.rows import AskRow, MessageRow, NoticeRow, RunRow, TaskRow
from crewd.model.terms import USUAL, Terms
from crewd.model.workflow import PeerProtocol, Workflow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

REPLY_SECONDS = 30.0
"""How long a reply may take beyond what the request itself waits for: crewd may be restarting."""
SILENCE_SECONDS = 15.0
"""crewd answers a hello every second. It is not there if nobody has answered for so long: a restart takes less."""
SILENCE_SECONDS_LEAST = 3.0
"""A shorter timeout of the caller is not the bound for that: crewd has at least the time of three hellos."""
LONG_SECONDS = 3_600.0
"""What looks at a whole home may take its time."""
T = TypeVar("T")
WaitLevel = Literal["accepted", "delivered", "applied", "settled"]
Mode = Literal["graceful", "now"]
StopMode = Literal["drain", "end", "keep"]
Direction = Literal["", "in", "out"]
State = Literal["", "open", "settled", "unread"]
Kind = MessageKind | Literal["", "group_join"]
Stream = Literal["stdout", "stderr", "acts", "records"]
Start = Literal["fork", "spawn"]


class Ask(NamedTuple):
    """A request, how long to wait for its reply, and after how many seconds without any word crewd counts as gone."""

    request: rq.Request
    seconds: float = REPLY_SECONDS
    silence: float = SILENCE_SECONDS


Call = Generator[Ask, rl.Reply, T]


def _within(request: rq.Request, timeout: float) -> Ask:
    """A request that crewd answers within `timeout` seconds. A short timeout shortens the time until crewd counts as gone."""
    return Ask(request, timeout + REPLY_SECONDS, min(SILENCE_SECONDS, max(SILENCE_SECONDS_LEAST, timeout)))


class Caller(Protocol):
    """What a call needs of the client that makes it."""

    @property
    def home(self) -> Home:
        """The home that is served."""
        ...

    @property
    def ids(self) -> IdSource:
        """Where ids come from."""
        ...


class Claimed(NamedTuple):
    """A task that one carries out oneself, what proves it, and until when (wall-clock seconds) unless it is renewed."""

    task: str
    token: str
    until: float


def request(crew: Caller, request: rq.Request, timeout: float = REPLY_SECONDS) -> Call[rl.Reply]:  # noqa: ARG001 (one shape)
    """Any request of the protocol, and its reply. DeadlineExceeded if `timeout` seconds bring none."""
    return (yield Ask(request, timeout))


# -- starting -------------------------------------------------------------------------------------------------------


def run(
    crew: Caller, workflow: Workflow | PathText, goal: str = "", *, cwd: PathText | None = None, name: str = "",
    request_id: str = "", keep: bool = False, brought: Brought | None = None, inputs: Mapping[str, str] | None = None,
) -> Call[RunRow]:  # fmt: skip
    """Start a workflow (a value, a file, or a name for `workflows/NAME.workflow.md`). Returns when it is accepted and durable.

    Workers start in `cwd` (else the current directory). The same `request_id` starts the run once, however often it is sent.
    Started inside a worker it is cancelled when that worker ends, unless `keep`. `brought` is what its workers get of the
    caller's environment (see `crewd.bring`); usually `PATH`, and what the home's `env_pass` names. `inputs` are those that the
    workflow declares, as text. Raises UsageError for what cannot be run, Conflict for a name that a live run has.
    """
    chosen = workflow if isinstance(workflow, Workflow) else shapes.load_workflow(workflow)
    start = shapes.start_request(
        chosen, goal, cwd, name, request_id, crew.ids, crew.home, keep=keep, brought=brought, inputs=inputs
    )
    return shapes.expect((yield Ask(start)), rl.RunReply).run


def call(
    crew: Caller, target: str, args: Mapping[str, object] | None = None, *, cwd: PathText | None = None, name: str = "",
    request_id: str = "", start: Start = "fork", keep: bool = False, limits: Limits | None = None, retry: Retry | None = None,
    restart: Restarts | RestartPolicy | None = None, brought: Brought | None = None,
) -> Call[RunRow]:  # fmt: skip
    """Run `module:function` with these keyword arguments in a worker process. See `run`.

    What it returns is kept as JSON: tuples and sets become lists, dataclasses and structs become dicts, times, UUIDs and
    Decimals become text, enums their values. What JSON cannot say (bytes, NaN, other objects) fails the run as `not_json`.
    """
    workflow = shapes.policed(shapes.call_workflow(target, args, start=start), limits, retry, restart)
    return (yield from run(crew, workflow, cwd=cwd, name=name, request_id=request_id, keep=keep, brought=brought))


def exec(  # noqa: A001 (the method's name)
    crew: Caller, argv: Sequence[str], *, stdin: PathText | bytes = "none", env: Mapping[str, str] | None = None,
    cwd: PathText | None = None, name: str = "", request_id: str = "", keep: bool = False, limits: Limits | None = None,
    retry: Retry | None = None, restart: Restarts | RestartPolicy | None = None, brought: Brought | None = None,
    pty: tuple[int, int] | None = None, protocol: PeerProtocol = "",
) -> Call[RunRow]:  # fmt: skip
    """Run a command in a worker process. See `run`.

    `pty`: it gets a terminal of so many rows and columns; then a steer types its text and Enter.
    `protocol`: `crewd` if the command speaks crewd's protocol itself (docs/protocol.md).
    `stdin`: `none`, `lines` (each steer is written to it), the path of a file, or the input itself as bytes (256 KiB at most).
    """
    workflow = shapes.policed(
        shapes.exec_workflow(argv, stdin=stdin, env=env, pty=pty, protocol=protocol), limits, retry, restart
    )
    return (yield from run(crew, workflow, cwd=cwd, name=name, request_id=request_id, keep=keep, brought=brought))


def get(crew: Caller, selector: str) -> Call[RunRow]:  # noqa: ARG001 (one shape)
    """A run by id, name (the newest of it; `NAME~1` is the one before), or part of the id. NotFound if there is none."""
    return shapes.expect((yield Ask(rq.Show(target=selector))), rl.ShowReply).run


def retry(
    crew: Caller, target: str, *, intent: str = "", force: bool = False, secrets: Mapping[str, str] | None = None
) -> Call[RunRow]:  # fmt: skip
    """Do again what failed or was parked, of a run or of one task. Refused if nothing was.

    `secrets` are the values of the run's secrets, which crewd has not kept. What the run had brought from the environment of
    its caller is brought again from this one.
    """
    return (yield from _again(crew, rq.Reopen(target=target, kind="retry", intent=intent, force=force), secrets))


def resume(
    crew: Caller, target: str, *, intent: str = "", force: bool = False, secrets: Mapping[str, str] | None = None
) -> Call[RunRow]:  # fmt: skip
    """Do all of a run that was not finished: what failed, was cancelled or skipped. What is completed stays so. See `retry`."""
    return (yield from _again(crew, rq.Reopen(target=target, kind="resume", intent=intent, force=force), secrets))


def _again(crew: Caller, order: rq.Reopen, secrets: Mapping[str, str] | None) -> Call[RunRow]:
    before = yield from get(crew, order.target.partition("/")[0])
    order = msgspec.structs.replace(order, secrets=shapes.brought_again(before, secrets), id=crew.ids.next(MESSAGE))
    return shapes.expect((yield Ask(order)), rl.RunReply).run


def approve(crew: Caller, target: str, *, intent: str = "", force: bool = False) -> Call[None]:
    """Let a blocked run go on. Refused if nothing blocks it, Forbidden inside a worker."""
    order = shapes.approval(target, crew.ids.next(MESSAGE), approved=True, intent=intent, force=force)
    shapes.expect((yield Ask(order)), rl.Done)


def reject(crew: Caller, target: str, *, intent: str = "", force: bool = False) -> Call[None]:
    """Cancel a blocked run, with the reason `rejected`. Refused if nothing blocks it, Forbidden inside a worker."""
    order = shapes.approval(target, crew.ids.next(MESSAGE), approved=False, intent=intent, force=force)
    shapes.expect((yield Ask(order)), rl.Done)


def dead(crew: Caller) -> Call[rl.DeadReply]:  # noqa: ARG001
    """Dead letters: tasks that failed for good, each with its final attempt, oldest first."""
    return shapes.expect((yield Ask(rq.ListDead())), rl.DeadReply)


def dismiss(crew: Caller, target: str, *, intent: str = "", force: bool = False) -> Call[None]:
    """Dismiss a dead letter, or all of a run. Refused if there is none."""
    shapes.expect((yield Ask(rq.Dismiss(target=target, intent=intent, force=force, id=crew.ids.next(MESSAGE)))), rl.Done)


def tell_hooks(crew: Caller, target: str, hooks: Sequence[HookRun]) -> Call[None]:
    """Record what hooks answered that you ran before a request about this run (docs/hooks.md). Each answer is an event."""
    shapes.expect((yield Ask(rq.TellHooks(target=target, hooks=tuple(hooks), id=crew.ids.next(MESSAGE)))), rl.Done)


def claim(
    crew: Caller, target: str, *, seconds: float = LEASE_SECONDS_DEFAULT, token: str = "", note: str = "", intent: str = "",
    force: bool = False,
) -> Call[Claimed]:  # fmt: skip
    """Carry out a task that waits oneself: for `seconds` crewd does not start it, and nobody else can claim it.

    With the `token` of a claim one holds, it is renewed. Raises Conflict naming the holder, Refused if it is not ready.
    """
    token = token or crew.ids.next("t")
    order = rq.Claim(target=target, token=token, seconds=seconds, note=note, intent=intent, force=force)
    reply = shapes.expect((yield Ask(order)), rl.ClaimReply)
    return Claimed(reply.task, token, reply.until)


def release(crew: Caller, target: str, token: str) -> Call[None]:  # noqa: ARG001
    """Give a claimed task back. Refused if the token is not the holder's, or the lease has run out."""
    shapes.expect((yield Ask(rq.Release(target=target, token=token))), rl.Done)


def finish(crew: Caller, target: str, token: str, result: object = None, *, error: str = "") -> Call[None]:  # noqa: ARG001
    """Say how a claimed task has ended: with a result, or with an `error`. Refused as `release`."""
    outcome: Literal["completed", "failed"] = "failed" if error else "completed"
    order = rq.Finish(target=target, token=token, outcome=outcome, result=result, error=error)
    shapes.expect((yield Ask(order)), rl.Done)


# -- messages -------------------------------------------------------------------------------------------------------


def send(
    crew: Caller, kind: MessageKind, target: str, text: str, *, ask: str = "", id: str = "", wait: WaitLevel = "accepted",
    timeout: float = 30.0, deadline: float | None = None, terms: Terms = USUAL, intent: str = "", force: bool = False,
) -> Call[Receipt]:  # fmt: skip
    """Send a control message; returns its receipt when `wait` is reached. DeadlineExceeded carries the receipt so far.

    `terms` say when it is taken, by which attempt, and what happens if nobody is at work. `deadline` are seconds after which
    it expires if no worker has it. The same `id` with the same content is the same message.
    """
    message = rq.Send(
        id=id or crew.ids.next(MESSAGE), kind=kind, target=target, text=text, ask=ask, wait=Level(wait),
        timeout_seconds=timeout, deadline_seconds=deadline, terms=terms, intent=intent, force=force,
    )  # fmt: skip
    return shapes.expect((yield _within(message, timeout)), rl.ReceiptReply).receipt


def respond(
    crew: Caller, ask: str, text: str, *, wait: WaitLevel = "accepted", timeout: float = 30.0, id: str = "", intent: str = "",
    force: bool = False,
) -> Call[Receipt]:  # fmt: skip
    """Answer a question. See `send`."""
    return (yield from send(crew, "response", "", text, ask=ask, wait=wait, timeout=timeout, id=id, intent=intent, force=force))


def acknowledge(crew: Caller, message: str) -> Call[None]:  # noqa: ARG001
    """Say that a message of a mailbox was read. NotFound if there is none of this id."""
    shapes.expect((yield Ask(rq.Acknowledge(id=message))), rl.Done)


def withdraw(crew: Caller, message: str, *, intent: str = "", force: bool = False) -> Call[Receipt]:  # noqa: ARG001
    """Take a message back if the worker's code has not taken it; Refused if it has, or if the message is done.

    DeadlineExceeded if a worker that may have it says nothing (a stopped process): the message stays asked back, and its
    receipt says in the end what became of it.
    """
    return shapes.expect((yield Ask(rq.Withdraw(id=message, intent=intent, force=force))), rl.ReceiptReply).receipt


def receipt(crew: Caller, message: str) -> Call[Receipt]:  # noqa: ARG001
    """The receipt of any message."""
    return shapes.expect((yield Ask(rq.GetReceipt(id=message))), rl.ReceiptReply).receipt


def messages(
    crew: Caller, target: str, *, kind: Kind = "", direction: Direction = "", state: State = "", limit: int = 1_000  # noqa: ARG001
) -> Call[tuple[MessageRow, ...]]:  # fmt: skip
    """The latest messages of a run or task, oldest first; of one kind, direction or state if it is given."""
    found: tuple[MessageRow, ...] = ()
    ask = rq.ListMessages(target=target, kind=kind, direction=direction, state=state, limit=limit)
    while True:
        reply = shapes.expect((yield Ask(ask)), rl.MessagesReply)
        found = (*reply.messages, *found)
        if not reply.before or len(found) >= limit:
            return found
        ask = msgspec.structs.replace(ask, before=reply.before, limit=limit - len(found))


def inbox(crew: Caller) -> Call[tuple[AskRow, ...]]:  # noqa: ARG001
    """Open questions, oldest first."""
    return shapes.expect((yield Ask(rq.Inbox())), rl.InboxReply).asks


def notices(crew: Caller) -> Call[tuple[NoticeRow, ...]]:  # noqa: ARG001
    """What people should look at, oldest first."""
    return shapes.expect((yield Ask(rq.Inbox())), rl.InboxReply).notices


def unread(crew: Caller) -> Call[tuple[MessageRow, ...]]:  # noqa: ARG001
    """What workers said and nobody has acknowledged, oldest first."""
    return shapes.expect((yield Ask(rq.Inbox())), rl.InboxReply).messages


# -- ends -----------------------------------------------------------------------------------------------------------


def cancel(
    crew: Caller, target: str, *, reason: str = "caller_cancelled", mode: Mode = "graceful", grace: float | None = None,  # noqa: ARG001
    intent: str = "", timeout: float = 60.0, force: bool = False,
) -> Call[rl.CancelReply]:  # fmt: skip
    """End a run or a task; returns when it is verified that nothing is left (or with the survivors).

    `grace` are the seconds that all of its processes get to stop by themselves; `mode="now"` sends TERM at once and KILL
    150 ms later. DeadlineExceeded after `timeout` seconds: the cancel goes on.
    """
    order = rq.Cancel(
        target=target, reason=reason, mode=mode, grace_seconds=grace, intent=intent, timeout_seconds=timeout, force=force
    )
    return shapes.expect((yield _within(order, timeout)), rl.CancelReply)


def begin_cancel(
    crew: Caller, target: str, *, reason: str = "caller_cancelled", mode: Mode = "graceful", grace: float | None = None,  # noqa: ARG001
    intent: str = "", force: bool = False,
) -> Call[None]:  # fmt: skip
    """As `cancel`, and returns when the cancel is recorded: it is carried out whatever happens then."""
    order = rq.Cancel(target=target, reason=reason, mode=mode, grace_seconds=grace, intent=intent, wait=False, force=force)
    reply = yield Ask(order)
    if not isinstance(reply, rl.CancelReply):  # it had ended already
        shapes.expect(reply, rl.Done)


def signal(
    crew: Caller, target: str, number: int, *, tree: bool = False, intent: str = "", force: bool = False  # noqa: ARG001
) -> Call[None]:  # fmt: skip
    """Send a signal to a worker's process (of a command: the command's), or (`tree`) to all that it has started.

    Refused if the worker is not at work.
    """
    order = rq.Signal(target=target, number=number, tree=tree, intent=intent, force=force)
    shapes.expect((yield Ask(order)), rl.Done)


def wait(crew: Caller, target: str, *, or_waiting: bool = False, timeout: float = 3600.0) -> Call[rl.EndReply]:  # noqa: ARG001
    """Wait until a run or task has ended; with `or_waiting` also until it waits for somebody, as `attention` then says.

    DeadlineExceeded after `timeout` seconds.
    """
    ask = rq.AwaitEnd(target=target, or_waiting=or_waiting, timeout_seconds=timeout)
    return shapes.expect((yield _within(ask, timeout)), rl.EndReply)


def result(crew: Caller, target: str, *, timeout: float = 3600.0) -> Call[object]:
    """Wait for the end of a run or task and return its result, whole, however large. RunFailed or RunCancelled if it has none.

    Of a run with several steps it is a dict by step. A command's result is its standard output as text, without the newlines
    at its end, or as bytes if it is no UTF-8.
    """
    ended = yield from wait(crew, target, timeout=timeout)
    if ended.task is not None:
        return shapes.result_of_task((yield from _with_result(ended.task)))
    shown = shapes.expect((yield Ask(rq.Show(target=ended.run.id))), rl.ShowReply)
    whole: list[TaskRow] = []
    for task in shown.tasks:
        if task.id in shown.left_out:
            ended = yield from wait(crew, task.id, timeout=timeout)
            task = ended.task or task  # noqa: PLW2901 (the same task, whole)
        whole += [(yield from _with_result(task))]
    return shapes.result_of(shown.run, whole)


def _with_result(task: TaskRow) -> Call[TaskRow]:
    file = shapes.ResultFile(task)
    while not file.whole:
        file.hear(shapes.expect((yield Ask(file.ask())), rl.LogReply))
    return msgspec.structs.replace(task, result=file.result())


# -- looking --------------------------------------------------------------------------------------------------------


def runs(
    crew: Caller, *, all: bool = False, labels: Mapping[str, str] | None = None, limit: int | None = None  # noqa: ARG001
) -> Call[rl.RunsReply]:  # fmt: skip
    """Runs with their tasks and latest progress, newest first; ended ones with `all`; only those with all of these labels.

    With a `limit`, so many of the newest; `before` of the answer is not empty if there may be older ones. Of each run there is
    what a list needs: see `RunsReply`.
    """
    most = sys.maxsize if limit is None else limit
    request = rq.ListRuns(all=all, labels=dict(labels or {}), limit=min(most, ROWS_MAX))
    found = shapes.expect((yield Ask(request)), rl.RunsReply)
    while found.before and len(found.runs) < most:
        left = min(most - len(found.runs), ROWS_MAX)
        more = msgspec.structs.replace(request, before=found.before, limit=left)
        found = shapes.with_older(found, shapes.expect((yield Ask(more)), rl.RunsReply))
    return found


def show(crew: Caller, selector: str) -> Call[rl.ShowReply]:  # noqa: ARG001
    """Everything of a run."""
    return shapes.expect((yield Ask(rq.Show(target=selector))), rl.ShowReply)


def log(
    crew: Caller, task: str, *, stream: Stream = "stdout", offset: int = 0, epoch: int = 0, limit: int = LOG_CHUNK_BYTES_MAX,  # noqa: ARG001
    since: float = 0.0,
) -> Call[rl.LogReply]:  # fmt: skip
    """Up to `limit` bytes of a worker's output from `offset` (negative: counted from the end), written since a time.

    `next` of the reply is where to go on. Secrets in it are masked, each byte by `*`, so that offsets stay true. `acts` and
    `records` are those of an agent: JSON lines (docs/agents.md).
    """
    ask = rq.ReadLog(task=task, stream=stream, offset=offset, epoch=epoch, limit=limit, since=since)
    return shapes.expect((yield Ask(ask)), rl.LogReply)


def news(crew: Caller, *, after: int = 0, everyone: bool = False, limit: int = 200) -> Call[rl.NewsReply]:  # noqa: ARG001
    """What happened to one's own runs (or to everyone's) since `seen` was called last, or since the seq `after`.

    If there are no items there is nothing new. With items, `more` says that there may be others after `upto`.
    """
    while True:
        reply = shapes.expect((yield Ask(rq.ListNews(limit=limit, everyone=everyone, after=after))), rl.NewsReply)
        if reply.items or not reply.more:
            return reply
        after = reply.upto  # so much of the log was looked through at once, and none of it was news


def seen(crew: Caller, upto: int) -> Call[None]:  # noqa: ARG001
    """Mark all news up to this seq as seen: they are not returned again. Durable when this returns."""
    shapes.expect((yield Ask(rq.SeenNews(upto=upto))), rl.Done)


def doctor(
    crew: Caller, *, rebuild: bool = False, actors: bool = False, check: bool = False  # noqa: ARG001
) -> Call[rl.DoctorReply]:  # fmt: skip
    """How the daemon is; see `Doctor`. Looking at a whole large home takes minutes, and holds up nobody."""
    return shapes.expect((yield Ask(rq.Doctor(rebuild=rebuild, actors=actors, check=check), LONG_SECONDS)), rl.DoctorReply)


def reload_config(crew: Caller) -> Call[rl.Reloaded]:  # noqa: ARG001
    """Let crewd read its `crewd.toml` again: the keys that have changed and hold now, and those that wait for a restart."""
    return shapes.expect((yield Ask(rq.ReloadConfig())), rl.Reloaded)


def resume_daemon(crew: Caller) -> Call[None]:  # noqa: ARG001
    """Take back a stop with mode `drain`: crewd accepts new work again. Refused if crewd is not draining."""
    shapes.expect((yield Ask(rq.ResumeDaemon())), rl.Done)


def stop_daemon(
    crew: Caller, grace: float = GRACE_SECONDS_SHORT, mode: StopMode = "end", *, intent: str = ""  # noqa: ARG001
) -> Call[None]:  # fmt: skip
    """Stop crewd: wait for its workers (`drain`), end them, or keep them for the next crewd. See `StopDaemon`."""
    shapes.expect((yield Ask(rq.StopDaemon(grace_seconds=grace, mode=mode, intent=intent))), rl.Done)
