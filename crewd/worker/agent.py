"""An agent as a worker: its process, and the machine that says what its records mean (`crewd.agents`).

All that happens is done on one thread, one thing after the other: records that were read, messages and answers that came, times
that are over. The agent's output is read and its input written on threads of their own, so that neither waits for the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crewd.agents import acts as do
from crewd.agents.capabilities import Capabilities
from crewd.agents.faults import PERMANENT, falls_back
from crewd.agents.given import INVENTORY_FILE, inventory_text
from crewd.agents.launch import command_of, ignored_by, machine_of, takes_prompt_file, variables_of
from crewd.agents.models import asked_of
from crewd.agents.prompt import PROMPT_FILE, SOURCES_FILE, SYSTEM_PROMPT_FILE, prompt_of
from crewd.agents.records import is_piece, record_of
from crewd.agents.unanswered import GO_ON, OWN, Unanswered
from crewd.clock import SystemChance, SystemClock
from crewd.model.errors import CrewdError, InvariantError, UsageError
from crewd.model.ids import ASK, IdSource
from crewd.model.json_line import json_line
from crewd.model.limits import CHOICES_MAX, NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason, RefusalReason
from crewd.model.redact import clip
from crewd.model.signals import how_ended
from crewd.protocol.reports import Applied, Asked, AskOver, OpClosed, OpOpened, Outcome, Settled, StopProposed
from crewd.worker.call import completed, text_of, write_output
from crewd.worker.child import LeftBehind
from crewd.worker.file_tree import file_tree
from crewd.worker.line_process import LineProcess
from crewd.worker.program_start import not_started
from crewd.worker.read_file import notes_of, read_file
from crewd.worker.stderr_tail import TAIL_BYTES, known_of, tail_of
from crewd.worker.token import Cancelled
from crewd.worker.transcript import Transcript

if TYPE_CHECKING:
    from crewd.model.agent import Agent
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.protocol.reports import Deliver
    from crewd.worker.context import Context
    from crewd.worker.desk import Desk

LINE_BYTES_MAX = 64 << 20
EVENTS_MAX = 4_096
"""Records that were read and not looked at; while there are so many nothing more is read."""
EXIT_SECONDS = 5.0
"""How long an agent may take to exit when its input has ended."""
RESUMED_SECONDS = 1.0
"""How long a resumed agent waits for a message before it is told to go on."""
TOOLS_MAX = 64
"""Tools that are shown at once."""
NOTE_CHARS = 200
"""Of what the agent says, in its progress."""
FINISH = "You have used up the answers that you may give. Finish now: say what you have, and what is left to do."


class AgentProcess:
    """One agent of a worker: `start`, `wait_until_ready` and `serve`, each once."""

    def __init__(self, bootstrap: Bootstrap, agent: Agent, desk: Desk) -> None:
        self._bootstrap = bootstrap
        self._agent = agent
        self._desk = desk
        self._directory = Path(bootstrap.directory)
        self._transcript = Transcript(self._directory, known_of(bootstrap))
        before = bootstrap.checkpoint if isinstance(bootstrap.checkpoint, Mapping) else {}
        self._session = str(before.get("session", ""))
        self._own = bool(self._session)
        """Whether the session was begun for this task, and not before it."""
        self._given = "" if "contextMode" in ignored_by(agent) else agent.session
        self._session = self._session or self._given
        cost = before.get("cost", 0.0)
        self._cost = float(cost) if isinstance(cost, int | float) else 0.0
        self._goes_on = self._has_spoken = False
        self._unanswered = Unanswered()
        reads = [read_file(Path(bootstrap.shared) / name) for name in bootstrap.reads]
        self._told = prompt_of(
            agent, text=bootstrap.text, goal="" if bootstrap.changed_goal else bootstrap.goal, packet=bootstrap.packet,
            reads=reads, notes=notes_of(agent), tree=file_tree(Path(bootstrap.cwd)) if agent.tree else "",
        )  # fmt: skip
        self._machine = machine_of(agent, self._task())
        self._process: LineProcess | None = None
        self._events: queue.Queue[Callable[[], do.Acts]] = queue.Queue(EVENTS_MAX)
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        """As long as what crewd lets wait for one worker: its messages, and answers to its questions."""
        self._ids = IdSource(SystemClock(), SystemChance())
        self._context: Context | None = None
        self._early: list[do.Act] = []
        self._capabilities: Capabilities | None = None
        self._working = False
        self._asks: dict[str, str] = {}
        self._tools: dict[str, str] = {}
        self._tool_numbers = count(1)
        self._turns = 0
        self._told_to_finish = False
        self._warnings: list[str] = []
        self._stopped: do.Stopped | None = None
        self._over: Outcome | None = None
        self._closing = False

    @property
    def pid(self) -> int:
        """The agent's own process; 0 if it was not started."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it. What goes wrong is its outcome."""
        # On a thread of its own: a signal comes on this one, which may be in the middle of the queue.
        self._desk.token.listen(lambda: self._in_background(lambda: self._put(self._cancel), "cancelled"))
        self._start()

    def _start(self) -> None:
        try:
            prompt = self._prompt_file() if takes_prompt_file(self._agent) else ""
        except OSError as error:  # the disk is full: another try may find room
            why = f"the system prompt cannot be written: {error.strerror}"
            self._over = Outcome(outcome="failed", reason=FailureReason.START_BUSY, error=why)
            return
        argv = command_of(self._agent, prompt, self._session, forks=self._forks)
        os.environ.update(variables_of(self._agent))
        process = self._process = LineProcess(
            argv, known_of(self._bootstrap), LINE_BYTES_MAX, line=lambda line: self._read(process, line), dropped=self._drop,
            closed=lambda: self._put(lambda: self._closed(process)),
        )  # fmt: skip
        try:
            process.start()
        except (OSError, ValueError) as error:
            self._over = not_started(argv, error)
            return
        self._in_background(self._write, "input")
        self._do(self._machine.greet())

    def wait_until_ready(self) -> tuple[str, ...]:
        """Wait until it can be prompted, or has ended: what it takes."""
        while self._over is None and self._capabilities is None:
            self._step()
        return ("steer", "follow_up")

    def serve(self, context: Context) -> Outcome:
        """Give it its task, and serve it to its end: how it ended."""
        self._context = context
        early, self._early = self._early, []
        self._do(early)
        if self._over is None:
            self._begin(context)
            self._in_background(self._hand_over, "messages")
        while self._over is None:
            self._step()
        self._desk.finish()
        outcome = self._over
        self._end_process()
        context.last_progress()
        return outcome

    # -- beginning ----------------------------------------------------------------------------------------------

    def _task(self) -> do.Task:
        order, agent = self._bootstrap, self._agent
        in_file = takes_prompt_file(agent)
        return do.Task(
            cwd=order.cwd or str(Path.cwd()), attempt=f"{order.task}#{order.epoch}", model=asked_of(agent)[0],
            system_prompt="" if in_file else self._told.system_text, replaces_prompt=agent.system_prompt_mode == "replace",
            session=self._session, forks=self._forks, given=not self._own, cost=self._cost,
        )  # fmt: skip

    @property
    def _forks(self) -> bool:
        return self._agent.forks and not self._own and bool(self._session)

    def _prompt_file(self) -> str:
        if not self._told.system_text:
            return ""
        path = self._directory / SYSTEM_PROMPT_FILE
        write_output(path, self._told.system_text.encode())
        return str(path)

    def _keep_prompt(self, context: Context) -> None:
        """Leave what the agent is told, and where each part of it comes from, for people: `crew prompt` shows it."""
        try:
            context.artifact(PROMPT_FILE, self._told.first_text)
            if self._told.system_text:
                context.artifact(SYSTEM_PROMPT_FILE, self._told.system_text)
            context.artifact(SOURCES_FILE, msgspec.json.format(msgspec.json.encode(self._told.sources)))
            context.artifact(INVENTORY_FILE, inventory_text(self._agent, self._bootstrap.worker.hooks))
        except OSError as error:  # the disk is full: that is no reason not to work
            self._warnings.append(f"what it was told could not be kept: {error.strerror}")

    def _begin(self, context: Context) -> None:
        """The task is the first prompt; of a session that goes on, what was sent to it since, or a word to go on."""
        if self._agent.forks and not self._given and not self._own and (self._bootstrap.parent or self._agent.session):
            why = f"{self._agent.runtime} cannot copy one" if self._agent.session else "there is no session to copy"
            self._warn(f"contextMode fork: {why}, and it has begun a new one")
        if not self._goes_on:
            self._keep_prompt(context)
            self._prompt("", self._told.first_text or GO_ON)
            return
        message = self._desk.next_steer(RESUMED_SECONDS) or self._desk.next_follow_up()
        if message is not None:
            self._prompt(message.id, message.text)
        else:
            self._prompt(f"{OWN}go-on", GO_ON)

    # -- events -------------------------------------------------------------------------------------------------

    def _in_background(self, what: Callable[[], object], name: str) -> None:
        threading.Thread(target=what, name=name, daemon=True).start()

    def _put(self, event: Callable[[], do.Acts]) -> None:
        if not self._closing:
            self._events.put(event)

    def _step(self) -> None:
        event = self._events.get()
        try:
            self._do(event())
        except Exception as error:  # noqa: BLE001 (it would wait for ever for the end that this was)
            traceback.print_exc()
            self._over = Outcome(outcome="failed", reason=FailureReason.RAISED, error=f"crewd's side of it: {text_of(error)}")

    def _hear(self, record: Mapping[str, Any]) -> do.Acts:
        """What no agent should say changes nothing."""
        try:
            return self._machine.hear(record)
        except Exception as error:  # noqa: BLE001 (a machine reads what somebody else has written)
            self._transcript.say(f"crewd: a record was not understood: {error!r}")
            return []

    def _read(self, process: LineProcess, line: bytes) -> None:
        """A line of its output, on the thread that reads: what is no record is noise."""
        record = record_of(line)
        if record is None:
            if line.strip():
                self._transcript.say(line.decode("utf-8", "replace"))
            return
        if not is_piece(record):
            self._transcript.keep(line)
        self._put(lambda: self._hear(record) if process is self._process else [])

    def _drop(self, beginning: bytes) -> None:
        self._transcript.say(f"crewd: a record of more than {LINE_BYTES_MAX} bytes was not read: {beginning!r}")

    def _write(self) -> None:
        out, process = self._out, self._process
        while process is not None and (line := out.get()) is not None:
            if not process.write(line):
                return

    def _hand_over(self) -> None:
        while (message := self._desk.wait_for_steer()) is not None:
            self._put(lambda message=message: self._steered(message))  # type: ignore[misc]

    def _steered(self, message: Deliver) -> do.Acts:
        if self._closing:
            return []  # it has no receipt, and its sender is told that it was not delivered
        self._unanswered.give(message.id, message.text)
        self._transcript.say(f"› {message.text}")
        self._transcript.tell("prompt", text=message.text, message=message.id)
        if self._capabilities is None:
            return []  # another process takes the place of the last one: it is told when it is ready
        if not self._working:
            self._working, self._stopped = True, None
            return self._machine.prompt(message.id, message.text)
        return self._machine.steer(message.id, message.text, now=message.now)

    def _prompt(self, key: str, text: str) -> None:
        self._transcript.say(f"› {text}")
        self._transcript.tell("prompt", text=text, message=key)
        self._unanswered.give(key, text)
        self._working, self._stopped = True, None
        self._do(self._machine.prompt(key, text))

    def _closed(self, process: LineProcess | None) -> do.Acts:
        if self._over is None and process is self._process:
            ended = self._without_end()
            if not self._starts_anew(ended.error):
                self._over = ended
        return []

    # -- acts ---------------------------------------------------------------------------------------------------

    def _do(self, acts: do.Acts) -> None:
        for act in acts:
            if self._context is None and not isinstance(act, do.Write | do.Ready | do.Stopped):
                self._early.append(act)
                continue
            try:
                self._perform(act)
            except Cancelled:
                pass  # it has been told, and what it says is no more of interest but its end
            except CrewdError as error:
                self._transcript.say(f"crewd: {error}")

    def _perform(self, act: do.Act) -> None:
        match act:
            case do.Write(record):
                data = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
                self._out.put(json_line(data.encode("utf-8", "replace")))
            case do.Ready(capabilities, session, software, goes_on):
                self._capabilities, self._goes_on = capabilities, goes_on and self._own
                self._transcript.say(f"crewd: {software or capabilities.runtime} is ready")
                if self._context is None:
                    self._early.append(do.Session(session))
                else:  # it has taken the place of another one
                    self._session = session or self._session
                    self._tell_again()
            case do.Session(session):
                self._session = session or self._session
            case do.Applied() | do.Done() | do.Refused():
                self._has_message(act)
            case do.Spent(turns, tokens, cost):
                self._turns += turns
                self._cost += cost
                self._the_context.usage(turns=turns, tokens=tokens, cost=cost)
                if turns:
                    self._spoke()
            case do.Said(text, thought):
                self._spoke()
                self._transcript.tell("thought" if thought else "text", text=text)
                if not thought:
                    self._transcript.say(text)
                    self._the_context.progress(note=clip(" ".join(text.split()), NOTE_CHARS), phase="text")
            case do.ToolBegan():
                self._tool_began(act)
            case do.ToolEnded():
                self._tool_ended(act)
            case do.Noted(what, text):
                self._transcript.say(f"[{what}] {text}")
                self._transcript.tell("note", about=what, text=text)
                self._the_context.progress(note=clip(text, NOTE_CHARS), phase=what)
                if what == "warning":
                    self._warn(text)
            case do.Ask():
                self._ask(act)
            case do.Unask(key):
                ask = self._asks.pop(key, "")
                if ask:
                    self._desk.close_ask(ask)
            case do.After(seconds, what):
                timer = threading.Timer(seconds, lambda: self._put(lambda: self._machine.due(what)))
                timer.daemon = True
                timer.start()
            case do.Stopped():
                self._has_stopped(act)

    @property
    def _the_context(self) -> Context:
        if self._context is None:
            raise InvariantError("an act came before the context")
        return self._context

    def _has_message(self, act: do.Applied | do.Done | do.Refused) -> None:
        """How far the agent is with a message: its receipt says so."""
        self._unanswered.note(act)
        if not act.id or act.id.startswith(OWN):
            return
        if isinstance(act, do.Applied):
            self._desk.report(Applied(id=act.id))
        elif isinstance(act, do.Done):
            self._desk.report(Settled(id=act.id, outcome="done"))
        else:
            note = clip(act.note, NOTE_CHARS_MAX)
            self._desk.report(Settled(id=act.id, outcome="refused", reason=act.reason, note=note))

    def _warn(self, text: str) -> None:
        if text not in self._warnings and len(self._warnings) < TOOLS_MAX:
            self._warnings.append(clip(text, NOTE_CHARS_MAX))

    def _spoke(self) -> None:
        """The model has answered. Before that some agents keep nothing of a session, and there is nothing to go on with."""
        if not self._has_spoken:
            self._has_spoken = self._own = True
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self._session:
            try:
                self._the_context.checkpoint({"session": self._session, "runtime": self._agent.runtime, "cost": self._cost})
            except UsageError as error:
                self._warn(f"its session is not kept: {error.message}")

    def _tool_began(self, tool: do.ToolBegan) -> None:
        self._spoke()
        self._bound_turns()
        shown = f"{tool.name}: {tool.preview}" if tool.preview else tool.name
        self._transcript.say(f"[tool] {shown}")
        self._transcript.tell("tool", id=tool.id, name=tool.name, preview=tool.preview)
        self._the_context.progress(note=clip(shown, NOTE_CHARS), phase="tool")
        if len(self._tools) < TOOLS_MAX:
            key = self._tools[tool.id] = f"{self._bootstrap.task}#{self._bootstrap.epoch}:tool{next(self._tool_numbers)}"
            self._desk.report(OpOpened(id=key, kind="tool", name=clip(shown, 256)))

    def _tool_ended(self, tool: do.ToolEnded) -> None:
        self._transcript.tell("tool_ended", id=tool.id, outcome=tool.outcome, text=clip(tool.text, NOTE_CHARS_MAX))
        if tool.outcome != "done":
            self._transcript.say(f"[tool] {tool.outcome}: {clip(tool.text.strip(), NOTE_CHARS_MAX)}")
        key = self._tools.pop(tool.id, None)
        if key is not None:
            reason = "" if tool.outcome == "done" else clip(" ".join(tool.text.split()), NOTE_CHARS)
            self._desk.report(OpClosed(id=key, outcome=tool.outcome, reason=reason))

    def _bound_turns(self) -> None:
        """It goes on after an answer: an agent that has given as many as it may is told to finish, and ended if it does not."""
        most, capabilities = self._agent.turns, self._capabilities
        if not most or self._turns < most or capabilities is None or self._over is not None:
            return
        if self._turns >= most + self._agent.turns_grace:
            self._over = Outcome(
                outcome="failed", reason=FailureReason.LIMIT, error_class=PERMANENT,
                error=f"the agent has given {self._turns} answers; it may give {most}, and {self._agent.turns_grace} to finish",
            )  # fmt: skip
        elif not self._told_to_finish:
            self._told_to_finish = True
            now = capabilities.steer == "interrupt"  # else it would hear of it when it has finished by itself
            self._do(self._machine.steer(f"{OWN}finish", FINISH, now=now))

    # -- questions ----------------------------------------------------------------------------------------------

    def _ask(self, ask: do.Ask) -> None:
        if ask.permission and self._agent.permissions != "ask":
            self._transcript.say(f"[permission] {self._agent.permissions}: {ask.question}")
            self._do(self._machine.answer(ask.key, self._agent.permissions))
            return
        choices = tuple(choice for choice in ask.choices if clip(choice, NOTE_CHARS_MAX) == choice)[:CHOICES_MAX]
        if len(choices) < len(ask.choices):
            self._warn(f"of {len(ask.choices)} choices of a question {len(choices)} can be chosen")
        kind = "text" if ask.kind == "choose" and not choices else ask.kind
        key = self._ids.next(ASK)
        self._asks[ask.key] = key
        self._desk.open_ask(key)
        self._desk.report(
            Asked(id=key, question=clip(ask.question, NOTE_CHARS_MAX), kind=kind, choices=choices, timeout_seconds=ask.seconds)
        )
        self._transcript.say(f"? {ask.question}")
        self._transcript.tell("ask", id=key, text=ask.question)
        self._in_background(lambda: self._wait_for_answer(ask, key), "ask")

    def _wait_for_answer(self, ask: do.Ask, key: str) -> None:
        answer = self._desk.wait_answer(key, ask.seconds)
        self._put(lambda: self._answered(ask, key, answer))

    def _answered(self, ask: do.Ask, key: str, answer: Deliver | None) -> do.Acts:
        """An answer has come, or none: it is one only if the agent still waits for it."""
        waits = self._asks.get(ask.key) == key
        if waits:
            del self._asks[ask.key]
        if answer is None or not waits:
            if answer is not None:
                self._desk.report(Settled(id=answer.id, outcome="refused", reason=RefusalReason.NO_SUCH_ASK))
            cancelled = not waits or self._desk.token.cancelled
            self._desk.report(AskOver(id=key, outcome="cancelled" if cancelled else "expired"))
            return self._machine.answer(ask.key, None) if waits else []
        self._desk.report(Applied(id=answer.id))
        self._desk.report(AskOver(id=key, outcome="answered", answered_by=answer.id))
        self._desk.report(Settled(id=answer.id, outcome="done"))
        return self._machine.answer(ask.key, answer.text)

    # -- ends ---------------------------------------------------------------------------------------------------

    def _starts_anew(self, why: str) -> bool:
        """An agent that cannot go on with its session is started again without it, once."""
        if self._capabilities is not None or not self._session or self._desk.token.cancelled or self._process is None:
            return False
        what = "copied" if self._forks else "gone on with"
        self._transcript.say(f"crewd: the session {self._session} cannot be {what}: {why}")
        self._warn(f"its session could not be {what}; it has begun a new one")
        if not self._own:
            self._agent, self._given = msgspec.structs.replace(self._agent, forks=False), ""
        self._session, self._own, self._cost = self._given, False, 0.0
        self._replace_process()
        return True

    def _replace_process(self) -> None:
        """End the agent's process and start another one, which has heard nothing."""
        self._capabilities = None
        self._machine = machine_of(self._agent, self._task())
        old, self._process = self._process, None
        self._out.put(None)
        if old is not None:
            old.close_input()
            if old.child is not None and not old.has_exited(EXIT_SECONDS):
                old.child.signal_group(signal.SIGKILL)
        self._out = queue.SimpleQueue()
        self._start()

    def _falls_back(self, error: str) -> bool:
        """The next model goes on with what the last one could not do, if there is one and the error is of that kind."""
        models = [model for model in dict.fromkeys(self._agent.fallback_models) if model != self._agent.model]
        if not models or self._context is None or self._desk.token.cancelled or not falls_back(error):
            return False
        failed = self._agent.model or "the agent's own model"
        text = f"{failed} has failed, and {models[0]} goes on: {error}"
        self._perform(do.Noted("warning", clip(text, NOTE_CHARS_MAX)))
        self._agent = msgspec.structs.replace(self._agent, model=models[0], fallback_models=tuple(models[1:]))
        if not self._has_spoken and not self._goes_on:
            # Some agents keep nothing of a session in which nobody has answered.
            self._session, self._own = self._given, False
        self._replace_process()
        return True

    def _tell_again(self) -> None:
        """The agent is another process: it is told what the last one has not answered, or to go on."""
        first, *others = self._unanswered.again(self._told.first_text, goes_on=self._goes_on)
        self._prompt(*first)
        for key, text in others:
            self._do(self._machine.steer(key, text, now=False))

    def _has_stopped(self, stopped: do.Stopped) -> None:
        self._working = False
        if stopped.state == "failed" and (self._starts_anew(stopped.error) or self._falls_back(stopped.error)):
            return
        if stopped.state == "completed":
            self._do(self._unanswered.stopped())
        self._stopped = stopped
        for key in list(self._tools):
            self._tool_ended(do.ToolEnded(key, "cancelled", "it had not ended when the agent stopped"))
        for warning in stopped.warnings:
            self._warn(warning)
        if self._has_spoken:
            self._checkpoint()
        token = self._desk.token
        if token.cancelled:
            self._over = Outcome(outcome="cancelled", reason=token.reason)
        elif stopped.state == "completed":
            self._in_background(self._offer_more, "idle")
        else:
            error = stopped.error or "the agent has broken off its work by itself"
            self._over = Outcome(
                outcome="failed", reason=FailureReason.RAISED, error=clip(error, NOTE_CHARS_MAX),
                error_class=stopped.error_class, warnings=tuple(self._warnings),
            )  # fmt: skip

    def _offer_more(self) -> None:
        """It would stop: hand over what waits, or tell it that nothing does. A steer on its way goes on with it, too."""
        with contextlib.suppress(Cancelled):  # it has been told
            while not self._working and self._over is None:
                message = self._desk.next_follow_up()
                if message is not None:
                    self._put(lambda message=message: self._steered(message))  # type: ignore[misc]
                    return
                self._desk.propose()
                self._desk.report(StopProposed())
                if self._desk.wait_verdict():
                    self._put(self._granted)
                    return

    def _granted(self) -> do.Acts:
        """Nothing will come any more: the agent's last answer is the result."""
        if self._working or self._stopped is None or self._over is not None:
            return []
        if not self._stopped.text.strip():
            self._warn("empty_result: the agent has said nothing at its end")
        self._over = completed(self._stopped.text, self._bootstrap, tuple(self._warnings))
        return []

    def _without_end(self) -> Outcome:
        """Its process has ended, or its output has, and it has not said how its work ended."""
        token = self._desk.token
        if token.cancelled:
            return Outcome(outcome="cancelled", reason=token.reason)
        if self._stopped is not None and self._stopped.state == "completed":
            self._warn("the agent's process ended while it waited for more to do")
            return completed(self._stopped.text, self._bootstrap, tuple(self._warnings))
        child = None if self._process is None else self._process.child
        code = None if child is None else child.code
        how = how_ended(code)
        if self._process is not None:
            self._process.wait_for_errors()
        tail = tail_of(self._directory / "stderr", TAIL_BYTES, known_of(self._bootstrap))
        when = "before it was ready" if self._capabilities is None else "and it has not said how its work ended"
        return Outcome(
            outcome="failed", reason=FailureReason.NO_END, exit_code=code,
            error=clip(f"{how}, {when}: {tail}" if tail else f"{how}, {when}", NOTE_CHARS_MAX),
        )  # fmt: skip

    def _cancel(self) -> do.Acts:
        if self._context is None:
            self._over = Outcome(outcome="cancelled", reason=self._desk.token.reason)
            return []
        self._in_background(self._press, "cancel")
        return self._machine.cancel()

    def _press(self) -> None:
        """An agent that does not stop in half of its grace gets TERM, and then what crewd does with every worker."""
        child = None if self._process is None else self._process.child
        if child is not None and not child.has_exited(self._desk.token.remaining() / 2):
            child.signal_group(signal.SIGTERM)

    def _end_process(self) -> None:
        """End its input and wait for its exit; what it leaves behind is ended with it."""
        self._closing = True
        with contextlib.suppress(queue.Empty):  # who waits to put something goes on: the agent's output is read to its end
            while True:
                self._events.get_nowait()
        for ask in self._asks.values():
            self._desk.report(AskOver(id=ask, outcome="cancelled"))
            self._desk.close_ask(ask)
        self._asks.clear()
        self._out.put(None)
        process, token = self._process, self._desk.token
        if process is None or process.child is None:
            return
        process.close_input()
        if not process.has_exited(min(EXIT_SECONDS, token.remaining() / 2) if token.cancelled else EXIT_SECONDS):
            process.child.signal_group(signal.SIGTERM)
            process.has_exited(token.remaining() if token.cancelled else EXIT_SECONDS)
        process.wait_for_errors()
        left = LeftBehind(process.child)
        left.terminate()
        if token.cancelled:
            left.wait(token)
