"""`python -m tests.mutants.stories`: plant again each mistake that simulation once found in crewd, and keep the shortest story.

The stories are what `tests/testing/world/test_world.py` plays: with the mistake they break a law, without it they do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.__main__ import AT_ONCE, MUTANTS, STORIES, Mutant, plant

SEARCH = """
import json, sys
from crewd.testing.world.faults import NONE
from crewd.testing.world import hunt as hunting
from crewd.testing.world.hunt import hunt, shrink
hunting.SHRINK_SECONDS = 15.0
best = None
first = int(sys.argv[1])
for _ in range(2):
    found = hunt(first, lambda number: number < 6000)
    if found is None:
        break
    story = shrink(found)
    if best is None or (story.faults != NONE, len(story.moves)) < (best.faults != NONE, len(best.moves)):
        best = story
    first = found.seed + 1
if best is not None:
    moves = [[move.verb, dict(move.given)] for move in best.moves]
    print(json.dumps({"law": best.broken.law, "seed": best.seed, "faults": best.day, "moves": moves}))
"""


def tell(mutant: Mutant) -> dict[str, object] | None:
    """The shortest of a few stories that show the mistake."""
    with tempfile.TemporaryDirectory(prefix="crewd-story-") as folder:
        plant(mutant, Path(folder))
        shown = subprocess.run(
            [sys.executable, "-c", SEARCH, str(mutant.first)],
            env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    return {"wrong": mutant.name, **json.loads(shown.stdout)} if shown.stdout else None


def main() -> int:
    """Write the file; 0 if every mistake has its story."""
    found = [mutant for mutant in MUTANTS if mutant.found]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stories = dict(zip((mutant.name for mutant in found), pool.map(tell, found), strict=True))
    kept = {story["wrong"]: story for story in json.loads(STORIES.read_text())}
    stories = {name: story or kept.get(name) for name, story in stories.items()}  # a rare one is not always found again
    lines = [json.dumps(story) for story in stories.values() if story is not None]
    STORIES.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    for name, story in stories.items():
        print(f"{name}: {'no story' if story is None else story['law']}")
    return 0 if all(stories.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
