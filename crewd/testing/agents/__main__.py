"""`python -m crewd.testing.agents [--slow SECONDS] NAME`: a stand-in on standard input and output.

Tests: tests/testing/agents/test_script.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from crewd.testing.agents.standin import option

if TYPE_CHECKING:
    from crewd.testing.agents.standin import StandIn

PROGRAMS = ("pi", "omp", "claude", "codex", "acp")


def stand_in(name: str, arguments: list[str]) -> StandIn:
    """The program of this name. Only what it needs is imported: it is started hundreds of times."""
    match name:
        case "claude":
            from crewd.testing.agents import claude

            return claude.make(name, arguments)
        case "codex":
            from crewd.testing.agents import codex

            return codex.make(name, arguments)
        case "acp":
            from crewd.testing.agents import acp

            return acp.make(name, arguments)
        case _:
            from crewd.testing.agents import pi

            return pi.make(name, arguments)


def main(arguments: list[str]) -> int:
    """Run one; what follows its name are options as the real program has them, and change nothing."""
    name = next((each for each in arguments if each in PROGRAMS), "")
    if "--version" in arguments:
        sys.stdout.write("1.2.3 (stand-in)\n")
        return 0
    if not name:
        sys.stderr.write(f"usage: python -m crewd.testing.agents {'|'.join(PROGRAMS)}\n")
        return 2
    return asyncio.run(_serve(name, arguments))


async def _serve(name: str, arguments: list[str]) -> int:
    await asyncio.sleep(float(option(arguments, "--slow") or 0))
    return await stand_in(name, arguments).serve()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # it is started hundreds of times, and to take the interpreter apart takes longer than its work
