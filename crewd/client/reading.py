"""Clients in several threads read what crewd says one after the other.

A decoder is made when the first message of its kind is read. msgspec (0.22) notes what it finds out about a type at the type,
before it has found out all of it, so two threads must not make decoders of the same types at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from crewd.client.conversation import Conversation

_reading = threading.Lock()


def feed(talk: Conversation, frames: Sequence[bytes]) -> list[list[bytes]]:
    """Take in a message; see `Conversation.feed`."""
    with _reading:
        return talk.feed(frames)
