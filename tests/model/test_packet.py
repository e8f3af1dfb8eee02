"""The bounds of a step's work: read from a workflow file, checked at the door, told to an agent, and looked at at the end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.adaptive import AddedStep, with_step
from crewd.model.errors import UsageError
from crewd.model.packet import ENTRIES_MAX, PACKET_BYTES_MAX, Packet, check_packet, check_placed
from crewd.model.packet_text import read_packet_file
from crewd.model.verification import with_verifications
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow
from crewd.model.workflow_markdown import parse_workflow

HEAD = "---\nname: w\n---\n## change\nagent: executor\npacket:\n"
FULL = """\
  scope: module
  path: src/limits
  acceptance:
    - the tests pass
    - "a limit: it is configured"
  constraints: [no new dependency]
  artifacts: docs/limits.md
  commit: One commit per change.
"""
names = st.lists(st.text(st.characters(exclude_categories=["C"], exclude_characters="{"), min_size=1, max_size=20), min_size=1)


def packet_in(text: str) -> Packet | None:
    return check_workflow(parse_workflow(f"{HEAD}{text}\nAdd a limit.\n")).steps[0].packet


def look(workflow: Workflow, folder: Path, **variables: str) -> tuple[int, str]:
    (verification,) = (step for step in workflow.steps if step.id == "change.verify")
    command = ["sh", "-c", verification.worker.shell]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_packet_is_read_from_a_workflow_file() -> None:
    assert packet_in(FULL) == Packet(
        "module", "src/limits", ("the tests pass", "a limit: it is configured"), ("no new dependency",), ("docs/limits.md",),
        commit="One commit per change.",
    )  # fmt: skip


def test_what_an_agent_is_told_names_each_bound() -> None:
    packet = packet_in(FULL)
    assert packet is not None
    told = packet.text
    for said in (
        "Change only what is in src/limits.", "Done when:\n\n- the tests pass\n- a limit", "Constraints:\n\n- no new",
        "- docs/limits.md", "Commits: One commit per change.", "Branch: Stay on", "If you cannot do the task like this: Stop",
    ):  # fmt: skip
        assert said in told
    assert packet.summary == "module src/limits, 2 acceptance points, 1 constraint, 1 artifact"
    assert Packet("workspace", acceptance=("it works",)).summary == "workspace, 1 acceptance point"


def test_values_of_a_run_stand_in_its_texts() -> None:
    packet = Packet("module", "src/{part}", ("{goal} is done",), ("keep {other}",), report="about {part}")
    placed = packet.placed({"part": "api", "goal": "Add a limit"})
    assert (placed.path, placed.acceptance, placed.constraints) == ("src/api", ("Add a limit is done",), ("keep {other}",))
    assert placed.report == "about api"
    for values in ({"part": "../.."}, {"part": "a\nb"}, {"part": "x" * 4_000}, {"goal": "x" * 10_000_000}):
        with pytest.raises(UsageError, match="the packet of step s"):
            check_placed("s", packet, values)
    with pytest.raises(UsageError, match="is too long with the goal"):
        check_placed("s", Packet("workspace", acceptance=("{goal}" * 1_200,)), {"goal": "g" * 100_000})
    check_placed("s", Packet("workspace"), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  acceptance: it works\n", "the packet has no scope (scope: workspace, module"),
        ("  scope: house\n", "line 7: the scope 'house' of the packet is not possible"),
        ("  scope: workspace\n  objective: do it\n", "line 8: packet is wrong: there is no 'objective' (the text of"),
        ("  scope: workspace\n  acceptanceTests: it works\n", "there is no 'acceptanceTests' (did you mean acceptance?"),
        ("  scope: workspace\n  commit: {a: b}\n", "commit"),
        ("  scope: workspace\n", "does not say what shows that the task is done"),
        ("  scope: module\n  acceptance: it works\n", "has the scope module and no path"),
        ("  scope: workspace\n  path: src\n  acceptance: it works\n", "has a path and the scope workspace"),
        ("  scope: single_file\n  path: ../x\n  acceptance: it works\n", "has '../x' in path"),
        ("  scope: workspace\n  artifacts: /etc/passwd\n", "has '/etc/passwd' in artifacts"),
        ("  scope: workspace\n  artifacts: '{goal}.md'\n", "has '{goal}.md' in artifacts"),
        ("  scope: workspace\n  artifacts: ['*.md']\n", "has '*.md' in artifacts"),
        ("  scope: workspace\n  acceptance:\n", "acceptance of the packet has no value"),
        ("  scope:\n  acceptance: it works\n", "scope of the packet has no value"),
        ("  scope: workspace\n  acceptance: ['']\n", "has an empty entry in acceptance"),
        ("  scope: workspace\n  acceptance: it works\n  escalate: ''\n", "escalate of the packet has no value"),
    ],
)
def test_a_packet_without_its_bounds_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        packet_in(text)
    assert said in f"{caught.value}", str(caught.value)
    assert caught.value.values.get("field", "packet") == "packet"


@pytest.mark.parametrize("text", ["workspace", "false", "a=b"])
def test_a_packet_that_is_one_word_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="packet is not 'name: value'") as caught:
        parse_workflow(f"---\nname: w\n---\n## change\nagent: a\npacket: {text}\n")
    assert "packet: {scope: workspace, acceptance: it works}" in str(caught.value)


def test_names_of_artifacts_may_stand_in_one_line() -> None:
    packet = packet_in("  scope: workspace\n  artifacts: a, b.md\n")
    assert packet is not None
    assert packet.artifacts == ("a", "b.md")


def test_no_text_of_a_packet_looks_like_another_part_of_it() -> None:
    told = Packet("workspace", acceptance=("one\n\n## Scope\nall",)).text
    assert "- one\n  \n  ## Scope\n  all" in told
    summary = Packet("custom", "the docs\nand " + "x" * 1_000, ("a",)).summary
    assert "\n" not in summary
    assert len(summary) < 120


def test_what_python_gives_is_looked_at_too() -> None:
    for packet in (Packet("house", acceptance=("a",)), Packet("workspace", acceptance=("a\0b",))):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="the packet of step s"):
            check_packet("s", packet, verified=True)


def test_a_packet_has_a_size_and_its_lists_have_an_end() -> None:
    for packet in (
        Packet("workspace", acceptance=("x",) * (ENTRIES_MAX + 1)),
        Packet("workspace", acceptance=("x" * (PACKET_BYTES_MAX + 1),)),
    ):
        with pytest.raises(UsageError, match="at most"):
            check_packet("s", packet, verified=False)


def test_only_an_agent_has_one() -> None:
    packet = Packet("workspace", acceptance=("it works",))
    for worker in (WorkerSpec(call="a:b"), WorkerSpec(shell="true"), WorkerSpec(outside=True)):
        with pytest.raises(UsageError, match="step s has a packet and no agent"):
            check_workflow(Workflow("w", (Step("s", packet=packet, worker=worker),)))
    role = Step("executor", packet=packet, worker=WorkerSpec(call="a:b"))
    with pytest.raises(UsageError, match="step executor has a packet and no agent"):
        check_workflow(Workflow("w", (Step("s"),), roles={"executor": role}))


def test_a_role_has_one_that_names_no_files() -> None:
    plan = Step("plan", adaptive=True)
    role = Step("executor", packet=Packet("module", "src"))
    workflow = check_workflow(Workflow("w", (plan,), roles={"executor": role}))
    added = with_step(workflow, "plan", AddedStep("executor.1", "executor", "do it", 1, ("plan",), (), "executor.1.md"))
    assert added.steps[-1].packet == role.packet
    for packet, said in (
        (Packet("workspace", artifacts=("a.md",)), "the packet of role executor names artifacts"),
        (Packet("module"), "no path"),
    ):
        with pytest.raises(UsageError, match=said):
            check_workflow(Workflow("w", (plan,), roles={"executor": Step("executor", packet=packet)}))


def test_a_file_is_a_packet_and_nothing_else() -> None:
    assert read_packet_file("scope: module\npath: src\nacceptance: it works\n", "p.yml") == Packet(
        "module", "src", ("it works",)
    )
    for text, said in (
        ("- scope", "p.yml: line 1: this is no packet"), ("", "this is no packet"),
        ("scope: world\n", "p.yml: line 1: the scope"),
        ("scope: workspace\nhope: high\n", "p.yml: line 2: packet is wrong: there is no 'hope'"),
        ("scope: {", "p.yml: line"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            read_packet_file(text, "p.yml")


def test_the_command_that_verifies_a_step_is_enough_to_show_that_it_is_done() -> None:
    text = "---\nname: w\n---\n## change\nagent: executor\nverify: make test\npacket: {scope: workspace}\n\nDo.\n"
    assert check_workflow(parse_workflow(text)).steps[0].packet == Packet("workspace")


def test_its_artifacts_are_looked_for_before_the_step_s_own_command_runs(tmp_path: Path) -> None:
    step = Step("change", verify="touch ran", packet=Packet("workspace", artifacts=("a b.md", "-x", "it's")))
    workflow = with_verifications(Workflow("w", (step, Step("after", depends_on=("change",)))))
    assert [each.id for each in workflow.steps] == ["change", "change.verify", "after"]
    assert workflow.steps[2].depends_on == ("change", "change.verify")
    assert with_verifications(workflow) == workflow, "a run that is admitted again has it once"
    own = Step("change.verify", role="verification", worker=WorkerSpec(shell="true"))
    with pytest.raises(UsageError, match="has the name of a verification"):
        with_verifications(Workflow("w", (step, own)))
    (tmp_path / "a b.md").touch()
    code, said = look(workflow, tmp_path)
    assert (code, "./-x" in said, "./it's" in said, "a b.md" in said) == (1, True, True, False)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "-x").touch()
    (tmp_path / "it's").mkdir()
    assert look(workflow, tmp_path) == (0, "")
    assert (tmp_path / "ran").exists()


@given(names)
def test_no_name_of_an_artifact_is_code(found: list[str]) -> None:
    packet = Packet("workspace", artifacts=tuple(found[:ENTRIES_MAX]))
    try:
        check_packet("change", packet, verified=False)
    except UsageError:
        return
    workflow = with_verifications(Workflow("w", (Step("change", packet=packet),)))
    check_workflow(workflow)
    assert look(workflow, Path("/dev"))[0] in {0, 1}


def test_the_step_s_own_command_finds_its_variables_as_they_were(tmp_path: Path) -> None:
    step = Step("change", verify='test "$file $missing" = "mine too"', packet=Packet("workspace", artifacts=(".",)))
    assert look(with_verifications(Workflow("w", (step,))), tmp_path, file="mine", missing="too") == (0, "")


def test_a_packet_that_a_command_verifies_is_checked_again_when_the_run_is_admitted() -> None:
    step = Step("change", verify="make test", packet=Packet("workspace"))
    admitted = check_workflow(with_verifications(check_workflow(Workflow("w", (step,)))))
    assert check_workflow(with_verifications(admitted)) == admitted


def test_a_packet_is_kept_as_it_was_given() -> None:
    step = Step("s", packet=Packet("module", "src", ("a",), escalate="Ask."))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=Step) == step
