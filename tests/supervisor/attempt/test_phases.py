"""The table of transitions says what the machine does: no more, no less, for each event in each phase."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import get_args

from crewd.model import events as ev
from crewd.model.policy import Limits
from crewd.model.rows import CancelInfo, ExitStatus
from crewd.model.statuses import ATTEMPT_TERMINAL, AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.decide import decide
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.attempt.phases import TRANSITIONS, Finished, Phase, status_of
from crewd.supervisor.attempt.state import Attempt, Gradient, Rules
from crewd.supervisor.caller import Caller

from .phases_page import PAGE, drawn, drawn_tasks

T = "r_1/s"
CALLER = Caller(b"c", "q", "caller")
Step = tuple[type[Phase], type[heard.AttemptEvent], type[Phase]]


def some_event(kind: type[heard.AttemptEvent], state: Attempt, chance: random.Random, at: float) -> heard.AttemptEvent:
    """An event of this kind, such as may come."""
    key = f"m{chance.randrange(4)}"
    mail = Mail(key, chance.choice(("steer", "follow_up", "message", "response")), 1, "text", "q")
    number = state.contact.reports + chance.choice((0, 1, 1, 1, 2))
    body: rp.ReportBody = chance.choice(
        (
            rp.Delivered(key), rp.Applied(key), rp.Settled(key, "done"), rp.Asked("q", "?"), rp.AskOver("q", "expired"),
            rp.OpOpened(f"o{number}", "tool", "x"), rp.OpClosed(f"o{number - 1}", "failed"), rp.UsageReport(tokens=9),
            rp.StopProposed(), rp.Outcome(chance.choice(("completed", "failed", "cancelled"))),
        )
    )  # fmt: skip
    report = rp.Report(number, body)
    pid = chance.choice((7, 8))
    make: dict[type[heard.AttemptEvent], Callable[[], heard.AttemptEvent]] = {
        heard.Reserve: lambda: heard.Reserve("/"),
        heard.Reserved: heard.Reserved,
        heard.SlotGranted: lambda: heard.SlotGranted(at),
        heard.Alive: lambda: heard.Alive(at, chance.randrange(3)),
        heard.Measured: lambda: heard.Measured(at, chance.randrange(3), at * chance.randrange(2)),
        heard.HitLimit: lambda: heard.HitLimit("store_bytes", "too much"),
        heard.Signal: lambda: heard.Signal(1, tree=False, requester="me", caller=CALLER),
        heard.NotReserved: lambda: heard.NotReserved("cancelled"),
        heard.Resume: lambda: heard.Resume(at),
        heard.GuardianBack: heard.GuardianBack,
        heard.Send: lambda: heard.Send(mail, "me", "digest", None, CALLER),
        heard.NotAdmitted: lambda: heard.NotAdmitted(key),
        heard.Admitted: lambda: heard.Admitted(key),
        heard.Handed: lambda: heard.Handed(mail),
        heard.Withdraw: lambda: heard.Withdraw(key, CALLER),
        heard.Cancel: lambda: heard.Cancel(CancelInfo("shutdown", chance.choice(("now", "graceful")), 5.0)),
        heard.Connected: lambda: heard.Connected(rp.WorkerHello(T, 1, "", pid, ("steer",)), at),
        heard.Disconnected: heard.Disconnected,
        heard.Reported: lambda: heard.Reported(report, 0.0, at),
        heard.Started: lambda: heard.Started(ev.AttemptStarted(pid=pid, start_time=1.0, boot_id="b"), at),
        heard.Ended: lambda: heard.Ended(Exited(T, 1, exit=ExitStatus(code=1)), chance.choice(((), (report,))), 0.0),
        heard.Unknown: lambda: heard.Unknown(chance.choice((None, 1, 2)), unborn=chance.random() < 0.5),
        heard.Due: lambda: heard.Due(at),
    }
    return make[kind]()


@cache
def walked() -> tuple[frozenset[Step], frozenset[tuple[type[Phase], type[heard.AttemptEvent]]]]:
    """Each transition that many walks through the machine took, and each event that a phase heard on them."""
    chance = random.Random(1)
    steps: set[Step] = set()
    met: set[tuple[type[Phase], type[heard.AttemptEvent]]] = set()
    kinds = [kind for kind in get_args(heard.AttemptEvent) if kind is not heard.Reserve]  # the first one, and only that
    met.add((type(Attempt(T, 1).phase), heard.Reserve))
    for _ in range(7_000):
        rules = Rules(limits=Limits(task_seconds=200.0, quiet_seconds=150.0, tokens=chance.choice((0, 5))), gradient=Gradient())
        state, _ = decide(Attempt(T, 1, rules=rules), heard.Reserve("/"))
        at = 0.0
        for _ in range(18):
            at += chance.choice((0.0, 1.0, 1.0, 10.0, 120.0))
            kind = chance.choice(kinds)
            before = state
            state, decision = decide(before, some_event(kind, before, chance, at))
            met.add((type(before.phase), kind))
            if type(before.phase) is not type(state.phase):
                steps.add((type(before.phase), kind, type(state.phase)))
            if before.over:
                assert state.phase == before.phase
                assert not any(isinstance(body, ev.AttemptEnded) for body in decision.events)
    return frozenset(steps), frozenset(met)


def test_the_machine_makes_each_transition_of_the_table_and_no_other() -> None:
    steps, _ = walked()
    table = {(before, kind, after) for before, row in TRANSITIONS.items() for kind, afters in row.items() for after in afters}
    assert {step for step in steps if step not in table} == set(), "not in the table"
    assert {step for step in table if step not in steps} == set(), "in the table, and never made"


def test_each_phase_hears_each_event() -> None:
    _, met = walked()
    kinds = set(get_args(heard.AttemptEvent)) - {heard.Reserve}
    assert {(phase, kind) for phase in get_args(Phase) for kind in kinds} - met == set()
    assert set(TRANSITIONS) == set(get_args(Phase))


def test_only_what_is_over_leads_nowhere_and_everything_leads_there() -> None:
    reached: set[type[Phase]] = {Finished}
    while more := {
        before
        for before, row in TRANSITIONS.items()
        if before not in reached and reached & {a for x in row.values() for a in x}
    }:
        reached |= more
    assert reached == set(get_args(Phase))
    assert [phase for phase, row in TRANSITIONS.items() if not row] == [Finished]


def test_each_status_is_that_of_a_phase() -> None:
    of_phases = {status_of(phase) for phase in (Finished(status) for status in ATTEMPT_TERMINAL)}
    assert of_phases == ATTEMPT_TERMINAL
    assert {kind.words for kind in get_args(Phase)} and len({kind.words for kind in get_args(Phase)}) == len(get_args(Phase))
    assert status_of(Attempt(T, 1).phase) is AttemptStatus.RESERVED


def test_the_page_draws_the_table() -> None:
    page = PAGE.read_text()
    assert drawn() in page and drawn_tasks() in page, "write it again: python -m tests.supervisor.attempt.phases_page --write"
