"""`crew acp` as an editor sees it: the protocol's own SDK over standard input and output."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from crewd.client.acp.wire import LINE_BYTES_MAX
from crewd.client.blocking import Crew, connect
from crewd.client.discover import restarter
from crewd.client.user_file import user_path
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.late import Late
from tests.shell import MAIN

if TYPE_CHECKING:
    from tests.client.acp import editor
else:
    editor = Late("tests.client.acp.editor")

pytestmark = pytest.mark.process
POINTS = ("session_before_switch", "before_cancel")


def define(folder: Path, runtime: str = "claude", *options: str) -> None:
    command = ", ".join((sys.executable, "-m", "crewd.testing.agents", *options, runtime))
    (folder / ".crew" / "agents").mkdir(parents=True, exist_ok=True)
    (folder / ".crew" / "agents" / "stand-in.md").write_text(f"---\nruntime: {runtime}\ncommand: [{command}]\n---\n")


def lead(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, editor.SECONDS))


def test_a_prompt_is_a_run_and_the_next_one_goes_on_with_it(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            done = await agent.prompt(session_id=session, prompt=editor.say("TOOL 0.3"))
            assert done.stop_reason == "end_turn"
            assert "echo: TOOL 0.3" in seen.text
            [tool], [ended] = seen.of("tool_call"), seen.of("tool_call_update")
            assert (tool.kind, tool.status, ended.status) == ("execute", "in_progress", "completed")
            assert tool.tool_call_id == ended.tool_call_id
            assert not seen.of("user_message_chunk"), "it knows what it has said itself"
            assert (await agent.prompt(session_id=session, prompt=editor.say("and more"))).stop_reason == "end_turn"
            assert "echo: and more" in seen.text
            run = crew.show(session).run
            assert (run.status.value, run.cwd) == ("completed", str(tmp_path))
            assert len(crew.show(session).attempts) == 2

    define(tmp_path)
    lead(edit())


def test_a_cancel_ends_the_run_and_the_next_prompt_starts_it_again(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 871")))
            await seen.until("tool_call")
            await agent.cancel(session_id=session)
            assert (await prompt).stop_reason == "cancelled"
            assert crew.show(session).run.status.value == "cancelled", "with proof that no process is left"
            assert (await agent.prompt(session_id=session, prompt=editor.say("go on"))).stop_reason == "end_turn"
            assert "echo: go on" in seen.text

    define(tmp_path)
    lead(edit())


def test_an_editor_steers_by_the_extension_and_by_a_second_prompt(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            steering = {"sessionId": session, "prompt": [{"type": "text", "text": "look first"}]}
            assert (await agent.ext_method("session/steering", steering))["outcome"] == "promptRequired"
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 3")))
            await seen.until("tool_call")
            assert (await agent.ext_method("session/steering", steering))["outcome"] == "injected"
            second = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("then this")))
            assert [(await each).stop_reason for each in (prompt, second)] == ["end_turn", "end_turn"]
            assert [row.receipt.outcome for row in crew.messages(session)] == ["done", "done"]

    define(tmp_path)
    lead(edit())


def test_a_prompt_that_comes_when_a_turn_is_about_to_end_begins_the_next_one(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            for number in range(6):
                first = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say(f"TOOL 0.1{number}")))
                while f"echo: TOOL 0.1{number}" not in seen.text:
                    await seen.hears()
                await asyncio.sleep(0.01 * number)
                late = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say(f"late {number}")))
                assert [(await each).stop_reason for each in (first, late)] == ["end_turn", "end_turn"]
                assert f"echo: late {number}" in seen.text
            assert "was not taken" not in "".join(each.content.text for each in seen.of("agent_thought_chunk"))

    define(tmp_path)
    lead(edit())


def test_a_prompt_that_comes_while_the_first_one_begins_its_run_is_told_to_it(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            both = [agent.prompt(session_id=session, prompt=editor.say(text)) for text in ("TOOL 1", "and this")]
            assert [done.stop_reason for done in await asyncio.gather(*both)] == ["end_turn", "end_turn"]
            assert "echo: and this" in seen.text
            listed = (await agent.list_sessions(cwd=str(tmp_path))).sessions
            assert [each.session_id for each in listed] == [session], "one run, by the id that the editor knows"

    define(tmp_path)
    lead(edit())


def test_a_call_of_a_tool_ends_with_its_agent(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 873")))
            await seen.until("tool_call")
            psutil.Process(crew.show(session).attempts[-1].pid).kill()
            with pytest.raises(editor.Refused):
                await prompt
            assert [each.status for each in seen.of("tool_call_update")] == ["failed"]

    define(tmp_path)
    lead(edit())


def test_what_a_callable_returns_is_shown(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "value.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            assert (await agent.prompt(session_id=session, prompt=editor.say("go"))).stop_reason == "end_turn"
            assert '"answer": 42' in seen.text
            seen.updates.clear()
            await agent.load_session(session_id=session, cwd=str(tmp_path), mcp_servers=[])
            assert '"answer": 42' in seen.text

    (tmp_path / "values.py").write_text("def f():\n    return {'answer': 42}\n")
    (tmp_path / "value.workflow.md").write_text("## value\ncall: values:f\n")
    lead(edit())


def test_a_choice_that_the_editor_dismisses_is_made_by_the_next_prompt(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in", answer="") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            prompt = await agent.prompt(session_id=session, prompt=editor.say("ASK TOOL 0.1"))
            assert prompt.stop_reason == "end_turn"
            assert "The next prompt answers it: allow, deny" in seen.text
            assert crew.show(session).run.ended_at is None
            with pytest.raises(editor.Refused, match="neither allow nor deny"):
                await agent.prompt(session_id=session, prompt=editor.say("perhaps"))
            assert (await agent.prompt(session_id=session, prompt=editor.say("allow"))).stop_reason == "end_turn"
            assert crew.show(session).run.status.value == "completed"

    define(tmp_path)
    lead(edit())


def test_a_cancel_in_the_middle_of_a_choice_is_a_cancel(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in", answer="") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            seen.hold = asyncio.Event()
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("ASK TOOL 872")))
            await seen.is_asked.wait()
            await agent.cancel(session_id=session)
            seen.hold.set()
            assert (await prompt).stop_reason == "cancelled"

    define(tmp_path)
    lead(edit())


@pytest.mark.parametrize(("answer", "outcome"), [("allow", "completed"), ("deny", "failed")])
def test_a_question_of_a_worker_is_asked_in_the_editor(crew: Crew, tmp_path: Path, answer: str, outcome: str) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in", answer=answer) as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            assert (await agent.prompt(session_id=session, prompt=editor.say("ASK TOOL 0.1"))).stop_reason == "end_turn"
            assert [options for _, options in seen.asked] == [["allow", "deny"]]
            assert [ended.status for ended in seen.of("tool_call_update")] in ([outcome], [])

    define(tmp_path)
    lead(edit())


def test_a_question_without_choices_is_answered_by_the_next_prompt(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "ask.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            assert (await agent.prompt(session_id=session, prompt=editor.say("go"))).stop_reason == "end_turn"
            assert "what colour?" in seen.text
            assert crew.show(session).run.ended_at is None
            assert (await agent.prompt(session_id=session, prompt=editor.say("blue"))).stop_reason == "end_turn"
            assert crew.result(session) == "blue"

    (tmp_path / "colours.py").write_text("def ask(ctx):\n    return ctx.ask('what colour?')\n")
    (tmp_path / "ask.workflow.md").write_text("## ask\ncall: colours:ask\n")
    lead(edit())


def test_an_answer_that_does_not_fit_is_asked_for_again(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "ask.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            for number, text in enumerate(("go", "5", "[]", '{"a": 1}')):
                assert seen.text.count("which settings?") == number
                assert (await agent.prompt(session_id=session, prompt=editor.say(text))).stop_reason == "end_turn"
            assert "5 is not of type 'object'" in "".join(each.content.text for each in seen.of("agent_thought_chunk"))
            assert crew.result(session) == '{"a": 1}'

    question = "ctx.ask('which settings?', kind='json', schema={'type': 'object'})"
    (tmp_path / "settings.py").write_text(f"def ask(ctx):\n    return {question}\n")
    (tmp_path / "ask.workflow.md").write_text("## ask\ncall: settings:ask\n")
    lead(edit())


def test_questions_of_two_workers_are_answered_one_after_the_other(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "ask.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            await agent.prompt(session_id=session, prompt=editor.say("go"))
            wait_until(lambda: len(crew.show(session).asks) == 2, "both questions")
            for answer in ("blue", "red"):
                assert (await agent.prompt(session_id=session, prompt=editor.say(answer))).stop_reason == "end_turn"
            assert {crew.result(f"{session}/{step}") for step in ("a", "b")} == {"blue", "red"}
            assert seen.text.count("what colour?") >= 2

    (tmp_path / "colours.py").write_text("def ask(ctx):\n    return ctx.ask('what colour?')\n")
    (tmp_path / "ask.workflow.md").write_text("## a\ncall: colours:ask\n\n## b\ncall: colours:ask\n")
    lead(edit())


def test_a_prompt_is_answered_when_its_session_is_closed_or_cancelled_at_once(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            for how in (agent.close_session, agent.cancel):
                session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
                prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 872")))
                if how == agent.close_session:
                    await seen.until("tool_call")
                else:
                    await asyncio.sleep(0)  # the prompt is on its way, and its run is not known yet
                await how(session_id=session)
                assert (await prompt).stop_reason == "cancelled"
                wait_until(lambda session=session: crew.show(session).run.status == "cancelled", "its end")  # type: ignore[misc]

    define(tmp_path)
    lead(edit())


def test_hooks_of_the_user_keep_a_session_open_and_its_run_alive(crew: Crew, tmp_path: Path) -> None:
    hooks = user_path("hooks.toml")
    hooks.parent.mkdir(parents=True, exist_ok=True)

    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 873")))
            await seen.until("tool_call")
            hooks.write_text("".join(f"[{on}]\non = '{on}'\nrun = 'exit 1'\nblocking = true\n" for on in POINTS))
            for refused in (agent.close_session(session_id=session), agent.load_session(str(tmp_path), session)):
                with pytest.raises(editor.Refused, match="session_before_switch"):
                    await refused
            await agent.cancel(session_id=session)
            await seen.until("agent_message_chunk")
            assert "hook before_cancel (before_cancel) blocks it: exit code 1; the run goes on" in seen.text
            assert crew.show(session).run.status.value == "running"
            hooks.unlink()
            await agent.cancel(session_id=session)
            assert (await prompt).stop_reason == "cancelled"
            on = [ran.on for ran in crew.show(session).run.hooks]
            assert on == ["session_before_switch", "session_before_switch", "before_cancel"]

    define(tmp_path)
    lead(edit())


def test_several_steps_are_a_plan_and_a_prompt_names_one(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "two.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            assert (await agent.prompt(session_id=session, prompt=editor.say("go"))).stop_reason == "end_turn"
            assert [(entry.content, entry.status) for entry in seen.of("plan")[-1].entries] == [
                ("first", "completed"), ("second", "completed"),
            ]  # fmt: skip
            assert seen.text == "**first**\n\none\n**second**\n\ntwo\n"
            assert (await agent.prompt(session_id=session, prompt=editor.say("again"))).stop_reason == "end_turn"
            assert crew.show(session).run.goal == "again", "a workflow runs anew for each prompt"

    (tmp_path / "two.workflow.md").write_text("## first\nrun: echo one\n## second\ndependsOn: first\nrun: echo two\n")
    lead(edit())


@pytest.mark.parametrize(
    ("text", "again"),
    [("## only\nrun: printf '%s.' \"$CREWD_GOAL\"\n", "go on"), ("## a\nrun: echo a\n## b\nrun: echo b\n", "@a go on")],
)
def test_a_later_prompt_to_what_takes_none_is_answered(crew: Crew, tmp_path: Path, text: str, again: str) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "told.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            for said in ("begin", again, again):
                assert (await agent.prompt(session_id=session, prompt=editor.say(said))).stop_reason == "end_turn"
            if "@" in again:
                assert "What you said was not taken: refused" in "".join(
                    each.content.text for each in seen.of("agent_thought_chunk")
                )
            else:
                assert seen.text == "begin.go on.go on."

    (tmp_path / "told.workflow.md").write_text(text)
    lead(edit())


@pytest.mark.usefixtures("daemon")
def test_a_run_of_somebody_else_is_opened_replayed_and_steered(crew: Crew, tmp_path: Path) -> None:
    async def edit(run: str) -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            listed = (await agent.list_sessions(cwd=str(tmp_path))).sessions
            assert [each.session_id for each in listed] == [run]
            await agent.load_session(session_id=run, cwd=str(tmp_path), mcp_servers=[])
            await seen.until("tool_call")
            assert [update.content.text for update in seen.of("user_message_chunk")] == ["TOOL 3"]
            assert (await agent.prompt(session_id=run, prompt=editor.say("from the editor"))).stop_reason == "end_turn"
            assert "echo: from the editor" in seen.text
            seen.updates.clear()
            await agent.load_session(session_id=run, cwd=str(tmp_path), mcp_servers=[])
            assert "echo: from the editor" in seen.text
            assert [update.content.text for update in seen.of("user_message_chunk")] == ["TOOL 3", "from the editor"]
            seen.updates.clear()
            await agent.resume_session(session_id=run, cwd=str(tmp_path), mcp_servers=[])
            assert not seen.updates, "it goes on without what was said before"

    define(tmp_path)
    argv = [sys.executable, "-c", MAIN, "--home", str(crew.home.root), "run", "TOOL 3", "-a", "stand-in"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    [run] = [row.id for row in crew.runs(all=True).runs if row.cwd == str(tmp_path)]
    lead(edit(run))


def test_an_error_of_the_model_is_an_error_of_the_prompt(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, _):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            with pytest.raises(editor.Refused, match="401"):
                await agent.prompt(session_id=session, prompt=editor.say("ERR401"))
            assert crew.show(session).run.status.value == "failed"

    define(tmp_path)
    lead(edit())


def test_what_cannot_be_done_is_refused_in_words(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, _):
            for refused, words in (
                (agent.new_session(cwd="relative", mcp_servers=[]), "absolute path"),
                (agent.load_session(session_id="nothing", cwd="/", mcp_servers=[]), "nothing"),
                (agent.prompt(session_id="nothing", prompt=editor.say("x")), "no session"),
                (agent.set_config_option(config_id="agent", session_id="nothing", value="x"), "no session"),
                (agent.ext_method("other", {}), "does not answer"),
            ):
                with pytest.raises(editor.Refused, match=words):
                    await refused
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            for prompt, words in (([editor.picture()], "image"), (editor.say("  "), "empty")):
                with pytest.raises(editor.Refused, match=words):
                    await agent.prompt(session_id=session, prompt=prompt)

    define(tmp_path)
    lead(edit())


def test_files_of_the_editor_are_in_the_prompt(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            blocks = [*editor.say("look at"), editor.file_by_name("b.py"), editor.file_with_text("a.py", "pass")]
            await agent.prompt(session_id=session, prompt=blocks)
            assert "look at\n[b.py](file:///b.py)\nfile:///a.py:\n\npass" in seen.text

    define(tmp_path)
    lead(edit())


def test_the_editor_chooses_among_installed_agents(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path) as (agent, seen):
            opened = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
            [option] = opened.config_options or []
            assert {each.value for each in option.options} >= {"stand-in", "other"}
            await agent.set_config_option(config_id="agent", session_id=opened.session_id, value="other")
            await agent.prompt(session_id=opened.session_id, prompt=editor.say("hello"))
            assert "echo: hello" in seen.text
            assert crew.show(opened.session_id).tasks[0].runtime == "pi"

    define(tmp_path, "pi")
    folder = tmp_path / ".crew" / "agents"
    (folder / "stand-in.md").rename(folder / "other.md")
    define(tmp_path)
    monkeypatch.chdir(tmp_path)
    lead(edit())


def test_garbage_is_answered_and_an_editor_that_ends_ends_no_run(crew: Crew, tmp_path: Path) -> None:
    define(tmp_path)
    argv = [sys.executable, "-c", MAIN, "--home", str(crew.home.root), "acp", "-a", "stand-in"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(line: bytes) -> dict[str, Any]:
            server.stdin.write(line + b"\n")  # type: ignore[union-attr]
            server.stdin.flush()  # type: ignore[union-attr]
            return dict(json.loads(server.stdout.readline()))  # type: ignore[union-attr]

        assert ask(b"{broken")["error"]["code"] == -32700
        assert ask(b"[1]")["error"]["code"] == -32600
        assert ask(b'{"id": 1e400, "method": "nothing"}')["error"]["code"] == -32700
        assert ask(b'{"id": 6, "method": 5}') == {
            "jsonrpc": "2.0", "id": 6, "error": {"code": -32600, "message": "this is no request of JSON-RPC 2.0"},
        }  # fmt: skip
        assert "more than 16777216 bytes" in ask(b"x" * (LINE_BYTES_MAX + 9))["error"]["message"]
        assert ask(b'{"id": 1}\n{"id": 7, "method": "nothing"}')["error"]["code"] == -32601
        assert ask(b'{"id": 8, "method": "session/prompt", "params": {"prompt": 5}}')["error"]["code"] == -32602
        new = json.dumps({"id": 9, "method": "session/new", "params": {"cwd": str(tmp_path), "mcpServers": []}}).encode()
        session = ask(new)["result"]["sessionId"]
        wrong = {"sessionId": session, "prompt": [{"type": "text", "text": 5}]}
        refused = ask(json.dumps({"id": 11, "method": "session/prompt", "params": wrong}).encode())
        assert refused["error"]["message"] == "a block of the type text has no text"
        prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "TOOL 2"}]}
        assert ask(json.dumps({"id": 10, "method": "session/prompt", "params": prompt}).encode())["method"] == "session/update"
        server.stdin.close()
        assert server.wait(editor.SECONDS) == 0
    wait_until(lambda: crew.show(session).run.status == "completed", "the run to go on to its end")


def test_a_program_that_speaks_to_crewd_shows_its_result(crew: Crew, tmp_path: Path) -> None:
    async def edit() -> None:
        async with editor.editing(crew, tmp_path, "-w", "speaks.workflow.md") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            assert (await agent.prompt(session_id=session, prompt=editor.say("go"))).stop_reason == "end_turn"
            assert "all is well" in seen.text

    records = '{"type": "hello"}', '{"type": "end", "state": "completed", "result": "all is well"}'
    (tmp_path / "speaks.sh").write_text("#!/bin/sh\n" + "".join(f"echo '{record}'\n" for record in records) + "cat >&2\n")
    (tmp_path / "speaks.workflow.md").write_text("## speaks\nrun: exec sh speaks.sh\nprotocol: crewd-stdio\n")
    lead(edit())


def test_a_prompt_starts_a_crewd_that_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWD_AUTOSTART", "1")

    async def edit(daemon: Daemon, crew: Crew) -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            await agent.prompt(session_id=session, prompt=editor.say("one"))
            daemon.stop()
            assert (await agent.prompt(session_id=session, prompt=editor.say("two"))).stop_reason == "end_turn"
            assert "echo: two" in seen.text

    define(tmp_path)
    with Daemon(tmp_path / "home") as daemon, daemon.connect() as crew:
        lead(edit(daemon, crew))
        with connect(str(daemon.home.root), start=False) as other:
            other.stop_daemon()
        wait_until(lambda: restarter(daemon.home) is None, "the crewd that was started to end")


def test_a_session_goes_on_with_the_next_crewd_when_crewd_is_killed(tmp_path: Path) -> None:
    async def edit(daemon: Daemon, crew: Crew) -> None:
        async with editor.editing(crew, tmp_path, "-a", "stand-in") as (agent, seen):
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
            prompt = asyncio.create_task(agent.prompt(session_id=session, prompt=editor.say("TOOL 3")))
            await seen.until("tool_call")
            daemon.kill()
            daemon.start()
            assert (await prompt).stop_reason == "end_turn"
            assert seen.text.count("echo: TOOL 3") == 1, "nothing is shown twice"
            assert len(seen.of("tool_call")) == 1

    define(tmp_path)
    with Daemon(tmp_path / "home") as daemon, daemon.connect() as crew:
        lead(edit(daemon, crew))
