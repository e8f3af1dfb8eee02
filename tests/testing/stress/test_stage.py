"""The in-process harness: what a history names happens at exactly that point, every time."""

from __future__ import annotations

import functools
import select
import socket
import threading
from pathlib import Path

import pytest

from crewd.model.errors import UsageError
from crewd.testing.stress import Act, History, Target, Trial, parse, stress, try_out
from tests.testing.stress import bad

GOOD = Target(bad.good)


def play(text: str, target: Target = GOOD) -> Trial:
    return try_out(target, parse(text))


def test_an_undisturbed_worker_comes_to_its_result_and_its_points_are_its_lines() -> None:
    trial = try_out(GOOD, History())
    assert trial.last.end == "completed"
    assert trial.last.result == {"colour": "red", "heard": [], "in": "<attempt>"}
    assert [point.call for point in trial.points[:4]] == ["ctx.operation", "ctx.progress", "ctx.safe_point", "ctx.progress"]
    lines = Path(bad.__file__).read_text().splitlines()
    assert all(point.where.startswith("bad.py:") for point in trial.points)
    assert "ctx.progress(" in lines[int(trial.points[1].where.partition(":")[2]) - 1]
    assert trial.files["attempt/artifacts/x.txt"].size == 1_000


def test_for_every_n_the_token_fires_at_the_nth_point_and_the_worker_goes_no_further() -> None:
    points = len(try_out(GOOD, History()).points)
    for n in range(1, points + 1):
        last = play(f"cancel@{n}").last
        assert (last.end, last.cancelled_at, len(last.points)) == ("cancelled", n, n)
        assert last.reason == "caller_cancelled"


def test_the_same_history_gives_the_same_trial() -> None:
    def seen(trial: Trial) -> list[tuple[object, ...]]:
        return [(act.end, act.points, act.sent, act.result) for act in trial.acts]

    text = "steer@3:a steer@3:b follow-up@1:c crash@5 steer@6:d answer:blue"
    assert seen(play(text)) == seen(play(text))


def test_steers_are_taken_one_per_safe_point_in_order_and_follow_ups_at_the_natural_stop() -> None:
    trial = play("follow-up@1:later steer@1:a steer@1:b steer@1:c")
    assert isinstance(trial.last.result, dict)
    assert trial.last.result["heard"] == ["a", "b", "c", "later"]
    assert [(sent.text, sent.outcome) for sent in trial.sent] == [(t, "done") for t in ("later", "a", "b", "c")]


def test_answers_silence_and_the_default_answer() -> None:
    assert play("answer:blue").last.result["colour"] == "blue"
    assert play("silence").last.result["colour"] is None


def test_after_a_crash_it_is_started_again_in_the_same_folder_and_unconfirmed_messages_are_unknown() -> None:
    trial = play("steer@2:a crash@4 steer@7:b")
    assert [act.end for act in trial.acts] == ["crashed", "completed"]
    assert len(trial.acts[0].points) == 4
    assert trial.points[4].number == 5
    assert trial.last.result["heard"] == ["b"]
    ledger = try_out(Target(bad.adds_again), parse("crash@1"))
    assert ledger.files["work/ledger.txt"].size == 2 * len("paid\n")


def test_waiting_takes_no_time_also_in_async_workers() -> None:
    trial = try_out(Target(bad.slow_async, patience=20), History())
    assert (trial.last.end, trial.last.result) == ("completed", 2)


def test_waiting_takes_no_time_beside_other_tasks_and_timeouts_either() -> None:
    trial = try_out(Target(bad.beats, patience=20), History())
    assert (trial.last.end, trial.last.result) == ("completed", 3)
    cancelled = play("cancel@2", Target(bad.beats, patience=20)).last
    assert (cancelled.end, cancelled.signalled) == ("cancelled", False)


def test_a_wait_for_a_peer_is_a_real_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                select.select([peer], [], [], 0.3)  # it says nothing: the worker waits meanwhile
                peer.sendall(b"hello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        last = try_out(Target(bad.asks_a_server, {"port": server.getsockname()[1]}), History()).last
        thread.join()
    assert (last.end, last.result) == ("completed", "hello\n")


def test_where_a_worker_was_is_known_though_it_says_no_last_word() -> None:
    gone = play("cancel@1", Target(bad.exits_when_cancelled)).last
    assert (gone.end, gone.cancelled_at, len(gone.points)) == ("vanished", 1, 1)
    stuck = try_out(Target(bad.hangs_at_its_end, patience=1), History()).last
    assert (stuck.end, len(stuck.points)) == ("stuck", 3)
    assert "hangs_at_its_end" in stuck.stack


def test_a_worker_is_any_callable() -> None:
    for each in (bad.Called(), functools.partial(bad.plain, 4)):
        target = Target(each)
        assert target.name in {"tests.testing.stress.bad:Called", "tests.testing.stress.bad:plain"}
        assert try_out(target, History()).last.end == "completed"


def test_a_worker_that_is_a_plain_function_is_not_cancelled_where_nothing_happens() -> None:
    assert stress(Target(bad.plain_temporary), examples=0).breach is None


def test_a_worker_that_waits_for_messages_is_told_when_none_will_come() -> None:
    last = play("steer@1:go", Target(bad.good_listener)).last
    assert (last.end, last.idle) == ("cancelled", True)
    last = play("steer@1:'1 stop'", Target(bad.good_listener)).last
    assert (last.end, last.idle, last.result) == ("completed", False, ["stop"])


def test_in_this_process_for_a_debugger() -> None:
    before = Path.cwd()
    trial = try_out(GOOD, parse("cancel@3"), here=True)
    assert trial.last.end == "cancelled"
    assert Path.cwd() == before
    with pytest.raises(UsageError, match="process of its own"):
        try_out(GOOD, parse("crash@3"), here=True)


def test_what_a_worker_needs_is_copied_to_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    trial = try_out(Target(bad.plain, {"number": 4}, tmp_path), History())
    assert trial.last.result == 5
    assert trial.files["work/in.txt"].head == b"hello"


def test_a_wrong_worker_is_refused() -> None:
    for name in ("nothing", "no.such.module:f", "json:no_such_name", "json:__doc__"):
        with pytest.raises(UsageError):
            Target(name).function()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("def f(ctx)\n    pass", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_its_authors_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"boom_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(UsageError, match=f"{name}:f cannot be loaded: {said}") as refused:
        Target(f"{name}:f").function()
    assert f"{name}.py, line " in refused.value.hint


def test_an_act_is_a_record_that_can_be_sent() -> None:
    import msgspec

    act = play("steer@2:a cancel@3").last
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(act), type=Act) == act
