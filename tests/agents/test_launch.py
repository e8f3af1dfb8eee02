from __future__ import annotations

import pytest

from crewd.agents.launch import command_of, ignored_by, takes_prompt_file, variables_of
from crewd.model.agent import AGENT_RUNTIMES, Agent, AgentRuntime


@pytest.mark.parametrize("runtime", AGENT_RUNTIMES)
def test_no_prompt_stands_on_a_command_line(runtime: AgentRuntime) -> None:
    agent = Agent(runtime=runtime, command=("agent",), system_prompt="secret plans", model="m")
    argv = command_of(agent, "/d/prompt.md" if takes_prompt_file(agent) else "", "session-1")
    assert "secret plans" not in " ".join(argv)
    assert ("/d/prompt.md" in argv) == takes_prompt_file(agent)


def test_each_is_started_as_its_protocol_needs_it() -> None:
    def argv(runtime: AgentRuntime, **more: object) -> list[str]:
        return command_of(Agent(runtime=runtime, command=("x",), **more), "", "")  # type: ignore[arg-type]

    assert argv("pi", model="p/m", thinking="high", tools=("read", "bash")) == [
        *("x", "--mode", "rpc", "--model", "p/m", "--thinking", "high", "--tools", "read,bash")
    ]
    assert argv("claude")[:2] == ["x", "-p"]
    assert argv("codex") == ["x", "app-server"]
    assert argv("acp") == ["x"]


def test_a_level_of_thinking_at_the_model_is_given_apart() -> None:
    agent = Agent(runtime="claude", command=("x",), model="opus:high", fallback_models=("sonnet:low", "haiku"))
    argv = command_of(agent, "", "")
    assert argv[argv.index("--model") + 1 : argv.index("--model") + 6] == [
        "opus", "--effort", "high", "--fallback-model", "sonnet,haiku",
    ]  # fmt: skip
    assert "model_reasoning_effort=low" in command_of(Agent(runtime="codex", command=("x",), model="gpt:low"), "", "")


def test_a_copy_of_a_session_is_asked_for_where_that_is_an_option() -> None:
    def argv(runtime: AgentRuntime, session: str, *, forks: bool) -> list[str]:
        return command_of(Agent(runtime=runtime, command=("x",)), "", session, forks=forks)

    assert argv("pi", "s", forks=True)[-2:] == ["--fork", "s"]
    assert argv("pi", "s", forks=False)[-2:] == ["--session", "s"]
    assert argv("claude", "s", forks=True)[-3:] == ["--resume", "s", "--fork-session"]
    assert "--fork-session" not in argv("claude", "", forks=True)


def test_its_own_configuration_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert variables_of(Agent(runtime="codex", command=("codex",), config_dir="~/c")) == {"CODEX_HOME": "/home/ann/c"}
    agent = Agent(runtime="codex", command=("codex",), config_dir="/c")
    assert variables_of(agent) == {"CODEX_HOME": "/c"}
    assert variables_of(Agent(runtime="acp", command=("x",), config_dir="/c")) == {}


def test_what_an_agent_has_no_way_to_take_is_named() -> None:
    def ignored(runtime: AgentRuntime) -> tuple[str, ...]:
        agent = Agent(
            runtime=runtime, command=("x",), thinking="high", tools=("a",), config_dir="/c", fallback_models=("b",), model="m"
        )
        return ignored_by(agent)

    assert ignored("claude") == ()
    assert ignored("codex") == ("tools",)
    assert ignored("acp") == ("thinking", "tools", "configDir")
    assert ignored_by(Agent(runtime="omp", command=("x",), forks=True)) == ("contextMode",)
    assert ignored_by(Agent(runtime="pi", command=("x",), forks=True)) == ()


def test_it_loads_the_extensions_that_are_named_and_leaves_out_what_is_not_wanted() -> None:
    def argv(runtime: AgentRuntime, **more: object) -> list[str]:
        return command_of(Agent(runtime=runtime, command=("x",), **more), "", "")  # type: ignore[arg-type]

    bare: dict[AgentRuntime, int] = {runtime: len(argv(runtime)) for runtime in AGENT_RUNTIMES}
    for runtime in ("pi", "omp"):
        assert argv(runtime, extensions=("a.ts", "b"))[bare[runtime] :] == [
            "--no-extensions", "--extension", "a.ts", "--extension", "b",
        ]  # fmt: skip
        assert argv(runtime, extensions=())[bare[runtime] :] == ["--no-extensions"]
        assert argv(runtime, own_skills=False)[bare[runtime] :] == ["--no-skills"]
    assert argv("pi", project_context=False)[bare["pi"] :] == ["--no-context-files"]
    assert argv("claude", extensions=("plug",), own_skills=False)[bare["claude"] :] == [
        "--plugin-dir", "plug", "--disable-slash-commands",
    ]  # fmt: skip
    assert argv("codex", project_context=False) == ["x", "app-server", "-c", "project_doc_max_bytes=0"]
    blind = Agent(runtime="claude", command=("x",), project_context=False)
    assert variables_of(blind)["CLAUDE_CODE_DISABLE_CLAUDE_MDS"] == "1"


@pytest.mark.parametrize(
    ("runtime", "names"),
    [
        ("pi", ()),
        ("omp", ("inheritProjectContext",)),
        ("claude", ("extensions",)),
        ("codex", ("extensions", "inheritSkills")),
        ("acp", ("extensions", "inheritProjectContext", "inheritSkills")),
    ],
)
def test_what_it_has_no_way_to_leave_out_is_named(runtime: AgentRuntime, names: tuple[str, ...]) -> None:
    agent = Agent(runtime=runtime, command=("x",), extensions=(), project_context=False, own_skills=False)
    assert ignored_by(agent) == names
    assert len(command_of(agent, "", "")) + len(variables_of(agent)) > 1 or runtime == "acp"
