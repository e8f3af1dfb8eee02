"""The guardian's connection to crewd: one at a time, from a process of the same user, orders in and notices out.

Tests: tests/testing/world/test_ports.py, tests/hostile/test_hangs.py.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from crewd.guardian import processes
from crewd.model.errors import PeerError
from crewd.private_files import ASIDE, file_at
from crewd.protocol import guardian as gd

_log = logging.getLogger("crewd.guardian")


class Listener:
    """A unix socket of this user's, at a path, in the place of whatever was there. `accepted` is given each connection."""

    def __init__(self, selector: selectors.BaseSelector, path: Path, accepted: Callable[[socket.socket], None]) -> None:
        self._selector = selector
        self._path = path
        self._accepted = accepted
        self._socket: socket.socket | None = None
        self._file: tuple[int, int] | None = None
        self.listen()

    @property
    def is_there(self) -> bool:
        """Whether who connects to the path comes here: its file may have been removed, or be another's."""
        return self._file is not None and file_at(self._path) == self._file

    def listen(self) -> None:
        """Listen there, again if it was removed."""
        self._leave()
        self._socket = listening = _listening(self._path)
        self._file = file_at(self._path)
        self._selector.register(listening, selectors.EVENT_READ, lambda: self._accept(listening))

    def close(self) -> None:
        """Listen no more. The file goes, if it is still this one's."""
        if self.is_there:
            self._path.unlink(missing_ok=True)
        self._leave()

    def _leave(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._file = None, None

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        if _same_user(connection):
            connection.setblocking(False)
            self._accepted(connection)
        else:
            connection.close()


class CrewdConnection:
    """A new connection takes the place of the one before; `on_hang_up` is called when one is over."""

    def __init__(
        self, selector: selectors.BaseSelector, on_order: Callable[[gd.Order], None], on_hang_up: Callable[[], None]
    ) -> None:
        self._selector = selector
        self._on_order = on_order
        self._on_hang_up = on_hang_up
        self._socket: socket.socket | None = None
        self._orders: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
        self._notices: gd.StreamCodec[gd.Notice] = gd.StreamCodec(gd.NOTICES)
        self._out = bytearray()

    @property
    def stands(self) -> bool:
        """Whether crewd is there."""
        return self._socket is not None

    @property
    def has_more_to_say(self) -> bool:
        """Whether crewd has not yet taken all that it was told."""
        return bool(self._out)

    def tell(self, notice: gd.Notice) -> None:
        """Say something to crewd; nothing, if it is not there."""
        if self._socket is not None:
            self._out += self._notices.encode(notice)
            self._flush()

    def accepted(self, connection: socket.socket) -> None:
        """Talk to this one from now on."""
        self._hang_up()
        self._socket = connection
        self._orders = gd.StreamCodec(gd.ORDERS)
        self._selector.register(connection, selectors.EVENT_READ, self._talk)

    def _hang_up(self) -> None:
        if self._socket is None:
            return
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket, self._out = None, bytearray()
        self._on_hang_up()

    def _talk(self) -> None:
        self._flush()
        if self._socket is None:
            return
        try:
            chunk = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._hang_up()
            return
        try:
            for order in self._orders.feed(chunk):
                self._on_order(order)
        except PeerError as error:
            _log.warning("what crewd says is not understood: %s", error)
            self._hang_up()

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                sent = self._socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._socket, wanted, self._talk)


def _listening(path: Path) -> socket.socket:
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        path.rename(path.with_name(f"{path.name}{ASIDE}"))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(4)
    listening.setblocking(False)
    return listening


def _same_user(connection: socket.socket) -> bool:
    """Whether a process of this user is at the other end."""
    if not processes.LINUX:
        return True  # the directory is 0700
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", raw)[1] == os.getuid())
