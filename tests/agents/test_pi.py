from __future__ import annotations

from typing import Any

from crewd.agents import acts as do
from crewd.agents.pi import ABORT, CLEAR, LOOK, STATE, TASK, Pi
from tests.agents.acting import TASK as OF_TEST
from tests.agents.acting import hear, of, said


def user(text: str) -> dict[str, Any]:
    return {"type": "message_start", "message": {"role": "user", "content": [{"type": "text", "text": text}]}}


def answer(text: str, reason: str = "stop", error: str = "") -> dict[str, Any]:
    content = [{"type": "text", "text": text}] if text else []
    usage = {"totalTokens": 30, "cost": {"total": 0.5}}
    message = {"role": "assistant", "content": content, "stopReason": reason, "errorMessage": error, "usage": usage}
    return {"type": "message_end", "message": message}


def response(key: str, command: str = "prompt", *, success: bool = True, **more: object) -> dict[str, Any]:
    return {"id": key, "type": "response", "command": command, "success": success, **more}


SETTLED = {"type": "agent_settled"}
START = {"type": "agent_start"}


def working(*, settles: bool = True) -> Pi:
    machine = Pi(OF_TEST, settles=settles)
    *clear, state = said(machine.greet())
    assert state == {"id": STATE, "type": "get_state"}
    for each in clear:
        assert machine.hear(response(each["id"], each["type"], data={"steering": [], "followUp": []})) == []
    (ready,) = of(do.Ready, machine.hear(response(STATE, "get_state", data={"sessionId": "s-1"})))
    assert ready.session == "s-1"
    assert said(machine.prompt("", "do it"))[0]["id"] == TASK
    hear(machine, response(TASK), START, user("do it"))
    return machine


def test_a_message_goes_out_as_a_prompt_that_may_steer() -> None:
    machine = working()
    assert said(machine.steer("m_1", "look", now=False)) == [
        {"id": "m_1", "type": "prompt", "message": "look", "streamingBehavior": "steer"}
    ]


def test_it_is_applied_when_the_model_has_answered_a_request_that_held_it() -> None:
    machine = working()
    machine.steer("m_1", "look", now=False)
    assert not of(do.Applied, hear(machine, response("m_1"), answer("not yet", "toolUse"), user("look")))
    acts = hear(machine, answer("seen"), {"type": "agent_end", "willRetry": False}, SETTLED)
    assert of(do.Applied, acts) == [do.Applied("m_1")]
    assert acts[-2:] == [do.Done("m_1"), do.Stopped("completed", "seen")]
    assert of(do.Spent, acts) == [do.Spent(1, 30, 0.5)]


def test_what_crosses_the_end_begins_a_run_of_its_own() -> None:
    machine = working()
    hear(machine, answer("done"))
    machine.steer("m_1", "late", now=False)
    assert not of(do.Stopped, machine.hear(SETTLED)), "it goes on for the message"
    acts = hear(machine, response("m_1"), START, user("late"), answer("late, too"), SETTLED)
    assert of(do.Stopped, acts) == [do.Stopped("completed", "late, too")]


def test_a_command_of_the_agent_itself_begins_no_run_and_ends() -> None:
    machine = working()
    hear(machine, answer("done"), SETTLED)
    machine.prompt("m_1", "/settings")
    (look,) = said(machine.hear(response("m_1")))
    assert look["id"].startswith(LOOK)
    acts = machine.hear(response(look["id"], "get_state", data={"isStreaming": False, "pendingMessageCount": 0}))
    assert of(do.Stopped, acts)


def test_a_look_that_was_asked_before_another_message_says_nothing_of_that() -> None:
    machine = working()
    hear(machine, answer("done"), SETTLED)
    machine.prompt("m_1", "first")
    (look,) = said(machine.hear(response("m_1")))
    hear(machine, START, user("first"), answer("one"), SETTLED)
    machine.prompt("m_2", "second")
    idle = response(look["id"], "get_state", data={"isStreaming": False, "pendingMessageCount": 0})
    assert machine.hear(idle) == []
    acts = hear(machine, response("m_2"), START, user("second"), answer("two"), SETTLED)
    assert acts[-2:] == [do.Done("m_2"), do.Stopped("completed", "two")]


def test_a_refused_message_leaves_the_one_before_it_to_be_looked_for() -> None:
    machine = working()
    hear(machine, answer("done"))
    machine.steer("m_1", "/settings", now=False)
    assert [record["type"] for record in said(machine.hear(SETTLED))] == ["get_state"]
    machine.steer("m_2", "more", now=False)
    (look,) = said(machine.hear(response("m_2", success=False, error="no")))
    acts = machine.hear(response(look["id"], "get_state", data={"isStreaming": False, "pendingMessageCount": 0}))
    assert of(do.Stopped, acts)


def test_now_takes_back_what_waits_and_says_it_again_before() -> None:
    machine = working()
    machine.steer("m_1", "waits", now=False)
    assert [record["type"] for record in said(machine.steer("m_2", "now", now=True))] == ["clear_queue", "abort"]
    hear(machine, response(CLEAR, "clear_queue", data={"steering": ["waits"], "followUp": []}))
    hear(machine, answer("", "error", "This operation was aborted"), SETTLED)
    again = said(machine.hear(response(ABORT, "abort")))
    assert [record["message"] for record in again] == ["waits", "now"]


def test_an_abort_answers_open_questions_first() -> None:
    machine = working()
    (ask,) = of(do.Ask, machine.hear({"type": "extension_ui_request", "id": "q", "method": "confirm", "title": "Run?"}))
    assert (ask.kind, ask.question) == ("confirm", "Run?")
    acts = machine.cancel()
    assert said(acts)[0] == {"type": "extension_ui_response", "id": "q", "cancelled": True}
    assert of(do.Unask, acts) == [do.Unask("q")]
    assert of(do.Stopped, machine.hear(response(ABORT, "abort"))) == [do.Stopped("cancelled")]


def test_questions_are_answered_in_the_words_of_their_method() -> None:
    machine = working()
    for method, text, expected in (("confirm", "no", {"confirmed": False}), ("select", "b", {"value": "b"}),
                                   ("input", "x", {"value": "x"})):  # fmt: skip
        machine.hear({"type": "extension_ui_request", "id": method, "method": method, "options": ["a", "b"]})
        assert said(machine.answer(method, text)) == [{"type": "extension_ui_response", "id": method, **expected}]
        assert machine.answer(method, text) == [], "a question is answered once"
    assert machine.hear({"type": "extension_ui_request", "id": "w", "method": "setWidget"}) == []


def test_an_error_of_the_model_fails_and_a_retry_does_not() -> None:
    machine = working()
    hear(machine, answer("", "error", "500: oops"), {"type": "agent_end", "willRetry": True})
    retry = {"type": "auto_retry_start", "attempt": 1, "maxAttempts": 2, "errorMessage": "500: oops"}
    assert of(do.Noted, machine.hear(retry)) == [do.Noted("retry", "try 2 of 3: 500: oops")]
    (stopped,) = of(do.Stopped, hear(machine, answer("", "error", "401: no"), SETTLED))
    assert (stopped.state, stopped.error, stopped.error_class) == ("failed", "401: no", "PermanentError")


def test_a_prompt_that_is_refused_is_a_refusal() -> None:
    machine = working()
    machine.steer("m_1", "x", now=False)
    (refused,) = of(do.Refused, machine.hear(response("m_1", success=False, error="too long")))
    assert (refused.id, refused.note) == ("m_1", "too long")


def test_oh_my_pi_ends_with_agent_end_unless_something_runs_on() -> None:
    machine = working(settles=False)
    assert not of(do.Stopped, hear(machine, answer("so far"), {"type": "agent_end", "isTerminal": False}))
    acts = hear(machine, START, answer("all"), {"type": "agent_end", "isTerminal": True})
    assert of(do.Stopped, acts) == [do.Stopped("completed", "all")]


def test_a_tool_that_ended_is_not_opened_again() -> None:
    machine = working()
    begin = {"type": "tool_execution_start", "toolCallId": "t", "toolName": "bash", "args": {"command": "ls  -l"}}
    end = {"type": "tool_execution_end", "toolCallId": "t", "result": {"content": []}, "isError": True}
    assert hear(machine, begin, end) == [do.ToolBegan("t", "bash", "ls -l"), do.ToolEnded("t", "failed", "")]
    assert hear(machine, end, {"type": "tool_execution_update", "toolCallId": "t"}) == []


def test_a_question_that_comes_while_it_aborts_is_answered_at_once() -> None:
    machine = working()
    machine.steer("m_1", "now", now=True)
    asked = machine.hear({"type": "extension_ui_request", "id": "u", "method": "confirm", "title": "Run?"})
    assert said(asked) == [{"type": "extension_ui_response", "id": "u", "cancelled": True}]
    assert not of(do.Ask, asked)


def test_oh_my_pi_aborts_and_is_prompted_with_one_command() -> None:
    machine = working(settles=False)
    assert said(machine.steer("m_1", "now", now=True)) == [{"id": "m_1", "type": "abort_and_prompt", "message": "now"}]
    aborted = {"type": "agent_end", "isTerminal": True}
    assert not of(do.Stopped, hear(machine, answer("", "aborted", "Interrupted by user"), aborted))
    acts = hear(machine, response("m_1", "abort_and_prompt"), START, user("now"), answer("so"), aborted)
    assert of(do.Stopped, acts) == [do.Stopped("completed", "so")]


def test_one_that_is_too_old_to_say_its_end_is_refused_before_it_works() -> None:
    machine = Pi(OF_TEST)
    clear, state = said(machine.greet())
    unknown = {"type": "response", "command": clear["type"], "success": False, "error": "Unknown command: clear_queue"}
    (stopped,) = of(do.Stopped, machine.hear(unknown))
    assert (stopped.state, stopped.error_class) == ("failed", "PermanentError")
    assert "0.84.4 or newer" in stopped.error
    assert machine.hear(response(state["id"], state["type"], data={"sessionId": "s"})) == []


def test_who_cannot_say_how_it_is_has_failed() -> None:
    machine = Pi(OF_TEST)
    machine.greet()
    (stopped,) = of(do.Stopped, machine.hear(response(STATE, "get_state", success=False, error="broken")))
    assert stopped.error == "broken"


def test_an_answer_that_is_not_finished_is_a_failure() -> None:
    (stopped,) = of(do.Stopped, hear(working(), answer("hm", "content_filter"), SETTLED))
    assert (stopped.state, stopped.error) == ("failed", "the model's answer ended as content_filter")
    (stopped,) = of(do.Stopped, hear(working(), answer("I will use a tool", "toolUse"), SETTLED))
    assert stopped.state == "failed" and "asks for a tool" in stopped.error


def test_a_tool_may_be_the_end() -> None:
    machine = working()
    tool = {"type": "tool_execution_start", "toolCallId": "t", "toolName": "submit", "args": {}}
    over = {"type": "tool_execution_end", "toolCallId": "t", "result": {"content": []}}
    assert of(do.Stopped, hear(machine, answer("done", "toolUse"), tool, over, SETTLED)) == [do.Stopped("completed", "done")]
    later = working()
    assert of(do.Stopped, hear(later, answer("x", "filter"), answer("good"), SETTLED)) == [do.Stopped("completed", "good")]
