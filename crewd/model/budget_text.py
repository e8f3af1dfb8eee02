"""The budget in the front matter of a workflow or a team. Pure.

Tests: tests/model/test_budget.py.
"""

from __future__ import annotations

from crewd.model.budget import Budget, check_budget
from crewd.model.errors import UsageError
from crewd.model.markdown import did_you_mean, wrong
from crewd.model.quantities import quantity
from crewd.model.yaml_text import Yaml, scalar_text


def read_budget(yaml: Yaml) -> Budget:
    """What `budget` says; no bound if it is not there. UsageError with the line for what is not understood."""
    value, line = (yaml.value or {}).get("budget"), yaml.line("budget")
    if value is None:
        return Budget()
    if not isinstance(value, dict):
        raise wrong(line, "budget is not 'name: value'", "for example budget: {cost: 5, tokens: 2000000}")
    known = Budget.__struct_fields__
    found: dict[str, int | float] = {}
    for name, each in value.items():
        at = yaml.line("budget", name)
        if name not in known:
            raise wrong(at, f"budget is wrong: there is no {name!r}", did_you_mean(name, known, {}))
        try:
            found[name] = quantity(name, scalar_text(each, at, name), integral=name != "cost")
        except UsageError as error:
            raise wrong(at, error.message, error.hint) from None
    budget = Budget(**found)  # type: ignore[arg-type]  # whole numbers, but for the cost
    try:
        check_budget(budget)
    except UsageError as error:
        raise wrong(line, error.message, error.hint) from None
    return budget
