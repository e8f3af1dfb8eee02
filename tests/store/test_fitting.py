"""What is left out of an answer so that it fits one frame, and that it is named."""

from __future__ import annotations

from crewd.model.limits import FRAME_BYTES_MAX
from crewd.model.rows import ArtifactRow, AskRow, AttemptRow, MessageRow, OperationRow, RunRow, TaskRow
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import replies as rl
from crewd.store.fitting import ANSWER_BYTES_MAX, fitting, head_of, in_list, inbox, shown, size_of

RUN = RunRow("r_1", "w", RunStatus.RUNNING, "x" * 100_000, "/", Workflow("w", (Step("a", worker=WorkerSpec(call="m:f")),)))


def answer(tasks: int = 1, result: int = 0, artifacts: int = 0, operations: int = 0, error: int = 0) -> rl.ShowReply:
    return rl.ShowReply(
        run=RUN, messages=(), asks=(), progress=(), seq=1,
        tasks=tuple(
            TaskRow(f"r_1/{n}", "r_1", str(n), TaskStatus.COMPLETED, "call", result="x" * (result + n)) for n in range(tasks)
        ),
        attempts=tuple(AttemptRow(f"r_1/{n}", 1, AttemptStatus.FAILED, error="x" * error) for n in range(tasks)),
        operations=tuple(OperationRow(f"r_1/0#1:{n}", "r_1", "r_1/0", 1, "tool", "x" * 256) for n in range(operations)),
        artifacts=tuple(
            ArtifactRow(f"a_{n}", "r_1", "r_1/0", 1, "f", "/f", "0", 9, data=b"x" * 32_000) for n in range(artifacts)
        ),
    )  # fmt: skip


def test_what_fits_is_not_touched() -> None:
    assert shown(answer(20, 30_000)) == answer(20, 30_000)


def test_the_largest_results_are_left_out_first_and_named() -> None:
    reply = shown(answer(48, 30_000))
    left = [task.id for task in reply.tasks if task.result is None]
    assert sorted(reply.left_out) == sorted(left)
    assert sorted(left) == sorted(f"r_1/{n}" for n in range(48 - len(left), 48)), "the largest ones"
    assert (len(reply.tasks), reply.shortened) == (48, ())
    assert ANSWER_BYTES_MAX - 40_000 < size_of(reply) <= ANSWER_BYTES_MAX


def test_then_bytes_of_artifacts_and_then_the_oldest_rows() -> None:
    reply = shown(answer(1_000, 0, artifacts=40, operations=500, error=1_500))
    assert set(reply.left_out) >= {each.id for each in reply.artifacts if not each.data}
    assert reply.shortened == ("operations", "artifacts", "attempts")
    assert len(reply.tasks) == 1_000
    assert reply.attempts[-1] == answer(1_000, error=1_500).attempts[-1], "the newest are kept"
    assert size_of(reply) <= FRAME_BYTES_MAX


def test_a_list_has_neither_steps_nor_long_goals() -> None:
    assert size_of(in_list(RUN)) < 4_000
    assert in_list(RUN).goal == head_of(RUN.goal)


def test_as_many_as_fit_and_at_least_one() -> None:
    assert fitting(["x" * 10] * 5, 25) == ["x" * 10] * 2
    assert fitting(["x" * 100] * 5, 25) == ["x" * 100]
    assert fitting([], 25) == []


def test_an_inbox_has_the_oldest_questions_and_says_that_there_are_others() -> None:
    asks = [AskRow(f"q_{n}", "r_1", "r_1/a", 1, "n?", choices=("x" * 2_000,) * 64) for n in range(20)]
    reply = inbox(asks, [], [])
    assert (reply.asks, reply.more) == (tuple(asks[: len(reply.asks)]), True)
    assert size_of(reply) <= FRAME_BYTES_MAX
    assert not inbox(asks[:1], [], list[MessageRow]()).more
