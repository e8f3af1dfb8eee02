from __future__ import annotations

from typing import Any

from crewd.agents import acts as do
from crewd.agents.codex import Codex
from tests.agents.acting import TASK, hear, of, said


def note(method: str, **params: object) -> dict[str, Any]:
    return {"method": method, "params": {"threadId": "t", **params}}


def item(what: str, **item: object) -> dict[str, Any]:
    return note(f"item/{what}", turnId="u1", item=item)


def ended(turn: str = "u1", status: str = "completed", **more: object) -> dict[str, Any]:
    return note("turn/completed", turn={"id": turn, "status": status, **more})


def working() -> Codex:
    machine = Codex(TASK)
    (hello,) = said(machine.greet())
    initialized, start = said(machine.hear({"id": hello["id"], "result": {}}))
    assert (initialized["method"], start["method"]) == ("initialized", "thread/start")
    (ready,) = of(do.Ready, machine.hear({"id": start["id"], "result": {"thread": {"id": "t"}}}))
    assert ready.session == "t"
    (prompt,) = said(machine.prompt("", "do it"))
    hear(machine, {"id": prompt["id"], "result": {"turn": {"id": "u1"}}}, note("turn/started", turn={"id": "u1"}))
    machine.hear(item("started", type="userMessage", id="i0", clientId=None))
    return machine


def steer(machine: Codex, key: str, turn: str = "u1") -> None:
    (sent,) = said(machine.steer(key, f"text of {key}", now=False))
    assert (sent["method"], sent["params"]["clientUserMessageId"]) == ("turn/start", key)
    machine.hear({"id": sent["id"], "result": {"turn": {"id": turn}}})


def test_a_steer_is_applied_with_the_next_item_of_the_agent() -> None:
    machine = working()
    steer(machine, "m_1")
    assert not of(do.Applied, machine.hear(item("completed", type="agentMessage", id="a", text="not yet")))
    machine.hear(item("started", type="userMessage", id="i", clientId="m_1"))
    acts = hear(machine, item("completed", type="agentMessage", id="b", text="seen"), ended())
    assert of(do.Applied, acts) == [do.Applied("m_1")]
    assert acts[-2:] == [do.Done("m_1"), do.Stopped("completed", "seen")]


def test_what_an_ended_turn_has_not_taken_is_sent_again() -> None:
    machine = working()
    steer(machine, "m_1")
    acts = machine.hear(ended())
    assert [record["params"]["clientUserMessageId"] for record in said(acts)] == ["m_1"]
    assert not of(do.Stopped, acts)


def test_an_answer_that_names_a_turn_that_has_ended_since_sends_again() -> None:
    machine = working()
    (sent,) = said(machine.steer("m_1", "late", now=False))
    assert not of(do.Stopped, machine.hear(ended())), "it is on its way"
    (again,) = said(machine.hear({"id": sent["id"], "result": {"turn": {"id": "u1"}}}))
    assert again["params"]["clientUserMessageId"] == "m_1"


def test_now_interrupts_ends_what_runs_on_and_keeps_what_waited() -> None:
    machine = working()
    machine.hear(item("started", type="commandExecution", id="c", command="sleep"))
    steer(machine, "m_1")
    methods = [record["method"] for record in said(machine.steer("m_2", "now", now=True))]
    assert methods == ["turn/interrupt", "thread/backgroundTerminals/clean"]
    again = said(machine.hear(ended(status="interrupted")))
    assert [record["params"]["clientUserMessageId"] for record in again] == ["m_1", "m_2"]
    late = item("completed", type="commandExecution", id="c", status="failed")
    assert machine.hear(late) == [do.ToolEnded("c", "cancelled", "")]


def test_errors_retries_and_warnings() -> None:
    machine = working()
    retry = note("error", error={"message": "Reconnecting"}, willRetry=True)
    assert machine.hear(retry) == [do.Noted("retry", "Reconnecting")]
    assert machine.hear(item("completed", type="error", id="e", message="odd")) == [do.Noted("warning", "odd")]
    error = {"message": "busy", "codexErrorInfo": {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}}
    (stopped,) = of(do.Stopped, machine.hear(ended(status="failed", error=error)))
    assert (stopped.state, stopped.error, stopped.error_class) == ("failed", "busy", "TransientError")


def test_requests_have_numbers_of_their_own_that_begin_with_nought() -> None:
    machine = working()
    asked = {"id": 0, **note("item/commandExecution/requestApproval", command="rm x")}
    (ask,) = of(do.Ask, machine.hear(asked))
    assert (ask.question, ask.permission) == ("shell: rm x", True)
    assert said(machine.answer(ask.key, "deny")) == [{"id": 0, "result": {"decision": "decline"}}]
    machine.hear(asked)
    assert machine.hear(note("serverRequest/resolved", requestId=0)) == [do.Unask(ask.key)]
    (refusal,) = said(machine.hear({"id": 1, **note("unknown/method")}))
    assert refusal["error"]["code"] == -32601


def test_a_question_has_choices() -> None:
    machine = working()
    question = {"id": "q", "question": "Which?", "options": [{"label": "a"}]}
    (ask,) = of(do.Ask, machine.hear({"id": 3, **note("item/tool/requestUserInput", questions=[question])}))
    assert (ask.kind, ask.choices) == ("choose", ("a",))
    assert said(machine.answer(ask.key, "a")) == [{"id": 3, "result": {"answers": {"q": {"answers": ["a"]}}}}]


def test_tokens_are_told_as_what_came_to_them() -> None:
    machine = working()
    usage = [note("thread/tokenUsage/updated", tokenUsage={"last": {"totalTokens": last}}) for last in (10, 15)]
    assert of(do.Spent, hear(machine, *usage)) == [do.Spent(1, 10), do.Spent(1, 15)]
    assert hear(Codex(TASK), *usage) == [], "what a thread that goes on has used before is not told again"


def test_a_thread_that_goes_on_is_resumed() -> None:
    machine = Codex(do.Task("/work", session="before", system_prompt="be brief"))
    (hello,) = said(machine.greet())
    _, resume = said(machine.hear({"id": hello["id"], "result": {}}))
    assert (resume["method"], resume["params"]["threadId"]) == ("thread/resume", "before")
    assert resume["params"]["developerInstructions"] == "be brief"


def test_a_copy_of_a_thread_goes_on_by_its_own_name() -> None:
    machine = Codex(do.Task("/work", session="before", forks=True))
    (hello,) = said(machine.greet())
    _, fork = said(machine.hear({"id": hello["id"], "result": {}}))
    assert (fork["method"], fork["params"]["threadId"]) == ("thread/fork", "before")
    (ready,) = of(do.Ready, machine.hear({"id": fork["id"], "result": {"thread": {"id": "copy"}}}))
    assert (ready.session, ready.goes_on) == ("copy", True)


def test_all_questions_of_a_request_are_asked() -> None:
    machine = working()
    questions = [{"id": "a", "question": "One?"}, {"id": "b", "question": "Two?"}]
    (first,) = of(do.Ask, machine.hear({"id": 3, **note("item/tool/requestUserInput", questions=questions)}))
    (second,) = of(do.Ask, machine.answer(first.key, "1"))
    (reply,) = said(machine.answer(second.key, "2"))
    assert reply["result"] == {"answers": {"a": {"answers": ["1"]}, "b": {"answers": ["2"]}}}


def test_each_message_that_is_not_on_its_way_is_sent_again() -> None:
    machine = working()
    machine.steer("m_1", "now", now=True)
    (sent,) = said(machine.steer("m_2", "late", now=False))
    again = said(machine.hear(ended(status="interrupted")))
    assert [record["params"]["clientUserMessageId"] for record in again] == ["m_1"]
    assert sent["params"]["clientUserMessageId"] == "m_2"


def test_an_end_that_is_not_known_is_a_failure() -> None:
    for status, says in (("cancelled", "ended as cancelled"), ("", "has not said how")):
        (stopped,) = of(do.Stopped, working().hear(ended(status=status)))
        assert stopped.state == "failed"
        assert says in stopped.error


def test_a_thread_without_a_name_is_a_failed_start() -> None:
    machine = Codex(TASK)
    (hello,) = said(machine.greet())
    _, start = said(machine.hear({"id": hello["id"], "result": {}}))
    (stopped,) = machine.hear({"id": start["id"], "result": {"thread": {"id": None}}})
    assert isinstance(stopped, do.Stopped)
    assert stopped.state == "failed" and "which thread" in stopped.error


def test_an_answer_to_nothing_is_warned_of_once() -> None:
    machine = working()
    assert [act.what for act in of(do.Noted, machine.hear({"id": 9999, "result": {}}))] == ["warning"]
    assert machine.hear({"id": 9998, "error": {"message": "x"}}) == []
