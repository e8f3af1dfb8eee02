"""The actor of one run: the thin shell round `decide`, and the supervisor of its controllers.

It begins by reading its own rows, so that a new run, one that crewd finds after a crash, and one whose actor was restarted
all take the same path. What people ask of it is carried out in `orders` and `mailing`.

Tests: tests/testing/world/test_machine.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec.structs import replace

from crewd.actors import AnyRef, ChildSpec, ExitKind, ExitReason, Lane, Ref, Restart, Supervisor, Timer, ToSupervisor
from crewd.model.budget import Used
from crewd.model.errors import Busy, CrewdError, InvariantError, Refused, Unavailable, UsageError
from crewd.model.events import Draft, TaskAdded, TaskEnded, TaskUnclaimed
from crewd.model.ids import split_task_id
from crewd.model.json_like import not_json
from crewd.model.reasons import CancelReason
from crewd.model.receipts import Receipt
from crewd.model.rows import CancelInfo, MessageRow, RunRow
from crewd.model.statuses import ATTEMPT_TERMINAL, RUN_TERMINAL, AttemptStatus
from crewd.model.workflow import Step
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.guardian import LeaveFile
from crewd.store.messages import Committed, Delayed, Guard, Known, LiveRun, Load, NoRun, Overfull, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.attempt.controller import Begins, Controller, Past
from crewd.supervisor.attempt.mailbox import Mailbox
from crewd.supervisor.attempt.state import Attempt, Messages
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import FRONT, GUARDIAN, STORE
from crewd.supervisor.journal import Journal
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.mailing import Mailing
from crewd.supervisor.run.orders import carry_out, show_progress
from crewd.supervisor.run.phases import InBackoff, IsClaimed
from crewd.supervisor.run.recall import attempt_of, mail_of, over_of, run_of
from crewd.supervisor.run.shell import AnswerReceipt, AnswerRecorded, AnswerWith, Deed, LeaveOutput, TakeIn
from crewd.supervisor.run.state import Run, Task

if TYPE_CHECKING:
    from crewd.model.wall_times import WallTimes
    from crewd.supervisor.services import Services

EARLY_MAX = 1_000
"""Commands kept while the rows are read; one more is answered as busy."""
_RECOVERED = frozenset({AttemptStatus.LOST, AttemptStatus.CANCELLED})
"""After an attempt that has ended so, the next one takes up work that was broken off."""


class RunActor(Supervisor[cm.RunMessage]):
    """See the module's text. `id`, `row` and `run` are for its parts, and for a world that looks on."""

    def __init__(
        self, services: Services, run: str, after_end: list[cm.Command], created: list[LiveRun], entering: list[cm.Command]
    ) -> None:  # fmt: skip
        super().__init__()
        self.services = services
        self.id = run
        self._after_end = after_end
        self._created = created  # taken once: an actor that takes its place reads the rows
        self._entering = entering  # what came for this run while no actor of it was in the directory
        self._row: RunRow | None = None
        self._run: Run | None = None
        self._early: list[cm.Command | cm.CancelAll] = []
        self._early_used: dict[str, Used] = {}
        self._cause = ""  # the request that is being carried out
        self._mailing = Mailing(self)
        self._receipts: dict[str, Receipt] = {}
        self._pending_cancels: dict[tuple[str, int], CancelInfo] = {}
        self._alarms: dict[float, Timer] = {}
        self._checkpoints: dict[str, object] = {}
        self._latest: dict[str, AttemptStatus] = {}
        """How the latest attempt of each task that has ended has ended."""
        self._leaving = self._left = False
        self._told_used: Used | None = None
        self._ended_below: set[str] = set()

    def on_start(self) -> None:
        """Enter the directory and read the rows."""
        directory = self.services.directory
        directory.runs[self.id] = self.ref
        self._early += self._entering
        self._entering.clear()
        self._journal: Journal[Deed] = Journal(
            self.ref, lambda: directory.part(STORE), self._perform, lambda effect: isinstance(effect, do.CancelAttempt)
        )
        super().on_start()
        if self._created:
            self._restore(self._created.pop(), fresh=True)
        else:
            directory.part(STORE).tell(Load(self.id, self.ref))

    def on_stop(self) -> None:
        """Leave the directory; controllers do not outlive their run."""
        self._leave_directory()
        for command in self._early:
            self.returned(command)
        super().on_stop()

    def _leave_directory(self) -> None:
        if self.services.directory.runs.get(self.id) is self.ref:
            del self.services.directory.runs[self.id]
            self.services.directory.rows.pop(self.id, None)
            self.services.directory.used.pop(self.id, None)
            self.services.directory.starting -= {
                key for key in self.services.directory.starting if key[0].startswith(f"{self.id}/")
            }

    def on_turn_end(self) -> None:
        """Send what was decided to the store; go when the run is over and everybody who asked has been answered."""
        ending = self.services.directory.ending
        if ending is not None and self._run is not None and not self._run.over and self._run.cancel is None:
            self.feed(heard.CancelRun(ending))  # it has begun, or was opened again, since everybody was told
        self._journal.seal()
        if self._run is not None and not self._run.over:
            self._leaving = False  # opened again before it had left
        if self._leaving and self._journal.idle:
            self._leaving = False
            if self._row is not None and self.services.directory.names.get(self._row.name) == self.id:
                del self.services.directory.names[self._row.name]
            self._left = True
            self._leave_directory()  # from here on the front answers, or opens the run again with an actor of its own
            front = self.services.directory.find(FRONT)
            if front is not None:
                front.offer(cm.RunOver(self.id), lane=Lane.CONTROL)
            self.leave()

    def returned(self, message: ToSupervisor | cm.RunMessage) -> None:
        """A command that came when the run was over: the front answers it."""
        front = self.services.directory.find(FRONT)
        if front is not None and isinstance(message, cm.Command):
            front.offer(message, lane=message.lane)

    def child_ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """A controller that crashed takes the run's actor with it: both begin again from the rows."""
        super().child_ended(ref, reason)
        if reason.abnormal and reason.kind is not ExitKind.KILLED:  # killed is who was slow to stop, with the run itself
            raise InvariantError(f"controller {ref.name} crashed: {reason}")

    def receive_other(self, message: cm.RunMessage) -> None:
        """Translate messages into events of the machine."""
        match message:
            case Committed(_, _, receipt):
                if receipt is not None:
                    self._receipts[receipt.id] = receipt
                self._journal.heard(message)
            case Known() | Rejected() | Delayed():
                self._journal.heard(message)
            case LiveRun():
                self._restore(message)
            case NoRun():
                self._never_was()
            case cm.AttemptHasEnded(over):
                for mail in self._mailing.hand_over(over.task, self._epoch(over.task)):
                    self._mailing.settle_late(over.task, mail)
                if over.checkpoint is not None:
                    self._checkpoints[over.task] = over.checkpoint
                self._latest[over.task] = over.ended.status
                self.feed(self._timed(over))
                self._resume_commands()
            case cm.Tick(due):
                self._alarms.pop(due, None)
                if self._run is not None:
                    self.feed(heard.Due(self.context.now(), self.services.clock.wall()))
            case cm.Waits(task, waiting):
                if self._run is not None:
                    self.feed(heard.Waits(task, waiting, self.context.now()))
            case cm.Spent(task, epoch, used):
                if self._run is not None:
                    self.feed(heard.Spent(task, epoch, used, self.context.now()))
            case Overfull(size, most):
                text = f"its run has written {size:,} bytes into the store, {most:,} are allowed (run_store_bytes)"
                for (task, _), controller in self.services.directory.attempts.items():
                    if task.startswith(f"{self.id}/"):
                        controller.offer(cm.HitLimit("store_bytes", text), lane=Lane.CONTROL)
            case cm.HandBack(task, mail):
                self._mailing.settle_late(task, mail)
            case cm.Command() if self._left:
                self.returned(message)
            case cm.ChildUsed(child, used):
                self._count_below(child, used)
            case cm.Command() | cm.CancelAll() if self._run is None:
                if len(self._early) < EARLY_MAX:
                    self._early.append(message)
                elif isinstance(message, cm.Command):
                    self.respond(message.caller, Busy("the run is starting", hint="try again"))
            case cm.Command():
                self._obey(message)
            case cm.CancelAll(cancel):
                self.feed(heard.CancelRun(cancel))
            case _:
                self.unexpected(message)

    def state_in_words(self) -> str:
        """See `Actor`."""
        return "its run is starting" if self._run is None else f"its run is {self._run.status}"

    @property
    def durable_state(self) -> Run | None:
        """The machine, if everything that it has decided is durable: what a restart would have to make again."""
        return self._run if self._journal.idle else None

    # -- beginning ----------------------------------------------------------------------------------------------

    def _never_was(self) -> None:
        """Somebody has taken the run away since this actor was started for it."""
        early, self._early = self._early, []
        for command in (*self._after_end, *(each for each in early if isinstance(each, cm.Command))):
            self.respond(command.caller, Refused("this run was forgotten or archived", reason="archived"))
        self._after_end.clear()
        self._leaving = True

    def _restore(self, live: LiveRun, *, fresh: bool = False) -> None:
        """Begin with these rows. `fresh`: they were just committed, so nothing was ordered for their attempts yet."""
        if self._run is not None:
            return
        self._row = live.run
        if live.run.openings == 1:  # one that was opened again may not be the newest of its name: the rows tell
            names = self.services.directory.names
            names[live.run.name] = max(self.id, names.get(live.run.name, ""))
        self.services.directory.rows[self.id] = live.run
        # One that somebody has opened again is not its parent's any more: it goes on although the parent is over.
        if live.run.parent and live.run.openings == 1 and live.run.status not in RUN_TERMINAL:
            front = self.services.directory.find(FRONT)
            if front is not None:
                front.offer(cm.ChildLives(self.id, live.run.parent, live.run.on_parent), lane=Lane.CONTROL)
        wall, now, times = self.services.clock.wall(), self.context.now(), self.services.wall_times()
        unsettled = [row for row in live.messages if not row.receipt.settled]
        rows = {row.id: row for row in live.tasks}
        self._recall_past(live)
        self._run = run_of(live, wall, now, execution=self.services.config.execution, times=times)
        tasks = self._run.tasks
        held = [mail.expires_at for task in tasks for mail in task.held.mails]
        waits = [task.phase.due for task in tasks if isinstance(task.phase, InBackoff | IsClaimed)]
        for due in (self._run.deadline, *held, *waits):
            if due is not None and not self._run.over:
                self._perform(do.AlarmAt(due))
        self._mailing.begin_after(max((row.seq for row in live.messages), default=0))
        for child, used in {**live.below, **self._early_used}.items():  # what this run has missed: it had ended, or crewd had
            self.feed(heard.ChildUsed(child, used, now))
        if self._run.over:
            while self._after_end:  # taken once: if this actor crashes before it is durable, whoever asked asks again
                self._obey(self._after_end.pop())
            self._take_up(unsettled, wall, now, times)
            if self._run.over:
                self._journal.record([], [do.Leave()])
            self._resume_commands()  # nothing may start here that would call for them
            return
        for task in tasks:
            if task.outside and task.completed:
                self._leave_file(
                    task.id, rows[task.id].result, if_absent=True
                )  # crewd may have ended before the guardian had the order
        over: list[heard.AttemptOver] = []
        for task in tasks:
            attempt = next((a for a in live.attempts if a.task == task.id and a.epoch == task.epoch), None)
            if not task.live or attempt is None:
                continue
            if attempt.status in ATTEMPT_TERMINAL:
                over.append(over_of(attempt))
            elif fresh:
                self._start_controller(task.id, task.epoch, Attempt(task.id, task.epoch), Begins.RESERVED)
            else:
                self._start_controller(task.id, task.epoch, attempt_of(live, attempt, wall, now, times), Begins.RECALLED)
        self._take_up(unsettled, wall, now, times)
        for ended in over:
            for row in unsettled:
                if row.receipt.task == ended.task:
                    self._mailing.settle_late(ended.task, mail_of(row, wall, now, times))
            self.feed(self._timed(ended))
        self.feed(heard.Proceed(now))
        if self._run.cancel is not None and not self._run.over:
            self.feed(heard.CancelRun(self._run.cancel))
        self._resume_commands()

    def _take_up(self, unsettled: list[MessageRow], wall: float, now: float, times: WallTimes) -> None:
        """Messages of tasks that are over: they were admitted, and crewd was away before anything came of it.

        The first of them may start the task; the others are then for a task that is not over any more.
        """
        over = {task.id for task in self.run.tasks if task.over}
        for row in unsettled:
            if row.receipt.task in over:
                self._mailing.take_in(row.receipt.task, mail_of(row, wall, now, times))

    def _recall_past(self, live: LiveRun) -> None:
        self._checkpoints = {row.task: row.checkpoint for row in live.attempts if row.checkpoint is not None}
        by_epoch = sorted(live.attempts, key=lambda row: row.epoch)
        self._latest = {row.task: row.status for row in by_epoch if row.status in ATTEMPT_TERMINAL}

    def _start_controller(self, task: str, epoch: int, state: Attempt, begins: Begins) -> None:
        if self._row is None:
            raise InvariantError("a controller was asked for before the rows were read")
        row, step = self._row, self.step(task)
        recovers = self._latest.get(task) in _RECOVERED
        if (task, epoch) not in self.services.directory.attempts:
            self.services.directory.starting.add((task, epoch))
        services, past = self.services, Past(self._checkpoints.get(task), recovers=recovers)
        self.start_dynamic(
            ChildSpec(
                f"{task}#{epoch}",
                lambda: Controller(services, row, step, state, past, begins),
                restart=Restart.TEMPORARY,
            )
        )

    # -- what its parts ask of it -------------------------------------------------------------------------------

    @property
    def row(self) -> RunRow:
        """See `RunShell`."""
        if self._row is None:
            raise Unavailable("the run is starting", hint="try again")
        return self._row

    @property
    def run(self) -> Run:
        """See `RunShell`."""
        if self._run is None:
            raise Unavailable("the run is starting", hint="try again")
        return self._run

    def now(self) -> float:
        """See `RunShell`."""
        return self.context.now()

    def step(self, task: str) -> Step:
        """See `RunShell`."""
        step_id = split_task_id(task)[1]
        return next(step for step in self.row.workflow.steps if step.id == step_id)

    def target(self, task: str) -> Task:
        """See `RunShell`."""
        steps = ", ".join(split_task_id(each.id)[1] for each in self.run.tasks)
        if task:
            found = self.run.task(task)
            if found is None:
                raise UsageError(f"the run has no step {split_task_id(task)[1]}", hint=f"its steps: {steps}")
            return found
        live = [each for each in self.run.tasks if each.live]
        candidates = self.run.tasks if len(self.run.tasks) == 1 else live
        if len(candidates) == 1:
            return candidates[0]
        raise UsageError(
            "the run has no single worker to take the message" if not live else "several workers are live",
            hint=f"name one as RUN/STEP; steps: {steps}",
        )

    def controller(self, task: Task) -> Ref[cm.ControllerMessage] | None:
        """See `RunShell`."""
        return self.services.directory.attempts.get((task.id, task.epoch))

    def put_off(self, command: cm.Command) -> None:
        """See `RunShell`."""
        if len(self._early) >= EARLY_MAX:
            raise Busy("the worker is starting or ending, and too many requests wait", hint="try again with the same id")
        self._early.append(command)

    def respond(self, caller: Caller, reply: cm.Reply) -> None:
        """See `RunShell`."""
        self.services.directory.respond(caller, reply)

    def record(
        self,
        drafts: Sequence[Draft],
        effects: Sequence[Deed],
        *,
        guard: Guard | None = None,
        refused: Callable[[Known | Rejected], None] | None = None,
    ) -> None:
        """See `RunShell`."""
        self._journal.record(drafts, effects, guard=guard, refused=refused)

    def _obey(self, command: cm.Command) -> None:
        self._cause = command.caller.request
        try:
            carry_out(self, self._mailing, command)
        except CrewdError as error:
            self.respond(command.caller, error)
        finally:
            self._cause = ""

    def _resume_commands(self) -> None:
        early, self._early = self._early, []
        for command in early:
            self.receive_other(command)

    # -- deciding and doing -------------------------------------------------------------------------------------

    def feed(self, event: heard.RunEvent) -> None:
        """See `RunShell`."""
        self.decided(*decide(self.run, event))

    def decided(self, run: Run, decision: do.Decision) -> None:
        """See `RunShell`."""
        self._run = run
        for recorded in decision.events:
            if isinstance(recorded.body, TaskAdded):
                self._row = self.services.directory.rows[self.id] = replace(self.row, workflow=run.workflow)
            if isinstance(recorded.body, TaskUnclaimed | TaskEnded):
                show_progress(self, recorded.task, "")
        drafts = [
            Draft(recorded.body, self.id, recorded.task, self._epoch(recorded.task), self._cause, "crewd")
            for recorded in decision.events
        ]
        self._journal.record(drafts, decision.effects)
        if run.workflow.budget.bounded and not self._left:
            self._share_budget(run)

    def _count_below(self, child: str, used: Used) -> None:
        if self._run is None:
            self._early_used[child] = used
        if self._run is None or self._left:
            return
        below = {**self.row.below, child: used}
        self._row = self.services.directory.rows[self.id] = replace(self.row, below=below)
        self.feed(heard.ChildUsed(child, used, self.context.now()))

    def _share_budget(self, run: Run) -> None:
        """Tell the runs above what this one has used; end those below, also the ones that may stay, if its budget is used.

        A run above that has ended finds in the store what it has missed, if it is opened again. The first word, which may be
        that nothing was used, says that this run lives: the one above may have to end it.
        """
        self.services.directory.used[self.id] = run.used
        if run.own != self._told_used:
            self._told_used = run.own
            for above in self.row.above:
                self._tell_run(above, cm.ChildUsed(self.id, run.own))
        if run.cancel is not None and run.cancel.reason == CancelReason.BUDGET_USED:
            below, cancel = self.row.below.keys() - self._ended_below, cm.CancelAll(run.cancel)
            self._ended_below.update(child for child in below if self._tell_run(child, cancel))

    def _tell_run(self, run: str, message: cm.ChildUsed | cm.CancelAll) -> bool:
        """Whether it lives."""
        ref = self.services.directory.runs.get(run)
        return ref is not None and ref.offer(message, lane=Lane.CONTROL)

    def _timed(self, over: heard.AttemptOver) -> heard.AttemptOver:
        """With the time at which the run hears of it, and a number for the jitter."""
        services = self.services
        return replace(over, at=self.context.now(), wall=services.clock.wall(), chance=services.chance.between(0.0, 1.0))

    def _epoch(self, key: str) -> int:
        task = self.run.task(key)
        return 0 if task is None else task.epoch

    def _perform(self, effect: Deed) -> None:
        match effect:
            case AnswerWith(caller, reply):
                self.respond(caller, reply)
            case AnswerReceipt(caller, key):
                receipt = self._receipts.pop(key, None)
                self.respond(caller, rl.ReceiptReply(receipt=receipt) if receipt else rq.GetReceipt(id=key))
            case AnswerRecorded(caller):
                self.respond(caller, cm.CancelRecorded(self._journal.before))
            case LeaveOutput(task, result):
                self._leave_file(task, result)
            case TakeIn(task, mail):
                self._mailing.admitted(task, mail)
            case do.StartAttempt(task, epoch, mails):
                state = Attempt(task, epoch, inbox=Messages(Mailbox(mails)))
                self._start_controller(task, epoch, state, Begins.NEW)
            case do.CancelAttempt(task, epoch, cancel):
                controller = self.services.directory.attempts.get((task, epoch))
                if controller is not None:
                    controller.offer(cm.EndAttempt(cancel), lane=Lane.CONTROL)
                else:
                    self._pending_cancels[task, epoch] = cancel
            case do.AlarmAt(due):
                if due not in self._alarms:
                    self._alarms[due] = self.context.after(max(0.0, due - self.context.now()), cm.Tick(due))
            case do.Leave():
                self._leaving = True
            case _:
                assert_never(effect)

    def child_started(self, ref: AnyRef) -> None:
        """A controller is there: a cancel that came before it is handed over."""
        task, _, epoch = ref.name.rpartition("#")
        controller = self.services.directory.attempts.get((task, int(epoch)))
        if controller is None:
            return
        for mail in self._mailing.hand_over(task, int(epoch)):
            controller.offer(cm.Hand(mail), lane=Lane.CONTROL)
        cancel = self._pending_cancels.pop((task, int(epoch)), None)
        if cancel is not None:
            controller.offer(cm.EndAttempt(cancel), lane=Lane.CONTROL)
        self._resume_commands()

    def _leave_file(self, task: str, result: object, *, if_absent: bool = False) -> None:
        """Make the output file of a step from its result, as a worker would; before any worker starts that reads it."""
        name = self.step(task).output
        link = self.services.directory.find(GUARDIAN)
        if not name or link is None:
            return
        # A run of an older version may have a result that JSON cannot say.
        data = msgspec.json.encode(result) if not (isinstance(result, str) or not_json(result)) else str(result).encode()
        order = LeaveFile(str(self.services.home.shared(self.id)), name, data, if_absent)
        link.offer(cm.ToGuardian(order), lane=Lane.CONTROL)
