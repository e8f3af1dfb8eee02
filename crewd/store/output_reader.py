"""Answers what people ask about the output of workers, on a thread of its own: a guardian that hangs holds up nobody else.

Tests: tests/client/cli/test_logs.py, tests/hostile/test_hangs.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

from crewd.actors import Lane, Ref
from crewd.model.agent import AGENT_FILES, AGENT_RUNTIMES
from crewd.model.errors import CrewdError, NotFound, Unavailable, UsageError
from crewd.model.limits import LOG_CHUNK_BYTES_MAX, ROWS_MAX
from crewd.model.redact import SECRET_CHARS_MAX, blot
from crewd.model.rows import AttemptRow, RunRow, TaskRow
from crewd.model.statuses import ATTEMPT_TERMINAL, TASK_TERMINAL
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.files import OutputStream, Piece
from crewd.protocol.reports import RESULT_FILES
from crewd.store.fold import attempt_key
from crewd.store.follower import Follower
from crewd.store.library import Library
from crewd.store.messages import Answer, Flushed, Read, ToStore
from crewd.store.outputs import Outputs
from crewd.store.overlay import Overlay
from crewd.store.ports import Reading
from crewd.store.run_files import NOTHING, AskFiles, RunFiles

AROUND_BYTES = SECRET_CHARS_MAX
AGAIN_SECONDS = 0.5
"""Until what could not be answered truly is tried again."""


class OutputReader(Follower[Read]):
    """Answers `Read` of a `ReadLog` whose `task` is an id. Decides nothing."""

    def __init__(
        self, open_reader: Callable[[], Reading], overlay: Overlay, store: Callable[[], Ref[ToStore] | None], ask: AskFiles,
        archive: Path,
    ) -> None:  # fmt: skip
        super().__init__(overlay, store)
        self._open = open_reader
        self._files = RunFiles(ask)
        self._archive = archive

    def on_start(self) -> None:
        """Open the connection."""
        self._library = Library(self._open(), self._archive)
        self._outputs = Outputs(self._library, self._files)

    def on_stop(self) -> None:
        """Close it."""
        if hasattr(self, "_library"):
            self._library.close()

    def receive(self, message: Flushed | Read) -> None:
        """Answer; what the caller asked wrongly is an answer too."""
        match message:
            case Flushed(stale):
                self.flushed(stale=stale)
            case Read():
                self.when_flushed(lambda: self._reply(message))
            case _:
                self.unexpected(message)

    def _reply(self, message: Read) -> None:
        if self.stale:
            self.context.after(AGAIN_SECONDS, message)
            return
        reply: rl.Reply | CrewdError
        try:
            if not isinstance(message.request, rq.ReadLog):
                raise UsageError(f"{type(message.request).__name__} is no question about output")
            reply = self.log(message.request)
        except CrewdError as error:
            reply = error
        except Exception as error:  # noqa: BLE001 (whatever a file holds, its answer is an error, and not our end)
            reply = Unavailable(f"this cannot be answered: {type(error).__name__}: {error}", hint="crew doctor --check")
        message.reply_to.offer(Answer(message.token, reply), lane=Lane.CONTROL)

    def log(self, request: rq.ReadLog) -> rl.LogReply:
        """A piece of output. Raises NotFound, UsageError for a run of several steps, or Unavailable."""
        task = self._task(request.task)
        attempt = self._library.row(AttemptRow, attempt_key(task.id, request.epoch or task.epoch))
        if attempt is None:
            return rl.LogReply(data=b"", offset=0, next=0, size=0, ended=task.status in TASK_TERMINAL)
        # Looked at before the file is read: what an ended worker has written is all there.
        ended = attempt.status in ATTEMPT_TERMINAL and (request.epoch > 0 or task.status in TASK_TERMINAL)
        limit = min(request.limit, LOG_CHUNK_BYTES_MAX)
        name: str = request.stream
        offset = request.offset
        if name in AGENT_FILES and task.runtime not in AGENT_RUNTIMES:
            raise UsageError(
                f"{task.id} is no agent, and only of an agent {name} are kept", hint="its output is stdout and stderr"
            )
        name = AGENT_FILES.get(name, name)
        stream: OutputStream = "stderr" if name == "stderr" else "stdout"
        marks = self._outputs.marks(attempt, stream) if name in {"stdout", "stderr"} else ()
        if request.since:
            before = [at for at, written_at in marks if written_at < request.since]
            offset = max(offset, before[-1] if before else 0)
        if request.stream == "result":  # the name of the file is the worker's word; where it is, is not
            offset, path = max(0, offset), PurePath(attempt.result_path)
            if path.name not in RESULT_FILES or path.parent != PurePath(attempt.directory):
                raise NotFound(f"{task.id} has no result that is kept as a file")
            name = path.name
        begin = max(0, offset - AROUND_BYTES) if offset >= 0 else offset - AROUND_BYTES
        # A secret may begin before what is asked for, and end after it.
        around = self._outputs.output(attempt, name, begin, limit + 2 * AROUND_BYTES)
        if around is None and ended and attempt.pid and name in {"stdout", "stderr"}:  # both were made when it was started
            raise NotFound(
                f"the {name} of {task.id} is not here any more", hint="it was deleted, or replaced by a link or a pipe"
            )
        around = around or NOTHING
        piece = _within(around, offset, limit)
        at = piece.offset - around.offset
        masked = blot(around.data)[at : at + len(piece.data)]
        return rl.LogReply(
            data=masked, offset=piece.offset, next=piece.offset + len(piece.data), size=piece.size, ended=ended,
            epoch=attempt.epoch, times=_marks_of(marks, piece),
        )  # fmt: skip

    def _task(self, target: str) -> TaskRow:
        """The task of this id, or the only one of this run."""
        run, _, step = target.partition("/")
        row = self._library.row(RunRow, run)
        tasks = self._library.rows_of(TaskRow, run, ROWS_MAX)
        chosen = [task for task in tasks if task.id == target or not step]
        if row is None or not chosen:
            raise NotFound(f"there is no {target} any more")
        if len(chosen) > 1:
            steps = ", ".join(task.step for task in chosen)
            raise UsageError(f"run {row.name} has several logs", hint=f"name one: {row.name}/STEP of {steps}")
        return chosen[0]


def _within(around: Piece, offset: int, limit: int) -> Piece:
    """What was asked for, out of what was read around it."""
    offset = min(around.size, offset if offset >= 0 else max(0, around.size + offset))
    offset = max(offset, around.offset)
    at = offset - around.offset
    return Piece(around.data[at : at + limit], offset, around.size)


def _marks_of(marks: tuple[tuple[int, float], ...], piece: Piece) -> tuple[tuple[int, float], ...]:
    """The marks that tell when the bytes of a piece were written: those within it, and the first one after it."""
    end = piece.offset + len(piece.data)
    within = [mark for mark in marks if piece.offset < mark[0] < end]
    return (*within, *next(([mark] for mark in marks if mark[0] >= end), []))
