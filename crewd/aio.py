"""The async client: `async with crewd.aio.connect() as crew`. The same calls as `crewd.Crew`, awaited.

Tests: tests/client/test_api.py.
"""

from crewd.client.aio import Crew, RunHandle, connect

__all__ = ["Crew", "RunHandle", "connect"]
