"""What a client says, and says again, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from crewd.client.conversation import AGAIN_BEATS, AT_ONCE_MAX, Conversation
from crewd.clock import SeededChance
from crewd.model import events as ev
from crewd.model.errors import PeerError, Unavailable, UsageError
from crewd.model.ids import IdSource
from crewd.model.policy import Limits
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing.scheduler import VirtualClock


def conversation() -> Conversation:
    return Conversation("me", "k" * 32, "test/1", IdSource(VirtualClock(), SeededChance(0)))


def ids_of(messages: list[list[bytes]]) -> list[str]:
    return [codec.requests.decode(frames).id for frames in messages]


def refusal(key: str, say: str) -> list[bytes]:
    return codec.replies.encode(key, rl.ErrorReply(error=Unavailable("not now", say=say).info))


def test_what_met_a_part_that_was_restarting_is_asked_again_with_the_next_hello() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Show(target="r"))
    for _ in range(AT_ONCE_MAX):
        assert ids_of(talk.feed(refusal(key, "again"))) == [key], "at once"
    assert talk.feed(refusal(key, "again")) == []
    assert talk.replies == {}, "it is no answer"
    assert ids_of(talk.beat()) == ["hello", key]
    assert ids_of(talk.beat()) == ["hello"], "it was asked, and is answered or not"


def test_what_was_given_up_meanwhile_is_not_asked_again() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Show(target="r"))
    for _ in range(AT_ONCE_MAX + 1):
        talk.feed(refusal(key, "again"))
    talk.forget(key)
    assert [ids_of(talk.beat()) for _ in range(AGAIN_BEATS)] == [["hello"]] * AGAIN_BEATS


def test_any_other_unavailability_is_the_answer() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Show(target="r"))
    talk.feed(codec.replies.encode(key, rl.ErrorReply(error=Unavailable("crewd is stopping").info)))
    assert isinstance(talk.take(key), rl.ErrorReply)


def test_a_crewd_of_another_version_that_does_not_understand_is_named() -> None:
    talk = conversation()
    welcome = rl.Welcome(daemon="d", incarnation="e", software="0.9", role=5, seq=0)
    talk.feed(codec.replies.encode("hello", welcome))
    key, _ = talk.ask(rq.Show(target="r"))
    talk.feed(codec.replies.encode(key, rl.ErrorReply(error=PeerError("the body of show is wrong").info)))
    reply = talk.take(key)
    assert isinstance(reply, rl.ErrorReply)
    assert "crewd is 0.9, and this client 1" in reply.error.hint


def test_an_answer_that_cannot_be_read_is_an_error_and_no_silence() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Show(target="r"))
    frames = codec.replies.encode(key, rl.Done())
    assert talk.feed([*frames[:1], b"no-such-kind", *frames[2:]]) == []
    reply = talk.take(key)
    assert isinstance(reply, rl.ErrorReply)
    assert "cannot be read here" in reply.error.message
    assert talk.feed([b"?"]) == []


@pytest.mark.parametrize(
    ("worker", "says"),
    [
        (
            WorkerSpec(call="a:b", limits=Limits(memory_bytes="1G")),  # type: ignore[arg-type]
            "memory_bytes cannot be used: expected a whole number, got a text",
        ),
        (WorkerSpec(argv=("a", 5)), "argv[1] cannot be used: expected a text, got a whole number"),  # type: ignore[arg-type]
        ({"call": "a:b"}, "this cannot be sent: 'dict' object has no attribute 'args'"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_named_in_the_words_of_who_gave_it(worker: Any, says: str) -> None:
    workflow = Workflow("w", (Step("a", worker=worker),))
    with pytest.raises(UsageError) as caught:
        conversation().ask(rq.StartRun(request_id="r", cwd="/", workflow=workflow))
    assert caught.value.message == says


def test_a_value_in_a_dict_is_named_by_the_dict() -> None:
    workflow = Workflow("w", (), labels={"a": 5})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"^labels cannot be used: expected a text"):
        conversation().ask(rq.StartRun(request_id="r", cwd="/", workflow=workflow))


def test_what_does_not_fit_into_a_message_is_the_callers_error() -> None:
    with pytest.raises(UsageError, match="bytes"):
        conversation().ask(rq.Show(target="r" * (2 << 20)))


def test_a_note_that_cannot_be_read_ends_no_subscription() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Subscribe(target="r"))
    frames = codec.replies.encode(key, rl.Done())
    talk.feed([*frames[:1], b"news-of-tomorrow", *frames[2:]])
    assert talk.take(key) is None


def test_a_feed_that_has_lost_an_event_is_asked_for_again_from_there() -> None:
    talk = conversation()
    key, _ = talk.ask(rq.Subscribe(after=0))

    def heard(seq: int, previous: int) -> list[list[bytes]]:
        event = ev.Event(seq, f"s-{seq}", 0, "", "", 0, "", "", "crewd", 0.0, ev.DaemonStarted(pid=1, version="0"))
        return talk.feed(codec.replies.encode(key, rl.EventNote(event=event, previous=previous)))

    assert heard(1, 0) == []
    again = [codec.requests.decode(frames).body for frames in heard(5, 3)]
    assert [each.after for each in again if isinstance(each, rq.Subscribe)] == [1], "3 was lost: after 1, once more"
    assert [heard(3, 1), heard(5, 3), heard(5, 3)] == [[], [], []]
    notes = [note.event.seq for note in talk.notes[key] if isinstance(note, rl.EventNote)]
    assert notes == [1, 3, 5], "each once"
