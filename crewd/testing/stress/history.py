"""Control histories: what a worker is sent and what befalls it, each at a point of its own work. Values, and their text.

A *point* is a call of the worker to its channel: `ctx.progress`, `ctx.safe_point`, `ctx.sleep`, a look at the token and so
on, and each wait inside one. Points are numbered from 1 over the whole history, also across a crash.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence

import msgspec

from crewd.model.errors import UsageError
from crewd.model.reasons import CancelReason

GRACE_SECONDS = 1.0
"""What a cancelled worker gets here, unless it is said otherwise: short, because a stuck one costs all of it."""


class Steer(msgspec.Struct, frozen=True):
    """A steer arrives at this point."""

    at: int
    text: str


class FollowUp(msgspec.Struct, frozen=True):
    """A follow-up arrives at this point."""

    at: int
    text: str


class Cancel(msgspec.Struct, frozen=True):
    """The token fires at this point."""

    at: int
    grace_seconds: float = GRACE_SECONDS
    reason: str = CancelReason.CALLER_CANCELLED


class Crash(msgspec.Struct, frozen=True):
    """The worker's process is killed at this point (SIGKILL), and the worker is started again in the same folder."""

    at: int


Control = Steer | FollowUp | Cancel | Crash


class History(msgspec.Struct, frozen=True):
    """Controls by point, and answers to questions in the order in which they are asked.

    None as an answer is silence. Questions beyond the answers get `yes`, the first choice, or `ok`.
    """

    controls: tuple[Control, ...] = ()
    answers: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        for given in (self.controls, self.answers):
            if not isinstance(given, tuple | list):
                raise UsageError(f"{given!r} is no tuple", hint="History((Cancel(3), Steer(5, 'a')), ('yes',))")
        for control in self.controls:
            if not isinstance(control, Control):
                raise UsageError(f"{control!r} is no control", hint="History((Cancel(3), Steer(5, 'a')), ('yes',))")
            check_control(control)
        if not all(answer is None or isinstance(answer, str) for answer in self.answers):
            raise UsageError("an answer is a text, or None for silence", hint="History((Cancel(3),), ('yes', None))")
        msgspec.structs.force_setattr(self, "controls", tuple(sorted(self.controls, key=lambda control: control.at)))

    @property
    def messages(self) -> bool:
        """Whether it sends anything."""
        return any(isinstance(control, Steer | FollowUp) for control in self.controls)

    @property
    def cancels(self) -> bool:
        """Whether it cancels."""
        return any(isinstance(control, Cancel) for control in self.controls)

    @property
    def crashes(self) -> int:
        """How often it kills the worker."""
        return sum(isinstance(control, Crash) for control in self.controls)

    def __str__(self) -> str:
        words = [text_of(control) for control in self.controls]
        words += ["silence" if answer is None else shlex.quote(f"answer:{_escaped(answer)}") for answer in self.answers]
        return " ".join(words)


def check_control(control: Control) -> None:
    """UsageError for one that says nothing that can be done."""
    if type(control.at) is not int or control.at < 1:
        raise UsageError(f"{control!r} names no point", hint="points are numbered from 1")
    if isinstance(control, Steer | FollowUp) and not isinstance(control.text, str):
        raise UsageError(f"{control!r} has no text", hint=f"{type(control).__name__}({control.at}, 'text')")
    if isinstance(control, Cancel):
        grace, reason = control.grace_seconds, control.reason
        if not isinstance(grace, int | float) or not 0 <= grace < math.inf:
            raise UsageError(f"{control!r}: the grace is {grace!r}", hint="seconds, 0 or more")
        if reason not in set(CancelReason):
            raise UsageError(f"{control!r}: there is no reason {reason!r}", hint=f"one of {', '.join(CancelReason)}")


def default_answer(kind: str, choices: Sequence[str]) -> str:
    """What a question gets when the history has no answer for it: `yes`, `allow`, the first choice, `null`, or `ok`."""
    known = {"confirm": "yes", "permission": "allow", "json": "null", "choose": choices[0] if choices else "ok"}
    return known.get(kind, "ok")


def text_of(control: Control) -> str:
    """As a word of a history."""
    match control:
        case Steer(at, text):
            return shlex.quote(f"steer@{at}:{_escaped(text)}")
        case FollowUp(at, text):
            return shlex.quote(f"follow-up@{at}:{_escaped(text)}")
        case Cancel(at, grace_seconds, reason):
            grace = "" if grace_seconds == GRACE_SECONDS else f"/{grace_seconds:g}"
            return f"cancel@{at}{grace}" + ("" if reason == CancelReason.CALLER_CANCELLED else f":{reason}")
        case Crash(at):
            return f"crash@{at}"


def _escaped(text: str) -> str:
    """For a command line: control characters as backslash and hex."""
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 32 or c in "\x7f\\" else c for c in text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)


def parse(text: str) -> History:
    """The history that `str` wrote: `steer@2:text follow-up@3:text cancel@5/0.5:shutdown crash@4 answer:yes silence`.

    Raises UsageError.
    """
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is no text of a history", hint="for example 'cancel@3 answer:yes'")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the history cannot be read: {error}", hint="quote words that contain spaces") from None
    controls: list[Control] = []
    answers: list[str | None] = []
    for word in words:
        if word == "silence":
            answers.append(None)
        elif word.startswith("answer:"):
            answers.append(_unescaped(word.removeprefix("answer:")))
        else:
            controls.append(_control(word))
    return History(tuple(controls), tuple(answers))


def _control(word: str) -> Control:
    verb, _, rest = word.partition("@")
    place, colon, text = rest.partition(":")
    number, _, grace = place.partition("/")
    try:
        at, seconds = int(number), float(grace or GRACE_SECONDS)
    except ValueError:
        raise UsageError(f"{word!r} has no point", hint="for example cancel@3: at the third point") from None
    match verb:
        case "steer":
            return Steer(at, _unescaped(text))
        case "follow-up":
            return FollowUp(at, _unescaped(text))
        case "cancel":
            return Cancel(at, seconds, text if colon else CancelReason.CALLER_CANCELLED)
        case "crash":
            return Crash(at)
        case _:
            raise UsageError(f"{word!r} is no control", hint=f"there are {', '.join(_KINDS)}")


_KINDS = ("steer@N:TEXT", "follow-up@N:TEXT", "cancel@N", "crash@N", "answer:TEXT", "silence")


def after(history: History, points: int) -> History:
    """What is left of it when a worker has been killed at point `points`: that crash and what came before are over."""
    rest: Iterable[Control] = (c for c in history.controls if c.at > points)
    same = [c for c in history.controls if c.at == points]
    crash = next((index for index, c in enumerate(same) if isinstance(c, Crash)), len(same))
    return History((*same[crash + 1 :], *rest), history.answers)
