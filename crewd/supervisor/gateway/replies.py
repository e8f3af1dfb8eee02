"""What the gateway says of things that it knows itself."""

from __future__ import annotations

from dataclasses import asdict

from crewd.actors import ActorSystem
from crewd.actors.watchdog import WARN_SECONDS
from crewd.protocol import codec
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.errors import DeadlineExceeded, PeerError
from crewd.protocol.receipts import Receipt
from crewd.protocol.statuses import RUN_TERMINAL, TASK_TERMINAL
from crewd.supervisor.gateway.waits import EndWait
from crewd.supervisor.gateway.wire import Side
from crewd.supervisor.guardian.processes import lacks
from crewd.supervisor.services import Services

GUARDIAN_SECONDS = 5.0
"""A crewd that has had no guardian for so long from its start on cannot get one."""


def chosen_identity(side: Side, frames: list[bytes]) -> list[bytes]:
    """The answer to a peer that has chosen its identity: it could choose that of one that has gone, and be taken for it."""
    key = codec.id_of(frames[1:])
    error = PeerError("a peer of this socket chooses no identity", hint="leave ZMQ_ROUTING_ID as it is").info
    if side is Side.CLIENTS:
        return [frames[0], *codec.replies.encode(key, rq.ErrorReply(error=error))]
    return [frames[0], *codec.to_worker.encode(key, rp.WorkerError(error=error))]


def examined(
    reply: rq.DoctorReply, system: ActorSystem, services: Services, age: float, silent: dict[str, float],
    counts: dict[str, int | float | str], *, actors: bool,
) -> rq.DoctorReply:  # fmt: skip
    """What the reader has found, with what the gateway and the actors know. `silent`: workers, and for how long."""
    now, guardian = system.clock.monotonic(), services.directory.guardian
    findings = [f"worker {task} has been silent for {seconds:.0f} s" for task, seconds in silent.items()]
    if guardian is None and age > GUARDIAN_SECONDS:
        findings.append("no guardian is attached: no worker can be started now; see guardian.log")
    counts |= {"runs_live": len(services.directory.runs), "crewd_pid": services.pid}
    if guardian is not None:
        counts["guardian_pid"] = guardian.pid
        counts["cgroups"] = guardian.cgroup or "none: the other nets hold alone"
    findings = [*findings, *(f"actor {ref} is stuck: its thread does not come back" for ref in system.stuck)]
    for busy in (dispatcher.busy for dispatcher in system.dispatchers()):
        if busy.actor is not None and not busy.actor.works_long and now - busy.since > WARN_SECONDS:
            findings.append(f"actor {busy.actor.ref} has been busy for {now - busy.since:.1f} s")
    return rq.DoctorReply(
        healthy=reply.healthy and not findings,
        findings=(*reply.findings, *findings, *lacks()),
        counts={**reply.counts, **counts, "actors": len(system.alive())},
        actors=measured(system) if actors else (),
        busy=tuple(rq.BusyActor(str(t.ref), t.seconds, t.stack) for t in system.long_turns) if actors else (),
    )


def measured(system: ActorSystem) -> tuple[rq.ActorsOfClass, ...]:
    """What the actors do, by class."""
    return tuple(rq.ActorsOfClass(**asdict(each)) for each in system.measure())


def too_late(receipt: Receipt) -> rq.ErrorReply:
    """The time to wait for a message has passed."""
    error = DeadlineExceeded(
        f"the time to wait has passed: the message is {receipt.level}",
        hint=f"crew receipt {receipt.id} tells how it went on",
        level=receipt.level.value,
    )
    return rq.ErrorReply(error=error.info, receipt=receipt)


def cancelled(wait: EndWait, status: str, shown: rq.ShowReply) -> rq.CancelReply:
    """What became of a cancel."""
    attempts = [attempt for attempt in shown.attempts if not wait.task or attempt.task == wait.task]
    survivors = tuple(each for attempt in attempts for each in attempt.survivors)
    return rq.CancelReply(
        run=wait.run,
        task=wait.task,
        status=status,
        verified=status in {*RUN_TERMINAL, *TASK_TERMINAL} and not survivors,
        survivors=survivors,
        unowned=tuple({each.pid: each for attempt in attempts for each in attempt.exit.unowned}.values()),
    )
