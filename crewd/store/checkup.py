"""What `crew doctor` finds in the store: the file, the bundles, and (if it is to) whether the rows are the fold of the log.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from crewd.model.rows import ArtifactRow
from crewd.protocol import requests as rq
from crewd.store.blobs import damaged
from crewd.store.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from crewd.store.ports import Reading

Examine = Callable[[], tuple[list[str], dict[str, int | float | str]]]
"""Looks at what is around crewd: findings and counts."""

DAMAGED_MAX = 20
"""So many damaged artifacts are named."""


def checkup(database: Reading, examine: Examine, request: rq.Doctor, blobs: Path | None = None) -> rq.DoctorReply:
    """Findings, each with what to do about it, and counts. Raises InvariantError if the log cannot be folded.

    With `blobs`, where they are, a request that is to `check` looks at each of them.
    """
    findings: list[str] = []
    verdict = database.check(whole=request.check)
    if verdict != "ok":
        findings.append(f"the store is damaged: {verdict}")
    counts: dict[str, int | float | str] = dict(database.counts())
    if request.check and blobs is not None:
        artifacts = (row for _, row in database.all_rows(ArtifactRow) if isinstance(row, ArtifactRow))
        findings += islice(damaged(blobs, artifacts), DAMAGED_MAX)
    more, measured = examine()
    findings += more
    counts.update(measured)
    if request.rebuild:
        differences, folded = rebuild(database)
        findings += differences
        counts["events_folded"] = folded
        counts["differences"] = len(differences)
    return rq.DoctorReply(healthy=not findings, findings=tuple(findings), counts=counts)
