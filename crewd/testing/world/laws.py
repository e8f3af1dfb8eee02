"""What must always hold, checked where it can first be seen.

That is: at every commit, at every message that leaves crewd, at every start of a process, and when the world has come to rest.
Rule: a law looks at the disk, at the wire and at what workers know of themselves; never at crewd's own memory.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from crewd.model import events as ev
from crewd.model.errors import Refused
from crewd.model.ids import task_id
from crewd.model.message_kinds import MAILBOX_KINDS
from crewd.model.reasons import BlockReason, NoticeKind, RefusalReason
from crewd.model.receipts import LEVELS, Outcome, Receipt
from crewd.model.rows import (
    AskRow,
    AttemptRow,
    CancelInfo,
    ClaimInfo,
    MessageRow,
    NoticeRow,
    OperationRow,
    RunRow,
    TaskRow,
)
from crewd.model.statuses import ATTEMPT_MOVES, ATTEMPT_TERMINAL, RUN_MOVES, RUN_TERMINAL, TASK_MOVES, TASK_TERMINAL
from crewd.model.terms import USUAL
from crewd.protocol import codec
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.store.fold import Row, attempt_key
from crewd.store.rebuild import rebuild
from crewd.supervisor.gateway.wire import Side
from crewd.testing.world.law_budget import BudgetLaws

if TYPE_CHECKING:
    from crewd.guardian.tree import Key
    from crewd.testing.world.disk import Disk
    from crewd.testing.world.processes import Processes, SimProcess
    from crewd.testing.world.worker import Witness

TOLD_SECONDS = 60.0
"""Virtual seconds until a waiting client must have been told: a disk that refuses, or a crash, may take some of them."""
S = TypeVar("S", bound=StrEnum)


class LawBroken(AssertionError):
    """A law does not hold. `law` is its name."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


class Laws:
    """See the module's text. `checked` counts how often each was looked at.

    `starved` are the seconds that have passed though something could have happened: in them nobody could be told of anything.
    """

    def __init__(self, disk: Disk, processes: Processes, witness: Witness, now: Callable[[], float]) -> None:
        self._now = now
        self._over: dict[str, float] = {}
        self.starved = 0.0
        self._last_end: dict[str, int] = {}
        self._disk = disk
        self._processes = processes
        self._witness = witness
        self.places = 1_000
        self._to_read: set[str] = set()
        self._claims: dict[str, ClaimInfo] = {}
        self._blocked: dict[str, set[tuple[str, str]]] = {}
        self._ordered: set[str] = set()
        self._barred: set[str] = set()
        self._at_work: set[str] = set()
        self.checked: Counter[str] = Counter()
        self.broken: LawBroken | None = None
        self.rows: dict[tuple[type[Row], str], Row] = {}
        self._ended: set[str] = set()
        self._cancelled_at: dict[str, int] = {}
        self._accepted_at: dict[str, int] = {}
        self._told_hooks: set[str] = set()
        self._orders_done: set[str] = set()
        self._tries_from: dict[str, int] = {}
        self._opened: set[str] = set()
        self._started_for: set[str] = set()
        self._orders: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
        self._waiting: dict[str, set[str]] = {}
        self._budget = BudgetLaws(self.hold, self._run_row)
        self._seq = 0
        self._ends: dict[tuple[str, str, int], int] = {}
        self._of_run: dict[str, set[int]] = {}

    def hold(self, law: str, truth: object, what: str) -> None:
        """The law is looked at; LawBroken if it does not hold."""
        self.checked[law] += 1
        if not truth:
            # Kept as well: what is raised inside an actor's turn would only end that actor.
            self.broken = self.broken or LawBroken(law, what)
            raise self.broken

    # -- commits ------------------------------------------------------------------------------------------------

    def committed(self, events: Sequence[ev.Event], rows: Sequence[tuple[str, str, Row]]) -> None:
        """A commit went through."""
        again: set[str] = set()
        for event in events:
            self.hold("the log has no gap and no repeat", event.seq == self._seq + 1, f"{self._seq} then {event.seq}")
            self._seq = event.seq
            self._hangs(event)
            self._event(event)
            if isinstance(event.body, ev.RunReopened | ev.TaskRequeued):
                again.add(event.task or event.run)
                self._over.pop(event.task or event.run, None)
            elif isinstance(event.body, ev.RunEnded | ev.TaskEnded):
                self._over[event.task or event.run] = self._now() - self.starved
                self._last_end[event.task or event.run] = event.seq
        self._opened |= again
        for _, key, row in rows:
            if key not in again:  # taken back from its end, by somebody's order: the only way there is
                self._moved(key, self.rows.get((type(row), key)), row)
            self.rows[type(row), key] = row

    def _hangs(self, event: ev.Event) -> None:
        """Each attempt is a branch: its events follow each other, and its first one hangs on its task or its run.

        What crewd does for a task outside of its attempts follows whatever was last of the task.
        """
        branch = (event.run, event.task, event.epoch if event.epoch or not event.task else -1)
        before = self._ends.get(branch, 0)
        if before:
            follows = event.parent == before
        else:
            follows = event.parent == 0 if event.run not in self._of_run else event.parent in self._of_run[event.run]
        self.hold("an event hangs on the one before it on its branch", follows, f"{event} after {before}")
        self._ends[event.run, event.task, event.epoch] = self._ends[event.run, event.task, -1] = event.seq
        if event.run:
            self._of_run.setdefault(event.run, set()).add(event.seq)

    def _event(self, event: ev.Event) -> None:  # noqa: PLR0915 (one case per event)
        attempt = attempt_key(event.task, event.epoch)
        body = event.body
        if isinstance(body, ev.TaskClaimed | ev.TaskUnclaimed | ev.TaskEnded | ev.TaskRequeued):
            self._claimed(event, body)
        self._nothing_after_the_end(event, attempt)
        self._budget.event(event)
        if isinstance(body, _LEAVES_WORK):
            self._at_work.discard(event.task)
        match body:
            case ev.RunBlocked(block):
                if not self._blocked.get(event.run):
                    self._ordered |= self._ready(event.run, block.task)
                self._blocked.setdefault(event.run, set()).add((block.reason, block.task))
            case ev.RunUnblocked(reasons=reasons):
                self._blocked[event.run] = {each for each in self._blocked.get(event.run, set()) if not body.lifts(*each)}
                if not reasons:
                    self._barred = {task for task in self._barred if not task.startswith(f"{event.run}/")}
            case ev.TaskAdded():
                self._added(event, body)
            case ev.RunReopened():
                self._ended.discard(event.run)
                self._cancelled_at.pop(event.run, None)
            case ev.TaskRequeued(message, barred=barred):
                (self._barred.add if barred else self._barred.discard)(event.task)
                self._requeued(event, message)
            case ev.RunEnded():
                self._ended.add(event.run)
                self._blocked.pop(event.run, None)
            case ev.TaskEnded():
                self._ended.add(event.task)
            case ev.AttemptEnded(survivors=survivors):
                self._ended.add(attempt)
                self._survivors(event.task, event.epoch, {survivor.pid for survivor in survivors})
            case ev.RunCancelRequested() | ev.TaskCancelRequested() | ev.AttemptCancelRequested():
                what = {"run": event.run, "task": event.task}.get(event.type.partition(".")[0], attempt)
                self._cancelled_at.setdefault(what, event.seq)
                self._by_its_owner(event, body.cancel)
            case ev.AttemptReserved():
                self.hold("crewd leaves a claimed task alone", event.task not in self._claims, f"{attempt} was reserved")
                started = not {event.run, event.task} & self._cancelled_at.keys()
                self.hold("a cancelled run starts nothing", started, f"{attempt} was reserved after the cancel")
                before = [a for a in self._of_task(event.task) if a.status not in ATTEMPT_TERMINAL]
                self.hold("one live attempt per task", not before, f"{attempt} was reserved while {before} live")
                self._no_more_tries(event)
                self.hold("what a hook blocks waits for approval", event.task not in self._barred, f"{attempt} was reserved")
                self._may_start(event)
            case ev.MessageAccepted():
                self._accepted(event, body)
            case ev.RunHookRan():
                self._hook_told(body)
            case ev.RunOrderDone():
                self._order_done(body)
            case ev.MessageDelivered(id=key):
                known = key in self._witness.delivered.get((event.task, event.epoch), [])
                self.hold("no receipt without the deed", known, f"{key} delivered, says crewd")
            case ev.MessageApplied(id=key):
                known = any(each.id == key for each in self._witness.applied.get((event.task, event.epoch), ()))
                self.hold("no receipt without the deed", known, f"{key} applied, says crewd")
                self._waiting.get(event.task, set()).discard(key)
            case ev.MessageSettled(id=key, outcome=outcome, applied=applied):
                known = any(each.id == key for each in self._witness.applied.get((event.task, event.epoch), ()))
                self.hold("no receipt without the deed", known or not applied, f"{key} applied, says crewd")
                done = outcome != Outcome.DONE or key in self._witness.done or key in self._to_read
                self.hold("no receipt without the deed", done, f"{key} done, says crewd")
                self._waiting.get(event.task, set()).discard(key)
            case ev.AttemptFinishing():
                waiting = self._waiting.get(event.task)
                self.hold("follow-ups before the natural stop", not waiting, f"{attempt} may stop before {waiting}")
            case _:
                pass

    def _may_start(self, event: ev.Event) -> None:
        """What blocks a run, and what its other steps are at, let this step start."""
        steps = (
            {} if (row := self._run_row(event.run)) is None else {f"{row.id}/{each.id}": each for each in row.workflow.steps}
        )
        step = steps.get(event.task)
        reasons = {reason for reason, _ in self._blocked.get(event.run, set())}
        lets = {
            BlockReason.PLAN_APPROVAL.value: step is not None and step.access == "shared",
            BlockReason.PLAN_UNFIT.value: step is not None and step.adaptive,
        }
        allowed = all(lets.get(reason, False) for reason in reasons)
        allowed = allowed or event.task in self._ordered
        self.hold("a blocked run starts nothing", allowed, f"{event.task} was started, and {reasons} blocks its run")
        others = [steps[task] for task in self._at_work if task in steps and task != event.task]
        beside = [
            each.id
            for each in others
            if step is not None and step.access and each.access and each.conflict_key == step.conflict_key
            and "exclusive" in {each.access, step.access}
        ]  # fmt: skip
        self.hold("an exclusive step runs alone", not beside, f"{event.task} was started beside {beside}")
        self._at_work.add(event.task)
        self._ordered.discard(event.task)

    def _ready(self, run: str, ended_now: str) -> set[str]:
        """Tasks whose start the run may have ordered before it was blocked: all that they depend on had ended."""
        row = self._run_row(run)
        ended = {task.rpartition("/")[2] for task in self._ended if task.startswith(f"{run}/") and task != ended_now}
        steps = () if row is None else row.workflow.steps
        return {
            task
            for each in steps
            if (task := f"{run}/{each.id}") not in {*self._ended, ended_now} and ended.issuperset(each.depends_on)
        }

    def _added(self, event: ev.Event, body: ev.TaskAdded) -> None:
        """A plan adds its steps whole, once, and when its attempt is completed."""
        law = "a plan adds its steps once"
        row = self._run_row(event.run)
        task, _, epoch = body.plan.rpartition("#")
        result = f"{task}#{epoch}" in self._ended and (task, int(epoch)) in self._witness.finished
        self.hold(law, result, f"{event.task} was added by {body.plan}, which is not completed")
        others = [] if row is None else [each for each in row.workflow.steps if each.added_by]
        self.hold(law, not others, f"{event.task} was added beside {others}")

    def _run_row(self, run: str) -> RunRow | None:
        row = self.rows.get((RunRow, run))
        return row if isinstance(row, RunRow) else None

    def _by_its_owner(self, event: ev.Event, cancel: CancelInfo) -> None:
        run = self.rows.get((RunRow, event.run))
        if isinstance(run, RunRow):
            mine = cancel.requester in {run.owner, "crewd"} or cancel.intent
            self.hold("only its owner ends it, or who says why", mine, f"{cancel.requester} ended {event.run} of {run.owner}")

    def _requeued(self, event: ev.Event, message: str) -> None:
        if message:
            row = self._disk.now[MessageRow].get(message)
            asked = row is not None and row.terms.on_idle == "start" and message not in self._started_for
            self.hold("a message starts its worker once, and only if it says so", asked, f"{event.task} for {message}")
            self._started_for.add(message)
        self._ended.discard(event.task)
        self._cancelled_at.pop(event.task, None)
        self._tries_from[event.task] = event.epoch

    def _nothing_after_the_end(self, event: ev.Event, attempt: str) -> None:
        law = "one terminal event, and nothing after it"
        if isinstance(event.body, _AFTER_THE_END):
            return
        if event.run:
            self.hold(law, event.run not in self._ended, f"{event.type} after the end of {event.run}")
        if event.task:
            self.hold(law, event.task not in self._ended, f"{event.type} after the end of {event.task}")
        if event.task and event.epoch and not isinstance(event.body, _OF_TASKS):
            self.hold(law, attempt not in self._ended, f"{event.type} after the end of {attempt}")

    def _no_more_tries(self, event: ev.Event) -> None:
        run = self.rows.get((RunRow, event.run))
        if not isinstance(run, RunRow):
            return
        worker = next(step.worker for step in run.workflow.steps if step.id == event.task.partition("/")[2])
        if worker.restart.policy == "temporary":
            tries = event.epoch - self._tries_from.get(event.task, 0)
            what = f"{event.task} is tried for the {tries}th time"
            self.hold("no more tries than are allowed", tries <= worker.retry.attempts, what)

    def _of_task(self, task: str) -> list[AttemptRow]:
        return [row for row in self.rows.values() if isinstance(row, AttemptRow) and row.task == task]

    def _moved(self, key: str, before: Row | None, after: Row) -> None:
        law = "statuses move along their tables"
        match before, after:
            case RunRow(), RunRow():
                self.hold(law, after.status in _RUN[before.status], f"{key}: {before.status} to {after.status}")
            case TaskRow(), TaskRow():
                self.hold(law, after.status in _TASK[before.status], f"{key}: {before.status} to {after.status}")
            case AttemptRow(), AttemptRow():
                self.hold(law, after.status in _ATTEMPT[before.status], f"{key}: {before.status} to {after.status}")
            case MessageRow(), MessageRow():
                self._climbed(before.receipt, after.receipt)
            case _:
                pass

    def _climbed(self, before: Receipt, after: Receipt) -> None:
        law = "a receipt never goes back"
        climbs = LEVELS.index(before.level) <= LEVELS.index(after.level)
        self.hold(law, climbs, f"{after.id}: {before.level} to {after.level}")
        self.hold(law, not before.settled or before == after, f"{after.id} settled twice")

    # -- what leaves crewd --------------------------------------------------------------------------------------

    def sent(self, side: Side, name: str, frames: list[bytes]) -> None:
        """A message leaves for a client or a worker: what it promises must be on the disk."""
        if side is Side.CLIENTS:
            self._replied(codec.replies.decode(frames).body)
        else:
            task, _, epoch = name.rpartition("#")
            self._told_worker((task, int(epoch)), codec.to_worker.decode(frames).body)

    def _replied(self, reply: rl.Reply) -> None:
        law = "no effect before its commit"
        match reply:
            case rl.ReceiptReply(receipt):
                row = self._disk.now[MessageRow].get(receipt.id)
                self.hold(
                    law, row is not None and row.receipt.reached(receipt.level), f"the receipt {receipt.id} {receipt.level}"
                )
            case rl.RunReply(run):
                self.hold(law, run.id in self._disk.now[RunRow], f"run {run.id} was promised")
            case rl.EventNote(event):
                self.hold(law, event.seq <= self._seq, f"event {event.seq} was published")
            case rl.CancelReply(run=run, task=task, verified=True):
                row = self._disk.now[TaskRow].get(task) if task else self._disk.now[RunRow].get(run)
                # Or it was: somebody may have had it opened again while the answer was on its way.
                over = row is not None and (row.status in {*RUN_TERMINAL, *TASK_TERMINAL} or (task or run) in self._opened)
                self.hold("a cancel answers with proof", over, f"{task or run} was said to be over")
                alive = [
                    p
                    for p in self._processes.known()
                    if p.key[0] not in self._opened and (p.key[0] == task or (not task and p.key[0].startswith(run)))
                ]
                self.hold("a cancel answers with proof", not alive, f"{task or run}: {[p.pid for p in alive]} live")
            case _:
                pass

    def _survivors(self, task: str, epoch: int, listed: set[int]) -> None:
        left = {process.pid: process for process in self._processes.alive((task, epoch))}
        hidden = sorted(left.keys() - listed)
        self.hold("no process of an ended attempt", not hidden, f"{task}#{epoch} ended with {hidden} alive")
        mortal = sorted(pid for pid in left.keys() & listed if not left[pid].undying)
        self.hold("what can be killed does not survive", not mortal, f"{task}#{epoch} ended with {mortal} alive")

    def _told_worker(self, key: Key, order: rp.ToWorker) -> None:
        law = "no effect before its commit"
        attempt: AttemptRow | None = self._disk.now[AttemptRow].get(attempt_key(*key))
        match order:
            case rp.Deliver(id=message):
                self.hold(law, message in self._disk.now[MessageRow], f"{message} was delivered")
            case rp.Ack(upto):
                self.hold(law, attempt is not None and attempt.reports >= upto, f"report {upto} of {key} was acknowledged")
            case rp.WorkerWelcome(reports):
                self.hold(law, attempt is not None and attempt.reports >= reports, f"{reports} reports of {key} were welcomed")
            case rp.StopGranted():
                self.hold(law, attempt is not None and attempt.finishing, f"{key} was granted its stop")
            case _:
                pass

    def connected_to_guardian(self) -> None:
        """A new connection: its stream begins again."""
        self._orders = gd.StreamCodec(gd.ORDERS)

    def ordered(self, data: bytes) -> None:
        """Bytes for the guardian leave."""
        law = "no effect before its commit"
        for order in self._orders.feed(data):
            match order:
                case gd.Spawn(bootstrap):
                    row = self._disk.now[AttemptRow].get(attempt_key(bootstrap.task, bootstrap.epoch))
                    self.hold(law, row is not None and row.status is not None, f"{bootstrap.task} was spawned unreserved")
                case gd.Confirm(task, epoch):
                    row = self._disk.now[AttemptRow].get(attempt_key(task, epoch))
                    over = row is not None and row.status in ATTEMPT_TERMINAL
                    self.hold(law, over, f"the exit of {task}#{epoch} was confirmed")
                case _:
                    pass

    def _claimed(self, event: ev.Event, body: ev.TaskClaimed | ev.TaskUnclaimed | ev.TaskEnded | ev.TaskRequeued) -> None:
        if not isinstance(body, ev.TaskClaimed):
            self._claims.pop(event.task, None)
            return
        if event.task not in self._claims:
            self._may_start(event)
        before = self._claims.get(event.task, body.claim)
        same = (before.owner, before.digest) == (body.claim.owner, body.claim.digest)
        self.hold("a task has one holder", same, f"{event.task} is held by {before.owner}, and {body.claim.owner} got it")
        self._claims[event.task] = body.claim

    def order_answered(self, request: rq.Request, reply: rl.Reply) -> None:
        """A client has the answer to what it wants of a run, if that is what it has asked."""
        error = reply.error if isinstance(reply, rl.ErrorReply) else None
        refused = error is not None and error.code == Refused.code
        if refused and isinstance(request, rq.Reopen | rq.Approve | rq.Dismiss):
            done = request.id in self._orders_done
            self.hold("what was carried out is not refused", not done, f"{type(request).__name__} {request.id}: {reply}")
        if isinstance(request, rq.StartRun) and request.parent:
            row = self._disk.now[AttemptRow].get(request.parent)
            said = error is not None and refused and "has ended" in error.message
            ended = row is None or row.status in ATTEMPT_TERMINAL
            self.hold("a worker that lives may start runs", not said or ended, f"{request.parent} was said to have ended")

    def _order_done(self, body: ev.RunOrderDone) -> None:
        """What somebody wants of a run and asks for again is done once."""
        self.hold("what was asked for again is done once", body.id not in self._orders_done, f"{body.id} twice")
        self._orders_done.add(body.id)

    def _hook_told(self, body: ev.RunHookRan) -> None:
        """In this world each request tells of one hook."""
        self.hold("what hooks have answered is told once", body.run.told not in self._told_hooks, f"{body.run.told} twice")
        self._told_hooks.add(body.run.told)

    def _accepted(self, event: ev.Event, body: ev.MessageAccepted) -> None:
        self.hold("a message is accepted once", body.id not in self._accepted_at, f"{body.id} twice")
        self._accepted_at[body.id] = event.seq
        if body.kind in MAILBOX_KINDS:
            self._to_read.add(body.id)  # done when it lies there
        elif body.kind != "response":
            self._waiting.setdefault(event.task, set()).add(body.id)

    # -- processes ----------------------------------------------------------------------------------------------

    def started(self, process: SimProcess) -> None:
        """A worker's first process exists."""
        task = process.key[0]
        living = [p for p in self._processes.table.values() if p.leader and p.key[0] == task and p is not process]
        self.hold(
            "one live incarnation per worker", not living, f"{process.key} was started while {[p.key for p in living]} live"
        )
        self.hold("an attempt is started once", self._processes.starts[process.key] == 1, f"{process.key} was started again")
        lent = self._witness.waited  # who waits for others lends its place, and goes on when it may
        workers = [p for p in self._processes.table.values() if p.leader and not p.undying and p.key not in lent]
        self.hold("no more workers than places", len(workers) <= self.places, f"{len(workers)} live")
        row = self._disk.now[AttemptRow].get(attempt_key(*process.key))
        over = row is None or row.status in ATTEMPT_TERMINAL
        self.hold("nothing is started after its end", not over, f"{process.key} was started, but {row and row.status}")

    # -- at rest ------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Nothing moves any more, and every run was ended."""
        differences, _ = rebuild(self._disk.reader())
        self.hold("rows are the fold of the log", not differences, "; ".join(differences))
        for (kind, key), row in self.rows.items():
            match row:
                case RunRow():
                    self.hold("everything ends", row.status in RUN_TERMINAL, f"run {key} is {row.status}")
                    self._budget.at_rest(row, self._seq)
                    joined = [k for kind, k in self.rows if kind is MessageRow and k.startswith(f"{key}:join")]
                    self.hold("each end of a joined run is told once", len(joined) == row.openings * row.workflow.joins, key)
                case TaskRow():
                    self.hold("everything ends", row.status in TASK_TERMINAL, f"task {key} is {row.status}")
                case AttemptRow():
                    self.hold("everything ends", row.status in ATTEMPT_TERMINAL, f"attempt {key} is {row.status}")
                case MessageRow():
                    self.hold("every accepted message settles", row.receipt.settled, f"{key} is {row.receipt.level}")
                case AskRow() | OperationRow():
                    self.hold("every question and operation is closed", row.closed_at is not None, f"{kind.__name__} {key}")
                case NoticeRow():
                    task = self.rows.get((TaskRow, row.task))
                    dead = row.kind == NoticeKind.DEAD_LETTER and isinstance(task, TaskRow) and task.dead == "open"
                    stands = row.closed_at is None
                    self.hold("a notice stands as long as its cause", stands == (dead and row.epoch == task.epoch), f"{row}")  # type: ignore[union-attr]
                case _:
                    pass
        self._workers_say()
        self._finished_is_recorded()
        survivors = {s.pid for row in self.rows.values() if isinstance(row, AttemptRow) for s in row.survivors}
        left = [process.pid for process in self._processes.known() if process.pid not in survivors]
        self.hold("no process is left", not left, f"{left} live")

    def _workers_say(self) -> None:
        for key, taken in self._witness.applied.items():
            ids = [deliver.id for deliver in taken]
            self.hold("applied at most once", len(set(ids)) == len(ids), f"{key} took {ids}")
            for mode in ("interrupt", "next_turn"):
                orders = [deliver.order for deliver in taken if deliver.mode == mode and deliver.kind != "response"]
                self.hold("applied in order", orders == sorted(orders), f"{key} took {mode}s in the order {orders}")
            self._in_their_turns(key, taken)
            cancelled = self._cancelled_at.get(attempt_key(*key))
            if cancelled is not None:
                late = [each.id for each in taken if self._accepted_at[each.id] > cancelled]
                self.hold("nothing is applied after its cancel", not late, f"{key} took {late}")
        applied = {deliver.id for taken in self._witness.applied.values() for deliver in taken}
        for row in self.rows.values():
            if not isinstance(row, MessageRow):
                continue
            receipt = row.receipt
            if receipt.outcome is Outcome.DONE and receipt.kind not in MAILBOX_KINDS:
                self.hold("no receipt without the deed", receipt.id in applied, f"{receipt.id} is done")
            elif receipt.outcome is not Outcome.UNKNOWN and receipt.reason != RefusalReason.BY_WORKER:
                said = f"{receipt.id} is {receipt.outcome} ({receipt.reason})"
                self.hold("no deed without the receipt", receipt.id not in applied, f"{said}, but a worker took it")

    def _in_their_turns(self, key: Key, taken: Sequence[rp.Deliver]) -> None:
        turn = 1
        for deliver in taken:
            row = self.rows[MessageRow, deliver.id]
            terms = row.terms if isinstance(row, MessageRow) else USUAL
            law = "a message is taken by the attempt and in the turn that it is for"
            self.hold(law, terms.epoch in {0, key[1]}, f"{key} took {deliver.id}, which is for attempt {terms.epoch}")
            self.hold(law, terms.turn in {0, turn}, f"{key} took {deliver.id} in turn {turn}, it is for {terms.turn}")
            turn += deliver.mode == "next_turn" and deliver.kind != "response"
        attempt = self.rows.get((AttemptRow, attempt_key(*key)))
        if isinstance(attempt, AttemptRow):
            # The last word of a worker that was killed may never have been heard.
            self.hold("turns are counted alike", attempt.turn <= turn, f"{key} is in turn {turn}, crewd says {attempt.turn}")

    def _finished_is_recorded(self) -> None:
        """A worker that has left its last reports on disk has done its work: whoever was killed then, its outcome is known."""
        for key in self._witness.finished:
            row = self.rows.get((AttemptRow, attempt_key(*key)))
            known = isinstance(row, AttemptRow) and (row.outcome != "" or row.cancel is not None)
            self.hold("finished work is not lost", known, f"{key} had finished: {row}")

    def answered(self, name: str, request: rq.Request, reply: rl.Reply | None) -> None:
        """At rest: each client that asked has an answer, and a promise in it was kept."""
        self.hold("every question is answered", reply is not None, f"{name} waits for {request}")
        if isinstance(reply, rl.ReceiptReply):
            known = reply.receipt.id in self._disk.now[MessageRow]
            self.hold("what was accepted survives", known, f"{reply.receipt.id} is gone")

    def _target(self, request: rq.Request) -> str:
        """The run or task whose end this request waits for; nothing if it waits for none, or names what is not known yet."""
        if not isinstance(request, rq.AwaitEnd) and not (isinstance(request, rq.Cancel) and request.wait):
            return ""
        text, _, step = request.target.partition("/")
        runs = [row.id for row in self.rows.values() if isinstance(row, RunRow) and text in {row.id, row.name}]
        return "" if len(runs) != 1 else task_id(runs[0], step) if step else runs[0]

    def live_at(self, request: rq.Request) -> int | None:
        """The last event, if what this request waits for is live now."""
        target = self._target(request)
        return self._seq if target and target not in self._over else None

    def told_of_an_end(self, request: rq.Request, reply: rl.Reply, live_then: int | None) -> None:
        """A client that waits for an end is told when it comes, and not of an older one. `live_then`: see `live_at`."""
        target = self._target(request)
        if not target:
            return
        over = self._over.get(target)
        if isinstance(reply, rl.ErrorReply) and reply.error.code == "deadline_exceeded":
            soon = over is None or self._now() - self.starved - over < TOLD_SECONDS
            self.hold("whoever waits for an end is told of it", soon, f"{target} has been over for long: {reply.error.message}")
        ended = isinstance(reply, rl.CancelReply) or (isinstance(reply, rl.EndReply) and not reply.attention)
        if ended and live_then is not None:
            last = self._last_end.get(target, 0)
            self.hold(
                "an answer is of the end that was waited for", last > live_then, f"{target} was live at {live_then}: {last}"
            )

    def calm_cancels(self) -> None:
        """In a world without faults a cancel is over within its grace, the ladder's time, and a margin."""
        for row in self.rows.values():
            if isinstance(row, AttemptRow) and row.cancel is not None and row.ended_at is not None:
                allowed = row.cancel.grace_seconds + 3.0 + 1.0 + (5.0 if row.survivors else 0.0)
                taken = row.ended_at - row.cancel.requested_at
                self.hold("a cancel ends in time", taken <= allowed, f"{row.task} took {taken:.2f} s, {allowed:g} allowed")


def _closure(moves: Mapping[S, frozenset[S]]) -> dict[S, set[S]]:
    """Where one commit can take a status: several events may stand in one batch."""
    reach = {status: {status, *after} for status, after in moves.items()}
    for _ in moves:
        reach = {status: set().union(*(reach[each] for each in after)) for status, after in reach.items()}
    return reach


_AFTER_THE_END = (
    ev.MessageAccepted, ev.MessageSettled, ev.NoticeRaised, ev.NoticeClosed, ev.RunReopened, ev.TaskRequeued, ev.TaskDismissed,
    ev.RunHookRan, ev.RunChildUsed, ev.RunOrderDone,
)  # fmt: skip
"""What may be recorded of something that has ended: late messages, what people are told, and what they want then."""
_LEAVES_WORK = (ev.TaskEnded, ev.TaskRetrying, ev.TaskParked, ev.TaskUnclaimed, ev.TaskRequeued)
_OF_TASKS = (
    ev.TaskEnded, ev.TaskCancelRequested, ev.TaskRetrying, ev.TaskParked, ev.TaskClaimed, ev.TaskUnclaimed, ev.TaskTurn,
    ev.TaskHeldBack, ev.TaskAdded,
)  # fmt: skip
"""What is recorded of a task whose attempt has ended."""
_RUN, _TASK, _ATTEMPT = _closure(RUN_MOVES), _closure(TASK_MOVES), _closure(ATTEMPT_MOVES)
