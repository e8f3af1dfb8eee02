"""The async twin of the blocking client: the same calls, awaited. One connection, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import zmq
import zmq.asyncio

import crewd
from crewd.client import calls, event_pages, shapes
from crewd.client.blocking import GONE_SECONDS, HELLO_TIMEOUT_SECONDS, dealer, hang_up
from crewd.client.calls import REPLY_SECONDS, SILENCE_SECONDS
from crewd.client.conversation import HELLO_SECONDS, Conversation
from crewd.client.discover import LOOK_SECONDS, START_SECONDS, check_home, find_home, may_start, start_daemon, unreachable
from crewd.client.keys import Identity, identity, keys_directory
from crewd.client.methods import Awaited, CrewMethods, RunMethods
from crewd.client.outbox import Entry, Outbox, sent_again, unanswered
from crewd.client.place import Place
from crewd.client.reading import feed
from crewd.clock import SystemChance, SystemClock
from crewd.model.arguments import PathText, checked
from crewd.model.errors import CrewdError, DaemonUnreachable, DeadlineExceeded, UsageError
from crewd.model.events import Event
from crewd.model.home import Home
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.receipts import Receipt
from crewd.model.rights import Role
from crewd.model.rows import Progress, RunRow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

T = TypeVar("T")


class Connecting:
    """A client that is about to be connected: `await` it, or use it in `async with`, which closes it at its end."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Crew]]) -> None:
        self._connect = connect
        self._crew: Crew | None = None

    def __await__(self) -> Generator[Any, None, Crew]:
        return self._connect().__await__()

    async def __aenter__(self) -> Crew:
        self._crew = await self._connect()
        return self._crew

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crew is not None:
            await self._crew.close()


@checked
def connect(
    home: PathText | None = None,
    *,
    start: bool | None = None,
    name: str = "",
    wish: int = Role.ADMIN,
    keys: PathText | None = None,
) -> Connecting:
    """See `crewd.connect`: `async with crewd.aio.connect() as crew`, or `crew = await crewd.aio.connect()`."""
    return Connecting(lambda: _connect(home, start, name, wish, keys))


async def _connect(home: PathText | None, start: bool | None, name: str, wish: int, keys: PathText | None) -> Crew:  # noqa: FBT001
    found = find_home(home)
    check_home(found)
    crew = Crew(found, identity(name, keys), wish, keys)
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


class Crew(CrewMethods, Awaited["RunHandle"]):
    """What crewd can be asked, awaited. Use it as an async context manager, or `close` it. See `crewd.Crew`."""

    def __init__(self, home: Home, who: Identity, wish: int = Role.ADMIN, keys: PathText | None = None) -> None:
        self.home = home
        self._keys = keys_directory(keys)
        self._name = who[0]
        self._clock = SystemClock()
        self.ids = IdSource(self._clock, SystemChance())
        self._talk = Conversation(*who, f"crewd-python/{crewd.__version__}", self.ids, wish=wish)
        self._context = zmq.asyncio.Context()
        self._sockets = [dealer(self._context, home)]
        self._place = Place()
        self._hang_up = weakref.finalize(self, hang_up, self._place, self._sockets, self._context)
        self._hang_up.atexit = False  # the system does it
        self._loop = asyncio.get_running_loop()
        self._silent_seconds = 0.0
        self._news = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._greet_often())]

    def _drop_unsent(self) -> None:
        """Connect again. ZeroMQ would keep the requests of the old socket, and give them to the next crewd."""
        for task in self._tasks:
            task.cancel()
        self._sockets[0].close(0)
        self._sockets[0] = dealer(self._context, self.home)
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._greet_often())]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; runs go on."""
        usable = self._place.usable
        self._hang_up()
        if not usable:
            return
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with self._news:
            self._news.notify_all()  # calls that wait for an answer raise UsageError

    async def _send(self, frames: list[bytes]) -> None:
        await self._sockets[0].send_multipart(frames)

    async def _hear(self) -> None:
        while True:
            frames = await self._sockets[0].recv_multipart()
            self._silent_seconds = 0.0
            for answer in feed(self._talk, frames):
                await self._send(answer)
            async with self._news:
                self._news.notify_all()

    async def _greet_often(self) -> None:
        while True:
            for frames in self._talk.beat():
                await self._send(frames)
            pause = HELLO_SECONDS if self._talk.incarnation else 0.2
            await asyncio.sleep(pause)
            self._silent_seconds += pause  # while the event loop was held up, nobody could be heard: that does not count
            async with self._news:
                self._news.notify_all()  # whoever waits looks whether anybody is there

    async def greet(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound on what is answered, not on the call)
        """Whether somebody answers in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: self._talk.incarnation)
        return bool(self._talk.incarnation)

    def _check_alive(self, silence: float) -> None:
        """Somebody answers a hello every second; DaemonUnreachable when nobody has for so many seconds."""
        if self._silent_seconds > silence:
            raise unreachable(self.home)

    def _check_place(self) -> None:
        self._place.check()
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("this client belongs to another event loop", hint="connect another one in this one")

    async def _ask(self, request: rq.Request, seconds: float, silence: float) -> rl.Reply:
        self._check_place()
        key, frames = self._talk.ask(request)
        self._silent_seconds = 0.0
        try:
            await self._send(frames)
            async with asyncio.timeout(seconds), self._news:
                while key not in self._talk.replies:
                    await self._news.wait()
                    self._check_place()
                    self._check_alive(silence)
            return self._talk.replies[key]
        except TimeoutError:
            raise DeadlineExceeded(f"crewd has not answered for {seconds:g} s", hint="crew daemon status") from None
        finally:
            answered = key in self._talk.replies
            self._talk.forget(key)
            if not answered and self._silent_seconds > min(silence, GONE_SECONDS) and self._place.usable:
                self._drop_unsent()

    async def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""
        try:
            ask = next(call)
            while True:
                ask = call.send(await self._ask(*ask))
        except StopIteration as over:
            value: T = over.value
            return value

    def handle(self, row: RunRow) -> RunHandle:
        """See `crewd.Crew.handle`."""
        return RunHandle(self, row)

    @property
    def draining(self) -> bool:
        """Whether crewd takes no new work, and stops when what is live has ended."""
        return self._talk.draining

    @property
    def owner(self) -> str:
        """Who crewd takes this client for: what it starts belongs to this owner."""
        return self._talk.owner

    def new_message_id(self) -> str:
        """An id for a message that may be sent more than once."""
        return self.ids.next(MESSAGE)

    def new_upload_id(self) -> str:
        """An id for a file that is to be imported."""
        return self.ids.next("x")

    @contextlib.asynccontextmanager
    async def send_once(self, request: rq.Send) -> AsyncIterator[Receipt]:
        """See `crewd.Crew.send_once`."""
        with self.outbox.keep(request) as key:
            reply = await self.request(msgspec.structs.replace(request, id=key), request.timeout_seconds + REPLY_SECONDS)
            yield shapes.expect(reply, rl.ReceiptReply).receipt

    @property
    def outbox(self) -> Outbox:
        """What this client has sent and nobody has answered."""
        return Outbox(self._keys, self._name, self.home.key, self.ids, self._clock.wall())

    async def send_left(self) -> AsyncIterator[tuple[Entry, Receipt | CrewdError]]:
        """See `crewd.Crew.send_left`."""
        outbox = self.outbox
        for entry in outbox.left():
            try:
                reply = await self.request(sent_again(entry))
                answer: Receipt | CrewdError = shapes.expect(reply, rl.ReceiptReply).receipt
            except DaemonUnreachable:
                raise
            except CrewdError as error:
                answer = error
            if not (isinstance(answer, CrewdError) and unanswered(answer)):
                outbox.forget(entry.id)
            yield entry, answer

    @checked
    async def events(
        self, target: str = "", *, after: int = 0, follow: bool = False, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None, last: int = 0, epoch: int = 0, since: float = 0.0, until: float = 0.0,
    ) -> AsyncIterator[Event]:  # fmt: skip
        """See `crewd.Crew.events`."""
        event_pages.check_followed(follow=follow, last=last, epoch=epoch, since=since, until=until)
        if follow:
            async for note in self.watch(target, after=after, progress=False, types=types, labels=labels):
                if isinstance(note, Event):
                    yield note
            return
        pages = event_pages.Pages(target, after, types, labels, last, epoch, since, until)
        while not pages.over:
            for event in pages.hear(await self.request(pages.ask())):
                yield event

    @checked
    async def watch(
        self, target: str = "", *, after: int = 0, progress: bool = True, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event | Progress]:  # fmt: skip
        """See `crewd.Crew.watch`."""
        watch = shapes.Watched(target, types, labels)
        self._check_place()
        if target and after and await self.drive(event_pages.has_ended(target, watch.last, after)):
            return
        key, frames = self._talk.ask(watch.request(after, progress=progress))
        self._silent_seconds = 0.0
        try:
            await self._send(frames)
            while True:
                async with self._news:
                    while not (self._talk.notes[key] or key in self._talk.replies):
                        await self._news.wait()
                        self._check_place()
                        self._check_alive(SILENCE_SECONDS)
                reply = self._talk.take(key)
                if reply is not None:
                    shapes.expect(reply, rl.Subscribed)
                while self._talk.notes[key]:
                    note = self._talk.notes[key].popleft()
                    if watch.shows(note):
                        yield note.event if isinstance(note, rl.EventNote) else note.progress
                    for each in self._talk.read(key, note.event.seq) if isinstance(note, rl.EventNote) else ():
                        await self._send(each)
                    at = watch.ends(note, self._talk.since.get(key, 0))
                    if at is not None and (not at or at == await self.drive(event_pages.ended_at(target))):
                        return
        finally:
            self._talk.forget(key)
            if self._place.usable:
                _, end = self._talk.ask(rq.Unsubscribe(id=key))
                await self._send(end)


class RunHandle(RunMethods, Awaited["RunHandle"]):
    """A run, awaited. See `crewd.RunHandle`."""

    def __init__(self, crew: Crew, row: RunRow) -> None:
        self._crew = crew
        self.id = row.id
        self.name = row.name

    def __repr__(self) -> str:
        return f"<run {self.name} {self.id}>"

    @property
    def caller(self) -> Crew:
        """The client that this handle speaks through."""
        return self._crew

    async def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""
        return await self._crew.drive(call)

    def events(self, *, after: int = 0, follow: bool = False, types: Sequence[str] = ()) -> AsyncIterator[Event]:
        """Its events. See `crewd.Crew.events`."""
        return self._crew.events(self.id, after=after, follow=follow, types=types)

    def watch(self, *, after: int = 0, progress: bool = True) -> AsyncIterator[Event | Progress]:
        """Its events and progress as they happen, until it has ended. See `crewd.Crew.watch`."""
        return self._crew.watch(self.id, after=after, progress=progress)
