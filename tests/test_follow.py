"""Following through the public socket: choosing events, credit, labels, and one message for the end of many tasks."""

from __future__ import annotations

import pytest

from crewd.client.blocking import Crew
from crewd.clock import SystemClock
from crewd.model.errors import UsageError
from crewd.model.events import Event
from crewd.model.rows import JOIN_ACK_SECONDS
from crewd.model.workflow import Join, Step, WorkerSpec, Workflow
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.supervisor.gateway.test_garbage import Raw

pytestmark = pytest.mark.process


def flow(name: str, *, join: Join = "off", **labels: str) -> Workflow:
    good, bad = WorkerSpec(call="jobs:add", args={"a": 1, "b": 2}), WorkerSpec(call="jobs:fail")
    return Workflow(name, (Step("good", worker=good), Step("bad", worker=bad)), join=join, labels=labels)


def test_events_are_chosen_by_task_type_group_kind_and_label(crew: Crew, jobs_dir: str) -> None:
    mine = crew.run(flow("mine", team="search"), cwd=jobs_dir)
    other = crew.run(flow("other", team="ads"), cwd=jobs_dir)
    for run in (mine, other):
        run.wait()
    ended = crew.events(types=["task_ended"], labels={"team": "search"})
    assert {event.task for event in ended} == {f"{mine.id}/good", f"{mine.id}/bad"}
    following = crew.events(f"{mine.id}/good", follow=True, types=["task.*"])
    assert [event.type for event in following] == ["task.ended"], "it ends with its task"
    everything = list(crew.events(mine.id))
    started = [event.seq for event in everything if event.type == "attempt.started"]
    assert [e.seq for e in crew.events(mine.id, follow=True, types=["task_started"])] == started, "the end is seen, not shown"
    assert [run.id for run in crew.runs(all=True, labels={"team": "ads"}).runs] == [other.id]
    with pytest.raises(UsageError, match="no event is of the type"):
        list(crew.events(types=["task.dance"]))


def test_whoever_follows_a_label_hears_of_runs_that_begin_later_and_of_what_comes_after_their_end(
    crew: Crew, daemon: Daemon, jobs_dir: str
) -> None:
    with daemon.connect() as second:
        notes = second.watch(types=["run_ended", "mailbox_updated"], labels={"team": "search"}, progress=False)
        crew.run(flow("other", team="ads"), cwd=jobs_dir).wait()
        run = crew.run(flow("mine", team="search"), cwd=jobs_dir)
        heard = [next(notes)]
        run.message("well done", step="good")
        heard += [next(notes), next(notes)]
        notes.close()
    assert [note.type for note in heard if isinstance(note, Event)] == ["run.ended", "message.accepted", "message.settled"]
    assert {note.run for note in heard if isinstance(note, Event)} == {run.id}


def test_a_stalled_subscriber_is_sent_its_credit_and_the_rest_when_it_says_so(
    daemon: Daemon, crew: Crew, jobs_dir: str
) -> None:
    raw = Raw(daemon.home.clients_endpoint)
    raw.ask(*codec.requests.encode("hello", rq.Hello(owner="slow", key="k" * 64)))
    raw.ask(*codec.requests.encode("s", rq.Subscribe(credit=5, progress=False)))
    run = crew.run(flow("mine"), cwd=jobs_dir)
    run.wait()
    everything = [event.seq for event in crew.events()]
    seen: list[int] = []

    def hear() -> None:
        while raw.socket.poll(200):
            note = codec.replies.decode(raw.socket.recv_multipart()).body
            if isinstance(note, rl.EventNote):
                assert note.previous == (seen[-1] if seen else 0)
                seen.append(note.event.seq)

    hear()
    assert seen == everything[:5], "crewd goes on without it"
    while len(seen) < len(everything):
        before = len(seen)
        raw.socket.send_multipart(codec.requests.encode("c", rq.Credit(id="s", upto=seen[-1])))
        hear()
        assert before < len(seen) <= before + 5
    assert seen == everything
    raw.close()


@pytest.mark.usefixtures("daemon")
def test_the_end_of_many_tasks_is_one_message_that_is_acknowledged_or_overdue(crew: Crew, jobs_dir: str) -> None:
    run = crew.run(flow("mine", join="smart"), cwd=jobs_dir)
    run.wait()
    (joined,) = crew.unread()
    assert joined.receipt.kind == "group_join"
    assert joined.text.splitlines() == ["failed (failed: bad)", "good: completed", "bad: failed"]
    now = SystemClock().wall()
    assert not joined.overdue(now)
    assert joined.overdue(now + JOIN_ACK_SECONDS)
    crew.acknowledge(joined.receipt.id)
    assert not crew.unread()
    assert run.messages(kind="group_join")[0].acknowledged_by == crew.owner
    crew.retry(run.id).wait()
    assert [message.receipt.id for message in crew.unread()] == [f"{run.id}:join2"], "a run that is opened again ends again"
    alone = crew.run(Workflow("one", flow("x").steps[:1], join="smart"), cwd=jobs_dir)
    alone.wait()
    assert not alone.messages(), "one task needs no joining"


@pytest.mark.usefixtures("daemon")  # it looks at the runs of all
def test_labels_and_joins_are_given_at_the_door(crew: Crew, jobs_dir: str) -> None:
    with pytest.raises(UsageError, match="label"):
        crew.run(flow("mine", team="no spaces"), cwd=jobs_dir)
    wait_until(lambda: not crew.runs().runs, "nothing to run")
