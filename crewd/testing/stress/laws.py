"""The laws of a good worker, each a predicate over a trial. Pure.

`reference` is the trial of the empty history: what the worker does when nobody interferes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crewd.testing.stress.apart import SLACK_SECONDS
from crewd.testing.stress.history import History
from crewd.testing.stress.stage import POINTS_AFTER_MAX
from crewd.testing.stress.target import looks_temporary
from crewd.testing.stress.trial import File, Trial


class WorkerLawBroken(AssertionError):
    """A worker does not keep a law. Its text is the story: what was done to the worker, and what it did."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A law that a trial broke, and how."""

    law: str
    what: str


@dataclass(frozen=True, slots=True)
class Case:
    """What a law looks at. `appends`: see `Target`."""

    trial: Trial
    history: History
    reference: Trial | None
    appends: Sequence[str] = ()

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
            yield f"it failed: {last.error or last.reason}"
    elif last.end == "vanished":
        yield "its process ended without a word"
    elif last.end == "stuck" and not last.cancelled_at:
        yield "it was still running when patience was over"


def _grace(case: Case) -> Iterator[str]:
    last = case.trial.last
    if last.points_after > POINTS_AFTER_MAX:
        yield f"it went on after its cancel: {last.points_after} more points"
    elif last.end == "stuck" and last.cancelled_at:
        yield "it did not stop within its grace and was killed"
    elif last.cancelled_at and not last.idle and last.stop_seconds > last.grace_seconds + SLACK_SECONDS:
        yield f"it took {last.stop_seconds:.1f} s to stop and had {last.grace_seconds:g} s"


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
        left += [name for name in case.trial.files if looks_temporary(name) and name not in usual]
    if left:
        yield ", ".join(left)


def _halves(case: Case) -> Iterator[str]:
    if case.trial.last.end != "cancelled":
        return
    whole = case.whole
    for name, file in case.trial.files.items():
        appended = any(fnmatch.fnmatch(name.rpartition("/")[2], pattern) for pattern in case.appends)
        if name in whole and not appended and file.begins(whole[name]):
            yield f"{name}: {file.size} bytes, the beginning of the {whole[name].size} that a whole run leaves"


def _again(case: Case) -> Iterator[str]:
    reference, last = case.reference, case.trial.last
    if not case.history.crashes or case.history.messages or case.history.cancels or case.history.answers:
        return
    if reference is None or reference.last.end != "completed" or last.end != "completed":
        return
    if last.result != reference.last.result:
        yield f"it returned {_short(last.result)} after the crash and returns {_short(reference.last.result)} without one"
    now = {name: file for name, file in case.trial.files.items() if not looks_temporary(name)}
    then = {name: file for name, file in reference.files.items() if not looks_temporary(name)}
    for name in sorted(now.keys() | then.keys()):
        if name not in now or name not in then:
            yield f"{name} is there {'only without' if name not in now else 'only after'} the crash"
        elif now[name].sha256 != then[name].sha256:
            yield f"{name} differs: {now[name].size} bytes after the crash, {then[name].size} without one"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


LAWS: dict[str, Callable[[Case], Iterator[str]]] = {
    "reaches a result or a Cancelled": _result,
    "stops within its grace": _grace,
    "takes what it was sent": _taken,
    "applies each steer once": _once,
    "leaves no process": _processes,
    "leaves no thread": _threads,
    "leaves no temporary file": _temporary,
    "leaves no half-written file": _halves,
    "resumes to the same end": _again,
}
"""By name."""


def breaches(case: Case, without: Sequence[str] = ()) -> list[Breach]:
    """What the trial broke."""
    return [Breach(law, what) for law, look in LAWS.items() if law not in without for what in look(case)]
