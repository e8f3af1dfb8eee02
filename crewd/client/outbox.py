"""A client's own outbox: a message is stored with its id before it is sent, and deleted when crewd has answered.

A client that was killed in between, or found no crewd, and sends the same message again finds the id, and crewd takes the
message once (Lazy Pirate with ids). Or it sends all that is left. Two processes that live at the same time and send the same
message mean two messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from crewd.client.texts import not_utf8
from crewd.model.errors import Busy, CrewdError, DeadlineExceeded, StoreUnavailable, Unavailable, UsageError
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.receipts import Level
from crewd.protocol.requests import Send

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_SECONDS = 86_400.0
"""A message that was written down longer ago is another one when it is sent again."""


_in_use: set[str] = set()
"""Messages that this process is sending."""


class Entry(msgspec.Struct, frozen=True):
    """A message that may or may not have been accepted: its id, when it was written down, and by which process."""

    id: str
    at: float
    pid: int
    started: float
    send: Send


class Held(NamedTuple):
    """An entry that this process uses."""

    id: str
    path: Path


class Outbox:
    """The messages of one client to one home, beside its key in the directory `keys`. `wall` is the time now."""

    def __init__(self, keys: Path, name: str, home_key: str, ids: IdSource, wall: float) -> None:
        self._directory = keys / ".outbox" / name / home_key
        self._ids = ids
        self._wall = wall

    @contextlib.contextmanager
    def keep(self, send: Send) -> Iterator[str]:
        """The id under which to send this message (its own is left out).

        Forgotten at the end, if crewd has answered: with a receipt, or with a word on what is wrong with it. Raises UsageError
        for what is no message, or has a text that is not UTF-8.
        """
        if not isinstance(send, Send):
            raise UsageError(f"{send!r} is no message", hint="crewd.Send(target=…, kind='steer', text=…)")
        try:
            send.text.encode()
        except UnicodeEncodeError as error:
            raise not_utf8("the text", error) from None
        held = self._take(msgspec.structs.replace(send, id="", timeout_seconds=0.0))
        try:
            yield held.id
        except BaseException as error:
            if isinstance(error, CrewdError) and not unanswered(error):
                held.path.unlink(missing_ok=True)
            raise
        else:
            held.path.unlink(missing_ok=True)
        finally:
            _in_use.discard(held.id)

    def left(self) -> list[Entry]:
        """Messages of processes that are gone, oldest first: nobody knows whether they were accepted."""
        found = [entry for path in self._directory.glob("*-*") if (entry := _read(path)) is not None and not _lives(entry)]
        return sorted(found, key=lambda entry: (entry.at, entry.id))

    def forget(self, key: str) -> bool:
        """Take the message with this id out; False if it is not there."""
        paths = [path for path in self._directory.glob("*-*") if (entry := _read(path)) is not None and entry.id == key]
        for path in paths:
            path.unlink(missing_ok=True)
        return bool(paths)

    def _take(self, content: Send) -> Held:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]
        for path in sorted(self._directory.glob(f"{digest}-*")):
            entry = _read(path)
            if entry is None or self._wall - entry.at > KEPT_SECONDS:
                path.unlink(missing_ok=True)
            elif not _lives(entry):
                mine = self._directory / f"{digest}-{os.getpid()}-{entry.id}"
                with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                    path.rename(mine)
                    self._write(mine, entry.id, content)
                    return Held(entry.id, mine)
        key = self._ids.next(MESSAGE)
        held = Held(key, self._directory / f"{digest}-{os.getpid()}-{key}")
        self._write(held.path, held.id, content)
        return held

    def _write(self, path: Path, key: str, content: Send) -> None:
        _in_use.add(key)
        entry = Entry(key, self._wall, os.getpid(), _started(os.getpid()), content)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(entry))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def unanswered(error: CrewdError) -> bool:
    """Whether crewd may have the message or may take it later: then it is kept, to be sent again with its id."""
    late = isinstance(error, DeadlineExceeded) and getattr(error, "receipt", None) is None
    return late or isinstance(error, Unavailable | StoreUnavailable | Busy)


def _read(path: Path) -> Entry | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except (OSError, msgspec.DecodeError):
        return None


def _lives(entry: Entry) -> bool:
    if entry.pid == os.getpid():
        return entry.id in _in_use
    return _started(entry.pid) == entry.started


def _started(pid: int) -> float:
    """When a process started; 0 if there is none."""
    import psutil  # most commands keep nothing in an outbox

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return 0.0


def sent_again(entry: Entry) -> Send:
    """The message of an entry, as it is sent on later: with its id, and waiting for nothing but its acceptance."""
    return msgspec.structs.replace(entry.send, id=entry.id, wait=Level.ACCEPTED, timeout_seconds=30.0)
