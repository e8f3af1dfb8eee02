"""What `crew doctor` says of workers, actors, the guardian and its zygote, beside what the reader finds."""

from __future__ import annotations

from msgspec.structs import asdict

from crewd.actors import System
from crewd.actors.metrics import Crash
from crewd.actors.watchdog import WARN_SECONDS
from crewd.guardian.zygote_link import AGAIN_SECONDS
from crewd.model.errors import CrewdError, Unavailable
from crewd.model.pulse import GIVE_UP_SECONDS
from crewd.model.redact import clip
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.supervisor.services import Services

GUARDIAN_SECONDS = 5.0
"""A crewd that has had no guardian for so long from its start on cannot get one."""
CRASHED_SECONDS = 60.0
CRASHES_TOLD = 3
"""An actor that crashes so often within so long does not get over it by beginning again."""
READER_SECONDS = 4.0
"""After this a doctor is answered without what the reader would find."""


def unread(system: System) -> rl.DoctorReply:
    """For a reader that does not answer."""
    busy = next((f" ({words})" for words in _busy(system) if "reader" in words), "")
    finding = f"the reader has not answered for {READER_SECONDS:g} s{busy}: the store and the machine were not looked at"
    return rl.DoctorReply(healthy=False, findings=(finding,), counts={})


def held_up(services: Services, system: System, age: float) -> list[str]:
    """Why no worker starts or ends now, or nothing is recorded, and what to do. `age`: seconds since the gateway began."""
    directory, now = services.directory, system.clock.monotonic()
    guardian = directory.guardian
    found: list[str] = []
    if "guardian" in directory.silent:
        found.append(
            _silent(
                "the guardian", 0 if guardian is None else guardian.pid, now - directory.silent["guardian"], "starts or ends"
            )
        )
    elif guardian is None and age > GUARDIAN_SECONDS:
        found.append("no guardian is attached: no worker can be started now; see guardian.log")
    if "zygote" in directory.silent:
        seconds = now - directory.silent["zygote"]
        found.append(_silent("the process that workers are forked from", directory.zygote or 0, seconds, "starts"))
    elif directory.zygote == 0:
        found.append(
            "there is no process to fork workers from: none can be started now; "
            f"it is tried again every {AGAIN_SECONDS:g} s, guardian.log says why it fails"
        )
    found += [f"actor {ref} is stuck: its thread does not come back" for ref in system.stuck]
    return [*found, *_busy(system)]


def _silent(what: str, pid: int, seconds: float, not_done: str) -> str:
    which, hint = (f" (pid {pid})", f"; if somebody has stopped it: kill -CONT {pid}") if pid else ("", "")
    return (
        f"{what}{which} has not answered for {seconds:.0f} s: no worker {not_done} now; "
        f"it is replaced after {GIVE_UP_SECONDS:g} s{hint}"
    )


def _busy(system: System) -> list[str]:
    now = system.clock.monotonic()
    turns = [dispatcher.busy for dispatcher in system.dispatchers()]
    return [
        f"actor {busy.actor.ref} has been busy for {now - busy.since:.1f} s"
        for busy in turns
        if busy.actor is not None and not busy.actor.works_long and now - busy.since > WARN_SECONDS
    ]


def crashing(system: System) -> list[str]:
    """Actors that crash again and again, such as the one of a run: it does not go on then."""
    since = system.clock.monotonic() - CRASHED_SECONDS
    by_name: dict[str, list[Crash]] = {}
    for crash in tuple(system.crashes):
        if crash.at >= since:
            by_name.setdefault(crash.name, []).append(crash)
    return [
        f"actor {name} has crashed {len(crashes)} times in {CRASHED_SECONDS:g} s: {clip(crashes[-1].reason, 200)}; "
        "that is a fault of crewd, and logs/crewd.jsonl says where"
        for name, crashes in by_name.items()
        if len(crashes) >= CRASHES_TOLD
    ]


def examined(
    reply: rl.DoctorReply, machine: gd.Examined | CrewdError, system: System, services: Services, age: float,
    silent: dict[str, float], counts: dict[str, int | float | str], *, actors: bool,
) -> rl.DoctorReply:  # fmt: skip
    """What the reader has found, with what the gateway, the actors and the guardian know.

    `silent`: workers, and for how long. `machine` is an error where the guardian has not looked at it.
    """
    guardian = services.directory.guardian
    findings = [f"worker {task} has been silent for {seconds:.0f} s" for task, seconds in silent.items()]
    findings += [*held_up(services, system, age), *crashing(system)]
    if isinstance(machine, gd.Examined):
        findings += _on_the_machine(machine)
        counts |= {
            "worker_processes": machine.marked, "orphans": len(machine.left), "pid_max": machine.pid_max,
            "memory_available_mib": machine.memory_available_bytes >> 20,
        }  # fmt: skip
    elif not isinstance(machine, Unavailable):
        findings.append(str(machine))
    counts |= {"runs_live": len(services.directory.runs), "crewd_pid": services.pid}
    if guardian is not None:
        counts["guardian_pid"] = guardian.pid
        counts["cgroups"] = guardian.cgroup or "none: processes are found by the other marks"
    return rl.DoctorReply(
        healthy=reply.healthy and not findings,
        findings=(*reply.findings, *findings),
        counts={**reply.counts, **counts, "actors": len(system.alive())},
        actors=_measured(system) if actors else (),
        busy=tuple(rl.BusyActor(str(t.ref), t.seconds, t.stack) for t in system.long_turns) if actors else (),
    )


def _on_the_machine(machine: gd.Examined) -> list[str]:
    """What is left there of workers, and what cannot be seen there."""
    found = [
        f"pid {each.pid} ({each.command}) is left of {each.task}#{each.epoch}, which is over: kill -9 {each.pid}"
        for each in machine.left
    ]
    found += [
        f"pid {each.pid} ({each.command}) came from a worker, nobody can say which; it ends with the last one, "
        f"or: kill -9 {each.pid}"
        for each in machine.unowned
    ]
    return [*found, *machine.lacks]


def _measured(system: System) -> tuple[rl.ActorsOfClass, ...]:
    """What the actors do, by class."""
    return tuple(rl.ActorsOfClass(**asdict(each)) for each in system.measure())
