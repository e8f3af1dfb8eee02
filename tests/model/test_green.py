from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.model.green import LEVELS, Green, needed, reached, required
from crewd.model.packet import Packet
from crewd.model.verification import with_verifications
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow
from crewd.model.workflow_markdown import parse_workflow

TEXT = """---
name: w
green: package
---
## change
run: true
verify:
  package: make check
  targeted: pytest -q tests/test_one.py
  workspace: make test

## report
dependsOn: change
run: true
"""
LEVELS_OF_ONE = st.dictionaries(st.sampled_from(LEVELS), st.just("true"), max_size=4)


def of(green: Green = "", **steps: dict[Any, str]) -> Workflow:
    given = tuple(Step(name, worker=WorkerSpec(call="a:b"), verify_levels=levels) for name, levels in steps.items())
    return Workflow("w", given, green=green)


def test_each_level_up_to_the_required_one_is_a_step_after_the_one_below_it() -> None:
    workflow = check_workflow(with_verifications(check_workflow(parse_workflow(TEXT))))
    assert [(step.id, step.depends_on, step.level, step.worker.shell) for step in workflow.steps] == [
        ("change", (), "", "true"),
        ("change.verify.targeted", ("change",), "targeted", "pytest -q tests/test_one.py"),
        ("change.verify", ("change.verify.targeted",), "package", "make check"),
        ("report", ("change", "change.verify"), "", "true"),
    ]
    assert required(workflow) == "package"
    assert with_verifications(workflow) is workflow, "said once"


def test_without_a_word_on_it_the_highest_level_is_required_and_with_none_nothing_runs() -> None:
    levels = {"targeted": "a", "workspace": "b"}
    assert required(of(a=levels, b={"package": "c"})) == "workspace"
    assert [step.id for step in with_verifications(of(a=levels)).steps] == ["a", "a.verify.targeted", "a.verify"]
    assert [step.id for step in with_verifications(of("none", a=levels)).steps] == ["a"]
    assert required(of(a={})) == ""


def test_a_step_that_has_only_lower_levels_runs_those() -> None:
    workflow = with_verifications(of("workspace", a={"targeted": "x"}, b={"workspace": "y", "merge_ready": "z"}))
    assert [(step.id, step.level) for step in workflow.steps if step.level] == [
        ("a.verify", "targeted"),
        ("b.verify", "workspace"),
    ]


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (
            of("workspace", a={"targeted": "x"}),
            "green: workspace is required, and no step has a command that shows it; there are",
        ),
        (of("package", a={}), "no step has a command that shows it"),
        (of("package", a={"package": "x"}, b={"workspace": "y"}), "step b would not be verified: it has only workspace"),
        (of(a={"soon": "x"}), "there is no level 'soon'"),
        (of(a={"package": " "}), "the level package has no command"),
        (of(a={"package": "sh -c '{goal}'"}), "goal"),
        (Workflow("w", (Step("a", worker=WorkerSpec(call="a:b"), verify="x", verify_levels={"package": "y"}),)), "one without"),
        (Workflow("w", (Step("a", worker=WorkerSpec(call="a:b"), level="package"),)), "which crewd sets"),
        (
            Workflow("w", (Step("a", role="verification", worker=WorkerSpec(shell="true"), level="package"),)),
            "which crewd sets",
        ),
        (msgspec.structs.replace(of(a={}), green="lawn"), "green 'lawn' is not possible"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_the_door(workflow: Workflow, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_workflow(workflow)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("green: package", "green: lawn", "line 3: green 'lawn' is not possible"),
        ("  targeted: pytest", "  target: pytest", "there is no level 'target'"),
        ("  package: make check\n", "  package:\n", "the level package has no command"),
        (
            "  package: make check\n  targeted: pytest -q tests/test_one.py\n  workspace: make test",
            "  - x",
            "one for each level",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said(old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_workflow(TEXT.replace(old, new))
    assert message in caught.value.message


def test_levels_may_stand_in_one_line_and_a_group_of_a_shell_is_a_command() -> None:
    def verified(line: str) -> tuple[str, dict[Any, str]]:
        (step,) = parse_workflow(f"---\nname: w\n---\n## a\nrun: true\nverify: {line}\n").steps
        return step.verify, step.verify_levels

    assert verified("{package: make check, targeted: 'pytest -q'}") == ("", {"targeted": "pytest -q", "package": "make check"})
    for command in ("{ make check; }", "{ echo a: b; }", "{ test: x; }", "[ -e a ]", "[[ -e a ]]"):
        assert verified(command) == (command, {})
    for line, says in (
        ("{Package: make}", "no level 'Package'"), ("{ test: x }", "no level 'test'"),
        ("{targeted: a, Package: b}", "no level 'Package'"),
        ("{}", "or one for each level"), ("[a, b]", "or one for each level"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            verified(line)


def test_a_verification_without_a_level_that_failed_counts_against_all_levels() -> None:
    workflow = Workflow("w", (*of(a={"package": "x"}).steps, Step("b", verify="y", worker=WorkerSpec(call="a:b"))))
    steps = with_verifications(workflow).steps
    assert reached(steps, ("a", "a.verify", "b")) == "none"
    assert reached(steps, ("a", "a.verify", "b", "b.verify")) == "package"


def test_the_files_of_a_packet_are_looked_for_before_the_first_level() -> None:
    packet = Packet("workspace", artifacts=("a.md",))
    step = Step("a", packet=packet, verify_levels={"targeted": "x", "package": "y"})
    admitted = check_workflow(with_verifications(check_workflow(Workflow("w", (step,)))))
    assert ["a.md" in each.worker.shell for each in admitted.steps] == [False, True, False]
    assert with_verifications(admitted) is admitted, "said once"
    bare = Step("a", packet=Packet("workspace"), verify_levels={"package": "y"})
    with pytest.raises(UsageError, match="does not say what shows"):
        check_workflow(Workflow("w", (bare,), green="none"))


def test_a_level_is_reached_when_it_and_those_below_it_have_passed() -> None:
    steps = with_verifications(of(a={"targeted": "x", "workspace": "y"}, b={"targeted": "z"})).steps
    assert reached(steps, ()) == "none"
    assert reached(steps, ("a.verify.targeted",)) == "none", "b has not shown it"
    assert reached(steps, ("a.verify.targeted", "b.verify")) == "targeted"
    assert reached(steps, ("a.verify.targeted", "a.verify")) == "none"
    assert reached(steps, ("a.verify.targeted", "a.verify", "b.verify")) == "workspace"


@given(st.lists(LEVELS_OF_ONE, min_size=1, max_size=3), st.sampled_from(["", "none", *LEVELS]))
def test_who_has_passed_all_that_ran_has_reached_what_is_required(levels: list[dict[Any, str]], green: Green) -> None:
    workflow = of(green, **{f"s{number}": each for number, each in enumerate(levels)})
    try:
        admitted = check_workflow(with_verifications(check_workflow(workflow)))
    except UsageError:
        return
    assert required(admitted) == required(workflow)
    done = {step.id for step in admitted.steps}
    assert reached(admitted.steps, done) == (required(workflow) or "none")
    for step in admitted.steps:
        if step.level:
            assert reached(admitted.steps, done - {step.id}) != step.level


@given(LEVELS_OF_ONE, st.sampled_from(["none", *LEVELS]))
def test_commands_run_in_the_order_of_their_levels(levels: dict[Any, str], most: Green) -> None:
    order = [LEVELS.index(level) for level, _ in needed(levels, most)]
    assert order == sorted(order)
    assert all(LEVELS[each] in levels for each in order)
