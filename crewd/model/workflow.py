"""A workflow: steps bound to roles, as a value, and the checks that it must pass at the door.

Parsing from Markdown stands in `workflow_markdown`. What does not fit here: when a step runs (see `supervisor.run`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import msgspec

from crewd.model.agent import Access, Agent, check_agent
from crewd.model.budget import Budget, check_budget
from crewd.model.errors import UsageError, unencodable
from crewd.model.green import (
    LEVELS,
    VERIFICATION,
    VERIFY_SUFFIX,
    Green,
    Level,
    check_green,
    check_levels,
    is_verification,
    needed,
    required,
)
from crewd.model.hooks import STEP_POINTS, Hook, check_hooks
from crewd.model.ids import check_name
from crewd.model.inputs import GOAL, Input, check_inputs, variable
from crewd.model.limits import (
    ARGUMENT_BYTES_MAX,
    INPUT_BYTES_MAX,
    LABELS_MAX,
    NOTE_CHARS_MAX,
    ORPHAN_GRACE_SECONDS_DEFAULT,
    ROLES_MAX,
    STEPS_MAX,
)
from crewd.model.packet import Packet, check_packet
from crewd.model.policy import SECONDS_MAX, Limits, Restarts, Retry, check_policy
from crewd.model.runtimes import RUNTIMES, runtime_of
from crewd.model.shell import place_values
from crewd.model.variables import check_variable

Effectiveness = Literal["", "off", "warn", "block", "fail"]
PeerProtocol = Literal["", "crewd", "crewd-stdio"]
PLANNER = "planner"
"""The role of a step whose result is the plan of its run."""
ORIGINS_MAX = 8
"""Of one step: there are a few fields that a file can decide."""
RLIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")


class WorkerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a worker process runs, with what and within which bounds.

    `call` is `module:function`; `argv` is a command and its arguments; `shell` is a command line for `/bin/sh`. Exactly one of
    the three is given, or the step is `outside`: crewd starts nothing, and waits for somebody to claim it. A step with nothing
    of all this is meant for an agent runtime. `stdin` is the input of a command: nothing (`none`), one piece of text per steer
    (`lines`), the bytes of `input`, or the file `stdin_file`. With `pty` (rows, columns) the command has a terminal, and
    steers type. `env` is set for the worker, `env_pass` names variables of the daemon that it gets besides the usual ones;
    with `clean_env` it gets the usual ones not. `rlimits` are soft and hard limits by the names of `setrlimit` in lower case
    (`nofile`, `core`); `nice` is added to the daemon's. A command with the `protocol` `crewd` is a worker itself: it finds its
    bootstrap in the file that the variable `CREWD_BOOTSTRAP` names, and speaks to crewd as docs/protocol.md says; one with
    `crewd-stdio` reads and writes JSON lines, as docs/stdio.md says. `agent` is an AI coding agent, which is given the step's
    text and the goal (docs/agents.md). `hooks` are asked before and after, in this order (docs/hooks.md). `cwd` is where it
    works, from the working directory of its run.
    """

    call: str = ""
    argv: tuple[str, ...] = ()
    shell: str = ""
    args: dict[str, object] = {}
    stdin: Literal["none", "lines", "input", "file"] = "none"
    input: bytes = b""
    stdin_file: str = ""
    start: Literal["fork", "spawn"] = "fork"
    env: dict[str, str] = {}
    on_orphan: Literal["keep", "end"] = "keep"
    orphan_grace_seconds: float = ORPHAN_GRACE_SECONDS_DEFAULT
    env_pass: tuple[str, ...] = ()
    umask: int | None = None
    nice: int = 0
    rlimits: dict[str, int] = {}
    limits: Limits = Limits()
    retry: Retry = Retry()
    restart: Restarts = Restarts()
    outside: bool = False
    clean_env: bool = False
    pty: tuple[int, int] | None = None
    protocol: PeerProtocol = ""
    agent: Agent | None = None
    hooks: tuple[Hook, ...] = ()
    cwd: str = ""

    @property
    def runtime(self) -> str:
        """The name of its runtime; see `RUNTIMES`."""
        return runtime_of(self)

    @property
    def takes(self) -> tuple[str, ...] | None:
        """The capabilities of its worker, where the spec decides them; None where the worker says them itself."""
        capabilities = RUNTIMES[self.runtime].capabilities
        return None if capabilities is None else capabilities(self)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: its place in the graph, its files, and its worker.

    `agent`, `model` and `skills` are names. The client that starts the run looks them up and writes what it found into
    `worker`; crewd itself only keeps the names.

    `access`: whether it only reads (`shared`) or changes something (`exclusive`). Of the steps of a run that declare
    their access and have the same `conflict_key` an exclusive one runs alone. `effectiveness`: what becomes of a worker that
    has completed and did nothing that crewd could see: no operation, no tokens (docs/workflows.md). Empty: `block` for an agent
    whose access is exclusive, `warn` for one whose access is shared, else `off`. `verify`: a command line that looks at what
    the step has done; when the run is admitted it becomes a step of its own, `ID.verify`. `verify_levels`: such commands by
    level (see `crewd.model.green`); the highest that runs is `ID.verify`, and those before it `ID.verify.LEVEL`. `level`: the
    level that the step shows; crewd sets it. `packet`: the bounds of its work, for
    an agent; its artifacts are a part of the verification. `adaptive`: its result is a plan,
    whose tasks become steps (docs/workflows.md); those have its name in `added_by`, which crewd sets. `reads_nothing`: an agent
    without `reads` is told nothing of the steps that it depends on. `origins`: who has decided its agent, model and access, for
    people.
    """

    id: str
    role: str = ""
    agent: str = ""
    model: str = ""
    skills: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    output: str = ""
    text: str = ""
    worker: WorkerSpec = WorkerSpec()
    access: Access = ""
    conflict_key: str = ""
    effectiveness: Effectiveness = ""
    verify: str = ""
    verify_levels: dict[Level, str] = {}
    level: Green = ""
    adaptive: bool = False
    packet: Packet | None = None
    added_by: str = ""
    reads_nothing: bool = False
    origins: dict[str, str] = {}

    @property
    def guard(self) -> Effectiveness:
        """Its effectiveness, or what holds if it says none."""
        if self.effectiveness or self.worker.agent is None:
            return self.effectiveness or "off"
        return "block" if self.access == "exclusive" else "warn" if self.access == "shared" else "off"


Join = Literal["off", "group", "smart"]


class Workflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A DAG of steps. `max_concurrency` 0 means the default; a run that takes longer than `max_minutes` is cancelled.

    `join`: whether the run leaves one message with what became of all its tasks when it ends (`smart`: if it has several).
    `labels` are the caller's own words for it, to list and to subscribe by. `inputs` are what a run of it is given by name.
    `plan_approval`: when a step of the role `planner` is completed, only steps with shared access start until somebody has
    approved of the plan. `unbounded`: more steps at once than CONCURRENCY_MAX. `roles`: who does the tasks of the plans of its
    adaptive steps, by role; the text of a role stands before that of the task. `budget`: what all workers may use together.
    `green`: the level of verification that it has to reach (see `crewd.model.green`).
    """

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    max_concurrency: int = 0
    max_minutes: float = 0.0
    join: Join = "off"
    labels: dict[str, str] = {}
    inputs: dict[str, Input] = {}
    plan_approval: bool = False
    unbounded: bool = False
    roles: dict[str, Step] = {}
    budget: Budget = Budget()
    green: Green = ""

    @property
    def single(self) -> bool:
        """Whether it is one step and stays so: no plan can add any."""
        return len(self.steps) == 1 and not self.steps[0].adaptive

    @property
    def joins(self) -> bool:
        """Whether its end is told in one message."""
        return self.join == "group" or (self.join == "smart" and not self.single)


def check_workflow(workflow: Workflow) -> Workflow:
    """`workflow` if it can be run; UsageError naming what is wrong and what to do if not.

    Its values say where: the `step`, and the `field` of it, or of the workflow, by the names that workflow files have.
    """
    with about(field="name"):
        check_name("workflow name", workflow.name)
    if not workflow.steps:
        raise UsageError(f"workflow {workflow.name} has no steps", hint="add a level-2 heading per step")
    if len(workflow.steps) > STEPS_MAX:
        raise UsageError(f"workflow {workflow.name} has {len(workflow.steps)} steps", hint=f"at most {STEPS_MAX}")
    if workflow.max_concurrency < 0:
        raise UsageError("maxConcurrency is negative", hint="use 1 or more, or leave it out", field="maxConcurrency")
    if not 0 <= workflow.max_minutes <= SECONDS_MAX / 60:
        raise UsageError(f"maxMinutes {workflow.max_minutes:g} is not possible", hint="0 (none) to 1440", field="maxMinutes")
    check_budget(workflow.budget)
    _check_labels(workflow)
    check_green(workflow)
    with about(field="inputs"):
        check_inputs(workflow.inputs)
    names = (GOAL, *workflow.inputs)
    by_id: dict[str, Step] = {}
    ids = {step.id for step in workflow.steps}
    verifications = {step.id for step in workflow.steps if step.role == VERIFICATION}
    wanted = required(workflow)
    for step in workflow.steps:
        with about(step=step.id):
            check_name("step", step.id)
            if step.id in by_id:
                raise UsageError(f"step {step.id} stands twice in workflow {workflow.name}", hint="rename one of them")
            by_id[step.id] = step
            if step.packet is not None:
                check_packet(
                    step.id,
                    step.packet,
                    verified=bool(step.verify or needed(step.verify_levels, wanted))
                    or f"{step.id}{VERIFY_SUFFIX}" in verifications,
                )
            if step.added_by:
                raise UsageError(f"step {step.id} has added_by, which crewd sets", hint="leave it out")
            if step.level and not (step.level in LEVELS and step.worker.shell and is_verification(step, ids)):
                raise UsageError(f"step {step.id} has level, which crewd sets", hint="leave it out")
            _check_worker(step, names)
    _check_order(workflow, by_id)
    _check_roles(workflow, names)
    check_planned(workflow)
    return workflow


def check_planned(workflow: Workflow) -> None:
    """UsageError if a plan is to be approved that no step makes."""
    if workflow.plan_approval and not any(step.role == PLANNER for step in workflow.steps):
        hint = f"give the step whose result is the plan 'role: {PLANNER}'"
        raise UsageError("the plan is to be approved, and no step makes one", hint=hint, field="requirePlanApproval")


def _check_roles(workflow: Workflow, names: Collection[str]) -> None:
    with about(field="roles"):
        if len(workflow.roles) > ROLES_MAX:
            raise UsageError(f"workflow {workflow.name} has {len(workflow.roles)} roles", hint=f"at most {ROLES_MAX}")
        for name, step in workflow.roles.items():
            check_name("role", name)
            if step != msgspec.structs.replace(
                step,
                id=name,
                depends_on=(),
                reads=(),
                output="",
                verify="",
                verify_levels={},
                level="",
                adaptive=False,
                added_by="",
            ):
                hint = "its id is its name; dependsOn, reads, output, verify and adaptive are for the plan to decide"
                raise UsageError(f"role {name} says what only a step can say", hint=hint)
            if step.packet is not None:
                if step.packet.artifacts:
                    hint = "which files a task leaves is for the plan to decide"
                    raise UsageError(f"the packet of role {name} names artifacts", hint=hint, field="packet")
                check_packet(name, step.packet, verified=True)  # the task says how it is checked
            _check_worker(step, names)


def _check_labels(workflow: Workflow) -> None:
    with about(field="labels"):
        if len(workflow.labels) > LABELS_MAX:
            raise UsageError(f"workflow {workflow.name} has {len(workflow.labels)} labels", hint=f"at most {LABELS_MAX}")
        for name, value in workflow.labels.items():
            check_name("label", name)
            check_name(f"label {name}", value)


def _check_order(workflow: Workflow, by_id: Mapping[str, Step]) -> None:
    """Whether the steps can be put in order, and each file is written once, before it is read."""
    writers: dict[str, str] = {}
    for step in workflow.steps:
        if step.output:
            with about(step=step.id, field="output"):
                check_name(f"output of step {step.id}", step.output)
                if step.output in writers:
                    raise UsageError(
                        f"steps {writers[step.output]} and {step.id} both write {step.output}",
                        hint="give each output a name of its own",
                    )
            writers[step.output] = step.id
        for name in step.depends_on:
            if name not in by_id:
                raise UsageError(
                    f"step {step.id} depends on {name}, which is no step of workflow {workflow.name}",
                    hint=f"steps are: {', '.join(by_id)}", step=step.id, field="dependsOn",
                )  # fmt: skip
            if by_id[name].worker.restart.policy == "permanent":
                raise UsageError(
                    f"step {step.id} depends on {name}, which is started again after every end and never completes",
                    hint=f"take 'restart: permanent' from step {name}, or the dependency from step {step.id}",
                    step=step.id, field="dependsOn",
                )  # fmt: skip
        if step.worker.restart.policy == "permanent" and (step.verify or step.verify_levels):
            raise UsageError(
                f"step {step.id} is started again after every end and never completes, so nothing would be verified",
                hint="keep one of 'restart: permanent' and 'verify:'", step=step.id, field="verify",
            )  # fmt: skip
    _check_cycles(by_id)
    for step in workflow.steps:
        for name in step.reads:
            with about(step=step.id, field="reads"):
                check_name(f"reads of step {step.id}", name)
                if name in writers and writers[name] not in ancestors(by_id, step.id):
                    raise UsageError(
                        f"step {step.id} reads {name} but does not depend on {writers[name]}, which writes it",
                        hint=f"add 'dependsOn: {writers[name]}' to step {step.id}",
                    )


@contextmanager
def about(**where: str) -> Iterator[None]:
    """Give a UsageError that leaves this block values that say where in the workflow it is; those that it has stay."""
    try:
        yield
    except UsageError as error:
        error.values = {**where, **error.values}
        raise


def with_workers(workflow: Workflow, change: Callable[[WorkerSpec], WorkerSpec]) -> Workflow:
    """The workflow with the worker of each step, and of each role, as `change` makes it."""

    def changed(step: Step) -> Step:
        worker = change(step.worker)
        return step if worker is step.worker else msgspec.structs.replace(step, worker=worker)

    roles = {name: changed(step) for name, step in workflow.roles.items()}
    return msgspec.structs.replace(workflow, steps=tuple(map(changed, workflow.steps)), roles=roles)


def with_texts(workflow: Workflow, texts: tuple[str, ...] | None) -> Workflow:
    """The workflow, whose steps that are retried have these texts of permanent errors if they have none of their own."""
    if texts is None:
        return workflow

    def changed(worker: WorkerSpec) -> WorkerSpec:
        if worker.retry.attempts == 1 or worker.retry.permanent_texts is not None:
            return worker
        return msgspec.structs.replace(worker, retry=msgspec.structs.replace(worker.retry, permanent_texts=texts))

    return with_workers(workflow, changed)


_OUTSIDE = WorkerSpec(outside=True)
_OF_PROCESSES = (
    "limits", "restart", "env", "args", "start", "stdin", "input", "pty", "protocol", "env_pass", "umask", "nice", "rlimits",
)  # fmt: skip
"""What can be said of a worker only if crewd starts its process."""


def _check_outside(step: Step) -> None:
    worker = step.worker
    if worker.call or worker.argv or worker.shell:
        raise UsageError(f"step {step.id} is outside and has a call or a command", hint="keep one of the two", field="outside")
    has = next((name for name in _OF_PROCESSES if getattr(worker, name) != getattr(_OUTSIDE, name)), "")
    has = has or ("effectiveness" if step.effectiveness else "")
    if has:
        hint = "leave it out: a client that claims the step does its work"
        raise UsageError(f"step {step.id} is outside and has {has}, which crewd cannot keep there", hint=hint, field=has)


def _check_worker(step: Step, names: Collection[str]) -> None:
    worker = step.worker
    _check_gates(step, names)
    if worker.outside:
        _check_outside(step)
    if sum((bool(worker.call), bool(worker.argv), bool(worker.shell))) > 1:
        hint = "keep one of 'call:' and 'run:'"
        raise UsageError(f"step {step.id} has both a call and a command", hint=hint, field="run")
    if step.agent and (worker.call or worker.argv or worker.shell or worker.outside):
        said = f"step {step.id} names agent {step.agent} and is done by something else"
        raise UsageError(said, hint="keep one of the two", field="agent")
    if worker.agent is not None:
        if worker.call or worker.argv or worker.shell or worker.outside:
            raise UsageError(
                f"step {step.id} is an agent and has a call or a command", hint="keep one of the two", field="agent"
            )
        check_agent(step.id, worker.agent)
    if worker.args and worker.runtime == "exec":
        hint = "a command takes what it needs on its line, or from 'env:'; args are for a call"
        raise UsageError(f"step {step.id} has a command and args", hint=hint, field="args")
    check_input(step.id, worker)
    with about(field="run"):
        check_argument(f"step {step.id}: the command line", worker.shell)
        for argument in worker.argv:
            check_argument(f"step {step.id}: an argument", argument)
        if worker.shell:
            try:
                place_values(worker.shell, names)
            except UsageError as error:
                raise UsageError(f"step {step.id}: {error.message}", hint=error.hint, **error.values) from None
    if worker.call:
        module, colon, function = worker.call.partition(":")
        parts = [*module.split("."), *function.split(".")]
        if not colon or not all(part.isidentifier() for part in parts):
            what = f"step {step.id}: {worker.call!r} is not MODULE:FUNCTION"
            raise UsageError(what, hint="for example jobs:index", field="call")
        if module == "__main__":
            what = f"step {step.id}: {worker.call!r} is in your own program, and a worker is a process of its own"
            raise UsageError(what, hint="put it into a module of its own, and name that", field="call")
    if worker.orphan_grace_seconds < 0:
        raise UsageError(f"step {step.id}: orphan_grace_seconds is negative", hint="use 0 or more")
    with about(field="env"):
        for name in (*worker.env, *worker.env_pass):
            check_variable(f"step {step.id}", name)
        for name, value in worker.env.items():
            check_argument(f"step {step.id}: the variable {name}", f"{name}={value}")
    _check_place(step, names)
    if worker.umask is not None and not 0 <= worker.umask <= 0o777:
        raise UsageError(f"step {step.id}: umask {worker.umask:o} is not possible", hint="000 to 777")
    if not -20 <= worker.nice <= 19:
        raise UsageError(f"step {step.id}: nice {worker.nice} is not possible", hint="-20 to 19")
    for limit, most in worker.rlimits.items():
        if limit not in RLIMITS or most < -1:
            raise UsageError(f"step {step.id}: rlimit {limit}={most} is not possible", hint=f"one of {', '.join(RLIMITS)}")
    _check_hooks(step.id, worker)
    check_policy(step.id, worker.limits, worker.retry, worker.restart)


def _check_hooks(step: str, worker: WorkerSpec) -> None:
    with about(field="hooks"):
        check_hooks(f"step {step}", worker.hooks)
        if others := [hook.on for hook in worker.hooks if hook.on not in STEP_POINTS]:
            hint = f"a step's are asked at {', '.join(STEP_POINTS)}; others stand in hooks.toml: docs/hooks.md"
            raise UsageError(f"step {step} has a hook that is about no step: {others[0]}", hint=hint)
        if worker.hooks and worker.runtime in {"crewd", "outside"}:
            hint = "only of a worker whose process is crewd's own"
            raise UsageError(f"step {step} cannot have hooks: nothing of crewd runs in its worker", hint=hint)


def _check_gates(step: Step, names: Collection[str]) -> None:
    check_levels(step.id, step.verify_levels, step.verify)
    for command in (step.verify, *step.verify_levels.values()):
        with about(field="verify"):
            check_argument(f"step {step.id}: the command that verifies it", command)
            place_values(command, names)
    worker = step.worker
    if step.packet is not None and (worker.call or worker.argv or worker.shell or worker.outside):
        hint = "an agent is told it; a command or a call takes what it needs from its text, 'env' or 'args'"
        raise UsageError(f"step {step.id} has a packet and no agent", hint=hint, field="packet")
    if step.conflict_key:
        with about(field="conflictKey"):
            check_name(f"conflictKey of step {step.id}", step.conflict_key)


def _check_place(step: Step, names: Collection[str]) -> None:
    with about(field="cwd"):
        check_argument(f"step {step.id}: cwd", step.worker.cwd)
        _check_literal(step, "cwd", step.worker.cwd, names)
    with about(field="env"):
        for name, value in step.worker.env.items():
            _check_literal(step, f"env {name}", value, names)
    if len(step.origins) > ORIGINS_MAX or any(len(text) > NOTE_CHARS_MAX for text in (*step.origins, *step.origins.values())):
        raise UsageError(f"step {step.id} has too many origins, or too long ones", hint="a few words for each field")


def _check_literal(step: Step, what: str, text: str, names: Collection[str]) -> None:
    """UsageError for an input that would stand there as it is written: a command line is where values are put in."""
    for name in names:
        if f"{{{name}}}" in text:
            hint = f"a command finds it in ${variable(name)}, and '{{{name}}}' stands in the line of 'run:'"
            raise UsageError(f"step {step.id}: {what} says {{{name}}}, and no value is put in there", hint=hint)


def check_argument(what: str, text: str) -> None:
    """UsageError for what no program can be given: Linux takes no NUL byte, and at most 131,071 bytes at once (execve(2)).

    Text that is not UTF-8 is refused as well: it cannot be sent.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise unencodable(error) from None
    if "\0" in text:
        raise UsageError(f"{what} holds a NUL byte", hint="no program can be given one")
    if len(text) > ARGUMENT_BYTES_MAX // 4 and len(text.encode("utf-8", "replace")) > ARGUMENT_BYTES_MAX:
        raise UsageError(f"{what} has more than {ARGUMENT_BYTES_MAX} bytes", hint="give it as a file, or as input (--stdin)")


def check_input(step: str, worker: WorkerSpec) -> None:
    """UsageError for an input that contradicts the rest."""
    with about(field="protocol" if worker.protocol else "stdin"):
        _check_input(step, worker)


def _check_input(step: str, worker: WorkerSpec) -> None:
    if worker.pty is not None:
        if not (worker.argv or worker.shell) or worker.stdin != "none":
            raise UsageError(f"step {step} cannot have a terminal", hint="a command can, and its input is then what is typed")
        if not all(1 <= side <= 10_000 for side in worker.pty):
            raise UsageError(
                f"step {step}: a terminal of {worker.pty} is not possible", hint="rows and columns, for example 24, 80"
            )
    if worker.protocol and (worker.runtime != worker.protocol or worker.stdin != "none" or worker.pty is not None):
        hint = "only a command can, and it has no other input"
        raise UsageError(f"step {step} cannot speak the protocol itself", hint=hint)
    if worker.stdin != "none" and not (worker.argv or worker.shell):
        raise UsageError(f"step {step} has an input and no command", hint="only a command reads standard input")
    if (worker.stdin == "input") != bool(worker.input) and worker.input:
        raise UsageError(f"step {step} has input, and stdin is {worker.stdin}", hint="stdin is 'input' then")
    if (worker.stdin == "file") != bool(worker.stdin_file):
        raise UsageError(f"step {step}: stdin_file and stdin contradict each other", hint="stdin is 'file', with a path")
    if len(worker.input) > INPUT_BYTES_MAX:
        raise UsageError(
            f"the input has {len(worker.input)} bytes", hint=f"at most {INPUT_BYTES_MAX}; a file may be larger: --stdin FILE"
        )


def _check_cycles(steps: Mapping[str, Step]) -> None:
    done: set[str] = set()
    for root in steps:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
            elif name in path:
                cycle = " → ".join([*path[path.index(name) :], name])
                raise UsageError(
                    f"the steps depend on each other in a circle: {cycle}", hint="remove one dependsOn",
                    step=path[-1], field="dependsOn",
                )  # fmt: skip
            elif name not in done:
                path.append(name)
                stack.append((name, True))
                stack += [(before, False) for before in steps[name].depends_on]


def ancestors(steps: Mapping[str, Step], name: str) -> frozenset[str]:
    """Every step that `name` waits for, directly or not."""
    found: set[str] = set()
    stack = list(steps[name].depends_on)
    while stack:
        before = stack.pop()
        if before not in found:
            found.add(before)
            stack += steps[before].depends_on
    return frozenset(found)
