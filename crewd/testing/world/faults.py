"""What goes wrong in a simulated world, by name and rate: one frozen record, so that a run can be repeated.

Tests: tests/testing/world/test_world.py, tests/testing/world/test_machine.py.
"""

from __future__ import annotations

from collections import Counter

import msgspec


class Faults(msgspec.Struct, frozen=True):
    """Each rate is the chance per opportunity, from 0 (never) to 1 (always).

    On the wire, per message: `lose` cuts the connection and loses what is in flight both ways (ZeroMQ loses nothing else),
    `duplicate` delivers it twice, `delay` holds it back for a while; `stall` makes a peer stop reading for a while, until its
    queue is full. Per step of a worker's code: `worker_crash`. Per step of the world: `crewd_crash` (between two turns),
    `crewd_crash_inside` (in the middle of one: from some call to the outside on, nothing of that turn happens),
    `guardian_crash`, `guardian_hang` (it does nothing until it is killed), `clock_jump` (wall time), `early_timer` (time passes
    although somebody has work). Per commit: `disk_full` and `disk_error` (which then last for a while), `slow_fsync`. Per look
    at the free memory: `memory_full`. Per chunk of the guardian's stream: `cut` (it arrives in pieces). Per process
    in a look at the table: `hide` (it is not seen, as one that is forked while the table is read), but never twice in a row.
    Per news of a commit: `overflow` (the gateway's inbox is full).
    """

    lose: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    stall: float = 0.0
    worker_crash: float = 0.0
    crewd_crash: float = 0.0
    crewd_crash_inside: float = 0.0
    guardian_crash: float = 0.0
    guardian_hang: float = 0.0
    clock_jump: float = 0.0
    early_timer: float = 0.0
    disk_full: float = 0.0
    disk_error: float = 0.0
    slow_fsync: float = 0.0
    memory_full: float = 0.0
    cut: float = 0.0
    hide: float = 0.0
    overflow: float = 0.0

    def __post_init__(self) -> None:
        for each in msgspec.structs.fields(self):
            rate = getattr(self, each.name)
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"{each.name} is a rate from 0 to 1, not {rate}")


NONE = Faults()
FLAKY = Faults(
    lose=0.01, duplicate=0.02, delay=0.1, stall=0.002, worker_crash=0.002, crewd_crash=0.0005, crewd_crash_inside=0.0005,
    guardian_crash=0.0005, guardian_hang=0.0003,
    clock_jump=0.0005, early_timer=0.02, disk_full=0.002, disk_error=0.002, slow_fsync=0.1, cut=0.2,
    memory_full=0.1, hide=0.2, overflow=0.05,
)  # fmt: skip
"""A bad day: everything happens, and most of the work gets done."""
HARSH = Faults(
    lose=0.03, duplicate=0.05, delay=0.2, stall=0.01, worker_crash=0.005, crewd_crash=0.003, crewd_crash_inside=0.003,
    guardian_crash=0.003, guardian_hang=0.001,
    clock_jump=0.002, early_timer=0.1, disk_full=0.02, disk_error=0.01, slow_fsync=0.3, memory_full=0.3,
    cut=0.4, hide=0.4, overflow=0.2,
)  # fmt: skip
"""A terrible one: hardly anything works at once."""
DAYS = {"none": NONE, "flaky": FLAKY, "harsh": HARSH}
"""By name."""


class Injected(Counter[str]):
    """How often each fault struck."""
