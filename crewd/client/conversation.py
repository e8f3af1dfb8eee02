"""A client's side of the protocol without a socket: requests out, replies in, subscriptions, and a new start after a restart.

Rule: while anything is waited for, the client says hello now and then. A `Welcome` of another incarnation means that crewd
was restarted: everything open is asked again, with the same ids, and feeds go on after the last event seen. Also without
one it is asked again every few hellos, for a connection that breaks loses what is in flight and nobody says so. What met a part
of crewd that was restarting is asked again at once, and then with the next hello.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from crewd.model.errors import PeerError, UsageError
from crewd.model.rights import Role
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

if TYPE_CHECKING:
    from crewd.model.errors import ErrorInfo
    from crewd.model.ids import IdSource

HELLO = "hello"
HELLO_SECONDS = 1.0
"""Between two hellos while something is waited for."""
AGAIN_BEATS = 5
"""Everything open is asked again with every so many hellos. All requests may be repeated: they carry ids."""
AT_ONCE_MAX = 3
"""So often is a request that met a restarting part asked again at once: most are back by then."""
CREDIT = rq.CREDIT_DEFAULT
"""Events of a subscription that may be on the way or unread here: more stay with crewd until some were read."""
NOTES_MAX = 2 * CREDIT
"""Notes of a subscription that nobody has read: then samples of progress are dropped. Events stay within their credit."""


_TYPES = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "True or False", "array": "a list",
    "object": "a dict", "null": "None",
}  # fmt: skip
_WRONG = re.compile(r"is wrong: (?P<said>.*?) - at `\$\.?(?P<path>[^`]*)`$")


def _as_usage(error: PeerError) -> UsageError:
    """What is wrong with a request of our own, in the words of who has made it."""
    found = _WRONG.search(error.message)
    if found is None:
        return UsageError(f"this cannot be asked for: {error.message}", hint=error.hint)
    said = re.sub(r"`(\w+)`", lambda each: _TYPES.get(each[1], each[1]), found["said"])
    said = said[0].lower() + said[1:].replace("enum value", "value")
    name = found["path"].removesuffix("[...]").rpartition(".")[2]
    return UsageError(f"{name} cannot be used: {said}", hint=f"it stands at {found['path']}")


class Conversation:
    """Frames out through `outbox`, frames in through `feed`."""

    def __init__(self, name: str, key: str, software: str, ids: IdSource, *, wish: int = Role.ADMIN) -> None:
        if wish not in tuple(Role):
            roles = ", ".join(f"{role.name.lower()} {role}" for role in Role)
            raise UsageError(f"wish is {wish!r}, which is no role", hint=f"crewd.Role or its number: {roles}")
        self._hello = rq.Hello(owner=name, software=software, wish=wish, key=key)
        self._ids = ids
        self._beats = 0
        self.incarnation = ""
        self.owner = ""
        self.draining = False
        self.software = ""
        """The version of the crewd that answers."""
        self.open: dict[str, rq.Request] = {}
        self.replies: dict[str, rl.Reply] = {}
        self.notes: dict[str, deque[rl.EventNote | rl.ProgressNote]] = {}
        self._read: dict[str, tuple[int, int]] = {}
        self.since: dict[str, int] = {}
        """For a subscription: the last event that crewd had when it began."""
        self._soon: set[str] = set()
        self._tries: dict[str, int] = {}

    def hello(self) -> list[bytes]:
        """The frames that say who is here."""
        return codec.requests.encode(HELLO, self._hello)

    def beat(self) -> list[list[bytes]]:
        """What a client that waits says every `HELLO_SECONDS`."""
        self._beats += 1
        soon, self._soon = self._soon, set()
        if self._beats % AGAIN_BEATS == 0:
            return [self.hello(), *self._again()]
        return [self.hello(), *(codec.requests.encode(key, self.open[key]) for key in soon if key in self.open)]

    def _again(self) -> list[list[bytes]]:
        again = [codec.requests.encode(key, request) for key, request in self.open.items()]
        return [*again, *(self._credit(key) for key in self._read)]

    def ask(self, request: rq.Request) -> tuple[str, list[bytes]]:
        """A new request: its id and frames. It stays open until `take` or `forget`.

        Raises UsageError for one that crewd could not read.
        """
        key = self._ids.next("x")
        try:
            frames = codec.requests.encode(key, request)
            codec.requests.decode(frames)
        except PeerError as error:
            raise _as_usage(error) from None
        self.open[key] = request
        if isinstance(request, rq.Subscribe):
            self.notes[key] = deque()
        return key, frames

    def feed(self, frames: Sequence[bytes]) -> list[list[bytes]]:
        """Take a message in; what must be sent because of it."""
        try:
            parcel = codec.replies.decode(frames)
        except PeerError as error:
            self._not_read(frames, error)
            return []
        key, reply = parcel.id, parcel.body
        if key == HELLO:
            return self._welcome(reply)
        if key not in self.open:
            return []
        if isinstance(reply, rl.EventNote | rl.ProgressNote):
            return self._note(key, reply)
        if isinstance(reply, rl.ErrorReply) and _unknown(reply.error):
            return [self.hello(), codec.requests.encode(key, self.open[key])]
        if isinstance(reply, rl.ErrorReply) and _passing(reply.error):
            tries = self._tries[key] = self._tries.get(key, 0) + 1
            if tries <= AT_ONCE_MAX:
                return [codec.requests.encode(key, self.open[key])]
            self._soon.add(key)
            return []
        self.replies[key] = self._explained(reply)
        if isinstance(reply, rl.Subscribed):
            self.since.setdefault(key, reply.seq)
        else:
            del self.open[key]
        return []

    def _not_read(self, frames: Sequence[bytes], error: PeerError) -> None:
        """An answer that cannot be read is from a newer crewd, or not from crewd. It becomes an error for its caller."""
        key = frames[2].decode("ascii", "replace") if len(frames) > 2 else ""
        if key in self.open and key not in self.notes:
            said = PeerError(f"what crewd has answered cannot be read here: {error.message}", hint=error.hint)
            self.replies[key] = self._explained(rl.ErrorReply(error=said.info))
            del self.open[key]

    def _welcome(self, reply: rl.Reply) -> list[list[bytes]]:
        if not isinstance(reply, rl.Welcome):
            return []
        again = self.incarnation not in {"", reply.incarnation}
        self.incarnation, self.owner, self.draining = reply.incarnation, reply.owner, reply.draining
        self.software = reply.software
        return self._again() if again else []

    def _explained(self, reply: rl.Reply) -> rl.Reply:
        """The reply; one that says that crewd does not understand this client says why, if they are of two versions."""
        if not isinstance(reply, rl.ErrorReply) or reply.error.code not in {"malformed", "unknown_kind"}:
            return reply
        mine = self._hello.software.rpartition("/")[2]
        if self.software in {"", mine}:
            return reply
        hint = f"crewd is {self.software}, and this client {mine}: crew daemon stop, and start it again"
        return rl.ErrorReply(error=msgspec.structs.replace(reply.error, hint=hint), receipt=reply.receipt)

    def _note(self, key: str, note: rl.EventNote | rl.ProgressNote) -> list[list[bytes]]:
        feed = self.notes.get(key)
        request = self.open[key]
        if feed is None or not isinstance(request, rq.Subscribe):
            return []
        if isinstance(note, rl.EventNote):
            if note.event.seq <= request.after:
                return []
            if note.previous > request.after:
                return [codec.requests.encode(key, request)]  # what came before it was lost with a connection
            self.open[key] = msgspec.structs.replace(request, after=note.event.seq)
        if isinstance(note, rl.EventNote) or len(feed) < NOTES_MAX:
            feed.append(note)
        return []

    def read(self, key: str, seq: int) -> list[list[bytes]]:
        """The event with this seq was dealt with; what must be sent because of it."""
        request = self.open.get(key)
        if not isinstance(request, rq.Subscribe) or not request.credit:
            return []
        count = self._read.get(key, (0, 0))[1] + 1
        self._read[key] = (seq, count)
        return [self._credit(key)] if count % max(1, request.credit // 2) == 0 else []

    def _credit(self, key: str) -> list[bytes]:
        return codec.requests.encode(self._ids.next("x"), rq.Credit(id=key, upto=self._read[key][0]))

    def take(self, key: str) -> rl.Reply | None:
        """The reply, if it is there."""
        self._tries.pop(key, None)
        return self.replies.pop(key, None)

    def forget(self, key: str) -> None:
        """Nobody waits for this any more."""
        self.open.pop(key, None)
        self.replies.pop(key, None)
        self.notes.pop(key, None)
        self._read.pop(key, None)
        self._tries.pop(key, None)
        self.since.pop(key, None)
        self._soon.discard(key)


def _unknown(error: ErrorInfo) -> bool:
    """Whether crewd does not know this connection; an older crewd said `not_permitted` then."""
    return error.code == "not_permitted" or (error.code == "unavailable" and error.values.get("say") == "hello")


def _passing(error: ErrorInfo) -> bool:
    """Whether the same request may be answered a moment later, because a part of crewd is just restarting."""
    return error.code == "unavailable" and error.values.get("say") == "again"
