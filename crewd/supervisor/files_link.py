"""The way to the guardian's files: a socket of one thread's own, on which a question is sent and its answer waited for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from crewd.model.errors import PeerError, Unavailable
from crewd.protocol import files as fl
from crewd.protocol.guardian import StreamCodec

ANSWER_SECONDS = 5.0
"""A guardian takes a millisecond, and some more if it is at its workers."""


PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Before a question is asked again, in seconds: a guardian that has died is replaced within about one."""


class FilesLink:
    """Callable as an `AskFiles`. Connects when it is needed; a question that was cut off is asked again.

    `given_up` waits so many seconds and returns whether there is no use in asking again, since crewd stops; it returns early
    then. It holds up the calling thread: that is why it is one that serves nobody else.
    """

    def __init__(self, path: Path, given_up: Callable[[float], bool]) -> None:
        self._path = path
        self._given_up = given_up
        self._socket: socket.socket | None = None
        self._requests: StreamCodec[fl.FileRequest] = StreamCodec(fl.FILE_REQUESTS)
        self._replies: StreamCodec[fl.FileReply] = StreamCodec(fl.FILE_REPLIES)

    def __call__(self, request: fl.FileRequest) -> fl.FileReply:
        """The guardian's reply. Raises Unavailable if there is none within some seconds."""
        data = self._requests.encode(request)
        for pause in (*PAUSES, None):
            try:
                return self._ask(data)
            except TimeoutError:
                self.close()
                raise Unavailable(
                    f"the guardian has not answered within {ANSWER_SECONDS:g} s", hint="crew doctor; see guardian.log"
                ) from None
            except (OSError, PeerError) as error:
                self.close()
                if pause is None or self._given_up(pause):
                    hint = "try again; a guardian of an older crewd opens none: it ends with its last worker"
                    raise Unavailable(f"the guardian does not open files: {error}", hint=hint) from None
        raise AssertionError  # the last error is raised

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, data: bytes) -> fl.FileReply:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(ANSWER_SECONDS)
            self._socket.connect(str(self._path))
            self._replies = StreamCodec(fl.FILE_REPLIES)
        self._socket.sendall(data)
        while chunk := self._socket.recv(1 << 18):
            for reply in self._replies.feed(chunk):
                return reply
        raise ConnectionResetError("it has hung up")
