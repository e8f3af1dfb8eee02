"""The controller of one attempt: the thin shell round `decide`. Reserved and durable before any spawn.

Tests: tests/testing/world/test_machine.py, tests/supervisor/attempt/test_left_reports.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import math
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, assert_never

import msgspec
from loguru import logger
from msgspec.structs import replace

from crewd.actors import Actor, ActorDead, Lane, Timer
from crewd.model.agent import conversation_of
from crewd.model.budget import Used
from crewd.model.errors import Busy, CrewdError, Refused, UsageError
from crewd.model.events import AttemptEnded, AttemptStarted, Draft
from crewd.model.hooks import seconds_before
from crewd.model.inputs import GOAL, place, place_in, value_of, variable
from crewd.model.reasons import CancelReason
from crewd.model.receipts import Receipt
from crewd.model.rows import Usage
from crewd.model.statuses import AttemptStatus
from crewd.model.variables import PARENT_TOKEN
from crewd.model.workflow import Step
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.bootstrap import Bootstrap
from crewd.protocol.codec import is_finite
from crewd.protocol.free_form import fault_in
from crewd.store.messages import Committed, Delayed, Known, NewAttempt, NewMessage, Put, Rejected, ScrubOutput
from crewd.supervisor import commands as cm
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.decide import decide
from crewd.supervisor.attempt.reports import in_its_place
from crewd.supervisor.attempt.state import Attempt, Gradient, Rules
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import FRONT, GUARDIAN, KEEPER, SLOTS, STORE
from crewd.supervisor.journal import Journal
from crewd.supervisor.run.events import AttemptOver

if TYPE_CHECKING:
    from crewd.model.rows import RunRow
    from crewd.supervisor.services import Services

USAGE_WINDOW_SECONDS = 0.25
"""What a worker uses is measured once a second or less: it may lie about for longer than progress."""


ACKNOWLEDGE_SECONDS = 0.05
"""For so long the acknowledgement of reports about messages waits for more of them,"""
ACKNOWLEDGE_REPORTS = 16
"""or until there are so many."""


FAR_SECONDS = 10.0
"""Alarms that are further away go off on whole seconds: those of many workers wake crewd together."""

SIGNALS_MAX = 64
"""Requests for a signal that are remembered."""


class AcknowledgeDue(msgspec.Struct, frozen=True):
    """Time to acknowledge what is durable."""


class Begins(Enum):
    """How a controller begins."""

    NEW = "nothing of its attempt is in the log: it reserves it"
    RESERVED = "its attempt was reserved with the creation of its run"
    RECALLED = "its attempt was recalled from the rows: it finds out what became of the worker"


class Past(msgspec.Struct, frozen=True):
    """What earlier attempts of the task have left. `recovers`: the one before was lost or cancelled."""

    checkpoint: object = None
    recovers: bool = False


class Controller(Actor["cm.ControllerMessage | AcknowledgeDue"]):
    """Performs what `decide` decides. It knows sockets, disks and processes only as the names of other actors."""

    data_max = 2_000

    def __init__(self, services: Services, run: RunRow, step: Step, state: Attempt, past: Past, begins: Begins) -> None:
        super().__init__()
        self._services = services
        self._run = run
        self._step = step
        gradient = Gradient(*services.config.liveness_seconds)
        silent = seconds_before(step.worker.hooks)
        self._state = replace(state, rules=Rules(step.worker.runtime, step.worker.limits, gradient, silent))
        self._past = past
        self._begins = begins
        self._receipts: dict[str, Receipt] = {}
        self._alarms: dict[float, Timer] = {}
        self._result: tuple[str, object, str] = ("", None, "")
        self._signals: dict[Caller | None, bool] = {}
        """Who has asked for a signal, and whether that was answered: a client asks again, and the worker gets one signal."""
        self._durable = self._acknowledged = self._waited_for = 0
        self._acknowledge_soon = False
        self._leaving = False

    def on_start(self) -> None:
        """Enter the directory; reserve, or find out what became of the worker."""
        directory, key = self._services.directory, (self._state.task, self._state.epoch)
        directory.attempts[key] = self.ref
        directory.starting.discard(key)
        made = self._state.work.checkpoint
        self._show_session(self._past.checkpoint if made is None else made)
        self._journal: Journal[do.AttemptEffect] = Journal(
            self.ref, lambda: directory.part(STORE), self._perform, self._is_urgent
        )
        if self._begins is Begins.NEW:
            self._reserve()
        elif self._begins is Begins.RESERVED:
            self._feed(heard.Reserved())
        else:
            if self._state.status is AttemptStatus.RESERVED:
                directory.part(SLOTS).tell(cm.MayHaveSlot(*key, self.ref), lane=Lane.CONTROL)
            else:
                self._perform(do.TakeSlot())
            if self._state.work.waits_for_workers:
                self._perform(do.TellWaiting(waiting=True))
                self._perform(do.Lend(lent=True))
            self._feed(heard.Resume(self.context.now()))
        for mail in self._state.inbox.box.mails:
            if mail.expires_at is not None:
                self._perform(do.AlarmAt(mail.expires_at))

    def _show_session(self, checkpoint: object) -> None:
        conversation = conversation_of(checkpoint)
        if conversation is not None and self._step.worker.agent is not None:
            self._services.directory.conversations[self._state.task, self._state.epoch] = conversation

    def _reserve(self) -> None:
        task, epoch, home = self._state.task, self._state.epoch, self._services.home
        directory = self._own_directory()
        self._state, decision = decide(self._state, heard.Reserve(directory))

        def refused(answer: Known | Rejected) -> None:
            reason = answer.error.values.get("reason") if isinstance(answer, Rejected) else None
            self._feed(heard.NotReserved(str(reason or CancelReason.CALLER_CANCELLED)))

        self._order(gd.Expect(task, directory, str(home.shared(self._run.id))))
        drafts = [Draft(body, self._run.id, task, epoch, "", "crewd") for body in decision.events]
        self._journal.record(drafts, decision.effects, guard=NewAttempt(self._run.id, task), refused=refused)

    def on_stop(self) -> None:
        """Leave the directory."""
        key = (self._state.task, self._state.epoch)
        if self._services.directory.attempts.get(key) is self.ref:
            del self._services.directory.attempts[key]
            self._services.directory.conversations.pop(key, None)

    def returned(self, message: cm.ControllerMessage | AcknowledgeDue) -> None:
        """A message that came when the attempt was over: the run answers it, or the front."""
        directory = self._services.directory
        if isinstance(message, cm.Hand):
            owner = directory.runs.get(self._run.id)
            if owner is not None:  # if the run is gone as well, it finds the message in its rows when it comes back
                owner.offer(cm.HandBack(self._state.task, message.mail))
        if isinstance(message, cm.Post | cm.TakeBack | cm.SendSignal):
            run, front = directory.runs.get(self._run.id), directory.find(FRONT)
            if (run is None or not run.offer(message.command)) and front is not None:
                front.offer(message.command)

    def state_in_words(self) -> str:
        """See `Actor`."""
        return f"its attempt is {self._state.phase.words}"

    @property
    def durable_state(self) -> Attempt | None:
        """The machine, if everything that it has decided is durable: what a restart would have to make again."""
        return self._state if self._journal.idle else None

    def receive(self, message: cm.ControllerMessage | AcknowledgeDue) -> None:
        """Translate messages into events of the machine."""
        match message:
            case Committed(_, _, receipt):
                if receipt is not None:
                    self._receipts[receipt.id] = receipt
                self._journal.heard(message)
            case cm.WorkerReported(reports):
                for report in reports:
                    if not isinstance(report.body, rp.OF_MESSAGES):
                        self._waited_for = report.number
                    self._feed(heard.Reported(report, self._services.clock.wall(), self.context.now()))
            case Known() | Rejected() | Delayed():
                self._journal.heard(message)
            case cm.Post(mail, sender, digest, deadline_at, caller, command):
                self._feed(heard.Send(mail, sender, digest, deadline_at, caller, command.note))
            case cm.Hand(mail):
                self._feed(heard.Handed(mail))
            case cm.TakeBack(key, caller, _):
                self._feed(heard.Withdraw(key, caller))
            case cm.SendSignal(number, tree, caller, _) if caller not in self._signals:
                self._signals[caller] = False
                if len(self._signals) > SIGNALS_MAX:
                    del self._signals[next(iter(self._signals))]
                self._feed(heard.Signal(number, tree, caller.owner, caller))
            case cm.SendSignal(caller=caller):
                if self._signals[caller]:
                    self._respond(caller, rl.Done())
            case cm.EndAttempt(cancel):
                self._feed(heard.Cancel(cancel))
            case cm.SlotGranted():
                self._feed(heard.SlotGranted(self.context.now()))
            case cm.WorkerConnected(hello):
                self._services.directory.part(SLOTS).offer(cm.SlotReady(hello.task, hello.epoch), lane=Lane.CONTROL)
                self._feed(heard.Connected(hello, self.context.now()))
            case AcknowledgeDue():
                self._acknowledge_soon, self._waited_for = False, max(self._waited_for, self._durable)
            case cm.WorkerDisconnected():
                self._feed(heard.Disconnected())
            case cm.WorkerAlive(beats):
                self._feed(heard.Alive(self.context.now(), beats))
            case cm.GuardianSays(notice):
                self._hear_guardian(notice)
            case cm.HitLimit(limit, text):
                self._feed(heard.HitLimit(limit, text))
            case cm.GuardianAttached():
                self._feed(heard.GuardianBack())
            case cm.Tick(due):
                self._alarms.pop(due, None)
                self._feed(heard.Due(self.context.now()))
            case _:
                self.unexpected(message)

    def on_turn_end(self) -> None:
        """Send what was decided to the store, and acknowledge what is durable, all at once.

        Go when the attempt is over and everybody who asked has been answered.
        """
        self._journal.seal()
        if self._durable > self._acknowledged:
            self._acknowledge()
        if self._leaving and self._journal.idle:
            self.exit()

    def _acknowledge(self) -> None:
        """Acknowledge reports together: nobody waits for the word on messages, but for that on other reports somebody may."""
        waited_for = self._acknowledged < self._waited_for <= self._durable
        if waited_for or self._durable - self._acknowledged >= ACKNOWLEDGE_REPORTS:
            self._acknowledged = self._durable
            self._send(rp.Ack(upto=self._acknowledged))
        elif not self._acknowledge_soon:
            self._acknowledge_soon = True
            self.context.after(ACKNOWLEDGE_SECONDS, AcknowledgeDue())

    def _hear_guardian(self, notice: gd.Started | gd.Exited | gd.Gone | gd.Used) -> None:
        match notice:
            case gd.Used():
                if self._state.over:
                    return  # late news: what it used is deleted with its end
                self._feed(heard.Measured(self.context.now(), notice.output_bytes, notice.cpu_seconds))
                usage = Usage(**msgspec.structs.asdict(notice), at=self._services.clock.wall())
                store = self._services.directory.part(STORE)
                store.offer(Put(f"usage:{notice.task}", msgspec.msgpack.encode(usage), USAGE_WINDOW_SECONDS))
            case gd.Started(_, _, pid, start_time, boot_id, adopted):
                body = AttemptStarted(pid=pid, start_time=start_time, boot_id=boot_id, adopted=adopted)
                self._feed(heard.Started(body, self.context.now()))
            case gd.Exited():
                self._feed(heard.Ended(notice, _words(notice.unsent_reports), self._services.clock.wall()))
            case gd.Gone(_, _, number, unborn):
                self._feed(heard.Unknown(number, unborn))
            case _:
                assert_never(notice)

    def _feed(self, event: heard.AttemptEvent) -> None:
        self._state, decision = decide(self._state, self._masked(self._checked(event)))
        for effect in decision.prompt:
            self._perform(effect)
        outcome = self._state.outcome
        if outcome is not None:
            self._result = (outcome.error, outcome.result, outcome.result_path)
        task, epoch = self._state.task, self._state.epoch
        drafts = [
            Draft(body, self._run.id, task, epoch, decision.causation, "worker" if getattr(body, "report", 0) else "crewd")
            for body in decision.events
        ]
        admits = decision.admits
        if admits is None:
            self._journal.record(drafts, decision.effects)
            return
        self._journal.record(
            drafts,
            decision.effects,
            guard=NewMessage(admits.mail.id, admits.digest),
            refused=lambda answer: self._not_admitted(admits, answer),
        )

    def _checked(self, event: heard.AttemptEvent) -> heard.AttemptEvent:
        """What the worker says; a result that it says to lie where nobody would look for it is no result."""
        match event:
            case heard.Reported(report) if isinstance(report.body, rp.Outcome):
                return msgspec.structs.replace(event, report=in_its_place(report, self._own_directory()))
            case heard.Ended(_, words) if words:
                own = self._own_directory()
                return msgspec.structs.replace(event, unsent_reports=tuple(in_its_place(each, own) for each in words))
            case _:
                return event

    def _own_directory(self) -> str:
        return str(self._services.home.attempt(self._state.task, self._state.epoch))

    def _masked(self, event: heard.AttemptEvent) -> heard.AttemptEvent:
        """What the worker says, without the values of the run's secrets."""
        if not self._run.secrets:
            return event
        known = self._services.vault.known(self._run.id, self._run.secrets)
        match event:
            case heard.Reported(report):
                return msgspec.structs.replace(event, report=known.in_struct(report))
            case heard.Ended(exited, words):
                return msgspec.structs.replace(
                    event, exited=known.in_struct(exited), unsent_reports=tuple(map(known.in_struct, words))
                )
            case _:
                return event

    def _not_admitted(self, send: heard.Send, answer: Known | Rejected) -> None:
        caller = send.caller
        mine = [mail for mail in self._state.inbox.pending if mail.id == send.mail.id and mail.order == send.mail.order]
        if mine:  # put there by this very request
            self._state, _ = decide(self._state, heard.NotAdmitted(send.mail.id))
        if isinstance(answer, Rejected):
            self._respond(caller, answer.error)
        else:
            row = answer.row
            self._respond(caller, rl.ReceiptReply(receipt=getattr(row, "receipt")))  # noqa: B009 (a guard of a message)

    def _is_urgent(self, effect: do.AttemptEffect) -> bool:
        return isinstance(effect, do.EndWorker) or (isinstance(effect, do.Say) and effect.urgent)

    def _respond(self, caller: Caller | None, reply: cm.Reply) -> None:
        if caller is not None:
            self._services.directory.respond(caller, reply)

    def _tell_run(self, message: cm.Waits | cm.Spent) -> None:
        if isinstance(message, cm.Spent) and not self._run.workflow.budget.bounded:
            return
        run = self._services.directory.runs.get(self._run.id)
        if run is not None:  # one that comes back sees it in its rows
            run.offer(message, lane=Lane.CONTROL)

    def _perform(self, effect: do.AttemptEffect) -> None:
        task, epoch = self._state.task, self._state.epoch
        match effect:  # the most frequent ones first: each case is a look
            case do.Say(order):
                self._say(order)
            case do.Deliver(message, connection):
                if self._state.contact.number == connection and self._state.contact.connected and self._state.cancel is None:
                    self._say(message)
            case do.TellReceipt(caller, key):
                receipt = self._receipts.pop(key, None)
                self._respond(caller, rl.ReceiptReply(receipt=receipt) if receipt else rq.GetReceipt(id=key))
            case do.Admit(key):
                self._feed(heard.Admitted(key))
            case do.AskSlot():
                self._services.directory.part(SLOTS).tell(cm.AskSlot(task, epoch, self.ref), lane=Lane.CONTROL)
            case do.TakeSlot():
                self._services.directory.part(SLOTS).tell(cm.TakeSlot(task, epoch, self.ref), lane=Lane.CONTROL)
            case do.SpawnWorker():
                self._spawn()
            case do.AskGuardian(number):
                self._order(gd.Query(task=task, epoch=epoch, number=number))
            case do.EndWorker(grace_seconds, term_seconds, whole):
                self._order(gd.End(task, epoch, grace_seconds, term_seconds, whole))
            case do.SignalWorker(pid, number, tree):
                self._order(gd.Signal(task, epoch, pid, number, tree))
            case do.Confirm():
                self._order(gd.Confirm(task=task, epoch=epoch))
            case do.ShowCheckpoint(value):
                self._show_session(value)
            case do.TellWaiting(waiting):
                self._tell_run(cm.Waits(task, waiting))
            case do.TellSpent(used):
                self._tell_run(cm.Spent(task, epoch, used))
            case do.Lend(lent):
                self._services.directory.part(SLOTS).offer(cm.LendSlot(task, epoch, lent), lane=Lane.CONTROL)
            case do.AlarmAt(due):
                left = max(0.0, due - self.context.now())
                due = due if left < FAR_SECONDS else float(math.ceil(due))
                if due not in self._alarms:
                    self._alarms[due] = self.context.after(max(0.0, due - self.context.now()), cm.Tick(due))
            case do.TellBusy() | do.TellWrong() | do.TellDone() | do.TellRefused() | do.TellCannotWithdraw():
                self._respond(effect.caller, self._answer(effect))
            case do.ReserveDone():
                self._feed(heard.Reserved())
            case do.FeedAgain(event):
                self._feed(event)
            case do.TellRun(ended):
                self._leave(ended)
            case _:
                assert_never(effect)

    def _answer(
        self, effect: do.TellBusy | do.TellWrong | do.TellDone | do.TellRefused | do.TellCannotWithdraw
    ) -> rl.Done | CrewdError:
        match effect:
            case do.TellDone(caller):
                self._signals[caller] = True
                return rl.Done()
            case do.TellBusy():
                return Busy(f"worker {self._state.task} has too many unsettled messages", hint="try again later")
            case do.TellWrong(_, text, hint):
                return UsageError(text, hint=hint)
            case do.TellRefused(caller, text, reason):
                self._signals.pop(caller, None)
                return Refused(text, hint="crew show tells how it stands", reason=reason)
            case do.TellCannotWithdraw(_, key):
                return Refused(f"nothing was taken back: the worker has taken message {key}", hint=f"crew receipt {key}")
            case _:
                assert_never(effect)

    def _spawn(self) -> None:
        lacking = self._services.vault.lacks(self._run.id, self._run.secrets)
        if not lacking:
            if gone := self._services.vault.lacks(self._run.id, self._run.passed):
                what = "{} starts without the values that its caller gave of {}: they are not kept over a restart of crewd"
                logger.warning(what, self._state.task, ", ".join(gone))
            self._order(gd.Spawn(bootstrap=self._bootstrap()))
            return
        given = " ".join(f"--secret {name}" for name in lacking)
        why = f"the values of the secrets {', '.join(lacking)} are not kept: crew retry {self._run.name} {given}"
        record = gd.Exited(self._state.task, self._state.epoch, cause="spawn_failed", error=why)
        self.ref.tell(cm.GuardianSays(record), lane=Lane.CONTROL)  # nothing was ordered, so nobody else tells of an end

    def _say(self, order: rp.ToWorker) -> None:
        match order:
            case rp.Ack(upto) if upto <= self._acknowledged:
                self._send(order)  # a report that was durable before: its acknowledgement was lost
            case rp.Ack(upto):
                self._durable = max(self._durable, upto)
            case rp.WorkerWelcome():
                config = self._services.config
                self._send(replace(order, heartbeat_seconds=config.heartbeat_seconds, idle_seconds=config.idle_seconds))
            case _:
                self._send(order)

    def _send(self, order: rp.ToWorker) -> None:
        way_out = self._services.directory.way_out
        if way_out is not None:
            way_out.to_worker(self._state.task, self._state.epoch, order)

    def _order(self, order: gd.Order) -> None:
        link = self._services.directory.find(GUARDIAN)
        if link is not None:  # a new link asks about every attempt
            link.offer(cm.ToGuardian(order), lane=Lane.CONTROL)

    def _leave(self, ended: AttemptEnded) -> None:
        state = self._state
        error, result, result_path = self._result
        began, made = state.observed.began, state.work.checkpoint
        checkpoint = self._past.checkpoint if made is None else made
        over = AttemptOver(
            state.task, ended, error=error, result=result, result_path=result_path,
            undelivered=state.inbox.box.undelivered, checkpoint=checkpoint,
            lived=0.0 if began is None else self.context.now() - began, observed=state.work.observed,
            used=Used(*state.work.usage),
        )  # fmt: skip
        store = self._services.directory.part(STORE)
        store.offer(Put(f"progress:{state.task}", None))
        store.offer(Put(f"usage:{state.task}", None))
        keeper = self._services.directory.find(KEEPER)
        if keeper is not None:
            values = self._services.vault.values(self._run.id, self._run.secrets)
            keeper.offer(ScrubOutput(state.task, state.epoch, values))
        run, front = self._services.directory.runs.get(self._run.id), self._services.directory.find(FRONT)
        if run is None:
            raise ActorDead(f"run {self._run.id} is not there; it finds the end in its rows when it comes back")
        run.tell(cm.AttemptHasEnded(over), lane=Lane.CONTROL)
        if front is not None:
            front.offer(cm.ParentEnded(state.task, state.epoch, ended.status), lane=Lane.CONTROL)
        self._leaving = True

    def _bootstrap(self) -> Bootstrap:
        task, epoch, home = self._state.task, self._state.epoch, self._services.home
        worker, inputs = self._step.worker, self._run.workflow.inputs
        values = {**self._run.inputs, GOAL: self._run.goal}
        typed: dict[str, object] = {name: value_of(name, inputs[name], text) for name, text in values.items() if name in inputs}
        said = {**{variable(name): text for name, text in self._run.inputs.items()}, **worker.env}
        return Bootstrap(
            task=task,
            epoch=epoch,
            token=self._services.tokens.of(task, epoch),
            endpoint=home.workers_endpoint,
            directory=str(home.attempt(task, epoch)),
            shared=str(home.shared(self._run.id)),
            cwd=str(PurePath(self._run.cwd) / worker.cwd),
            goal=self._run.goal,
            text=place(self._step.text, values),
            reads=self._step.reads,
            output=self._step.output,
            worker=replace(worker, args=place_in(worker.args, values, typed)) if inputs and worker.args else worker,
            checkpoint=self._past.checkpoint,
            recovers=self._past.recovers,
            parent=self._run.parent,
            blobs=str(home.blobs),
            env={**self._run.env, **said},
            inputs=typed,
            masked=self._run.secrets,
            packet=None if self._step.packet is None else self._step.packet.placed(values),
            secrets={
                **{name: value for name, value in self._services.vault.of(self._run.id).items() if name not in said},
                PARENT_TOKEN: self._services.tokens.of_parent(task, epoch),
            },
        )


def _words(raw: bytes) -> tuple[rp.Report, ...]:
    """The reports that a worker left behind; none if the file is not what it must be, or was cut short by the worker's end."""
    if not raw:
        return ()
    try:
        if not is_finite(raw):
            return ()
        reports = tuple(msgspec.msgpack.decode(raw, type=list[rp.Report]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return () if any(map(fault_in, reports)) else reports
