"""A question about files is answered by the guardian, or fails within a bound, whatever the guardian or somebody else does."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crewd.guardian.connection import Listener
from crewd.guardian.file_service import CONNECTIONS_MAX, FileService
from crewd.model.errors import Unavailable
from crewd.protocol import files as fl
from crewd.protocol.guardian import StreamCodec
from crewd.supervisor import files_link
from crewd.supervisor.files_link import FilesLink

ASK = fl.ListRuns()
NO_PAUSE: Callable[[float], bool] = lambda _: False  # noqa: E731 (a value)
LARGE = fl.Piece(b"x" * fl.READ_BYTES_MAX, 0, fl.READ_BYTES_MAX)


@contextmanager
def service(path: Path, answer: Callable[[fl.FileRequest], fl.FileReply]) -> Iterator[None]:
    """The guardian's loop, as far as it is about files."""
    with selectors.DefaultSelector() as selector:
        stop, stopped = socket.socketpair()
        selector.register(stopped, selectors.EVENT_READ, None)
        Listener(selector, path, FileService(selector, answer).accepted)

        def serve() -> None:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.close()
            thread.join()
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()


def test_each_question_has_its_answer_and_large_ones_are_whole(tmp_path: Path) -> None:
    def answer(request: fl.FileRequest) -> fl.FileReply:
        return LARGE if isinstance(request, fl.ReadFile) else fl.Names((repr(request).encode(),))

    with service(tmp_path / "s", answer):
        links = [FilesLink(tmp_path / "s", NO_PAUSE) for _ in range(3)]
        for number in range(20):
            for link in links:
                asked = fl.ListRuns(str(number).encode())
                assert link(asked) == fl.Names((repr(asked).encode(),))
                assert link(fl.ReadFile("r", b"x", 0, 1)) == LARGE
        for link in links:
            link.close()


def test_who_does_not_read_or_says_garbage_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "s"
    requests: StreamCodec[fl.FileRequest] = StreamCodec(fl.FILE_REQUESTS)
    with service(path, lambda _: LARGE):
        others = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_MAX + 3)]
        for other in others:
            other.connect(str(path))
        others[-1].sendall(requests.encode(ASK) * 50)  # and reads nothing of it
        others[-2].sendall(b"\xc1garbage")
        link = FilesLink(path, threading.Event().wait)
        assert link(ASK) == LARGE
        others[-2].settimeout(10)
        assert others[-2].recv(10) == b"", "who says garbage is hung up on"
        assert others[0].recv(10) == b"", "the oldest connection gives way"
        for other in others:
            other.close()
        assert link(ASK) == LARGE
        link.close()


def test_questions_that_come_together_are_answered_one_after_the_other(tmp_path: Path) -> None:
    requests: StreamCodec[fl.FileRequest] = StreamCodec(fl.FILE_REQUESTS)
    replies: StreamCodec[fl.FileReply] = StreamCodec(fl.FILE_REPLIES)
    with (
        service(tmp_path / "s", lambda request: fl.Names((getattr(request, "after", b""),))),
        socket.socket(socket.AF_UNIX) as mine,
    ):
        mine.settimeout(10)
        mine.connect(str(tmp_path / "s"))
        mine.sendall(b"".join(requests.encode(fl.ListRuns(str(number).encode())) for number in range(100)))
        got: list[fl.FileReply] = []
        while len(got) < 100:
            got += replies.feed(mine.recv(1 << 16))
    assert got == [fl.Names((str(number).encode(),)) for number in range(100)]


def test_a_service_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    link = FilesLink(tmp_path / "s", NO_PAUSE)
    with pytest.raises(Unavailable, match="does not open files"):
        link(ASK)
    for _ in range(3):
        with service(tmp_path / "s", lambda _: LARGE):
            assert link(ASK) == LARGE
    with pytest.raises(Unavailable, match="does not open files"):
        link(ASK)
    link.close()


def test_a_guardian_that_is_being_replaced_is_waited_for(tmp_path: Path) -> None:
    waiting = [service(tmp_path / "s", lambda _: LARGE)]
    slept: list[float] = []

    def pause(seconds: float) -> bool:
        slept.append(seconds)
        if len(slept) == 3:
            waiting[0].__enter__()
        return False

    link = FilesLink(tmp_path / "s", pause)
    assert link(ASK) == LARGE
    assert slept == sorted(slept) and len(slept) == 3
    waiting[0].__exit__(None, None, None)
    link.close()


def test_a_guardian_that_has_retired_is_not_waited_for(tmp_path: Path) -> None:
    stopping = threading.Event()
    pauses: list[float] = []

    def given_up(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 2:
            stopping.set()
        return stopping.wait(seconds)

    with pytest.raises(Unavailable, match="does not open files"):
        FilesLink(tmp_path / "s", given_up)(ASK)
    assert len(pauses) == 2


def test_one_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_link, "ANSWER_SECONDS", 0.2)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    link = FilesLink(tmp_path / "s", NO_PAUSE)
    with pytest.raises(Unavailable, match="has not answered"):
        link(ASK)
    listening.close()
