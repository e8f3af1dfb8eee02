"""docs/guardian.md says what the code does: every frame is on it, and its drawing is the table of transitions."""

from __future__ import annotations

import re
from pathlib import Path

from crewd.guardian.care import TRANSITIONS
from crewd.protocol import files as fl
from crewd.protocol import guardian as gd

PAGE = (Path(__file__).parents[2] / "docs" / "guardian.md").read_text()


def test_every_frame_and_the_version_are_on_the_page() -> None:
    orders = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert orders == set(gd.ORDERS) | set(fl.FILE_REQUESTS)
    assert set(gd.NOTICES) | set(fl.FILE_REPLIES) <= set(re.findall(r"`(\w+)`", PAGE))
    assert f"The version of this page is {gd.VERSION}." in PAGE


def test_the_drawing_is_the_table() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+|\[\*\])", PAGE, re.MULTILINE))
    reached = {
        (state.__name__, "[*]" if following is None else following.__name__)
        for state, row in TRANSITIONS.items()
        for each in row.values()
        for following in each
        if following is not state
    }
    assert drawn == reached
