"""Which workers wait for which runs and tasks: whether one more wait could ever end. Pure.

Rule: a worker that waits needs its target; a run needs each of its tasks; a task needs those that it depends on. A wait that
would need its own waiter never ends, so it is refused at once, with the way round named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from crewd.model.ids import task_id
from crewd.model.rows import RunRow


def cycle(
    waiter: str, target: str, waits: Mapping[str, Sequence[str]], runs: Mapping[str, RunRow]
) -> list[tuple[str, str, str]] | None:
    """The way from `target` back to `waiter`, each step as (from, "waits for" or "needs", to); None if there is none.

    `waiter` is a task, `target` and what is in `waits` (by the task that waits) tasks or runs; `runs` are the living ones.
    """
    came: dict[str, tuple[str, str]] = {target: (waiter, "waits for")}
    depends: dict[str, Mapping[str, Sequence[str]]] = {}  # by run: what each of its tasks depends on
    left = [target]
    while left:
        node = left.pop(0)
        if node == waiter:
            return _way_back(came, waiter)
        run = node.partition("/")[0]
        if run not in depends:
            depends[run] = _dependencies(runs.get(run))
        for how, following in _needs(node, waits, depends[run]):
            if following not in came:
                came[following] = (node, how)
                left.append(following)
    return None


def in_words(way: Iterable[tuple[str, str, str]]) -> str:
    """For people: `a waits for b, b needs b/x, b/x waits for a`."""
    return ", ".join(" ".join(step) for step in way)


def _dependencies(row: RunRow | None) -> Mapping[str, Sequence[str]]:
    if row is None:
        return {}
    return {task_id(row.id, step.id): [task_id(row.id, name) for name in step.depends_on] for step in row.workflow.steps}


def _needs(
    node: str, waits: Mapping[str, Sequence[str]], depends: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """What the node needs; `depends` is of its run."""
    yield from (("waits for", target) for target in waits.get(node, ()))
    yield from (("needs", task) for task in (depends.get(node, ()) if "/" in node else depends))


def _way_back(came: Mapping[str, tuple[str, str]], waiter: str) -> list[tuple[str, str, str]]:
    steps: list[tuple[str, str, str]] = []
    node = waiter
    while not steps or node != waiter:
        before, how = came[node]
        steps.insert(0, (before, how, node))
        node = before
    return steps
