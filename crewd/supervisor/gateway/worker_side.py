"""The gateway's side that workers are connected to: it greets them, hands on what they say, and sends them their orders.

Tests: tests/testing/world/test_machine.py, tests/hostile/test_worker_channel.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Lane
from crewd.model.errors import Busy, CrewdError, NotPermitted, PeerError, Unavailable
from crewd.model.limits import NAME_CHARS_MAX, NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.model.rows import Progress
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.store.messages import Put
from crewd.supervisor import commands as cm
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import STORE
from crewd.supervisor.gateway.connected import ConnectedWorker, ConnectedWorkers
from crewd.supervisor.gateway.wire import Sent, Side, Wire

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

NOTE_SECONDS = 1.0
"""The least time between two notes to a controller that its worker lives."""

Asking = rq.Send | rq.AwaitEnd | rq.GetReceipt
"""What a worker may ask that concerns others."""


class WorkerSide:
    """See the module's text. `serve` carries out what a worker asks; `progress` hears every sample."""

    def __init__(
        self,
        services: Services,
        wire: Wire,
        now: Callable[[], float],
        serve: Callable[[Caller, Asking], None],
        progress: Callable[[Progress], None],
    ) -> None:  # fmt: skip
        self._services = services
        self._wire = wire
        self._now = now
        self._serve = serve
        self._progress = progress
        self._workers = ConnectedWorkers()
        self._asking: dict[tuple[str, int], bytes] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._workers

    def hear(self, frames: list[bytes]) -> None:
        """A worker has sent this; what is wrong with it is answered."""
        identity, body = frames[0], frames[1:]
        try:
            parcel = codec.from_worker.decode(body)
            if isinstance(parcel.body, rp.WorkerHello):
                self._greet(identity, parcel.body)
                return
            worker = self._workers.at(identity)
            if worker is None:
                raise Unavailable("say hello first", hint="crewd was restarted, or does not know this worker yet")
            if isinstance(parcel.body, Asking):
                self._ask(identity, worker, parcel.id, parcel.body)
            else:
                self._hear_known(worker, parcel.body)
        except CrewdError as error:
            self._send(identity, rp.WorkerError(error=error.info), codec.id_of(body))

    def _greet(self, identity: bytes, hello: rp.WorkerHello) -> None:
        key = (hello.task, hello.epoch)
        if not self._services.tokens.right(*key, hello.token):
            raise NotPermitted("this token is not this worker's")
        controller = self._services.directory.attempts.get(key)
        if controller is None:
            raise Unavailable("this attempt has no controller now", hint="say hello again")
        self._workers.greet(identity, *key, self._now())
        controller.tell(cm.WorkerConnected(hello), lane=Lane.CONTROL)

    def _ask(self, identity: bytes, worker: ConnectedWorker, key: str, request: Asking) -> None:
        name = f"{worker.task}#{worker.epoch}"
        self._asking[worker.task, worker.epoch] = identity
        self._serve(Caller(identity, key, name, worker=name), request)

    def _hear_known(self, worker: ConnectedWorker, said: rp.Heartbeat | rp.ProgressReport | rp.Reports) -> None:
        worker.heard_at = self._now()
        controller = self._services.directory.attempts.get((worker.task, worker.epoch))
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
        self._progress(progress)

    def order(self, task: str, epoch: int, order: rp.ToWorker) -> None:
        """Send an order to a worker, if it is connected.

        One that is gone, or so slow that its queue is full, hears everything again after its next hello.
        """
        identity = self._workers.of(task, epoch)
        if identity is None or self._send(identity, order) is Sent.OK:
            return
        self._workers.forget(task, epoch)
        controller = self._services.directory.attempts.get((task, epoch))
        if controller is not None:
            controller.offer(cm.WorkerDisconnected(), lane=Lane.CONTROL)

    def reply(self, caller: Caller, reply: rl.Reply) -> Sent:
        """Answer a worker that has asked. One that is gone asks again when it is back."""
        if not isinstance(reply, rl.ReceiptReply | rl.EndReply | rl.ErrorReply) or caller.identity not in self._workers:
            return Sent.GONE
        try:
            return self._send(caller.identity, reply, caller.request)
        except PeerError as error:  # it does not fit a frame
            return self._send(caller.identity, rl.ErrorReply(error=error.info), caller.request)

    def forget(self, task: str, epoch: int) -> bytes | None:
        """The attempt is over. Returns the connection on which it has asked something, if it ever has."""
        self._workers.forget(task, epoch)
        return self._asking.pop((task, epoch), None)

    def silent(self, seconds: float) -> dict[str, float]:
        """The workers that were not heard of for longer than this, and for how long."""
        now = self._now()
        return {worker.task: now - worker.heard_at for worker in self._workers if now - worker.heard_at > seconds}

    def _send(self, identity: bytes, order: rp.ToWorker, key: str = "") -> Sent:
        return self._wire.send(Side.WORKERS, [identity, *codec.to_worker.encode(key, order)])
