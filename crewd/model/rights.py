"""Who may do what to whose runs.

Rule 1: a client is who its key says. Its owner id is made from its name and its key, so that nobody takes another one's; a
client without a key owns nothing and only observes.
Rule 2: to end, answer, or do again what another client owns needs the role admin, `force`, and a reason in words.

Tests: tests/test_ownership.py, tests/supervisor/gateway/test_routes.py.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from crewd.model.errors import Forbidden, UsageError

KEY_CHARS = (32, 128)
"""The least and the most characters of a key."""


class Role(IntEnum):
    """What a peer may do; each role may do what the ones below it may."""

    NONE = 0
    OBSERVE = 1
    MESSAGE = 2
    RESPOND = 3
    CANCEL = 4
    ADMIN = 5


def owner_id(name: str, key: str) -> str:
    """The owner that a client with this name and key is: `name:` and 16 hex digits. Raises UsageError for a bad key."""
    if not KEY_CHARS[0] <= len(key) <= KEY_CHARS[1]:
        raise UsageError(f"a client's key has {KEY_CHARS[0]} to {KEY_CHARS[1]} characters", hint="made at random, kept secret")
    return f"{name}:{hashlib.sha256(f'crewd client {key}'.encode()).hexdigest()[:16]}"


def check_owner(caller: str, owner: str, role: Role, what: str, *, force: bool, intent: str) -> None:
    """Whether the caller may do this to what `owner` owns (nobody: everybody). Raises Forbidden naming the owner."""
    if owner in {"", caller}:
        return
    if not force:
        raise Forbidden(f"{what} belongs to {owner}", hint="--force with an --intent, if you are sure", owner=owner)
    if role < Role.ADMIN:
        raise Forbidden(f"{what} belongs to {owner}, and force needs the role admin", hint="ask its owner", owner=owner)
    if not intent.strip():
        raise UsageError(f"{what} belongs to {owner}: say why", hint="--intent 'the reason in words'")


def check_intent(intent: str, what: str, *, required: bool) -> None:
    """With the policy `require_intent` what destroys something needs a reason in words."""
    if required and not intent.strip():
        raise UsageError(f"{what} needs a reason here", hint="--intent 'the reason in words' (require_intent in crewd.toml)")
