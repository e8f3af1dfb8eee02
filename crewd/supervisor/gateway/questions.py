"""What the gateway asks the reader and the keeper, each question with what is done with its answer.

Rule: an answer of the wrong kind is an error for the caller, and ends no actor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, get_args

import msgspec

from crewd.actors import Ref
from crewd.model.errors import Busy, CrewdError, DeadlineExceeded, InvariantError, Unavailable
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Answer, Keep, Read, Resolve, Resolved, Stand, Standing
from crewd.supervisor.commands import ToGuardian
from crewd.supervisor.directory import GUARDIAN, KEEPER, OUTPUT, READER, Part

if TYPE_CHECKING:
    from crewd.protocol.keeping import KeepRequest
    from crewd.supervisor.directory import Directory

PENDING_MAX = 20_000
"""Questions under way; the next one is refused as busy."""
EXAMINE_SECONDS = 3.0
"""Until the guardian must have said what is on the machine."""
EXAMINES_SINCE = 2
"""The version of a guardian that can be asked for that."""
AGAIN_SECONDS = 0.2
"""Until the reader is asked again what it could not take."""

REPLIES: Final[tuple[type[rl.Reply], ...]] = get_args(rl.Reply)
M = TypeVar("M")
R = TypeVar("R")
Failed = Callable[[CrewdError], None]


class _Open(Protocol):
    """A question that waits for its answer."""

    def answer(self, reply: object) -> None:
        """Do what was to be done with it."""
        ...


class _Question(msgspec.Struct, Generic[R], frozen=True):
    kinds: tuple[type[R], ...]
    then: Callable[[R], None]
    failed: Failed

    def answer(self, reply: object) -> None:
        """Hand it on if it is of the kind that was asked for. What `then` refuses has failed, too."""
        try:
            if isinstance(reply, CrewdError):
                raise reply
            if not isinstance(reply, self.kinds):
                raise InvariantError(f"the answer is a {type(reply).__name__}, which nobody has asked for")
            self.then(reply)
        except CrewdError as error:
            self.failed(error)


class Questions:
    """The questions under way. `later` calls a function after some seconds, in a turn of the gateway."""

    def __init__(
        self, directory: Directory, me: Callable[[], Ref[Answer]], later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._directory = directory
        self._me = me
        self._later = later
        self._open: dict[int, _Open] = {}
        self._looks: dict[int, _Question[gd.Examined]] = {}
        """Questions to the guardian. Its answer may be to the gateway before this one, which has used the same numbers."""
        self._last = 0

    def read(
        self, request: rq.Request, kind: type[R], then: Callable[[R], None], failed: Failed, *, owner: str = ""
    ) -> int:  # fmt: skip
        """Ask the reader. Returns the question's number. Raises Busy or Unavailable."""
        return self._ask(READER, Read(request, self._me(), self._last + 1, owner), _Question((kind,), then, failed))

    def read_reply(self, request: rq.Request, then: Callable[[rl.Reply], None], failed: Failed, *, owner: str) -> int:
        """Ask the reader for the reply to a request; one that says that it is stale is better than none. Raises as `read`."""
        ask = Read(request, self._me(), self._last + 1, owner, stale_ok=True)
        return self._ask(READER, ask, _Question(REPLIES, then, failed))

    def read_output(self, request: rq.ReadLog, then: Callable[[rl.Reply], None], failed: Failed, *, owner: str) -> int:
        """Ask the output reader. Raises as `read` does."""
        return self._ask(OUTPUT, Read(request, self._me(), self._last + 1, owner), _Question(REPLIES, then, failed))

    def keep(
        self, request: KeepRequest | rq.Doctor, then: Callable[[rl.Reply], None], failed: Failed, *, owner: str, force: bool
    ) -> int:
        """Ask the keeper for something that takes long. Raises as `read` does."""
        ask = Keep(request, self._me(), self._last + 1, owner, force=force)
        return self._ask(KEEPER, ask, _Question(REPLIES, then, failed))

    def resolve(self, selector: str, then: Callable[[Resolved], None], failed: Failed) -> int:
        """Ask what a selector means. Raises Busy or Unavailable."""
        return self._ask(READER, Resolve(selector, self._me(), self._last + 1), _Question((Resolved,), then, failed))

    def stand(self, run: str, then: Callable[[Standing], None], failed: Failed, *, attempts: bool) -> int:
        """Ask how a run stands; see `Stand`. Raises Busy or Unavailable."""
        return self._ask(READER, Stand(run, attempts, self._me(), self._last + 1), _Question((Standing,), then, failed))

    def examine(self, then: Callable[[gd.Examined], None], failed: Failed) -> None:
        """Ask the guardian what is on the machine. Raises Unavailable if there is none that knows the question."""
        guardian = self._directory.guardian
        if guardian is None or guardian.version < EXAMINES_SINCE:
            raise Unavailable("no guardian is attached that can look at the machine", hint="see guardian.log")
        if len(self._looks) >= PENDING_MAX:
            raise Busy("too many questions at once", hint="try again")
        self._last += 1
        number = self._last
        self._tell(GUARDIAN, ToGuardian(gd.Examine(number)))
        self._looks[number] = _Question((gd.Examined,), then, failed)
        late = DeadlineExceeded(f"the guardian has not looked at the machine within {EXAMINE_SECONDS:g} s")
        self._later(EXAMINE_SECONDS, lambda: self.examined(number, late))

    def examined(self, number: int, reply: gd.Examined | CrewdError) -> None:
        """What the guardian has found; only the first answer to a question counts."""
        question = self._looks.pop(number, None)
        if question is not None:
            question.answer(reply)

    def surely(self, ask: Callable[[], object]) -> None:
        """Ask what nobody will ask again; if it cannot be taken now, soon."""
        try:
            ask()
        except CrewdError:
            self._later(AGAIN_SECONDS, lambda: self.surely(ask))

    def answered(self, number: int, reply: object) -> None:
        """The answer to a question; only the first one counts."""
        question = self._open.pop(number, None)
        if question is not None:
            question.answer(reply)

    def _ask(self, part: Part[M], message: M, question: _Open) -> int:
        if len(self._open) >= PENDING_MAX:
            raise Busy("too many questions at once", hint="try again")
        self._tell(part, message)
        self._last += 1
        self._open[self._last] = question
        return self._last

    def _tell(self, part: Part[M], message: M) -> None:
        if not self._directory.part(part).offer(message):
            raise Busy(f"the {part.name} has too much to do", hint="try again")
