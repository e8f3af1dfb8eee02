"""The laws of a good worker, each a predicate over a trial. Pure.

`reference` is the trial of the empty history: what the worker does when nobody interferes.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from crewd.model.quantities import counted
from crewd.testing.stress.history import History
from crewd.testing.stress.stage import POINTS_AFTER_MAX
from crewd.testing.stress.target import looks_temporary
from crewd.testing.stress.trial import Act, File, Trial

LATE = "stops within its grace"
LEFT_OVER = "leaves no temporary file"
RESULT = "<result>"
LOGS = ("*.log",)
"""Files that grow line by line, and whose content is no part of what the worker does."""
LATE_SECONDS = 0.25
"""Beyond its grace, before a worker that stops by itself is late. Such a trial is repeated: the machine may be busy."""


QUESTIONS = frozenset({"ctx.ask", "ctx.confirm", "ctx.permission"})
"""Points where somebody has to answer before the work can go on."""


class WorkerLawBroken(AssertionError):
    """A worker does not keep a law. Its text is the story: what was done to the worker, and what it did."""


class Breach(msgspec.Struct, frozen=True):
    """A law that a trial broke, and how."""

    law: str
    what: str


class Case(msgspec.Struct, frozen=True):
    """What a law looks at. `appends`: see `Target`. `unsteady`: what differs between two undisturbed trials; see there."""

    trial: Trial
    history: History
    reference: Trial | None
    appends: Sequence[str] = ()
    unsteady: frozenset[str] = frozenset()

    @property
    def ends(self) -> bool:
        """Whether the undisturbed worker came to its end, so that this one can be compared with it."""
        return self.reference is not None and self.reference.last.end == "completed"

    @property
    def whole(self) -> dict[str, File]:
        """The files of an undisturbed worker that came to its end; empty if there is no such trial."""
        reference = self.reference
        return reference.files if reference is not None and reference.last.end == "completed" else {}


def _result(case: Case) -> Iterator[str]:
    last = case.trial.last
    if last.end == "failed":
        same = case.reference is not None and case.reference.last.end == "failed" and case.reference.last.error == last.error
        if not same:
            caught = ", after it had caught its cancel" if last.cancel_raised and last.points_ignored else ""
            yield f"it failed{caught}: {last.error or last.reason}"
    elif last.end == "vanished":
        yield "its process ended without a word"
    elif last.end == "stuck" and not last.cancelled_at:
        yield "it was still running when patience was over"


def _grace(case: Case) -> Iterator[str]:
    last = case.trial.last
    if last.points_after > POINTS_AFTER_MAX:
        yield f"it went on after its cancel: {last.points_after} more points"
    elif last.end == "stuck" and last.cancelled_at and last.grace_seconds > 0:
        yield "it did not stop within its grace and was killed"
    elif last.signalled and not last.idle:
        yield f"it did not stop within its grace of {last.grace_seconds:g} s, but only when it was sent TERM"
    elif last.cancelled_at and not last.idle and last.stop_seconds > last.grace_seconds + LATE_SECONDS:
        yield f"it took {last.stop_seconds:.1f} s to stop and had {last.grace_seconds:g} s"
    elif last.cancel_raised and last.end == "completed" and not last.idle:
        if last.points_ignored:
            yield f"it caught its cancel and went on: {last.points_ignored} more points, and then a result"
        else:
            yield from _pretends(case)


def _pretends(case: Case) -> Iterator[str]:
    """It caught its cancel and returned what a whole run returns, without having done it."""
    reference, last = case.reference, case.trial.last
    if not case.ends or reference is None or case.history.messages or case.history.crashes or RESULT in case.unsteady:
        return
    if last.result != reference.last.result:
        return
    missing = [name for name in case.whole if name not in case.trial.files and name not in case.unsteady]
    if missing:
        yield f"it caught its cancel and returned the result of a whole run, without {', '.join(missing)}"
    elif last.result is not None and len(last.points) < len(reference.last.points):
        came = f"at point {len(last.points)} of {len(reference.last.points)}"
        yield f"it caught its cancel {came} and returned the result of a whole run"
    elif last.result is not None and last.points and last.points[-1].call in QUESTIONS and not last.answered:
        yield "it caught its cancel at a question, and returned what it returns when that is answered"


def _taken(case: Case) -> Iterator[str]:
    if case.trial.last.end == "completed":
        for sent in case.trial.acts[-1].sent:
            if sent.delivered and not sent.applied:
                yield f"it returned without taking the {sent.kind.replace('_', '-')} {sent.text!r}, which it had"


def _once(case: Case) -> Iterator[str]:
    applied = case.trial.applied
    if applied is None:
        return
    for sent in case.trial.sent:
        if sent.kind == "steer" and applied.count(sent.text) > 1:
            yield f"the steer {sent.text!r} was carried out {applied.count(sent.text)} times"
        if sent.kind == "steer" and sent.outcome == "done" and sent.text not in applied:
            yield f"the steer {sent.text!r} is reported as done, and was not carried out"


def _processes(case: Case) -> Iterator[str]:
    if case.trial.processes:
        yield "; ".join(case.trial.processes)


def _threads(case: Case) -> Iterator[str]:
    if case.trial.last.threads:
        yield f"{', '.join(case.trial.last.threads)} (a thread that is no daemon keeps the process alive)"


def _temporary(case: Case) -> Iterator[str]:
    left = list(case.trial.temporary)
    if not case.history.crashes:
        usual = case.whole
        given = case.trial.given
        left += [name for name in case.trial.files if looks_temporary(name) and name not in usual and name not in given]
        left += [name for name in _stays(case) if name not in left]
    if left:
        yield ", ".join(left)


def _stays(case: Case) -> Iterator[str]:
    """Files of a cancelled act that no whole run leaves, and that are still there after it was resumed to its end."""
    resumed = case.trial.resumed
    if not case.ends or resumed is None or resumed.end != "completed" or case.history.messages:
        return  # what a message was about may be in a file of its own
    alike = {_shape(name) for name in case.unsteady}
    for name in case.trial.resumed_files:
        left = name in case.trial.files and name not in case.whole and not name.startswith("attempt/")
        if left and _shape(name) not in alike:
            yield name


def _shape(name: str) -> str:
    """The name without what is drawn or counted in it: each start of a worker may have a log of its own."""
    return re.sub(r"[0-9a-f]{4,}|[0-9]+", "#", name)


def left_over(case: Case) -> list[str]:
    """Files of a cancelled act that no whole run leaves, and that saved no work when it was resumed.

    A file in which a worker notes how far it is saves some: resumed, it comes to fewer points than a whole run. That is
    not so after each of its points, so one trial alone proves nothing. Nor does a file that is not written again when the
    worker is resumed: it may have been used as it was.
    """
    resumed, reference = case.trial.resumed, case.reference
    if not case.ends or reference is None or resumed is None or resumed.end != "completed":
        return []
    if case.history.crashes or case.history.messages or len(resumed.points) < len(reference.points):
        return []
    alike = {_shape(name) for name in case.unsteady}
    return [
        name
        for name in case.trial.files
        if name not in case.whole and name.startswith("work/")
        and name not in case.trial.untouched and _shape(name) not in alike
    ]  # fmt: skip


def _halves(case: Case) -> Iterator[str]:
    if case.trial.last.end != "cancelled":
        return
    whole = case.whole
    for name, file in case.trial.files.items():
        if name in whole and not _appended(case, name) and file.begins(whole[name]) and not _goes_on(case, name):
            found = f"{name}: {file.size} bytes, the beginning of the {whole[name].size} that a whole run leaves"
            yield f"{found}{_how_to_append(name)}"


def _goes_on(case: Case, name: str) -> bool:
    """Whether the worker had closed this file when its cancel fired, and has gone on from it when it was resumed.

    It has gone on if it came to the same end by fewer points. What was begun and not finished is open, or is begun again.
    """
    resumed, reference = case.trial.resumed, case.reference
    if resumed is None or reference is None or resumed.end != "completed" or name in case.trial.last.held:
        return False
    after = case.trial.resumed_files.get(name)
    return after is not None and after.sha256 == case.whole[name].sha256 and len(resumed.points) < len(reference.points)


def _appended(case: Case, name: str) -> bool:
    return _matches(name, (*LOGS, *case.appends))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name.rpartition("/")[2], pattern) for pattern in patterns)


def _how_to_append(name: str) -> str:
    return f" (if it is one that grows line by line, as a log does: --appends {name.rpartition('/')[2]})"


def _grows(case: Case, name: str) -> bool:
    """Whether a file that the worker appends to has what was there and then all of a whole run, when it was resumed."""
    before, after, whole = case.trial.files.get(name), case.trial.resumed_files.get(name), case.whole.get(name)
    if before is None or after is None or whole is None or after.size > len(after.head) or not _appended(case, name):
        return False
    return after.head == before.head + whole.head


def _again(case: Case) -> Iterator[str]:
    reference, last, resumed = case.reference, case.trial.last, case.trial.resumed
    if reference is None or reference.last.end != "completed" or case.history.messages or case.history.answers:
        return
    if resumed is not None:
        if resumed.end == "completed":
            yield from _differs(case, reference, resumed, case.trial.resumed_files, "cancel")
        else:
            yield f"resumed after its cancel it came to no result: {resumed.error or resumed.reason or resumed.end}"
    elif case.history.crashes and not case.history.cancels and last.end == "completed":
        yield from _differs(case, reference, last, case.trial.files, "crash")


def _differs(case: Case, reference: Trial, act: Act, files: dict[str, File], what: str) -> Iterator[str]:
    """How an act that followed a crash or a cancel ended in another way than an undisturbed one."""
    if act.result != reference.last.result and RESULT not in case.unsteady:
        yield f"it returned {_short(act.result)} after the {what} and returns {_short(reference.last.result)} without one"
    now = {name: file for name, file in files.items() if not looks_temporary(name)}
    then = {name: file for name, file in reference.files.items() if not looks_temporary(name)}
    alike = {_shape(name) for name in case.unsteady}
    for name in sorted((now.keys() | then.keys()) - case.unsteady):
        if name.startswith("attempt/") or _shape(name) in alike or _matches(name, LOGS):
            continue  # each attempt has a directory of its own, and perhaps files of names of its own
        if name not in now or name not in then:
            yield f"{name} is there {'only without' if name not in now else 'only after'} the {what}"
        elif now[name].sha256 != then[name].sha256 and not (what == "cancel" and _grows(case, name)):
            sizes = f"{counted(now[name].size, 'byte')} after the {what}, {counted(then[name].size, 'byte')} without one"
            grew = what == "cancel" and now[name].size > then[name].size
            yield f"{name} differs: {sizes}{_how_to_append(name) if grew else ''}"


def unsteady(one: Trial, other: Trial) -> frozenset[str]:
    """What differs between two undisturbed trials of a worker: its end cannot be compared in that."""
    names = {name for name in one.files.keys() | other.files.keys() if one.files.get(name) != other.files.get(name)}
    return frozenset(names | ({RESULT} if one.last.result != other.last.result else set()))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


LAWS: dict[str, Callable[[Case], Iterator[str]]] = {
    "reaches a result or a Cancelled": _result,
    LATE: _grace,
    "takes what it was sent": _taken,
    "applies each steer once": _once,
    "leaves no process": _processes,
    "leaves no thread": _threads,
    LEFT_OVER: _temporary,
    "leaves no half-written file": _halves,
    "resumes to the same end": _again,
}
"""By name."""


def breaches(case: Case, without: Sequence[str] = ()) -> list[Breach]:
    """What the trial broke."""
    return [Breach(law, what) for law, look in LAWS.items() if law not in without for what in look(case)]
