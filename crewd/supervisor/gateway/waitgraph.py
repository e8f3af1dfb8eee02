"""Which workers wait for which runs and tasks: whether one more wait could ever end. Pure.

Rule: a worker that waits needs its target; a run needs each of its tasks; a task needs those that it depends on. A wait that
would need its own waiter never ends, so it is refused at once, with the way round named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from crewd.protocol.ids import split_task_id, task_id
from crewd.protocol.rows import RunRow


def cycle(
    waiter: str, target: str, waits: Mapping[str, Sequence[str]], runs: Mapping[str, RunRow]
) -> list[tuple[str, str, str]] | None:
    """The way from `target` back to `waiter`, each step as (from, "waits for" or "needs", to); None if there is none.

    `waiter` is a task, `target` and what is in `waits` (by the task that waits) tasks or runs; `runs` are the living ones.
    """
    came: dict[str, tuple[str, str]] = {target: (waiter, "waits for")}
    left = [target]
    while left:
        node = left.pop(0)
        if node == waiter:
            return _way_back(came, waiter)
        for how, following in _needs(node, waits, runs):
            if following not in came:
                came[following] = (node, how)
                left.append(following)
    return None


def in_words(way: Iterable[tuple[str, str, str]]) -> str:
    """For people: `a waits for b, b needs b/x, b/x waits for a`."""
    return ", ".join(" ".join(step) for step in way)


def _needs(node: str, waits: Mapping[str, Sequence[str]], runs: Mapping[str, RunRow]) -> Iterator[tuple[str, str]]:
    run, step_id = split_task_id(node) if "/" in node else (node, "")
    row = runs.get(run)
    for target in waits.get(node, ()):
        yield "waits for", target
    for step in () if row is None else row.workflow.steps:
        if not step_id:
            yield "needs", task_id(run, step.id)
        elif step.id == step_id:
            yield from (("needs", task_id(run, name)) for name in step.depends_on)


def _way_back(came: Mapping[str, tuple[str, str]], waiter: str) -> list[tuple[str, str, str]]:
    steps: list[tuple[str, str, str]] = []
    node = waiter
    while not steps or node != waiter:
        before, how = came[node]
        steps.insert(0, (before, how, node))
        node = before
    return steps
