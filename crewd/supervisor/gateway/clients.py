"""Which client is at the other end of which connection, and what it may do. A table; it neither reads nor sends.

Tests: tests/supervisor/gateway/test_routes.py.
"""

from __future__ import annotations

import msgspec

from crewd.model.ids import check_name
from crewd.model.rights import Role, owner_id
from crewd.protocol.requests import Hello

CLIENTS_MAX = 4_096
"""Clients remembered; the one that said hello first is forgotten and must say it again."""


class Client(msgspec.Struct, frozen=True):
    """Who said hello on a connection: `owner` is whom crewd takes it for."""

    owner: str
    role: Role


NOBODY = Client("", Role.NONE)
"""Who did not say hello."""


class Clients:
    """The table, by the identity of the connection."""

    def __init__(self) -> None:
        self._clients: dict[bytes, Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def at(self, identity: bytes) -> Client:
        """The client on this connection; `NOBODY` if none said hello."""
        return self._clients.get(identity, NOBODY)

    def greet(self, identity: bytes, hello: Hello) -> Client:
        """Enter a client. Raises UsageError for a name that is not possible.

        Only the daemon's own user can reach the socket (mode 0700, IPC_FILTER_UID), so a client may have any role it asks for.
        One that does not say who it is owns nothing, and may only look.
        """
        name = check_name("client name", hello.owner)
        owner = owner_id(name, hello.key) if hello.key else f"{name}:"
        most = Role.ADMIN if hello.key else Role.OBSERVE
        self._clients.pop(identity, None)
        self._clients[identity] = client = Client(owner, Role(min(max(hello.wish, Role.NONE), most)))
        return client

    def surplus(self) -> bytes | None:
        """The client that is to be forgotten because there are too many."""
        return next(iter(self._clients)) if len(self._clients) > CLIENTS_MAX else None

    def forget(self, identity: bytes) -> None:
        """It is gone."""
        self._clients.pop(identity, None)
