"""The front: admits runs, finds living ones after a start, opens ended ones again, and stops everything in order.

It also knows which runs were started by workers: they end with the worker, whenever that is heard of.

Tests: tests/testing/world/test_machine.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, assert_never

from loguru import logger
from msgspec.structs import replace

from crewd import __version__
from crewd.actors import Actor, ChildSpec, Lane, Restart
from crewd.actors.supervisor import StartDynamic
from crewd.model.budget import Used
from crewd.model.errors import Busy, CrewdError, Forbidden, InvariantError, Refused, Unavailable, UsageError
from crewd.model.events import (
    AttemptReserved,
    DaemonStarted,
    Draft,
    MessageAccepted,
    MessageAcknowledged,
    MessageSettled,
    NewsSeen,
    RunChildUsed,
    RunCreated,
    RunInventory,
)
from crewd.model.ids import RUN, check_run_name
from crewd.model.limits import GRACE_SECONDS_SHORT, TERM_SECONDS_GRACEFUL
from crewd.model.reasons import CancelReason, RefusalReason
from crewd.model.receipts import Outcome, Receipt
from crewd.model.redact import redact
from crewd.model.rows import AttemptRow, CancelInfo, MessageRow, RunRow
from crewd.model.statuses import ATTEMPT_TERMINAL
from crewd.model.workflow import with_texts
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.guardian import EXPECTED_MAX, End, Expect
from crewd.protocol.startable import startable
from crewd.store.messages import (
    AttemptIs,
    Committed,
    Delayed,
    Echo,
    Flush,
    Flushed,
    Known,
    LiveRun,
    LiveRuns,
    Load,
    LoadAttempt,
    LoadLive,
    NewMessage,
    NewRun,
    NoRun,
    Rejected,
)
from crewd.supervisor import commands as cm
from crewd.supervisor.admission import AfterEnd, Lay, admit
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import FRONT, GATEWAY, GUARDIAN, RUNS, SLOTS, STORE
from crewd.supervisor.journal import Journal
from crewd.supervisor.lineage import Lineage, agent_of, budget_below, may_fork, split_parent, with_conversation
from crewd.supervisor.run.actor import EARLY_MAX, RunActor
from crewd.supervisor.run.creation import bound_drafts, first_drafts, within_bound
from crewd.supervisor.run.mailing import laid_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from crewd.supervisor.services import Services

SESSION_SECONDS = 5.0
"""How long a start waits for the session of the agent that asks for it; the session is reported on another way."""
LAST_SECONDS = 2.0
"""How long a crewd that stops waits until the last events are on their way to its clients."""
LOOK_SECONDS = 0.02
"""Between two looks: less than a person notices, and fifty looks a second cost nothing."""
WAITING_STARTS_MAX = 100
"""Starts that wait at once; a further one does not wait."""
NEEDS_NO_RUNS = rq.SeenNews | rq.ResumeDaemon | rq.ReloadConfig
"""What is carried out before it is known which runs live."""


class Front(Actor[cm.FrontMessage]):
    """See the module's text.

    `on_stopped` is called when a stop was asked for: with True when no run is live, with False when workers are to be kept;
    `ready` when everything that was live before is known.
    """

    def __init__(self, services: Services, on_stopped: Callable[[bool], None], ready: Callable[[], None]) -> None:
        super().__init__()
        self._services = services
        self._on_stopped = on_stopped
        self._ready = ready
        self._live: set[str] = set()
        self._opening: dict[str, list[cm.Command]] = {}
        self._entering: dict[str, list[cm.Command]] = {}
        """What waits for the actor of a live run that is not in the directory: it is starting or restarting."""
        self._lineage = Lineage()
        directory = services.directory
        self._stopping = directory.draining or directory.ending is not None  # as before, if this one takes another's place
        self._knows = self._stopped = self._ended = False
        self._early: list[cm.Command] = []
        self._started = self._waiting_starts = 0
        self._receipts: dict[str, Receipt] = {}
        self._created: dict[str, LiveRun] = {}
        self._giving_up: set[str] = set()

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

    def receive(self, message: cm.FrontMessage) -> None:
        """See the module's text."""
        match message:
            case Committed(_, _, receipt, live):
                if receipt is not None:
                    self._receipts[receipt.id] = receipt
                if live is not None:
                    self._created[live.run.id] = live
                self._journal.heard(message)
            case Known() | Rejected() | Delayed():
                self._journal.heard(message)
            case LiveRuns(runs, attempts):
                # Before a new run can ask for a slot: those that live have theirs.
                self._services.directory.part(SLOTS).tell(cm.Recalled(attempts), lane=Lane.CONTROL)
                for run in runs:
                    if run not in (*self._live, *self._services.directory.runs, *self._services.directory.broken):
                        self._start(run)
                    self._live.add(run)
                self._knows = True
                self._ready()
                early, self._early = self._early, []
                for command in early:
                    self.receive(command)
            case cm.Command() if not self._knows and not isinstance(message.request, NEEDS_NO_RUNS):
                self._wait_for_the_living(message)
            case cm.Command():
                self._try(message, self.context.now() + SESSION_SECONDS)
            case cm.StartSoon(command, until):
                self._waiting_starts -= 1
                self._try(command, until)
            case cm.RunOver(run):
                self._opening.pop(run, None)
                self._services.vault.drop(run)
                self._lives_no_more(run)
            case cm.RunBroken(run):
                self._broke(run)
            case LiveRun(row, _, attempts_of):
                self._end_workers(row.id, attempts_of)
            case NoRun(run):
                self._giving_up.discard(run)
            case cm.ChildLives(run, parent, on_parent):
                self._lineage.add(run, parent, on_parent)
                self._services.directory.part(STORE).tell(LoadAttempt(*split_parent(parent), self.ref))
            case AttemptIs(task, epoch, row):
                if row is None or row.status in ATTEMPT_TERMINAL:
                    self._cancel_children(task, epoch, "over")
            case cm.ParentEnded(task, epoch, status):
                self._cancel_children(task, epoch, status)
            case cm.Stop():
                self._obey_stop(message)
            case Flushed() | Echo() | cm.StopNow():
                self._told(message)
            case _:
                self.unexpected(message)

    def _reload(self) -> rl.Reloaded:
        try:
            return rl.Reloaded(*self._services.settings.reload(self._services.home.config))
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error

    def _resume(self) -> rl.Done:
        if self._stopped:
            raise self._stops()
        if not self._services.directory.draining:
            raise Refused("crewd is not draining", hint="crew daemon status")
        self._stopping = self._services.directory.draining = False
        return rl.Done()

    def _wait_for_the_living(self, command: cm.Command) -> None:
        """Before it is known which runs live, each would look as if it had ended."""
        living = self._services.directory.runs.get(command.run)
        if living is not None and living.offer(command, lane=command.lane):
            return
        if len(self._early) < EARLY_MAX:
            self._early.append(command)
        else:
            self._respond(command.caller, Busy("crewd is starting", hint="try again with the same id"))

    def on_turn_end(self) -> None:
        """Send what was decided to the store, and stop when that was asked for and nothing is left to do."""
        self._journal.seal()
        waits = self._live.difference(self._services.directory.broken) or self._giving_up
        if self._stopping and self._knows and not waits and self._journal.idle and not self._stopped:
            self._stopped = True
            self._tell_the_last()

    def _tell_the_last(self) -> None:
        """Send what the store has committed to clients before crewd stops: they may follow a run that ends with it."""
        self.context.after(LAST_SECONDS, cm.StopNow())
        store = self._services.directory.find(STORE)
        if store is None or not store.offer(Flush(self.ref), lane=Lane.CONTROL):
            self._ends()

    def _told(self, message: Flushed | Echo | cm.StopNow) -> None:
        gateway = self._services.directory.find(GATEWAY)
        if not isinstance(message, Flushed) or gateway is None or not gateway.offer(Echo(self.ref)):
            self._ends()

    def _ends(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_stopped(True)

    def _start(self, run: str, *after_end: cm.Command, created: LiveRun | None = None) -> None:
        services, commands = self._services, list(after_end)
        rows = [] if created is None else [created]
        self._live.add(run)
        self._started += 1  # one that is opened again gets a name of its own: the actor before it may not be gone yet
        name = f"{run}:{self._started}" if commands else run
        if commands:
            self._opening[run] = commands
        entering = self._entering.setdefault(run, [])
        spec = ChildSpec(name, lambda: RunActor(services, run, commands, rows, entering), restart=Restart.TRANSIENT)
        services.directory.part(RUNS).tell(StartDynamic(spec), lane=Lane.CONTROL)

    def _lives_no_more(self, run: str) -> None:
        """Carry out what waits for the run's actor as what comes for a run that does not live."""
        self._live.discard(run)
        self._lineage.remove(run)
        for command in self._entering.pop(run, []):
            self._try(command, 0.0)

    def _cancel_children(self, task: str, epoch: int, status: str) -> None:
        cancel = CancelInfo(
            reason=CancelReason.PARENT_ENDED, grace_seconds=GRACE_SECONDS_SHORT, intent=f"{task} is {status}",
            requester="crewd", requested_at=self._services.clock.wall(),
        )  # fmt: skip
        for run in self._lineage.ending_with(task, epoch):
            living = self._services.directory.runs.get(run)
            if living is not None:  # a run that is restarting says again that it lives
                living.offer(cm.CancelAll(cancel), lane=Lane.CONTROL)

    def _obey_stop(self, order: cm.Stop) -> None:
        if self._stopped:
            return  # nothing is live any more, and crewd is about to end
        self._stopping = True
        self._services.directory.draining = order.mode == "drain"
        if order.mode == "keep":
            self._on_stopped(False)
            return
        if order.mode == "end":
            self._services.directory.ending = order.cancel  # for a run whose actor has not begun: it is in no list yet
            for ref in self._services.directory.runs.values():
                ref.offer(cm.CancelAll(order.cancel), lane=Lane.CONTROL)
            for run in self._services.directory.broken:
                self._give_up(run)

    def _broke(self, run: str) -> None:
        """No actor of this run is started any more: what waits for it is answered."""
        waiting = [*self._opening.pop(run, ()), *self._entering.pop(run, ())]
        if self._services.directory.ending is not None:
            self._give_up(run)
        for command in waiting:
            self._try(command, 0.0)

    def _give_up(self, run: str) -> None:
        """End the workers of a run that no actor can be started for. What its rows say of them stays as it is."""
        self._giving_up.add(run)
        self._services.directory.part(STORE).tell(Load(run, self.ref))

    def _end_workers(self, run: str, attempts: tuple[AttemptRow, ...]) -> None:
        self._giving_up.discard(run)
        for each in attempts:
            if each.status not in ATTEMPT_TERMINAL:
                order = End(each.task, each.epoch, GRACE_SECONDS_SHORT, TERM_SECONDS_GRACEFUL)
                self._services.directory.part(GUARDIAN).tell(cm.ToGuardian(order), lane=Lane.CONTROL)

    def _try(self, command: cm.Command, until: float) -> None:
        start = command.request
        may_wait = self.context.now() < until and self._waiting_starts < WAITING_STARTS_MAX
        if may_wait and isinstance(start, rq.StartRun) and (self._above_begins(start) or self._session_is_on_its_way(start)):
            self._waiting_starts += 1
            self.context.after(LOOK_SECONDS, cm.StartSoon(command, until))
            return
        try:
            self._obey(command)
        except CrewdError as error:
            self._respond(command.caller, error)
        except Exception as error:  # noqa: BLE001 (it is told, and logged)
            # Asked again it would end the next front, too, and all wait for that: only who has asked is told.
            logger.opt(exception=True).error("{} of {} ended in an error", type(start).__name__, command.caller.owner)
            hint = "please report it, with what crewd has logged"
            self._respond(command.caller, InvariantError(f"an error of crewd itself: {type(error).__name__}", hint=hint))

    def _above_begins(self, start: rq.StartRun) -> bool:
        """Whether the worker that asks for a run is not known yet: crewd, or the actor of a run above, has just begun again."""
        directory, key = self._services.directory, split_parent(start.parent)
        run = key[0].partition("/")[0]
        row = directory.rows.get(run)
        above = (run,) if row is None else row.above
        return key in directory.starting or any(
            each in self._live and each not in directory.rows and each not in directory.broken for each in above
        )

    def _session_is_on_its_way(self, start: rq.StartRun) -> bool:
        """Whether an agent of the run begins with a session that the agent above it has, and has not told of yet."""
        directory, key = self._services.directory, split_parent(start.parent)
        row = directory.rows.get(key[0].partition("/")[0])
        if row is None or key not in directory.attempts or key in directory.conversations:
            return False
        return may_fork(start.workflow, agent_of(row, start.parent))

    def _obey(self, command: cm.Command) -> None:
        request = command.request
        if not isinstance(request, rq.ForFront):
            self._to_run(command, request)
            return
        match request:
            case rq.StartRun():
                self._admit(command, request)
            case rq.SeenNews():
                # The fold bounds it from above: here no event may be known yet.
                seen = NewsSeen(owner=command.caller.owner, upto=max(0, request.upto))
                draft = Draft(seen, provenance=f"client:{command.caller.owner}")
                self._journal.record([draft], [lambda: self._respond(command.caller, rl.Done())])
            case rq.Acknowledge():
                self._acknowledge(command, request)
            case rq.ResumeDaemon():
                self._respond(command.caller, self._resume())
            case rq.ReloadConfig():
                self._respond(command.caller, self._reload())
            case _:
                assert_never(request)

    def _acknowledge(self, command: cm.Command, request: rq.Acknowledge) -> None:
        body = MessageAcknowledged(id=request.id, by=command.caller.owner)
        draft = Draft(body, command.run, command.task, 0, request.id, f"client:{command.caller.owner}")
        gone = Refused("its run is archived or forgotten", hint="an archived message needs no word", reason="archived")
        self._journal.record(
            [draft], [lambda: self._respond(command.caller, rl.Done())],
            refused=lambda _answer: self._respond(command.caller, gone),
        )  # fmt: skip

    def _to_run(self, command: cm.Command, request: rq.ForRun) -> None:
        """The run did not live when the command was sent here; by now it may. Most commands are carried out by an ended one."""
        if self._stopping and isinstance(request, rq.Reopen):
            raise self._stops()
        broken = self._services.directory.broken.get(command.run)
        if broken is not None:
            said = "its workers are being ended; " if isinstance(request, rq.Cancel) else ""
            if isinstance(request, rq.Cancel):
                self._give_up(command.run)
            hint = f"{said}a restart of crewd tries it again; please report it, with what crewd has logged"
            raise InvariantError(f"crewd cannot continue this run: {broken}", hint=hint)
        living = self._services.directory.runs.get(command.run)
        if living is not None and living.offer(command, lane=command.lane):
            return
        opening = self._opening.get(command.run)
        if opening and len(opening) < EARLY_MAX:  # its actor has not read its rows yet, and takes the last one first
            opening.insert(0, command)
            return
        entering = self._entering.get(command.run)
        if living is None and entering is not None and len(entering) < EARLY_MAX:
            entering.append(command)
            return
        if command.run in self._live:
            raise Unavailable("the run is restarting, or has too much to do", hint="try again with the same id", say="again")
        match request:
            case rq.Send(terms=terms) if terms.on_idle == "start":
                self._open_again(command)
            case rq.Send():
                self._refuse(command, request)
            case rq.Withdraw():
                self._respond(command.caller, rq.GetReceipt(id=request.id))
            case rq.Cancel():
                self._respond(command.caller, cm.HasEnded() if request.wait else rl.Done())
            case rq.Signal():
                raise Refused("the run has ended: no process gets the signal", reason=RefusalReason.NOT_RUNNING)
            case _:
                self._open_again(command)

    def _open_again(self, command: cm.Command) -> None:
        if self._stopping:
            raise self._stops()
        self._start(command.run, command)

    def _stops(self) -> Unavailable:
        if self._services.directory.draining:
            return Unavailable("crewd is draining: it takes no new work", hint="crew daemon resume takes that back")
        return Unavailable("crewd is stopping", hint="start it again")

    def _admit(self, command: cm.Command, start: rq.StartRun) -> None:
        try:
            self._take_in(command, start)
        except (Busy, Refused, Unavailable) as error:
            if not start.request_id:
                raise
            # What keeps new runs out now must not hide from its sender that this one was admitted before.
            guard = NewRun(_request_key(command, start), command.digest, refusal=error)
            self._journal.record([], [], guard=guard, refused=lambda answer: self._tell_known(command, answer))

    def _tell_known(self, command: cm.Command, answer: Known | Rejected) -> None:
        if isinstance(answer, Known) and isinstance(answer.row, RunRow):
            self._respond(command.caller, rl.RunReply(run=answer.row, existing=True))
        elif isinstance(answer, Rejected):
            self._respond(command.caller, answer.error)

    def _take_in(self, command: cm.Command, start: rq.StartRun) -> None:
        if self._stopping:
            raise self._stops()
        if len(self._live) >= self._services.config.runs_live_max:
            raise Busy(f"{len(self._live)} runs are live", hint="raise runs_live_max in crewd.toml, or wait")
        config = self._services.config
        workflow, goal, inputs = startable(start)
        workflow = within_bound(with_texts(workflow, config.permanent_texts), config.concurrency_max)
        above = self._above(command.caller, start)
        depth = self._lineage.depth_below(start.parent, above, depth_max=config.depth_max) if start.parent else 0
        budgeted = [] if above is None else self._with_budget((*above.above, above.id))
        workflow = replace(workflow, budget=budget_below(budgeted, workflow.budget))
        if above is not None:
            conversation = self._services.directory.conversations.get(split_parent(start.parent))
            workflow = with_conversation(workflow, conversation, agent_of(above, start.parent))
        run = self._services.ids.next(RUN)
        name = check_run_name(start.name or f"{workflow.name[:40]}-{run[-5:]}")
        body = RunCreated(
            name=name, goal=redact(goal), cwd=start.cwd, workflow=workflow, owner=command.caller.owner,
            request_id=start.request_id, parent=start.parent, on_parent=start.on_parent, depth=depth,
            env=start.env, secrets=tuple(sorted(start.secrets)),
            passed=tuple(sorted(start.passed)), inputs=inputs, above=tuple(row.id for row, _ in budgeted),
        )  # fmt: skip
        home = self._services.home
        first = [
            *(Draft(RunChildUsed(run), row.id, provenance="crewd") for row, _ in budgeted),
            *([Draft(RunInventory(start.inventory), run)] if start.inventory else []),
            *bound_drafts(run, start.workflow, workflow, config.concurrency_max),
            *first_drafts(
                run, body, self.context.now(), lambda task, epoch: str(home.attempt(task, epoch)),
                execution=self._services.config.execution,
            ),
        ]  # fmt: skip
        self._live.add(run)
        self._entering[run] = []
        self._expect(run, first)
        if start.parent:
            self._lineage.add(run, start.parent, start.on_parent)

        def refused(answer: Known | Rejected) -> None:
            self._lives_no_more(run)
            self._tell_known(command, answer)

        def admitted() -> None:
            self._services.vault.put(run, {**start.passed, **start.secrets})
            created = self._created.pop(run, None)
            self._start(run, created=created)
            self._respond(command.caller, rq.Show(target=run) if created is None else rl.RunReply(run=created.run))

        self._journal.record(
            [Draft(body, run, causation=command.caller.request, provenance=f"client:{command.caller.owner}"), *first],
            [admitted],
            guard=NewRun(_request_key(command, start), command.digest, name),
            refused=refused,
        )

    def _expect(self, run: str, first: Sequence[Draft]) -> None:
        """What its first workers need can be got ready while the run becomes durable."""
        link = self._services.directory.find(GUARDIAN)
        reserved = ((draft.task, draft.body) for draft in first if isinstance(draft.body, AttemptReserved))
        if link is not None:
            for task, body in islice(reserved, EXPECTED_MAX):
                order = Expect(task, body.directory, str(self._services.home.shared(run)))
                link.offer(cm.ToGuardian(order), lane=Lane.CONTROL)

    def _with_budget(self, runs: Iterable[str]) -> list[tuple[RunRow, Used]]:
        """Those of these runs that live and have a budget, with what they have used."""
        rows, used = self._services.directory.rows, self._services.directory.used
        return [(rows[run], used.get(run, Used())) for run in runs if run in rows and rows[run].workflow.budget.bounded]

    def _above(self, caller: Caller, start: rq.StartRun) -> RunRow | None:
        """The run of the worker that asks for this one; None if no worker does, or it has ended. Raises Forbidden."""
        if not start.parent:
            return None
        if self._above_begins(start):
            raise Unavailable("the run of the worker that asks is starting", hint="try again", say="again")
        directory, key = self._services.directory, split_parent(start.parent)
        row = directory.rows.get(key[0].partition("/")[0]) if key in directory.attempts else None
        if (
            row is not None
            and row.owner != caller.owner
            and not self._services.tokens.right_for_parent(*key, start.parent_token)
        ):
            hint = "leave the parent out; a worker's own processes have CREWD_PARENT_TOKEN"
            raise Forbidden(f"the worker {start.parent} belongs to {row.owner}", hint=hint, owner=row.owner)
        return row

    def _refuse(self, command: cm.Command, send: rq.Send) -> None:
        """A message to a run that has ended: recorded, and settled in the same breath."""
        task = command.task
        accepted: MessageAccepted = MessageAccepted(
            id=send.id, kind=send.kind, text=send.text, ask=send.ask, sender=command.caller.owner, digest=command.digest,
            terms=send.terms,
        )  # fmt: skip
        settled = MessageSettled(id=send.id, outcome=Outcome.REFUSED, reason=RefusalReason.ENDED, note=command.note)
        if isinstance(admit(AfterEnd(), Mail(send.id, send.kind, 0)), Lay):  # there is a mailbox as long as there is a run
            accepted, settled = laid_down(command, send)

        def tell() -> None:
            receipt = self._receipts.pop(send.id, None)
            self._respond(command.caller, rl.ReceiptReply(receipt=receipt) if receipt else rq.GetReceipt(id=send.id))

        def refused(answer: Known | Rejected) -> None:
            if isinstance(answer, Known) and isinstance(answer.row, MessageRow):
                self._respond(command.caller, rl.ReceiptReply(receipt=answer.row.receipt))
            elif isinstance(answer, Rejected):
                self._respond(command.caller, answer.error)

        self._journal.record(
            [Draft(body, command.run, task, 0, send.id, "crewd") for body in (accepted, settled)],
            [tell],
            guard=NewMessage(send.id, command.digest),
            refused=refused,
        )

    def _respond(self, caller: Caller, reply: cm.Reply) -> None:
        self._services.directory.respond(caller, reply)


def _request_key(command: cm.Command, start: rq.StartRun) -> str:
    """What makes a second start the same one: two owners that choose the same request id mean two runs."""
    return f"{command.caller.owner} {start.request_id}" if start.request_id else ""
