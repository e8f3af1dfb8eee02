"""Whom to answer: who has asked, and by which request.

Tests: tests/supervisor/gateway/test_waits.py.
"""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """A client's identity and its request's id.

    `worker` is set when a worker asks, as `TASK#EPOCH`: then it is also the `owner`, which owns nothing.
    """

    identity: bytes
    request: str
    owner: str
    worker: str = ""
