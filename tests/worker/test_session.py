"""What a worker says of itself, and how often."""

from __future__ import annotations

from crewd.model.config import Config
from crewd.protocol import codec
from crewd.protocol import reports as rp
from crewd.worker.desk import Desk
from crewd.worker.session import Session
from crewd.worker.token import CancellationToken


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def heartbeats(seconds: int, *, beats_at: tuple[int, ...] = (), idle_seconds: float = 15.0) -> list[float]:
    """When a worker whose code gives a sign at these seconds says that it lives."""
    clock, said = Clock(), list[float]()
    session = Session(rp.WorkerHello("r/a", 1, "", 1), Desk(CancellationToken(clock), lambda: None), clock)
    welcome = rp.WorkerWelcome(reports=0, heartbeat_seconds=5.0, idle_seconds=idle_seconds)
    session.hear(codec.to_worker.encode("", welcome))
    for second in range(seconds):
        clock.now = float(second)
        if second in beats_at:
            session.beat(second)

        def send(message: rp.FromWorker, _id: str) -> bool:
            if isinstance(message, rp.Heartbeat):
                said.append(clock.now)
            return True

        session.speak(send)
    return said


def test_an_idle_worker_says_less_often_that_it_lives() -> None:
    assert heartbeats(50) == [5.0, 20.0, 35.0]


def test_a_sign_of_its_code_is_told_with_the_next_heartbeat() -> None:
    assert heartbeats(50, beats_at=(7, 13)) == [5.0, 10.0, 15.0, 30.0, 45.0]


def test_without_the_word_of_crewd_each_heartbeat_is_said() -> None:
    assert heartbeats(21, idle_seconds=0.0) == [5.0, 10.0, 15.0, 20.0]


def test_crewd_asks_for_heartbeats_that_come_before_their_lack_is_a_warning() -> None:
    assert Config().idle_seconds == 15.0
    assert Config(heartbeat_seconds=1.0, liveness_seconds=(5.0, 6.0, 7.0)).idle_seconds == 2.5
    assert Config(heartbeat_seconds=4.0, liveness_seconds=(5.0, 6.0, 7.0)).idle_seconds == 4.0
