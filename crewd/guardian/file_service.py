"""Answers what crewd asks about files: some connections, one request at a time each.

Tests: tests/supervisor/test_files_link.py, tests/hostile/test_process_games.py.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Iterator

from crewd.model.errors import PeerError
from crewd.protocol import files as fl
from crewd.protocol.guardian import StreamCodec

_log = logging.getLogger("crewd.guardian")
CONNECTIONS_MAX = 8
"""crewd has two or three. One more takes the place of the oldest one."""


class FileService:
    """Answers each request with what `answer` returns."""

    def __init__(self, selector: selectors.BaseSelector, answer: Callable[[fl.FileRequest], fl.FileReply]) -> None:
        self._selector = selector
        self._answer = answer
        self._open: list[_Connection] = []

    def accepted(self, connection: socket.socket) -> None:
        """Answer this one, too."""
        if len(self._open) >= CONNECTIONS_MAX:
            self._open[0].close()
        self._open.append(_Connection(connection, self._selector, self._answer, self._open))


class _Connection:
    def __init__(
        self, connection: socket.socket, selector: selectors.BaseSelector,
        answer: Callable[[fl.FileRequest], fl.FileReply], among: list[_Connection],
    ) -> None:  # fmt: skip
        self._socket = connection
        self._selector = selector
        self._answer = answer
        self._among = among
        self._codec: StreamCodec[fl.FileRequest] = StreamCodec(fl.FILE_REQUESTS)
        self._replies: StreamCodec[fl.FileReply] = StreamCodec(fl.FILE_REPLIES)
        self._asked: Iterator[fl.FileRequest] = iter(())
        self._out = bytearray()
        selector.register(connection, selectors.EVENT_READ, self._talk)

    def close(self) -> None:
        """Hang up."""
        self._selector.unregister(self._socket)
        self._socket.close()
        self._among.remove(self)

    def _talk(self) -> None:
        """One turn: one request, or a part of an answer."""
        request = None
        try:
            if not self._out:
                request = next(self._asked, None)
                if request is None:
                    chunk = self._socket.recv(1 << 16)
                    if not chunk:
                        self.close()
                        return
                    self._asked = self._codec.feed(chunk)
                    request = next(self._asked, None)
                if request is not None:
                    self._out += self._replies.encode(self._answer(request))
            sent = self._socket.send(self._out) if self._out else 0
            del self._out[:sent]
        except BlockingIOError:
            pass
        except (OSError, PeerError) as error:
            if isinstance(error, PeerError):
                _log.warning("what crewd asks about files is not understood: %s", error)
            self.close()
            return
        more = selectors.EVENT_READ | (selectors.EVENT_WRITE if request is not None else 0)
        self._selector.modify(self._socket, selectors.EVENT_WRITE if self._out else more, self._talk)
