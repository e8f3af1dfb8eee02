"""Ended runs leave the log: into a bundle, or for good but for a note.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from crewd.model.errors import CrewdError, Refused, StoreDamaged, UsageError
from crewd.model.events import Draft, RunArchived, RunForgotten
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.model.rows import AskRow, MessageRow, RunRow, TaskRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.protocol import keeping as kp
from crewd.store.bundle import Bundle
from crewd.store.keeper.archives import Archives, digest_of
from crewd.store.keeper.jobs import Job, Jobs
from crewd.store.messages import Keep, Put, Removal

if TYPE_CHECKING:
    from crewd.clock import Clock

RUNS_MAX = 100_000
"""Ended runs that a prune looks at."""


class Removals:
    """Forgets and archives. The store refuses what was not looked at."""

    def __init__(self, archives: Archives, jobs: Jobs, clock: Clock) -> None:
        self._archives, self._jobs, self._clock = archives, jobs, clock
        self._changing: set[str] = set()

    def prune(self, keep: Keep, prune: kp.Prune) -> None:
        """Forget or archive what ended long ago."""
        if prune.older_seconds < 0:
            raise UsageError(f"nothing is older than {prune.older_seconds:g} s", hint="--older-than 30d")
        if prune.keep < 0:
            raise UsageError(f"{prune.keep} runs cannot be kept", hint="--keep 0 or more")
        ended = [run for run in self._archives.library.runs(ended=True, limit=RUNS_MAX) if run.status in RUN_TERMINAL]
        mine = [run for run in ended if prune.everyone or run.owner in {"", keep.owner}]
        before = self._clock.wall() - prune.older_seconds
        chosen = [run for run in mine[prune.keep :] if (run.ended_at or run.created_at) <= before]
        self.change(keep, chosen, archive=prune.archive, dry=prune.dry_run, careful=True)

    def change(self, keep: Keep, runs: Sequence[RunRow], *, archive: bool, dry: bool, careful: bool = False) -> None:
        """Forget or archive these runs. `careful`: not those that somebody still has to look at."""
        done: list[kp.Kept] = []
        job = Job(keep, lambda: kp.KeptReply(tuple(sorted(done, key=lambda each: each.run)), dry_run=dry))
        for run in runs:
            count = 0
            why = self._why_kept(run, archive=archive, careful=careful)
            with contextlib.suppress(StoreDamaged):  # a bundle that is gone must not keep its run for ever
                count = self._archives.library.size_of(run.id)[0]
            if why or dry:
                action: Literal["kept", "archived", "forgotten"] = "kept" if why else "archived" if archive else "forgotten"
                done.append(kp.Kept(run.id, run.name, action, why, count))
            elif run.id in self._changing:
                done.append(kp.Kept(run.id, run.name, "kept", "something is done with it already", count))
            else:
                try:
                    (self._archive if archive else self._forget)(job, run, done)
                except (CrewdError, OSError, ValueError) as error:  # the others go on
                    done.append(kp.Kept(run.id, run.name, "kept", str(error), count))
        self._jobs.settle(job)

    def _why_kept(self, run: RunRow, *, archive: bool, careful: bool) -> str:
        if run.status not in RUN_TERMINAL:
            return f"it is {run.status}"
        if archive and run.archived:
            return "it is archived already"
        if (careful or archive) and not run.archived:
            rows = self._archives.library.rows_of
            if any(task.dead == "open" for task in rows(TaskRow, run.id, RUNS_MAX)):
                return "it has dead letters: crew retry, or crew dismiss"
            if any(row.direction == "out" and row.unread for row in rows(MessageRow, run.id, RUNS_MAX)):
                return "its workers said something that nobody has read: crew inbox"
        return ""

    def _forget(self, job: Job, run: RunRow, done: list[kp.Kept]) -> None:
        intent = clip(getattr(job.keep.request, "intent", ""), NOTE_CHARS_MAX)
        # What comes after this look makes the store refuse.
        guard = Removal(run.id, self._archives.database.last_seq_of_run(run.id))
        events, keys = self._archives.gone_with(run), self._noted(run)
        body = RunForgotten(name=run.name, owner=run.owner, by=job.keep.owner, intent=intent, events=events)

        def durable() -> None:
            self._archives.clear_away(run.id, "")
            for key in keys:
                self._archives.store().tell(Put(f"archived:{key}", None))
            done.append(kp.Kept(run.id, run.name, "forgotten", events=events))

        self._remove(job, run, body, guard, durable, done)

    def _noted(self, run: RunRow) -> list[str]:
        """The ids under which messages and questions of an archived run are found."""
        if not run.archived:
            return []
        with contextlib.suppress(CrewdError), contextlib.closing(Bundle(self._archives.bundle_of(run))) as bundle:
            keys = [row.receipt.id for row in bundle.rows_of(MessageRow, run.id, 1 << 31)]
            return keys + [row.id for row in bundle.rows_of(AskRow, run.id, 1 << 31)]
        return []

    def _archive(self, job: Job, run: RunRow, done: list[kp.Kept]) -> None:
        self._archives.check_room()
        path = self._archives.new_bundle(run.id)
        guard, events, lost = self._archives.write(path, run)
        if lost:
            path.unlink()
            hint = "crew export writes what is left; crew doctor --check names what is lost"
            raise Refused(f"the artifact {lost[0]} is gone, or is not what it was: {run.name} is not archived", hint=hint)
        try:
            with contextlib.closing(Bundle(path)) as bundle:
                bundle.verify()  # before anything that is in it leaves the database
        except UsageError:
            path.unlink()
            raise
        intent = clip(getattr(job.keep.request, "intent", ""), NOTE_CHARS_MAX)
        body = RunArchived(row=run, bundle=path.name, sha256=digest_of(path), events=events, by=job.keep.owner, intent=intent)
        self._archives.note_ids(Bundle(path), run.id)

        def durable() -> None:
            self._archives.clear_away(run.id, path.name)
            done.append(kp.Kept(run.id, run.name, "archived", events=events))

        self._remove(job, run, body, guard, durable, done)

    def _remove(
        self, job: Job, run: RunRow, body: RunForgotten | RunArchived, guard: Removal, durable: Callable[[], None],
        done: list[kp.Kept],
    ) -> None:  # fmt: skip
        self._changing.add(run.id)

        def act() -> None:
            self._changing.discard(run.id)
            durable()

        def refused(error: CrewdError) -> None:
            self._changing.discard(run.id)
            if isinstance(body, RunArchived):
                (self._archives.home.archive / body.bundle).unlink(missing_ok=True)
            done.append(kp.Kept(run.id, run.name, "kept", error.message))

        self._jobs.send(job, Draft(body, run.id, provenance=f"client:{job.keep.owner}"), guard, act, refused)
