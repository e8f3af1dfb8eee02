"""One worker in the guardian's care: `decide(care, event) -> (care, effects)`. Pure: time and processes arrive in events.

A worker is in one of five states. `TRANSITIONS` says which event leads from which state to which; docs/guardian.md draws it.

    Starting         a fork was ordered, and no process is known yet
    StartingToEnd    the same, and an end was ordered meanwhile
    Running          the first process lives, and no end was ordered
    Ending           an end was ordered, or a limit was exceeded, and the first process may still live
    Draining         the first process has ended, and what it left behind is being ended

`decide` answers None instead of a care when nothing of the worker is left to look after.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

import msgspec
from msgspec.structs import replace

from crewd.guardian import ladder as ladders
from crewd.guardian.care_record import CareRecord
from crewd.guardian.ladder import Ladder
from crewd.guardian.tree import Key, Proc
from crewd.guardian.usage import ORPHANS_PER_SECOND_MAX, differs, exceeded
from crewd.model.limits import NOTE_CHARS_MAX, TERM_SECONDS_GRACEFUL
from crewd.model.redact import clip
from crewd.model.rows import ExitStatus
from crewd.protocol import guardian as gd

STATUS_SECONDS = 3.0
"""How long to wait for the zygote to report the exit status of a process that has ended; after it the status is unknown."""
STATUS_SECONDS_LONGEST = 30.0
"""The same, while the zygote that has forked the process answers: on a busy machine it gives way to everybody else."""
USED_SECONDS = 2.0
"""The least time between two reports of what a worker uses."""
RATE_SECONDS_LEAST = 0.5
"""A rate is not computed over less than this."""


# -- states -------------------------------------------------------------------------------------------------------------


class Starting(msgspec.Struct, frozen=True):
    """A fork was ordered at `ordered_at`, and no process is known yet."""

    ordered_at: float


class StartingToEnd(msgspec.Struct, frozen=True):
    """A fork was ordered, and an end after it."""

    ordered_at: float
    ladder: Ladder
    look_at: float


class Running(msgspec.Struct, frozen=True):
    """The first process lives."""

    main: Proc


class Ending(msgspec.Struct, frozen=True):
    """An end is under way. It is looked at again at `look_at`."""

    main: Proc
    ladder: Ladder
    look_at: float


class Draining(msgspec.Struct, frozen=True):
    """The first process has ended with exit code `code` or by signal `signal`; both are None if nobody could wait for it."""

    main: Proc | None
    ladder: Ladder
    look_at: float
    code: int | None = None
    signal: int | None = None


State = Starting | StartingToEnd | Running | Ending | Draining
Climbing = StartingToEnd | Ending | Draining


# -- the care -----------------------------------------------------------------------------------------------------------


class Seen(msgspec.Struct, frozen=True):
    """What the last look has seen of the worker's processes.

    `known` are pid and start of its processes, `leaders` the sessions and groups that they were in. `ended_since`: one of them
    has ended since, so the worker may be forking; `ended_leaders` are the sessions and groups of those that have ended.
    `vanished_at`: since when the first process is gone without anybody reporting its exit status.
    """

    known: frozenset[tuple[int, float]] = frozenset()
    leaders: frozenset[int] = frozenset()
    ended_since: bool = False
    ended_leaders: frozenset[int] = frozenset()
    vanished_at: float | None = None


class UsageSeen(msgspec.Struct, frozen=True):
    """What the worker uses: `cpu` in seconds; `orphans` are processes that it left to the guardian since `measured_at`."""

    memory_peak: int = 0
    cpu: float = 0.0
    orphans: float = 0.0
    measured_at: float = 0.0
    told: gd.Used | None = None
    told_at: float = 0.0


class Care(msgspec.Struct, frozen=True):
    """A worker in the guardian's care. `number` is what its processes bear in a resource limit (see `limit_mark`).

    `cause` is what its end will be put down to; `limit` and `limit_text` name the limit that it has exceeded.
    `orphan_at`: when it is ended because crewd is gone. `killed`: a process of it got KILL.
    """

    key: Key
    number: int
    record: CareRecord
    state: State
    adopted: bool = False
    cause: gd.Cause = "exited"
    limit: str = ""
    limit_text: str = ""
    killed: bool = False
    orphan_at: float | None = None
    seen: Seen = msgspec.field(default_factory=Seen)
    usage: UsageSeen = msgspec.field(default_factory=UsageSeen)

    @property
    def main(self) -> Proc | None:
        """The worker's first process, if it is known."""
        return None if isinstance(self.state, Starting | StartingToEnd) else self.state.main

    @property
    def is_starting(self) -> bool:
        """Whether no process of it was seen or reported."""
        return isinstance(self.state, Starting | StartingToEnd) and not self.seen.known

    @property
    def look_at(self) -> float | None:
        """When its processes must be looked at for its end to go on."""
        if isinstance(self.state, Starting | Running) or self.is_starting:
            return None
        return self.state.look_at

    @property
    def is_quiet(self) -> bool:
        """Whether it lives, and nothing of it is to be measured against a limit but how many its processes are."""
        limits = self.record.limits
        return isinstance(self.state, Running) and not (limits.memory_bytes or limits.cpu_seconds)

    @property
    def started(self) -> gd.Started | None:
        """What crewd is told of its first process."""
        return None if self.main is None else _started(self, self.main)


def _started(care: Care, main: Proc) -> gd.Started:
    task, epoch = care.key
    return gd.Started(
        task=task, epoch=epoch, pid=main.pid, start_time=main.start, boot_id=care.record.boot_id, adopted=care.adopted
    )


# -- events -------------------------------------------------------------------------------------------------------------


class Forked(msgspec.Struct, frozen=True):
    """The zygote has forked the first process."""

    now: float
    proc: Proc
    boot_id: str


class NotForked(msgspec.Struct, frozen=True):
    """The worker could not be started. `transient`: another try may succeed."""

    error: str
    transient: bool = False


class MainEnded(msgspec.Struct, frozen=True):
    """The first process has ended; how is known only if somebody could wait for it."""

    now: float
    code: int | None = None
    signal: int | None = None


class EndOrdered(msgspec.Struct, frozen=True):
    """The worker is to be ended: see `protocol.guardian.End`."""

    now: float
    grace_seconds: float
    term_seconds: float
    cause: gd.Cause
    whole: bool = False


class MemberEnded(msgspec.Struct, frozen=True):
    """A process that may be the worker's has ended. `leaders`: those of its session and group that are the worker's."""

    leaders: frozenset[int]


class OrphansSeen(msgspec.Struct, frozen=True):
    """The worker has left about so many processes to the guardian."""

    count: float


class HungUp(msgspec.Struct, frozen=True):
    """The connection to crewd is gone."""

    now: float


class Attached(msgspec.Struct, frozen=True):
    """Crewd has connected."""


class Tick(msgspec.Struct, frozen=True):
    """Time has passed."""

    now: float


class SignalAsked(msgspec.Struct, frozen=True):
    """A person wants process `pid` to get signal `number`, or with `tree` all that the worker has started."""

    pid: int
    number: int
    tree: bool


class CgroupSeen(msgspec.Struct, frozen=True):
    """What a worker's cgroup shows: processes in it, whether any lives, and all processor seconds that were used in it."""

    pids: frozenset[int] = frozenset()
    populated: bool = False
    cpu: float | None = None


class Looked(msgspec.Struct, frozen=True):
    """The process table was read. `procs` are the worker's processes in it, zombies among them.

    `owners` says of each group with a living process whose it is: None if it is not one worker's alone. `zygote` is the pid
    of the process that workers are forked from, in whose session each of them is for an instant. `unmarked` are pid and start
    of those without a marker. `main` is the process at the pid of the first one. `output_bytes` is what the worker has
    written to its two files. `status_may_come`: the zygote that has forked the first process answers, and will report how
    that has ended. An end that is due goes on.
    """

    now: float
    procs: tuple[Proc, ...]
    owners: Mapping[int, Key | None]
    zygote: int = 0
    unmarked: tuple[tuple[int, float], ...] = ()
    main: Proc | None = None
    cgroup: CgroupSeen = CgroupSeen()
    output_bytes: int | None = None
    status_may_come: bool = False


Event = (
    Forked | NotForked | MainEnded | EndOrdered | MemberEnded | OrphansSeen | HungUp | Attached | Tick | Looked
)  # fmt: skip


# -- effects ------------------------------------------------------------------------------------------------------------


class Tell(msgspec.Struct, frozen=True):
    """Say this to crewd, if it is connected."""

    notice: gd.Notice


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to exactly this process."""

    proc: Proc
    number: int


class KillGroup(msgspec.Struct, frozen=True):
    """KILL to a process group, if one of `members` proves that it is still theirs."""

    group: int
    members: tuple[Proc, ...]


class KillCgroup(msgspec.Struct, frozen=True):
    """KILL to everything in the worker's cgroup, if it has one."""

    key: Key


class Chase(msgspec.Struct, frozen=True):
    """KILL to children of the guardian one by one as they appear, for a moment: those of worker `key`.

    With None those that bear the mark of a worker that is in nobody's care.
    """

    key: Key | None


class Keep(msgspec.Struct, frozen=True):
    """Write the record to disk for the next guardian."""

    record: CareRecord


class StopWatching(msgspec.Struct, frozen=True):
    """The end of the first process is known: wait for it no more."""

    key: Key


class Finish(msgspec.Struct, frozen=True):
    """The worker is over. `exited` lacks what its directory holds; `survivors` are the processes that could not be killed."""

    key: Key
    exited: gd.Exited
    survivors: tuple[Proc, ...] = ()


Effect = Tell | Signal | KillGroup | KillCgroup | Chase | Keep | StopWatching | Finish
Decision = tuple[Care | None, tuple[Effect, ...]]

TRANSITIONS: Mapping[type, Mapping[type, frozenset[type | None]]] = MappingProxyType({
    Starting: {
        Forked: frozenset({Running}), NotForked: frozenset({None}), MainEnded: frozenset({Draining}),
        EndOrdered: frozenset({StartingToEnd}), Tick: frozenset({Starting, StartingToEnd}),
        Looked: frozenset({Starting, StartingToEnd}),
    },
    StartingToEnd: {
        Forked: frozenset({Ending}), NotForked: frozenset({None}), MainEnded: frozenset({Draining}),
        EndOrdered: frozenset({StartingToEnd}), Tick: frozenset({StartingToEnd}), Looked: frozenset({StartingToEnd, None}),
    },
    Running: {
        Forked: frozenset({Running}), NotForked: frozenset({None}), MainEnded: frozenset({Draining}),
        EndOrdered: frozenset({Ending}), Tick: frozenset({Running, Ending}), Looked: frozenset({Running, Ending, Draining}),
    },
    Ending: {
        Forked: frozenset({Ending}), NotForked: frozenset({None}), MainEnded: frozenset({Draining}),
        EndOrdered: frozenset({Ending}), Tick: frozenset({Ending}), Looked: frozenset({Ending, None}),
    },
    Draining: {
        Forked: frozenset({Draining}), NotForked: frozenset({None}), MainEnded: frozenset({Draining}),
        EndOrdered: frozenset({Draining}), Tick: frozenset({Draining}), Looked: frozenset({Draining, None}),
    },
})  # fmt: skip
"""What each event may lead to from each state. Events that are not named leave the state as it is."""


def decide(care: Care, event: Event) -> Decision:
    """What becomes of the care, and what is to be done. The effects are carried out in their order."""
    match event:
        case Forked():
            return _forked(care, event)
        case NotForked():
            return None, (_finish(care, 0.0, cause="spawn_failed", error=event.error, transient=event.transient),)
        case MainEnded():
            return _main_ended(care, event)
        case EndOrdered():
            return _end_ordered(care, event), ()
        case MemberEnded():
            return replace(
                care, seen=replace(care.seen, ended_since=True, ended_leaders=care.seen.ended_leaders | event.leaders)
            ), ()
        case OrphansSeen():
            return replace(care, usage=replace(care.usage, orphans=care.usage.orphans + event.count)), ()
        case HungUp():
            return replace(care, orphan_at=event.now + care.record.seconds_alone), ()
        case Attached():
            return replace(care, orphan_at=None), () if care.started is None else (Tell(care.started),)
        case Tick():
            if care.orphan_at is None or event.now < care.orphan_at:
                return care, ()
            order = EndOrdered(event.now, 0.0, TERM_SECONDS_GRACEFUL, "orphaned")
            return _end_ordered(replace(care, orphan_at=None), order), ()
        case Looked():
            return _looked(care, event)
        case _:
            assert_never(event)


def signals(care: Care, asked: SignalAsked, members: tuple[Proc, ...]) -> tuple[Effect, ...]:
    """Whom a signal goes to that a person has asked for: only to processes that are certainly the worker's.

    The worker process that waits for a command gets it only if it is named.
    """
    host = care.main.pid if care.main is not None else 0
    return tuple(
        Signal(proc, asked.number)
        for proc in members
        if proc.pid == asked.pid or (asked.tree and (proc.pid != host or asked.pid == host))
    )


def _forked(care: Care, event: Forked) -> Decision:
    proc = event.proc
    if care.main is not None:
        return care, ()
    record = msgspec.structs.replace(care.record, pid=proc.pid, start=proc.start, boot_id=event.boot_id)
    seen = replace(care.seen, known=care.seen.known | {(proc.pid, proc.start)})
    state, following = care.state, care.state
    match state:
        case Starting():
            following = Running(proc)
        case StartingToEnd():
            following = Ending(proc, state.ladder, event.now)
        case Draining():
            following = replace(state, main=proc)
        case _:
            pass
    care = replace(care, record=record, seen=seen, state=following)
    return care, (Tell(_started(care, proc)), Keep(record))


def _main_ended(care: Care, event: MainEnded) -> Decision:
    state = care.state
    if isinstance(state, Draining):
        return care, ()
    ladder = None if isinstance(state, Starting | Running) else state.ladder
    ladder = ladders.first_gone(ladder, event.now, TERM_SECONDS_GRACEFUL)
    return (
        replace(care, state=Draining(care.main, ladder, event.now, event.code, event.signal)),
        (StopWatching(care.key),),
    )  # fmt: skip


def _end_ordered(care: Care, order: EndOrdered) -> Care:
    now, state = order.now, care.state
    match state:
        case Starting() | Running():
            ladder = ladders.begin(now, order.grace_seconds, order.term_seconds, whole=order.whole)
        case StartingToEnd() | Ending() | Draining():
            ladder = ladders.hasten(state.ladder, now, order.grace_seconds, order.term_seconds, whole=order.whole)
        case _:
            assert_never(state)
    following: State
    match state:
        case Starting() | StartingToEnd():
            following = StartingToEnd(state.ordered_at, ladder, now)
        case Running() | Ending():
            following = Ending(state.main, ladder, now)
        case Draining():
            following = replace(state, ladder=ladder, look_at=now)
        case _:
            assert_never(state)
    cause = care.cause if isinstance(state, Draining) or care.limit else order.cause
    return replace(care, state=following, cause=cause)


def _looked(care: Care, event: Looked) -> Decision:
    look_at, ended_since = care.look_at, care.seen.ended_since
    known = frozenset((proc.pid, proc.start) for proc in event.procs)
    leaders = frozenset(leader for proc in event.procs for leader in (proc.session, proc.group)) | care.seen.ended_leaders
    care = replace(care, seen=replace(care.seen, known=known, leaders=leaders - {event.zygote}, ended_leaders=frozenset()))
    effects: list[Effect] = []
    living = tuple(proc for proc in event.procs if not proc.dead)
    if event.unmarked != care.record.unmarked and care.record.pid:
        care = replace(care, record=msgspec.structs.replace(care.record, unmarked=event.unmarked))
        effects.append(Keep(care.record))
    care, told = _measured(care, event, living)
    effects += told
    if isinstance(care.state, Running) and not _main_lives(care, event):
        care, vanished = _vanished(care, event)
        if vanished:
            following, more = _main_ended(care, MainEnded(event.now))
            return following, (*effects, *more)
    state = care.state
    if isinstance(state, StartingToEnd | Ending | Draining) and look_at is not None and look_at <= event.now:
        following, more = _climb(care, state, event, ended_since=ended_since)
        return following, (*effects, *more)
    return care, tuple(effects)


def _measured(care: Care, event: Looked, living: tuple[Proc, ...]) -> tuple[Care, list[Effect]]:
    """What the worker uses: crewd is told when it has changed, and what is too much ends the worker at once."""
    usage, now = care.usage, event.now
    memory = sum(proc.memory for proc in living)
    cpu = max(usage.cpu, event.cgroup.cpu or sum(proc.cpu for proc in living))
    rate = usage.orphans / max(now - usage.measured_at, RATE_SECONDS_LEAST) if usage.measured_at else 0.0
    usage = replace(usage, memory_peak=max(usage.memory_peak, memory), cpu=cpu, orphans=0.0, measured_at=now)
    reached = exceeded(care.record.limits, memory, cpu, len(living))
    if rate > ORPHANS_PER_SECOND_MAX:
        reached = ("processes", f"{rate:.0f} orphans in a second, {ORPHANS_PER_SECOND_MAX} are allowed")
    if reached is not None and isinstance(care.state, Starting | Running):
        care = _end_ordered(care, EndOrdered(now, 0.0, TERM_SECONDS_GRACEFUL, "limit"))
        care = replace(care, limit=reached[0], limit_text=reached[1])
    if event.output_bytes is None or care.main is None or now - usage.told_at < USED_SECONDS:
        return replace(care, usage=usage), []
    used = gd.Used(*care.key, memory, round(cpu, 2), len(living), event.output_bytes)
    if usage.told is not None and not differs(usage.told, used):
        return replace(care, usage=replace(usage, told_at=now)), []
    return replace(care, usage=replace(usage, told_at=now, told=used)), [Tell(used)]


def _main_lives(care: Care, event: Looked) -> bool:
    main, now = care.main, event.main
    return main is not None and now is not None and now.start == main.start and not now.dead


def _vanished(care: Care, event: Looked) -> tuple[Care, bool]:
    """Whether the first process is gone, and its exit status was not reported for a while: the zygote hangs, or has died."""
    since = event.now if care.seen.vanished_at is None else care.seen.vanished_at
    longest = STATUS_SECONDS_LONGEST if event.status_may_come else STATUS_SECONDS
    return replace(care, seen=replace(care.seen, vanished_at=since)), event.now - since > longest


def _climb(care: Care, state: Climbing, event: Looked, *, ended_since: bool) -> Decision:
    now = event.now
    alive = {proc.pid: proc for proc in event.procs if not proc.dead}
    in_cgroup = event.cgroup
    ended_since = ended_since or bool(in_cgroup.pids - alive.keys()) or (not alive and in_cgroup.populated)
    ladder, step = ladders.climb(state.ladder, frozenset(alive), now, ended_since=ended_since)
    care = replace(
        care, state=replace(state, ladder=ladder, look_at=step.look_again_at), seen=replace(care.seen, ended_since=False),
        killed=care.killed or bool(step.kill) or step.hit_groups,
    )  # fmt: skip
    effects: list[Effect] = []
    for pid in sorted(step.term):
        effects += [Signal(alive[pid], signal.SIGTERM), Signal(alive[pid], signal.SIGCONT)]
    if step.kill or step.hit_groups:
        effects.append(KillCgroup(care.key))
        groups = {alive[pid].group for pid in step.kill} | care.seen.leaders
        for group in sorted(groups - {0, 1}):
            if event.owners.get(group, care.key) == care.key:  # atomic against a fork bomb, unlike one process after another
                effects.append(KillGroup(group, tuple(proc for proc in event.procs if proc.group == group)))
        effects += [Signal(alive[pid], signal.SIGKILL) for pid in sorted(step.kill)]
        effects.append(Chase(care.key))
    if not step.over:
        return care, tuple(effects)
    over = isinstance(state, Draining) or care.adopted or bool(alive)
    if not over and not _main_lives(care, event):
        care, over = _vanished(care, event)
    if not over:
        return care, tuple(effects)
    survivors = tuple(alive[pid] for pid in sorted(alive))
    return None, (*effects, _finish(care, now, survivors=survivors))


def _finish(
    care: Care, now: float, *, cause: gd.Cause | None = None, error: str = "", transient: bool = False,
    survivors: tuple[Proc, ...] = (),
) -> Finish:  # fmt: skip
    state = care.state
    ended = state if isinstance(state, Draining) else None
    begun_at = None if isinstance(state, Starting | Running) else state.ladder.begun_at
    exited = gd.Exited(
        task=care.key[0], epoch=care.key[1], cause=cause or care.cause,
        error=clip(error or care.limit_text, NOTE_CHARS_MAX),
        exit=ExitStatus(
            code=ended.code if ended else None, signal=ended.signal if ended else None, timed_out=care.limit,
            killed=care.killed, drain_seconds=max(0.0, now - begun_at) if begun_at is not None else 0.0,
            memory_peak_bytes=care.usage.memory_peak, cpu_seconds=round(care.usage.cpu, 3),
        ),
        transient=transient,
    )  # fmt: skip
    return Finish(care.key, exited, survivors)
