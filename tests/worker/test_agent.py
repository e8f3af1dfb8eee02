"""Agents as workers, through the public socket: each protocol's stand-in, which is a program of its own."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import psutil
import pytest
from msgspec.structs import replace

from crewd.client.blocking import Crew, RunHandle
from crewd.client.environment import Brought
from crewd.client.shapes import agent_workflow, policed
from crewd.model.agent import AGENT_RUNTIMES, Agent, AgentRuntime
from crewd.model.errors import RunFailed, UsageError
from crewd.model.events import OperationClosed, OperationOpened, ProgressSampled
from crewd.model.ids import marker
from crewd.model.inputs import Input
from crewd.model.packet import Packet
from crewd.model.policy import Limits, Retry
from crewd.model.rows import AskRow, AttemptRow
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.naps import sleepers, unique_seconds
from tests.shell import Shell

pytestmark = pytest.mark.process
every = pytest.mark.parametrize("runtime", AGENT_RUNTIMES)
most = pytest.mark.parametrize("runtime", [each for each in AGENT_RUNTIMES if each != "omp"])
"""Where oh-my-pi does nothing else than pi."""


def agent(runtime: AgentRuntime, *options: str, **more: object) -> Agent:
    command = (sys.executable, "-m", "crewd.testing.agents", *options, runtime)
    return Agent(runtime=runtime, command=command, name=runtime, **more)  # type: ignore[arg-type]


def ask(crew: Crew, goal: str, spec: Agent, *, limits: Limits | None = None, retry: Retry | None = None) -> RunHandle:
    return crew.run(policed(agent_workflow(spec), limits, retry), goal, cwd="/")


def attempt_of(run: RunHandle) -> AttemptRow:
    return run.show().attempts[-1]


def open_asks(run: RunHandle) -> list[AskRow]:
    return [ask for ask in run.show().asks if ask.closed_at is None]


def tools(crew: Crew, run: RunHandle) -> list[str]:
    return [item.body.name for item in crew.events(run.id) if isinstance(item.body, OperationOpened)]


def outcomes(crew: Crew, run: RunHandle) -> list[str]:
    return [item.body.outcome for item in crew.events(run.id) if isinstance(item.body, OperationClosed)]


def until_tool(crew: Crew, run: RunHandle) -> None:
    wait_until(lambda: tools(crew, run), "the tool to run")


def end_tools(run: RunHandle) -> None:
    """End what the agent waits for, however long it would take."""
    for tool in psutil.Process(attempt_of(run).pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            tool.kill()


def log_of(crew: Crew, run: RunHandle, stream: Literal["acts", "stdout"]) -> Iterator[bytes]:
    """All of it, piece by piece."""
    offset, size = 0, 1
    while offset < size:
        piece = crew.log(run.id, stream=stream, offset=offset)
        yield piece.data
        offset, size = piece.next, piece.size


@every
def test_it_answers_and_its_answer_is_the_result(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "hello", agent(runtime))
    assert run.result(timeout=120) == "echo: hello"
    attempt = attempt_of(run)
    assert attempt.turns == 1
    assert attempt.tokens == (0 if runtime == "acp" else 20)
    assert attempt.cost == pytest.approx(0.0 if runtime == "codex" else 0.001)
    assert attempt.checkpoint["session"], "it can be gone on with"  # type: ignore[index]


@every
def test_a_steer_reaches_a_tool_that_runs_and_is_done_with_the_work(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 3", agent(runtime))
    until_tool(crew, run)
    receipt = run.steer("look at conftest", wait="settled", timeout=120)
    assert (receipt.level, receipt.outcome) == ("settled", "done")
    assert run.result(timeout=120) == "echo: look at conftest"
    assert outcomes(crew, run) == ["done"]


def test_an_agent_that_can_be_steered_over_acp_is(crew: Crew) -> None:
    run = ask(crew, "TOOL 3", agent("acp", "--steering"))
    until_tool(crew, run)
    assert run.steer("by its extension", wait="applied", timeout=120).level in {"applied", "settled"}
    assert run.result(timeout=120) == "echo: by its extension"


@most
def test_follow_ups_come_one_by_one_where_it_would_stop(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 1", agent(runtime))
    until_tool(crew, run)
    first, second = run.follow_up("first"), run.follow_up("second")
    assert run.result(timeout=120) == "echo: second"
    assert [crew.receipt(each.id).outcome for each in (first, second)] == ["done", "done"]


@every
def test_now_stops_the_tool_first_and_nothing_that_waited_is_lost(crew: Crew, runtime: AgentRuntime) -> None:
    seconds = unique_seconds()
    run = ask(crew, f"TOOL {seconds}", agent(runtime))
    until_tool(crew, run)
    waits = run.steer("it waits")
    now = run.steer("stop that", wait="settled", timeout=120, terms=Terms(now=True))
    assert now.outcome == "done"
    assert str(run.result(timeout=120)).startswith("echo: ")
    assert crew.receipt(waits.id).outcome == "done"
    wait_until(lambda: not sleepers(f"{seconds}.0"), "the tool to end")


@most
def test_a_steer_that_is_sent_while_it_speaks_is_answered(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "SLOWTEXT", agent(runtime))
    wait_until(lambda: attempt_of(run).ready_at, "it to be ready")
    assert run.steer("in the text", wait="settled", timeout=120).outcome == "done"
    assert run.result(timeout=120) == "echo: in the text"


@every
def test_an_error_of_the_model_fails_the_run(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ERR401", agent(runtime), retry=Retry(attempts=3))
    with pytest.raises(RunFailed, match="401"):
        run.result(timeout=120)
    assert len(run.show().attempts) == 1, "a key that is refused is not tried again"


@most
def test_what_may_pass_is_tried_again_by_a_new_agent(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ERR500", agent(runtime), retry=Retry(attempts=2, backoff_seconds=0.01))
    with pytest.raises(RunFailed, match="500"):
        run.result(timeout=120)
    assert [attempt.status for attempt in run.show().attempts] == ["failed", "failed"], "it is asked for the task again"


@most
def test_the_next_model_goes_on_where_one_cannot(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ERR429 UNLESS big", agent(runtime, fallback_models=("middle", "big")))
    assert str(run.result(timeout=120)).startswith("echo: ")
    attempt, *others = run.show().attempts
    assert not others, "it is one attempt"
    failed = [warning for warning in attempt.warnings if "has failed" in warning]
    assert ["middle goes on" in failed[0], "big goes on" in failed[1]] == [True, True]


@pytest.mark.parametrize(
    ("runtime", "named"), [("claude", "big:low"), ("codex", "big:low"), ("acp", "BIG"), ("acp", "big:low")]
)
def test_a_model_is_found_by_the_name_that_people_use(crew: Crew, runtime: AgentRuntime, named: str) -> None:
    run = ask(crew, "ERR429 UNLESS big", agent(runtime, model=named))
    assert str(run.result(timeout=120)).startswith("echo: ")


def test_a_session_that_cannot_be_copied_is_said_so(crew: Crew) -> None:
    run = ask(crew, "hello", agent("pi", session="gone", forks=True))
    assert run.result(timeout=120) == "echo: hello"
    assert attempt_of(run).warnings == ("its session could not be copied; it has begun a new one",)


def test_a_model_that_an_agent_does_not_offer_is_said_with_those_that_it_does(crew: Crew) -> None:
    run = ask(crew, "hello", agent("acp", model="opus"))
    run.result(timeout=120)
    assert attempt_of(run).warnings == ("the agent offers no model 'opus', but scripted, big; it uses its own",)


@most
def test_a_message_between_two_models_is_told_to_the_next_one(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ERR429 UNLESS big", agent(runtime, "--slow", "0.7", fallback_models=("big",)))
    wait_until(lambda: b"has failed" in b"".join(log_of(crew, run, "acts")), "the first model to fail")
    assert run.steer("in between", wait="settled", timeout=120).outcome == "done"
    assert str(run.result(timeout=120)).startswith("echo: ")
    acts = b"".join(log_of(crew, run, "acts"))
    assert b"session" not in acts


def test_a_pi_that_would_never_say_its_end_is_refused_at_its_start(crew: Crew) -> None:
    old = Agent(runtime="pi", command=agent("omp").command, name="old")  # neither knows `clear_queue`
    run = ask(crew, "do it", old, retry=Retry(attempts=3))
    with pytest.raises(RunFailed, match=r"crewd needs pi 0\.84\.4 or newer"):
        run.result(timeout=120)
    assert len(run.show().attempts) == 1


@most
def test_no_other_model_is_asked_with_a_key_that_was_refused(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ERR401 UNLESS big", agent(runtime, fallback_models=("big",)))
    with pytest.raises(RunFailed, match="401"):
        run.result(timeout=120)
    assert attempt_of(run).exit.code is None, "the agent has not exited by itself"


@most
def test_what_was_said_to_a_model_that_failed_is_said_to_the_next_one(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 3", agent(runtime, fallback_models=("big",)))
    until_tool(crew, run)
    receipt = run.steer("ERR503 UNLESS big", wait="settled", timeout=120)
    assert (receipt.level, receipt.outcome) == ("settled", "done")
    assert str(run.result(timeout=120)).startswith("echo: ")


@pytest.mark.parametrize("runtime", ["pi", "claude", "codex"])
def test_a_retry_inside_the_agent_is_progress(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "FLAKY", agent(runtime))
    assert run.result(timeout=120) == "echo: FLAKY"
    notes = [item.body for item in crew.events(run.id) if isinstance(item.body, ProgressSampled)]
    assert any(note.phase == "retry" for note in notes)


@every
def test_a_cancel_ends_the_agent_and_its_tools(crew: Crew, runtime: AgentRuntime) -> None:
    seconds = unique_seconds()
    run = ask(crew, f"TOOL {seconds}", agent(runtime))
    until_tool(crew, run)
    waits = run.steer("never seen")
    wait_until(lambda: sleepers(f"{seconds}.0"), "the tool")
    assert run.cancel(timeout=120).verified
    assert not sleepers(f"{seconds}.0")
    assert crew.receipt(waits.id).outcome in {"refused", "unknown"}, "it is not done"
    assert outcomes(crew, run) == ["cancelled"]


@most
def test_a_question_is_answered_by_people(crew: Crew, runtime: AgentRuntime) -> None:
    for answer, word in (("allow", "done"), ("deny", "failed")):
        run = ask(crew, "ASK TOOL 0.1", agent(runtime))
        wait_until(lambda run=run: open_asks(run), "the question")  # type: ignore[misc]
        (question,) = open_asks(run)
        text = answer if question.kind == "permission" else "yes" if answer == "allow" else "no"
        crew.respond(question.id, text)
        assert run.result(timeout=120) == "echo: ASK TOOL 0.1"
        if runtime not in {"acp", "codex"} or answer == "allow":  # the others tell of a tool only when it may run
            assert outcomes(crew, run) == [word]


@pytest.mark.parametrize("runtime", ["claude", "codex", "acp"])
def test_permissions_can_be_decided_before(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ASK TOOL 0.1", agent(runtime, permissions="allow"))
    assert run.result(timeout=120) == "echo: ASK TOOL 0.1"
    assert not open_asks(run)


@most
def test_a_cancel_closes_an_open_question(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "ASK TOOL 0.1", agent(runtime))
    wait_until(lambda: open_asks(run), "the question")
    assert run.cancel(timeout=120).verified


@most
def test_noise_and_long_records_do_no_harm(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "NOISE BIG 2000000 STREAM 2000", agent(runtime))
    assert run.result(timeout=120) == "x" * 16_000
    size = run.show().bytes
    assert size < 100_000, "what streams and what tools give is not kept in the log"


@most
def test_an_agent_that_dies_without_an_end_has_failed(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "DIE 3", agent(runtime))
    with pytest.raises(RunFailed, match="exit code 3, and it has not said how its work ended"):
        run.result(timeout=120)
    assert attempt_of(run).exit.code == 3


@most
def test_who_says_nothing_at_the_end_is_flagged(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "EMPTY", agent(runtime))
    assert run.result(timeout=120) == ""
    assert any("empty_result" in warning for warning in attempt_of(run).warnings)


@most
def test_the_text_of_a_message_is_only_text(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 3", agent(runtime))
    until_tool(crew, run)
    text = '@notes.md --help /exit \u2028 \x00 "quoted"\nsecond line'
    run.steer(text, wait="settled", timeout=120)
    assert run.result(timeout=120) == f"echo: {text}"


@most
def test_a_long_message_arrives_whole(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 0.5", agent(runtime))
    until_tool(crew, run)
    text = "ä" * 60_000
    run.steer(text, wait="settled", timeout=120)
    assert str(run.result(timeout=120)).startswith("echo: ää")
    kept = b"".join(log_of(crew, run, "acts"))
    told = [json.loads(line) for line in kept.splitlines()]
    assert text in [act["text"] for act in told if act["type"] == "prompt"]


@every
def test_a_message_at_the_very_end_is_answered_or_refused(crew: Crew, runtime: AgentRuntime) -> None:
    for _ in range(2):
        run = ask(crew, "hello", agent(runtime))
        wait_until(lambda run=run: b'"text": "echo' in b"".join(log_of(crew, run, "acts")), "its last words")  # type: ignore[misc]
        first = run.steer("one more thing", wait="accepted")
        run.wait(timeout=120)
        receipt = crew.receipt(first.id)
        if receipt.outcome == "done":
            assert run.result(timeout=120) == "echo: one more thing"
        else:  # said at once, or in the list of the run
            undelivered = [message.id for message in run.show().run.undelivered]
            assert (receipt.outcome, receipt.reason) == ("refused", "worker_ended")
            assert first.outcome == "refused" or undelivered == [first.id]


@most
def test_what_waits_when_it_is_cancelled_is_refused_and_listed(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 873", agent(runtime))
    until_tool(crew, run)
    key = run.steer("never taken", wait="delivered").id
    assert run.cancel(grace=60).verified, "with time to say what it held"
    assert (crew.receipt(key).outcome, crew.receipt(key).reason) == ("refused", "cancelled")
    assert [message.id for message in run.show().run.undelivered] == [key]
    acts = b"".join(log_of(crew, run, "acts"))
    assert b"echo: never taken" not in acts


@pytest.mark.parametrize("runtime", ["claude", "acp"])
def test_a_message_to_an_agent_that_starts_slowly_waits_for_it(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 0.5", agent(runtime, "--slow", "1"))
    receipt = run.steer("before it was ready", wait="settled", timeout=120)
    assert receipt.outcome == "done"
    assert run.result(timeout=120) == "echo: before it was ready"


@every
def test_an_agent_lives_on_when_crewd_is_killed(daemon: Daemon, crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 874", agent(runtime))  # however long crewd is away
    until_tool(crew, run)
    pid = attempt_of(run).pid
    daemon.kill()
    daemon.start()
    key = run.steer("after the kill", wait="accepted").id
    end_tools(run)
    wait_until(lambda: crew.receipt(key).settled, "the steer to settle")
    assert crew.receipt(key).outcome == "done"
    assert run.result(timeout=120) == "echo: after the kill"
    assert attempt_of(run).pid == pid, "it is the same one"


@pytest.mark.parametrize("runtime", ["claude", "codex", "acp"])
def test_who_was_killed_goes_on_with_its_own_session(crew: Crew, runtime: AgentRuntime) -> None:
    seconds = unique_seconds()
    run = ask(crew, f"TOOL {seconds}", agent(runtime), retry=Retry(attempts=2, backoff_seconds=0.01))
    until_tool(crew, run)
    psutil.Process(attempt_of(run).pid).kill()
    assert run.result(timeout=120) == "echo: Go on where you stopped.", "the task is not asked for twice"
    wait_until(lambda: not sleepers(f"{seconds}.0"), "what the first one left to end")


@pytest.mark.parametrize("runtime", ["pi", "codex"])
def test_turns_are_bounded_with_time_to_finish(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 0.1 ROUNDS 3", agent(runtime, turns=1, turns_grace=5))
    assert "You have used up the answers" in str(run.result(timeout=120))
    run = ask(crew, "TOOL 0.1 ROUNDS 3", agent(runtime, turns=1, turns_grace=0))
    with pytest.raises(RunFailed, match="it may give 1"):
        run.result(timeout=120)


def test_what_it_has_used_ends_it_at_its_limit(crew: Crew) -> None:
    run = ask(crew, "TOOL 0.1", agent("pi"), limits=Limits(tokens=30))
    with pytest.raises(RunFailed, match="tokens"):
        run.result(timeout=120)


def test_a_program_that_is_not_there_is_said(crew: Crew) -> None:
    run = ask(crew, "hello", Agent(runtime="pi", command=("no-such-agent",), name="pi"))
    with pytest.raises(RunFailed, match="no-such-agent was not found"):
        run.result(timeout=120)


def test_its_system_prompt_is_a_file_and_its_records_are_kept(daemon: Daemon, crew: Crew) -> None:
    run = ask(crew, "hello", agent("claude", system_prompt="You are a test."))
    run.result(timeout=120)
    folder = Path(attempt_of(run).directory)
    assert (folder / "system-prompt.md").read_text() == "You are a test."
    records = crew.log(run.id, stream="records").data.decode()
    assert '"type": "result"' in records
    assert "stream_event" not in records, "pieces are not kept"
    assert "You are a test." not in " ".join(str(each) for each in daemon.marked())


@most
def test_what_it_did_is_kept_in_the_same_words_for_every_agent(crew: Crew, runtime: AgentRuntime) -> None:
    run = ask(crew, "TOOL 0.1", agent(runtime))
    run.result(timeout=120)
    acts = [json.loads(line) for line in crew.log(run.id, stream="acts").data.splitlines()]
    assert [act["type"] for act in acts] == ["prompt", "tool", "tool_ended", "text"]
    prompt, tool, ended, text = acts
    assert (prompt["text"], prompt["message"], text["text"]) == ("TOOL 0.1", "", "echo: TOOL 0.1")
    assert (tool["id"], ended["outcome"]) == (ended["id"], "done")
    assert "sleep 0.1" in tool["preview"]


def test_a_secret_is_in_none_of_its_files(crew: Crew) -> None:
    spec = agent_workflow(agent("claude"))
    run = crew.run(spec, "say correct-horse-9", cwd="/", brought=Brought({}, {"HORSE": "correct-horse-9"}, {}))
    run.result(timeout=120)
    for stream in ("stdout", "acts", "records"):
        assert b"correct-horse-9" not in crew.log(run.id, stream=stream).data
    kept = Path(attempt_of(run).directory)
    assert all(b"correct-horse-9" not in path.read_bytes() for path in kept.iterdir() if path.is_file())


def test_what_looks_like_a_secret_is_in_neither_file_that_is_kept(crew: Crew) -> None:
    key = "sk-ant-api03-" + "Ab3dEf6hIj9k" * 4
    run = ask(crew, f"the key is {key} they say", agent("claude"))
    run.result(timeout=120)
    for name in ("acts.jsonl", "records.jsonl"):
        kept = (Path(attempt_of(run).directory) / name).read_text()
        assert key not in kept
        assert all(json.loads(line) for line in kept.splitlines()), "what is masked is JSON still"


def test_only_of_an_agent_its_acts_are_kept(crew: Crew) -> None:
    run = crew.exec(["true"])
    run.wait(timeout=120)
    with pytest.raises(UsageError, match="is no agent"):
        crew.log(run.id, stream="acts")


def test_a_session_that_is_not_there_any_more_is_begun_anew(crew: Crew) -> None:
    run = ask(crew, "hello", agent("pi", session="gone"))
    assert run.result(timeout=120) == "echo: hello", "it is given the task"
    assert any("begun a new one" in warning for warning in attempt_of(run).warnings)


@pytest.fixture
def below(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Callable[[RunHandle], None]:
    """What is started from now on is started by the worker of this run."""

    def begin(run: RunHandle) -> None:
        until_checkpoint(run)
        monkeypatch.setenv("CREWD_WORKER", marker(daemon.home.key, attempt_of(run).task, 1))

    return begin


def until_checkpoint(run: RunHandle) -> None:
    wait_until(lambda: run.show().attempts[-1:] and attempt_of(run).checkpoint, "the agent to have a session")


def session_of(run: RunHandle) -> object:
    checkpoint = attempt_of(run).checkpoint
    return checkpoint["session"] if isinstance(checkpoint, dict) else None


@most
def test_an_agent_that_forks_begins_with_a_copy_of_the_session_of_the_agent_that_starts_it(
    crew: Crew, runtime: AgentRuntime, below: Callable[[RunHandle], None]
) -> None:
    options = ("--steering",) if runtime == "acp" else ()
    above = ask(crew, "TOOL 1000", agent(runtime, *options))
    below(above)
    run = ask(crew, "hello", agent(runtime, *options, forks=True))
    assert run.result(timeout=120) == "echo: hello", "it is given the task, and not told to go on"
    assert session_of(run) == f"{session_of(above)}-copy"
    assert not attempt_of(run).warnings
    fresh = ask(crew, "hello", agent(runtime, *options))
    fresh.result(timeout=120)
    assert "-copy" not in str(session_of(fresh))
    above.cancel(mode="now")


def test_the_session_of_an_agent_that_starts_a_run_at_once_is_awaited(
    daemon: Daemon, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = ask(crew, "SLOWTEXT", agent("pi"))
    wait_until(lambda: above.show().attempts[-1:] and attempt_of(above).ready_at, "the agent to begin")
    above.steer("TOOL 1000")  # so that it works on when the text is complete
    monkeypatch.setenv("CREWD_WORKER", marker(daemon.home.key, attempt_of(above).task, 1))
    run = ask(crew, "hello", agent("pi", forks=True))
    run.result(timeout=120)
    assert session_of(run) == f"{session_of(above)}-copy"
    above.cancel(mode="now")


def test_an_agent_that_forks_goes_on_with_its_own_session_when_it_is_tried_again(
    crew: Crew, below: Callable[[RunHandle], None]
) -> None:
    above = ask(crew, "TOOL 1000", agent("claude"))
    below(above)
    run = ask(crew, "TOOL 864", agent("claude", forks=True), retry=Retry(attempts=2, backoff_seconds=0.01))
    until_checkpoint(run)
    psutil.Process(attempt_of(run).pid).kill()
    assert run.result(timeout=120) == "echo: Go on where you stopped."
    assert [each.task for each in run.show().attempts] == [attempt_of(run).task] * 2
    above.cancel(mode="now")


def test_an_agent_that_forks_finds_the_session_after_crewd_was_killed(
    daemon: Daemon, crew: Crew, below: Callable[[RunHandle], None]
) -> None:
    above = ask(crew, "TOOL 1000", agent("pi"))
    below(above)
    daemon.kill()
    daemon.start()
    run = ask(crew, "hello", agent("pi", forks=True))
    run.result(timeout=120)
    assert session_of(run) == f"{session_of(above)}-copy"
    above.cancel(mode="now")


def test_an_agent_that_has_no_session_to_copy_begins_a_new_one_and_says_so(
    crew: Crew, below: Callable[[RunHandle], None]
) -> None:
    alone = ask(crew, "hello", agent("pi", forks=True))
    assert alone.result(timeout=120) == "echo: hello"
    assert not attempt_of(alone).warnings, "nobody has started it whose session it could be"
    above = ask(crew, "TOOL 1000", agent("pi"))
    below(above)
    other = ask(crew, "hello", agent("claude", forks=True))
    assert other.result(timeout=120) == "echo: hello"
    told = ("contextMode fork: there is no session to copy, and it has begun a new one",)
    assert attempt_of(other).warnings == told, "no program reads the sessions of another one"
    unable = ask(crew, "hello", agent("acp", forks=True, session="elsewhere"))
    assert unable.result(timeout=120) == "echo: hello"
    assert any("cannot begin with a copy" in warning for warning in attempt_of(unable).warnings)
    omp = ask(crew, "hello", agent("omp", forks=True, session="elsewhere"))
    omp.result(timeout=120)
    assert attempt_of(omp).warnings == ("contextMode fork: omp cannot copy one, and it has begun a new one",)
    above.cancel(mode="now")


def test_an_agent_is_given_its_task_in_a_session_that_was_begun_before(crew: Crew) -> None:
    run = ask(crew, "hello", agent("pi", session="before"))
    assert run.result(timeout=120) == "echo: hello"


def test_an_agent_is_told_its_packet_and_the_files_that_it_promises_are_looked_for(crew: Crew, tmp_path: Path) -> None:
    packet = Packet("single_file", "{file}", ("it says hello",), artifacts=("made.txt",))
    step = Step("write", text="Say hello.", packet=packet, worker=WorkerSpec(agent=agent("claude")))
    workflow = Workflow("bounded", (step,), inputs={"file": Input()})
    run = crew.run(workflow, "greet", cwd=str(tmp_path), inputs={"file": "hello.md"})
    with pytest.raises(RunFailed, match=r"write\.verify"):
        run.result(timeout=120)
    prompt = json.loads(Shell(str(crew.home.root), tmp_path).ok("prompt", run.id, "--json"))
    told = prompt["first"]
    assert "Change only the file hello.md." in told
    assert told.index("Say hello.") < told.index("greet") < told.index("## Task packet")
    assert [part["source"] for part in prompt["sources"] if part["in"] == "first"] == ["step", "goal", "packet"]
    assert (
        "a file of the packet does not exist: ./made.txt" in crew.log(f"{run.id}/write.verify", stream="stderr").data.decode()
    )
    (tmp_path / "made.txt").touch()
    crew.retry(run.id)
    run.result(timeout=120)
    verified = replace(step, packet=Packet("workspace"), verify="test -e made.txt")
    crew.run(replace(workflow, steps=(verified,)), "greet", cwd=str(tmp_path), inputs={"file": "a"}).result(timeout=120)
    with pytest.raises(UsageError, match=r"has '\.\./x' in path"):
        crew.run(workflow, "greet", cwd=str(tmp_path), inputs={"file": "../x"})


def test_an_agent_is_started_with_its_extensions_and_without_what_it_is_to_leave_out(crew: Crew, tmp_path: Path) -> None:
    line = f'echo "$@" > {tmp_path}/words; exec {sys.executable} -m crewd.testing.agents pi "$@"'
    spec = Agent("pi", ("sh", "-c", line, "pi"), name="pi", extensions=("./ext.ts",), project_context=False, own_skills=False)
    ask(crew, "hello", spec).result(timeout=120)
    words = (tmp_path / "words").read_text()
    assert "--no-extensions --extension ./ext.ts --no-skills --no-context-files" in words
