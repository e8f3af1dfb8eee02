from __future__ import annotations

from typing import Any

from crewd.agents import acts as do
from crewd.agents.claude import INIT, INTERRUPT, Claude
from tests.agents.acting import TASK, hear, of, said

IDLE = {"type": "system", "subtype": "session_state_changed", "state": "idle"}
RUNNING = {"type": "system", "subtype": "session_state_changed", "state": "running"}


def replay(name: str) -> dict[str, Any]:
    return {"type": "user", "uuid": name, "isReplay": True, "message": {"role": "user", "content": "x"}}


def assistant(text: str, key: str = "a", **more: object) -> dict[str, Any]:
    message = {"id": key, "role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, **more}


def tool(key: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": key, "name": "Bash", "input": {"command": "ls"}}
    return {"type": "assistant", "message": {"id": key, "content": [block]}, "parent_tool_use_id": None}


def result(reason: str = "completed", **more: object) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 4}
    told = {"subtype": "success", "is_error": False, "terminal_reason": reason, "usage": usage, "total_cost_usd": 0.5}
    return {**told, **more, "type": "result"}


def working() -> tuple[Claude, str]:
    machine = Claude(TASK)
    assert said(machine.greet())[0]["request"] == {"subtype": "initialize"}
    init = {"subtype": "success", "request_id": INIT, "response": {"claude_code_version": "2.1"}}
    (ready,) = of(do.Ready, machine.hear({"type": "control_response", "response": init}))
    assert ready.software == "claude 2.1"
    (prompt,) = said(machine.prompt("", "do it"))
    hear(machine, RUNNING, replay(prompt["uuid"]))
    return machine, prompt["uuid"]


def test_a_folded_steer_is_applied_with_the_next_answer() -> None:
    machine, _ = working()
    (sent,) = said(machine.steer("m_1", "look", now=False))
    assert "priority" not in sent
    assert not of(do.Applied, hear(machine, tool("t"), replay(sent["uuid"])))
    acts = hear(machine, assistant("seen"), result(result="seen"), IDLE)
    assert of(do.Applied, acts) == [do.Applied("m_1")]
    assert acts[-2:] == [do.Done("m_1"), do.Stopped("completed", "seen")]


def test_a_result_ends_a_turn_and_idle_the_work() -> None:
    machine, _ = working()
    assert not of(do.Stopped, hear(machine, assistant("one"), result(result="one")))
    assert of(do.Stopped, hear(machine, assistant("two", "b"), result(result="two"), IDLE)) == [do.Stopped("completed", "two")]


def test_a_message_that_crosses_the_rest_is_waited_for() -> None:
    machine, _ = working()
    hear(machine, assistant("one"), result(result="one"))
    (sent,) = said(machine.steer("m_1", "late", now=False))
    assert not of(do.Stopped, machine.hear(IDLE))
    acts = hear(machine, RUNNING, replay(sent["uuid"]), assistant("late", "b"), result(result="late"), IDLE)
    assert of(do.Stopped, acts) == [do.Stopped("completed", "late")]


def test_success_that_is_none() -> None:
    machine, _ = working()
    failed = result("api_error", is_error=True, api_error_status=401, result="API Error: 401")
    (stopped,) = of(do.Stopped, hear(machine, assistant("API Error", is_api_error_message=True), failed, IDLE))
    assert (stopped.state, stopped.error, stopped.error_class) == ("failed", "API Error: 401", "PermanentError")
    machine, _ = working()
    (stopped,) = of(do.Stopped, hear(machine, result("aborted_streaming", result="half"), IDLE))
    assert stopped.state == "cancelled"


def test_now_interrupts_a_tool_and_only_cuts_text() -> None:
    machine, _ = working()
    assert [record.get("priority") for record in said(machine.steer("m_1", "now", now=True))] == ["now"]
    machine.hear(tool("t"))
    message, interrupt = said(machine.steer("m_2", "now", now=True))
    assert interrupt["request_id"] == INTERRUPT
    assert "priority" not in message, "one that says now makes the interrupt wait for the tool"
    block = {"type": "tool_result", "tool_use_id": "t", "content": "stopped", "is_error": True}
    ended = {"type": "user", "message": {"content": [block]}}
    assert of(do.ToolEnded, machine.hear(ended)) == [do.ToolEnded("t", "cancelled", "stopped")]


def test_permissions_and_questions() -> None:
    machine, _ = working()
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "rm x"}}
    (ask,) = of(do.Ask, machine.hear({"type": "control_request", "request_id": "r", "request": request}))
    assert (ask.kind, ask.permission, ask.question) == ("permission", True, "Bash: rm x")
    (reply,) = said(machine.answer("r", "allow"))
    assert reply["response"]["response"] == {"behavior": "allow", "updatedInput": {"command": "rm x"}}
    questions = [{"question": "Which?", "options": [{"label": "a"}, {"label": "b"}]}, {"question": "Why?", "options": []}]
    request = {"subtype": "can_use_tool", "tool_name": "AskUserQuestion", "input": {"questions": questions}}
    (first,) = of(do.Ask, machine.hear({"type": "control_request", "request_id": "q", "request": request}))
    assert (first.kind, first.choices) == ("choose", ("a", "b"))
    (second,) = of(do.Ask, machine.answer("q", "b"))
    assert (second.kind, second.question) == ("text", "Why?")
    (reply,) = said(machine.answer("q", "so"))
    assert reply["response"]["response"]["updatedInput"]["answers"] == {"Which?": "b", "Why?": "so"}


def test_a_request_that_is_withdrawn_and_one_that_is_unknown() -> None:
    machine, _ = working()
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {}}
    machine.hear({"type": "control_request", "request_id": "r", "request": request})
    assert machine.hear({"type": "control_cancel_request", "request_id": "r"}) == [do.Unask("r")]
    assert machine.answer("r", "allow") == []
    (reply,) = said(machine.hear({"type": "control_request", "request_id": "h", "request": {"subtype": "hook_callback"}}))
    assert reply["response"]["subtype"] == "error"


def test_a_session_is_named_once_and_cost_is_told_as_what_came_to_it() -> None:
    machine, _ = working()
    assert of(do.Session, hear(machine, {**RUNNING, "session_id": "s"}, {**RUNNING, "session_id": "s"})) == [do.Session("s")]
    assert of(do.Spent, hear(machine, result())) == [do.Spent(0, 7, 0.5)]
    assert of(do.Spent, hear(machine, result(total_cost_usd=0.75))) == [do.Spent(0, 7, 0.25)]


def test_a_message_that_the_program_itself_has_dealt_with_is_done() -> None:
    machine, _ = working()
    (sent,) = said(machine.steer("m_1", "/cost", now=False))
    done = {"type": "command_lifecycle", "command_uuid": sent["uuid"], "state": "completed"}
    assert machine.hear(done) == [do.Done("m_1")]


def test_what_a_subagent_says_applies_nothing_and_is_not_the_agents_text() -> None:
    machine, _ = working()
    (sent,) = said(machine.steer("m_1", "look", now=False))
    machine.hear(replay(sent["uuid"]))
    acts = machine.hear({**assistant("from below"), "parent_tool_use_id": "t"})
    assert not of(do.Applied, acts)
    assert not of(do.Said, acts)


def test_a_message_that_the_agent_puts_away_is_refused() -> None:
    machine, _ = working()
    (sent,) = said(machine.steer("m_1", "look", now=False))
    away = {"type": "command_lifecycle", "command_uuid": sent["uuid"], "state": "cancelled"}
    assert [act.id for act in of(do.Refused, machine.hear(away))] == ["m_1"]


def test_a_session_that_goes_on_is_charged_for_what_comes_to_it_only() -> None:
    machine = Claude(do.Task("/work", session="before", cost=0.5))
    assert of(do.Spent, machine.hear(result(total_cost_usd=0.75))) == [do.Spent(0, 7, 0.25)]


def test_marks_of_another_kind_do_no_harm() -> None:
    machine, _ = working()
    assert of(do.Said, machine.hear(assistant("x", user_message_uuids=[{}, 7, None]))) == [do.Said("x")]


def test_an_end_that_is_not_a_good_one_is_a_failure() -> None:
    machine, _ = working()
    (stopped,) = of(do.Stopped, hear(machine, assistant("a"), result("", subtype="error_max_turns"), IDLE))
    assert (stopped.state, stopped.error) == ("failed", "the turn ended as error_max_turns")


def test_who_is_idle_before_the_result_has_not_ended_yet() -> None:
    machine, _ = working()
    assert not of(do.Stopped, hear(machine, assistant("a"), IDLE))
    (stopped,) = of(do.Stopped, hear(machine, result("", is_error=True, result="it broke")))
    assert (stopped.state, stopped.error) == ("failed", "it broke")


def test_a_result_without_its_text_is_what_was_said_last() -> None:
    for without in (None, {"a": 1}):
        machine, _ = working()
        acts = hear(machine, assistant("the text"), result(result=without), IDLE)
        assert of(do.Stopped, acts) == [do.Stopped("completed", "the text")]
    machine, _ = working()
    acts = hear(machine, assistant("the text"), result("failed", result=None, is_error=True, subtype="error_x"), IDLE)
    (stopped,) = of(do.Stopped, acts)
    assert stopped.state == "failed" and "the text" not in stopped.error


def test_a_permission_that_cannot_be_answered_is_not_asked_for() -> None:
    machine, _ = working()
    nothing = {"subtype": "can_use_tool", "tool_name": None, "input": None}
    assert [act.what for act in of(do.Noted, machine.hear({"type": "control_request", "request_id": None, "request": nothing}))]
    (ask,) = of(do.Ask, machine.hear({"type": "control_request", "request_id": "r", "request": nothing}))
    assert ask.question == "a tool without a name"
