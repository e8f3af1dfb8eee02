"""What there is to run with: agents, teams, workflows, skills, runtimes, tools, providers, hooks, extensions, and their states.

Tests: tests/client/test_inventory.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, get_args

import msgspec
from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.redact import redact

ItemKind = Literal["agent", "team", "workflow", "skill", "runtime", "tool", "provider", "hook", "renderer", "sink", "extension"]
ItemState = Literal["active", "disabled", "shadowed", "missing", "untrusted"]
KINDS: Final[tuple[ItemKind, ...]] = get_args(ItemKind)
ITEMS_MAX = 1_000
"""Items that are kept with a run."""
ITEM_CHARS_MAX = 1_000
"""Characters of any text of an item that is kept with a run."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of them. `id` is `kind:name`, or `kind:source:name` for a file that its name does not mean."""

    id: str
    kind: ItemKind
    name: str
    source: str
    state: ItemState
    reason: str = ""
    shadowed_by: str = ""


def kept_with_run(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items that a run keeps: all, or of more than `ITEMS_MAX` those first that are not active. No text holds a secret."""
    found = [_with_texts(item, lambda text: text[:ITEM_CHARS_MAX]) for item in items]
    if len(found) > ITEMS_MAX:
        found = sorted(found, key=lambda item: item.state == "active")[:ITEMS_MAX]
    if _holds_secret(found):
        found = [_with_texts(item, lambda text: redact(text)[:ITEM_CHARS_MAX]) for item in found]
    return tuple(found)


def check_kept(items: Sequence[Item]) -> None:
    """UsageError for items that no run keeps."""
    if len(items) > ITEMS_MAX:
        raise UsageError(f"the inventory has {len(items):,} items, {ITEMS_MAX:,} are possible", hint="leave active ones out")
    if any(len(text) > ITEM_CHARS_MAX for item in items for text in _texts(item)):
        raise UsageError(f"a text of the inventory has more than {ITEM_CHARS_MAX:,} characters", hint="cut it")
    if _holds_secret(items):
        raise UsageError("the inventory holds what looks like a secret, and crewd keeps it", hint="leave that item out")


def _texts(item: Item) -> tuple[str, ...]:
    return item.id, item.name, item.source, item.reason, item.shadowed_by


def _holds_secret(items: Sequence[Item]) -> bool:
    texts = [text for item in items for text in _texts(item)]
    together = "\n".join(texts)  # one look is faster than thousands; but two texts that meet may look like a secret
    return redact(together) != together and any(redact(text) != text for text in texts)


def _with_texts(item: Item, change: Callable[[str], str]) -> Item:
    key, name, source, reason, shadowed_by = map(change, _texts(item))
    return replace(item, id=key, name=name, source=source, reason=reason, shadowed_by=shadowed_by)
