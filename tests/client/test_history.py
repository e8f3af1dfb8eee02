"""The history as a tree: what hangs on what, where an event came from, and that a stranger's text stays text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.client.blocking import Crew
from crewd.client.cli import history as verb
from crewd.client.history import HistoryLine, tree, tries, why
from crewd.model import events as ev
from crewd.model.events import Body, Event
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from tests.shell import Shell

WORK = WorkerSpec(call="a:b")
FLOW = Workflow(name="w", steps=(Step(id="a", worker=WORK), Step(id="b", worker=WORK, depends_on=("a",))))


def log(*story: tuple[Body, str, int, int, str]) -> list[Event]:
    return [
        Event(
            seq=seq, event_id=f"e-{seq}", parent=parent, run="r_1", task=f"r_1/{step}" if step else "", epoch=epoch,
            causation=cause, correlation="q", provenance="crewd", at=float(seq), body=body,
        )
        for seq, (body, step, epoch, parent, cause) in enumerate(story, 1)
    ]  # fmt: skip


STORY = log(
    (ev.RunCreated(name="n", goal="", cwd="/", workflow=FLOW), "", 0, 0, "x_1"),
    (ev.RunStarted(), "", 0, 1, ""),
    (ev.AttemptReserved(directory="/"), "a", 1, 2, ""),
    (ev.AttemptEnded(status=AttemptStatus.FAILED, reason="raised", error="oh"), "a", 1, 3, ""),
    (ev.TaskRetrying(kind="retry", due_at=9.0, reason="raised"), "a", 1, 4, ""),
    (ev.AttemptReserved(directory="/"), "a", 2, 5, ""),
    (ev.MessageAccepted(id="m_1", kind="steer", text="hi"), "a", 2, 6, "m_1"),
    (ev.MessageApplied(id="m_1"), "a", 2, 7, "m_1"),
    (ev.AttemptEnded(status=AttemptStatus.COMPLETED), "a", 2, 8, ""),
    (ev.TaskEnded(status=TaskStatus.COMPLETED), "a", 2, 9, ""),
    (ev.AttemptReserved(directory="/"), "b", 1, 2, ""),
    (ev.RunCancelRequested(CancelInfo("user")), "", 0, 2, "x_2"),
    (ev.AttemptCancelRequested(CancelInfo("user")), "b", 1, 11, ""),
    (ev.TaskEnded(status=TaskStatus.CANCELLED), "b", 1, 13, ""),
    (ev.RunEnded(status=RunStatus.CANCELLED), "", 0, 12, ""),
)


def test_a_retry_hangs_on_what_it_retries() -> None:
    depths = {line.event.seq: line.depth for line in tree(STORY)}
    assert {seq for seq, depth in depths.items() if depth == 0} == {1, 2, 12, 15}
    assert {seq for seq, depth in depths.items() if depth == 1} == {3, 4, 5, 11, 13, 14}
    assert {seq for seq, depth in depths.items() if depth == 2} == {6, 7, 8, 9, 10}


@pytest.mark.parametrize(
    ("seq", "trace"),
    [
        (8, [8, 7, 6, 5, 4, 3, 2, 1]),
        (11, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (13, [13, 12, 2, 1]),
        (15, [15, 14, 13, 12, 2, 1]),
        (99, []),
    ],
)
def test_each_event_is_traced_to_its_cause(seq: int, trace: list[int]) -> None:
    assert [link.event.seq for link in why(STORY, seq)] == trace


def test_the_attempts_tell_what_they_hang_on_and_how_they_ended() -> None:
    told = [(each.task, each.epoch, each.hangs_on, each.end) for each in tries(STORY)]
    assert told == [
        ("r_1/a", 1, "run.started", "failed"),
        ("r_1/a", 2, "task.retrying", "completed"),
        ("r_1/b", 1, "run.started", ""),
    ]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 2), st.integers(0, 30)), max_size=25))
def test_whatever_the_parents_each_event_stands_once_below_the_one_it_hangs_on(story: list[tuple[str, int, int]]) -> None:
    events = log(*((ev.ReportTaken(), step, epoch if step else 0, min(parent, seq), "")
                   for seq, (step, epoch, parent) in enumerate(story)))  # fmt: skip
    lines = tree(events)
    assert sorted(line.event.seq for line in lines) == [event.seq for event in events]
    place = {line.event.seq: number for number, line in enumerate(lines)}
    depth = {line.event.seq: line.depth for line in lines}
    for event in events:
        if event.parent in place:
            branch = {each.seq: each.branch for each in events}
            assert place[event.parent] < place[event.seq]
            assert depth[event.seq] - depth[event.parent] == (branch[event.parent] != event.branch)
        assert why(events, event.seq)[0].event == event


@pytest.mark.process
def test_a_history_stays_on_the_page_and_has_whole_messages(crew: Crew, jobs_dir: str) -> None:
    run = crew.exec(["cat"], cwd="/", stdin="lines")
    text = "look again at this " * 20
    run.steer(text, wait="applied", timeout=120)
    for _ in range(verb.DEPTH_MAX + 2):
        run.cancel(mode="now", timeout=120)
        crew.resume(run.id)
    run.cancel(mode="now", timeout=120)
    shell = Shell(str(crew.home.root), Path(jobs_dir))
    shown = shell.ok("history", run.id)
    assert text.strip() in shown
    assert max(line.count("│") for line in shown.splitlines()) == verb.DEPTH_MAX
    assert max(json.loads(line)["depth"] for line in shell.ok("history", run.id, "--json").splitlines()) > verb.DEPTH_MAX


HOSTILE = "\x1b[2J<script>alert(1)</script> [x](javascript:y) `z`\n# not a heading"


@pytest.mark.parametrize("form", ["markdown", "html", "text"])
def test_what_a_stranger_wrote_stays_text(form: str) -> None:
    (event,) = log((ev.TaskRetrying(kind="retry", due_at=1.0, error=HOSTILE), "a", 1, 0, ""))
    lines: Sequence[HistoryLine] = [HistoryLine(0, event)]
    text = "\n".join(verb._WRITERS[form]("title <b>", lines))
    if form == "html":
        assert "<script>" not in text and "&lt;script&gt;" in text and "title &lt;b&gt;" in text
    else:
        assert "\n# not" not in text
    if form == "markdown":
        assert "](" not in text and "<script>" not in text
    assert "\x1b" not in text or form != "text"


@pytest.mark.process
def test_the_shell_shows_the_tree_the_attempts_and_the_cause(daemon: Daemon, jobs_dir: str) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    shell.ok("call", "jobs:advance", "--name", "far", "--follow")
    lines = [json.loads(line) for line in shell.ok("history", "far", "--format", "jsonl").splitlines()]
    samples = [line["data"]["count"] for line in lines if line["type"] == "progress.sampled"]
    assert samples == [1, *range(5, 100, 10), 100], "a hundred signs of progress are twelve events"
    assert {line["branch"]: line["depth"] for line in lines} == {"": 0, "advance#1": 1}
    last = str(lines[-1]["seq"])
    trace = [json.loads(line) for line in shell.ok("--json", "history", "far", "--why", last).splitlines()]
    assert [trace[0]["type"], trace[-1]["type"]] == ["run.ended", "run.created"]
    assert len(trace) == len(lines)
    told = shell.ok("history", "far", "--attempts", env={**os.environ, "COLUMNS": "80"})
    assert re.search(r"^advance#1 +\w+ +[\d.]+[sm] +\d\d:\d\d:\d\d +run\.started", told, re.MULTILINE), told
    assert "attempt.started host process " in shell.ok("history", "far")
    assert "--json and --format html exclude each other" in shell.fails(2, "history", "far", "--format", "html", "--json")
    assert "no event 99999" in shell.fails(4, "history", "far", "--why", "99999")
    assert len(shell.ok("events", "far", "-n", "5").splitlines()) == 5
    assert len(shell.ok("events", "far", "--until", "1h").splitlines()) == 0
    assert len(shell.ok("events", "far/advance", "--epoch", "1", "--since", "1h").splitlines()) == len(lines) - 3
    assert "crew history far" in shell.ok("show", "far") and "written" in shell.ok("show", "far")
    for words in (("events", "--since", "yesterday"), ("events", "--until", ""), ("logs", "far", "--since", "")):
        assert "is no time" in shell.fails(2, *words), "an empty variable is no time either"
