"""Carries out a request whose sender is known: it is checked, what it names is looked up, and it goes where `routes` says.

A client that waits for long asks again, with the same id: that changes nothing and is answered once or twice.

Tests: tests/testing/world/test_machine.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Lane
from crewd.model.errors import Busy, CrewdError, Refused, Unavailable, UsageError
from crewd.model.ids import task_id
from crewd.model.message_kinds import MAILBOX_KINDS
from crewd.model.receipts import Outcome, Receipt
from crewd.model.rights import Role, check_intent
from crewd.model.rows import RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.protocol import doors
from crewd.protocol import guardian as gd
from crewd.protocol import keeping as kp
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Resolved
from crewd.supervisor import commands as cm
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import FRONT
from crewd.supervisor.gateway import doctor
from crewd.supervisor.gateway.clients import Client
from crewd.supervisor.gateway.pace import Pace
from crewd.supervisor.gateway.routes import About, To, check_owned, check_target, route
from crewd.supervisor.lineage import address, check_relation

if TYPE_CHECKING:
    from crewd.supervisor.gateway.publisher import Publisher
    from crewd.supervisor.gateway.questions import Questions
    from crewd.supervisor.gateway.waiting import Waiting
    from crewd.supervisor.gateway.worker_side import Asking, WorkerSide
    from crewd.supervisor.services import Services


class Serving:
    """See the module's text.

    `send` hands a reply to the wire, `later` calls a function after some seconds, `who` is the client on a connection,
    `examined` completes what the reader has found for `crew doctor`.
    """

    def __init__(
        self,
        services: Services,
        questions: Questions,
        waiting: Waiting,
        publisher: Publisher,
        workers: WorkerSide,
        *,
        send: Callable[[Caller, rl.Reply], object],
        later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float],
        who: Callable[[bytes], Client],
        examined: Callable[[rq.Doctor, rl.DoctorReply, gd.Examined | CrewdError], rl.DoctorReply],
        unread: Callable[[], rl.DoctorReply],
    ) -> None:
        self._services = services
        self._questions = questions
        self._waiting = waiting
        self._publisher = publisher
        self._workers = workers
        self._send = send
        self._later = later
        self._now = now
        self._who = who
        self._examined = examined
        self._unread = unread
        self._pace = Pace()
        self._asked: set[Caller] = set()
        """Whose reply the reader or the keeper is to give."""

    # -- at the door --------------------------------------------------------------------------------------------

    def check_pace(self, identity: bytes, request_id: str) -> None:
        """Raises Busy if no more messages of this client can wait."""
        self._pace.check(identity, request_id)

    def serve(self, caller: Caller, request: rq.Request) -> None:
        """Carry a client's request out. Raises what is wrong with it, with nothing changed."""
        self._waiting.begin_anew(caller)
        if caller in self._asked:
            return
        request = doors.check(request)
        if isinstance(request, rq.Send):
            following = self._pace.enter(caller, request, self._now())
            if following is not None:
                self._look_up(*following)
        else:
            self._look_up(caller, request)

    def serve_worker(self, caller: Caller, request: Asking) -> None:
        """Carry out what a worker asks that concerns others: it is served like a client, within its relations."""
        try:
            if not isinstance(request, rq.GetReceipt):
                request = msgspec.structs.replace(request, target=address(self._own(caller), request.target))
            self.serve(caller, request)
        except CrewdError as error:
            self.refuse(caller, error)

    def refuse(self, caller: Caller, error: CrewdError) -> None:
        """Answer with an error: the request has nothing under way any more."""
        self._asked.discard(caller)
        self._waiting.drop_request(caller)
        self.go_on(caller)
        self._send(caller, rl.ErrorReply(error=error.info))

    def go_on(self, caller: Caller) -> None:
        """A message was answered: the next one of the same client is let in."""
        while (following := self._pace.leave(caller, self._now())) is not None:
            caller, send = following
            try:
                self._look_up(caller, send)
                break
            except CrewdError as error:
                self._waiting.drop_request(caller)
                self._send(caller, rl.ErrorReply(error=error.info))

    def ask_receipt(self, caller: Caller, request: rq.GetReceipt) -> None:
        """A command leads to this message's receipt, which the reader knows."""

        def found(reply: rl.ReceiptReply) -> None:
            self._waiting.receipt(caller, reply.receipt)

        self._questions.surely(lambda: self._questions.read(request, rl.ReceiptReply, found, self._refused(caller)))

    def ask_run(self, caller: Caller, request: rq.Show) -> None:
        """A command leads to this run."""

        def found(reply: rl.ShowReply) -> None:
            self._send(caller, rl.RunReply(run=reply.run))

        self._questions.surely(lambda: self._questions.read(request, rl.ShowReply, found, self._refused(caller)))

    def _refused(self, caller: Caller) -> Callable[[CrewdError], None]:
        return lambda error: self.refuse(caller, error)

    def drop(self, identity: bytes) -> None:
        """The client is gone."""
        self._waiting.drop(identity)
        self._pace.drop(identity)

    # -- what a request names -----------------------------------------------------------------------------------

    def _look_up(self, caller: Caller, request: rq.Request) -> None:
        match route(request).about:
            case About.NOTHING:
                self._go(caller, request)
            case About.MESSAGE:
                if isinstance(request, rq.Withdraw | rq.Acknowledge):
                    self._look_up_message(caller, request)
            case About.TARGET:
                self._look_up_target(caller, request)

    def _look_up_target(self, caller: Caller, request: rq.Request) -> None:
        if isinstance(request, rq.Subscribe) and self._publisher.known(caller, request.after):
            return
        target = self._target(request)
        living = self._living(target)
        if living is not None and isinstance(request, rq.Send) and not route(request).owned and not caller.worker:
            self._to_run(caller, request, *living)
            return
        if living is not None and isinstance(request, rq.Cancel):  # nothing is read: a store that hangs holds up no cancel
            run, task = living
            row = self._services.directory.rows.get(run)
            if row is not None and any(task in {"", task_id(run, step.id)} for step in row.workflow.steps):
                self._reached(caller, request, row, task)
                return

        def found(named: Resolved) -> None:
            self._reached(caller, request, named.run, named.task, named.note)

        if route(request).to in {To.OUTPUT, To.KEEPER}:  # from here on: it may come again before this is answered
            self._asked.add(caller)
        self._questions.resolve(target, found, self._refused(caller))

    def _target(self, request: rq.Request) -> str:
        match request:
            case rq.Send():
                return request.ask or request.target
            case rq.ReadLog():
                return request.task
            case _ if isinstance(request, rq.Targeted):
                return request.target
            case _:
                raise UsageError(f"{type(request).__name__} has no target")

    def _living(self, target: str) -> tuple[str, str] | None:
        """A living run named by its whole id or name, without a look into the database."""
        text, _, step = target.partition("/")
        directory = self._services.directory
        run = text if text in directory.runs else directory.names.get(text)
        return None if run is None else (run, task_id(run, step) if step else "")

    def _look_up_message(self, caller: Caller, request: rq.Withdraw | rq.Acknowledge) -> None:
        def found(reply: rl.ReceiptReply) -> None:
            if isinstance(request, rq.Withdraw):
                self._withdraw(caller, request, reply.receipt)
            else:
                self._acknowledge(caller, request, reply.receipt)

        self._questions.read(rq.GetReceipt(id=request.id), rl.ReceiptReply, found, self._refused(caller), owner=caller.owner)

    def _withdraw(self, caller: Caller, request: rq.Withdraw, receipt: Receipt) -> None:
        if receipt.outcome is Outcome.DONE:
            raise Refused(f"nothing was taken back: message {receipt.id} is done", hint=f"crew receipt {receipt.id}")
        if receipt.settled:
            self._send(caller, rl.ReceiptReply(receipt=receipt))
            return
        row = self._services.directory.rows.get(receipt.run)
        if row is None or row.owner != caller.owner:
            intent = self._services.config.require_intent
            check_owned(request, self._who(caller.identity), receipt.sender, f"message {receipt.id}", require_intent=intent)
        self._command(cm.Command(caller, request, receipt.run, receipt.task))

    def _acknowledge(self, caller: Caller, request: rq.Acknowledge, receipt: Receipt) -> None:
        if receipt.kind not in MAILBOX_KINDS:
            raise UsageError(f"{receipt.id} is a {receipt.kind}", hint="only what is for reading is acknowledged")
        self._services.directory.part(FRONT).tell(cm.Command(caller, request, receipt.run, receipt.task))

    def _reached(self, caller: Caller, request: rq.Request, row: RunRow, task: str, note: str = "") -> None:
        """What the request names was found."""
        if caller.worker and caller.identity not in self._workers:
            return  # it has ended, or says hello again and asks again
        if caller.worker and isinstance(request, rq.Send):
            check_relation(caller.worker, self._own(caller), row, task, request.kind)
        client = None if caller.worker else self._who(caller.identity)
        check_target(request, client, row, task, require_intent=self._services.config.require_intent)
        run = row.id
        match request:
            case rq.AwaitEnd():
                if caller.worker and row.status not in RUN_TERMINAL:
                    self._waiting.check(caller.worker, task or run, self._services.directory.rows)
                self._waiting.for_end(caller, run, task, request)
            case rq.Subscribe():
                self._publisher.subscribe(caller, request, run, task)
            case rq.ReadLog():
                self._go(caller, msgspec.structs.replace(request, task=task or run))
            case kp.GetArtifact() | kp.Forget() | kp.Archive() | kp.Export():
                self._go(caller, msgspec.structs.replace(request, target=task or run))
            case _:
                self._to_run(caller, request, run, task, note)

    # -- where it goes ------------------------------------------------------------------------------------------

    def _to_run(self, caller: Caller, request: rq.Request, run: str, task: str, note: str = "") -> None:
        match request:
            case rq.Send():
                self._waiting.for_level(caller, request)
                said = msgspec.json.encode((request.kind, run, task, request.text, request.ask, request.terms))
                self._command(cm.Command(caller, request, run, task, digest(said), note))
            case rq.Cancel():
                self._waiting.for_cancel(caller, run, task, request)
                self._command(cm.Command(caller, request, run, task))
            case rq.Claim() | rq.Release() | rq.Finish():
                self._command(cm.Command(caller, request, run, task, digest(f"claim {request.token}".encode())))
            case _ if isinstance(request, rq.ForRun):
                self._command(cm.Command(caller, request, run, task))
            case _:
                raise UsageError(f"{type(request).__name__} is nothing that a run carries out")

    def _command(self, command: cm.Command) -> None:
        """To the run if it is live, else to the front. A cancel overtakes everything."""
        lane = command.lane
        living = self._services.directory.runs.get(command.run)
        if living is not None and living.offer(command, lane=lane):
            return
        if not self._services.directory.part(FRONT).offer(command, lane=lane):
            raise Busy("crewd has too much to do", hint="try again with the same id")

    def _go(self, caller: Caller, request: rq.Request) -> None:
        match route(request).to:
            case To.READER:
                self._read(caller, request)
            case To.OUTPUT if isinstance(request, rq.ReadLog):
                then, failed = self._found_for(caller, request), self._refused(caller)
                self._questions.read_output(request, then, failed, owner=caller.owner)
                self._asked.add(caller)
            case To.KEEPER:
                self._keep(caller, request)
            case _:
                self._act(caller, request)

    def _act(self, caller: Caller, request: rq.Request) -> None:
        services = self._services
        match request:
            case rq.StartRun():
                said = (request.workflow, request.goal, request.cwd, request.name, request.inputs, request.on_parent)
                self._command(cm.Command(caller, request, digest=digest(msgspec.json.encode(said))))
            case rq.Subscribe():
                if not self._publisher.known(caller, request.after):
                    self._publisher.subscribe(caller, request, "", "")
            case rq.Credit(key, upto):
                self._publisher.credit(caller.identity, key, upto)
                self._send(caller, rl.Done())
            case rq.Unsubscribe(key):
                self._publisher.remove(caller.identity, key)
                self._send(caller, rl.Done())
            case rq.StopDaemon(grace_seconds, mode, intent):
                check_intent(intent, "to stop crewd", required=services.config.require_intent and mode == "end")
                self._send(caller, rl.Done())
                order = cm.stop(mode, grace_seconds, services.clock.wall())
                services.directory.part(FRONT).tell(order, lane=Lane.CONTROL)
            case _ if isinstance(request, rq.ForFront):
                self._command(cm.Command(caller, request))
            case _:
                raise UsageError(f"{type(request).__name__} goes nowhere")

    def _read(self, caller: Caller, request: rq.Request) -> None:
        number = self._questions.read_reply(
            request, self._found_for(caller, request), self._refused(caller), owner=caller.owner
        )
        self._asked.add(caller)
        if isinstance(request, rq.Doctor):
            self._later(doctor.READER_SECONDS, lambda: self._questions.answered(number, self._unread()))

    def _keep(self, caller: Caller, request: rq.Request) -> None:
        if not isinstance(request, kp.KeepRequest | rq.Doctor):
            raise UsageError(f"{type(request).__name__} is nothing that the keeper does")
        admin = self._who(caller.identity).role >= Role.ADMIN
        doors.check_keep(request, admin=admin, require_intent=self._services.config.require_intent)
        force = admin and isinstance(request, kp.Forget | kp.Archive | kp.Import) and request.force
        self._questions.keep(request, self._found_for(caller, request), self._refused(caller), owner=caller.owner, force=force)
        self._asked.add(caller)

    def _found_for(self, caller: Caller, request: rq.Request) -> Callable[[rl.Reply], None]:
        """Send the reply that was found. That of a doctor is not whole yet."""

        def found(reply: rl.Reply) -> None:
            if isinstance(request, rq.Doctor) and isinstance(reply, rl.DoctorReply):
                self._examine(caller, request, reply)
                return
            self._asked.discard(caller)
            self._send(caller, reply)

        return found

    def _examine(self, caller: Caller, request: rq.Doctor, reply: rl.DoctorReply) -> None:
        """The store was looked at: now the machine."""

        def seen(machine: gd.Examined | CrewdError) -> None:
            self._asked.discard(caller)
            self._send(caller, self._examined(request, reply, machine))

        try:
            self._questions.examine(seen, seen)
        except CrewdError as error:
            seen(error)

    def _own(self, caller: Caller) -> RunRow:
        """The run of a worker that asks."""
        row = self._services.directory.rows.get(caller.worker.partition("/")[0])
        if row is None:
            raise Unavailable("this worker's run is restarting", hint="say hello again")
        return row


def digest(content: bytes) -> str:
    """What tells a repeat from another request with the same id."""
    return hashlib.sha256(content).hexdigest()[:32]
