"""What crewd and its guardian say to each other over a unix socket: a stream of MessagePack arrays `[kind, body]`.

The guardian answers only with verified facts. Every order names a worker by task and epoch; one for a worker that the
guardian does not know is answered by `Gone`. Exit records are repeated on every connection until `Confirm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar

import msgpack
import msgspec

from crewd.model.errors import PeerError
from crewd.model.rows import ExitStatus, Survivor
from crewd.protocol.bootstrap import Bootstrap

VERSION = 3
"""Of these frames and those of `files`. A guardian outlives crewd, so each side may be older than the other one."""
STREAM_BYTES_MAX = 8 << 20
"""Unread bytes of one connection; more is a broken peer."""
EXPECTED_MAX = 4
"""Starts that are prepared at once: as many as a burst of orders has while one process is forked."""
T = TypeVar("T")
Cause = Literal["exited", "ended", "spawn_failed", "orphaned", "limit"]
"""Why a worker ended: by itself, by order, it did not start, it was without crewd for too long, or it exceeded a limit."""


class Attach(msgspec.Struct, frozen=True):
    """crewd is here; the guardian tells all it knows and stops the orphan clocks."""

    home_key: str


class Expect(msgspec.Struct, frozen=True):
    """A worker for this task is about to be ordered: prepare what can be prepared. It promises nothing, and is not answered.

    `directory` and `shared` are the bootstrap's, when they are known.
    """

    task: str
    directory: str = ""
    shared: str = ""


class LeaveFile(msgspec.Struct, frozen=True):
    """Write the output file `name` of a step that no worker carries out into `shared`. Not answered.

    With `if_absent` a file that is there stays: it is said again after a restart, and a later step may have changed the file.
    """

    shared: str
    name: str
    data: bytes
    if_absent: bool = False


class Spawn(msgspec.Struct, frozen=True):
    """Start a worker. Answered by `Started` or `Exited` (outcome `spawn_failed`)."""

    bootstrap: Bootstrap


class End(msgspec.Struct, frozen=True):
    """End a worker's tree: wait `grace_seconds` for it to go by itself, TERM, after `term_seconds` KILL, then verify.

    Repeated with other numbers it can only become faster. The guardian finishes it also when crewd dies. `whole`: when the
    first process ends within the grace, the others get TERM, and KILL not before the time that was ordered.
    """

    task: str
    epoch: int
    grace_seconds: float
    term_seconds: float
    whole: bool = False


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to this process, if it is one of the worker's, or (`tree`) to all of the worker's processes.

    Not answered. The worker process that waits for a command gets none of it: a `tree` is what the command has started.
    """

    task: str
    epoch: int
    pid: int
    number: int
    tree: bool = False


class Confirm(msgspec.Struct, frozen=True):
    """The exit of this worker is durable: forget its record."""

    task: str
    epoch: int


class Query(msgspec.Struct, frozen=True):
    """What of this worker? Answered by `Started`, `Exited` or `Gone`; nothing if it is being started.

    `number` comes back in a `Gone`: one that answers an older question says nothing about a spawn ordered after it.
    """

    task: str
    epoch: int
    number: int = 0


class Ping(msgspec.Struct, frozen=True):
    """Are you there? Answered by `Pong`."""


class Retire(msgspec.Struct, frozen=True):
    """End every worker quickly, then the guardian itself."""


class Started(msgspec.Struct, frozen=True):
    """The worker's process exists (`adopted`: found alive by a new guardian)."""

    task: str
    epoch: int
    pid: int
    start_time: float
    boot_id: str
    adopted: bool = False


class Exited(msgspec.Struct, frozen=True):
    """Nothing of the worker is left, or `survivors` names what is. `exit.code` is None if nobody could wait for it.

    `tail` is the end of what it wrote to standard error. `transient`: a start that failed may succeed when it is tried again.
    `unsent_reports` are reports (MessagePack, `list[Report]`) that the worker could not deliver, and left in its directory.
    """

    task: str
    epoch: int
    cause: Cause = "exited"
    error: str = ""
    exit: ExitStatus = ExitStatus()
    survivors: tuple[Survivor, ...] = ()
    unsent_reports: bytes = b""
    tail: str = ""
    transient: bool = False


class Used(msgspec.Struct, frozen=True):
    """What a living worker's process tree uses now; `output_bytes` is all that it has ever written to its two files."""

    task: str
    epoch: int
    memory_bytes: int
    cpu_seconds: float
    processes: int
    output_bytes: int


class Gone(msgspec.Struct, frozen=True):
    """The guardian knows no such worker and, on this machine, no process carries its marker.

    `number` is the `Query`'s; None answers an `End`. `unborn`: no order to start it was ever carried out, not even in part.
    """

    task: str
    epoch: int
    number: int | None = None
    unborn: bool = False


class Pong(msgspec.Struct, frozen=True):
    """The guardian is there. `zygote` is the process that workers are forked from, 0 if there is none.

    `silent_seconds` is for how long that one has not answered the guardian; 0 if it does. `memory_available_bytes` is the
    memory that new workers can have; None if it is not known. A guardian also says it unasked: after `Attached` and `Started`.
    """

    zygote: int
    silent_seconds: float = 0.0
    memory_available_bytes: int | None = None


class Examine(msgspec.Struct, frozen=True):
    """What is on the machine? `Examined` answers. Since version 2."""

    number: int


class SeenProcess(msgspec.Struct, frozen=True):
    """A process, and the worker whose marker it bears, if it bears one."""

    pid: int
    command: str
    task: str = ""
    epoch: int = 0


class Examined(msgspec.Struct, frozen=True):
    """Answers `Examine`, whose `number` it bears.

    `marked` processes bear the marker of a worker of this home; those that are `left` bear one of a worker that is over.
    `unowned` came from workers, nobody can say from which. `lacks` says in words what the platform cannot give.
    """

    number: int
    marked: int = 0
    left: tuple[SeenProcess, ...] = ()
    unowned: tuple[SeenProcess, ...] = ()
    lacks: tuple[str, ...] = ()
    pid_max: int = 0
    memory_available_bytes: int = 0


class Attached(msgspec.Struct, frozen=True):
    """The end of what the guardian had to tell: every live worker and every unconfirmed exit came before it.

    `version` is `VERSION` of the program that the guardian runs; 0 is one that knows neither `Expect`, `LeaveFile` nor `Ping`.
    `made_as` says with which release of crewd and which settings it was started.
    """

    pid: int
    workers: int
    cgroup: str = ""
    version: int = 0
    made_as: str = ""


Order = Attach | Expect | LeaveFile | Spawn | End | Signal | Confirm | Query | Ping | Examine | Retire
Notice = Started | Exited | Used | Gone | Pong | Examined | Attached
ORDERS: dict[str, type[Order]] = {
    "attach": Attach,
    "expect": Expect,
    "leave_file": LeaveFile,
    "spawn": Spawn,
    "end": End,
    "signal": Signal,
    "confirm": Confirm,
    "query": Query,
    "ping": Ping,
    "examine": Examine,
    "retire": Retire,
}
NOTICES: dict[str, type[Notice]] = {
    "started": Started,
    "exited": Exited,
    "used": Used,
    "gone": Gone,
    "pong": Pong,
    "examined": Examined,
    "attached": Attached,
}


def pack(value: object) -> bytes:
    """MessagePack bytes of plain values. Texts may have lone surrogates, as names of files that are no UTF-8 have."""
    return bytes(msgpack.packb(value, unicode_errors="surrogatepass") or b"")


def unpack(data: bytes) -> Any:
    """What was packed. Raises ValueError if it is not whole."""
    return msgpack.unpackb(data, unicode_errors="surrogatepass")


class StreamCodec(Generic[T]):
    """Turns values into bytes of a stream and chunks of a stream into values. One per connection and direction."""

    def __init__(self, kinds: dict[str, type[T]]) -> None:
        self._decoders = {kind: msgspec.msgpack.Decoder(body) for kind, body in kinds.items()}
        self._names = {body: kind for kind, body in kinds.items()}
        self._framer = msgpack.Unpacker(max_buffer_size=STREAM_BYTES_MAX)
        self._unread = bytearray()
        self._read = 0

    def encode(self, body: T) -> bytes:
        """The bytes of one value."""
        return msgspec.msgpack.encode((self._names[type(body)], body))

    def feed(self, chunk: bytes) -> Iterator[T]:
        """The values that `chunk` completes. Raises PeerError on anything that is not one."""
        try:
            self._framer.feed(chunk)
            self._unread += chunk
            while self._unread:
                try:
                    self._framer.skip()
                except msgpack.OutOfData:
                    return
                end = self._framer.tell()
                kind, body = _ITEMS.decode(self._unread[: end - self._read])
                del self._unread[: end - self._read]
                self._read = end
                yield self._decoders[kind].decode(body)
        except (ValueError, TypeError, KeyError, msgpack.UnpackException, msgspec.MsgspecError) as error:
            raise PeerError(f"the guardian's stream is broken: {error!r}") from None


_ITEMS = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
