"""The front: admits runs, finds living ones after a start, answers for ended ones, and stops everything in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crewd import __version__
from crewd.actors import Actor, ChildSpec, Lane, Restart
from crewd.actors.supervisor import StartDynamic
from crewd.protocol import requests as rq
from crewd.protocol.errors import Busy, CrewdError, Refused, Unavailable
from crewd.protocol.events import DaemonStarted, Draft, MessageAccepted, MessageSettled, RunCreated
from crewd.protocol.ids import RUN, check_name
from crewd.protocol.reasons import CancelReason, RefusalReason
from crewd.protocol.receipts import Outcome, Receipt
from crewd.protocol.rows import CancelInfo, MessageRow, RunRow
from crewd.protocol.workflow import check_workflow
from crewd.store.messages import Committed, Delayed, Known, LiveRuns, LoadLive, NewMessage, NewRun, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import FRONT, GATEWAY, RUNS, STORE
from crewd.supervisor.journal import Journal
from crewd.supervisor.run.actor import RunActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.supervisor.services import Services


class Front(Actor):
    """See the module's text. `on_stopped` is called once, when a stop was asked for and no run is live."""

    def __init__(self, services: Services, on_stopped: Callable[[], None]) -> None:
        super().__init__()
        self._services = services
        self._on_stopped = on_stopped
        self._live: set[str] = set()
        self._stopping = False
        self._receipts: dict[str, Receipt] = {}

    def on_start(self) -> None:
        """Record the start; find the runs that were live."""
        directory = self._services.directory
        directory.enter(FRONT, self.ref)
        self._journal: Journal[Callable[[], None]] = Journal(
            self.ref, lambda: directory.part(STORE), lambda effect: effect(), lambda _: False
        )
        self._journal.record([Draft(DaemonStarted(pid=self._services.pid, version=__version__))], [])
        directory.part(STORE).tell(LoadLive(self.ref))

    def on_stop(self) -> None:
        """Leave the directory."""
        self._services.directory.leave(FRONT, self.ref)

    def receive(self, message: Any) -> None:
        """See the module's text."""
        match message:
            case Committed(_, _, receipt):
                if receipt is not None:
                    self._receipts[receipt.id] = receipt
                self._journal.heard(message)
            case Known() | Rejected() | Delayed():
                self._journal.heard(message)
            case LiveRuns(runs):
                for run in runs:
                    self._start(run)
                self._check_stopped()
            case cm.Command():
                try:
                    self._obey(message)
                except CrewdError as error:
                    self._respond(message.caller, error)
            case cm.RunOver(run):
                self._live.discard(run)
                self._check_stopped()
            case cm.CancelAll():
                self._stop_all(message)
            case _:
                raise TypeError(f"the front does not know {message!r}")

    def _start(self, run: str) -> None:
        services = self._services
        self._live.add(run)
        spec = ChildSpec(run, lambda: RunActor(services, run), restart=Restart.TRANSIENT)
        services.directory.part(RUNS).tell(StartDynamic(spec), lane=Lane.CONTROL)

    def _stop_all(self, order: cm.CancelAll) -> None:
        self._stopping = True
        for ref in self._services.directory.runs.values():
            ref.offer(order, lane=Lane.CONTROL)
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopping and not self._live and self._journal.idle:
            self._on_stopped()

    def _obey(self, command: cm.Command) -> None:
        request = command.request
        if isinstance(request, rq.StartRun):
            self._admit(command, request)
            return
        living = self._services.directory.runs.get(command.run)
        if living is not None and living.offer(command, lane=command.lane):
            return
        if command.run in self._live:
            raise Unavailable("the run is restarting", hint="try again with the same id")
        if isinstance(request, rq.Send):
            self._refuse(command, request)
        elif isinstance(request, rq.Withdraw):
            self._respond(command.caller, rq.GetReceipt(id=request.id))
        else:
            self._respond(command.caller, rq.AwaitEnd(target=command.run) if request.wait else rq.Done())

    def _admit(self, command: cm.Command, start: rq.StartRun) -> None:
        if self._stopping:
            raise Unavailable("crewd is stopping", hint="start it again")
        if len(self._live) >= self._services.config.runs_live_max:
            raise Busy(f"{len(self._live)} runs are live", hint="raise runs_live_max in crewd.toml, or wait")
        workflow = check_workflow(start.workflow)
        agents = [step.id for step in workflow.steps if step.worker.runtime == "agent"]
        if agents:
            raise Refused(
                f"no runtime for the steps {', '.join(agents)}: they are written for an agent",
                hint="give each a 'call: module:function' or a 'run: command line'",
            )
        run = self._services.ids.next(RUN)
        name = check_name("run name", start.name or f"{workflow.name[:40]}-{run[-5:]}")
        body = RunCreated(
            name=name, goal=start.goal, cwd=start.cwd, workflow=workflow, owner=command.caller.owner,
            request_id=start.request_id,
        )  # fmt: skip
        self._live.add(run)

        def refused(answer: Known | Rejected) -> None:
            self._live.discard(run)
            if isinstance(answer, Known) and isinstance(answer.row, RunRow):
                self._respond(command.caller, rq.RunReply(run=answer.row, existing=True))
            elif isinstance(answer, Rejected):
                self._respond(command.caller, answer.error)

        def admitted() -> None:
            self._start(run)
            self._respond(command.caller, rq.Show(target=run))

        self._journal.record(
            [Draft(body, run, causation=command.caller.request, provenance=f"client:{command.caller.owner}")],
            [admitted],
            guard=NewRun(start.request_id, command.digest, name),
            refused=refused,
        )

    def _refuse(self, command: cm.Command, send: rq.Send) -> None:
        """A message to a run that has ended: recorded, and settled in the same breath."""
        task = command.task
        accepted = MessageAccepted(
            id=send.id, kind=send.kind, text=send.text, ask=send.ask, sender=command.caller.owner, digest=command.digest
        )
        settled = MessageSettled(id=send.id, outcome=Outcome.REFUSED, reason=RefusalReason.ENDED)

        def tell() -> None:
            receipt = self._receipts.pop(send.id, None)
            self._respond(command.caller, rq.ReceiptReply(receipt=receipt) if receipt else rq.GetReceipt(id=send.id))

        def refused(answer: Known | Rejected) -> None:
            if isinstance(answer, Known) and isinstance(answer.row, MessageRow):
                self._respond(command.caller, rq.ReceiptReply(receipt=answer.row.receipt))
            elif isinstance(answer, Rejected):
                self._respond(command.caller, answer.error)

        self._journal.record(
            [Draft(body, command.run, task, 0, send.id, "crewd") for body in (accepted, settled)],
            [tell],
            guard=NewMessage(send.id, command.digest),
            refused=refused,
        )

    def _respond(self, caller: cm.Caller, reply: cm.Reply) -> None:
        gateway = self._services.directory.parts.get(GATEWAY)
        if gateway is not None:
            gateway.offer(cm.Respond(caller, reply), lane=Lane.CONTROL)


def shutdown(services: Services, grace_seconds: float) -> cm.CancelAll:
    """The cancel that ends every run when the daemon stops."""
    return cm.CancelAll(
        CancelInfo(
            reason=CancelReason.SHUTDOWN,
            mode="graceful",
            grace_seconds=grace_seconds,
            requester="crewd",
            requested_at=services.clock.wall(),
        )
    )
