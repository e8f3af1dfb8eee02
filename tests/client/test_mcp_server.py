"""`crew mcp` as a leader sees it: the SDK's own client over standard input and output, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

from crewd.client.blocking import Crew
from crewd.client.shapes import exec_workflow
from crewd.client.user_file import user_path
from crewd.model.budget import Budget
from crewd.model.news import NewsItem, Severity
from crewd.protocol.replies import NewsReply
from tests.late import Late
from tests.shell import MAIN

if TYPE_CHECKING:
    import mcp

    from crewd.client import mcp_leader, mcp_server
else:
    mcp, mcp_server = Late("mcp"), Late("crewd.client.mcp_server")
    mcp_leader = Late("crewd.client.mcp_leader")

pytestmark = pytest.mark.process
DEFINITION = f"---\nruntime: claude\ncommand: [{sys.executable}, -m, crewd.testing.agents, claude]\n---\n"
Mode = Literal["auto", "legacy"]


@asynccontextmanager
async def leader(
    crew: Crew, folder: Path, mode: Mode = "auto", *, apart: bool = False, name: str = ""
) -> AsyncIterator[mcp.Client]:  # fmt: skip
    """A leader whose server works in this directory: in this process, or as leaders start it (which takes a second)."""
    (folder / ".crew" / "agents").mkdir(parents=True, exist_ok=True)
    (folder / ".crew" / "agents" / "stand-in.md").write_text(DEFINITION)
    with contextlib.chdir(folder):
        server: Any = mcp_server.make_server(str(crew.home.root), name)
        if apart:
            command = ["-c", MAIN, "--home", str(crew.home.root), "mcp"]
            server = mcp.StdioServerParameters(command=sys.executable, args=command, cwd=str(folder), env=dict(os.environ))
        async with mcp.Client(server, mode=mode) as client:
            yield client


async def call(client: mcp.Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's structured answer; what it refuses is raised."""
    reply = await client.call_tool(tool, arguments)
    text = " ".join(getattr(block, "text", "") for block in reply.content)
    if reply.is_error:
        raise RuntimeError(text)
    assert reply.structured_content is not None, text
    return dict(reply.structured_content)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_leader_starts_steers_and_hears_of_the_end(crew: Crew, tmp_path: Path, mode: Mode) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path, mode, apart=True) as client:
            run = await call(client, "crew_run", goal="TOOL 5", agent="stand-in", request_id=f"lead-{mode}")
            again = await call(client, "crew_run", goal="TOOL 5", agent="stand-in", request_id=f"lead-{mode}")
            assert run["run"] == again["run"], "the same request is the same run"
            told = await call(client, "crew_steer", run=run["run"], text="look first", wait="settled", timeout_s=60)
            assert (told["level"], told["outcome"]) == ("settled", "done")
            names = (run["run"], run["name"], f"{run['run']}/stand-in", f"{run['name']}/stand-in")
            told = [await call(client, "crew_follow_up", run=each, text="more", request_id="f") for each in names]  # type: ignore[assignment]
            assert len({each["message"] for each in told}) == 1, "the same request is the same message, whatever names the run"  # type: ignore[index]
            listed = await call(client, "crew_list", all=True)
            assert run["run"] in {each["run"] for each in listed["runs"]}
            assert not listed["more"]
            stands = await call(client, "crew_wait", run=run["run"], timeout_s=60)
            assert (stands["status"], stands["over"], stands["steps"]) == ("completed", True, {"stand-in": "completed"})
            result = await call(client, "crew_result", run=run["run"])
            assert result["text"].startswith("echo: ")
            told = await call(client, "crew_summary", run=run["run"], chars=900)
            assert "next: crew result" in told["text"]
            assert run["run"] in (await call(client, "crew_summary"))["text"]
            events = await call(client, "crew_events", run=run["run"], limit=3)
            assert len(events["events"]) == 3
            more = await call(client, "crew_events", run=run["run"], after=events["cursor"])
            assert more["events"][0]["seq"] > events["cursor"]

    anyio.run(lead)


def test_a_hook_of_the_user_is_asked_whatever_a_leader_starts(crew: Crew, tmp_path: Path) -> None:
    hooks = user_path("hooks.toml")
    hooks.parent.mkdir(parents=True, exist_ok=True)
    hooks.write_text("[guard]\non = 'before_task_start'\nrun = 'exit 1'\nblocking = true\n")

    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            for what in ({"command": ["true"]}, {"goal": "x", "agent": "stand-in"}):
                run = await call(client, "crew_run", **what)
                stands = await call(client, "crew_wait", run=run["run"], timeout_s=60)
                assert "hook guard (before_task_start) blocks it" in json.dumps(stands)
                crew.reject(run["run"])

    anyio.run(lead)


def test_a_hook_of_the_user_stops_and_changes_what_a_leader_wants_of_a_run(crew: Crew, tmp_path: Path) -> None:
    hooks = user_path("hooks.toml")
    hooks.parent.mkdir(parents=True, exist_ok=True)
    more = """echo '{"verdict":"modify","text":"ask about the deadline"}'"""
    hooks.write_text(
        "[guard]\non = 'before_cancel'\nrun = 'exit 1'\nblocking = true\n"
        f"[tell]\non = 'before_compact'\nrun = '''{more}'''\n"
        "[start]\non = 'before_run_start'\nrun = '! grep -q nothing'\nblocking = true\n"
    )

    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            with pytest.raises(RuntimeError, match="nothing is started"):
                await call(client, "crew_run", command=["true"], name="nothing")
            run = (await call(client, "crew_run", command=["sleep", "600"]))["run"]
            with pytest.raises(RuntimeError, match=r"hook guard \(before_cancel\) blocks it"):
                await call(client, "crew_cancel", run=run, why="it is late")
            for which in ({"run": run}, {}):
                assert (await call(client, "crew_summary", **which))["text"] == "ask about the deadline"
            assert (await call(client, "crew_cancel", run=run, why="it is late", now=True))["verified"]
            on = [ran.on for ran in crew.show(run).run.hooks]
            assert on == ["before_run_start", "before_cancel", "before_compact"]

    anyio.run(lead)


def test_a_wait_ends_by_itself_and_ends_nothing(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            run = (await call(client, "crew_run", command=["sleep", "864"], name="waited-for"))["run"]
            stands = await call(client, "crew_wait", run=run, timeout_s=0.2)
            assert not stands["over"]
            with anyio.move_on_after(0.5):
                await call(client, "crew_wait", run=run, timeout_s=500)
            listed = await call(client, "crew_list")
            assert run in [each["run"] for each in listed["runs"]]
            ended = await call(client, "crew_cancel", run=run, why="enough", now=True)
            assert ended["verified"]
            assert (await call(client, "crew_status", run=run))["status"] == "cancelled"

    anyio.run(lead)


def test_questions_are_answered_and_told_as_notices(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            run = (await call(client, "crew_run", goal="ASK TOOL 0.1", agent="stand-in"))["run"]
            stands = await call(client, "crew_wait", run=run, timeout_s=60)
            assert not stands["over"]
            found = [each for each in (await call(client, "crew_inbox"))["questions"] if each["run"] == run]
            assert found[0]["kind"] == "permission"
            assert found[0]["id"] in stands["questions"]
            await call(client, "crew_respond", question=found[0]["id"], answer="allow")
            second = await call(client, "crew_respond", question=found[0]["id"], answer="deny")
            assert second["outcome"] == "refused", "a question is answered once"
            stands = await call(client, "crew_wait", run=run, timeout_s=60)
            assert stands["over"]

    anyio.run(lead)


def test_an_answer_that_does_not_fit_is_refused_with_the_reason(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            run = (await call(client, "crew_run", workflow=str(tmp_path / "ask.workflow.md"), goal="x"))["run"]
            (question,) = (await call(client, "crew_wait", run=run, timeout_s=60))["questions"]
            told = await call(client, "crew_respond", question=question, answer="[1]")
            assert (told["outcome"], "is not of type 'object'" in told["note"]) == ("refused", True)
            assert (await call(client, "crew_respond", question=question, answer="{}"))["outcome"] == "done"
            assert (await call(client, "crew_wait", run=run, timeout_s=60))["over"]

    question = "ctx.ask('which settings?', kind='json', schema={'type': 'object'})"
    (tmp_path / "settings.py").write_text(f"def ask(ctx):\n    return {question}\n")
    (tmp_path / "ask.workflow.md").write_text("## ask\ncall: settings:ask\n")
    anyio.run(lead)


def test_what_two_leaders_call_the_same_is_two_runs_and_two_messages(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        runs, told = [], []
        for name in ("lead-a", "lead-b"):
            async with leader(crew, tmp_path, name=name) as client:
                for _ in range(2):
                    run = await call(client, "crew_run", command=["sleep", "100"], request_id="build-1")
                    runs.append(run["run"])
                message = await call(client, "crew_follow_up", run=target.id, text="x", request_id="m", wait="accepted")
                told.append(message["message"])
        assert (len(runs), len(set(runs)), len(set(told))) == (4, 2, 2)
        for run in set(runs):
            crew.cancel(run, mode="now", force=True, intent="the test is over")

    target = crew.exec(["sleep", "100"], cwd="/")
    anyio.run(lead)
    target.cancel(mode="now")


def test_a_message_that_is_not_waited_for_is_told_as_far_as_it_is(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            for number in range(20):
                told = await call(client, "crew_steer", run=run.id, text=str(number), wait="settled", timeout_s=0)
                assert told["level"] in {"accepted", "delivered", "applied", "settled"}

    run = crew.run(exec_workflow(["cat"], stdin="lines"), cwd="/")
    anyio.run(lead)
    assert len(crew.messages(run.id)) == 20
    run.cancel(mode="now")


def test_a_leader_bounds_what_a_run_may_use(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            run = (await call(client, "crew_run", command=["true"], budget={"cost": 2.5, "tokens": 1000}))["run"]
            assert crew.show(run).run.workflow.budget == Budget(tokens=1000, cost=2.5)

    anyio.run(lead)


def test_what_is_refused_is_said_in_words(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            for wrong, words in (
                ({"goal": "x"}, "give one of agent, team, command and workflow"),
                ({"goal": "x", "agent": "claud"}, "did you mean claude"),
                ({"agent": "stand-in"}, "an agent needs a goal"),
                ({"command": ["true"], "budget": {"dollars": 5}}, "the budget is wrong: .*dollars"),
                ({"command": ["true"], "budget": {"turns": 1.5}}, "the budget is wrong"),
                ({"command": ["true"], "budget": {"cost": -1}}, "budget cost -1 is not possible"),
                ({"command": ["true"], "green": "package"}, "a command has no model, and no level"),
                ({"command": ["true"], "model": "big"}, "a command has no model, and no level"),
            ):
                with pytest.raises(RuntimeError, match=words):
                    await call(client, "crew_run", **wrong)
            with pytest.raises(RuntimeError, match="no run"):
                await call(client, "crew_status", run="nobody")

    anyio.run(lead)


def test_an_argument_that_a_tool_does_not_have_is_refused(crew: Crew, tmp_path: Path) -> None:
    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            with pytest.raises(RuntimeError, match=r"no argument 'buget'.*budget"):
                await call(client, "crew_run", command=["sleep", "20"], buget={"cost": 1})
            with pytest.raises(RuntimeError, match=r"no argument 'timeout'.*timeout_s"):
                await call(client, "crew_wait", run="x", timeout=1)
            with pytest.raises(RuntimeError, match="says why"):
                await call(client, "crew_cancel", run="x", why=" ")

    anyio.run(lead)


def test_each_tool_says_what_it_is_for_and_what_it_answers() -> None:
    async def look() -> None:
        async with mcp.Client(mcp_server.make_server()) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {
                *("crew_run", "crew_list", "crew_status", "crew_wait", "crew_steer", "crew_follow_up", "crew_interrupt"),
                *("crew_cancel", "crew_respond", "crew_inbox", "crew_result", "crew_summary", "crew_events"),
            }
            for tool in tools.values():
                assert tool.description
                assert tool.output_schema, tool.name

    anyio.run(look)


def test_an_argument_of_another_kind_or_size_is_refused_in_one_line(crew: Crew, tmp_path: Path) -> None:
    run = crew.exec(["sleep", "1000"], cwd=str(tmp_path))

    async def lead() -> None:
        async with leader(crew, tmp_path) as client:
            for tool, wrong, words in (
                ("crew_run", {"agent": 5}, "^crew_run: agent: input should be a valid string$"),
                ("crew_cancel", {"run": "x"}, "^crew_cancel: why: field required$"),
                ("crew_wait", {"run": run.id, "timeout_s": -5}, "timeout_s is -5"),
                ("crew_steer", {"run": run.id, "text": "x", "timeout_s": -1}, "timeout_s is -1"),
                ("crew_events", {"run": run.id, "after": 10**30}, "after is 10+: give the cursor"),
                ("crew_result", {"run": run.id}, "has not ended yet .crew_wait"),
            ):
                with pytest.raises(RuntimeError, match=words):
                    await call(client, tool, **wrong)

    anyio.run(lead)
    run.cancel(mode="now")


class News:
    """News as crewd has them: those after what was seen last. Each request takes a turn of the loop."""

    def __init__(self, count: int) -> None:
        self.items = [
            NewsItem(number, 0.0, "r_1", f"run {number}", "", "completed", Severity.INFO) for number in range(1, count + 1)
        ]
        self.upto = 0

    async def news(self, limit: int) -> NewsReply:
        upto = self.upto
        await asyncio.sleep(0)
        return NewsReply(tuple(item for item in self.items if item.seq > upto)[:limit], len(self.items))

    async def seen(self, upto: int) -> None:
        await asyncio.sleep(0)
        self.upto = upto

    async def close(self) -> None:
        return


def test_calls_that_overlap_tell_each_thing_once_and_one_that_is_given_up_loses_none() -> None:
    async def lead() -> list[list[str]]:
        crew: Any = News(25)
        leader = mcp_leader.Leader(None, "", crew)
        given_up = asyncio.ensure_future(leader.notices())
        await asyncio.sleep(0)
        given_up.cancel()
        told = await asyncio.gather(*(leader.notices() for _ in range(4)))
        await leader.close()
        assert crew.upto == 25
        return told

    told = asyncio.run(lead())
    assert [len(each) for each in told] == [10, 10, 5, 0]
    assert len({text for each in told for text in each}) == 25
