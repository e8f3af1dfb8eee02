"""The reading side: questions answered from a read-only connection, on a thread of its own.

Tests: tests/store/test_store.py, tests/supervisor/gateway/test_doctor.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Lane
from crewd.clock import in_words
from crewd.model.errors import CrewdError, InvariantError, NotFound, StoreUnavailable, UsageError
from crewd.model.ids import ASK, MESSAGE, SELECTOR_CHARS_MAX, is_id, split_older, task_id
from crewd.model.kinds import types_named
from crewd.model.limits import ROWS_MAX, STEPS_MAX
from crewd.model.news import NEWS_TYPES, NewsItem, news_of
from crewd.model.quantities import counted
from crewd.model.receipts import Level, Outcome
from crewd.model.rows import (
    ArtifactRow,
    AskRow,
    AttemptRow,
    Backlog,
    ClientRow,
    ForgottenRow,
    MessageRow,
    NoticeRow,
    OperationRow,
    Progress,
    RunRow,
    TaskRow,
    Usage,
)
from crewd.model.statuses import TaskStatus
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.checkup import Examine, checkup
from crewd.store.fitting import ANSWER_BYTES_MAX, brief, fitting, in_list, in_lists, inbox, shown, size_of
from crewd.store.fold import attempt_key
from crewd.store.follower import Follower
from crewd.store.library import Library
from crewd.store.messages import Answer, Flushed, Read, Resolve, Resolved, Stand, Standing, ToReader, ToStore
from crewd.store.overlay import over
from crewd.store.ports import Where
from crewd.store.standing import left_something

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.store.messages import StandingRow
    from crewd.store.overlay import Overlay
    from crewd.store.ports import Reading

_PROGRESS = msgspec.msgpack.Decoder(Progress)
_USAGE = msgspec.msgpack.Decoder(Usage)
PAGES = 20
"""Pages of events or rows looked through for one answer; the caller goes on from there."""


class _InList(msgspec.Struct, frozen=True):
    """A run of a list, with what is its own."""

    run: RunRow
    tasks: tuple[TaskRow, ...]
    progress: tuple[Progress, ...]
    usage: tuple[Usage, ...]


_PREFIX_MIN = 4
AGAIN_SECONDS = 0.5
"""Until what could not be answered truly is tried again."""
TELL_STALE = (rl.RunsReply, rl.ShowReply, rl.InboxReply)
"""Replies that say whether they are stale."""


class Reader(Follower[ToReader]):
    """Answers `Read`, `Resolve` and `Stand`, with everything that was committed before. Decides nothing.

    When the disk refuses what was committed lately, answers that say `stale` are given to people; everything else waits.
    """

    def __init__(
        self, open_reader: Callable[[], Reading], overlay: Overlay, store: Callable[[], Ref[ToStore] | None], examine: Examine,
        archive: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(overlay, store)
        self._archive = archive
        self._open = open_reader
        self._examine = examine

    def on_start(self) -> None:
        """Open the connection."""
        below = self._open()
        self._database: Reading = below if self._archive is None else Library(below, self._archive)

    def on_stop(self) -> None:
        """Close it."""
        if hasattr(self, "_database"):
            self._database.close()

    def receive(self, message: Flushed | ToReader) -> None:
        """Answer; what the caller asked wrongly is an answer too."""
        if isinstance(message, Flushed):
            self.flushed(stale=message.stale)
        else:
            self.when_flushed(lambda: self._reply(message))

    def _reply(self, message: ToReader) -> None:
        if self.stale and not self._may_be_stale(message):
            self.context.after(AGAIN_SECONDS, message)
            return
        reply: rl.Reply | Resolved | Standing | CrewdError
        try:
            match message:
                case Read(request, _, _, owner):
                    reply = self.answer(request, owner)
                    if self.stale and isinstance(reply, TELL_STALE):
                        reply = msgspec.structs.replace(reply, stale=True)
                case Resolve(selector):
                    reply = self.resolve(selector)
                case Stand(run, attempts):
                    reply = self.standing(run, attempts=attempts)
                case _:
                    self.unexpected(message)
                    return
        except (UsageError, StoreUnavailable) as error:
            reply = error
        except InvariantError as error:
            reply = StoreUnavailable(f"the log cannot be folded: {error}", hint="see docs/guarantees.md")
        except Exception as error:  # noqa: BLE001 (whatever a request or a file holds, its answer is an error, not our end)
            reply = StoreUnavailable(f"this cannot be answered: {type(error).__name__}: {error}", hint="crew doctor --check")
        message.reply_to.offer(Answer(message.token, reply), lane=Lane.CONTROL)

    def _may_be_stale(self, message: ToReader) -> bool:
        """Whether old tables hold an answer that will do. What is not there may be new, and questions change too much."""
        try:
            match message:
                case Resolve(selector):
                    return not is_id(selector, ASK) and bool(self.resolve(selector))
                case Read(request, _, _, owner, stale_ok):
                    return stale_ok and isinstance(self.answer(request, owner), TELL_STALE)
                case Stand():
                    return False
        except CrewdError:
            return False

    def resolve(self, selector: str) -> Resolved:
        """The run and task that a selector means. NotFound if none, UsageError if several."""
        text, _, step = selector.partition("/")
        if is_id(selector, ASK):
            asked = self._database.row(AskRow, selector)
            run_row = None if asked is None else self._database.row(RunRow, asked.run)
            if asked is None or run_row is None:
                raise NotFound(f"no question has the id {selector}", hint="crew inbox lists open ones")
            return Resolved(run_row, asked.task, self._became(asked))
        if not text:
            raise UsageError("the selector is empty", hint="give a run's name or id, or RUN/STEP")
        if len(text) > SELECTOR_CHARS_MAX:
            raise UsageError(
                f"the selector has {len(text)} characters", hint=f"at most {SELECTOR_CHARS_MAX}: a run's name or id"
            )
        text, older = split_older(text)
        found = self._database.runs_matching(text, max(2, older + 1))
        exact = [run for run in found if text in {run.id, run.name}]
        if exact:
            if older >= len(exact):
                raise NotFound(
                    f"of {text} there {'is' if len(exact) == 1 else 'are'} {counted(len(exact), 'run')}",
                    hint=f"the oldest one is {text}~{len(exact) - 1}",
                )
            run = exact[older]
        elif not found and (gone := self._database.row(ForgottenRow, text)) is not None:
            why = f": {gone.intent}" if gone.intent else ""
            raise NotFound(f"run {gone.name} was forgotten by {gone.by} at {in_words(gone.at)}{why}", target=selector)
        elif not found or len(text) < _PREFIX_MIN:
            hint = f"a part of an id has at least {_PREFIX_MIN} characters" if found else "crew ps -a lists all"
            raise NotFound(f"no run is called {text}", hint=hint, target=selector)
        elif len(found) > 1:
            raise UsageError(f"{text} could be {found[0].name} or {found[1].name}", hint="use more characters or the name")
        else:
            run = found[0]
        if not step:
            return Resolved(run, "")
        task = task_id(run.id, step)
        if self._database.row(TaskRow, task) is None:
            steps = ", ".join(each.id for each in run.workflow.steps)
            raise NotFound(f"run {run.name} has no step {step}", hint=f"its steps are: {steps}", target=selector)
        return Resolved(run, task)

    def _became(self, asked: AskRow) -> str:
        """Who has answered a question, and when; or how else it ended; nothing if it is open."""
        given_by = self._database.row(MessageRow, asked.answered_by) if asked.answered_by else None
        rows = self._database.rows_of(MessageRow, asked.run, ROWS_MAX) if given_by is None else [given_by]
        given = [row for row in rows if row.ask == asked.id and row.receipt.outcome is not Outcome.REFUSED]
        answer = next((row for row in given if row.receipt.id == asked.answered_by), given[0] if given else None)
        if answer is not None and asked.outcome in {"", "answered"}:
            return f"answered by {answer.sender} at {in_words(answer.receipt.accepted_at)}"
        return f"the question is {asked.outcome}" if asked.outcome else ""

    def _events(self, request: rq.ListEvents) -> rl.EventsReply:
        chosen = self.resolve(request.target) if request.target else None
        run, task = ("", "") if chosen is None else (chosen.run.id, chosen.task)
        if request.epoch and not task:
            raise UsageError("an attempt is one of a task", hint="RUN/STEP")
        where = Where(run, task, request.epoch, types_named(request.types), request.since, request.until)
        limit, labels, back = min(request.limit, ROWS_MAX), request.labels, request.before > 0
        upto = self._database.last_seq()
        found = self._database.events(after=request.after, before=request.before, where=where, limit=limit + 1)
        if back:
            found.reverse()
        page = fitting(found[:limit])
        more = len(found) > len(page)
        if back:
            page.reverse()
        has: dict[str, bool] = {}
        for event in page if labels else ():
            row = self._database.row(RunRow, event.run) if event.run and event.run not in has else None
            has.setdefault(event.run, row is not None and labels.items() <= row.workflow.labels.items())
        last = page[-1].seq if more else upto
        return rl.EventsReply(
            events=tuple(event for event in page if not labels or has[event.run]), more=more,
            upto=(page[0].seq if more else 0) if back else max(request.after, last),
        )  # fmt: skip

    def _messages(self, request: rq.ListMessages) -> rl.MessagesReply:
        resolved, before = self.resolve(request.target), request.before
        limit = min(request.limit, ROWS_MAX)
        found: list[MessageRow] = []
        size = 0
        for _ in range(PAGES):
            page = self._database.rows_before(MessageRow, resolved.run.id, before, ROWS_MAX)
            for place, row in page:
                before = place
                if resolved.task in {"", row.receipt.task} and _wanted(row, request):
                    found.append(brief(row))
                    size += size_of(found[-1])
                if len(found) >= limit or size > ANSWER_BYTES_MAX // 2:
                    return rl.MessagesReply(messages=tuple(reversed(found)), before=before)
            if len(page) < ROWS_MAX:
                return rl.MessagesReply(messages=tuple(reversed(found)))
        return rl.MessagesReply(messages=tuple(reversed(found)), before=before)

    def _news(self, owner: str, request: rq.ListNews) -> rl.NewsReply:
        """State is published before anybody is told: what is read here is committed."""
        client = self._database.row(ClientRow, owner)
        after = request.after or (0 if client is None else client.seen)
        upto, limit = self._database.last_seq(), min(request.limit, ROWS_MAX)
        items: list[NewsItem] = []
        runs: dict[str, RunRow | None] = {}
        for _ in range(PAGES):
            page = self._database.events(after=after, where=Where(types=frozenset(NEWS_TYPES)), limit=ROWS_MAX)
            for event in page:
                if event.run not in runs:
                    runs[event.run] = self._database.row(RunRow, event.run)
                row = runs[event.run]
                item = (
                    None
                    if row is None or not (request.everyone or row.owner == owner)
                    else news_of(event, row.name, single=row.workflow.single)
                )
                after = event.seq
                items += [item] if item is not None else []
                if len(items) >= limit:
                    return rl.NewsReply(items=tuple(items), upto=after, more=True)
            if len(page) < ROWS_MAX:
                return rl.NewsReply(items=tuple(items), upto=max(after, upto))
        return rl.NewsReply(items=tuple(items), upto=after, more=True)

    def standing(self, run: str, *, attempts: bool) -> Standing:
        """See `Stand`. NotFound if there is no such run."""
        row = self._database.row(RunRow, run)
        if row is None:
            raise NotFound(f"there is no run {run} any more")
        upto = self._database.last_seq()
        rows: list[StandingRow] = [row, *self._database.rows_of(TaskRow, run, STEPS_MAX)]
        if any(isinstance(each, TaskRow) and each.status is TaskStatus.WAITING for each in rows):
            rows += [ask for ask in self._database.rows_with(AskRow, "open", ROWS_MAX) if ask.run == run]
        if attempts:
            rows += [each for each in self._database.rows_of(AttemptRow, run, ROWS_MAX) if left_something(each)]
        return Standing(tuple(rows), upto)

    def answer(self, request: rq.Request, owner: str = "") -> rl.Reply:
        """The reply to a client's question. `owner` is who asks."""
        match request:
            case rq.GetReceipt(key):
                row = self._database.row(MessageRow, key)
                if row is None:
                    hint = "ids of messages begin with m_" if not is_id(key, MESSAGE) else ""
                    raise NotFound(f"no message has the id {key}", hint=hint)
                return rl.ReceiptReply(receipt=row.receipt)
            case rq.ListRuns():
                return self._runs(request)
            case rq.Show(target):
                return self._show(self.resolve(target).run)
            case rq.ListMessages():
                return self._messages(request)
            case rq.Inbox():
                return inbox(
                    self._database.rows_with(AskRow, "open", ROWS_MAX), self._database.rows_with(NoticeRow, "open", ROWS_MAX),
                    self._database.rows_with(MessageRow, "unread", ROWS_MAX),
                )  # fmt: skip
            case rq.ListDead(limit):
                dead = self._database.rows_with(TaskRow, "dead", min(limit, ROWS_MAX))
                finals = (self._database.row(AttemptRow, attempt_key(task.id, task.epoch)) for task in dead)
                kept = fitting(zip(map(in_lists, dead), finals, strict=True), ANSWER_BYTES_MAX)
                attempts = tuple(final for _, final in kept if final is not None)
                return rl.DeadReply(tuple(task for task, _ in kept), attempts, more=len(kept) < len(dead))
            case rq.ListEvents():
                return self._events(request)
            case rq.ListNews():
                return self._news(owner, request)
            case rq.Doctor():
                return checkup(self._database, self._examine, request)
            case _:
                raise UsageError(f"{type(request).__name__} is not a question")

    def _runs(self, request: rq.ListRuns) -> rl.RunsReply:
        pending, labels, limit = self._overlay.pending(), request.labels, min(request.limit, ROWS_MAX)
        most = ROWS_MAX if labels else limit
        page = self._database.runs(ended=request.all, limit=most, before=request.before)
        found = [run for run in page if labels.items() <= run.workflow.labels.items()][:limit]
        kept = fitting((self._in_list(run, pending) for run in found), ANSWER_BYTES_MAX * 3 // 4)
        last = kept[-1].run.id if len(kept) < len(found) or len(found) == limit else page[-1].id if len(page) == most else ""
        notices = fitting(self._database.rows_with(NoticeRow, "open", ROWS_MAX), ANSWER_BYTES_MAX // 8)
        return rl.RunsReply(
            runs=tuple(each.run for each in kept),
            tasks=tuple(task for each in kept for task in each.tasks),
            progress=tuple(row for each in kept for row in each.progress),
            usage=tuple(row for each in kept for row in each.usage),
            notices=tuple(notices), backlogs=tuple(fitting(self._backlogs(), ANSWER_BYTES_MAX // 8)), before=last,
        )  # fmt: skip

    def _in_list(self, run: RunRow, pending: dict[str, bytes | None]) -> _InList:
        tasks = tuple(map(in_lists, self._tasks(run)))
        return _InList(in_list(run), tasks, self._progress(run.id, pending), self._usage(run.id, pending))

    def _tasks(self, run: RunRow) -> list[TaskRow]:
        """For a list: a bundle that is damaged must not hide the other runs."""
        try:
            return self._database.rows_of(TaskRow, run.id, STEPS_MAX)
        except StoreUnavailable:
            if run.archived:
                return []
            raise

    def _progress(self, run: str, pending: dict[str, bytes | None]) -> tuple[Progress, ...]:
        prefix = f"progress:{run}/" if run else "progress:"
        merged = over(pending, self._database.latest(prefix), prefix)
        return tuple(_PROGRESS.decode(value) for value in merged.values())

    def _usage(self, run: str, pending: dict[str, bytes | None]) -> tuple[Usage, ...]:
        prefix = f"usage:{run}/" if run else "usage:"
        merged = over(pending, self._database.latest(prefix), prefix)
        return tuple(_USAGE.decode(value) for value in merged.values())

    def _backlogs(self) -> tuple[Backlog, ...]:
        """Of every run, what waits; a run's own messages in order."""
        states = (*(level for level in Level if level is not Level.SETTLED), "unread")
        return backlogs_of([row for state in states for row in self._database.rows_with(MessageRow, state, ROWS_MAX)])

    def _show(self, run: RunRow) -> rl.ShowReply:
        pending = self._overlay.pending()
        self._database.snapshot()
        try:
            rows = self._database.rows_of
            events, size = self._database.size_of(run.id)
            reply = rl.ShowReply(
                run=self._database.row(RunRow, run.id) or run,
                tasks=tuple(rows(TaskRow, run.id, STEPS_MAX)),
                attempts=tuple(rows(AttemptRow, run.id, ROWS_MAX)),
                messages=tuple(map(brief, rows(MessageRow, run.id, ROWS_MAX))),
                asks=tuple(rows(AskRow, run.id, ROWS_MAX)),
                operations=tuple(rows(OperationRow, run.id, ROWS_MAX)),
                artifacts=tuple(rows(ArtifactRow, run.id, ROWS_MAX)),
                progress=self._progress(run.id, pending),
                seq=self._database.last_seq(),
                usage=self._usage(run.id, pending),
                notices=tuple(rows(NoticeRow, run.id, ROWS_MAX)),
                backlogs=backlogs_of(rows(MessageRow, run.id, ROWS_MAX)),
                events=events,
                bytes=size,
            )
        finally:
            self._database.release()
        return shown(reply)


def _wanted(row: MessageRow, request: rq.ListMessages) -> bool:
    states = {"": True, "open": not row.receipt.settled, "settled": row.receipt.settled, "unread": row.unread}
    return states[request.state] and request.kind in {"", row.receipt.kind} and request.direction in {"", row.direction}


def backlogs_of(rows: Iterable[MessageRow]) -> tuple[Backlog, ...]:
    """What of these messages waits, by task: those that are on their way to a worker, and those that nobody has read."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        receipt = row.receipt
        if row.unread and row.direction == "out":
            found.setdefault(receipt.task, Counter())["unread"] += 1
        elif not receipt.reached(Level.APPLIED):
            found.setdefault(receipt.task, Counter())[receipt.kind] += 1
    return tuple(
        Backlog(task, waits["steer"], waits["follow_up"], waits["response"], waits["unread"]) for task, waits in found.items()
    )
