"""A question is answered once, by the answer that it is for, or by its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from crewd.model.errors import Busy, CrewdError, DeadlineExceeded, Unavailable
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Read, Resolve
from crewd.supervisor.commands import ToGuardian
from crewd.supervisor.directory import GUARDIAN, READER, Directory
from crewd.supervisor.gateway.questions import AGAIN_SECONDS, EXAMINE_SECONDS, Questions


class Part:
    """A part of crewd that keeps what it is told, or has no room for it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.full = False

    def offer(self, message: object) -> bool:
        if not self.full:
            self.told.append(message)
        return not self.full


class Desk:
    def __init__(self) -> None:
        self.reader, self.guardian = Part(), Part()
        self.directory = Directory()
        self.directory.enter(READER, cast("Any", self.reader))
        self.directory.enter(GUARDIAN, cast("Any", self.guardian))
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.questions = Questions(self.directory, lambda: cast("Any", None), lambda *each: self.later.append(each))
        self.heard: list[object] = []
        self.failed: list[CrewdError] = []


def test_each_answer_goes_to_its_question_and_only_the_first_one_counts() -> None:
    desk = Desk()
    desk.questions.resolve("a", lambda found: desk.heard.append(("a", found)), desk.failed.append)
    desk.questions.read_reply(rq.Inbox(), desk.heard.append, desk.failed.append, owner="me")
    resolve, read = desk.reader.told
    assert isinstance(resolve, Resolve)
    assert isinstance(read, Read)
    desk.questions.answered(read.token, rl.Done())
    desk.questions.answered(read.token, rl.Done())
    assert desk.heard == [rl.Done()]
    desk.questions.answered(resolve.token, Unavailable("no"))
    assert [type(each) for each in desk.failed] == [Unavailable]
    desk.questions.answered(99, rl.Done())


def test_what_nobody_asks_again_is_asked_until_there_is_room() -> None:
    desk = Desk()
    desk.reader.full = True

    def ask() -> int:
        return desk.questions.resolve("a", desk.heard.append, desk.failed.append)

    with pytest.raises(Busy):
        ask()
    desk.questions.surely(ask)
    desk.reader.full = False
    ((seconds, again),) = desk.later
    again()
    assert (seconds, len(desk.reader.told)) == (AGAIN_SECONDS, 1)


def test_a_guardian_that_does_not_know_the_question_is_not_asked() -> None:
    desk = Desk()
    for guardian in (None, gd.Attached(pid=1, workers=0, version=1)):
        desk.directory.guardian = guardian
        with pytest.raises(Unavailable):
            desk.questions.examine(desk.heard.append, desk.failed.append)
    assert desk.guardian.told == []


def test_a_guardian_that_does_not_look_in_time_is_named() -> None:
    desk = Desk()
    desk.directory.guardian = gd.Attached(pid=1, workers=0, version=gd.VERSION)
    for _ in range(2):
        desk.questions.examine(desk.heard.append, desk.failed.append)
    first, second = (each.order for each in desk.guardian.told if isinstance(each, ToGuardian))
    assert isinstance(first, gd.Examine)
    assert isinstance(second, gd.Examine)
    desk.questions.resolve("a", desk.heard.append, desk.failed.append)
    desk.questions.examined(desk.reader.told[0].token, gd.Examined(number=1))
    assert (desk.heard, desk.failed) == ([], []), "of a gateway before this one: it answers nobody else"
    desk.questions.examined(second.number, gd.Examined(number=second.number, marked=3))
    for seconds, late in desk.later:
        assert seconds == EXAMINE_SECONDS
        late()
    assert desk.heard == [gd.Examined(number=second.number, marked=3)]
    assert [type(each) for each in desk.failed] == [DeadlineExceeded]
