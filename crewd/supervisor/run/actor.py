"""The actor of one run: the thin shell round `decide`, and the supervisor of its controllers.

It begins by reading its own rows, so that a new run, one that crewd finds after a crash, and one whose actor was restarted
all take the same path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec.structs import replace

from crewd.actors import AnyRef, ChildSpec, ExitKind, ExitReason, Lane, Restart, Supervisor, Timer, ToSupervisor
from crewd.model.errors import Busy, CrewdError, InvariantError, Refused, Unavailable, UsageError
from crewd.model.events import Draft, MessageAccepted, MessageSettled, TaskEnded, TaskUnclaimed
from crewd.model.ids import split_task_id
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Effect, Outcome, Receipt
from crewd.model.redact import DEPTH_MAX, clip, is_deep, redact_value
from crewd.model.rows import CancelInfo, MessageRow, Progress, RunRow
from crewd.model.statuses import ATTEMPT_TERMINAL, RUN_TERMINAL, TASK_LIVE, TASK_TERMINAL, RunStatus, TaskStatus
from crewd.model.workflow import Step
from crewd.protocol import requests as rq
from crewd.protocol.guardian import LeaveFile
from crewd.store.messages import Committed, Delayed, Known, LiveRun, Load, NewMessage, NoRun, Overfull, Put, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.admission import Accept, Hold, Lay, Refuse, TooMany, admit
from crewd.supervisor.attempt.controller import Controller
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.attempt.state import Attempt, Inbox
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import FRONT, GUARDIAN, STORE
from crewd.supervisor.journal import Journal
from crewd.supervisor.run import claims
from crewd.supervisor.run import decide as rn
from crewd.supervisor.run.recall import attempt_of, mail_of, over_of, run_of

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

EARLY_MAX = 1_000
"""Commands kept while the rows are read; one more is answered as busy."""


class RunActor(Supervisor[cm.RunLetter]):
    """See the module's text."""

    def __init__(self, services: Services, run: str, after_end: list[cm.Command]) -> None:
        super().__init__()
        self._services = services
        self._id = run
        self._after_end = after_end
        self._row: RunRow | None = None
        self._run: rn.Run | None = None
        self._early: list[cm.Command | cm.CancelAll] = []
        self._cause = ""  # the request that is being carried out
        self._order = 0
        self._receipts: dict[str, Receipt] = {}
        self._pending_cancels: dict[tuple[str, int], CancelInfo] = {}
        self._admitting: dict[str, int] = {}
        self._to_hand: dict[tuple[str, int], list[Mail]] = {}
        self._alarms: dict[float, Timer] = {}
        self._checkpoints: dict[str, object] = {}
        self._leaving = self._left = False

    def on_start(self) -> None:
        """Enter the directory and read the rows."""
        directory = self._services.directory
        directory.runs[self._id] = self.ref
        self._journal: Journal[rn.RunEffect | _Tell | _Reply | _Admit | _Leave] = Journal(
            self.ref, lambda: directory.part(STORE), self._perform, lambda effect: isinstance(effect, rn.CancelAttempt)
        )
        directory.part(STORE).tell(Load(self._id, self.ref))
        super().on_start()

    def on_stop(self) -> None:
        """Leave the directory; controllers do not outlive their run."""
        self._leave_directory()
        for command in self._early:
            self.returned(command)
        super().on_stop()

    def _leave_directory(self) -> None:
        if self._services.directory.runs.get(self._id) is self.ref:
            del self._services.directory.runs[self._id]
            self._services.directory.rows.pop(self._id, None)

    def on_turn_end(self) -> None:
        """Send what was decided to the store; go when the run is over and everybody who asked has been answered."""
        self._journal.seal()
        if self._run is not None and not self._run.over:
            self._leaving = False  # opened again before it had left
        if self._leaving and self._journal.idle:
            self._leaving = False
            if self._row is not None and self._services.directory.names.get(self._row.name) == self._id:
                del self._services.directory.names[self._row.name]
            self._left = True
            self._leave_directory()  # from here on the front answers, or opens the run again with an actor of its own
            front = self._services.directory.find(FRONT)
            if front is not None:
                front.offer(cm.RunOver(self._id), lane=Lane.CONTROL)
            self.leave()

    def returned(self, message: ToSupervisor | cm.RunLetter) -> None:
        """A command that came when the run was over: the front answers it."""
        front = self._services.directory.find(FRONT)
        if front is not None and isinstance(message, cm.Command):
            front.offer(message, lane=message.lane)

    def child_ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """A controller that crashed takes the run's actor with it: both begin again from the rows."""
        super().child_ended(ref, reason)
        if reason.abnormal and reason.kind is not ExitKind.KILLED:  # killed is who was slow to stop, with the run itself
            raise InvariantError(f"controller {ref.name} crashed: {reason}")

    def receive_other(self, message: cm.RunLetter) -> None:
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
            case cm.Over(over):
                for mail in self._to_hand.pop((over.task, self._epoch(over.task)), []):
                    self._settle_late(over.task, mail)
                if over.checkpoint is not None:
                    self._checkpoints[over.task] = over.checkpoint
                self._feed(self._timed(over))
                self._resume_commands()
            case cm.Tick(due):
                self._alarms.pop(due, None)
                if self._run is not None:
                    self._feed(rn.Due(self.context.now(), self._services.clock.wall()))
            case cm.Waits(task, waiting):
                if self._run is not None:
                    self._feed(rn.Waits(task, waiting, self.context.now()))
            case Overfull(size, most):
                text = f"its run has written {size:,} bytes into the store, {most:,} are allowed (run_store_bytes)"
                for (task, _), controller in self._services.directory.attempts.items():
                    if task.startswith(f"{self._id}/"):
                        controller.offer(cm.HitLimit("store_bytes", text), lane=Lane.CONTROL)
            case cm.HandBack(task, mail):
                self._settle_late(task, mail)
            case cm.Command() if self._left:
                self.returned(message)
            case cm.Command() | cm.CancelAll() if self._run is None:
                if len(self._early) < EARLY_MAX:
                    self._early.append(message)
                elif isinstance(message, cm.Command):
                    self._respond(message.caller, Busy("the run is starting", hint="try again"))
            case cm.Command():
                self._obey(message)
            case cm.CancelAll(cancel):
                self._feed(rn.CancelRun(cancel))
            case _:
                self.unexpected(message)

    def state_in_words(self) -> str:
        """See `Actor`."""
        return "its run is starting" if self._run is None else f"its run is {self._run.status}"

    @property
    def durable_state(self) -> rn.Run | None:
        """The machine, if everything that it has decided is durable: what a restart would have to make again."""
        return self._run if self._journal.idle else None

    # -- beginning ----------------------------------------------------------------------------------------------

    def _never_was(self) -> None:
        """Somebody has taken the run away since this actor was started for it."""
        early, self._early = self._early, []
        for command in (*self._after_end, *(each for each in early if isinstance(each, cm.Command))):
            self._respond(command.caller, Refused("this run was forgotten or archived", reason="archived"))
        self._after_end.clear()
        self._leaving = True

    def _restore(self, live: LiveRun) -> None:
        if self._run is not None:
            return
        self._row = live.run
        if live.run.openings == 1:  # one that was opened again may not be the newest of its name: the rows tell
            names = self._services.directory.names
            names[live.run.name] = max(self._id, names.get(live.run.name, ""))
        self._services.directory.rows[self._id] = live.run
        # One that somebody has opened again is not its parent's any more: it goes on although the parent is over.
        if live.run.parent and live.run.openings == 1 and live.run.status not in RUN_TERMINAL:
            front = self._services.directory.find(FRONT)
            if front is not None:
                front.offer(cm.ChildLives(self._id, live.run.parent, live.run.on_parent), lane=Lane.CONTROL)
        wall, now = self._services.clock.wall(), self.context.now()
        unsettled = [row for row in live.messages if not row.receipt.settled]
        rows = {row.id: row for row in live.tasks}
        self._checkpoints = {row.task: row.checkpoint for row in live.attempts if row.checkpoint is not None}
        self._run = run_of(live, wall, now)
        tasks = self._run.tasks
        held = [mail.expires_at for task in tasks for mail in task.held.mails]
        for due in (self._run.deadline, *held, *(task.due for task in tasks)):
            if due is not None and not self._run.over:
                self._perform(rn.AlarmAt(due))
        self._order = max((row.seq for row in live.messages), default=0)
        if self._run.over:
            while self._after_end:  # taken once: if this actor crashes before it is durable, whoever asked asks again
                self._obey(self._after_end.pop())
            self._take_up(unsettled, wall, now)
            if self._run.over:
                self._journal.record([], [rn.Leave()])
            self._resume_commands()  # nothing may start here that would call for them
            return
        for task in tasks:
            if task.outside and task.status is TaskStatus.COMPLETED:
                self._leave_file(
                    task.id, rows[task.id].result, if_absent=True
                )  # crewd may have ended before the guardian had the order
        over: list[rn.AttemptOver] = []
        for task in tasks:
            attempt = next((a for a in live.attempts if a.task == task.id and a.epoch == task.epoch), None)
            if task.status not in TASK_LIVE or attempt is None:
                continue
            if attempt.status in ATTEMPT_TERMINAL:
                over.append(over_of(attempt))
            else:
                self._start_controller(task.id, task.epoch, attempt_of(live, attempt, wall, now), fresh=False)
        self._take_up(unsettled, wall, now)
        for ended in over:
            for row in unsettled:
                if row.receipt.task == ended.task:
                    self._settle_late(ended.task, mail_of(row, wall, now))
            self._feed(self._timed(ended))
        self._feed(rn.Proceed(now))
        if self._run.cancel is not None and not self._run.over:
            self._feed(rn.CancelRun(self._run.cancel))
        self._resume_commands()

    def _take_up(self, unsettled: list[MessageRow], wall: float, now: float) -> None:
        """Messages of tasks that are over: they were admitted, and crewd was away before anything came of it.

        The first of them may start the task; the others are then for a task that is not over any more.
        """
        over = {task.id for task in self._living().tasks if task.status in TASK_TERMINAL}
        for row in unsettled:
            if row.receipt.task in over:
                self._take_in(row.receipt.task, mail_of(row, wall, now))

    def _step(self, task: str) -> Step:
        if self._row is None:
            raise InvariantError("a step was asked for before the rows were read")
        step_id = split_task_id(task)[1]
        return next(step for step in self._row.workflow.steps if step.id == step_id)

    def _start_controller(self, task: str, epoch: int, state: Attempt, *, fresh: bool) -> None:
        if self._row is None:
            raise InvariantError("a controller was asked for before the rows were read")
        row, step = self._row, self._step(task)
        services, checkpoint = self._services, self._checkpoints.get(task)
        self.start_dynamic(
            ChildSpec(
                f"{task}#{epoch}",
                lambda: Controller(services, row, step, state, checkpoint, fresh=fresh),
                restart=Restart.TEMPORARY,
            )
        )

    # -- commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: cm.Command) -> None:
        self._cause = command.caller.request
        try:
            self._carry_out(command)
        finally:
            self._cause = ""

    def _carry_out(self, command: cm.Command) -> None:
        try:
            match command.request:
                case rq.Send():
                    self._post(command, command.request)
                case rq.Withdraw():
                    self._take_back(command, command.request)
                case rq.Cancel():
                    self._cancel(command, command.request)
                case rq.Reopen():
                    self._reopen(command, command.request)
                case rq.Signal(number=number, tree=tree):
                    self._signal(command, number, tree=tree)
                case rq.Dismiss(intent=intent):
                    before = self._living()
                    self._feed(rn.Dismiss(command.task, command.caller.owner, intent))
                    if self._living() is before:
                        raise Refused("there is no dead letter here", hint="crew dead lists them", reason="nothing_to_do")
                    self._journal.record([], [_Tell(command.caller, _DONE)])
                case rq.Claim() | rq.Release() | rq.Finish():
                    self._claim(command, command.request)
                case rq.StartRun() | rq.Acknowledge() | rq.SeenNews():
                    raise InvariantError(f"a run does not carry out {type(command.request).__name__}")
                case _:
                    assert_never(command.request)
        except CrewdError as error:
            self._respond(command.caller, error)

    def _target(self, task: str) -> rn.Task:
        """The task that is meant: the one named, the only one there is, or the only live one."""
        run = self._living()
        if task:
            found = run.task(task)
            if found is None:
                raise UsageError(f"the run has no step {split_task_id(task)[1]}", hint=f"its steps: {self._steps()}")
            return found
        live = [each for each in run.tasks if each.status in TASK_LIVE]
        candidates = run.tasks if len(run.tasks) == 1 else live
        if len(candidates) == 1:
            return candidates[0]
        raise UsageError(
            "the run has no single worker to take the message" if not live else "several workers are live",
            hint=f"name one as RUN/STEP; steps: {self._steps()}",
        )

    def _steps(self) -> str:
        return ", ".join(split_task_id(task.id)[1] for task in self._living().tasks)

    def _living(self) -> rn.Run:
        if self._run is None:
            raise Unavailable("the run is starting", hint="try again")
        return self._run

    def _post(self, command: cm.Command, send: rq.Send) -> None:
        reading = MESSAGE_KINDS[send.kind].purpose is Purpose.READING
        if reading and not command.task and len(self._living().tasks) > 1:
            self._put_into_mailbox(command, send, "", 0)
            return
        task = self._target(command.task)
        self._order += 1
        seconds = send.deadline_seconds
        wall = None if seconds is None else self._services.clock.wall() + seconds
        mail = Mail(
            send.id, send.kind, self._order, send.text, send.ask,
            expires_at=None if seconds is None else self.context.now() + seconds, terms=send.terms, sender=command.caller.owner,
        )  # fmt: skip
        post = cm.Post(mail, command.caller.owner, command.digest, wall, command.caller, command)
        if task.status in TASK_LIVE:
            controller = self._services.directory.attempts.get((task.id, task.epoch))
            if controller is None or not controller.offer(post):
                self._put_off(command)
            return
        held = len(task.held.mails) + self._admitting.get(task.id, 0)
        admission = admit(rn.idle(self._living(), task, takes=self._step(task.id).worker.takes, held=held), mail)
        match admission:
            case Lay():
                self._put_into_mailbox(command, send, task.id, task.epoch)
            case TooMany() | Accept():  # nobody is there to accept it
                raise Busy(f"worker {task.id} has too many unsettled messages", hint="try again later")
            case Hold() | Refuse():
                self._admit(post, admission)

    def _admit(self, post: cm.Post, admission: Hold | Refuse) -> None:
        """Record a message for a task at which nobody is at work: it is held for the next attempt, or refused."""
        mail, command, hold = post.mail, post.command, isinstance(admission, Hold)
        task = self._target(command.task)
        accepted = MessageAccepted(
            id=mail.id, kind=mail.kind, text=mail.text, ask=mail.ask, sender=post.sender, digest=post.digest,
            deadline_at=post.deadline_at, terms=mail.terms, effect=admission.effect if isinstance(admission, Hold) else "",
        )  # fmt: skip
        drafts = [Draft(accepted, self._id, task.id, task.epoch, mail.id, "crewd")]
        effects: list[rn.RunEffect | _Tell | _Reply | _Admit | _Leave] = [_Tell(command.caller, mail.id)]
        if isinstance(admission, Hold):
            self._admitting[task.id] = self._admitting.get(task.id, 0) + 1
            effects.insert(0, _Admit(task.id, mail))
        else:
            refused = MessageSettled(id=mail.id, outcome=Outcome.REFUSED, reason=admission.reason, note=command.note)
            drafts.append(Draft(refused, self._id, task.id, task.epoch, mail.id, "crewd"))
        self._journal.record(
            drafts,
            effects,
            guard=NewMessage(mail.id, command.digest),
            refused=lambda answer: self._not_admitted(task.id, post, answer, held=hold),
        )

    def _put_into_mailbox(self, command: cm.Command, send: rq.Send, task: str, epoch: int) -> None:
        """A message that nobody can read at once: it lies in the run's or the task's mailbox."""
        self._journal.record(
            [Draft(body, self._id, task, epoch, send.id, "crewd") for body in letter(command, send)],
            [_Tell(command.caller, send.id)],
            guard=NewMessage(send.id, command.digest),
            refused=lambda answer: self._tell_refused(command.caller, answer),
        )

    def _admitted(self, key: str, mail: Mail) -> None:
        """A message for a task without a living attempt is durable: keep it for the next one, which may be there by now."""
        self._admitting[key] -= 1
        self._take_in(key, mail)

    def _take_in(self, key: str, mail: Mail) -> None:
        task = self._living().task(key)
        start = mail.terms.on_idle == "start" and task is not None
        if task is not None and start and (task.status in TASK_TERMINAL or task.status is TaskStatus.PARKED):
            self._feed(rn.StartFor(key, mail, self.context.now()))
        elif task is None or self._living().over or task.status in TASK_TERMINAL:
            self._settle_late(key, mail)
        elif task.status in TASK_LIVE:
            controller = self._services.directory.attempts.get((key, task.epoch))
            if controller is None or not controller.offer(cm.Hand(mail), lane=Lane.CONTROL):
                self._to_hand.setdefault((key, task.epoch), []).append(mail)
        else:
            self._feed(rn.Hold(key, mail))

    def _settle_late(self, key: str, mail: Mail) -> None:
        reason = RefusalReason.CANCELLED if self._living().cancel is not None else RefusalReason.ENDED
        settled = MessageSettled(id=mail.id, outcome=Outcome.REFUSED, reason=reason)
        self._journal.record([Draft(settled, self._id, key, 0, mail.id, "crewd")], [])

    def _put_off(self, command: cm.Command) -> None:
        """The worker's controller is about to be made, or has just gone: what comes next will take the command."""
        if len(self._early) >= EARLY_MAX:
            raise Busy("the worker is between two states", hint="try again with the same id")
        self._early.append(command)

    def _resume_commands(self) -> None:
        early, self._early = self._early, []
        for command in early:
            self.receive_other(command)

    def _not_admitted(self, task: str, post: cm.Post, answer: Known | Rejected, *, held: bool) -> None:
        if held:
            self._admitting[task] -= 1
        self._tell_refused(post.caller, answer)

    def _tell_refused(self, caller: Caller, answer: Known | Rejected) -> None:
        if isinstance(answer, Known) and isinstance(answer.row, MessageRow):
            self._respond(caller, rq.ReceiptReply(receipt=answer.row.receipt))
        elif isinstance(answer, Rejected):
            self._respond(caller, answer.error)

    def _take_back(self, command: cm.Command, withdraw: rq.Withdraw) -> None:
        task = self._target(command.task)
        if task.status in TASK_LIVE:
            controller = self._services.directory.attempts.get((task.id, task.epoch))
            if controller is None or not controller.offer(cm.TakeBack(withdraw.id, command.caller, command)):
                self._put_off(command)
            return
        self._feed(rn.TakeBack(task.id, withdraw.id))
        self._journal.record([], [_Tell(command.caller, withdraw.id)])

    def _reopen(self, command: cm.Command, order: rq.Reopen) -> None:
        """What was chosen is queued again. Refused if there is nothing to do."""
        before, vault = self._living(), self._services.vault
        wanted = () if self._row is None else self._row.secrets
        if lacking := [name for name in vault.lacks(self._id, wanted) if name not in order.secrets]:
            given = " ".join(f"--secret {name}" for name in lacking)
            hint = f"their values are not kept, give them again: crew {order.kind} RUN {given}"
            raise Refused(f"the run needs the secrets {', '.join(lacking)}", hint=hint, reason="secrets")
        brought = () if self._row is None else self._row.passed
        vault.put(self._id, {name: value for name, value in order.secrets.items() if name in {*wanted, *brought}})
        if before.status is RunStatus.CANCEL_INCOMPLETE:
            raise Refused("processes of this run may still live", hint="crew show names them; end them, then start anew")
        if before.cancel is not None and not before.over:
            raise Refused("the run is being cancelled", hint="wait for its end, then crew resume")
        self._feed(rn.Reopen(order.kind, self.context.now(), command.task, command.caller.owner, order.intent))
        if self._living() is before and before.over:
            hint = "crew resume takes up what was cancelled" if order.kind == "retry" else "crew run or exec starts it anew"
            what = "has failed or is parked" if order.kind == "retry" else "was cancelled, has failed or was skipped"
            raise Refused(f"nothing here {what}", hint=hint, reason="nothing_to_do")
        if self._living() is before and self._row is not None:
            self._respond(command.caller, rq.RunReply(run=self._row, existing=True))  # asked twice, or there is nothing to do
            return
        self._journal.record([], [_Tell(command.caller, _SHOW)])

    def _signal(self, command: cm.Command, number: int, *, tree: bool) -> None:
        """A signal for a worker that lives; nobody else gets it."""
        task = self._target(command.task)
        controller = self._services.directory.attempts.get((task.id, task.epoch))
        if controller is None or task.status not in TASK_LIVE:
            raise Refused(f"{task.id} is {task.status}: no process gets the signal", reason=RefusalReason.NOT_RUNNING)
        if not controller.offer(cm.SendSignal(number, tree, command.caller, command)):
            self._put_off(command)

    def _claim(self, command: cm.Command, request: rq.Claim | rq.Release | rq.Finish) -> None:
        """Somebody else carries out a task, gives it back, or says how it has ended."""
        run, wall, now = self._living(), self._services.clock.wall(), self.context.now()
        if not command.task and len(run.tasks) > 1:
            raise UsageError("a claim is of one task", hint=f"name it as RUN/STEP; steps: {self._steps()}")
        key = command.task or next(iter(run.tasks)).id
        holder = claims.Holder(command.caller.owner, command.digest)
        reply: rq.Reply = rq.Done()
        match request:
            case rq.Claim(seconds=seconds):
                after = claims.claim(run, key, holder, seconds, now, wall)
                reply = rq.ClaimReply(task=key, until=wall + seconds)
            case rq.Release():
                after = claims.release(run, key, holder, now)
            case rq.Finish(result=result) if is_deep(result):
                raise UsageError("the result is nested too deeply", hint=f"at most {DEPTH_MAX} lists and dicts in each other")
            case rq.Finish(outcome=outcome, result=result, error=error):
                status = TaskStatus.COMPLETED if outcome == "completed" else TaskStatus.FAILED
                error, result = clip(error, NOTE_CHARS_MAX), redact_value(result)
                ended = TaskEnded(status=status, reason=f"claimed by {holder.owner}", error=error, result=result)
                after = claims.finish(run, key, holder, ended, now)
            case _:
                assert_never(request)
        self._decided(*after)
        if isinstance(request, rq.Finish) and request.outcome == "completed":
            self._journal.record([], [_Leave(key, redact_value(request.result))])
        self._journal.record([], [_Reply(command.caller, reply)])
        if isinstance(request, rq.Claim) and request.note:
            self._show_progress(key, request.note)

    def _leave_file(self, task: str, result: object, *, if_absent: bool = False) -> None:
        """Make the output file of a step from its result, as a worker would; before any worker starts that reads it."""
        name = self._step(task).output
        link = self._services.directory.find(GUARDIAN)
        if not name or link is None:
            return
        data = result.encode() if isinstance(result, str) else msgspec.json.encode(result)
        order = LeaveFile(str(self._services.home.shared(self._id)), name, data, if_absent)
        link.offer(cm.ToGuardian(order), lane=Lane.CONTROL)

    def _show_progress(self, key: str, note: str) -> None:
        """What the holder of a task says that it is doing."""
        note, at_ = clip(note, NOTE_CHARS_MAX), self._services.clock.wall()
        value = msgspec.msgpack.encode(Progress(task=key, epoch=self._epoch(key), note=note, at=at_)) if note else None
        self._services.directory.part(STORE).offer(Put(f"progress:{key}", value))

    def _cancel(self, command: cm.Command, cancel: rq.Cancel) -> None:
        info = CancelInfo(
            reason=cancel.reason,
            mode=cancel.mode,
            grace_seconds=cancel.grace_seconds or 0.0,
            intent=cancel.intent,
            requester=command.caller.owner,
            requested_at=self._services.clock.wall(),
        )
        run = self._living()
        task = run.task(command.task) if command.task else None
        has_ended = run.over if task is None else task.status in TASK_TERMINAL
        if command.task and len(run.tasks) > 1:
            self._feed(rn.CancelTask(command.task, info))
        else:  # a run of one worker and the worker are the same thing to whoever cancels it
            self._feed(rn.CancelRun(info))
        self._journal.record([], [_Tell(command.caller, (_HAS_ENDED if has_ended else _RECORDED) if cancel.wait else _DONE)])

    # -- deciding and doing -------------------------------------------------------------------------------------

    def _feed(self, event: rn.RunEvent) -> None:
        self._decided(*rn.decide(self._living(), event))

    def _decided(self, run: rn.Run, decision: rn.Decision) -> None:
        self._run = run
        for recorded in decision.events:
            if isinstance(recorded.body, TaskUnclaimed | TaskEnded):
                self._show_progress(recorded.task, "")
        drafts = [
            Draft(recorded.body, self._id, recorded.task, self._epoch(recorded.task), self._cause, "crewd")
            for recorded in decision.events
        ]
        self._journal.record(drafts, decision.effects)

    def _timed(self, over: rn.AttemptOver) -> rn.AttemptOver:
        """With the time at which the run hears of it, and a number for the jitter."""
        services = self._services
        return replace(over, at=self.context.now(), wall=services.clock.wall(), chance=services.chance.between(0.0, 1.0))

    def _epoch(self, key: str) -> int:
        task = self._living().task(key)
        return 0 if task is None else task.epoch

    def _perform(self, effect: rn.RunEffect | _Tell | _Reply | _Admit | _Leave) -> None:
        match effect:
            case _Reply(caller, reply):
                self._respond(caller, reply)
            case _Leave(task, result):
                self._leave_file(task, result)
            case _Admit(task, mail):
                self._admitted(task, mail)
            case rn.StartAttempt(task, epoch, mails):
                state = Attempt(task, epoch, inbox=Inbox(Mailbox(mails)))
                self._start_controller(task, epoch, state, fresh=True)
            case rn.CancelAttempt(task, epoch, cancel):
                controller = self._services.directory.attempts.get((task, epoch))
                if controller is not None:
                    controller.offer(cm.EndAttempt(cancel), lane=Lane.CONTROL)
                else:
                    self._pending_cancels[task, epoch] = cancel
            case rn.AlarmAt(due):
                if due not in self._alarms:
                    self._alarms[due] = self.context.after(max(0.0, due - self.context.now()), cm.Tick(due))
            case rn.Leave():
                self._leaving = True
            case _Tell(caller, "show"):
                self._respond(caller, rq.Show(target=self._id))
            case _Tell(caller, "done"):
                self._respond(caller, rq.Done())
            case _Tell(caller, "has_ended"):
                self._respond(caller, cm.HasEnded())
            case _Tell(caller, "recorded"):
                self._respond(caller, cm.CancelRecorded(self._journal.before))
            case _Tell(caller, key):
                receipt = self._receipts.pop(key, None)
                self._respond(caller, rq.ReceiptReply(receipt=receipt) if receipt else rq.GetReceipt(id=key))
            case _:
                assert_never(effect)

    def child_started(self, ref: AnyRef) -> None:
        """A controller is there: a cancel that came before it is handed over."""
        task, _, epoch = ref.name.rpartition("#")
        controller = self._services.directory.attempts.get((task, int(epoch)))
        if controller is None:
            return
        for mail in self._to_hand.pop((task, int(epoch)), []):
            controller.offer(cm.Hand(mail), lane=Lane.CONTROL)
        cancel = self._pending_cancels.pop((task, int(epoch)), None)
        if cancel is not None:
            controller.offer(cm.EndAttempt(cancel), lane=Lane.CONTROL)
        self._resume_commands()

    def _respond(self, caller: Caller, reply: cm.Reply) -> None:
        way_out = self._services.directory.way_out
        if way_out is not None:
            way_out.respond(caller, reply)


def letter(command: cm.Command, send: rq.Send) -> tuple[MessageAccepted, MessageSettled]:
    """The events of a message that is done when it lies in a mailbox."""
    accepted = MessageAccepted(
        id=send.id, kind=send.kind, text=send.text, sender=command.caller.owner, digest=command.digest, terms=send.terms,
        effect=Effect.MAILBOX,
    )  # fmt: skip
    return accepted, MessageSettled(id=send.id, outcome=Outcome.DONE)


_DONE, _RECORDED, _HAS_ENDED, _SHOW = "done", "recorded", "has_ended", "show"


class _Admit:
    """A message for a task that has not started is durable."""

    __match_args__ = ("task", "mail")
    __slots__ = ("mail", "task")

    def __init__(self, task: str, mail: Mail) -> None:
        self.task = task
        self.mail = mail


class _Leave:
    """A step that somebody else has carried out leaves its output file."""

    __match_args__ = ("task", "result")
    __slots__ = ("result", "task")

    def __init__(self, task: str, result: object) -> None:
        self.task = task
        self.result = result


class _Reply:
    """Answer a caller, now that what it asked for is durable."""

    __match_args__ = ("caller", "reply")
    __slots__ = ("caller", "reply")

    def __init__(self, caller: Caller, reply: rq.Reply) -> None:
        self.caller = caller
        self.reply = reply


class _Tell:
    """Answer a caller: with a message's receipt, or (no message's id) that its cancel is recorded."""

    __match_args__ = ("caller", "key")
    __slots__ = ("caller", "key")

    def __init__(self, caller: Caller, key: str) -> None:
        self.caller = caller
        self.key = key
