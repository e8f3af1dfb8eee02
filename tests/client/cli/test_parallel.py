"""Lists of goals: `crew parallel`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.client.parallel import GOALS_MAX, ListedGoal, read_goals, workflow_of_goals
from crewd.model.errors import UsageError
from tests.client.cli.test_agents import DEFINITION
from tests.shell import Shell


def test_a_goal_is_a_text_or_a_map(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    text = """
- fix the flaky test
- goal: look at src
  agent: reviewer
  model: big
  skills: [brief, careful]
  cwd: other
  name: look
- "note: this is a goal"
"""
    assert read_goals(text, "goals", tmp_path) == [
        ListedGoal("fix the flaky test", name="goal-1"),
        ListedGoal("look at src", "reviewer", "big", ("brief", "careful"), str(tmp_path / "other"), "look"),
        ListedGoal("note: this is a goal", name="goal-3"),
    ]
    assert read_goals("- {goal: x, skills: }", "goals", tmp_path) == [ListedGoal("x", name="goal-1")]
    assert read_goals('[{"goal": "x", "skills": "a, b"}]', "goals", tmp_path) == [
        ListedGoal("x", skills=("a", "b"), name="goal-1")
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no list of goals"), ("just words", "no list of goals"), ("[]", "lists no goal"), ("- ''", "goal 1 is empty"),
        ("- a\n- note: this", "goal 2 has 'note'"), ("- {gaol: x}", "goal 1 has 'gaol'"),
        ("- {goal: x, name: a/b}", "goal 1: name"),
        ("- {goal: x, cwd: nowhere}", "is no directory"), ("- [x]", "goal 1 is neither a text nor a map"),
        ("- {goal: x, agent: [y]}", "is no text"),
        ("- {goal: x, skills: [[y]]}", "is no text"), ("- a\n" * (GOALS_MAX + 1), "201 goals"), ("- &a x\n- *a", "goals: "),
        ("- {", "goals: "), ("x" * 70_000, "more than"),
        ("- {goal: {a: b}}", "goal 1 is no text"), ("- null", "goal 1 is empty"),
        ("- {goal: x, skills: {a: b}}", "is no list of names"),
        ("- rename {goal} to aim", "has {goal} in it"),
        ("- {goal: a, name: x}\n- {goal: b, name: x}", "goals: goals 1 and 2 have the name x"),
        ("- {goal: a, name: goal-2}\n- b", "goals: goals 1 and 2 have the name goal-2"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_goals_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_goals(text, "goals", tmp_path)
    assert named in caught.value.message
    assert caught.value.hint


def test_each_goal_is_a_step_of_its_own() -> None:
    workflow = workflow_of_goals(
        [ListedGoal("a", name="goal-1"), ListedGoal("b", "reviewer", name="look")], all_need_agents=False
    )
    assert [(step.id, step.agent, step.text, step.depends_on) for step in workflow.steps] == [
        ("goal-1", "", "a", ()), ("look", "reviewer", "b", ()),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="goal 1 names no agent"):
        workflow_of_goals([ListedGoal("a")], all_need_agents=True)


@pytest.mark.process
def test_a_list_is_worked_on_where_each_goal_says(crew: Crew, tmp_path: Path) -> None:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "stand-in.md").write_text(DEFINITION)
    (tmp_path / "other").mkdir()
    shell = Shell(str(crew.home.root), tmp_path)
    (tmp_path / "goals.yaml").write_text("- say one\n- {goal: ERR500, name: fails}\n- {goal: say two, name: two, cwd: other}\n")
    told = shell.ok("parallel", "goals.yaml", "--agent", "stand-in", "--dry-run")
    assert "3 steps, 4 at once" in told
    run = json.loads(shell.ok("parallel", "goals.yaml", "--agent", "stand-in", "--at-once", "2", "--json"))["id"]
    shell.run("wait", run)
    shown = json.loads(shell.ok("show", run, "--json"))
    tasks = {task["step"]: task for task in shown["tasks"]}
    assert {step: task["status"] for step, task in tasks.items()} == {
        "goal-1": "completed",
        "fails": "failed",
        "two": "completed",
    }
    assert "say one" in tasks["goal-1"]["result"]
    assert shown["run"]["workflow"]["max_concurrency"] == 2
    for words, said in (
        (("parallel", "goals.yaml"), "goal 1 names no agent"),
        (("parallel", "nothing.yaml", "--agent", "stand-in"), "nothing.yaml"),
        (("parallel", "goals.yaml", "--agent", "stand-in", "--at-once", "9"), "8"),
    ):  # fmt: skip
        done = shell.run(*words)
        assert done.returncode == 2
        assert said in done.stderr


STEPS = "## there\ncwd: other\nrun: pwd\nverify: test $(basename $PWD) = other\n\n## here\nrun: pwd\n"


@pytest.mark.process
def test_a_step_works_where_it_says(crew: Crew, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "w.workflow.md").write_text(STEPS)
    shell = Shell(str(crew.home.root), tmp_path)
    run = json.loads(shell.ok("run", "-w", "w.workflow.md", "--json"))["id"]
    shell.ok("wait", run)
    shown = {task["step"]: task for task in json.loads(shell.ok("show", run, "--json"))["tasks"]}
    assert shown["there"]["result"].strip() == str(tmp_path / "other")
    assert shown["here"]["result"].strip() == str(tmp_path)
    assert shown["there.verify"]["status"] == "completed"
