"""The gateway: decodes, checks rights, hands on, and answers. It decides nothing about runs and workers.

Rule 1: whatever arrives, the answer is a reply or a typed error, and a frame that is wrong changes nothing.
Rule 2: the work of one turn is bounded per side, so that a flood of one peer delays nobody for long.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from crewd import __version__
from crewd.actors import Actor, ExitKind, ExitReason, Lane
from crewd.model import events as ev
from crewd.model.errors import (
    Busy,
    CrewdError,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    NotPermitted,
    PeerError,
    Refused,
    Unavailable,
    UsageError,
)
from crewd.model.ids import EVENT, check_name, task_id
from crewd.model.limits import GRACE_SECONDS_MAX, NAME_CHARS_MAX, NOTE_CHARS_MAX
from crewd.model.receipts import Level, Receipt
from crewd.model.redact import clip
from crewd.model.rights import Role, check_intent, check_owner, owner_id
from crewd.model.rows import MAILBOX_KINDS, Progress, RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.protocol import codec
from crewd.protocol import keeping as kp
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.doors import check_cancel, check_command, check_keep, check_seconds, check_send, for_keeper
from crewd.store.messages import Answer, Keep, Published, Put, Read, Resolve, Resolved
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import FRONT, GATEWAY, KEEPER, READER, STORE
from crewd.supervisor.front import shutdown
from crewd.supervisor.gateway import doctor, replies
from crewd.supervisor.gateway.connected import ConnectedWorker, ConnectedWorkers
from crewd.supervisor.gateway.letters import Again, Asked, Late, Look, Readable, Refill
from crewd.supervisor.gateway.pace import Pace
from crewd.supervisor.gateway.publisher import Publisher
from crewd.supervisor.gateway.waitgraph import cycle, in_words
from crewd.supervisor.gateway.waits import EndWait, LevelWait, W, Waits
from crewd.supervisor.gateway.wire import OWN_IDENTITY, Sent, Side, Wire
from crewd.supervisor.lineage import address, check_relation

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

MESSAGES_PER_TURN = 200
"""Of each side, before other actors get a turn."""
CLIENTS_MAX = 4_096
"""Clients remembered; the one that was silent for longest is forgotten and must say hello again."""
PENDING_MAX = 20_000
"""Questions to the reader under way."""
AGAIN_SECONDS = 0.2
"""Until the reader is asked again what it could not take."""
NOTE_SECONDS = 1.0
"""Between two words to a controller that its worker lives."""


_SEND = b"send"
"""The kind of what a client may send too much of."""
_Owned = rq.Cancel | rq.Signal | rq.Reopen | rq.Dismiss | rq.Claim | rq.Send | rq.Withdraw | kp.Forget | kp.Archive
"""What is done to something that somebody owns."""


class Gateway(Actor):
    """See the module's text."""

    data_max = 50_000

    def __init__(self, services: Services, wire: Wire) -> None:
        super().__init__()
        self._services = services
        self._wire = wire
        self._pending_reads: set[Side] = set()
        self._clients: dict[bytes, str] = {}
        self._roles: dict[bytes, Role] = {}
        self._workers = ConnectedWorkers()
        self._asking: dict[tuple[str, int], bytes] = {}
        self._asked: dict[int, Asked] = {}
        self._reading: set[cm.Caller] = set()
        self._token = 0
        self._waits = Waits()
        self._pace = Pace()
        self._publisher = Publisher(
            services.directory.rows,
            self._send,
            lambda feed, chosen: self._ask_surely(Asked(feed.caller, chosen, "feed", feed)),
            lambda seconds: self.context.after(seconds, Refill()),
            services.clock.monotonic,
        )
        self._look_at: float | None = None
        self._incarnation = services.ids.next(EVENT)

    def on_start(self) -> None:
        """Bind both sockets."""
        self._services.directory.enter(GATEWAY, self.ref)
        self._services.directory.way_out = self
        self._began = self.context.now()
        self._wire.open(self._on_readable)

    def on_stop(self) -> None:
        """Unbind."""
        self._services.directory.leave(GATEWAY, self.ref)
        if self._services.directory.way_out is self:
            self._services.directory.way_out = None
        self._wire.close()

    def respond(self, caller: cm.Caller, reply: cm.Reply) -> None:
        """See `WayOut`."""
        try:
            self._respond(caller, reply)
        except Exception as error:  # noqa: BLE001 (it is the gateway that fails, not who called)
            self.kill(ExitReason(ExitKind.CRASHED, error))

    def to_worker(self, task: str, epoch: int, order: rp.ToWorker) -> None:
        """See `WayOut`."""
        try:
            self._tell_worker(task, epoch, order)
        except Exception as error:  # noqa: BLE001 (as above)
            self.kill(ExitReason(ExitKind.CRASHED, error))

    def _on_readable(self, side: Side) -> None:
        if side not in self._pending_reads and self.ref.offer(Readable(side), lane=Lane.CONTROL):
            self._pending_reads.add(side)

    def receive(self, message: Any) -> None:
        """See the module's text."""
        match message:
            case Readable(side):
                self._pending_reads.discard(side)
                for _ in range(MESSAGES_PER_TURN):
                    frames = self._wire.receive(side)
                    if frames is None:
                        break
                    if not frames[0].startswith(OWN_IDENTITY):
                        self._wire.send(side, replies.chosen_identity(side, frames))
                    elif side is Side.CLIENTS:
                        self._hear_client(frames)
                    else:
                        self._hear_worker(frames)
            case Published():
                self._publish(message)
            case Answer(token, reply):
                asked = self._asked.pop(token, None)
                if asked is not None:
                    self._answered(asked, reply)
            case Look():
                self._look_at = None
                self._give_up_late()
            case Again(asked):
                self._ask_surely(asked)
            case Refill():
                self._publisher.go_on()
            case Late(token):
                asked = self._asked.pop(token, None)
                if asked is not None:
                    self._answered(asked, doctor.unread(self.context.system))
            case _:
                raise TypeError(f"the gateway does not know {message!r}")

    # -- workers ------------------------------------------------------------------------------------------------

    def _hear_worker(self, frames: list[bytes]) -> None:
        identity, body = frames[0], frames[1:]
        try:
            parcel = codec.from_worker.decode(body)
            if isinstance(parcel.body, rp.WorkerHello):
                self._greet_worker(identity, parcel.body)
                return
            worker = self._workers.at(identity)
            if worker is None:
                raise Unavailable("say hello first", hint="crewd was restarted, or does not know this worker yet")
            if isinstance(parcel.body, rq.Send | rq.AwaitEnd | rq.GetReceipt):
                self._hear_request(identity, worker, parcel.id, parcel.body)
            else:
                self._hear_known(worker, parcel.body)
        except CrewdError as error:
            self._send_worker(identity, rp.WorkerError(error=error.info), codec.id_of(body))

    def _greet_worker(self, identity: bytes, hello: rp.WorkerHello) -> None:
        key = (hello.task, hello.epoch)
        if not self._services.tokens.right(*key, hello.token):
            raise NotPermitted("this token is not this worker's")
        controller = self._services.directory.attempts.get(key)
        if controller is None:
            raise Unavailable("this attempt has no controller now", hint="say hello again")
        self._workers.greet(identity, *key, self.context.now())
        controller.tell(cm.WorkerConnected(hello), lane=Lane.CONTROL)

    def _hear_request(
        self, identity: bytes, worker: ConnectedWorker, key: str, request: rq.Send | rq.AwaitEnd | rq.GetReceipt
    ) -> None:
        """A worker asks for something that concerns others: it is served like a client, within its relations."""
        name = f"{worker.task}#{worker.epoch}"
        caller = cm.Caller(identity, key, name, worker=name)
        self._asking[worker.task, worker.epoch] = identity
        try:
            if not isinstance(request, rq.GetReceipt):
                request = msgspec.structs.replace(request, target=address(self._own(caller), request.target))
            self._serve(caller, request)
        except CrewdError as error:
            self._go_on(caller)
            self._send(caller, rq.ErrorReply(error=error.info))

    def _own(self, caller: cm.Caller) -> RunRow:
        """The run of a worker that asks."""
        row = self._services.directory.rows.get(caller.worker.partition("/")[0])
        if row is None:
            raise Unavailable("this worker's run is restarting", hint="say hello again")
        return row

    def _hear_known(self, worker: ConnectedWorker, said: rp.Heartbeat | rp.ProgressReport | rp.Reports) -> None:
        worker.heard_at = self.context.now()
        key = (worker.task, worker.epoch)
        controller = self._services.directory.attempts.get(key)
        match said:
            case rp.Reports(reports):
                if controller is None:
                    raise Unavailable("this attempt has no controller now", hint="say hello again")
                if not controller.offer(cm.WorkerReported(reports)):
                    raise Busy("too many reports at once", hint="say hello again")
            case rp.ProgressReport(done, total, note, beats, phase) if controller is not None:
                worker.beats = beats
                at = self._services.clock.wall()
                self._note_progress(
                    worker,
                    Progress(
                        task=worker.task, epoch=worker.epoch, done=done, total=total, note=clip(note, NOTE_CHARS_MAX),
                        beats=beats, at=at, phase=clip(phase, NAME_CHARS_MAX),
                    ),
                )  # fmt: skip
            case rp.Heartbeat(beats) if controller is not None and beats != worker.beats:
                worker.beats = beats
                base = worker.progress or Progress(task=worker.task, epoch=worker.epoch)
                self._note_progress(worker, msgspec.structs.replace(base, beats=beats, at=self._services.clock.wall()))
            case _:
                pass
        pause = min(NOTE_SECONDS, self._services.config.heartbeat_seconds / 2)
        if controller is not None and worker.heard_at - worker.noted_at >= pause:
            worker.noted_at = worker.heard_at
            controller.offer(cm.WorkerAlive(worker.beats))

    def _note_progress(self, worker: ConnectedWorker, progress: Progress) -> None:
        worker.progress = progress
        store = self._services.directory.part(STORE)
        store.offer(Put(f"progress:{worker.task}", msgspec.msgpack.encode(progress)))
        self._publisher.progress(progress)

    def _tell_worker(self, task: str, epoch: int, order: rp.ToWorker) -> None:
        identity = self._workers.of(task, epoch)
        if identity is None:
            return
        if self._send_worker(identity, order) is not Sent.OK:
            # Gone, or so slow that its queue is full: it hears everything again after its next hello.
            self._workers.forget(task, epoch)
            controller = self._services.directory.attempts.get((task, epoch))
            if controller is not None:
                controller.offer(cm.WorkerDisconnected(), lane=Lane.CONTROL)

    def _send_worker(self, identity: bytes, order: rp.ToWorker, key: str = "") -> Sent:
        return self._wire.send(Side.WORKERS, [identity, *codec.to_worker.encode(key, order)])

    def _reply_to_worker(self, caller: cm.Caller, reply: rq.Reply) -> Sent:
        if isinstance(reply, rq.ReceiptReply | rq.EndReply | rq.ErrorReply) and caller.identity in self._workers:
            return self._send_worker(caller.identity, reply, caller.request)
        return Sent.GONE  # it asks again when it is back

    def forget_worker(self, task: str, epoch: int) -> None:
        """The attempt is over."""
        self._workers.forget(task, epoch)
        identity = self._asking.pop((task, epoch), None)
        if identity is not None:  # few do; to look through all waits at each end would be dear
            self._waits.drop(identity)
            self._pace.drop(identity)

    # -- clients ------------------------------------------------------------------------------------------------

    def _hear_client(self, frames: list[bytes]) -> None:
        identity, body = frames[0], frames[1:]
        request_id = codec.id_of(body)
        caller = cm.Caller(identity, request_id, self._clients.get(identity, ""))
        try:
            if len(body) > 1 and body[1] == _SEND:
                self._pace.check(identity, request_id)
            request = codec.requests.decode(body).body
            if not request_id and not isinstance(request, rq.Hello):
                raise PeerError("a request has an id", hint="the third frame: 1 to 64 printable characters of your choice")
            if isinstance(request, rq.Hello):
                self._greet_client(caller, request)
                return
            if not caller.owner:
                hint = "crewd does not know this connection (any more): send 'hello', and then this request again"
                raise Unavailable("say hello first", hint=hint, say="hello")
            role = self._roles.get(identity, Role.NONE)
            needed = Role.RESPOND if isinstance(request, rq.Send) and request.kind == "response" else request.role
            if needed > role:
                raise Forbidden(f"this needs the role {needed.name.lower()}", hint=f"this connection may {role.name.lower()}")
            self._serve(caller, request)
        except CrewdError as error:
            self._go_on(caller)
            self._send(caller, rq.ErrorReply(error=error.info))

    def _greet_client(self, caller: cm.Caller, hello: rq.Hello) -> None:
        name = check_name("client name", hello.owner)
        owner = owner_id(name, hello.key) if hello.key else f"{name}:"
        self._clients.pop(caller.identity, None)
        self._clients[caller.identity] = owner
        # Whoever reaches this socket is the daemon's own user (0700, IPC_FILTER_UID), so it may have any role it wishes; but
        # one that does not say who it is owns nothing, and only looks.
        most = Role.ADMIN if hello.key else Role.OBSERVE
        role = self._roles[caller.identity] = Role(min(max(hello.wish, Role.NONE), most))
        if len(self._clients) > CLIENTS_MAX:
            oldest = next(iter(self._clients))
            del self._clients[oldest], self._roles[oldest]
            self._waits.drop(oldest)
            self._pace.drop(oldest)
            self._publisher.drop(oldest)
        self._send(
            caller,
            rq.Welcome(
                daemon=self._services.home.key,
                incarnation=self._incarnation,
                software=__version__,
                role=role,
                seq=self._publisher.seq,
                owner=owner,
                draining=self._services.directory.draining,
            ),
        )

    def _serve(self, caller: cm.Caller, request: rq.Request) -> None:
        """Carry out a request. A client that waits for long asks again: that changes nothing and is answered once or twice."""
        self._waits.begin_anew(caller)
        if caller in self._reading:
            return
        match request:
            case rq.StartRun():
                said = (request.workflow, request.goal, request.cwd, request.name, request.inputs, request.on_parent)
                digest = _digest(msgspec.json.encode(said))
                self._front(cm.Command(caller, request, digest=digest))
            case rq.Send():
                self._send_message(caller, request)
            case rq.Withdraw():
                self._ask(Asked(caller, rq.GetReceipt(id=request.id), "withdraw", request))
            case rq.Acknowledge():
                self._ask(Asked(caller, rq.GetReceipt(id=request.id), "acknowledge", request))
            case rq.Cancel():
                self._cancel(caller, request)
            case (
                rq.Reopen(target) | rq.Dismiss(target) | rq.Signal(target)
                | rq.Claim(target) | rq.Release(target) | rq.Finish(target)
            ):  # fmt: skip
                self._resolve(caller, target, "command", check_command(request))
            case rq.AwaitEnd(target):
                check_seconds(request.timeout_seconds)
                self._resolve(caller, target, "await", request)
            case rq.Subscribe(target):
                if self._publisher.known(caller, request.after):
                    return
                if target:
                    self._resolve(caller, target, "subscribe", request)
                else:
                    self._publisher.subscribe(caller, request, "", "")
            case rq.Credit(key, upto):
                self._publisher.credit(caller.identity, key, upto)
                self._send(caller, rq.Done())
            case rq.Unsubscribe(key):
                self._publisher.remove(caller.identity, key)
                self._send(caller, rq.Done())
            case rq.SeenNews(upto):
                upto = min(max(0, upto), self._publisher.seq)
                self._front(cm.Command(caller, rq.SeenNews(upto=upto)))
            case kp.Forget(target) | kp.Archive(target) | kp.Export(target) | kp.GetArtifact(target):
                self._resolve(caller, target, "keep", request)
            case rq.ResumeDaemon():
                self._services.directory.part(FRONT).tell(cm.ResumeWork(caller), lane=Lane.CONTROL)
            case rq.StopDaemon(grace_seconds, mode, intent):
                check_intent(intent, "to stop crewd", required=self._services.config.require_intent and mode == "end")
                self._send(caller, rq.Done())
                order = shutdown(self._services, mode, min(max(0.0, grace_seconds), GRACE_SECONDS_MAX))
                self._services.directory.part(FRONT).tell(order, lane=Lane.CONTROL)
            case _:
                self._ask_for(caller, request)

    def _ask_for(self, caller: cm.Caller, request: rq.Request) -> None:
        """What the reader, or the keeper, answers is the reply."""
        self._ask(Asked(caller, request, "reply"))
        self._reading.add(caller)

    def _front(self, command: cm.Command) -> None:
        """To the run if it is live, else to the front. A cancel overtakes everything (R17)."""
        lane = command.lane
        living = self._services.directory.runs.get(command.run)
        if living is not None and living.offer(command, lane=lane):
            return
        if not self._services.directory.part(FRONT).offer(command, lane=lane):
            raise Busy("crewd has too much to do", hint="try again with the same id")

    def _send_message(self, caller: cm.Caller, send: rq.Send) -> None:
        send = check_send(send)
        following = self._pace.enter(caller, send, self.context.now())
        if following is not None:
            self._admit_message(*following)

    def _admit_message(self, caller: cm.Caller, send: rq.Send) -> None:
        target = send.ask or send.target
        slow = send.kind == "response" or send.terms.on_idle == "start" or caller.worker
        resolved = None if slow else self._fast(target)
        if resolved is not None:
            self._forward_message(caller, send, *resolved)
        else:
            self._resolve(caller, target, "send", send)

    def _fast(self, target: str) -> tuple[str, str] | None:
        """A living run named by its whole id or name, without a look into the database."""
        text, _, step = target.partition("/")
        directory = self._services.directory
        run = text if text in directory.runs else directory.names.get(text)
        return None if run is None else (run, task_id(run, step) if step else "")

    def _forward_message(self, caller: cm.Caller, send: rq.Send, run: str, task: str, note: str = "") -> None:
        if send.wait is not Level.ACCEPTED:
            self._wait(LevelWait(caller, send.id, send.wait, self.context.now() + send.timeout_seconds))
        digest = _digest(msgspec.json.encode((send.kind, run, task, send.text, send.ask, send.terms)))
        try:
            self._front(cm.Command(caller, send, run, task, digest, note))
        except CrewdError:
            wait = self._waits.of_message(send.id, caller)
            if wait is not None:
                self._waits.remove(wait)
            raise

    def _cancel(self, caller: cm.Caller, cancel: rq.Cancel) -> None:
        cancel = check_cancel(cancel)
        run, task = self._fast(cancel.target) or ("", "")
        row = self._services.directory.rows.get(run)
        if row is not None and any(task in {"", task_id(run, step.id)} for step in row.workflow.steps):
            self._resolved(
                Asked(caller, cancel, "cancel"), row, task, ""
            )  # of what lives nothing is read: a store that hangs holds up no cancel
        else:
            self._resolve(caller, cancel.target, "cancel", cancel)

    # -- questions to the reader --------------------------------------------------------------------------------

    def _ask(self, asked: Asked) -> None:
        if len(self._asked) >= PENDING_MAX:
            raise Busy("too many questions at once", hint="try again")
        self._token += 1
        question: Read | Keep
        part, question = READER, Read(asked.request, self.ref, self._token, asked.caller.owner, asked.purpose == "reply")
        long = for_keeper(asked.request) if KEEPER in self._services.directory.parts else None
        if long is not None:
            part, question = KEEPER, self._keep(asked.caller, long)
        if not self._services.directory.part(part).offer(question):
            raise Busy(f"the {part} has too much to do", hint="try again")
        self._asked[self._token] = asked
        if part == READER and isinstance(asked.request, rq.Doctor):
            self.context.after(doctor.READER_SECONDS, Late(self._token))

    def _keep(self, caller: cm.Caller, request: kp.KeepRequest | rq.Doctor) -> Keep:
        admin = self._roles.get(caller.identity, Role.NONE) >= Role.ADMIN
        check_keep(request, admin=admin, require_intent=self._services.config.require_intent)
        return Keep(request, self.ref, self._token, caller.owner, force=admin and getattr(request, "force", False))

    def _resolve(self, caller: cm.Caller, target: str, purpose: str, request: rq.Request) -> None:
        if len(self._asked) >= PENDING_MAX:
            raise Busy("too many questions at once", hint="try again")
        self._token += 1
        if not self._services.directory.part(READER).offer(Resolve(target, self.ref, self._token)):
            raise Busy("the reader has too much to do", hint="try again")
        self._asked[self._token] = Asked(caller, request, purpose)

    def _answered(self, asked: Asked, reply: rq.Reply | Resolved | CrewdError) -> None:
        caller = asked.caller
        if asked.purpose == "reply":
            self._reading.discard(caller)
        try:
            if isinstance(reply, CrewdError):
                raise reply
            match asked.purpose, reply:
                case "run", rq.ShowReply(run):
                    self._send(caller, rq.RunReply(run=run))
                case "receipt", rq.ReceiptReply(receipt):
                    self._respond_receipt(caller, receipt)
                case "withdraw", rq.ReceiptReply(receipt):
                    self._withdraw(caller, asked.extra, receipt)
                case "acknowledge", rq.ReceiptReply(receipt):
                    if receipt.kind not in MAILBOX_KINDS:
                        raise UsageError(f"{receipt.id} is a {receipt.kind}", hint="only what is for reading is acknowledged")
                    command = cm.Command(caller, asked.extra, receipt.run, receipt.task)
                    self._services.directory.part(FRONT).tell(command)
                case "late", rq.ReceiptReply(receipt):
                    self._send(caller, replies.too_late(receipt))
                case "feed", rq.EventsReply():
                    self._publisher.refilled(asked.extra, reply)
                case "end", rq.EndReply():
                    self._ended(asked, reply)
                case "survivors", rq.ShowReply():
                    self._send(caller, replies.cancelled(asked.extra[0], asked.extra[1], reply))
                case _, Resolved(run, task, note):
                    self._resolved(asked, run, task, note)
                case "reply", rq.DoctorReply():
                    self._send(caller, self._examined(asked.request, reply))
                case _:
                    self._send(caller, reply)
        except CrewdError as error:
            if asked.purpose == "feed":
                self._publisher.failed(asked.extra)
                return
            if asked.purpose == "late" and isinstance(error, NotFound):  # it is not durable yet
                error = DeadlineExceeded(
                    "the time to wait has passed: the message is on its way", hint="crew messages lists it"
                )
            self._forget_waits_of(asked)
            self._go_on(caller)
            self._send(caller, rq.ErrorReply(error=error.info))

    def _forget_waits_of(self, asked: Asked) -> None:
        for wait in asked.extra if asked.purpose == "end" else ():
            self._waits.remove(wait)

    def _may(self, caller: cm.Caller, request: _Owned, owner: str, what: str) -> None:
        """Whether the caller may do this to what somebody owns. Raises Forbidden or UsageError, with nothing changed."""
        if isinstance(request, rq.Cancel | rq.Signal | rq.Dismiss | kp.Forget | kp.Archive):
            check_intent(request.intent, type(request).__name__.lower(), required=self._services.config.require_intent)
        role = self._roles.get(caller.identity, Role.NONE)
        check_owner(caller.owner, owner, role, what, force=request.force, intent=request.intent)

    def _resolved(self, asked: Asked, row: RunRow, task: str, note: str) -> None:
        caller, request, run = asked.caller, asked.request, row.id
        if caller.worker and caller.identity not in self._workers:
            return  # it has ended, or says hello again and asks again
        if isinstance(request, rq.Send) and caller.worker:
            check_relation(caller.worker, self._own(caller), row, task, request.kind)
        elif isinstance(request, rq.Cancel | rq.Signal | rq.Reopen | rq.Dismiss | kp.Forget | kp.Archive) or (
            isinstance(request, rq.Send) and (request.kind == "response" or request.terms.on_idle == "start")
        ):
            self._may(caller, request, row.owner, f"run {run}")
        if row.archived and isinstance(request, rq.Send | rq.Reopen | rq.Dismiss | rq.Claim):
            raise Refused(f"run {row.name} is archived: it is only read", hint="start a new run", reason="archived")
        match request:
            case kp.GetArtifact():
                self._ask_for(caller, msgspec.structs.replace(request, target=task or run))
            case kp.Forget() | kp.Archive() | kp.Export():
                if task:
                    raise UsageError(
                        f"{row.name} is forgotten, archived or exported as a whole", hint=f"name the run: {row.name}"
                    )
                self._ask_for(caller, msgspec.structs.replace(request, target=run))
            case rq.Send():
                self._forward_message(caller, request, run, task, note)
            case rq.AwaitEnd():
                if caller.worker and row.status not in RUN_TERMINAL:
                    self._check_wait(caller, task or run)
                wait = EndWait(
                    caller, run, task, request.or_waiting, cancel=False, give_up_at=self.context.now() + request.timeout_seconds
                )
                self._ask_ends([self._wait(wait)])
            case rq.Subscribe():
                self._publisher.subscribe(caller, request, run, task)
            case rq.Cancel():
                wait = EndWait(
                    caller, run, task, or_waiting=False, cancel=True, give_up_at=self.context.now() + request.timeout_seconds
                )
                if request.wait:
                    self._wait(wait)
                self._front(cm.Command(caller, request, run, task))
            case rq.Reopen() | rq.Dismiss() | rq.Signal():
                self._front(cm.Command(caller, request, run, task))
            case rq.Claim() | rq.Release() | rq.Finish():
                step = next((step for step in row.workflow.steps if task in {"", task_id(run, step.id)}), None)
                if isinstance(request, rq.Claim) and (step is None or not step.worker.outside):
                    self._may(caller, request, row.owner, f"run {run}")
                self._front(cm.Command(caller, request, run, task, _digest(f"claim {request.token}".encode())))
            case _:
                raise UsageError(f"{type(request).__name__} has no target")

    def _check_wait(self, caller: cm.Caller, target: str) -> None:
        """Raises Refused for a wait that could never end."""
        waiter, rows = caller.worker.rpartition("#")[0], self._services.directory.rows
        way = cycle(waiter, target, self._waits.of_workers(), rows)
        if way is not None:
            words = in_words(way)
            for run, row in rows.items():
                words = words.replace(run, row.name)
            raise Refused(f"this wait would never end: {words}", hint="let one of them go on without the other")

    def _withdraw(self, caller: cm.Caller, request: rq.Withdraw, receipt: Receipt) -> None:
        if receipt.settled:
            self._send(caller, rq.ReceiptReply(receipt=receipt))
            return
        row = self._services.directory.rows.get(receipt.run)
        if row is None or row.owner != caller.owner:
            self._may(caller, request, receipt.sender, f"message {receipt.id}")
        self._front(cm.Command(caller, request, receipt.run, receipt.task))

    def _examined(self, request: rq.Request, reply: rq.DoctorReply) -> rq.DoctorReply:
        now, patience = self.context.now(), 5 * self._services.config.heartbeat_seconds
        silent = {w.task: now - w.heard_at for w in self._workers if now - w.heard_at > patience}
        counts: dict[str, int | float | str] = {
            "clients": len(self._clients),
            "workers_connected": len(self._workers),
            "waits": len(self._waits),
            "subscriptions": len(self._publisher),
        }
        actors = isinstance(request, rq.Doctor) and request.actors
        return doctor.examined(reply, self.context.system, self._services, now - self._began, silent, counts, actors=actors)

    # -- answers ------------------------------------------------------------------------------------------------

    def _respond(self, caller: cm.Caller, reply: cm.Reply) -> None:
        self._go_on(caller)
        match reply:
            case CrewdError():
                self._drop_waits(caller)
                self._send(caller, rq.ErrorReply(error=reply.info))
            case rq.ReceiptReply(receipt):
                self._respond_receipt(caller, receipt)
            case rq.GetReceipt():
                self._ask_surely(Asked(caller, reply, "receipt"))
            case rq.Show():
                self._ask_surely(Asked(caller, reply, "run"))
            case rq.AwaitEnd():
                self._look_again(caller)
            case _:
                self._send(caller, reply)

    def _respond_receipt(self, caller: cm.Caller, receipt: Receipt) -> None:
        known = self._waits.answered(receipt, caller)
        if known is not None:
            self._send(caller, rq.ReceiptReply(receipt=known))

    def _go_on(self, caller: cm.Caller) -> None:
        """A message was answered: the next one of the same client is let in."""
        while (following := self._pace.leave(caller, self.context.now())) is not None:
            caller, send = following
            try:
                self._admit_message(caller, send)
                break
            except CrewdError as error:
                self._send(caller, rq.ErrorReply(error=error.info))

    def _drop_waits(self, caller: cm.Caller) -> None:
        for wait in self._waits.of_request(caller):
            self._waits.remove(wait)

    def _look_again(self, caller: cm.Caller) -> None:
        """A cancel is in the hands of its run: see how things stand, for the run may have ended long ago."""
        self._ask_ends([wait for wait in self._waits.of_request(caller) if isinstance(wait, EndWait)])

    def _wait(self, wait: W) -> W:
        wait = self._waits.add(wait)
        if self._look_at is None or wait.give_up_at < self._look_at:
            self._look_at = wait.give_up_at
            self.context.after(max(0.0, wait.give_up_at - self.context.now()), Look())
        return wait

    def _ask_ends(self, waits: list[EndWait]) -> None:
        """See how things stand, once for all who wait for the same."""
        alike: dict[rq.AwaitEnd, list[EndWait]] = {}
        for wait in waits:
            request = rq.AwaitEnd(target=wait.task or wait.run, or_waiting=wait.or_waiting)
            alike.setdefault(request, []).append(wait)
        for request, mine in alike.items():
            self._ask_surely(Asked(mine[0].caller, request, "end", mine))

    def _ask_surely(self, asked: Asked) -> None:
        """Ask what nobody will ask again; if the reader cannot take it now, soon."""
        try:
            self._ask(asked)
        except CrewdError:
            self.context.after(AGAIN_SECONDS, Again(asked))

    def _ended(self, asked: Asked, reply: rq.EndReply) -> None:
        for wait in asked.extra:
            if wait.met(reply) and self._waits.remove(wait):
                self._end_met(wait, reply)

    def _end_met(self, wait: EndWait, reply: rq.EndReply) -> None:
        if not wait.cancel:
            self._send(wait.caller, reply)
            return
        status = reply.task.status.value if reply.task is not None else reply.run.status.value
        self._ask_surely(Asked(wait.caller, rq.Show(target=wait.run), "survivors", (wait, status)))

    def _give_up_late(self) -> None:
        now = self.context.now()
        for wait in self._waits.late(now):
            if isinstance(wait, LevelWait):
                self._ask_surely(Asked(wait.caller, rq.GetReceipt(id=wait.message), "late", wait))
            else:
                held_up = doctor.held_up(self._services, self.context.system, now - self._began)
                self._send(wait.caller, replies.not_ended(wait, held_up))
        due = self._waits.next_due
        if due is not None:
            self._look_at = due
            self.context.after(max(0.0, due - now), Look())

    # -- events -------------------------------------------------------------------------------------------------

    def _publish(self, published: Published) -> None:
        for receipt in published.receipts:
            for wait in self._waits.for_receipt(receipt):
                self._send(wait.caller, rq.ReceiptReply(receipt=receipt))
        ended: set[str] = set()
        for event in published.events:
            if isinstance(event.body, ev.AttemptEnded):
                self.forget_worker(event.task, event.epoch)
            if isinstance(event.body, (*ev.TERMINAL_BODIES, ev.AskOpened, ev.TaskParked)):
                ended.add(event.run)
        for run in ended:
            self._ask_ends(self._waits.of_run(run))
        self._publisher.publish(published.events)

    def _send(self, caller: cm.Caller, reply: rq.Reply) -> Sent:
        if caller.worker:
            return self._reply_to_worker(caller, reply)
        try:
            frames = codec.replies.encode(caller.request, reply)
        except PeerError as error:
            frames = codec.replies.encode(caller.request, rq.ErrorReply(error=error.info))
        sent = self._wire.send(Side.CLIENTS, [caller.identity, *frames])
        if sent is Sent.GONE:
            self._clients.pop(caller.identity, None)
            self._roles.pop(caller.identity, None)
            self._waits.drop(caller.identity)
            self._pace.drop(caller.identity)
            self._publisher.drop(caller.identity)
        return sent


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
