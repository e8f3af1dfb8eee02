from __future__ import annotations

import pytest

from crewd.model.errors import UsageError
from crewd.model.verification import with_verifications
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow
from crewd.model.workflow_markdown import parse_workflow

TEXT = "---\nname: w\n---\n## change\nrun: true\nverify: pytest -q\n\n## report\ndependsOn: change\nrun: true\n"


def test_a_verification_is_a_step_and_what_depends_on_the_step_depends_on_it() -> None:
    workflow = check_workflow(with_verifications(parse_workflow(TEXT)))
    assert [(step.id, step.depends_on) for step in workflow.steps] == [
        ("change", ()), ("change.verify", ("change",)), ("report", ("change", "change.verify")),
    ]  # fmt: skip
    verification = workflow.steps[1]
    assert (verification.worker.shell, verification.worker.limits.task_seconds) == ("pytest -q", 900.0)
    assert with_verifications(workflow) is workflow, "said once"


def test_it_has_the_access_and_the_variables_of_its_step() -> None:
    worker = WorkerSpec(call="a:b", env={"A": "1"}, env_pass=("B",), cwd="sub")
    step = Step("s", verify="make check", access="exclusive", conflict_key="db", worker=worker)
    _, verification = with_verifications(Workflow("w", (step,))).steps
    assert (verification.access, verification.conflict_key) == ("exclusive", "db")
    assert (verification.worker.env, verification.worker.env_pass) == ({"A": "1"}, ("B",))
    assert verification.worker.cwd == "sub"


def test_the_flag_of_other_systems_changes_nothing() -> None:
    workflow = parse_workflow(TEXT.replace("pytest -q", "true"))
    assert with_verifications(workflow) is workflow


@pytest.mark.parametrize("name", ["a.", "a" * 60])
def test_a_step_whose_verification_could_have_no_name_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"step {name} cannot be verified") as caught:
        with_verifications(Workflow("w", (Step(name, verify="make test"),)))
    assert "57 characters" in caught.value.hint


def test_a_name_that_is_taken_and_a_line_that_cannot_be_are_refused() -> None:
    steps = (Step("a", verify="true", worker=WorkerSpec(call="a:b")), Step("a.verify", worker=WorkerSpec(call="a:b")))
    with pytest.raises(UsageError, match="has the name of a verification"):
        with_verifications(Workflow("w", steps))
    with pytest.raises(UsageError, match="line 6"):
        parse_workflow(TEXT.replace("pytest -q", "sh -c '{goal}'"))
