"""docs/api.md is what the docstrings say, and nothing public is without one."""

from __future__ import annotations

import importlib
import inspect

from tests.client import api_page


def test_the_page_is_written_from_the_docstrings() -> None:
    assert api_page.PAGE.read_text() == api_page.page(), "python -m tests.client.api_page --write"


def test_everything_public_says_what_it_does() -> None:
    silent = []
    for name in api_page.MODULES:
        for each, thing in api_page.public(importlib.import_module(name)):
            silent += [] if api_page.said(thing) else [f"{name}.{each}"]
            for method, member in api_page.members(thing) if inspect.isclass(thing) else ():
                function = member.fget if isinstance(member, property) else member
                silent += [] if api_page.said(function) else [f"{name}.{each}.{method}"]
    assert silent == []
