"""The gateway: the two sockets of crewd. It decodes, greets, hands on and answers; it decides nothing about runs and workers.

Rule 1: whatever arrives, the answer is a reply or a typed error, and a frame that is wrong changes nothing.
Rule 2: the work of one turn is bounded per side, so that a flood of one peer delays nobody for long.

Tests: tests/testing/world/test_machine.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from crewd import __version__
from crewd.actors import Actor, ExitKind, ExitReason, Lane
from crewd.model import events as ev
from crewd.model.errors import CrewdError, PeerError, Unavailable
from crewd.model.ids import EVENT
from crewd.protocol import codec
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.store.messages import Answer, Echo, Missed, Published
from crewd.supervisor import commands as cm
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import GATEWAY
from crewd.supervisor.gateway import doctor, replies
from crewd.supervisor.gateway.clients import Clients
from crewd.supervisor.gateway.feeds import Feed
from crewd.supervisor.gateway.publisher import Publisher
from crewd.supervisor.gateway.questions import Questions
from crewd.supervisor.gateway.routes import check_role
from crewd.supervisor.gateway.serving import Serving
from crewd.supervisor.gateway.to_self import Due, Readable
from crewd.supervisor.gateway.waiting import Waiting
from crewd.supervisor.gateway.wire import OWN_IDENTITY, Sent, Side, Wire
from crewd.supervisor.gateway.worker_side import Asking, WorkerSide

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

MESSAGES_PER_TURN = 200
"""Of each side, before other actors get a turn."""
GatewayMessage: TypeAlias = Published | Echo | Missed | Answer | gd.Examined | Readable | Due
"""What the gateway takes."""
_SEND = b"send"
"""The kind of what a client may send too much of."""


class Gateway(Actor[GatewayMessage]):
    """See the module's text."""

    data_max = 50_000

    def __init__(self, services: Services, wire: Wire) -> None:
        super().__init__()
        self._services = services
        self._wire = wire
        self._pending_reads: set[Side] = set()
        self._clients = Clients()
        self._incarnation = services.ids.next(EVENT)
        directory, now = services.directory, services.clock.monotonic
        self._questions = Questions(directory, lambda: self.ref, self._later)
        self._publisher = Publisher(
            directory.rows, self._send, self._refill, lambda seconds: self._later(seconds, self._publisher.go_on), now
        )
        self._waiting = Waiting(directory, self._questions, self._send, self._refuse, self._later, now, self._held_up)
        self._workers = WorkerSide(services, wire, now, self._serve_worker, self._publisher.progress)
        self._serving = Serving(
            services, self._questions, self._waiting, self._publisher, self._workers, send=self._send, later=self._later,
            now=now, who=self._clients.at, examined=self._examined, unread=lambda: doctor.unread(self.context.system),
        )  # fmt: skip

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

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self.context.after(seconds, Due(act))

    def _refuse(self, caller: Caller, error: CrewdError) -> None:
        self._serving.refuse(caller, error)

    def _serve_worker(self, caller: Caller, asking: Asking) -> None:
        self._serving.serve_worker(caller, asking)

    def _on_readable(self, side: Side) -> None:
        if side not in self._pending_reads and self.ref.offer(Readable(side), lane=Lane.CONTROL):
            self._pending_reads.add(side)

    def receive(self, message: GatewayMessage) -> None:
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
                        self._workers.hear(frames)
            case Published():
                self._publish(message)
            case Echo(reply_to):
                reply_to.offer(message, lane=Lane.CONTROL)
            case Missed(upto):
                self._waiting.missed()
                self._publisher.missed(upto)
            case Answer(number, reply):
                self._questions.answered(number, reply)
            case gd.Examined(number):
                self._questions.examined(number, message)
            case Due(act):
                act()
            case _:
                self.unexpected(message)

    # -- the way out --------------------------------------------------------------------------------------------

    def respond(self, caller: Caller, reply: cm.Reply) -> None:
        """See `WayOut`."""
        try:
            self._respond(caller, reply)
        except Exception as error:  # noqa: BLE001 (it is the gateway that fails, not who called)
            self.kill(ExitReason(ExitKind.CRASHED, error))

    def to_worker(self, task: str, epoch: int, order: rp.ToWorker) -> None:
        """See `WayOut`."""
        try:
            self._workers.order(task, epoch, order)
        except Exception as error:  # noqa: BLE001 (as above)
            self.kill(ExitReason(ExitKind.CRASHED, error))

    def _respond(self, caller: Caller, reply: cm.Reply) -> None:
        match reply:
            case CrewdError():
                self._serving.refuse(caller, reply)
                return
            case rl.ReceiptReply(receipt):
                self._serving.go_on(caller)
                self._waiting.receipt(caller, receipt)
            case rq.GetReceipt():
                self._serving.go_on(caller)
                self._serving.ask_receipt(caller, reply)
            case rq.Show():
                self._serving.ask_run(caller, reply)
            case cm.CancelRecorded(after):
                self._waiting.cancel_recorded(caller, after)
            case cm.HasEnded():
                self._waiting.cancel_of_ended(caller)
            case _:
                self._serving.go_on(caller)
                self._send(caller, reply)

    def _send(self, caller: Caller, reply: rl.Reply) -> Sent:
        if caller.worker:
            return self._workers.reply(caller, reply)
        try:
            frames = codec.replies.encode(caller.request, reply)
        except PeerError as error:
            frames = codec.replies.encode(caller.request, rl.ErrorReply(error=error.info))
        sent = self._wire.send(Side.CLIENTS, [caller.identity, *frames])
        if sent is Sent.GONE:
            self._forget(caller.identity)
        return sent

    def _forget(self, identity: bytes) -> None:
        self._clients.forget(identity)
        self._serving.drop(identity)
        self._publisher.drop(identity)

    # -- clients ------------------------------------------------------------------------------------------------

    def _hear_client(self, frames: list[bytes]) -> None:
        identity, body = frames[0], frames[1:]
        request_id, client = codec.id_of(body), self._clients.at(identity)
        caller = Caller(identity, request_id, client.owner)
        try:
            if len(body) > 1 and body[1] == _SEND:
                self._serving.check_pace(identity, request_id)
            request = codec.requests.decode(body).body
            if isinstance(request, rq.Hello):
                self._greet(caller, request)
                return
            if not request_id:
                raise PeerError("a request has an id", hint="the third frame: 1 to 64 printable characters of your choice")
            if not client.owner:
                hint = "crewd does not know this connection (any more): send 'hello', and then this request again"
                raise Unavailable("say hello first", hint=hint, say="hello")
            check_role(request, client.role)
            self._serving.serve(caller, request)
        except CrewdError as error:
            self._serving.refuse(caller, error)

    def _greet(self, caller: Caller, hello: rq.Hello) -> None:
        client = self._clients.greet(caller.identity, hello)
        surplus = self._clients.surplus()
        if surplus is not None:
            self._forget(surplus)
        welcome = rl.Welcome(
            daemon=self._services.home.key, incarnation=self._incarnation, software=__version__, role=client.role,
            seq=self._publisher.seq, owner=client.owner, draining=self._services.directory.draining,
        )  # fmt: skip
        self._send(caller, welcome)

    # -- events -------------------------------------------------------------------------------------------------

    def _publish(self, published: Published) -> None:
        for event in published.events:
            if isinstance(event.body, ev.AttemptEnded):
                asked_on = self._workers.forget(event.task, event.epoch)
                if asked_on is not None:  # few workers ask; to look through all waits at each end would be dear
                    self._serving.drop(asked_on)
        self._waiting.publish(published)
        self._publisher.publish(published.events)

    def _refill(self, feed: Feed, request: rq.ListEvents) -> None:
        def failed(_: CrewdError) -> None:
            self._publisher.failed(feed)

        def found(reply: rl.EventsReply) -> None:
            self._publisher.refilled(feed, reply)

        self._questions.surely(lambda: self._questions.read(request, rl.EventsReply, found, failed))

    # -- crew doctor --------------------------------------------------------------------------------------------

    def _held_up(self) -> list[str]:
        return doctor.held_up(self._services, self.context.system, self.context.now() - self._began)

    def _examined(self, request: rq.Doctor, reply: rl.DoctorReply, machine: gd.Examined | CrewdError) -> rl.DoctorReply:
        counts: dict[str, int | float | str] = {
            "clients_known": len(self._clients),
            "workers_connected": len(self._workers),
            "waits": len(self._waiting),
            "subscriptions": len(self._publisher),
        }
        silent = self._workers.silent(4 * self._services.config.idle_seconds)
        age = self.context.now() - self._began
        return doctor.examined(reply, machine, self.context.system, self._services, age, silent, counts, actors=request.actors)
