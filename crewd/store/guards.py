"""What keeps an append out of the log: its guard, looked at among what is committed, and the room that a run may take.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewd.model.errors import Busy, Conflict, Refused
from crewd.model.rows import ForgottenRow, MessageRow, RunRow, TaskRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.store.messages import Append, Arrival, Guard, Known, NewAttempt, NewHooks, NewMessage, NewRun, Rejected, Removal

if TYPE_CHECKING:
    from crewd.store.cache import Cache
    from crewd.store.ports import Writing
    from crewd.store.unflushed import Unflushed


class Guards:
    """`overfull` are the runs that have written more than `quota` bytes."""

    def __init__(self, cache: Cache, database: Writing, unflushed: Unflushed, quota: int) -> None:
        self._cache = cache
        self._database = database
        self._unflushed = unflushed
        self._quota = quota
        self.overfull: set[str] = set()

    def refuse(self, append: Append, requests: list[tuple[str, bytes | None]]) -> Known | Rejected | None:
        """The answer to an append that is kept out, or None. `requests` are those of its batch so far."""
        refused = self._of(append.guard, requests) or self._quota_of(append)
        return None if refused is None else _with_token(refused, append.token)

    def _of(self, guard: Guard | None, requests: list[tuple[str, bytes | None]]) -> Known | Rejected | None:
        match guard:
            case None:
                return None
            case NewAttempt(run, task):
                run_row, task_row = self._cache.get(RunRow, run), self._cache.get(TaskRow, task)
                cancel = (run_row and run_row.cancel) or (task_row and task_row.cancel)
                return Rejected(0, Refused("the run was cancelled", reason=cancel.reason)) if cancel else None
            case NewHooks(run, key):
                there = self._cache.get(RunRow, run)
                return Known(0, there) if there is not None and key in {ran.told for ran in there.hooks} else None
            case Removal(run, last_seq, archive):
                there = self._cache.get(RunRow, run)
                if there is None or there.status not in RUN_TERMINAL or run in self._unflushed.touched:
                    return Rejected(0, Refused(f"run {run} is not over, or is gone", reason="live"))
                if archive and there.archived:
                    return Rejected(0, Refused(f"run {run} is archived already", reason="archived"))
                if self._database.last_seq_of_run(run) != last_seq:
                    return Rejected(0, Busy("something was just recorded of the run", hint="try again"))
                return None
            case Arrival(run, name, replaces, last_seq):
                there, gone = self._cache.get(RunRow, run), self._cache.get(ForgottenRow, run)
                if replaces and there is not None and there.name == name and gone is None:
                    return self._of(Removal(run, last_seq), requests)
                if there is not None or gone is not None or self._newest(name):
                    return Rejected(0, Conflict(f"a run of the id {run} or the name {name} is or was here", name=name))
                return None
            case NewMessage(key, digest):
                row = self._cache.get(MessageRow, key)
                if row is None:
                    return None
                if row.digest == digest:
                    return Known(0, row)
                return Rejected(
                    0, Conflict(f"message id {key} was used for another message", hint="use a new id", message_id=key)
                )
            case NewRun(request_id, digest, name, refusal):
                made = next((value for key, value in requests if key == f"request:{request_id}"), None)
                if made is None and request_id:
                    made = self._database.latest(f"request:{request_id}")
                if made is not None:
                    return self._known_run(made.decode(), digest)
                if refusal is not None:
                    return Rejected(0, refusal)
                newest = self._cache.get(RunRow, self._newest(name)) if self._newest(name) else None
                if newest is not None and newest.status not in RUN_TERMINAL:
                    hint = "wait for its end, cancel it, or choose another --name"
                    return Rejected(0, Conflict(f"a run named {name} is live", hint=hint, name=name))
                return None

    def _quota_of(self, append: Append) -> Rejected | None:
        """A run that has written too much takes no more messages; what happens to it is still recorded."""
        if not self.overfull or not isinstance(append.guard, NewMessage) or append.drafts[0].run not in self.overfull:
            return None
        error = Refused(
            f"the run has written more than {self._quota:,} bytes into the store", hint="run_store_bytes in crewd.toml",
            reason="quota",
        )  # fmt: skip
        return Rejected(append.token, error)

    def _newest(self, name: str) -> str:
        """The newest run of this name: a name can be used again when the run that has it is over."""
        return self._unflushed.names.get(name) or self._database.run_named(name)

    def _known_run(self, made: str, digest: str) -> Known | Rejected:
        run, _, made_digest = made.partition(" ")
        row = self._cache.get(RunRow, run)
        if row is None:
            return Rejected(0, Refused(f"this request made run {run}, which was forgotten", hint="use a new request id"))
        if made_digest == digest:
            return Known(0, row)
        return Rejected(0, Conflict(f"the request id of run {row.name} was used for another run", hint="use a new request id"))


def _with_token(answer: Known | Rejected, token: int) -> Known | Rejected:
    match answer:
        case Known(_, row):
            return Known(token, row)
        case Rejected(_, error):
            return Rejected(token, error)
