"""What an agent's attempt is given, as items of the inventory: an artifact of the attempt. Pure.

Tests: tests/client/test_usable.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from crewd.model.agent import Agent
from crewd.model.hooks import Hook
from crewd.model.inventory import Item

INVENTORY_FILE: Final = "inventory.json"


def inventory_text(agent: Agent, hooks: Iterable[Hook]) -> bytes:
    """The text of the artifact: a JSON list of items. What the agent is given was found when its run was started."""
    asked = (Item(f"hook:{hook.name}", "hook", hook.name, hook.source, "active") for hook in hooks)
    return msgspec.json.format(msgspec.json.encode([*agent.inventory, *asked]))


def items_in(text: bytes) -> tuple[Item, ...]:
    """The items of such a text. Raises msgspec.MsgspecError for another one."""
    return msgspec.json.decode(text, type=tuple[Item, ...])
