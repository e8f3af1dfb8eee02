"""`python -m crewd.testing.agents [--slow SECONDS] NAME`: a stand-in on standard input and output.

Tests: tests/testing/agents/test_script.py.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from crewd.clock import SystemClock
from crewd.testing.agents import acp, claude, codex, pi
from crewd.testing.agents.standin import option

if TYPE_CHECKING:
    from crewd.testing.agents.standin import StandIn

PROGRAMS: dict[str, Callable[[str, list[str]], StandIn]] = {
    "pi": pi.make, "omp": pi.make, "claude": claude.make, "codex": codex.make, "acp": acp.make,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run one; what follows its name are options as the real program has them, and change nothing."""
    name = next((each for each in arguments if each in PROGRAMS), "")
    if "--version" in arguments:
        sys.stdout.write("1.2.3 (stand-in)\n")
        return 0
    if not name:
        sys.stderr.write(f"usage: python -m crewd.testing.agents {'|'.join(PROGRAMS)}\n")
        return 2
    SystemClock().sleep(float(option(arguments, "--slow") or 0))
    return asyncio.run(PROGRAMS[name](name, arguments).serve())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
