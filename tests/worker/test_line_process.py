from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from crewd.model.known_secrets import KnownSecrets
from crewd.worker.line_process import LineProcess


class Heard:
    """What a process said, and when it was over."""

    def __init__(self, program: str, most: int = 1 << 20) -> None:
        self.lines: list[bytes] = []
        self.dropped: list[bytes] = []
        self.over = threading.Event()
        command = [sys.executable, "-c", f"import os, sys, time\n{program}"]
        self.process = LineProcess(
            command, KnownSecrets(()), most, line=self.lines.append, dropped=self.dropped.append, closed=self.over.set
        )

    def run(self, talk: Callable[[LineProcess], object] = lambda _: None) -> Heard:
        self.process.start()
        talk(self.process)
        assert self.over.wait(30.0)
        return self.end()

    def end(self) -> Heard:
        self.process.close_input()
        self.process.wait_for_errors()
        return self


def test_only_lf_ends_a_line_and_the_last_one_needs_none() -> None:
    heard = Heard(r"os.write(1, 'a\u2028b\r\n\nlast'.encode())").run()
    assert heard.lines == ["a\u2028b\r".encode(), b"", b"last"]


def test_a_character_may_come_in_two_pieces() -> None:
    heard = Heard(r"os.write(1, b'\xc3'); sys.stdin.readline(); os.write(1, b'\xa9\n')").run(lambda p: p.write(b"go on\n"))
    assert heard.lines == ["é".encode()]


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_is_heard() -> None:
    heard = Heard(r"os.write(1, b'x' * 300_000); os.write(1, b'\nshort\n')", most=100_000).run()
    assert heard.lines == [b"short"]
    assert heard.dropped == [b"x" * 80]


def test_a_line_of_two_megabytes_comes_whole() -> None:
    heard = Heard(r"sys.stdout.write('y' * (2 << 20) + '\n' + 'z\n')", most=4 << 20).run()
    assert [len(line) for line in heard.lines] == [2 << 20, 1]


def test_a_descendant_that_keeps_the_output_open_is_not_waited_for_for_ever() -> None:
    heard = Heard("pid = os.fork()\nif pid:\n    print(pid, flush=True)\nelse:\n    time.sleep(60)").run()
    os.kill(int(heard.lines[0]), signal.SIGKILL)
    heard.end()


def test_who_reads_nothing_any_more_is_told_apart() -> None:
    heard = Heard("os.close(0); print('closed', flush=True); sys.stdout.close(); time.sleep(0.2)")
    heard.process.start()
    assert heard.over.wait(30.0)
    assert not heard.process.write(b"hello\n")
    heard.end()
    assert Heard("pass").process.write(b"hello\n") is False, "nobody was started"
