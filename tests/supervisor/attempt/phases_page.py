"""The drawings in docs/lifecycle.md of an attempt's phases, and of what a task goes through, made from the tables.

Run it with `--write` to write them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crewd.model.statuses import TASK_MOVES, TASK_TERMINAL
from crewd.supervisor.attempt.phases import TRANSITIONS, Finished, Phase, Reserving

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"
BEGIN, END = "<!-- phases: begin -->\n", "<!-- phases: end -->"
TASKS_BEGIN, TASKS_END = "<!-- tasks: begin -->\n", "<!-- tasks: end -->"


def drawn() -> str:
    """The diagram, and a table of what each phase means."""
    lines = [BEGIN, "```mermaid\n", "stateDiagram-v2\n", f"    [*] --> {Reserving.__name__}\n"]
    for before, row in TRANSITIONS.items():
        events: dict[type[Phase], list[str]] = {}
        for kind, afters in row.items():
            for after in afters:
                events.setdefault(after, []).append(kind.__name__)
        lines += [f"    {before.__name__} --> {after.__name__}: {', '.join(names)}\n" for after, names in events.items()]
    lines += [f"    {Finished.__name__} --> [*]\n", "```\n", "\n", "| phase | meaning |\n", "| --- | --- |\n"]
    lines += [f"| `{each.__name__}` | {first_line(each)} |\n" for each in TRANSITIONS]
    return "".join([*lines, END])


def first_line(phase: type[Phase]) -> str:
    """What its docstring says in its first paragraph."""
    return " ".join((phase.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def drawn_tasks() -> str:
    """The diagram of a task's statuses, the ends as one."""
    ends = ", ".join(sorted(TASK_TERMINAL))
    lines = [TASKS_BEGIN, "```mermaid\n", "stateDiagram-v2\n", "    [*] --> queued\n"]
    for before, afters in TASK_MOVES.items():
        lines += [f"    {before} --> {after}\n" for after in sorted(afters - TASK_TERMINAL)]
        if last := sorted(afters & TASK_TERMINAL):
            lines.append(f"    {before} --> over: {', '.join(last)}\n")
    return "".join([*lines, "    over --> [*]\n", "```\n", "\n", f"`over` stands for {ends}.\n", TASKS_END])


def written(text: str, begin: str, end: str, drawing: str) -> str:
    """The page with this drawing between its marks."""
    before, _, rest = text.partition(begin)
    return before + drawing + rest.partition(end)[2]


if __name__ == "__main__" and "--write" in sys.argv:
    page = written(PAGE.read_text(), BEGIN, END, drawn())
    PAGE.write_text(written(page, TASKS_BEGIN, TASKS_END, drawn_tasks()))
