"""A trial as a story for people: what was done to the worker, at which of its lines, and what it did.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from crewd.model.quantities import counted
from crewd.testing.stress.history import Cancel, Control, Crash, FollowUp, History, Steer, text_of
from crewd.testing.stress.laws import Breach
from crewd.testing.stress.trial import Act, Trial

ASKED_SHOWN = 8
"""Questions that a story tells of each start of the worker: the last ones."""


def tell(name: str, args: dict[str, object], history: History, trial: Trial, breach: Breach, again: str) -> str:
    """The story. `again` is what does the same once more."""
    given = ", ".join(f"{key}={value!r}" for key, value in args.items())
    lines = [
        f"{name} breaks a law of good workers: {breach.law}",
        "",
        f"  {name.partition(':')[2]}({given}) starts in a fresh folder",
    ]
    lines += [f"  {line}" for line in _acts(history, trial)]
    lines += ["", f"  {breach.law}: {breach.what}"]
    if trial.output.strip():
        lines += ["", "  its output ended with:", *(f"    {line}" for line in trial.output.strip().splitlines()[-12:])]
    return "\n".join([*lines, "", f"  again: {again}"])


def command_of(name: str, args: dict[str, object], history: History, flags: Sequence[str]) -> str:
    """The `crew stress` that does this history once more."""
    command = ["crew", "stress", name]
    for key, value in args.items():
        command += ["--arg", f"{key}={msgspec.json.encode(value).decode()}"]
    return " ".join([shlex.join(command), "--history", _quoted(str(history)), *map(shlex.quote, flags)])


def nothing_came_of(history: History, trial: Trial) -> list[str]:
    """What of the history did nothing to the worker, and why, a sentence for each."""
    points, answered = len(trial.points), sum(act.answered for act in trial.acts)
    idle = [
        f"Nothing came of {text_of(each)}: the worker came to {points} points." for each in history.controls if each.at > points
    ]
    idle += [
        f"Nothing came of {sent.kind}@{sent.at}: it was refused ({sent.reason})."
        for sent in trial.sent
        if sent.outcome == "refused" and not sent.delivered
    ]
    unused = len(history.answers) - answered
    if unused > 0:
        idle.append(f"Nothing came of {counted(unused, 'answer')}: the worker asked {counted(answered, 'question')}.")
    return idle


def _quoted(text: str) -> str:
    """For a shell, in the quotes that are easier to read: a history's own are single ones."""
    return shlex.quote(text) if any(c in text for c in '"$`\\!') or " " not in text else f'"{text}"'


def _acts(history: History, trial: Trial) -> list[str]:
    where = {point.number: (point.call, point.where) for point in trial.points}
    lines: list[str] = []
    before = 0
    for act in trial.acts:
        last = before + len(act.points)
        for control in history.controls:
            if before < control.at <= last and not (act.cancelled_at and control.at > act.cancelled_at):
                call, line = where.get(control.at, ("", ""))
                lines.append(f"at point {control.at}{_at(call, line)} {_done(control)}")
        for asked in act.asked[-ASKED_SHOWN:]:
            answer = "nobody answers" if asked.answer is None else f"the answer is {asked.answer[:60]!r}"
            lines.append(f"after point {asked.at} it asks {asked.text[:60]!r}: {answer}")
        lines.append(_end(act))
        if act.stack:
            lines += ["it was here:", *(f"  {line.strip()}" for line in act.stack.splitlines()[:8])]
        if act.end == "crashed":
            lines.append("it is started again in the same folder")
        before = last
    lines += [f"point {control.at} is not reached" for control in history.controls if control.at > before]
    if trial.resumed is not None:
        lines += ["it is resumed in the same folder", _end(trial.resumed)]
    return lines


def _at(call: str, line: str) -> str:
    words = ", ".join(word for word in (call, line) if word)
    return f" ({words})" if words else ""


def _done(control: Control) -> str:
    match control:
        case Steer(_, text):
            return f"it is sent the steer {text[:60]!r}"
        case FollowUp(_, text):
            return f"it is sent the follow-up {text[:60]!r}"
        case Cancel(_, grace_seconds, reason):
            return f"it is cancelled ({reason}, {grace_seconds:g} s of grace)"
        case Crash():
            return "its process is killed"


def _end(act: Act) -> str:
    match act.end:
        case "crashed":
            return "the process is gone"
        case "stuck":
            return "it does not end; it is killed"
        case "vanished":
            return "its process ends without a word"
        case "cancelled":
            idle = " because nobody sent anything any more" if act.idle else ""
            return f"it ends as cancelled{idle}, {act.stop_seconds:.2f} s later"
        case "failed":
            return f"it fails: {act.error or act.reason}"
        case _:
            return "it returns its result"
