"""The drawing of an attempt's phases in docs/lifecycle.md, made from the table. Run with `--write` to make it anew."""

from __future__ import annotations

import sys
from pathlib import Path

from crewd.supervisor.attempt.phases import TRANSITIONS, Finished, Phase, Reserving

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"
BEGIN, END = "<!-- phases: begin -->\n", "<!-- phases: end -->"


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


if __name__ == "__main__" and "--write" in sys.argv:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + drawn() + rest.partition(END)[2])
