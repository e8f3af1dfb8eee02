"""What a client may say that no client of ours would: selectors, ids, floods of waits, workflows that never end or explode."""

from __future__ import annotations

import contextlib
import functools
import re
from pathlib import Path

import msgspec
import pytest

from crewd.client.blocking import Crew
from crewd.client.shapes import one_step
from crewd.clock import SystemChance, SystemClock
from crewd.model.errors import CrewdError, UsageError
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.workflow import WorkerSpec
from crewd.protocol import codec
from crewd.protocol import keeping as kp
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.startable import startable
from crewd.testing import Daemon
from tests.hostile.wire import Speaker

pytestmark = pytest.mark.process
IDS = IdSource(SystemClock(), SystemChance())
SELECTORS = [
    "", "..", "*", "/", "../..", "%", "_", "r_", "~1", "a~99999", "\u0430dmin", "x\x00y", "x\ny", "r_%/%", "' OR 1=1 --",
    "a/b/c",
    "x" * 257, "\U0001f680", "..%2f", "r_01/..", "-1", "NAME~-1",
]  # fmt: skip


def test_no_selector_names_what_is_not_its_own(crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/", name="innocent")
    for selector in SELECTORS:
        for request in (
            rq.Cancel(target=selector, mode="now"), rq.Show(target=selector), rq.Signal(target=selector, number=9),
            rq.ReadLog(task=selector), rq.ListMessages(target=selector),
        ):  # fmt: skip
            answer = crew.request(request, 5)
            assert isinstance(answer, rl.ErrorReply | CrewdError), (selector, answer)
    assert run.show().run.ended_at is None
    assert run.cancel(mode="now").verified


def test_ids_that_are_used_twice_and_hellos_without_end(daemon: Daemon, crew: Crew) -> None:
    with Speaker(daemon.home.clients_endpoint) as speaker:
        for number in range(50):
            speaker.say("hello", f"h{number % 3}", {"owner": f"me{number % 2}", "key": "k" * 64})
        run = crew.exec(["sleep", "1000"], cwd="/")
        for _ in range(2_000):
            speaker.say("await_end", "same", {"target": run.id, "timeout_seconds": 604_800})
            speaker.say("subscribe", "sub", {"target": run.id})
        speaker.say("runs", "last", {})
        assert isinstance(speaker.replies("last"), rl.RunsReply | rl.ErrorReply)
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    assert run.cancel(mode="now").verified


def test_what_clients_send_too_fast_does_not_fill_the_memory(daemon: Daemon, crew: Crew) -> None:
    """Each of four sends a hundred large messages at once; they wait in the clients, not in crewd."""

    def mebibytes(what: str) -> int:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) >> 10  # type: ignore[index]  # it is there

    crew.runs()
    before = mebibytes("VmHWM")
    with contextlib.ExitStack() as stack:
        speakers = [stack.enter_context(Speaker(daemon.home.clients_endpoint)) for _ in range(4)]
        for _ in range(100):
            for speaker in speakers:
                speaker.socket.send_multipart([codec.HEADER, b"send", b"1", b"\x80" + b"x" * 900_000])
        for speaker in speakers:
            speaker.say("hello", "last", {"owner": "me", "key": "k" * 64})
            assert isinstance(speaker.replies("last"), rl.Welcome)
    assert mebibytes("VmHWM") - before < 4 * 50, "32 messages of each wait, and what is on its way"
    crew.runs()
    assert mebibytes("VmRSS") - before < 100


@pytest.mark.parametrize(
    "body", [b"\x81\xa8workflow" + b"\x81\xa5steps\x91" * 200_000, b"\xdf\xff\xff\xff\xff", b"\x81\xc7\x01\x05\x00\x00"]
)
def test_requests_that_explode_are_malformed(daemon: Daemon, crew: Crew, body: bytes) -> None:
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        speaker.socket.send_multipart([codec.HEADER, b"start_run", b"a", body[: 1 << 20]])
        refused = speaker.replies("a")
    assert isinstance(refused, rl.ErrorReply)
    assert refused.error.code == "malformed"
    assert crew.doctor().healthy


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("args", "says"), [
        ({"obj": {None: 1}}, "malformed"), ({"obj": {(1, 2): 3}}, "malformed"),
        ({"obj": msgspec.msgpack.Ext(5, b"x")}, "malformed"), ({"obj": nested(600)}, "usage"),
        ({"obj": ["{goal}"] * 40}, "usage"),
    ], ids=["none", "tuple", "extension", "deep", "large"],
)  # fmt: skip
def test_arguments_that_no_worker_can_be_given_are_refused_and_harm_nobody(
    daemon: Daemon, crew: Crew, args: dict[str, object], says: str
) -> None:
    steps = [{"id": "s", "worker": {"call": "json:dumps", "args": args}}]
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        speaker.say("start_run", "a", {"workflow": {"name": "w", "steps": steps}, "cwd": "/", "goal": "g" * 90_000})
        refused = speaker.replies("a")
    assert isinstance(refused, rl.ErrorReply)
    assert refused.error.code == says, refused
    tell = functools.partial(crew.run, one_step("s", WorkerSpec(call="json:dumps", args=args)), "g" * 90_000, cwd="/")
    with pytest.raises(UsageError):
        tell()
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    assert not [each for each in crew.doctor(actors=True).actors if each.crashes]


@pytest.mark.parametrize(
    "steps",
    [
        [{"id": "a", "depends_on": ["a"]}], [{"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}],
        [{"id": "a"}, {"id": "a"}], [{"id": ".."}], [{"id": "a/b"}],
        [{"id": "a", "output": "../x"}], [{"id": "a", "reads": ["../../x"]}],
        [{"id": f"s{number}"} for number in range(1_001)], [{"id": "shared"}, {"id": "a", "depends_on": ["nobody"]}],
    ],
)  # fmt: skip
def test_workflows_that_cannot_be_are_refused(daemon: Daemon, crew: Crew, steps: list[dict[str, object]]) -> None:
    whole = [{"worker": {"argv": ["true"]}, **each} for each in steps]
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        speaker.say("start_run", "a", {"cwd": "/", "workflow": {"name": "evil", "steps": whole}})
        refused = speaker.replies("a")
    assert isinstance(refused, rl.ErrorReply), msgspec.to_builtins(refused)
    assert refused.error.code in {"usage", "malformed"}
    assert "Traceback" not in refused.error.message


@pytest.mark.parametrize("parent", ["x#\N{SUPERSCRIPT TWO}", "x#" + "9" * 5_000])
def test_a_parent_that_nobody_has_is_refused(daemon: Daemon, crew: Crew, parent: str) -> None:
    step = {"id": "a", "worker": {"argv": ["true"]}}
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        speaker.say("start_run", "a", {"workflow": {"name": "w", "steps": [step]}, "goal": "", "cwd": "/", "parent": parent})
        refused = speaker.replies("a")
    assert isinstance(refused, rl.ErrorReply)
    assert refused.error.code == "refused", refused
    assert crew.doctor().healthy


def test_numbers_that_nothing_holds_are_called_so(daemon: Daemon, crew: Crew) -> None:
    asked: list[tuple[str, dict[str, object]]] = [
        ("events", {"after": 1 << 63}), ("events", {"before": 1 << 63}), ("news", {"after": 1 << 63}),
        ("log", {"task": "r/a", "offset": -(1 << 63)}), ("subscribe", {"after": 1 << 63}),
    ]  # fmt: skip
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "h", {"owner": "me", "key": "k" * 64})
        for number, (kind, body) in enumerate(asked):
            speaker.say(kind, f"n{number}", body)
            refused = speaker.replies(f"n{number}")
            assert isinstance(refused, rl.ErrorReply), kind
            assert (refused.error.code, "out of range" in refused.error.message) == ("usage", True), refused
    assert crew.doctor().healthy


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (rq.Send(id=IDS.next(MESSAGE), kind="response", ask="zz", text="yes"), "not_found", "no question has the id zz"),
        (kp.Backup(path="/tmp/a\0b"), "usage", "is no absolute path"), (kp.Backup(path="b"), "usage", "is no absolute path"),
    ],
)  # fmt: skip
def test_what_no_request_can_mean_is_named(crew: Crew, request_: rq.Request, code: str, said: str) -> None:
    answer = crew.request(request_, 30)
    assert isinstance(answer, rl.ErrorReply)
    assert answer.error.code == code
    assert said in answer.error.message


@pytest.mark.parametrize(
    ("argv", "where"),
    [
        (("echo", "SECRET_KEY=changeme12345"), "argument 1 of the command of sh holds what looks like a secret (SECRET_KEY="),
        (("mysql", "-u", "root", "-phunter2xyz"), "the command of sh holds what looks like a secret (mysql -u root -p["),
    ],
)  # fmt: skip
def test_a_secret_in_a_command_is_refused_with_its_place_and_not_its_value(argv: tuple[str, ...], where: str) -> None:
    with pytest.raises(UsageError, match=re.escape(where)) as refused:
        startable(rq.StartRun(request_id="q1", workflow=one_step("sh", WorkerSpec(argv=argv)), cwd="/"))
    assert "--secret NAME" in refused.value.hint
    assert "changeme" not in str(refused.value) and "hunter2" not in str(refused.value)


def test_a_secret_in_a_name_is_refused_and_not_shown() -> None:
    worker = WorkerSpec(call="json:dumps", args={"obj": {"password=hunter2xyz": {"deep": 1}}})
    with pytest.raises(UsageError, match=r"a name in .* holds what looks like a secret") as refused:
        startable(rq.StartRun(request_id="q1", workflow=one_step("s", worker), cwd="/"))
    assert "hunter2" not in str(refused.value)
