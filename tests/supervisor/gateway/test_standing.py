"""How a run stands follows from its newest rows, in whichever order they are heard of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewd.model.rows import AskRow, AttemptRow, ExitStatus, RunRow, Survivor, TaskRow
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, Workflow
from crewd.supervisor.gateway.standing import RunStanding

R, A, B = "r_1", "r_1/a", "r_1/b"
FLOW = Workflow(name="w", steps=(Step(id="a"), Step(id="b", depends_on=("a",))))


def run(status: RunStatus) -> RunRow:
    return RunRow(id=R, name="mine", status=status, goal="", cwd="/", workflow=FLOW)


def task(key: str, status: TaskStatus, **fields: object) -> TaskRow:
    return TaskRow(id=key, run=R, step=key[-1], status=status, runtime=str(fields.pop("runtime", "exec")), **fields)  # type: ignore[arg-type]


def test_an_end_answers_whoever_waits_for_the_run_or_for_that_task() -> None:
    stands = RunStanding()
    assert stands.end(R, "", or_waiting=True) is None, "nothing is known"
    stands.note([run(RunStatus.RUNNING), task(A, TaskStatus.COMPLETED), task(B, TaskStatus.RUNNING)], 5)
    assert stands.end(R, "", or_waiting=True) is None
    done = stands.end(R, A, or_waiting=False)
    assert done is not None
    assert done.task is not None
    assert done.task.status is TaskStatus.COMPLETED
    assert stands.end(R, B, or_waiting=False) is None
    stands.note([run(RunStatus.FAILED)], 9)
    end = stands.end(R, "", or_waiting=False)
    assert end is not None
    assert (end.run.status, end.task) == (RunStatus.FAILED, None)


def test_what_somebody_must_do_is_said_in_words() -> None:
    stands = RunStanding()
    stands.note(
        [run(RunStatus.RUNNING), task(A, TaskStatus.WAITING), task(B, TaskStatus.QUEUED, depends_on=(A,), runtime="outside")], 5
    )
    assert stands.end(R, "", or_waiting=False) is None
    stands.note([AskRow(id="a_1", run=R, task=A, epoch=1, question="Which?")], 6)
    asked = stands.end(R, "", or_waiting=True)
    assert asked is not None
    assert asked.attention == "a asks: Which? (a_1)"
    assert stands.end(R, B, or_waiting=True) is None, "it waits for another task"
    stands.note([AskRow(id="a_1", run=R, task=A, epoch=1, question="Which?", answer="m_1")], 6)
    assert stands.end(R, "", or_waiting=True) is None, "its answer is on the way"
    stands.note([AskRow(id="a_2", run=R, task=A, epoch=1, question="And?")], 6)
    assert "And?" in stands.attention(run(RunStatus.RUNNING), None)
    stands.note([task(A, TaskStatus.PARKED, reason="too often")], 7)
    assert stands.attention(run(RunStatus.RUNNING), None) == "a is parked: too often"
    stands.note([task(A, TaskStatus.COMPLETED)], 8)
    assert "crew claim mine/b" in stands.attention(run(RunStatus.RUNNING), None)


def test_a_cancel_is_answered_by_an_end_after_it_with_every_process_that_is_left() -> None:
    left, foreign = Survivor(7, "x", 1.0, "D"), Survivor(8, "y", 1.0, "S")
    stands = RunStanding()
    stands.note([run(RunStatus.FAILED), task(A, TaskStatus.FAILED)], 5)
    assert stands.cancelled(R, "", after=5) is None, "it was opened again since"
    stands.note([AttemptRow(task=A, epoch=1, status=AttemptStatus.CANCELLED, survivors=(left,))], 8)
    stands.note([AttemptRow(task=B, epoch=1, status=AttemptStatus.CANCELLED, exit=ExitStatus(unowned=(foreign,)))], 8)
    stands.note([run(RunStatus.CANCEL_INCOMPLETE), task(B, TaskStatus.CANCELLED)], 9)
    whole = stands.cancelled(R, "", after=5)
    assert whole is not None
    assert (whole.status, whole.verified, whole.survivors, whole.unowned) == ("cancel_incomplete", False, (left,), (foreign,))
    one = stands.cancelled(R, B, after=5)
    assert one is not None
    assert (one.task, one.verified, one.survivors) == (B, True, ())


@given(st.permutations(range(1, 7)), st.data())
def test_the_newest_row_counts_in_whichever_order_they_are_heard_of(order: list[int], data: st.DataObject) -> None:
    statuses = data.draw(st.lists(st.sampled_from(list(TaskStatus)), min_size=6, max_size=6))
    stands = RunStanding()
    stands.note([run(RunStatus.RUNNING)], 0)
    for seq in order:
        stands.note([task(A, statuses[seq - 1])], seq)
    end = stands.end(R, A, or_waiting=False)
    newest = statuses[-1]
    expected = newest in {
        TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.CANCEL_INCOMPLETE, TaskStatus.SKIPPED,
    }  # fmt: skip
    assert (end is not None) is expected
