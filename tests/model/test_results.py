"""Which results an agent reads: those of the steps that it depends on, unless its step says otherwise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewd.model.agent import Agent
from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.results import result_file, with_results
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow

AGENT = WorkerSpec(agent=Agent("pi", ("pi",)))
SHELL = WorkerSpec(shell="make")


def steps(*of: Step) -> dict[str, Step]:
    return {step.id: step for step in with_results(check_workflow(Workflow("w", of))).steps}


def test_an_agent_reads_what_the_steps_before_it_have_left() -> None:
    found = steps(
        Step("look", worker=AGENT, output="places.md"), Step("make", worker=SHELL),
        Step("mend", worker=AGENT, depends_on=("look", "make")), Step("tell", worker=AGENT, depends_on=("mend",)),
    )  # fmt: skip
    assert found["mend"].reads == ("places.md", "make.result")
    assert found["make"].output == "make.result"
    assert found["tell"].reads == ("mend.result",)
    assert (found["look"].reads, found["tell"].output) == ((), "")


def test_what_a_step_says_itself_holds() -> None:
    found = steps(
        Step("a", worker=AGENT), Step("b", worker=AGENT, output="b.md", depends_on=("a",), reads_nothing=True),
        Step("c", worker=AGENT, depends_on=("a", "b"), reads=("b.md",)), Step("d", worker=SHELL, depends_on=("a",)),
    )  # fmt: skip
    assert [found[name].reads for name in "abcd"] == [(), (), ("b.md",), ()]
    assert found["a"].output == ""


def test_a_name_that_is_taken_stays_whose_it_is() -> None:
    found = steps(
        Step("a", worker=AGENT), Step("b", worker=SHELL, output="a.result"), Step("c", worker=AGENT, depends_on=("a", "b")),
    )  # fmt: skip
    assert found["a"].output == ""
    assert found["c"].reads == ("a.result",)


names_of_steps = st.text("abc.-_", min_size=1, max_size=NAME_CHARS_MAX - 1).map("s".__add__)


@given(st.lists(names_of_steps, min_size=2, max_size=5, unique=True))
def test_a_workflow_that_can_be_run_can_be_run_so(names: list[str]) -> None:
    names = [name for name in names if ".." not in name]
    chain = [Step(name, worker=AGENT, depends_on=tuple(names[max(0, place - 1) : place])) for place, name in enumerate(names)]
    if not chain:
        return
    workflow = check_workflow(Workflow("w", tuple(chain)))
    found = check_workflow(with_results(workflow))
    assert with_results(found) == found
    assert all(len(result_file(name)) <= NAME_CHARS_MAX for name in names)
