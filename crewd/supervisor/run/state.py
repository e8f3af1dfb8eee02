"""The state of one run: its tasks, each in one of its phases, and what holds for all of them.

Tests: tests/supervisor/run/test_phases.py, tests/supervisor/run/test_tries.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from crewd.model.agent import Access
from crewd.model.budget import Used
from crewd.model.green import VERIFY_SUFFIX
from crewd.model.ids import task_id
from crewd.model.limits import CONCURRENCY_MAX
from crewd.model.policy import Restarts, Retry
from crewd.model.reasons import RefusalReason
from crewd.model.rows import BlockInfo, CancelInfo, UndeliveredMessage
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.statuses import RUN_TERMINAL, RunStatus, TaskStatus
from crewd.model.workflow import PLANNER, Effectiveness, Step, Workflow
from crewd.supervisor.admission import Idle
from crewd.supervisor.attempt.mailbox import Mailbox
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.phases import AT_REST, IsLive, IsOver, IsParked, IsQueued, TaskPhase, status_of
from crewd.supervisor.run.tries import Tried


class Task(msgspec.Struct, frozen=True):
    """A task as the run sees it. `held` are messages that wait for its next attempt; `epoch` is that of its latest one.

    One that is `outside` is never started here. `cancel` is what was asked for of this task alone. `access`, `conflict_key`,
    `guard`, `adaptive`: see `Step`. `plans`: its result is to be approved as a plan. `held_back`: that it waits for its turn
    was said. `used` is what its latest attempt has used, if the run has a budget.
    """

    id: str
    depends_on: tuple[str, ...]
    phase: TaskPhase = IsQueued()
    epoch: int = 0
    held: Mailbox = Mailbox()
    cancel: CancelInfo | None = None
    tried: Tried = Tried()
    retry: Retry = Retry()
    restart: Restarts = Restarts()
    outside: bool = False
    access: Access = ""
    conflict_key: str = ""
    guard: Effectiveness = "off"
    plans: bool = False
    adaptive: bool = False
    held_back: bool = False
    used: Used = Used()

    @property
    def status(self) -> TaskStatus:
        """The status that people see."""
        return status_of(self.phase)

    @property
    def live(self) -> bool:
        """Whether an attempt of it lives."""
        return isinstance(self.phase, IsLive)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return isinstance(self.phase, IsOver)

    @property
    def completed(self) -> bool:
        """Whether it has ended well."""
        return isinstance(self.phase, IsOver) and self.phase.status is TaskStatus.COMPLETED

    @property
    def notice(self) -> str:
        """The id of what people are told of it now; empty for nothing."""
        return self.phase.notice if isinstance(self.phase, IsParked | IsOver) else ""

    def become(self, phase: TaskPhase) -> Task:
        """In this phase."""
        return replace(self, phase=phase)


class Run(msgspec.Struct, frozen=True):
    """The state. `now` is the latest (monotonic) time that it has heard of, `deadline` when its minutes are over.

    `index` says where a task stands, `linked` whether any task depends on another, `planned` whether one makes a plan that
    is to be approved: they change only when a plan adds tasks, and `workflow` with them. `working`
    and `unfinished` count tasks: a run of a thousand is told of each end, and must not look through all of them. `joins`:
    see `Workflow.join`; each of the `openings` has a message of its own. `blocks`, `approved` and `orders`: see `RunRow`.
    `execution`: whether crewd starts workers at all. If it has a budget, `own` is what all attempts have used, `below` what
    each run below it has, and `used` all of that together; `budget_due` is when it is cancelled, once its budget is used up.
    """

    id: str
    tasks: tuple[Task, ...]
    concurrency: int = CONCURRENCY_MAX
    status: RunStatus = RunStatus.QUEUED
    cancel: CancelInfo | None = None
    undelivered: tuple[UndeliveredMessage, ...] = ()
    max_seconds: float = 0.0
    deadline: float | None = None
    now: float = 0.0
    index: Mapping[str, int] = {}
    linked: bool = False
    planned: bool = False
    working: int = 0
    unfinished: int = 0
    joins: bool = False
    openings: int = 1
    blocks: tuple[BlockInfo, ...] = ()
    approved: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    execution: bool = True
    workflow: Workflow = Workflow("", ())
    own: Used = Used()
    used: Used = Used()
    below: Mapping[str, Used] = {}
    budget_due: float | None = None

    @classmethod
    def of(cls, run: str, tasks: tuple[Task, ...], **more: Any) -> Run:
        """A run with these tasks; `more` are fields."""
        begun = cls(run, (), **more)
        return begun.with_tasks(begun.workflow, tasks)

    def task(self, key: str) -> Task | None:
        """The task of this id."""
        place = self.index.get(key)
        return None if place is None else self.tasks[place]

    def with_task(self, changed: Task) -> Run:
        """With the task in its new state."""
        place = self.index[changed.id]
        before = self.tasks[place]
        return replace(
            self,
            tasks=(*self.tasks[:place], changed, *self.tasks[place + 1 :]),
            working=self.working + _works(changed) - _works(before),
            unfinished=self.unfinished + before.over - changed.over,
        )

    def with_tasks(self, workflow: Workflow, tasks: tuple[Task, ...]) -> Run:
        """With these tasks, the first of which are its own in their order: a plan has added the others to the workflow."""
        return replace(
            self, workflow=workflow, tasks=tasks, index={task.id: place for place, task in enumerate(tasks)},
            linked=any(task.depends_on for task in tasks), planned=any(task.plans for task in tasks),
            working=sum(map(_works, tasks)), unfinished=sum(not task.over for task in tasks),
        )  # fmt: skip

    def with_used(self, own: Used, below: Mapping[str, Used]) -> Run:
        """With these amounts."""
        return replace(self, own=own, below=below, used=sum(below.values(), start=own))

    def at(self, now: float) -> Run:
        """At this time, if it is later than what it has heard of."""
        return replace(self, now=now) if now > self.now else self

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return self.status in RUN_TERMINAL

    @property
    def bars(self) -> RefusalReason | None:
        """Why no message may start a worker of this run again; None if one may."""
        if self.budget_used:
            return RefusalReason.BUDGET_USED
        barred = self.being_cancelled or self.status is RunStatus.CANCEL_INCOMPLETE
        return RefusalReason.CANCELLED if barred else None

    @property
    def budget_used(self) -> str:
        """Which bound of the budget is reached, in words; empty for none."""
        return self.workflow.budget.reached(self.used) if self.workflow.budget.bounded else ""

    @property
    def being_cancelled(self) -> bool:
        """Whether a cancel was asked for and has not ended it yet."""
        return self.cancel is not None and not self.over


def _works(task: Task) -> bool:
    return isinstance(task.phase, IsLive) and not task.phase.waiting


def planners(workflow: Workflow) -> frozenset[str]:
    """The steps after which a plan is to be approved: those of the planners, or what verifies their plans."""
    if not workflow.plan_approval:
        return frozenset()
    verified = {step.id for step in workflow.steps if step.id.endswith(VERIFY_SUFFIX)}
    made = (step.id for step in workflow.steps if step.role == PLANNER and not step.added_by)
    return frozenset(f"{name}{VERIFY_SUFFIX}" if f"{name}{VERIFY_SUFFIX}" in verified else name for name in made)


def new_run(run: str, workflow: Workflow, *, execution: bool = True) -> Run:
    """The state of a run that was just admitted. `execution`: whether workers are started at all."""
    plans = planners(workflow)
    return Run.of(
        run, tuple(task_of(run, step, plans=step.id in plans) for step in workflow.steps),
        concurrency=workflow.max_concurrency or CONCURRENCY_MAX,
        max_seconds=workflow.max_minutes * 60, joins=workflow.joins, execution=execution, workflow=workflow,
    )  # fmt: skip


def task_of(run: str, step: Step, *, plans: bool = False) -> Task:
    """The task of a step, before anything has become of it. `plans`: whether its result is to be approved."""
    return Task(
        task_id(run, step.id), tuple(task_id(run, name) for name in step.depends_on), retry=step.worker.retry,
        restart=step.worker.restart, outside=RUNTIMES[step.worker.runtime].by is By.OUTSIDE,
        access=step.access, conflict_key=step.conflict_key, guard=step.guard, plans=plans, adaptive=step.adaptive,
    )  # fmt: skip


def idle(run: Run, task: Task, *, takes: tuple[str, ...] | None, held: int) -> Idle:
    """A task without a living attempt, as a message finds it."""
    return Idle(
        epoch=task.epoch, cancelled=run.being_cancelled, waiting=isinstance(task.phase, AT_REST),
        parked=isinstance(task.phase, IsParked), takes=takes, held=held, bars=run.bars,
    )  # fmt: skip


Next: TypeAlias = tuple[Run, Decision]
