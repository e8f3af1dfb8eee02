"""The blocking Python client. One connection, for one thread.

Tests: tests/client/test_api.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import zmq

import crewd
from crewd.client import calls, event_pages, shapes
from crewd.client.calls import REPLY_SECONDS, SILENCE_SECONDS
from crewd.client.conversation import HELLO_SECONDS, Conversation
from crewd.client.discover import LOOK_SECONDS, START_SECONDS, check_home, find_home, may_start, start_daemon, unreachable
from crewd.client.keys import Identity, identity, keys_directory
from crewd.client.methods import Blocking, CrewMethods, RunMethods
from crewd.client.outbox import Entry, Outbox, sent_again, unanswered
from crewd.client.place import Place
from crewd.client.reading import feed
from crewd.clock import SystemChance, SystemClock
from crewd.model.arguments import PathText, checked
from crewd.model.errors import CrewdError, DaemonUnreachable, DeadlineExceeded
from crewd.model.events import Event
from crewd.model.home import Home
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.limits import FRAME_BYTES_MAX
from crewd.model.receipts import Receipt
from crewd.model.rights import Role
from crewd.model.rows import Progress, RunRow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

GONE_SECONDS = 3 * HELLO_SECONDS
"""A crewd that has not answered several hellos is gone. The next crewd must not get the requests that were sent to it."""
HELLO_TIMEOUT_SECONDS = 2.0
"""Without a word from crewd, also not to a hello: long enough for a restart, short enough for a person."""


class Connection:
    """A DEALER and a conversation."""

    def __init__(self, home: Home, who: Identity, wish: int = Role.ADMIN, keys: PathText | None = None) -> None:
        self.home = home
        self.keys = keys_directory(keys)
        self.clock = SystemClock()
        self.ids = IdSource(self.clock, SystemChance())
        self.name = who[0]
        self.talk = Conversation(*who, f"crewd-python/{crewd.__version__}", self.ids, wish=wish)
        self._context = zmq.Context()
        self._sockets = [dealer(self._context, home)]
        self._place = Place()
        self._hang_up = weakref.finalize(self, hang_up, self._place, self._sockets, self._context)
        self._hang_up.atexit = False  # the system does it
        self._next_hello = 0.0
        self._heard_at = self.clock.monotonic()

    def _drop_unsent(self) -> None:
        """Connect again. ZeroMQ would keep the requests of the old socket, and give them to the next crewd."""
        self._sockets[0].close(0)
        self._sockets[0] = dealer(self._context, self.home)

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
        if self._sockets[0].poll(int(wait * 1000) + 1 if wait > 0 else 0):
            self._heard_at = self.clock.monotonic()
            while self._sockets[0].poll(0):
                for frames in feed(self.talk, self._sockets[0].recv_multipart()):
                    self._send(frames)

    def _send(self, frames: list[bytes]) -> None:
        try:
            self._sockets[0].send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return  # crewd does not read: the next hello finds out

    def request(self, request: rq.Request, timeout: float = REPLY_SECONDS, silence: float = SILENCE_SECONDS) -> rl.Reply:
        """Send and wait. Survives a restart of crewd; DeadlineExceeded if `timeout` seconds bring no reply.

        UsageError if it is closed, if another thread is using it, or in a fork of the process that has connected it.
        """
        with self._place.use():
            return self._answer(request, timeout, silence)

    def _answer(self, request: rq.Request, timeout: float, silence: float) -> rl.Reply:
        key, frames = self.talk.ask(request)
        self._heard_at = self.clock.monotonic()
        deadline = self.clock.monotonic() + timeout
        self._send(frames)
        answered = False
        try:
            while True:
                reply = self.talk.take(key)
                if reply is not None:
                    answered = True
                    return reply
                left = deadline - self.clock.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(f"crewd has not answered for {timeout:g} s", hint="crew daemon status")
                self.pump(left)
                self._place.check()
                self._check_alive(silence)
        finally:
            self.talk.forget(key)  # nobody waits for it any more, so it is not asked again
            if not answered and self.clock.monotonic() - self._heard_at > min(silence, GONE_SECONDS) and self._place.usable:
                self._drop_unsent()

    def _check_alive(self, silence: float) -> None:
        """Somebody answers a hello every second; DaemonUnreachable when nobody has for so many seconds."""
        if self.clock.monotonic() - self._heard_at > silence:
            raise unreachable(self.home)

    def subscribe(self, request: rq.Subscribe) -> Generator[tuple[rl.EventNote | rl.ProgressNote, int], None, None]:
        """Notes as they come, for ever, with the last event that crewd had when the subscription began.

        Close the iterator to end the subscription.
        """
        with self._place.use():
            key, frames = self.talk.ask(request)
            self._send(frames)
        try:
            while True:
                notes = self.talk.notes[key]
                while notes:
                    note = notes.popleft()
                    yield note, self.talk.since.get(key, 0)
                    with self._place.use():
                        for frames in self.talk.read(key, note.event.seq) if isinstance(note, rl.EventNote) else ():
                            self._send(frames)
                reply = self.talk.take(key)
                if isinstance(reply, rl.ErrorReply):
                    shapes.expect(reply, rl.Subscribed)
                with self._place.use():
                    self.pump(HELLO_SECONDS)
                    self._check_alive(SILENCE_SECONDS)
        finally:
            self.talk.forget(key)
            if self._place.usable and not sys.is_finalizing():  # Python ends: modules are gone, and the connection goes, too
                _, end = self.talk.ask(rq.Unsubscribe(id=key))
                self._send(end)

    def close(self) -> None:
        """Hang up."""
        self._hang_up()


S = TypeVar("S", bound="zmq.Socket[Any]")


def dealer(context: zmq.Context[S], home: Home) -> S:
    """A socket that is connected to the crewd of a home, or will be when there is one."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(home.clients_endpoint)
    return socket


def hang_up(place: Place, sockets: Sequence[zmq.Socket[Any]], context: zmq.Context[Any]) -> None:
    """Close a client's only socket and its context.

    A client that is dropped and not closed needs this, too: a context waits for its sockets when it is collected, and does not
    know them any more by then.
    """
    if place.leave():
        with contextlib.suppress(RuntimeError):  # its event loop is closed
            sockets[0].close(0)
        context.destroy(0)


@checked
def connect(
    home: PathText | None = None,
    *,
    start: bool | None = None,
    name: str = "",
    wish: int = Role.ADMIN,
    keys: PathText | None = None,
) -> Crew:
    """A client of the crewd that serves `home`, which is started if it is not running (`start=False` forbids it).

    It is who `name` is (else `CREWD_AS`, else the user), with the key that is kept for it in the directory `keys` (else
    `CREWD_KEYS`, else the platform's), and has the role that it wishes for. Raises DaemonUnreachable if nobody answers.
    """
    found = find_home(home)
    check_home(found)
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


def own_outbox(home: PathText | None = None, *, name: str = "", keys: PathText | None = None) -> Outbox:
    """The outbox of a client, as `connect` would find it; nobody need be there."""
    clock = SystemClock()
    ids = IdSource(clock, SystemChance())
    return Outbox(keys_directory(keys), identity(name, keys)[0], find_home(home).key, ids, clock.wall())


T = TypeVar("T")


class Crew(CrewMethods, Blocking["RunHandle"]):
    """What crewd can be asked. Use it as a context manager, or `close` it. For one thread; see also `crewd.aio.Crew`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; runs go on."""
        self._connection.close()

    def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""
        try:
            ask = next(call)
            while True:
                ask = call.send(self._connection.request(*ask))
        except StopIteration as over:
            value: T = over.value
            return value

    @property
    def home(self) -> Home:
        """The home that is served."""
        return self._connection.home

    @property
    def ids(self) -> IdSource:
        """Where ids of messages and requests come from."""
        return self._connection.ids

    def handle(self, row: RunRow) -> RunHandle:
        """The handle of a run that was found, by `runs` for instance."""
        return RunHandle(self, row)

    @property
    def draining(self) -> bool:
        """Whether crewd takes no new work, and stops when what is live has ended."""
        return self._connection.talk.draining

    @property
    def owner(self) -> str:
        """Who crewd takes this client for: what it starts belongs to this owner."""
        return self._connection.talk.owner

    def new_message_id(self) -> str:
        """An id for a message that may be sent more than once."""
        return self.ids.next(MESSAGE)

    def new_upload_id(self) -> str:
        """An id for a file that is to be imported."""
        return self.ids.next("x")

    @contextlib.contextmanager
    def send_once(self, request: rq.Send) -> Iterator[Receipt]:
        """As `send`, with an id that survives this process: killed at any instant and sent again, it is one message.

        A context manager: its end means that the sender knows of the receipt. After that, the same message is another
        one. The id of `request` is left out.
        """
        with self.outbox.keep(request) as key:
            reply = self.request(msgspec.structs.replace(request, id=key), request.timeout_seconds + REPLY_SECONDS)
            yield shapes.expect(reply, rl.ReceiptReply).receipt

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
            try:
                reply = self.request(sent_again(entry))
                answer: Receipt | CrewdError = shapes.expect(reply, rl.ReceiptReply).receipt
            except DaemonUnreachable:
                raise
            except CrewdError as error:
                answer = error
            if not (isinstance(answer, CrewdError) and unanswered(answer)):
                outbox.forget(entry.id)
            yield entry, answer

    @checked
    def events(
        self, target: str = "", *, after: int = 0, follow: bool = False, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None, last: int = 0, epoch: int = 0, since: float = 0.0, until: float = 0.0,
    ) -> Iterator[Event]:  # fmt: skip
        """Events after `after`. With `follow` it goes on as they happen; for one run, until the run has ended.

        `last`: only so many, the newest. `epoch`: of this attempt of the task. `since`, `until`: of these times, in
        wall-clock seconds. None of them goes with `follow`. `types` and `labels`: see `watch`.
        """
        event_pages.check_followed(follow=follow, last=last, epoch=epoch, since=since, until=until)
        if follow:
            for note in self.watch(target, after=after, progress=False, types=types, labels=labels):
                if isinstance(note, Event):
                    yield note
            return
        pages = event_pages.Pages(target, after, types, labels, last, epoch, since, until)
        while not pages.over:
            yield from pages.hear(self.request(pages.ask()))

    @checked
    def watch(
        self, target: str = "", *, after: int = 0, progress: bool = True, types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Generator[Event | Progress, None, None]:  # fmt: skip
        """Events and progress as they happen; for one run or task, until it has ended.

        `target` is a run or a task; `types` are types (`task.ended`), groups (`task.*`) or kinds (`mailbox_updated`) of
        events, `labels` those that a run must have. A slow reader delays nobody and misses nothing. Close it to end.
        """
        watch = shapes.Watched(target, types, labels)
        if target and after and self.drive(event_pages.has_ended(target, watch.last, after)):
            return
        notes = self._connection.subscribe(watch.request(after, progress=progress))
        with contextlib.closing(notes):
            for note, since in notes:
                if watch.shows(note):
                    yield note.event if isinstance(note, rl.EventNote) else note.progress
                at = watch.ends(note, since)
                if at is not None and (not at or at == self.drive(event_pages.ended_at(target))):
                    return


class RunHandle(RunMethods, Blocking["RunHandle"]):
    """A run: its `id` and `name`, and what can be done with it.

    Methods that speak to a worker take its `step` if the run has several.
    """

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

    def drive(self, call: calls.Call[T]) -> T:
        """Make a call of `crewd.client.calls`: ask what it asks, and return what it returns."""
        return self._crew.drive(call)

    def events(self, *, after: int = 0, follow: bool = False, types: Sequence[str] = ()) -> Iterator[Event]:
        """Its events. See `Crew.events`."""
        return self._crew.events(self.id, after=after, follow=follow, types=types)

    def watch(self, *, after: int = 0, progress: bool = True) -> Generator[Event | Progress, None, None]:
        """Its events and progress as they happen, until it has ended. See `Crew.watch`."""
        return self._crew.watch(self.id, after=after, progress=progress)
