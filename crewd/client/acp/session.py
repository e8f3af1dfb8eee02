"""A session of an editor: the run behind it, what the editor was told of it, and the prompts that are open.

A prompt starts a run, or is told to it: at once while it works, as a new turn when it has ended. It is answered when the run
has ended and all that this session has sent is settled, or when a worker asks something that the next prompt answers.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from crewd.client import aio
from crewd.client.acp.updates import Update, addressed, options_of, plan_of, said, update_of
from crewd.client.acp.wire import INTERNAL_ERROR, INVALID_PARAMS, Wire, WireFault
from crewd.client.acts import ask_about_async
from crewd.client.calls import Stream
from crewd.client.cli.follow import words
from crewd.client.discover import holder
from crewd.model import events as ev
from crewd.model.agent import AGENT_RUNTIMES
from crewd.model.errors import CrewdError, DaemonUnreachable, NotFound, Refused
from crewd.model.events import Event
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Outcome
from crewd.model.redact import clip
from crewd.model.rows import Progress, TaskRow
from crewd.model.statuses import TASK_TERMINAL, RunStatus, TaskStatus
from crewd.model.terms import Terms

POLL_SECONDS = 0.25
"""Between two looks at the output of a worker that tells of no progress."""
AGAIN_SECONDS = 0.5
LOST_SECONDS = 60.0
"""How long to look for a crewd when it is gone: another one continues its runs."""
SENT_MAX = 1_000
RESULT_CHARS_MAX = 50_000
T = TypeVar("T")
Asking = Callable[[Callable[[aio.Crew], Awaitable[T]]], Awaitable[T]]


class Crewd:
    """The client of all sessions, made when it is first needed and again when it was lost."""

    def __init__(self, home: str | None, name: str) -> None:
        self._home, self._name = home, name
        self._crew: aio.Crew | None = None
        self._one = asyncio.Lock()

    async def get(self, *, start: bool | None = None) -> aio.Crew:
        """The client. `start`: whether crewd is started if it is not there, see `crewd.connect`."""
        async with self._one:
            if self._crew is not None and holder(self._crew.home) is None:  # it was stopped, and would never answer
                await self.lost(self._crew)
            if self._crew is None:
                self._crew = await aio.connect(self._home, start=start, name=self._name)
            return self._crew

    async def lost(self, crew: aio.Crew) -> None:
        """It does not answer any more."""
        if self._crew is crew:
            self._crew = None
            with contextlib.suppress(CrewdError, OSError):
                await crew.close()

    async def close(self) -> None:
        """Hang up."""
        if self._crew is not None:
            await self.lost(self._crew)


@dataclass(slots=True)
class _Source:
    """What an attempt has said, and how far it was read."""

    task: str
    epoch: int
    stream: Stream
    offset: int = 0
    rest: bytes = b""
    over: bool = False
    calls: dict[str, None] = field(default_factory=dict)
    """Calls of tools that have not ended."""
    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))


class Session:
    """One session. `chosen` is the agent that its next run begins with; `own`: it has started its run itself."""

    def __init__(self, key: str, cwd: str, crewd: Crewd, wire: Wire) -> None:
        self.id = key
        self.cwd = cwd
        self.chosen = ""
        self.run = ""
        self.own = False
        self._crewd = crewd
        self._wire = wire
        self._working = False
        self._after = 0
        self._tasks: dict[str, TaskRow] = {}
        self._sources: dict[tuple[str, int], _Source] = {}
        self._speaker = ""
        self._sent: dict[str, None] = {}
        self._unsettled: set[str] = set()
        self._prompts: dict[str, tuple[str, str]] = {}
        """Prompts that are not settled, by the id of their message: the run or step that each is for, and its text."""
        self._again: list[tuple[str, str, str]] = []
        """Prompts that came when their worker was about to end: they begin its next turn. A new id, the target, the text."""
        self.beginning = asyncio.Lock()
        """Held while a prompt begins a run, or is told to it: one that comes meanwhile goes on with that run."""
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._questions: dict[str, str] = {}
        """Open questions that prompts answer, by id, with their texts, the oldest first."""
        self._answers: dict[str, tuple[str, str]] = {}
        """Answers that are not settled, by the id of their message: the question that each is for, and its text."""
        self._cancelling = False
        """The editor has cancelled the turn that is open."""
        self._cancel_wanted = False
        """The editor has cancelled a turn whose run is not known, or not open again, yet."""
        self._began_with = ""
        self._error = ""
        self._turn: asyncio.Future[str] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()
        self._silent = False

    # -- what the editor wants ----------------------------------------------------------------------------------

    def begins(self, run: str) -> None:
        """This session has started this run."""
        self.run, self.own, self._working, self._began_with = run, True, True, self.chosen
        self._after, self._error = 0, ""
        self._tasks, self._sources, self._questions, self._sent = {}, {}, {}, {"": None}
        self._prompts, self._again = {}, []

    async def opens(self, run: str, *, replay: bool) -> None:
        """Show this run, from its beginning or from now on."""
        crew = await self._crewd.get()
        shown = await crew.show(run)
        self.run, self.cwd = shown.run.id, shown.run.cwd
        self._after = shown.seq
        self._working = shown.run.ended_at is None
        self._silent = not replay
        await self._look(crew)
        await self._read_all(crew)
        for task in list(self._tasks.values()):
            await self._tell_result(crew, task.id)
        self._silent = False
        if self._working:
            for ask in shown.asks:
                if ask.unanswered:
                    self._ask(ev.AskOpened(id=ask.id, question=ask.question, kind=ask.kind, choices=ask.choices))
            self._follow()

    def goes_on(self, text: str) -> bool:
        """Whether a prompt is told to the run of this session, and begins no other one."""
        if not self.run:
            return False
        if self._working or self._questions:
            return True
        if self.own and self.chosen != self._began_with:
            return False  # another agent begins a run of its own
        only = next(iter(self._tasks.values())) if len(self._tasks) == 1 else None
        if only is not None and (not self.own or only.runtime in AGENT_RUNTIMES):
            return True
        return bool(addressed(text, self._steps())[0])

    async def say(self, text: str, *, steer: bool = False) -> None:
        """Tell the run a prompt. Raises CrewdError if it is refused, Fault if it is not clear which step is meant."""
        crew = await self._crewd.get()
        if self._questions:
            await self._respond(crew, next(iter(self._questions)), text)
        else:
            if not self._tasks:  # its run has just begun
                await self._look(crew)
            step, text = addressed(text, self._steps())
            target = f"{self.run}/{step}" if step else self._target()
            kind: Literal["steer", "follow_up"] = "steer" if self._working else "follow_up"
            await self._send(crew, crew.new_message_id(), kind, target, text, is_prompt=not steer)
        self._follow()

    async def _send(
        self, crew: aio.Crew, key: str, kind: Literal["steer", "follow_up"], target: str, text: str, *, is_prompt: bool
    ) -> None:  # fmt: skip
        self._sent[key] = None
        if len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]
        self._unsettled.add(key)
        if is_prompt:
            self._prompts[key] = target, text
        try:
            terms = Terms(on_idle="start" if is_prompt else "queue")
            await crew.send(kind, target, text, id=key, wait="accepted", terms=terms)
        except CrewdError:
            self._unsettled.discard(key)
            self._prompts.pop(key, None)
            raise

    async def _respond(self, crew: aio.Crew, question: str, text: str) -> None:
        """Answer a question. One whose answer is refused stays open: it is put again when that is heard."""
        key = crew.new_message_id()
        self._answers[key] = question, self._questions.pop(question)
        self._unsettled.add(key)
        try:
            await crew.respond(question, text, id=key)
        except CrewdError as error:
            self._unsettled.discard(key)
            answered = self._answers.pop(key, None)
            if answered is not None and not isinstance(error, NotFound | Refused):  # it may be open still
                self._questions[question] = answered[1]
            raise

    async def turn(self) -> str:
        """Wait for the end of the turn: its stop reason. Raises Fault if the run has failed."""
        if self._turn is None or self._turn.done():
            self._turn = asyncio.get_running_loop().create_future()
            self._turn.add_done_callback(lambda turn: turn.cancelled() or turn.exception())
        self._follow()
        if self._cancel_wanted and self._working:
            await self.cancel()
        if self._questions:  # it came while no turn was open
            await self._update(said(f"{next(iter(self._questions.values()))}\n"))
            self._ends("end_turn")
        return await asyncio.shield(self._turn)

    async def cancel(self) -> None:
        """End the run with everything that it has started."""
        self._cancel_wanted = not self._working
        if self._working:
            self._cancelling = True
            crew, run, turn = await self._crewd.get(), self.run, self._turn
            try:
                await ask_about_async(crew, "before_cancel", run, "the run goes on", intent="cancelled in the editor")
            except Refused as error:
                self._cancelling = False
                await self._update(said(f"{error.message}\n"))
                if self._questions:
                    self._ends("end_turn")
                return
            if run != self.run or not self._working or turn not in {None, self._turn}:
                return  # what was to be cancelled has ended meanwhile
            await crew.begin_cancel(run, intent="cancelled in the editor")

    def wants(self) -> None:
        """A new prompt: what was cancelled before it was another one."""
        self._cancel_wanted = self._cancelling = False

    @property
    def unwanted(self) -> bool:
        """Whether the editor has cancelled the turn before its run began."""
        return self._cancel_wanted

    @property
    def working(self) -> bool:
        """Whether its run has not ended."""
        return self._working

    async def close(self) -> None:
        """Look at it no more."""
        tasks = [task for task in (self._follower, *self._asked.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ends("cancelled")

    # -- what happens -------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        if self._follower is None or self._follower.done():
            self._follower = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Tell the editor what happens until the run has ended and nothing that was sent is open."""
        loop = asyncio.get_running_loop()
        lost_at = 0.0
        crew: aio.Crew | None = None
        try:
            while self._working or self._unsettled or self._again:
                try:
                    crew = await self._crewd.get(start=False)
                    await self._watch_with(crew)
                    lost_at = 0.0
                except DaemonUnreachable:
                    lost_at = lost_at or loop.time()
                    if loop.time() - lost_at > LOST_SECONDS:
                        raise
                    if crew is not None:
                        await self._crewd.lost(crew)
                    await asyncio.sleep(AGAIN_SECONDS)
        except CrewdError as error:
            self._ends(WireFault(INTERNAL_ERROR, error.message, {"crewd": error.code}))
            return
        if self._turn is not None and not self._turn.done():
            self._ends("end_turn")

    async def _watch_with(self, crew: aio.Crew) -> None:
        await self._look(crew)
        await self._send_again(crew)
        poll = asyncio.create_task(self._poll(crew))
        try:
            async for item in crew.watch(self.run, after=self._after, progress=True):
                if await self._takes(crew, item):
                    return
            async for event in crew.events(self.run, after=self._after):  # what became of messages to a run that has ended
                if await self._takes(crew, event):
                    return
            await asyncio.sleep(AGAIN_SECONDS)  # it has ended, and what was sent will open it again
        finally:
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)

    async def _takes(self, crew: aio.Crew, item: Event | Progress) -> bool:
        """Tell the editor of one thing; whether nothing more is to be expected."""
        if isinstance(item, Event):
            self._after = item.seq
            if item.epoch and (item.task, item.epoch) not in self._sources:
                await self._look(crew)
        await self._read_all(crew)
        if isinstance(item, Event):
            await self._heard(crew, item)
            await self._send_again(crew)
        return isinstance(item, Event) and not self._working and not self._unsettled

    async def _send_again(self, crew: aio.Crew) -> None:
        """Prompts that their worker did not take because it was about to end begin a new turn of it, once it has ended."""
        for prompt in list(self._again):
            key, target, text = prompt
            step = target.partition("/")[2] or next(iter(self._tasks), "")
            task = self._tasks.get(step)
            if self._working and task is not None and task.status not in TASK_TERMINAL:
                continue
            try:
                await self._send(crew, key, "follow_up", target, text, is_prompt=True)
            except DaemonUnreachable:
                raise  # it is sent again with the same id, so it is one message
            except CrewdError as error:
                self._ends(WireFault(INTERNAL_ERROR, f"the prompt was not taken: {error.message}", {"crewd": error.code}))
            self._again.remove(prompt)

    async def _poll(self, crew: aio.Crew) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(CrewdError):
                await self._read_all(crew)

    async def _heard(self, crew: aio.Crew, event: Event) -> None:
        match event.body:
            case ev.AskOpened() as ask:
                self._ask(ask)
            case ev.AskClosed(id=key):
                self._questions.pop(key, None)
                self._answers = {answer: asked for answer, asked in self._answers.items() if asked[0] != key}
                task = self._asked.pop(key, None)
                if task is not None:
                    task.cancel()
            case ev.MessageSettled(id=key, outcome=outcome, note=note, reason=reason) if key in self._unsettled:
                self._unsettled.discard(key)
                answered = self._answers.pop(key, None)
                prompt = self._prompts.pop(key, None)
                if prompt is not None and outcome == Outcome.REFUSED and reason == RefusalReason.ENDED:
                    self._again.append((crew.new_message_id(), *prompt))
                elif outcome != Outcome.DONE:
                    await self._update(said(f"What you said was not taken: {outcome} {note or reason}\n", thought=True))
                    if answered is not None:
                        await self._put_as_text(*answered)
            case ev.TaskEnded() | ev.AttemptReady():
                if isinstance(event.body, ev.TaskEnded) and event.body.error:
                    self._error = f"{event.body.reason}: {event.body.error}"
                await self._look(crew)
                if isinstance(event.body, ev.TaskEnded):
                    await self._tell_result(crew, event.task)
                if len(self._tasks) > 1:
                    await self._update(plan_of(list(self._tasks.values())))
            case ev.TaskRetrying() | ev.NoticeRaised():
                await self._update(said(words(event).strip() + "\n", thought=True))
            case ev.TaskParked():
                await self._update(said(words(event).strip() + "\n", thought=True))
                self._ends(WireFault(INTERNAL_ERROR, f"it is parked: crew retry {self.run} starts it again", {"run": self.run}))
            case ev.RunReopened() | ev.TaskRequeued():
                self._working, self._error = True, ""
                if self._cancel_wanted:
                    await self.cancel()
            case ev.RunEnded(status=status, reason=reason):
                self._working = False
                if status in {RunStatus.CANCELLED, RunStatus.CANCEL_INCOMPLETE}:
                    self._again.clear()  # whoever cancels the turn wants none of it
                    self._ends("cancelled")
                elif status != RunStatus.COMPLETED and not self._unsettled and not self._again:
                    why = self._error or str(reason)
                    self._ends(WireFault(INTERNAL_ERROR, why or status.value, {"run": self.run, "status": status.value}))

    def _ends(self, how: str | WireFault) -> None:
        """The turn has ended so, if one is open."""
        if self._turn is None or self._turn.done():
            return
        if isinstance(how, WireFault):
            self._turn.set_exception(how)
        else:
            self._turn.set_result(how)

    # -- questions ----------------------------------------------------------------------------------------------

    def _ask(self, ask: ev.AskOpened) -> None:
        if ask.id not in self._asked:
            self._asked[ask.id] = asyncio.create_task(self._put_question(ask))

    async def _put_question(self, ask: ev.AskOpened) -> None:
        options = options_of(ask)
        if not options:
            await self._put_as_text(ask.id, ask.question)
            return
        call = {"toolCallId": ask.id, "title": ask.question, "status": "pending", "kind": "other"}
        try:
            reply = await self._wire.ask(
                "session/request_permission", {"sessionId": self.id, "toolCall": call, "options": options}
            )
            outcome = reply.get("outcome")
            answer = outcome.get("optionId") if isinstance(outcome, dict) else None
            if not isinstance(answer, str):
                raise WireFault(INVALID_PARAMS, "no option was selected")
            self._questions[ask.id] = ask.question
            await self._respond(await self._crewd.get(start=False), ask.id, answer)
        except (WireFault, CrewdError) as error:
            await self._update(said(f"The question {ask.id} was not answered: {error}\n", thought=True))
            answers = ", ".join(option["optionId"] for option in options)
            await self._put_as_text(ask.id, f"{ask.question}\n\nThe next prompt answers it: {answers}")

    async def _put_as_text(self, key: str, question: str) -> None:
        """Ask so that the next prompt is the answer: the turn ends, unless the editor has cancelled it."""
        self._questions[key] = question
        if not self._cancelling:
            await self._update(said(f"{question}\n"))
            self._ends("end_turn")

    # -- output -------------------------------------------------------------------------------------------------

    async def _look(self, crew: aio.Crew) -> None:
        """Find the attempts of the run, and how its steps stand."""
        shown = await crew.show(self.run)
        self._tasks = {task.step: task for task in shown.tasks}
        runtimes = {task.id: task.runtime for task in shown.tasks}
        for attempt in shown.attempts:
            stream: Stream = "acts" if runtimes.get(attempt.task) in AGENT_RUNTIMES else "stdout"
            self._sources.setdefault((attempt.task, attempt.epoch), _Source(attempt.task, attempt.epoch, stream))

    async def _read_all(self, crew: aio.Crew) -> None:
        async with self._one:
            for source in list(self._sources.values()):
                while not source.over and await self._read(crew, source):
                    pass

    async def _read(self, crew: aio.Crew, source: _Source) -> bool:
        """Tell what is new of an attempt; whether there may be more."""
        reply = await crew.log(source.task, stream=source.stream, offset=source.offset, epoch=source.epoch)
        source.offset = reply.next
        if source.stream == "acts":
            *lines, source.rest = (source.rest + reply.data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    await self._tell(source, json.loads(line))
        elif reply.data:
            text = source.decoder.decode(reply.data)
            await self._speak(source, said(text))
        source.over = reply.ended and reply.next >= reply.size
        if source.over:
            for call in source.calls:  # the agent ended in the middle of them
                await self._speak(source, {"sessionUpdate": "tool_call_update", "toolCallId": call, "status": "failed"})
            source.calls.clear()
        return reply.next < reply.size

    async def _tell_result(self, crew: aio.Crew, task: str) -> None:
        """What a callable, or a program that speaks to crewd, has returned: agents and commands write what they have to say."""
        step = task.partition("/")[2]
        row = self._tasks.get(step)
        if row is None or row.runtime in {"exec", *AGENT_RUNTIMES} or row.status is not TaskStatus.COMPLETED:
            return
        result = await crew.result(task)
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=1)
        source = self._sources.get((row.id, row.epoch))
        if source is not None and result is not None:
            await self._speak(source, said(clip(text, RESULT_CHARS_MAX) + "\n"))

    async def _tell(self, source: _Source, act: Mapping[str, Any]) -> None:
        update = update_of(act, f"{source.task}#{source.epoch}", self._sent)
        if update is not None:
            call, status = update.get("toolCallId"), update.get("status")
            if isinstance(call, str) and status in {"completed", "failed"}:
                source.calls.pop(call, None)
            elif isinstance(call, str):
                source.calls[call] = None
            await self._speak(source, update)

    async def _speak(self, source: _Source, update: Update) -> None:
        """Tell it; with several steps, who says it first."""
        step = source.task.partition("/")[2]
        if len(self._tasks) > 1 and self._speaker != step:
            self._speaker = step
            await self._update(said(f"**{step}**\n\n"))
        await self._update(update)

    async def _update(self, update: Update) -> None:
        if not self._silent:
            await self._wire.tell("session/update", {"sessionId": self.id, "update": update})

    def _steps(self) -> list[str]:
        return list(self._tasks)

    def _target(self) -> str:
        """Whom a prompt without a step is for: the only step, or the only one that works."""
        live = [step for step, task in self._tasks.items() if task.status not in TASK_TERMINAL and task.started_at is not None]
        if len(self._tasks) == 1:
            return self.run
        if len(live) == 1:
            return f"{self.run}/{live[0]}"
        raise WireFault(INVALID_PARAMS, f"begin with @STEP, one of {', '.join(live or self._tasks)}: several could be meant")
