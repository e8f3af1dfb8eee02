"""The async twin of the blocking client: the same names, awaited. One connection, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import zmq
import zmq.asyncio

import crewd
from crewd.client import shapes
from crewd.client.blocking import HELLO_TIMEOUT_SECONDS, REPLY_SECONDS, WaitLevel
from crewd.client.conversation import HELLO_SECONDS, Conversation
from crewd.client.discover import LOOK_SECONDS, START_SECONDS, find_home, may_start, start_daemon, unreachable
from crewd.client.keys import Identity, identity
from crewd.clock import SystemChance, SystemClock
from crewd.protocol import requests as rq
from crewd.protocol.errors import DeadlineExceeded
from crewd.protocol.events import Event
from crewd.protocol.home import Home
from crewd.protocol.ids import MESSAGE, IdSource
from crewd.protocol.limits import FRAME_BYTES_MAX
from crewd.protocol.policy import Limits, RestartPolicy, Restarts, Retry
from crewd.protocol.receipts import Level, Receipt
from crewd.protocol.reports import MessageKind
from crewd.protocol.rows import AskRow, MessageRow, Progress, RunRow
from crewd.protocol.terms import USUAL, Terms
from crewd.protocol.workflow import Workflow


async def connect(home: str | None = None, *, start: bool | None = None, name: str = "") -> Crew:
    """See `crewd.connect`."""
    crew = Crew(find_home(home), identity(name))
    try:
        if crew.home.clients_socket.exists() and await crew.greet(HELLO_TIMEOUT_SECONDS):
            return crew
        if not may_start(start):
            raise unreachable(crew.home)
        given_up = await asyncio.to_thread(start_daemon, crew.home)
        for _ in range(round(START_SECONDS / LOOK_SECONDS)):
            if await crew.greet(LOOK_SECONDS):
                return crew
            if given_up():
                break
        raise unreachable(crew.home)
    except BaseException:
        await crew.close()
        raise


class Crew:
    """See `crewd.Crew`."""

    def __init__(self, home: Home, who: Identity) -> None:
        self.home = home
        self._ids = IdSource(SystemClock(), SystemChance())
        self._talk = Conversation(*who, f"crewd-python/{crewd.__version__}", self._ids)
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.connect(home.clients_endpoint)
        self._news = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._greet_often())]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; runs go on."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._socket.close(0)
        self._context.term()

    async def _hear(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            for answer in self._talk.feed(frames):
                await self._socket.send_multipart(answer)
            async with self._news:
                self._news.notify_all()

    async def _greet_often(self) -> None:
        while True:
            for frames in self._talk.beat():
                await self._socket.send_multipart(frames)
            await asyncio.sleep(HELLO_SECONDS if self._talk.incarnation else 0.2)

    async def greet(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound on what is answered, not on the call)
        """Whether somebody answers in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: self._talk.incarnation)
        return bool(self._talk.incarnation)

    async def request(self, request: rq.Request, timeout: float = REPLY_SECONDS) -> rq.Reply:  # noqa: ASYNC109
        """Any request of the protocol."""
        key, frames = self._talk.ask(request)
        try:
            await self._socket.send_multipart(frames)
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: key in self._talk.replies)
            return self._talk.replies[key]
        except TimeoutError:
            raise DeadlineExceeded(f"crewd has not answered for {timeout:g} s", hint="crew daemon status") from None
        finally:
            self._talk.forget(key)

    async def run(
        self, workflow: Workflow | str, goal: str = "", *, cwd: str | None = None, name: str = "", request_id: str = "",
        keep: bool = False,
    ) -> RunHandle:  # fmt: skip
        """See `crewd.Crew.run`."""
        chosen = await asyncio.to_thread(shapes.load_workflow, workflow) if isinstance(workflow, str) else workflow
        request = shapes.start_request(chosen, goal, cwd, name, request_id, self._ids, self.home, keep=keep)
        return RunHandle(self, shapes.expect(await self.request(request), rq.RunReply).run)

    async def call(
        self, target: str, args: Mapping[str, object] | None = None, *, cwd: str | None = None, name: str = "",
        request_id: str = "", start: str = "fork", keep: bool = False, limits: Limits | None = None,
        retry: Retry | None = None, restart: Restarts | RestartPolicy | None = None,
    ) -> RunHandle:  # fmt: skip
        """See `crewd.Crew.call`."""
        workflow = shapes.policed(shapes.call_workflow(target, args, start=start), limits, retry, restart)
        return await self.run(workflow, cwd=cwd, name=name, request_id=request_id, keep=keep)

    async def exec(
        self, argv: Sequence[str], *, stdin: str = "none", env: Mapping[str, str] | None = None, cwd: str | None = None,
        name: str = "", request_id: str = "", keep: bool = False, limits: Limits | None = None, retry: Retry | None = None,
        restart: Restarts | RestartPolicy | None = None,
    ) -> RunHandle:  # fmt: skip
        """See `crewd.Crew.exec`."""
        workflow = shapes.policed(shapes.exec_workflow(argv, stdin=stdin, env=env), limits, retry, restart)
        return await self.run(workflow, cwd=cwd, name=name, request_id=request_id, keep=keep)

    async def retry(self, target: str, *, intent: str = "") -> RunHandle:
        """See `crewd.Crew.retry`."""
        reply = await self.request(rq.Reopen(target=target, kind="retry", intent=intent))
        return RunHandle(self, shapes.expect(reply, rq.RunReply).run)

    async def resume(self, target: str, *, intent: str = "") -> RunHandle:
        """See `crewd.Crew.resume`."""
        reply = await self.request(rq.Reopen(target=target, kind="resume", intent=intent))
        return RunHandle(self, shapes.expect(reply, rq.RunReply).run)

    async def get(self, selector: str) -> RunHandle:
        """See `crewd.Crew.get`."""
        return RunHandle(self, (await self.show(selector)).run)

    async def runs(self, *, all: bool = False) -> rq.RunsReply:
        """See `crewd.Crew.runs`."""
        return shapes.expect(await self.request(rq.ListRuns(all=all)), rq.RunsReply)

    async def show(self, selector: str) -> rq.ShowReply:
        """See `crewd.Crew.show`."""
        return shapes.expect(await self.request(rq.Show(target=selector)), rq.ShowReply)

    async def send(
        self, kind: MessageKind, target: str, text: str, *, ask: str = "", id: str = "",
        wait: WaitLevel = "accepted", timeout: float = 30.0, deadline: float | None = None,  # noqa: ASYNC109
        terms: Terms = USUAL,
    ) -> Receipt:  # fmt: skip
        """See `crewd.Crew.send`."""
        request = rq.Send(
            id=id or self._ids.next(MESSAGE), kind=kind, target=target, text=text, ask=ask, wait=Level(wait),
            timeout_seconds=timeout, deadline_seconds=deadline, terms=terms,
        )  # fmt: skip
        return shapes.expect(await self.request(request, timeout + REPLY_SECONDS), rq.ReceiptReply).receipt

    async def respond(self, ask: str, text: str, *, wait: WaitLevel = "accepted", id: str = "") -> Receipt:
        """See `crewd.Crew.respond`."""
        return await self.send("response", "", text, ask=ask, wait=wait, id=id)

    async def acknowledge(self, message: str) -> None:
        """See `crewd.Crew.acknowledge`."""
        shapes.expect(await self.request(rq.Acknowledge(id=message)), rq.Done)

    async def withdraw(self, message: str) -> Receipt:
        """See `crewd.Crew.withdraw`."""
        return shapes.expect(await self.request(rq.Withdraw(id=message)), rq.ReceiptReply).receipt

    async def receipt(self, message: str) -> Receipt:
        """See `crewd.Crew.receipt`."""
        return shapes.expect(await self.request(rq.GetReceipt(id=message)), rq.ReceiptReply).receipt

    async def cancel(
        self, target: str, *, reason: str = "caller_cancelled", mode: Literal["graceful", "now"] = "graceful",
        grace: float | None = None, intent: str = "", wait: bool = True, timeout: float = 60.0,  # noqa: ASYNC109
    ) -> rq.CancelReply | None:  # fmt: skip
        """See `crewd.Crew.cancel`."""
        request = rq.Cancel(
            target=target, reason=reason, mode=mode, grace_seconds=grace, intent=intent, wait=wait, timeout_seconds=timeout
        )
        reply = await self.request(request, timeout + REPLY_SECONDS)
        if not wait:
            shapes.expect(reply, rq.Done)
            return None
        return shapes.expect(reply, rq.CancelReply)

    async def wait(self, target: str, *, or_waiting: bool = False, timeout: float = 3600.0) -> rq.EndReply:  # noqa: ASYNC109
        """See `crewd.Crew.wait`."""
        request = rq.AwaitEnd(target=target, or_waiting=or_waiting, timeout_seconds=timeout)
        return shapes.expect(await self.request(request, timeout + REPLY_SECONDS), rq.EndReply)

    async def inbox(self) -> tuple[AskRow, ...]:
        """See `crewd.Crew.inbox`."""
        return shapes.expect(await self.request(rq.Inbox()), rq.InboxReply).asks

    async def messages(self, target: str) -> tuple[MessageRow, ...]:
        """The latest messages of a run or task, oldest first."""
        return shapes.expect(await self.request(rq.ListMessages(target=target)), rq.MessagesReply).messages

    async def watch(
        self, target: str = "", *, after: int = 0, progress: bool = True, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event | Progress]:  # fmt: skip
        """See `crewd.Crew.watch`."""
        watch = shapes.Watch(target, types, labels)
        key, frames = self._talk.ask(watch.request(after, progress=progress))
        await self._socket.send_multipart(frames)
        try:
            while True:
                async with self._news:
                    await self._news.wait_for(lambda: self._talk.notes[key] or key in self._talk.replies)
                reply = self._talk.take(key)
                if reply is not None:
                    shapes.expect(reply, rq.Subscribed)
                while self._talk.notes[key]:
                    note = self._talk.notes[key].popleft()
                    if watch.shows(note):
                        yield note.event if isinstance(note, rq.EventNote) else note.progress
                    for each in self._talk.read(key, note.event.seq) if isinstance(note, rq.EventNote) else ():
                        await self._socket.send_multipart(each)
                    if watch.ends(note):
                        return
        finally:
            self._talk.forget(key)
            _, end = self._talk.ask(rq.Unsubscribe(id=key))
            await self._socket.send_multipart(end)


class RunHandle:
    """See `crewd.RunHandle`."""

    def __init__(self, crew: Crew, row: RunRow) -> None:
        self._crew = crew
        self.id = row.id
        self.name = row.name

    def _target(self, step: str) -> str:
        return f"{self.id}/{step}" if step else self.id

    async def steer(self, text: str, *, step: str = "", wait: WaitLevel = "delivered", terms: Terms = USUAL) -> Receipt:
        """See `crewd.RunHandle.steer`."""
        return await self._crew.send("steer", self._target(step), text, wait=wait, terms=terms)

    async def follow_up(self, text: str, *, step: str = "", wait: WaitLevel = "accepted", terms: Terms = USUAL) -> Receipt:
        """See `crewd.RunHandle.follow_up`."""
        return await self._crew.send("follow_up", self._target(step), text, wait=wait, terms=terms)

    async def cancel(
        self, *, step: str = "", mode: Literal["graceful", "now"] = "graceful", intent: str = ""
    ) -> rq.CancelReply | None:
        """See `crewd.RunHandle.cancel`."""
        return await self._crew.cancel(self._target(step), mode=mode, intent=intent)

    async def wait(self, *, step: str = "", or_waiting: bool = False, timeout: float = 3600.0) -> rq.EndReply:  # noqa: ASYNC109
        """See `crewd.RunHandle.wait`."""
        return await self._crew.wait(self._target(step), or_waiting=or_waiting, timeout=timeout)

    async def result(self, *, timeout: float = 3600.0) -> object:  # noqa: ASYNC109
        """See `crewd.RunHandle.result`."""
        await self._crew.wait(self.id, timeout=timeout)
        shown = await self._crew.show(self.id)
        return shapes.result_of(shown.run, shown.tasks)
