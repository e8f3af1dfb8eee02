from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from crewd.agents import acts as do
from crewd.agents.acp import LOG_IN, Acp
from crewd.agents.pieces import TEXT_CHARS_MAX
from tests.agents.acting import hear, of, said


def update(kind: str, **update: object) -> dict[str, Any]:
    return {"method": "session/update", "params": {"sessionId": "s", "update": {"sessionUpdate": kind, **update}}}


def chunk(text: str) -> dict[str, Any]:
    return update("agent_message_chunk", content={"type": "text", "text": text})


def ready(*, steers: bool = False, task: do.Task | None = None) -> Acp:
    machine = Acp(task or do.Task("/work"))
    (hello,) = said(machine.greet())
    result: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
    if steers:
        result["_meta"] = {"steering": {"supported": True}}
    (new,) = said(machine.hear({"id": hello["id"], "result": result}))
    assert new["jsonrpc"] == "2.0"
    (known,) = of(do.Ready, machine.hear({"id": new["id"], "result": {"sessionId": "s"}}))
    assert known.capabilities.steer == ("extension" if steers else "interrupt")
    return machine


def prompted(machine: Acp) -> object:
    (prompt,) = said(machine.prompt("", "do it"))
    assert prompt["method"] == "session/prompt"
    return prompt["id"]


def quiet(machine: Acp, acts: do.Acts) -> do.Acts:
    """The quiet time after the end is over."""
    return machine.due(of(do.After, acts)[-1].what)


@pytest.mark.parametrize("version", [2, 0, True, "2", [1], "x" * 5_000])
def test_an_agent_of_another_version_of_the_protocol_is_not_used(version: object) -> None:
    machine = Acp(do.Task("/work"))
    (hello,) = said(machine.greet())
    (stopped,) = machine.hear({"id": hello["id"], "result": {"protocolVersion": version}})
    assert isinstance(stopped, do.Stopped)
    assert stopped.state == "failed"
    assert "and crewd version 1" in stopped.error
    assert len(stopped.error) < 200


def test_what_comes_after_the_answer_belongs_to_it() -> None:
    machine = ready()
    number = prompted(machine)
    hear(machine, chunk("all but the en"))
    acts = machine.hear({"id": number, "result": {"stopReason": "end_turn"}})
    late = machine.hear(chunk("d"))
    assert quiet(machine, acts) == [], "something has come since"
    assert quiet(machine, late) == [do.Said("all but the end"), do.Stopped("completed", "all but the end")]
    assert machine.hear(update("tool_call", toolCallId="t", status="pending")) == [do.Said(" ")][:0], "nothing is opened again"


def test_no_second_prompt_is_sent_while_one_is_open() -> None:
    machine = ready()
    number = prompted(machine)
    assert machine.steer("m_1", "look", now=False) == []
    acts = hear(machine, chunk("one"), {"id": number, "result": {"stopReason": "end_turn"}})
    (again,) = said(quiet(machine, acts))
    assert again["params"]["prompt"] == [{"type": "text", "text": "look"}]
    assert of(do.Applied, machine.hear(chunk("two"))) == [do.Applied("m_1")]


def test_an_agent_that_knows_steering_is_steered() -> None:
    machine = ready(steers=True)
    prompted(machine)
    (sent,) = said(machine.steer("m_1", "look", now=False))
    assert sent["method"] == "_session/steering"
    assert machine.hear({"id": sent["id"], "result": {"outcome": "injected"}}) == []
    assert of(do.Applied, machine.hear(chunk("seen"))) == [do.Applied("m_1")]
    (sent,) = said(machine.steer("m_2", "late", now=False))
    machine.hear({"id": sent["id"], "result": {"outcome": "promptRequired"}})
    assert not of(do.Applied, machine.hear(chunk("not for it")))


def test_now_is_a_cancel_and_then_a_prompt_with_all_that_waits() -> None:
    machine = ready()
    number = prompted(machine)
    machine.steer("m_1", "waits", now=False)
    assert [record["method"] for record in said(machine.steer("m_2", "now", now=True))] == ["session/cancel"]
    acts = machine.hear({"id": number, "result": {"stopReason": "cancelled"}})
    (again,) = said(quiet(machine, acts))
    assert [block["text"] for block in again["params"]["prompt"]] == ["waits", "now"]


def test_a_cancel_answers_open_questions_and_whatever_is_asked_after_it() -> None:
    machine = ready()
    number = prompted(machine)
    options = [{"optionId": "y", "kind": "allow_once"}, {"optionId": "n", "kind": "reject_once"}]
    request = {"id": 0, "method": "session/request_permission", "params": {"toolCall": {"title": "rm"}, "options": options}}
    (ask,) = of(do.Ask, machine.hear(request))
    acts = machine.cancel()
    cancelled = {"jsonrpc": "2.0", "id": 0, "result": {"outcome": {"outcome": "cancelled"}}}
    assert said(acts) == [{"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "s"}}, cancelled]
    assert of(do.Unask, acts) == [do.Unask(ask.key)]
    assert said(machine.hear(request)) == [cancelled]
    acts = machine.hear({"id": number, "result": {"stopReason": "end_turn"}})
    assert of(do.Stopped, quiet(machine, acts)) == [do.Stopped("cancelled")], "some say end_turn when they were cancelled"


def test_a_permission_is_given_once_or_refused() -> None:
    machine = ready()
    prompted(machine)
    options = [{"optionId": kind, "kind": kind} for kind in ("allow_always", "allow_once", "reject_once")]
    for text, option in (("allow", "allow_once"), ("deny", "reject_once")):
        (ask,) = of(do.Ask, machine.hear({"id": 0, "method": "session/request_permission", "params": {"options": options}}))
        (reply,) = said(machine.answer(ask.key, text))
        assert reply["result"] == {"outcome": {"outcome": "selected", "optionId": option}}


@pytest.mark.parametrize("options", [[], [{"optionId": "y", "kind": "yes"}], [{"optionId": "n", "kind": "reject_once"}], None])
def test_a_permission_that_nobody_could_give_is_an_error_of_the_agent(options: object) -> None:
    machine = ready()
    prompted(machine)
    acts = machine.hear({"id": 7, "method": "session/request_permission", "params": {"options": options}})
    (reply,) = said(acts)
    assert (reply["id"], reply["error"]["code"]) == (7, -32602)
    assert not of(do.Ask, acts), "nobody is asked what no answer could change"


def test_an_end_with_an_error_fails() -> None:
    machine = ready()
    error = {"code": 401, "message": "no"}
    (stopped,) = of(do.Stopped, quiet(machine, machine.hear({"id": prompted(machine), "error": error})))
    assert (stopped.state, stopped.error_class) == ("failed", "PermanentError")


def test_who_must_log_in_is_told_so() -> None:
    machine = Acp(do.Task("/work"))
    (hello,) = said(machine.greet())
    (new,) = said(machine.hear({"id": hello["id"], "result": {}}))
    (stopped,) = of(
        do.Stopped, machine.hear({"id": new["id"], "error": {"code": LOG_IN, "message": "Authentication required"}})
    )
    assert stopped.error == "Authentication required: log in with the agent itself first"


def test_a_session_is_loaded_and_what_it_replays_is_not_said_again() -> None:
    machine = Acp(do.Task("/work", session="before"))
    (hello,) = said(machine.greet())
    (load,) = said(machine.hear({"id": hello["id"], "result": {"agentCapabilities": {"loadSession": True}}}))
    assert (load["method"], load["params"]["sessionId"]) == ("session/load", "before")
    assert machine.hear(chunk("said before")) == []
    assert of(do.Ready, machine.hear({"id": load["id"], "result": {}}))[0].session == "before"


def test_a_copy_of_a_session_is_told_the_system_prompt_and_what_it_replays_is_not_said_again() -> None:
    machine = Acp(do.Task("/work", session="before", forks=True, given=True, system_prompt="be brief"))
    (hello,) = said(machine.greet())
    able: dict[str, Any] = {"agentCapabilities": {"sessionCapabilities": {"fork": {}}}}
    (fork,) = said(machine.hear({"id": hello["id"], "result": able}))
    assert (fork["method"], fork["params"]["sessionId"]) == ("session/fork", "before")
    assert machine.hear(chunk("said before")) == []
    assert of(do.Ready, machine.hear({"id": fork["id"], "result": {"sessionId": "copy"}}))[0].session == "copy"
    (prompt,) = said(machine.prompt("", "do it"))
    assert prompt["params"]["sessionId"] == "copy"
    assert [block["text"] for block in prompt["params"]["prompt"]] == ["be brief", "do it"]


def test_who_cannot_copy_a_session_never_works_in_the_session_itself() -> None:
    machine = Acp(do.Task("/work", session="before", forks=True))
    (hello,) = said(machine.greet())
    acts = machine.hear({"id": hello["id"], "result": {"agentCapabilities": {"loadSession": True}}})
    assert [record["method"] for record in said(acts)] == ["session/new"]
    assert "cannot begin with a copy" in of(do.Noted, acts)[0].text


def test_the_model_is_one_that_the_agent_offers() -> None:
    def asked(model: str) -> tuple[list[str], list[str]]:
        machine = Acp(do.Task("/work", model=model))
        (hello,) = said(machine.greet())
        (new,) = said(machine.hear({"id": hello["id"], "result": {"agentCapabilities": {}}}))
        offered = {"availableModels": [{"modelId": "a/opus"}, {"modelId": "b/opus"}, {"modelId": "a/sonnet"}]}
        acts = machine.hear({"id": new["id"], "result": {"sessionId": "s", "models": {**offered, "currentModelId": "b/opus"}}})
        return [record["params"]["modelId"] for record in said(acts)], [note.text for note in of(do.Noted, acts)]

    assert asked("a/sonnet") == (["a/sonnet"], [])
    assert asked("sonnet") == (["a/sonnet"], ["'sonnet' is a/sonnet"])
    assert asked("b/opus") == ([], []), "it is the one that it uses"
    assert asked("opus") == ([], ["'opus' may be any of a/opus, b/opus: name one of them; it uses its own"])
    assert asked("a/sonnet:high") == (["a/sonnet"], ["no level of thinking is given over ACP: high"])


def test_the_model_that_an_agent_uses_is_one_that_it_offers() -> None:
    machine = Acp(do.Task("/work", model="m1"))
    (hello,) = said(machine.greet())
    (new,) = said(machine.hear({"id": hello["id"], "result": {"agentCapabilities": {}}}))
    models = {"availableModels": [], "currentModelId": "m1"}
    acts = machine.hear({"id": new["id"], "result": {"sessionId": "s", "models": models}})
    assert (said(acts), of(do.Noted, acts)) == ([], [])


def test_a_session_that_was_begun_before_the_task_is_told_the_system_prompt() -> None:
    for given, told in ((True, ["be brief", "do it"]), (False, ["do it"])):
        machine = Acp(do.Task("/work", session="before", system_prompt="be brief", given=given))
        (hello,) = said(machine.greet())
        (load,) = said(machine.hear({"id": hello["id"], "result": {"agentCapabilities": {"loadSession": True}}}))
        machine.hear({"id": load["id"], "result": {}})
        (prompt,) = said(machine.prompt("", "do it"))
        assert [block["text"] for block in prompt["params"]["prompt"]] == told


def test_a_system_prompt_goes_before_the_first_prompt() -> None:
    machine = ready(task=do.Task("/work", system_prompt="be brief"))
    (prompt,) = said(machine.prompt("", "do it"))
    assert [block["text"] for block in prompt["params"]["prompt"]] == ["be brief", "do it"]


def test_what_was_injected_is_not_applied_by_an_answer_that_ran_before() -> None:
    machine = ready(steers=True)
    number = prompted(machine)
    machine.hear(chunk("word1 "))
    (sent,) = said(machine.steer("m_1", "look", now=False))
    assert not of(do.Applied, hear(machine, {"id": sent["id"], "result": {"outcome": "injected"}}, chunk("word2")))
    tool = update("tool_call", toolCallId="t", status="completed")
    assert of(do.Applied, hear(machine, tool, chunk("seen"))) == [do.Applied("m_1")]
    assert machine.hear(update("tool_call_update", toolCallId="t", status="completed")) == [], "it has ended before"
    assert of(do.Stopped, quiet(machine, machine.hear({"id": number, "result": {"stopReason": "end_turn"}})))


def test_an_end_waits_for_the_word_on_a_steer_that_is_on_its_way() -> None:
    machine = ready(steers=True)
    number = prompted(machine)
    machine.hear(chunk("all"))
    (sent,) = said(machine.steer("m_1", "late", now=False))
    acts = machine.hear({"id": number, "result": {"stopReason": "end_turn"}})
    again = machine.due(of(do.After, acts)[-1].what)
    assert not said(again)
    machine.hear({"id": sent["id"], "result": {"outcome": "promptRequired"}})
    assert [record["method"] for record in said(quiet(machine, again))] == ["session/prompt"]


def test_a_session_that_cannot_be_loaded_is_a_new_one_and_says_so() -> None:
    machine = Acp(do.Task("/work", session="before"))
    (hello,) = said(machine.greet())
    (load,) = said(machine.hear({"id": hello["id"], "result": {"agentCapabilities": {"loadSession": True}}}))
    acts = machine.hear({"id": load["id"], "error": {"code": -32603, "message": "Invalid session identifier"}})
    (new,) = said(acts)
    assert new["method"] == "session/new"
    (known,) = of(do.Ready, machine.hear({"id": new["id"], "result": {"sessionId": "s2"}}))
    assert (known.session, known.goes_on) == ("s2", False)


def test_of_an_answer_without_end_the_beginning_is_kept_in_whole_lines() -> None:
    machine = ready()

    def answer(*pieces: str) -> do.Acts:
        number = prompted(machine)
        for piece in pieces:
            machine.hear(chunk(piece))
        return quiet(machine, machine.hear({"id": number, "result": {"stopReason": "end_turn"}}))

    line = "x" * 999 + "\n"
    acts = answer(*[line] * (TEXT_CHARS_MAX // len(line)), "a secret that is", " cut", *["more"] * 1_000)
    (said_text,) = of(do.Said, acts)
    (stopped,) = of(do.Stopped, acts)
    assert stopped.text == said_text.text == line * (TEXT_CHARS_MAX // len(line))
    assert "long_answer" in stopped.warnings[0]
    (stopped,) = of(do.Stopped, answer("x" * (TEXT_CHARS_MAX + 1)))
    assert (len(stopped.text), len(stopped.warnings)) == (TEXT_CHARS_MAX, 1)
    for text in ("short", "x" * TEXT_CHARS_MAX):
        assert [(each.text, each.warnings) for each in of(do.Stopped, answer(text))] == [(text, ())]


def test_a_short_answer_after_a_long_text_is_whole() -> None:
    machine = ready()
    number = prompted(machine)
    machine.hear(chunk("x" * (TEXT_CHARS_MAX + 1)))
    machine.hear(update("tool_call", toolCallId="t", status="completed", title="look"))
    machine.hear(chunk("done"))
    (stopped,) = of(do.Stopped, quiet(machine, machine.hear({"id": number, "result": {"stopReason": "end_turn"}})))
    assert (stopped.text, stopped.warnings) == ("done", ())


def test_an_answer_in_many_small_pieces_takes_little_more_memory_than_its_text() -> None:
    machine, pieces = ready(), 20_000
    prompted(machine)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(pieces):
            machine.hear(chunk(f"word{number % 10} "))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 3 * pieces * len("word0 "), "each as a text of its own takes ten times as much"


@pytest.mark.parametrize(
    ("result", "says"), [(None, "has not said how"), ({}, "has not said how"), ({"stopReason": "error"}, "as error, which")]
)
def test_an_end_that_acp_does_not_know_is_a_failure(result: object, says: str) -> None:
    machine = ready()
    (stopped,) = of(do.Stopped, quiet(machine, machine.hear({"id": prompted(machine), "result": result})))
    assert stopped.state == "failed"
    assert says in stopped.error


def test_what_is_said_in_another_session_or_before_the_prompt_is_no_answer() -> None:
    machine = ready()
    assert machine.hear(chunk("welcome")) == []
    assert machine.hear(update("tool_call", toolCallId="early", status="in_progress", rawInput={"a": 1})) == []
    number = prompted(machine)
    foreign = chunk("foreign")
    foreign["params"]["sessionId"] = "other"
    (warning,) = machine.hear(foreign)
    assert isinstance(warning, do.Noted) and "another session" in warning.text
    assert machine.hear(foreign) == []
    acts = hear(machine, chunk("mine"), {"id": number, "result": {"stopReason": "end_turn"}})
    assert of(do.Spent, acts) == [do.Spent(turns=1)]
    assert of(do.Stopped, quiet(machine, acts)) == [do.Stopped("completed", "mine")]


def test_a_number_that_comes_back_as_a_text_is_the_number() -> None:
    machine = Acp(do.Task("/work"))
    (hello,) = said(machine.greet())
    (new,) = said(machine.hear({"id": str(hello["id"]), "result": {"protocolVersion": "1"}}))
    assert new["method"] == "session/new"


def test_an_answer_to_nothing_is_warned_of_once() -> None:
    machine = ready()
    number = prompted(machine)
    (warning,) = machine.hear({"id": 99, "error": {"code": -32700, "message": "Parse error"}})
    assert isinstance(warning, do.Noted) and warning.text == "it has answered no open request: id 99: Parse error"
    assert hear(machine, {"id": True, "result": {}}, {"result": {}}) == []
    assert of(do.After, machine.hear({"id": number, "result": {"stopReason": "end_turn"}}))


@pytest.mark.parametrize(
    ("step", "answer"), [("initialize", None), ("initialize", []), ("session/new", {}), ("session/new", None)]
)
def test_a_handshake_that_lacks_what_all_else_needs_fails(step: str, answer: object) -> None:
    machine = Acp(do.Task("/work"))
    (sent,) = said(machine.greet())
    if step == "session/new":
        (sent,) = said(machine.hear({"id": sent["id"], "result": {"protocolVersion": 1}}))
    (stopped,) = machine.hear({"id": sent["id"], "result": answer})
    assert isinstance(stopped, do.Stopped)
    assert stopped.state == "failed" and stopped.error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("boom", "boom"), ({}, "it gives an error without a text"), ({"code": -32603}, "without a text (code -32603)"),
        ({"code": 7, "message": None}, "(code 7)"),
    ],
)  # fmt: skip
def test_an_error_that_is_not_by_the_book_keeps_its_text(error: object, text: str) -> None:
    machine = ready()
    number = prompted(machine)
    acts = machine.hear({"id": number, "error": error})
    (stopped,) = of(do.Stopped, quiet(machine, acts))
    assert stopped.state == "failed" and text in stopped.error


def test_a_copy_without_a_name_is_not_the_session_itself() -> None:
    machine = Acp(do.Task("/work", session="parent", forks=True))
    (hello,) = said(machine.greet())
    can: dict[str, Any] = {"sessionCapabilities": {"fork": {}}}
    (fork,) = said(machine.hear({"id": hello["id"], "result": {"protocolVersion": 1, "agentCapabilities": can}}))
    assert fork["method"] == "session/fork"
    (stopped,) = machine.hear({"id": fork["id"], "result": {}})
    assert isinstance(stopped, do.Stopped) and stopped.state == "failed"
