"""Who does a step, with which model, and what has decided it."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from msgspec.structs import replace

from crewd.client.chosen import Wish, addressed, choose
from crewd.model.agent import GivenSkill
from crewd.model.budget import Budget
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.packet import Packet

TEAM = "---\ndefaultWorkflow: duo\nmaxConcurrency: 1\n---\n- looker: agent=scout model=small\n- fixer: agent=other\n"
DUO = """---
name: duo
---
## look
role: looker

Look at {goal}

## fix
role: fixer
model: large
dependsOn: look

Fix {goal}

## own
agent: third
dependsOn: look

Say it

## count
dependsOn: fix
run: true
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a team of two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREWD_AGENT", "claude")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    for name, text in (
        ("agents/scout.md", "---\nmodel: mine\n---\nYou scout.\n"), ("agents/other.md", "---\nmodel: mine\n---\n"),
        ("agents/third.md", "---\nruntime: codex\n---\n"), ("teams/duo.team.md", TEAM), ("workflows/duo.workflow.md", DUO),
    ):  # fmt: skip
        path = tmp_path / ".crew" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def picked(wish: Wish) -> dict[str, tuple[str, str, str, str, str]]:
    chosen = choose(wish, installed=False)
    return {
        each.step: (each.found.name, each.agent_from, each.found.definition.agent.runtime, each.model, each.model_from)
        for each in chosen.choices
    }


def test_step_role_and_agent_decide_in_this_order() -> None:
    assert picked(Wish(team="duo")) == {
        "look": ("scout", "role looker of team duo", "claude", "small", "role looker"),
        "fix": ("other", "role fixer of team duo", "claude", "large", "step"),
        "own": ("third", "step", "codex", "", "the program's own"),
    }


def test_what_was_asked_for_goes_before_all() -> None:
    found = picked(Wish(team="duo", model="asked", program="pi"))
    assert {(model, model_from) for *_, model, model_from in found.values()} == {("asked", "the request")}
    assert [runtime for _, _, runtime, _, _ in found.values()] == ["pi", "pi", "codex"], "a file that names a program keeps it"


def test_the_steps_get_the_agents_and_the_run_the_teams_bound() -> None:
    chosen = choose(Wish(team="duo", fields={"permissions": "allow", "thinking": ""}), installed=False)
    look, *_, count = chosen.workflow.steps
    assert look.worker.agent is not None
    assert (look.worker.agent.system_prompt, look.worker.agent.model) == ("You scout.", "small")
    assert (look.worker.agent.permissions, look.worker.agent.thinking) == ("allow", "")
    assert count.worker.agent is None
    assert chosen.workflow.max_concurrency == 1


def test_a_budget_is_said_by_the_team_then_the_workflow(project: Path) -> None:
    (project / ".crew/workflows/duo.workflow.md").write_text(DUO.replace("name: duo", "name: duo\nbudget: {turns: 9}"))
    (project / ".crew/teams/quiet.team.md").write_text(TEAM)
    (project / ".crew/teams/duo.team.md").write_text(TEAM.replace("maxConcurrency: 1", "budget: {cost: 2.5}"))
    assert choose(Wish(team="duo"), installed=False).workflow.budget == Budget(turns=9, cost=2.5)
    assert choose(Wish(team="quiet"), installed=False).workflow.budget == Budget(turns=9)


def test_a_goal_may_begin_with_a_name_of_a_source_and_go_on_in_the_next_line() -> None:
    assert addressed("@review\nfix all of it\n now") == ("review", "", "fix all of it\n now")
    assert addressed("@builtin:review look") == ("builtin:review", "", "look")
    assert addressed(" @review look") == ("", "", " @review look")
    assert addressed("") == ("", "", "")
    assert addressed("@review") == ("review", "", "")
    assert addressed("@nobody") == ("", "", "@nobody")


def test_how_many_steps_at_once_is_said_by_the_run_then_the_team_then_the_workflow(project: Path) -> None:
    (project / ".crew/workflows/duo.workflow.md").write_text(DUO.replace("name: duo", "name: duo\nmaxConcurrency: 2"))
    (project / ".crew/teams/duo.team.md").write_text(TEAM.replace("maxConcurrency: 1", "maxConcurrency: 3"))
    (project / ".crew/teams/quiet.team.md").write_text(TEAM.replace("maxConcurrency: 1\n", ""))

    def bound(wish: Wish) -> tuple[int, str]:
        chosen = choose(wish, installed=False)
        return chosen.workflow.max_concurrency, chosen.at_once_from

    assert bound(Wish(team="duo", at_once=5)) == (5, "the request")
    assert bound(Wish(team="duo")) == (3, "team duo")
    assert bound(Wish(team="quiet")) == (2, "the workflow")
    (project / ".crew/workflows/duo.workflow.md").write_text(DUO)
    assert bound(Wish(team="quiet")) == (0, "the default")


def test_access_is_said_by_the_step_then_the_role_then_the_agent(project: Path) -> None:
    (project / ".crew/teams/duo.team.md").write_text(TEAM.replace("model=small", "model=small access=exclusive"))
    (project / ".crew/agents/other.md").write_text("---\nruntime: pi\naccess: shared\n---\nx\n")
    steps = {step.id: step for step in choose(Wish(team="duo"), installed=False).workflow.steps}
    assert [steps[name].access for name in ("look", "fix", "own")] == ["exclusive", "shared", ""]
    assert [steps[name].guard for name in ("look", "fix", "own", "count")] == ["block", "warn", "off", "off"]


def test_an_agent_does_what_says_nothing_of_how() -> None:
    found = picked(Wish(agent="scout", source="duo"))
    assert [name for name, *_ in found.values()] == ["scout", "scout", "third"]
    assert picked(Wish(agent="scout")) == {"scout": ("scout", "the request", "claude", "mine", "agent scout")}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(agent="scout", team="duo"), "a team has its own agents"),
        (Wish(team="duo", source="review"), "which team duo does not have"),
        (Wish(agent="scout", source="done"), "says already how"),
        (Wish(team="none"), "names no workflow"),
        (Wish(source="done", packet=Packet("workspace", acceptance=("x",))), "no step is for one"),
    ],
)
def test_what_does_not_go_together_is_refused(project: Path, wish: Wish, said: str) -> None:
    (project / ".crew" / "teams" / "none.team.md").write_text("---\nname: none\n---\n- a: agent=scout\n")
    (project / ".crew" / "workflows" / "done.workflow.md").write_text("---\nname: done\n---\n## a\nrun: true\n")
    with pytest.raises(UsageError, match=said):
        choose(wish, installed=False)


def test_a_packet_bounds_each_agent_that_has_none_of_its_own(project: Path) -> None:
    own = DUO.replace("dependsOn: look\n\nFix", "dependsOn: look\npacket: {scope: workspace, acceptance: fixed}\n\nFix")
    (project / ".crew" / "workflows" / "duo.workflow.md").write_text(own)
    packet = Packet("module", "src", acceptance=("it works",), artifacts=("a.md",))
    steps = choose(Wish(team="duo", packet=packet), installed=False).workflow.steps
    fixed = Packet("workspace", acceptance=("fixed",))
    assert [step.packet for step in steps] == [packet, fixed, packet, None]


def test_tasks_of_a_plan_have_the_packet_without_its_artifacts() -> None:
    packet = Packet("module", "src", acceptance=("it works",), artifacts=("a.md",))
    roles = choose(Wish(team="implementation", source="adaptive", packet=packet), installed=False).workflow.roles
    assert roles
    assert {role.packet for role in roles.values()} == {replace(packet, artifacts=())}


def test_a_program_that_is_not_there_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="was not found in PATH"):
        choose(Wish(team="duo"))


def test_a_goal_may_begin_with_who_is_to_do_it() -> None:
    assert addressed("@duo look at src") == ("duo", "", "look at src")
    assert addressed("@scout look at src") == ("", "scout", "look at src")
    assert addressed("look @scout") == ("", "", "look @scout")
    assert addressed("@scout") == ("", "scout", "")
    with pytest.raises(NotFound, match="no team and no agent 'nobody'"):
        addressed("@nobody look")


def test_skills_of_agent_role_step_and_asker_add_up(project: Path) -> None:
    skill = project / ".crew" / "skills" / "mine" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\ndescription: x\n---\nKeep it short.\n")
    (project / ".crew" / "agents" / "scout.md").write_text("---\nskills: mine\n---\nYou scout.\n")
    (project / ".crew" / "teams" / "duo.team.md").write_text(TEAM.replace("model=small", "skills=hook-design"))
    chosen = choose(Wish(team="duo", skills=("append-only-history",)), installed=False)
    assert [choice.skills for choice in chosen.choices] == [
        ("mine", "hook-design", "append-only-history"), ("append-only-history",), ("append-only-history",),
    ]  # fmt: skip
    agent = chosen.workflow.steps[0].worker.agent
    assert agent is not None
    assert (agent.system_prompt, agent.skills[0]) == ("You scout.", GivenSkill("mine", "Keep it short."))
    assert [skill.name for skill in agent.skills] == ["mine", "hook-design", "append-only-history"]
    with pytest.raises(NotFound, match="no skill 'nothing'"):
        choose(Wish(agent="scout", skills=("nothing",)), installed=False)


def test_a_skill_that_leads_out_of_its_directory_is_not_read(project: Path) -> None:
    (project / "secret").mkdir()
    (project / "secret" / "SKILL.md").write_text("---\nname: s\n---\nsecret\n")
    folder = project / ".crew" / "skills"
    folder.mkdir(parents=True)
    (folder / "out").symlink_to(project / "secret")
    with pytest.raises(UsageError, match="leads out"):
        choose(Wish(agent="scout", skills=("out",)), installed=False)


def test_files_of_the_directory_do_not_take_the_place_of_a_teams_workflow(project: Path) -> None:
    evil = "---\nname: research\n---\n## look\nrun: touch pwned\n"
    (project / "workflows").mkdir()
    for path in ("workflows/research.workflow.md", "research.workflow.md", "research", ".crew/workflows/research.workflow.md"):
        (project / path).write_text(evil)
        chosen = choose(Wish(team="research"), installed=False)
        assert chosen.origin == "builtin:research"
        assert [step.id for step in chosen.workflow.steps] == ["look", "answer"]
