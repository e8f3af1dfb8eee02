"""Which runs were started by workers, how deep a run stands, and whom a worker may write to. A pure core; `Front` keeps one.

Rule 1: the record says who the parent is and how deep it stands, never the environment of whoever asks.
Rule 2: a run that a worker has started ends with that worker, unless it was told to stay.
Rule 3: what a run has left of its budget bounds the runs that its workers start.
Rule 4: a worker writes to its parent and to the other steps of its run; what it has started it may also steer and answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from crewd.model.agent import Agent, Conversation
from crewd.model.budget import Budget, Used
from crewd.model.errors import Busy, Forbidden, Refused, UsageError
from crewd.model.ids import split_task_id, task_id
from crewd.model.message_kinds import MESSAGE_KINDS, MessageKind, Purpose
from crewd.model.reasons import RefusalReason
from crewd.model.rows import RunRow
from crewd.model.workflow import Step, Workflow

BELOW_BUDGET_MAX = 1_000
"""The most runs below a run with a budget: what each of them has used stands in the run's own row."""

EPOCH_DIGITS_MAX = 9
"""As many as a worker's marker has."""
_USED = RefusalReason.BUDGET_USED
Parent = str
"""A worker as a run's record names it: `TASK#EPOCH`."""


def split_parent(parent: Parent) -> tuple[str, int]:
    """Its task and epoch; epoch 0, which nobody has, if this is no name of a worker."""
    task, _, epoch = parent.rpartition("#")
    return task, int(epoch) if epoch.isascii() and epoch.isdecimal() and len(epoch) <= EPOCH_DIGITS_MAX else 0


def address(own: RunRow, to: str) -> str:
    """Whom a worker of the run `own` means: `parent`, a step of its own run, or what a client would write."""
    if to == "parent":
        if not own.parent:
            raise Refused("no worker has started this one", hint="contact_supervisor reaches the people who watch")
        return split_parent(own.parent)[0]
    return task_id(own.id, to) if any(step.id == to for step in own.workflow.steps) else to


def check_relation(worker: Parent, own: RunRow, other: RunRow, task: str, kind: MessageKind) -> None:
    """Whether `worker`, of the run `own`, may send this kind of message to a task (or the run) `other`. Raises Forbidden."""
    me = split_parent(worker)[0]
    if split_parent(other.parent)[0] == me:
        return
    if task == me:
        raise UsageError("a worker does not write to itself", hint="name another step, or a run that it has started")
    above = split_parent(own.parent)[0]
    if other.id != own.id and (task or other.id) not in {above, above.partition("/")[0]}:
        raise Forbidden(
            f"this worker may not write to {other.name}",
            hint="it writes to its parent, the steps of its run, and what it started",
        )
    if MESSAGE_KINDS[kind].purpose is not Purpose.READING:
        raise Forbidden(f"only a run that this worker has started takes a {kind}", hint="send the kind 'message'")


def budget_below(above: Iterable[tuple[RunRow, Used]], asked: Budget) -> Budget:
    """The budget of a new run: of the one `asked` for, what is left of that of each run above it, with what that has used.

    Raises Refused if nothing is left.
    """
    for row, used in above:
        reached = row.workflow.budget.reached(used)
        if reached:
            hint = f"nothing starts below {row.name} any more; start another run, with a larger budget"
            raise Refused(f"{row.name}, which is above this run, has used its budget: {reached}", hint=hint, reason=_USED)
        if len(row.below) >= BELOW_BUDGET_MAX:
            raise Refused(
                f"{BELOW_BUDGET_MAX:,} runs were started below {row.name}, which has a budget, and no more can be counted",
                hint="start another run for the rest of the work, or one without a budget",
            )
        asked = asked.within(row.workflow.budget.left(used))
    return asked


def with_conversation(workflow: Workflow, above: Conversation | None, starter: Agent | None) -> Workflow:
    """The workflow, with the session that its agents begin with a copy of, where they have none (`Agent.forks`).

    `above` is that of the agent `starter`, which starts the run. Another program could not read it, nor could one that has its
    sessions in another directory: such an agent begins without one.
    """
    if above is None or starter is None:
        return workflow

    def with_session(step: Step) -> Step:
        agent = step.worker.agent
        if agent is None or not agent.forks or agent.session or not _share_sessions(agent, starter):
            return step
        return replace(step, worker=replace(step.worker, agent=replace(agent, session=above.session)))

    return replace(
        workflow,
        steps=tuple(with_session(step) for step in workflow.steps),
        roles={name: with_session(role) for name, role in workflow.roles.items()},
    )


def may_fork(workflow: Workflow, starter: Agent | None) -> bool:
    """Whether an agent of the workflow begins with a copy of the session of the agent `starter`, once that has one."""
    return with_conversation(workflow, Conversation("", "any"), starter) != workflow


def _share_sessions(agent: Agent, other: Agent) -> bool:
    same_program = agent.runtime != "acp" or agent.command == other.command  # many programs speak ACP
    return same_program and (agent.runtime, agent.config_dir) == (other.runtime, other.config_dir)


def agent_of(row: RunRow, parent: Parent) -> Agent | None:
    """The agent that is a worker of a run; None if it is none."""
    name = split_task_id(split_parent(parent)[0])[1]
    return next((step.worker.agent for step in row.workflow.steps if step.id == name), None)


@dataclass(slots=True)
class Lineage:
    """The living runs of each parent, with what becomes of them when it ends."""

    _children: dict[Parent, dict[str, str]] = field(default_factory=dict)

    def add(self, run: str, parent: Parent, on_parent: str) -> None:
        """A run lives that this worker has started."""
        self._children.setdefault(parent, {})[run] = on_parent

    def remove(self, run: str) -> None:
        """The run is over."""
        for children in self._children.values():
            children.pop(run, None)
        self._children = {parent: children for parent, children in self._children.items() if children}

    def ending_with(self, task: str, epoch: int) -> list[str]:
        """The runs that end now that this worker has."""
        children = self._children.get(f"{task}#{epoch}", {})
        return [run for run, on_parent in children.items() if on_parent == "end"]

    def depth_below(self, parent: Parent, row: RunRow | None, *, depth_max: int) -> int:
        """How deep a new run of this worker stands. `row` is the worker's own run; None if the worker has ended.

        Raises Refused if nothing may start below it or it only reads, Busy if it has as many living runs as its limits allow.
        """
        if row is None:
            raise Refused(f"the worker {parent} that asks for this run has ended", hint="nothing starts below it")
        if row.depth + 1 > depth_max:
            raise Refused(f"workers may be nested {depth_max} deep", hint="raise depth_max in crewd.toml")
        task, _ = split_parent(parent)
        step = next((step for step in row.workflow.steps if step.id == split_task_id(task)[1]), None)
        if step is not None and step.access == "shared":
            hint = "access: exclusive lets it change things, and start runs that do"
            raise Refused(f"step {step.id} only reads (access: shared): it starts no runs", hint=hint)
        most = 0 if step is None else step.worker.limits.children
        if most and len(self._children.get(parent, {})) >= most:
            raise Busy(f"the worker {task} has {most} live runs of its own", hint="wait for one, or raise its limits.children")
        return row.depth + 1
