"""What `crew doctor` finds in the store: the file, the bundles, and (if it is to) whether the rows are the fold of the log.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from crewd.model.errors import Unavailable
from crewd.model.rows import ArtifactRow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.rebuild import rebuild
from crewd.store.run_files import RunFiles

if TYPE_CHECKING:
    from crewd.store.ports import Reading

Examine = Callable[[], tuple[list[str], dict[str, int | float | str]]]
"""Looks at what is around crewd: findings and counts."""

DAMAGED_MAX = 20
"""The most damaged rows, events and artifacts that are named."""


def checkup(database: Reading, examine: Examine, request: rq.Doctor, files: RunFiles | None = None) -> rl.DoctorReply:
    """Findings, each with what to do about it, and counts. Raises InvariantError if the log cannot be folded.

    With `files`, a request that is to `check` reads the blob of each artifact.
    """
    findings: list[str] = []
    verdict = database.check(whole=request.check)
    if verdict != "ok":
        findings.append(f"the store is damaged: {verdict}")
    counts: dict[str, int | float | str] = dict(database.counts())
    if request.check:
        findings += islice(database.not_readable(), DAMAGED_MAX)
    if request.check and files is not None and not findings:
        artifacts = (row for _, row in database.all_rows(ArtifactRow) if isinstance(row, ArtifactRow))
        findings += islice(damaged(files, artifacts), DAMAGED_MAX)
    more, measured = examine()
    findings += more
    counts.update(measured)
    if request.rebuild:
        try:
            differences, folded = rebuild(database)
        except Unavailable as error:
            differences, folded = [f"the rows cannot be compared with the log: {error}"], 0
        findings += differences
        counts["events_folded"] = folded
        counts["differences"] = len(differences)
    return rl.DoctorReply(healthy=not findings, findings=tuple(findings), counts=counts)


def damaged(files: RunFiles, rows: Iterable[ArtifactRow]) -> Iterator[str]:
    """What is wrong with the blobs of these artifacts: each is read, and must have the hash that it is called by."""
    looked: dict[str, str] = {}
    for row in rows:
        if row.data or not row.size or row.retention == "temporary":
            continue
        if row.sha256 not in looked:
            try:
                found = files.digest_of_blob(row.sha256)
                looked[row.sha256] = "" if found == row.sha256 else _WRONG if found else "is gone"
            except Unavailable as error:
                looked[row.sha256] = f"cannot be read ({error})"
        if looked[row.sha256]:
            yield f"the artifact {row.name} of {row.task} {looked[row.sha256]}: a backup may have it"


_WRONG = "is damaged, or somebody has changed it"
