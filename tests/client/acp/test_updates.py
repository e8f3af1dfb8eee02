"""What an editor is told of acts, questions and steps, and how its prompts are read: values in, values out."""

from __future__ import annotations

import pytest

from crewd.client.acp.updates import addressed, kind_of, options_of, plan_of, said, text_of, update_of
from crewd.model.events import AskOpened
from crewd.model.rows import TaskRow
from crewd.model.statuses import TaskStatus


def test_control_sequences_of_a_worker_do_not_reach_the_editor() -> None:
    assert said("\x1b[31mred\x1b[0m\x07")["content"]["text"] == "red"
    tool = update_of({"type": "tool", "id": "1", "name": "Bash\x1b[2J", "preview": "ls\x1b]0;x\x07"}, "s", ())
    assert tool is not None
    assert tool["title"] == "Bash: ls"


@pytest.mark.parametrize(
    ("act", "kind", "status"),
    [
        ({"type": "text", "text": "a"}, "agent_message_chunk", None),
        ({"type": "thought", "text": "a"}, "agent_thought_chunk", None),
        ({"type": "note", "about": "retry", "text": "a"}, "agent_thought_chunk", None),
        ({"type": "prompt", "message": "m_1", "text": "a"}, "user_message_chunk", None),
        ({"type": "tool", "id": "1", "name": "Read"}, "tool_call", "in_progress"),
        ({"type": "tool_ended", "id": "1", "outcome": "done"}, "tool_call_update", "completed"),
        ({"type": "tool_ended", "id": "1", "outcome": "cancelled"}, "tool_call_update", "failed"),
        ({"type": "tool_ended", "id": "1", "outcome": "what is this"}, "tool_call_update", "failed"),
    ],
)
def test_an_act_is_an_update(act: dict[str, str], kind: str, status: str | None) -> None:
    update = update_of(act, "r/s#1", ("m_2",))
    assert update is not None
    assert (update["sessionUpdate"], update.get("status")) == (kind, status)


@pytest.mark.parametrize(
    "act",
    [
        {"type": "prompt", "message": "m_2", "text": "a"},
        {"type": "prompt", "message": "~go-on", "text": "a"},
        {"type": "new"},
        {},
    ],
)
def test_what_the_editor_has_said_itself_and_what_is_not_known_is_no_update(act: dict[str, str]) -> None:
    assert update_of(act, "r/s#1", ("m_2",)) is None


def test_a_tool_of_another_attempt_is_another_tool() -> None:
    ids = [update_of({"type": "tool", "id": "1", "name": "x"}, source, ()) for source in ("r/s#1", "r/s#2")]
    assert len({str(update["toolCallId"]) for update in ids if update is not None}) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Bash", "execute"),
        ("apply_patch", "edit"),
        ("Grep", "search"),
        ("WebFetch", "fetch"),
        ("Read", "read"),
        ("Task", "other"),
    ],
)
def test_the_kind_of_a_tool_comes_from_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("kind", "choices", "answers"),
    [
        ("permission", (), ["allow", "deny"]), ("confirm", (), ["yes", "no"]), ("choose", ("red", "blue"), ["red", "blue"]),
        ("text", (), []), ("json", (), []),
    ],
)  # fmt: skip
def test_the_options_of_a_question_are_its_answers(kind: str, choices: tuple[str, ...], answers: list[str]) -> None:
    options = options_of(AskOpened(id="q", question="?", kind=kind, choices=choices))
    assert [option["optionId"] for option in options] == answers


def test_a_plan_says_what_did_not_go_well() -> None:
    tasks = [
        TaskRow(id=f"r/{status}", run="r", step=status.value, status=status, runtime="exec")
        for status in (TaskStatus.QUEUED, TaskStatus.WAITING, TaskStatus.COMPLETED, TaskStatus.FAILED)
    ]
    assert [(entry["content"], entry["status"]) for entry in plan_of(tasks)["entries"]] == [
        ("queued", "pending"), ("waiting", "in_progress"), ("completed", "completed"), ("failed (failed)", "completed"),
    ]  # fmt: skip


def test_a_prompt_is_its_texts_files_and_links() -> None:
    resource = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    link = {"type": "resource_link", "name": "b", "uri": "file:///b"}
    assert text_of([{"type": "text", "text": "see"}, link, resource]) == "see\n[b](file:///b)\nfile:///a:\n\ninside"
    for block in (
        {"type": "image"},
        {"type": "resource", "resource": {"blob": "AA=="}},
        {"type": "resource", "resource": 5},
        {},
    ):
        with pytest.raises(ValueError, match="is no text"):
            text_of([block])


@pytest.mark.parametrize(
    ("text", "step", "rest"),
    [
        ("@review look", "review", "look"), ("@other look", "", "@other look"), ("@review", "", "@review"),
        ("look @review", "", "look @review"), ("", "", ""),
    ],
)  # fmt: skip
def test_a_prompt_may_name_a_step(text: str, step: str, rest: str) -> None:
    assert addressed(text, ["review", "test"]) == (step, rest)
