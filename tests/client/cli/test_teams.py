"""Teams, as people type them: `crew teams`, `crew plan`, `crew run --team`."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import crewd
from crewd.client.blocking import Crew
from tests.client.cli.test_agents import DEFINITION
from tests.shell import Shell

pytestmark = pytest.mark.process


@pytest.fixture
def shell(crew: Crew, tmp_path: Path) -> Shell:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "stand-in.md").write_text(DEFINITION)
    return Shell(str(crew.home.root), tmp_path)


@pytest.mark.parametrize(("team", "steps"), [("implementation", 5), ("review", 3), ("parallel-research", 4)])
def test_a_builtin_team_runs_to_its_end(shell: Shell, team: str, steps: int) -> None:
    run = json.loads(shell.ok("run", "Add rate limiting", "--team", team, "--runtime", "stand-in", "--json"))["id"]
    shell.ok("wait", run)
    shown = json.loads(shell.ok("show", run, "--json"))
    assert [task["status"] for task in shown["tasks"]] == ["completed"] * steps
    assert all("Add rate limiting" in task["result"] for task in shown["tasks"])


def test_the_plan_of_an_agent_becomes_steps_that_the_team_does(shell: Shell) -> None:
    told = shell.ok("plan", "x", "--team", "implementation", "-w", "adaptive", "--runtime", "stand-in")
    assert "adaptive: its plan adds steps" in told
    assert "role executor, for the steps of the plan" in told
    goal = "PLAN explorer,executor/tester"
    (shell.cwd / "packet.yml").write_text("scope: module\npath: src/{goal}\nacceptance: [it works]\n")
    wanted = ("--team", "implementation", "-w", "adaptive", "--runtime", "stand-in", "--packet", "packet.yml")
    assert "packet: module src/{goal}, 1 acceptance point" in shell.ok("plan", "x", *wanted)
    run = json.loads(shell.ok("run", goal, *wanted, "--json"))["id"]
    shell.ok("wait", run)
    shown = json.loads(shell.ok("show", run, "--json"))
    assert {task["step"]: task["status"] for task in shown["tasks"]} == dict.fromkeys(
        ("explore", "plan", "review", "explorer.1", "executor.1", "tester.2"), "completed"
    )
    assert "added by the plan of plan, phase 2" in " ".join(shell.ok("events", run).split())
    assert f"Change only what is in src/{goal}." in shell.ok("prompt", f"{run}/executor.1")
    unfit = json.loads(
        shell.ok("run", "just do it", "--team", "implementation", "-w", "adaptive", "--runtime", "stand-in", "--json")
    )["id"]
    assert shell.run("wait", unfit, "--for", "waiting").returncode == 0
    assert "the plan of step plan cannot be taken" in shell.ok("inbox")
    shell.ok("reject", unfit, "--intent", "no plan")


def test_a_team_is_recommended_by_the_words_of_the_goal(shell: Shell) -> None:
    assert shell.ok("recommend", "Review the parser").startswith("review: the goal says 'review'\n")
    told = shell.ok("recommend", "--", "- add a limit\n- add it's flag")
    assert "crew run --team implementation 'add a limit'\n" in told
    assert "a git worktree" in told
    assert shell.ok("recommend", "--", "- one").endswith("crew run --team default -- '- one'\n")
    for verb in ("recommend", "run", "steer"):
        assert "put -- before a text that begins with -" in shell.fails(2, verb, "- add a limit")
    found = json.loads(shell.ok("recommend", "make it faster", "--json"))
    assert (found["team"], found["parts"]) == ("default", [])
    assert "there is no goal" in shell.fails(2, "recommend", " ")
    assert shell.ok("recommend", "@review look at it") == "review: the goal names it\ncrew run '@review look at it'\n"
    shell.ok("disable", "team:review", "--reason", "not now")
    assert shell.ok("recommend", "review it").startswith("default: ")


def test_a_plan_says_what_would_be_done_and_starts_nothing(shell: Shell) -> None:
    def runs() -> set[str]:
        return {row["id"] for row in json.loads(shell.ok("ps", "--all", "--json"))["runs"]}

    before = runs()
    told = shell.ok("plan", "@review look at src", "--runtime", "stand-in", "--model", "opus")
    assert "agent:  security-reviewer (builtin), by role security of team review" in told
    assert "model:  opus, by the request" in told
    plan = json.loads(shell.ok("plan", "look", "--team", "review", "--json"))
    assert [(step["step"], step["after"], step["agent_file"]) for step in plan["steps"]] == [
        ("faults", [], "builtin"), ("security", [], "builtin"), ("report", ["faults", "security"], "builtin"),
    ]  # fmt: skip
    assert shell.ok("run", "look", "--team", "review", "--dry-run", "--json") == shell.ok(
        "plan", "look", "--team", "review", "--json"
    )
    (shell.cwd / "asks.workflow.md").write_text("---\ninputs:\n  n: integer\n---\n## one\nrun: echo {{n}}\n")
    assert "needs the input n" in shell.fails(2, "run", "-n", "-w", "asks.workflow.md")
    assert "is no integer" in shell.fails(2, "run", "-n", "-w", "asks.workflow.md", "-i", "n=x")
    assert "out of range" in shell.fails(2, "run", "-n", "-w", "asks.workflow.md", "-i", "n=99999999999999999999")
    (shell.cwd / "bare.workflow.md").write_text("---\ndescription: x\n---\n## one\nrole: tester\n\nDo it.\n")
    for words in (("run",), ("run", "-n"), ("plan",)):
        assert "no runtime for the steps one" in shell.fails(5, *words, "look", "-w", "bare.workflow.md")
    clash = "---\nname: w\n---\n## a\nrun: x\nverify: make\n\n## a.verify\nrun: y\n"
    (shell.cwd / "clash.workflow.md").write_text(clash)
    for clashes in ("check clash.workflow.md", "plan x -w clash", "run -n x -w clash"):
        assert "a.verify" in shell.fails(2, *clashes.split())
    (shell.cwd / "key.workflow.md").write_text("---\nname: w\n---\n## a\nrun: x\nconflictKey: k\n")
    for without in ("plan x -w key", "run -n x -w key"):
        assert "a conflictKey and no access" in shell.fails(2, *without.split())
    done = shell.run("check", "key.workflow.md")
    assert (done.returncode, "line 6: step a has a 'conflictKey' and no access" in done.stderr) == (1, True), done.stderr
    assert "bare: 1 step," in shell.ok("plan", "look", "-w", "bare.workflow.md", "-a", "explorer")
    assert "one" in shell.ok("run", "-n", "-w", "asks.workflow.md", "-i", "n=3")
    assert runs() == before


def test_a_new_team_of_two_is_written_checked_and_run(shell: Shell) -> None:
    assert shell.ok("agents", "new", "scout") == ".crew/agents/scout.md\n"
    assert "no project may take its name" in shell.fails(5, "agents", "new", "codex")
    assert "builtin has an agent explorer" in shell.fails(5, "agents", "new", "explorer")
    assert shell.ok("teams", "new", "duo") == ".crew/teams/duo.team.md\n"
    assert shell.ok("workflows", "new", "look-then-fix") == ".crew/workflows/look-then-fix.workflow.md\n"
    head = "---\ndescription: looks, then fixes\ndefaultWorkflow: look-then-fix\n---\n"
    roles = "- explorer: agent=scout\n- executor: agent=executor\n"
    (shell.cwd / ".crew" / "teams" / "duo.team.md").write_text(head + roles)
    assert "0 faults" in shell.ok("check")
    assert "looks, then fixes" in shell.ok("teams")
    run = json.loads(shell.ok("run", "@duo the flaky test", "--runtime", "stand-in", "--json"))["id"]
    shell.ok("wait", run)
    assert "the flaky test" in shell.ok("result", f"{run}/change")


def test_a_command_line_that_no_shell_reads_is_found_before_it_runs(shell: Shell) -> None:
    text = '## a\nrun: echo "x\nverify: make; fi\n\n## b\nrun: |\n  for each in 1 2; do\n    echo $each\n  done > {goal}\n'
    (shell.cwd / "shell.workflow.md").write_text(text)
    done = shell.run("check", "shell.workflow.md")
    assert done.returncode == 1
    assert "line 2: step a: the shell cannot read 'run'" in done.stderr
    assert "line 3: step a: the shell cannot read 'verify'" in done.stderr
    assert "yntax error" in done.stderr and "step b" not in done.stderr


def test_what_a_file_is_understood_as_is_told_in_its_own_words(shell: Shell) -> None:
    text = (
        "## a\nrun: cat\nretries: 2\nlimits: task_seconds=10m, memory_bytes=1M\nenv: A=1\nstdin: ./data\ncwd: sub\n\n"
        "## b\nagent: claude\nskills: hook-design\n\nDo it.\n"
    )
    (shell.cwd / "words.workflow.md").write_text(text)
    told = [" ".join(line.split()) for line in shell.ok("check", "words.workflow.md").splitlines()]
    for line in (
        "retries: 2", "limits: task_seconds=600, memory_bytes=1048576", "env: A=1", "stdin: ./data", "cwd: sub",
        "skills: hook-design",
    ):  # fmt: skip
        assert line in told, told


def test_all_parts_of_a_file_that_are_wrong_are_told_at_once(shell: Shell) -> None:
    text = "---\nname: w\nmaxConcurency: 3\n---\n## a\nrun: x\nretris: 2\n\n## b\nrun: y\n\n## c\nlimits: wall=1\n"
    folder = shell.cwd / ".crew" / "workflows"
    folder.mkdir(parents=True)
    (folder / "w.workflow.md").write_text(text)
    told = shell.fails(2, "check", ".crew/workflows/w.workflow.md")
    assert [line.split(":")[0] for line in told.splitlines() if "line " in line][1:] == ["also, line 7", "also, line 13"]
    assert "line 3: the front matter has no key 'maxConcurency'" in told
    (shell.cwd / "once.workflow.md").write_text("## build it\nrun: x\n")
    assert "also" not in shell.fails(2, "check", "once.workflow.md"), "one fault is told once"
    done = shell.run("check", "--json")
    assert [re.sub(r".*line (\d+):.*", r"\1", each["wrong"]) for each in json.loads(done.stdout)] == ["3", "7", "13"]


def test_what_is_wrong_with_a_file_is_found_before_it_is_used(shell: Shell) -> None:
    folder = shell.cwd / ".crew" / "teams"
    folder.mkdir()
    typo = shell.cwd / ".crew" / "agents" / "typo.md"
    typo.write_text("---\nruntime: pi\ntools: Raed, deploy\n---\nx\n")
    done = shell.run("check", str(typo))
    said = done.stdout + done.stderr
    assert (done.returncode, "crewd knows no 'Raed'" in said) == (1, True)
    assert "did you mean read?" in said and "deploy" not in said
    typo.unlink()
    (folder / "broken.team.md").write_text("---\ndefaultWorkflow: nothing\n---\n- a: agent=nobody\n")
    (folder / "worse.team.md").write_text("no front matter\n")
    done = shell.run("check", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert {each["id"] for each in found} == {"project:broken", "project:worse"}
    assert any("there is no agent 'nobody'" in each["wrong"] for each in found)
    assert any("there is no workflow 'nothing'" in each["wrong"] for each in found)
    (folder / "broken.team.md").write_text("---\nbudget: {dollars: 3}\n---\n- a: agent=reviewer skills=nope\n")
    (folder / "worse.team.md").write_text("---\n---\n- a: agent=reviewer skills=nope\n- b agent=reviewer\n")
    (folder / "third.team.md").write_text("---\n---\n- a: agent=reviewer skills=nope\n")
    (shell.cwd / ".crew" / "hooks.toml").write_text("[style]\non = 'before_task'\nrun = 'true'\n")
    (shell.cwd / ".crew" / "agents" / "loose.md").write_text("---\npermissions: maybe\n---\nx\n")
    told = " ".join(shell.run("check").stdout.split())
    for said in (
        "there is no 'dollars'", "known: turns, tokens, cost", "this line is nearly a role, and none - planner: agent=planner",
        "third.team.md: line 3: role a: there is no skill 'nope'",
        "hook 'style': on = 'before_task' is not possible did you mean before_task_start?",
        "permissions: 'maybe' is not possible one of ask, allow, deny", "5 faults",
    ):  # fmt: skip
        assert said in told, told
    done = shell.run("run", "look", "--agent", "stand-in")
    assert (done.returncode, "no hook of this project runs" in done.stderr) == (0, True), done.stderr
    (shell.cwd / "near.workflow.md").write_text(
        "## a\nagent: scuot\noutput: places.md\n\nx\n\n## b\ndependsOn: a\nreads: palces.md\nskills: nope\n\ny\n"
    )
    done = shell.run("check", "near.workflow.md")
    assert done.returncode == 1
    assert "near.workflow.md: line 2: step a: there is no agent 'scuot'" in done.stderr
    assert "did you mean places.md?" in done.stderr
    assert "line 10: step b: there is no skill 'nope'" in done.stderr
    (shell.cwd / "far.workflow.md").write_text("## a\nrun: cat nothing.md\nreads: nothing.md\n")
    assert "'output: nothing.md' in the step that writes it" in shell.run("check", "far.workflow.md").stderr
    (folder / "broken.team.md").write_text("---\ndefaultWorkflow: nothing\n---\n- a: agent=nobody\n")
    assert "which team broken does not have" in shell.fails(2, "run", "x", "--team", "broken", "-w", "review")


def test_of_a_long_skill_it_is_said_how_much_an_agent_is_given(shell: Shell) -> None:
    path = shell.cwd / ".crew/skills/long/SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text(f"---\ndescription: d\n---\n{'word ' * 400}\n")
    for verb in (("check",), ("skills", "validate", "long"), ("skills", "show", "long")):
        done = shell.run(*verb)
        assert done.returncode == 0
        assert "its text has 1,999 characters, and an agent is given the first 1,500" in done.stderr


def test_a_skill_is_given_to_an_agent(shell: Shell) -> None:
    assert shell.ok("skills", "new", "short") == ".crew/skills/short/SKILL.md\n"
    (shell.cwd / ".crew" / "skills" / "short" / "SKILL.md").write_text("---\ndescription: s\n---\nAnswer in one word.\n")
    assert "cancellation-contract" in shell.ok("skills")
    assert "Answer in one word." in shell.ok("skills", "show", "short")
    assert "skills: short" in shell.ok("plan", "x", "--agent", "stand-in", "--skill", "short")
    run = json.loads(shell.ok("run", "x", "--agent", "stand-in", "--skill", "short", "--json"))["id"]
    shell.ok("wait", run)
    prompt = Path(json.loads(shell.ok("show", run, "--json"))["attempts"][0]["directory"]) / "system-prompt.md"
    assert prompt.read_text().endswith("## Skill: short\n\nAnswer in one word.")
    (shell.cwd / ".crew" / "agents" / "unskilled.md").write_text("---\nskills: nothing\n---\nx\n")
    assert "there is no skill 'nothing'" in shell.run("check").stdout
    for path in ("teams/plain.md", "agents/UP.MD", "agents/v1.2.md", "teams/README.md"):
        (shell.cwd / ".crew" / Path(path).parent).mkdir(exist_ok=True)
        (shell.cwd / ".crew" / path).write_text("x\n")
    (shell.cwd / ".crew" / "skills" / "empty").mkdir()
    told = shell.run("check").stderr
    for name in ("plain.team.md", "UP.md", "v1-2.md", "empty/SKILL.md"):
        assert f"call it {name}" in told
    assert "README" not in told
    done = shell.run("check", ".crew/agents/unskilled.md")
    assert (done.returncode, "there is no skill 'nothing'" in done.stdout) == (1, True), done
    assert "agent project:unskilled, 1 fault" in done.stdout
    assert "skill project:short, 0 faults" in shell.ok("check", ".crew/skills/short/SKILL.md")


def test_a_checkout_does_not_swap_an_agent(shell: Shell) -> None:
    (shell.cwd / ".crew" / "agents" / "executor.md").write_text(f"---\nruntime: pi\ncommand: [{sys.executable}]\n---\nEvil.\n")
    listed = {each["id"]: each for each in json.loads(shell.ok("agents", "ls", "--all", "--json")) if "id" in each}
    assert not listed.get("project:executor", {}).get("program")
    assert "builtin" in shell.ok("agents", "show", "executor")
    assert "Evil" not in shell.ok("plan", "x", "--team", "fast-fix", "--json")
    assert shell.fails(5, "agents", "new", "executor")


def test_nothing_is_said_and_nothing_is_run(shell: Shell) -> None:
    assert "nothing says what is to be run" in shell.fails(2, "run", "hello")
    assert "did you mean review?" in shell.fails(4, "run", "hello", "--team", "reviw")
    assert "an agent needs a goal" in shell.fails(2, "run", "--team", "review")
    assert "no team and no agent 'nobody'" in shell.fails(4, "run", "@nobody hello")
    assert "an agent needs a goal" in shell.fails(2, "run", "@review")
    said = shell.fails(2, "run", "-n", "@review look", "--agent", "explorer")
    assert "the goal names @review, and --agent explorer is given" in said
    assert "'@types/node look'" in shell.ok("run", "-n", "@types/node look", "--agent", "explorer")
    assert "there is no agent 'cluade'" in (
        said := shell.fails(4, "run", "-n", "look", "--agent", "explorer", "--runtime", "cluade")
    )
    assert "did you mean claude?" in said
    assert "explorer" not in said.partition("known:")[0]
    assert said.count("explorer") == 1
    assert "is a directory" in shell.fails(2, "run", "-n", "look", "-w", ".")
    assert "is a directory" in shell.fails(2, "run", "-n", "look", "-a", "./")


def test_what_is_disabled_is_refused_until_it_is_enabled(shell: Shell) -> None:
    env = {**os.environ, "XDG_CONFIG_HOME": str(shell.cwd / "config")}
    assert "agent:reviewer is disabled" in shell.ok("disable", "agent:reviewer", "--reason", "it rewrites history", env=env)
    assert "it rewrites history" in shell.fails(5, "run", "x", "--team", "review", "--runtime", "stand-in", env=env)
    found = {each["id"]: each for each in json.loads(shell.ok("capabilities", "--kind", "agent", "--json", env=env))}
    assert (found["agent:reviewer"]["state"], found["agent:stand-in"]["source"]) == ("disabled", "project")
    assert shell.ok("enable", "agent:reviewer", env=env)
    assert "is not disabled" in shell.fails(5, "enable", "agent:reviewer", env=env)
    assert shell.ok("plan", "x", "--team", "review", env=env)


@pytest.mark.parametrize(
    ("options", "why"), [
        (("--limit", "memory_bytes=-1"), "memory_bytes"),
        (("--limit", "memory_bytes=x"), "memory_bytes"), (("--limit", "no_such=1"), "no_such"),
        (("--secret", "NOT_SET_HERE"), "NOT_SET_HERE"), (("--cwd", "no/such"), "no/such"), (("--name", "a b"), "run name"),
        (("--clean-env", "--env-from-caller"), "contradict"), (("--label", "x"), "x"), (("--label", "bad name=x"), "bad name"),
        (("--retries", "-3"), "retries"), (("--limit", "turns=-1"), "turns"), (("--budget", "cost=-1"), "cost"),
        (("--secret", "LONG=@long.txt"), "not kept"), (("--request-id", "sk-ant-api03-Lq8ZrTe4bNc1XwYd7Kf2Lq8Z"), "secret"),
    ],
)  # fmt: skip
def test_what_would_be_refused_is_refused_when_nothing_is_to_be_started(
    shell: Shell, options: tuple[str, ...], why: str
) -> None:
    (shell.cwd / "long.txt").write_text("x" * 70_000)
    told = shell.fails(2, "run", "look", "--team", "review", "--runtime", "stand-in", *options)
    assert why in told
    assert shell.fails(2, "run", "look", "--team", "review", "--runtime", "stand-in", "--dry-run", *options) == told
    (shell.cwd / "goals.yaml").write_text("- look\n")
    assert why in shell.fails(2, "parallel", "goals.yaml", "--agent", "stand-in", "--dry-run", *options)


def test_a_file_that_is_wrong_is_not_listed_as_one_that_can_be_used(shell: Shell) -> None:
    (shell.cwd / ".crew/agents/bad.md").write_text("---\nmodell: x\n---\n")
    (shell.cwd / ".crew/teams").mkdir(exist_ok=True)
    (shell.cwd / ".crew/teams/bad.team.md").write_text("---\nworkflow: [\n---\n")
    found = {each["id"]: each for each in json.loads(shell.ok("capabilities", "--json"))}
    assert found["agent:bad"]["state"] == found["team:bad"]["state"] == "missing"
    assert "no field 'modell'" in found["agent:bad"]["reason"]
    assert "line 2" in found["team:bad"]["reason"]


def test_a_run_keeps_what_there_was_when_it_was_started(shell: Shell) -> None:
    env = {**os.environ, "XDG_CONFIG_HOME": str(shell.cwd / "config")}
    assert shell.ok("disable", "agent:reviewer", "--reason", "it rewrites history", env=env)
    run = json.loads(shell.ok("run", "@stand-in ANSWER", "--json", env=env))["id"]
    assert shell.ok("enable", "agent:reviewer", env=env)
    (shell.cwd / ".crew" / "agents" / "stand-in.md").unlink()
    kept = {
        each["id"]: each for each in json.loads(shell.ok("capabilities", "--run", run, "--kind", "agent", "--json", env=env))
    }
    assert (kept["agent:reviewer"]["state"], kept["agent:reviewer"]["reason"]) == ("disabled", "it rewrites history")
    assert kept["agent:stand-in"]["source"] == "project"
    shell.ok("wait", run)
    given = {each["id"]: each for each in json.loads(shell.ok("capabilities", "--run", f"{run}/stand-in", "--json"))}
    assert given["agent:stand-in"]["source"] == "project" and "agent:reviewer" not in given
    command = json.loads(shell.ok("exec", "--json", "--", "true"))["id"]
    assert "keeps no list of what there was to run with" in " ".join(shell.fails(4, "capabilities", "--run", command).split())
    shell.run("wait", command)
    assert "keeps no list of what it was given" in " ".join(shell.fails(4, "capabilities", "--run", f"{command}/true").split())


def test_a_file_is_edited_renamed_and_put_aside(shell: Shell) -> None:
    shell.ok("agents", "new", "scout")
    path = shell.cwd / ".crew" / "agents" / "scout.md"
    before = path.read_text()
    editor = {**os.environ, "VISUAL": "sed -i s/description:.*/description:\\ mine/"}
    assert shell.ok("agents", "edit", "scout", env=editor) == ".crew/agents/scout.md\n"
    assert "description: mine" in path.read_text()
    assert path.with_name("scout.md.bak").read_text() == before
    latin = {**os.environ, "VISUAL": "sed -i 's/mine/\\xe9/'"}
    said = shell.fails(2, "agents", "edit", "scout", env=latin)
    assert "not UTF-8" in said
    Path(said.rpartition("your text is in ")[2].strip()).unlink()
    broken = {**os.environ, "VISUAL": "sed -i s/description/descripton/"}
    said = shell.fails(2, "agents", "edit", "scout", env=broken)
    assert "is as it was; your text is in /tmp/scout-" in said
    Path(said.rpartition("your text is in ")[2].strip()).unlink()
    assert "description: mine" in path.read_text()
    assert "nothing was changed" in shell.ok("agents", "edit", "scout", env={**os.environ, "VISUAL": "true"})
    for editor_name in ("false", "no-such-editor"):
        failing = {**os.environ, "VISUAL": editor_name}
        assert "nothing was changed" in shell.fails(2, "agents", "edit", "scout", env=failing)
    assert "of crewd itself" in shell.fails(5, "agents", "edit", "executor")
    assert "the agent reviewer exists already (builtin)" in shell.fails(5, "agents", "rename", "scout", "reviewer")
    assert shell.ok("agents", "rename", "scout", "seeker") == ".crew/agents/seeker.md\n"
    assert "needs an --intent" in shell.fails(2, "agents", "rm", "seeker", "--force")
    assert shell.ok("agents", "rm", "seeker") == "kept as .crew/agents/seeker.md.bak\n"
    assert shell.fails(4, "agents", "show", "seeker")


def test_a_project_is_laid_out_and_its_guidance_comes_and_goes(shell: Shell) -> None:
    for text in (None, b"", b"# Ours\n", b"# Ours", b"# Ours\n\n\n", b"# Ours\r\n\xe9\r\n"):
        guide = shell.cwd / "AGENTS.md"
        guide.unlink(missing_ok=True)
        if text is not None:
            guide.write_bytes(text)
        shell.ok("init", "--agents-md")
        told = guide.read_bytes()
        assert told.startswith(text or b"")
        assert b"crew teams" in told
        assert "everything is there already" in shell.ok("init", "--agents-md")
        shell.ok("init", "--no-agents-md")
        assert (guide.read_bytes() if guide.exists() else b"") == (text or b"")
    assert sorted(path.name for path in (shell.cwd / ".crew").iterdir()) == ["agents", "skills", "teams", "workflows"]
    shell.ok("init", "--gitignore")
    assert (shell.cwd / ".gitignore").read_text() == ".crew/**/*.bak\n"
    assert "everything is there already" in shell.ok("init", "--gitignore")
    guide.write_text("<!-- crewd: begin -->\n")
    assert "one of two marks" in shell.fails(2, "init", "--agents-md")


def test_one_role_of_a_team_does_the_goal_and_the_run_keeps_who_has_decided_what(shell: Shell) -> None:
    words = (
        "run",
        "Look at src",
        "--team",
        "review",
        "--role",
        "security",
        "--runtime",
        "stand-in",
        "--model",
        "big",
        "--json",
    )
    run = json.loads(shell.ok(*words))["id"]
    shell.ok("wait", run)
    shown = json.loads(shell.ok("show", run, "--json"))
    assert [(task["step"], task["status"]) for task in shown["tasks"]] == [("security", "completed")]
    told = " ".join(shell.ok("show", run, "--all").split())
    assert "agent security-reviewer (by role security of team review)" in told
    assert "model big (by the request)" in told
    for more, said in (
        (("--team", "review", "--role", "securty"), "did you mean security?"),
        (("--agent", "stand-in", "--role", "x"), "no team"),
        (("--team", "review", "-w", "review", "--role", "writer"), "without a workflow"),
    ):  # fmt: skip
        done = shell.run("run", "x", *more)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())


def test_a_role_only_reads_until_its_file_says_otherwise_and_is_given_no_tool_that_changes_files(shell: Shell) -> None:
    crew = shell.cwd / ".crew"
    (crew / "teams").mkdir()
    roles = "- reader: agent=stand-in\n- editor: agent=editor access=exclusive\n- misfit: agent=editor\n"
    (crew / "teams" / "duo.team.md").write_text("---\nname: duo\n---\n\n" + roles)
    (crew / "agents" / "editor.md").write_text(DEFINITION.replace("loadMode: lazy\n", "tools: read, Edit\n"))

    def step(role: str) -> dict[str, str]:
        (found,) = json.loads(shell.ok("plan", "x", "--team", "duo", "--role", role, "--json"))["steps"]
        return {key: found[key] for key in ("access", "access_from")}

    assert step("reader") == {"access": "shared", "access_from": "role reader, which does not say otherwise"}
    assert step("editor") == {"access": "exclusive", "access_from": "role editor"}
    done = shell.run("plan", "x", "--team", "duo", "--role", "misfit")
    assert (done.returncode, "has the tool Edit" in done.stderr) == (5, True)


def test_the_team_of_the_docs_can_be_run_and_a_plan_that_nobody_makes_is_a_fault(shell: Shell) -> None:
    page = (Path(crewd.__file__).parent.parent / "docs" / "teams.md").read_text()
    team, workflow = re.findall(r"```markdown\n(.*?)```", page, re.DOTALL)[:2]
    shell.ok("agents", "new", "scout")
    for name, text in (("teams/duo.team.md", team), ("workflows/duo.workflow.md", workflow)):
        (shell.cwd / ".crew" / name).parent.mkdir(parents=True, exist_ok=True)
        (shell.cwd / ".crew" / name).write_text(text)
    shell.ok("check")
    assert "scout" in shell.ok("plan", "@duo x")
    (shell.cwd / ".crew" / "teams" / "duo.team.md").write_text(team.replace("---\n", "---\nrequirePlanApproval: true\n", 1))
    done = shell.run("check")
    assert done.returncode == 1
    assert "no step makes one" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("head", "roles", "said"),
    [
        ("budget: {cost: -5}\n", "- writer: agent=ed\n", "line 4: budget cost -5 is not possible"),
        (
            "",
            "- reviewer: agent=ed\n- security: agent=ed access=shared\n- writer: agent=ed access=exclusive\n",
            "the tool Edit",
        ),
    ],
)
def test_a_team_that_could_never_run_is_a_fault(shell: Shell, head: str, roles: str, said: str) -> None:
    folder = shell.cwd / ".crew"
    for name, text in (
        ("agents/ed.md", "---\nruntime: claude\ncommand: x\ntools: [Edit]\n---\n"),
        ("teams/sure.team.md", f"---\ndescription: d\ndefaultWorkflow: review\n{head}---\n{roles}"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = shell.run("check")
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())
    assert "sure.team.md" in done.stdout


def test_what_the_user_has_disabled_is_no_fault_of_a_team(shell: Shell) -> None:
    for item in ("team:review", "agent:reviewer", "provider:anthropic", "tool:bash"):
        shell.ok("disable", item, "--reason", "not now")
        shell.ok("check")
        shell.ok("enable", item)
