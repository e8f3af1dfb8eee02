"""What differs between the kinds of messages stands in one table, and nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import crewd
from crewd.model.message_kinds import MAILBOX_KINDS, MESSAGE_KINDS, WORK_KINDS, MessageKind, Purpose, kind_named
from crewd.model.rights import Role
from crewd.supervisor.attempt.mailbox import Mail

ROOT = Path(crewd.__file__).parent


def test_a_kind_is_for_one_thing() -> None:
    assert set(get_args(MessageKind)) == set(MESSAGE_KINDS), "a literal type cannot be made from the table"
    assert frozenset({"steer", "follow_up"}) == WORK_KINDS
    assert frozenset({"message", "group_join"}) == MAILBOX_KINDS
    assert [kind for kind, row in MESSAGE_KINDS.items() if row.purpose is Purpose.ANSWER] == ["response"]
    assert MESSAGE_KINDS["response"].role is Role.RESPOND
    assert kind_named("steer") == "steer"
    with pytest.raises(KeyError):
        kind_named("group_join")


def test_what_a_worker_must_have_declared_follows_from_the_table() -> None:
    needs = {kind: Mail("m", kind, 1).needs for kind in MESSAGE_KINDS}
    assert needs == {"steer": "steer", "follow_up": "follow_up", "response": "", "message": "message"}
    assert [kind for kind in MESSAGE_KINDS if Mail("m", kind, 1).begins_turn] == ["follow_up"]


def test_nothing_compares_a_kind_with_a_text() -> None:
    found = []
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        if not re.search(r"\.kind\b|\bkind=", text):
            continue
        for node in ast.walk(ast.parse(text)):
            compared: list[ast.AST] = []
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "kind":
                compared = [node]
            elif isinstance(node, ast.MatchClass):
                compared = [value for name, value in zip(node.kwd_attrs, node.kwd_patterns, strict=True) if name == "kind"]
            texts = {each.value for top in compared for each in ast.walk(top) if isinstance(each, ast.Constant)}
            if texts & set(MESSAGE_KINDS):
                found.append(str(path.relative_to(ROOT)))
    allowed = {"worker/stdio.py", "worker/context.py"}  # what goes to a program, or out of crewd, is said in its words
    assert [place for place in found if place not in allowed and "testing" not in place] == []
