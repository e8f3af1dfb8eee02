"""What `crew doctor` finds in the store: the file, the bundles, and (if it is to) whether the rows are the fold of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crewd.protocol import requests as rq
from crewd.protocol.rows import AttemptRow
from crewd.protocol.statuses import ATTEMPT_TERMINAL
from crewd.store.fold import attempt_key
from crewd.store.rebuild import rebuild

if TYPE_CHECKING:
    from crewd.store.ports import Reading

Examine = Callable[[Callable[[str, int], bool]], tuple[list[str], dict[str, int | float | str]]]
"""Looks at the machine: findings and counts. It is told how to find out whether an attempt lives."""


def checkup(database: Reading, examine: Examine, request: rq.Doctor) -> rq.DoctorReply:
    """Findings, each with what to do about it, and counts. Raises InvariantError if the log cannot be folded."""

    def is_live(task: str, epoch: int) -> bool:
        row = database.row(AttemptRow, attempt_key(task, epoch))
        return row is not None and row.status not in ATTEMPT_TERMINAL

    findings: list[str] = []
    verdict = database.check(whole=request.check)
    if verdict != "ok":
        findings.append(f"the store is damaged: {verdict}")
    counts: dict[str, int | float | str] = dict(database.counts())
    more, measured = examine(is_live)
    findings += more
    counts.update(measured)
    if request.rebuild:
        differences, folded = rebuild(database)
        findings += differences
        counts["events_folded"] = folded
        counts["differences"] = len(differences)
    return rq.DoctorReply(healthy=not findings, findings=tuple(findings), counts=counts)
