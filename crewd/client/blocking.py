"""The blocking Python client. One connection, for one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

import msgspec
import zmq

import crewd
from crewd.client import shapes
from crewd.client.conversation import HELLO_SECONDS, Conversation
from crewd.client.discover import LOOK_SECONDS, START_SECONDS, find_home, may_start, start_daemon, unreachable
from crewd.client.keys import Identity, identity, keys_directory
from crewd.client.outbox import Entry, Outbox, unanswered
from crewd.clock import SystemChance, SystemClock
from crewd.protocol import requests as rq
from crewd.protocol.errors import CrewdError, DaemonUnreachable, DeadlineExceeded, UsageError
from crewd.protocol.events import Event
from crewd.protocol.home import Home
from crewd.protocol.ids import MESSAGE, IdSource
from crewd.protocol.limits import FRAME_BYTES_MAX, GRACE_SECONDS_SHORT, LEASE_SECONDS_DEFAULT
from crewd.protocol.policy import Limits, RestartPolicy, Restarts, Retry
from crewd.protocol.receipts import Level, Receipt
from crewd.protocol.reports import MessageKind
from crewd.protocol.rights import Role
from crewd.protocol.rows import AskRow, MessageRow, NoticeRow, Progress, RunRow
from crewd.protocol.terms import USUAL, Terms
from crewd.protocol.workflow import Workflow

HELLO_TIMEOUT_SECONDS = 2.0
REPLY_SECONDS = 30.0
SILENCE_SECONDS = 15.0
"""Without a word from crewd, also not to a hello: long enough for a restart, short enough for a person."""
WaitLevel = Literal["accepted", "delivered", "applied", "settled"]


class Claimed(NamedTuple):
    """A task that one carries out oneself, what proves it, and until when (wall-clock seconds) unless it is renewed."""

    task: str
    token: str
    until: float


class Connection:
    """A DEALER and a conversation."""

    def __init__(self, home: Home, who: Identity, wish: int = Role.ADMIN, keys: Path | None = None) -> None:
        self.home = home
        self.keys = keys or keys_directory()
        self.clock = SystemClock()
        self.ids = IdSource(self.clock, SystemChance())
        self.name = who[0]
        self.talk = Conversation(*who, f"crewd-python/{crewd.__version__}", self.ids, wish=wish)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._socket.connect(home.clients_endpoint)
        self._next_hello = 0.0
        self._heard_at = self.clock.monotonic()

    def greet(self, timeout: float) -> bool:
        """Say hello; whether somebody answered in time."""
        deadline = self.clock.monotonic() + timeout
        while not self.talk.incarnation and self.clock.monotonic() < deadline:
            self.pump(min(0.05, max(0.0, deadline - self.clock.monotonic())), hello_seconds=0.2)
        return bool(self.talk.incarnation)

    def pump(self, timeout: float, *, hello_seconds: float = HELLO_SECONDS) -> None:
        """Wait up to `timeout` for something, take in all that is there, and send what follows from it."""
        now = self.clock.monotonic()
        if now >= self._next_hello:
            self._next_hello = now + hello_seconds
            for frames in self.talk.beat():
                self._send(frames)
        wait = min(timeout, max(0.0, self._next_hello - now))
        if self._socket.poll(int(wait * 1000) + 1 if wait > 0 else 0):
            self._heard_at = self.clock.monotonic()
            while self._socket.poll(0):
                for frames in self.talk.feed(self._socket.recv_multipart()):
                    self._send(frames)

    def _send(self, frames: list[bytes]) -> None:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return  # crewd does not read: the next hello finds out

    def request(self, request: rq.Request, timeout: float = REPLY_SECONDS) -> rq.Reply:
        """Send and wait. Survives a restart of crewd; DeadlineExceeded if `timeout` seconds bring no reply."""
        key, frames = self.talk.ask(request)
        self._heard_at = self.clock.monotonic()
        self._send(frames)
        deadline = self.clock.monotonic() + timeout
        while True:
            reply = self.talk.take(key)
            if reply is not None:
                return reply
            left = deadline - self.clock.monotonic()
            if left <= 0:
                self.talk.forget(key)
                raise DeadlineExceeded(f"crewd has not answered for {timeout:g} s", hint="crew daemon status")
            self.pump(left)
            self._check_alive()

    def _check_alive(self) -> None:
        """Somebody answers a hello every second; DaemonUnreachable when nobody has for long."""
        if self.clock.monotonic() - self._heard_at > SILENCE_SECONDS:
            raise unreachable(self.home)

    def subscribe(self, request: rq.Subscribe) -> Generator[rq.EventNote | rq.ProgressNote, None, None]:
        """Notes as they come, for ever; close the iterator to end the subscription."""
        key, frames = self.talk.ask(request)
        self._send(frames)
        try:
            while True:
                notes = self.talk.notes[key]
                while notes:
                    note = notes.popleft()
                    yield note
                    for frames in self.talk.read(key, note.event.seq) if isinstance(note, rq.EventNote) else ():
                        self._send(frames)
                reply = self.talk.take(key)
                if isinstance(reply, rq.ErrorReply):
                    shapes.expect(reply, rq.Subscribed)
                self.pump(HELLO_SECONDS)
                self._check_alive()
        finally:
            self.talk.forget(key)
            _, end = self.talk.ask(rq.Unsubscribe(id=key))
            self._send(end)

    def close(self) -> None:
        """Hang up."""
        self._socket.close(0)
        self._context.term()


def connect(
    home: str | None = None, *, start: bool | None = None, name: str = "", wish: int = Role.ADMIN, keys: Path | None = None
) -> Crew:
    """A client of the crewd that serves `home`, which is started if it is not running (`start=False` forbids it).

    It is who `name` is (else `CREWD_AS`, else the user), with the key that is kept for it in the directory `keys` (else
    `CREWD_KEYS`, else the platform's), and has the role that it wishes for. Raises DaemonUnreachable if nobody answers.
    """
    found = find_home(home)
    connection = Connection(found, identity(name, keys), wish, keys)
    try:
        exists = found.clients_socket.exists()
        if exists and connection.greet(HELLO_TIMEOUT_SECONDS):
            return Crew(connection)
        if not may_start(start):
            raise unreachable(found)
        given_up = start_daemon(found)
        for _ in range(round(START_SECONDS / LOOK_SECONDS)):
            if connection.greet(LOOK_SECONDS):
                return Crew(connection)
            if given_up():
                break
        raise unreachable(found)
    except BaseException:
        connection.close()
        raise


def own_outbox(home: str | None = None, *, name: str = "", keys: Path | None = None) -> Outbox:
    """The outbox of a client, as `connect` would find it; nobody need be there."""
    clock = SystemClock()
    ids = IdSource(clock, SystemChance())
    return Outbox(keys or keys_directory(), identity(name, keys)[0], find_home(home).key, ids, clock.wall())


class Crew:
    """What crewd can be asked. Use it as a context manager, or `close` it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; runs go on."""
        self._connection.close()

    @property
    def home(self) -> Home:
        """The home that is served."""
        return self._connection.home

    @property
    def owner(self) -> str:
        """Who crewd takes this client for: what it starts belongs to this owner."""
        return self._connection.talk.owner

    def new_message_id(self) -> str:
        """An id for a message that may be sent more than once."""
        return self._connection.ids.next(MESSAGE)

    def new_upload_id(self) -> str:
        """An id for a file that is to be imported."""
        return self._connection.ids.next("x")

    def request(self, request: rq.Request, timeout: float = REPLY_SECONDS) -> rq.Reply:
        """Any request of the protocol."""
        return self._connection.request(request, timeout)

    def run(
        self, workflow: Workflow | str, goal: str = "", *, cwd: str | None = None, name: str = "", request_id: str = "",
        keep: bool = False,
    ) -> RunHandle:  # fmt: skip
        """Start a workflow (a value, a file, or a name). Returns at once.

        Started inside a worker it is cancelled when that worker ends, unless `keep`.
        """
        chosen = shapes.load_workflow(workflow) if isinstance(workflow, str) else workflow
        request = shapes.start_request(chosen, goal, cwd, name, request_id, self._connection.ids, self.home, keep=keep)
        reply = shapes.expect(self.request(request), rq.RunReply)
        return RunHandle(self, reply.run)

    def call(
        self, target: str, args: Mapping[str, object] | None = None, *, cwd: str | None = None, name: str = "",
        request_id: str = "", start: str = "fork", keep: bool = False, limits: Limits | None = None,
        retry: Retry | None = None, restart: Restarts | RestartPolicy | None = None,
    ) -> RunHandle:  # fmt: skip
        """Run `module:function` with these keyword arguments in a worker process."""
        workflow = shapes.policed(shapes.call_workflow(target, args, start=start), limits, retry, restart)
        return self.run(workflow, cwd=cwd, name=name, request_id=request_id, keep=keep)

    def exec(
        self, argv: Sequence[str], *, stdin: str = "none", env: Mapping[str, str] | None = None, cwd: str | None = None,
        name: str = "", request_id: str = "", keep: bool = False, limits: Limits | None = None, retry: Retry | None = None,
        restart: Restarts | RestartPolicy | None = None,
    ) -> RunHandle:  # fmt: skip
        """Run a command in a worker process."""
        workflow = shapes.policed(shapes.exec_workflow(argv, stdin=stdin, env=env), limits, retry, restart)
        return self.run(workflow, cwd=cwd, name=name, request_id=request_id, keep=keep)

    def retry(self, target: str, *, intent: str = "", force: bool = False) -> RunHandle:
        """Do again what failed or was parked, of a run or of one task. Refused if nothing was."""
        reply = self.request(rq.Reopen(target=target, kind="retry", intent=intent, force=force))
        return RunHandle(self, shapes.expect(reply, rq.RunReply).run)

    def resume(self, target: str, *, intent: str = "", force: bool = False) -> RunHandle:
        """Do all of a run that was not finished: what failed, was cancelled or skipped. What is completed stays so."""
        reply = self.request(rq.Reopen(target=target, kind="resume", intent=intent, force=force))
        return RunHandle(self, shapes.expect(reply, rq.RunReply).run)

    def dead(self) -> rq.DeadReply:
        """Dead letters: tasks that failed for good, each with its final attempt, oldest first."""
        return shapes.expect(self.request(rq.ListDead()), rq.DeadReply)

    def dismiss(self, target: str, *, intent: str = "", force: bool = False) -> None:
        """A dead letter (or all of a run) needs nothing more."""
        shapes.expect(self.request(rq.Dismiss(target=target, intent=intent, force=force)), rq.Done)

    def claim(
        self, target: str, *, seconds: float = LEASE_SECONDS_DEFAULT, token: str = "", note: str = "", intent: str = "",
        force: bool = False,
    ) -> Claimed:  # fmt: skip
        """Carry out a task that waits oneself: for `seconds` crewd does not start it, and nobody else can claim it.

        With the `token` of a claim one holds, it is renewed. Raises Conflict naming the holder, Refused if it is not ready.
        """
        token = token or self._connection.ids.next("t")
        request = rq.Claim(target=target, token=token, seconds=seconds, note=note, intent=intent, force=force)
        reply = shapes.expect(self.request(request), rq.ClaimReply)
        return Claimed(reply.task, token, reply.until)

    def release(self, target: str, token: str) -> None:
        """Give a claimed task back. Refused if the token is not the holder's, or the lease has run out."""
        shapes.expect(self.request(rq.Release(target=target, token=token)), rq.Done)

    def finish(self, target: str, token: str, result: object = None, *, error: str = "") -> None:
        """Say how a claimed task has ended: with a result, or with an `error`. Refused as `release`."""
        outcome: Literal["completed", "failed"] = "failed" if error else "completed"
        request = rq.Finish(target=target, token=token, outcome=outcome, result=result, error=error)
        shapes.expect(self.request(request), rq.Done)

    def get(self, selector: str) -> RunHandle:
        """A run by id, name, or part of the id."""
        return RunHandle(self, shapes.expect(self.request(rq.Show(target=selector)), rq.ShowReply).run)

    def runs(self, *, all: bool = False, labels: Mapping[str, str] | None = None) -> rq.RunsReply:
        """Runs with their tasks and latest progress, newest first; only those that have all of these labels."""
        return shapes.expect(self.request(rq.ListRuns(all=all, labels=dict(labels or {}))), rq.RunsReply)

    def show(self, selector: str) -> rq.ShowReply:
        """Everything of a run."""
        return shapes.expect(self.request(rq.Show(target=selector)), rq.ShowReply)

    def send(
        self, kind: MessageKind, target: str, text: str, *, ask: str = "", id: str = "",
        wait: WaitLevel = "accepted", timeout: float = 30.0, deadline: float | None = None, terms: Terms = USUAL,
        intent: str = "", force: bool = False,
    ) -> Receipt:  # fmt: skip
        """Send a control message; returns its receipt when `wait` is reached. DeadlineExceeded carries the receipt so far.

        `terms` say when it is taken, by which attempt, and what happens if nobody is at work.
        """
        request = rq.Send(
            id=id or self.new_message_id(), kind=kind, target=target, text=text, ask=ask, wait=Level(wait),
            timeout_seconds=timeout, deadline_seconds=deadline, terms=terms, intent=intent, force=force,
        )  # fmt: skip
        return shapes.expect(self.request(request, timeout + REPLY_SECONDS), rq.ReceiptReply).receipt

    @contextlib.contextmanager
    def send_once(self, request: rq.Send) -> Iterator[Receipt]:
        """As `send`, with an id that survives this process: killed at any instant and sent again, it is one message.

        A context manager: its end means that whoever sent it knows of the receipt. After that, the same message is another
        one. The id of `request` is left out.
        """
        with self.outbox.keep(request) as key:
            reply = self.request(msgspec.structs.replace(request, id=key), request.timeout_seconds + REPLY_SECONDS)
            yield shapes.expect(reply, rq.ReceiptReply).receipt

    @property
    def outbox(self) -> Outbox:
        """What this client has sent and nobody has answered."""
        connection = self._connection
        return Outbox(connection.keys, connection.name, self.home.key, connection.ids, connection.clock.wall())

    def send_left(self) -> Iterator[tuple[Entry, Receipt | CrewdError]]:
        """Send all that is left in the outbox, oldest first, with the ids that it had: what was accepted is not taken twice.

        Each is forgotten when crewd has answered, with a receipt or with a word on what is wrong; what it could not take
        now stays. Raises DaemonUnreachable.
        """
        outbox = self.outbox
        for entry in outbox.left():
            request = msgspec.structs.replace(entry.send, id=entry.id, wait=Level.ACCEPTED, timeout_seconds=30.0)
            try:
                answer: Receipt | CrewdError = shapes.expect(self.request(request), rq.ReceiptReply).receipt
            except DaemonUnreachable:
                raise
            except CrewdError as error:
                answer = error
            if not (isinstance(answer, CrewdError) and unanswered(answer)):
                outbox.forget(entry.id)
            yield entry, answer

    def respond(
        self, ask: str, text: str, *, wait: WaitLevel = "accepted", timeout: float = 30.0, id: str = "", intent: str = "",
        force: bool = False,
    ) -> Receipt:  # fmt: skip
        """Answer a question."""
        return self.send("response", "", text, ask=ask, wait=wait, timeout=timeout, id=id, intent=intent, force=force)

    def acknowledge(self, message: str) -> None:
        """Say that a message of a mailbox was read. NotFound if there is none of this id."""
        shapes.expect(self.request(rq.Acknowledge(id=message)), rq.Done)

    def withdraw(self, message: str, *, intent: str = "", force: bool = False) -> Receipt:
        """Take a message back if the worker's code has not taken it; Refused if it has.

        DeadlineExceeded if a worker that may have it says nothing (a stopped process): the message stays asked back, and its
        receipt says in the end what became of it.
        """
        return shapes.expect(self.request(rq.Withdraw(id=message, intent=intent, force=force)), rq.ReceiptReply).receipt

    def receipt(self, message: str) -> Receipt:
        """The receipt of any message."""
        return shapes.expect(self.request(rq.GetReceipt(id=message)), rq.ReceiptReply).receipt

    def cancel(
        self, target: str, *, reason: str = "caller_cancelled", mode: Literal["graceful", "now"] = "graceful",
        grace: float | None = None, intent: str = "", wait: bool = True, timeout: float = 60.0, force: bool = False,
    ) -> rq.CancelReply | None:  # fmt: skip
        """End a run or a task. With `wait`, returns when it is verified (or incomplete, with the survivors)."""
        request = rq.Cancel(
            target=target, reason=reason, mode=mode, grace_seconds=grace, intent=intent, wait=wait, timeout_seconds=timeout,
            force=force,
        )  # fmt: skip
        reply = self.request(request, timeout + REPLY_SECONDS)
        if not wait:
            shapes.expect(reply, rq.Done)
            return None
        return shapes.expect(reply, rq.CancelReply)

    def wait(self, target: str, *, or_waiting: bool = False, timeout: float = 3600.0) -> rq.EndReply:
        """Wait until a run or task has ended (or waits for an answer)."""
        request = rq.AwaitEnd(target=target, or_waiting=or_waiting, timeout_seconds=timeout)
        return shapes.expect(self.request(request, timeout + REPLY_SECONDS), rq.EndReply)

    def inbox(self) -> tuple[AskRow, ...]:
        """Open questions, oldest first."""
        return shapes.expect(self.request(rq.Inbox()), rq.InboxReply).asks

    def notices(self) -> tuple[NoticeRow, ...]:
        """What people should look at, oldest first."""
        return shapes.expect(self.request(rq.Inbox()), rq.InboxReply).notices

    def unread(self) -> tuple[MessageRow, ...]:
        """What workers said and nobody has acknowledged, oldest first."""
        return shapes.expect(self.request(rq.Inbox()), rq.InboxReply).messages

    def messages(
        self, target: str, *, kind: str = "", direction: Literal["", "in", "out"] = "",
        state: Literal["", "open", "settled", "unread"] = "", limit: int = 1_000,
    ) -> tuple[MessageRow, ...]:  # fmt: skip
        """The latest messages of a run or task, oldest first; of one kind, direction or state if it is given."""
        found: tuple[MessageRow, ...] = ()
        request = rq.ListMessages(target=target, kind=kind, direction=direction, state=state, limit=limit)
        while True:
            reply = shapes.expect(self.request(request), rq.MessagesReply)
            found = (*reply.messages, *found)
            if not reply.before or len(found) >= limit:
                return found
            request = msgspec.structs.replace(request, before=reply.before, limit=limit - len(found))

    def events(
        self, target: str = "", *, after: int = 0, follow: bool = False, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None, last: int = 0, epoch: int = 0, since: float = 0.0, until: float = 0.0,
    ) -> Iterator[Event]:  # fmt: skip
        """Events after `after`. With `follow` it goes on as they happen; for one run, until the run has ended.

        `last`: only so many, the newest. `epoch`: of this attempt of the task. `since`, `until`: of these times, in
        wall-clock seconds. None of them goes with `follow`. `types` and `labels`: see `watch`.
        """
        if follow and (last or epoch or since or until):
            raise UsageError("what is followed is bounded by --after only", hint="leave out --follow, or the other bounds")
        request = rq.ListEvents(
            target=target, after=after, types=tuple(types), labels=dict(labels or {}), epoch=epoch, since=since, until=until
        )
        if last:
            yield from self._last_events(request, last)
            return
        if follow:
            for note in self.watch(target, after=after, progress=False, types=types, labels=labels):
                if isinstance(note, Event):
                    yield note
            return
        while True:
            page = shapes.expect(self.request(request), rq.EventsReply)
            yield from page.events
            if not page.more:
                return
            request = msgspec.structs.replace(request, after=page.upto)

    def _last_events(self, request: rq.ListEvents, count: int) -> tuple[Event, ...]:
        found: tuple[Event, ...] = ()
        request = msgspec.structs.replace(request, before=1 << 62)
        while True:
            page = shapes.expect(self.request(msgspec.structs.replace(request, limit=count - len(found))), rq.EventsReply)
            found = (*page.events, *found)
            if not page.upto or len(found) >= count:
                return found
            request = msgspec.structs.replace(request, before=page.upto)

    def watch(
        self, target: str = "", *, after: int = 0, progress: bool = True, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Generator[Event | Progress, None, None]:  # fmt: skip
        """Events and progress as they happen; for one run or task, until it has ended.

        `target` is a run or a task; `types` are types (`task.ended`), groups (`task.*`) or kinds (`mailbox_updated`) of
        events, `labels` those that a run must have. Whoever reads slowly holds up nobody and misses nothing. Close it to end.
        """
        watch = shapes.Watch(target, types, labels)
        notes = self._connection.subscribe(watch.request(after, progress=progress))
        with contextlib.closing(notes):
            for note in notes:
                if watch.shows(note):
                    yield note.event if isinstance(note, rq.EventNote) else note.progress
                if watch.ends(note):
                    return

    def news(self, *, after: int = 0, everyone: bool = False, limit: int = 200) -> rq.NewsReply:
        """What happened to one's own runs (or to everyone's) since `seen` was called last, or since the seq `after`."""
        return shapes.expect(self.request(rq.ListNews(limit=limit, everyone=everyone, after=after)), rq.NewsReply)

    def seen(self, upto: int) -> None:
        """All news up to this seq were told: they do not come again. Durable when this returns."""
        shapes.expect(self.request(rq.SeenNews(upto=upto)), rq.Done)

    def log(self, task: str, *, stream: Literal["stdout", "stderr"] = "stdout", offset: int = 0, epoch: int = 0) -> rq.LogReply:
        """Bytes of a worker's output."""
        return shapes.expect(self.request(rq.ReadLog(task=task, stream=stream, offset=offset, epoch=epoch)), rq.LogReply)

    def doctor(self, *, rebuild: bool = False, actors: bool = False, check: bool = False) -> rq.DoctorReply:
        """How the daemon is; see `Doctor`. Looking at a whole large home takes minutes, and holds up nobody."""
        return shapes.expect(self.request(rq.Doctor(rebuild=rebuild, actors=actors, check=check), 3_600.0), rq.DoctorReply)

    def stop_daemon(self, grace: float = GRACE_SECONDS_SHORT, mode: Literal["drain", "end", "keep"] = "end") -> None:
        """Stop crewd: wait for its workers (`drain`), end them, or keep them for the next crewd. See `StopDaemon`."""
        shapes.expect(self.request(rq.StopDaemon(grace_seconds=grace, mode=mode)), rq.Done)


class RunHandle:
    """A run. Methods that speak to a worker take `step` when the run has several."""

    def __init__(self, crew: Crew, row: RunRow) -> None:
        self._crew = crew
        self.id = row.id
        self.name = row.name

    def __repr__(self) -> str:
        return f"<run {self.name} {self.id}>"

    def _target(self, step: str) -> str:
        return f"{self.id}/{step}" if step else self.id

    def steer(
        self, text: str, *, step: str = "", wait: WaitLevel = "delivered", timeout: float = 30.0, id: str = "",
        terms: Terms = USUAL,
    ) -> Receipt:  # fmt: skip
        """Change what the worker does, at its next safe point; with `Terms(now=True)` what it does now is broken off."""
        return self._crew.send("steer", self._target(step), text, wait=wait, timeout=timeout, id=id, terms=terms)

    def follow_up(
        self, text: str, *, step: str = "", wait: WaitLevel = "accepted", timeout: float = 30.0, id: str = "",
        terms: Terms = USUAL,
    ) -> Receipt:  # fmt: skip
        """Queue work for when the worker would stop; with `Terms(on_idle="start")` one that has ended is started again."""
        return self._crew.send("follow_up", self._target(step), text, wait=wait, timeout=timeout, id=id, terms=terms)

    def cancel(
        self, *, step: str = "", reason: str = "caller_cancelled", mode: Literal["graceful", "now"] = "graceful",
        grace: float | None = None, intent: str = "", wait: bool = True, timeout: float = 60.0, force: bool = False,
    ) -> rq.CancelReply | None:  # fmt: skip
        """End the run, or one step of it."""
        return self._crew.cancel(
            self._target(step), reason=reason, mode=mode, grace=grace, intent=intent, wait=wait, timeout=timeout, force=force
        )

    def wait(self, *, step: str = "", or_waiting: bool = False, timeout: float = 3600.0) -> rq.EndReply:
        """Wait for the end."""
        return self._crew.wait(self._target(step), or_waiting=or_waiting, timeout=timeout)

    def result(self, *, step: str = "", timeout: float = 3600.0) -> object:
        """Wait for the end, of the run or of one step, and return its result. Raises RunFailed or RunCancelled."""
        ended = self._crew.wait(self._target(step), timeout=timeout)
        if ended.task is not None:
            return shapes.result_of_task(ended.task)
        shown = self._crew.show(self.id)
        return shapes.result_of(shown.run, shown.tasks)

    def show(self) -> rq.ShowReply:
        """Everything of the run."""
        return self._crew.show(self.id)

    def events(self, *, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """Its events."""
        return self._crew.events(self.id, after=after, follow=follow)

    def message(self, text: str, *, step: str = "", id: str = "", terms: Terms = USUAL) -> Receipt:
        """Put something into the mailbox of a worker, or of the run: to be read, when somebody reads it."""
        return self._crew.send("message", self._target(step), text, id=id, terms=terms)

    def messages(
        self, *, kind: str = "", direction: Literal["", "in", "out"] = "", state: Literal["", "open", "settled", "unread"] = ""
    ) -> tuple[MessageRow, ...]:
        """Its messages."""
        return self._crew.messages(self.id, kind=kind, direction=direction, state=state)
