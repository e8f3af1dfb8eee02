"""docs/protocol.md and docs/stdio.md say what the types say."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.protocol.replies import REPLIES
from crewd.protocol.reports import FROM_WORKER, TO_WORKER
from crewd.protocol.requests import REQUESTS
from tests.protocol import wire_page


@pytest.mark.parametrize("path", wire_page.PAGES, ids=lambda path: path.name)
def test_the_tables_of_the_page_are_those_of_the_types(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert wire_page.page(text) == text, f"{path.name} differs from the types: {wire_page.COMMAND}"


def test_every_table_has_its_place_in_the_page() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in wire_page.PAGES)
    assert sorted(name for _, name, _, _ in wire_page.BLOCK.findall(text)) == sorted(wire_page.BLOCKS)
    assert text.count("<!-- generated: ") == text.count("<!-- end -->") == len(wire_page.BLOCKS)


def test_every_request_has_its_replies() -> None:
    assert set(wire_page.REPLIES) == set(REQUESTS), f"say in {wire_page.__name__}.REPLIES what answers it"
    assert {kind for kinds in wire_page.REPLIES.values() for kind in kinds} | {"error"} == set(REPLIES)


def test_every_kind_of_message_is_named_in_the_page() -> None:
    text = wire_page.PAGE.read_text(encoding="utf-8")
    missing = [kind for table in (REQUESTS, REPLIES, FROM_WORKER, TO_WORKER) for kind in table if f"`{kind}`" not in text]
    assert not missing
