from __future__ import annotations

import pytest

from crewd.model.budget import Budget, Used, check_budget, words_of
from crewd.model.errors import UsageError
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow
from crewd.model.workflow_markdown import parse_workflow

STEP = "---\n\n## a\nrun: true\n"


def test_a_bound_is_reached_when_so_much_is_used() -> None:
    budget = Budget(tokens=100, cost=0.5)
    assert budget.bounded
    assert not budget.reached(Used(turns=10**9, tokens=99, cost=0.49))
    assert budget.reached(Used(tokens=100)) == "100 tokens are used, the budget of the run is 100"
    assert budget.reached(Used(cost=0.75)) == "0.75 cost are used, the budget of the run is 0.5"
    assert not Budget().bounded
    assert not Budget().reached(Used(1, 1, 1.0))


def test_what_is_used_adds_up() -> None:
    assert sum((Used(1, 2, 0.25), Used(3, 4, 0.5)), start=Used()) == Used(4, 6, 0.75)


def test_of_two_budgets_the_lower_bounds_hold_or_those_that_are_said_first() -> None:
    assert Budget(tokens=100, cost=0.5).left(Used(7, 60, 0.25)) == Budget(tokens=40, cost=0.25)
    mine, theirs = Budget(turns=5, cost=2.0), Budget(turns=9, tokens=7)
    assert mine.within(theirs) == theirs.within(mine) == Budget(turns=5, tokens=7, cost=2.0)
    assert theirs.filled(mine) == Budget(turns=9, tokens=7, cost=2.0)
    assert Budget(cost=-1.0).within(theirs).cost == -1.0


def test_bounds_in_words() -> None:
    assert words_of(Budget(tokens=2_000_000, cost=5.0)) == "2,000,000 tokens, 5 cost"


@pytest.mark.parametrize(
    "budget", [Budget(turns=-1), Budget(cost=float("nan")), Budget(cost=float("inf")), Budget(tokens=1 << 63)]
)
def test_a_budget_that_makes_no_sense_is_refused(budget: Budget) -> None:
    with pytest.raises(UsageError, match="budget"):
        check_budget(budget)
    with pytest.raises(UsageError, match="budget"):
        check_workflow(Workflow("w", (Step("a", worker=WorkerSpec(call="a:b")),), budget=budget))


def test_a_workflow_file_has_a_budget() -> None:
    text = "---\nname: w\nbudget: {cost: 2.5, tokens: 1000}\n" + STEP
    assert parse_workflow(text).budget == Budget(tokens=1000, cost=2.5)
    block = "---\nname: w\nbudget:\n  turns: 40\n" + STEP
    assert parse_workflow(block).budget == Budget(turns=40)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("budget: 5", "budget is not 'name: value'"),
        ("budget: {dollars: 5}", "there is no 'dollars'"),
        ("budget: {turns: 1.5}", "no whole number"),
        ("budget: {cost: much}", "no number"),
        ("budget: {cost: -1}", "cost -1 is not possible"),
    ],
)
def test_what_is_wrong_with_a_budget_is_said_with_its_line(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_workflow(f"---\nname: w\n{line}\n" + STEP)
    assert "line 3" in str(caught.value)
