"""The tables of moves say what the machine of a run does: no more, no less."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from crewd.model import events as ev
from crewd.model.agent import Access
from crewd.model.errors import CrewdError
from crewd.model.policy import Restarts, Retry
from crewd.model.reasons import FailureReason
from crewd.model.rows import CancelInfo
from crewd.model.statuses import (
    RUN_MOVES,
    RUN_REOPENS,
    RUN_TERMINAL,
    TASK_MOVES,
    TASK_REQUEUES,
    TASK_TERMINAL,
    AttemptStatus,
    RunStatus,
    TaskStatus,
)
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.run import claims
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.state import Run, new_run

ME = claims.Holder("me", "digest")
ENDS = (
    AttemptStatus.COMPLETED,
    AttemptStatus.FAILED,
    AttemptStatus.CANCELLED,
    AttemptStatus.CANCEL_INCOMPLETE,
    AttemptStatus.LOST,
)
AGAIN = (heard.Reopen, heard.StartFor)
"""What takes up again what was over."""


def some_run(chance: random.Random) -> Run:
    """Two or three tasks, the second perhaps after the first, with such policies as people choose."""
    outside = chance.random() < 0.3
    worker = WorkerSpec(
        call="" if outside else "jobs:add", outside=outside, retry=Retry(attempts=chance.choice((1, 2))),
        restart=Restarts(policy=chance.choice(("temporary", "permanent")), restarts_max=chance.choice((0, 1))),
    )  # fmt: skip
    after: tuple[str, ...] = chance.choice(((), ("a",)))
    access: tuple[Access, Access] = chance.choice((("", ""), ("", "shared"), ("exclusive", "exclusive")))
    steps = (
        Step("a", role="planner", worker=worker, access=access[0], effectiveness=chance.choice(("off", "block"))),
        Step("b", worker=worker, access=access[1], depends_on=after),
        *((Step("c", worker=worker),) if chance.random() < 0.6 else ()),
    )
    return new_run(
        "r",
        Workflow(
            "w", steps, max_minutes=chance.choice((0, 1)), max_concurrency=chance.choice((0, 1)),
            plan_approval=chance.random() < 0.6,
        ),
    )  # fmt: skip


def take(run: Run, chance: random.Random, at: float) -> tuple[Run, Any]:
    """One event, or one act of somebody that claims tasks; the run after it."""
    key = chance.choice(run.tasks).id
    cancel = CancelInfo("shutdown", mode=chance.choice(("now", "graceful")))
    ended = ev.AttemptEnded(status=chance.choice(ENDS), reason=chance.choice(("", FailureReason.SPAWN_FAILED)))
    mail = Mail(f"m{at}", "steer", 1)
    match chance.randrange(14):
        case 0 | 1 | 2 | 3:
            event: heard.RunEvent = heard.AttemptOver(key, ended, at=at, wall=at, observed=chance.random() < 0.7)
        case 12:
            event = heard.Approve(at)
        case 4 | 5:
            event = heard.Due(at, at)
        case 6:
            event = heard.CancelTask(key, cancel)
        case 7:
            event = heard.CancelRun(cancel) if chance.random() < 0.4 else heard.Proceed(at)
        case 8:
            event = heard.Reopen(chance.choice(("retry", "resume")), at, chance.choice(("", key)))
        case 9:
            event = heard.StartFor(key, mail, at) if chance.random() < 0.4 else heard.Hold(key, mail)
        case 10:
            event = heard.Waits(key, chance.random() < 0.5, at)
        case 11:
            event = heard.Dismiss()
        case _:
            return act(run, key, chance, at), None
    return decide(run, event)[0], event


def act(run: Run, key: str, chance: random.Random, at: float) -> Run:
    said = ev.TaskEnded(status=chance.choice((TaskStatus.COMPLETED, TaskStatus.FAILED)))
    try:
        match chance.randrange(4):
            case 0 | 1:
                return claims.claim(run, key, ME, chance.choice((1.0, 1e9)), at, at)[0]
            case 2:
                return claims.release(run, key, ME, at)[0]
            case _:
                return claims.finish(run, key, ME, said, at)[0]
    except CrewdError:
        return run


@cache
def walked() -> tuple[set[tuple[TaskStatus, TaskStatus]], set[tuple[RunStatus, RunStatus]], set[str]]:
    """Each move of a task and of a run on many walks, but for what was taken up again; and from what that was."""
    chance = random.Random(1)
    tasks: set[tuple[TaskStatus, TaskStatus]] = set()
    runs: set[tuple[RunStatus, RunStatus]] = set()
    reopened: set[str] = set()
    for _ in range(2_000):
        run = some_run(chance)
        at = 0.0
        for _ in range(14):
            at += chance.choice((0.0, 0.1, 1.0, 100.0))
            before = run
            run, event = take(before, chance, at)
            both = list(zip(before.tasks, run.tasks, strict=True))
            if before.status != run.status:
                reopened |= {f"run {before.status}"} if before.over else set()
                runs |= set() if before.over else {(before.status, run.status)}
            reopened |= {f"task {a.status}" for a, b in both if a.over and a.status != b.status}
            tasks |= {(a.status, b.status) for a, b in both if not a.over and a.status != b.status}
            assert isinstance(event, AGAIN) or not before.over or run.status == before.status
    return tasks, runs, reopened


def told(table: Mapping[Any, frozenset[Any]]) -> set[tuple[Any, Any]]:
    return {(before, after) for before, afters in table.items() for after in afters}


THROUGH = {(TaskStatus.PARKED, TaskStatus.RUNNING), (TaskStatus.CLAIMED, TaskStatus.RUNNING)}
"""Two moves in one decision: it is queued again, and started at once."""
IN_OLD_LOGS = {(TaskStatus.QUEUED, TaskStatus.FAILED), (RunStatus.QUEUED, RunStatus.FAILED)}
"""Moves that are not made any more, and that the log of an older crewd may hold."""


def test_tasks_make_each_move_of_the_table_and_no_other() -> None:
    moves, _, _ = walked()
    assert moves - told(TASK_MOVES) == THROUGH, "not in the table"
    assert told(TASK_MOVES) - moves - IN_OLD_LOGS == set(), "in the table, and never made"


def test_runs_make_each_move_of_the_table_and_no_other() -> None:
    _, moves, _ = walked()
    assert moves - told(RUN_MOVES) == set(), "not in the table"
    rare = {(RunStatus.BLOCKED, RunStatus.FAILED)}  # test_blocks makes it
    assert told(RUN_MOVES) - moves - IN_OLD_LOGS - rare == set(), "in the table, and never made"


def test_only_what_the_table_names_is_taken_up_again() -> None:
    _, _, reopened = walked()
    assert {each for each in reopened if each.startswith("run")} == {f"run {status}" for status in RUN_REOPENS}
    wanted = (TASK_REQUEUES | {TaskStatus.COMPLETED}) & TASK_TERMINAL  # a message may start a worker that had completed
    assert {each for each in reopened if each.startswith("task")} == {f"task {status}" for status in wanted}
    assert RUN_REOPENS < RUN_TERMINAL
