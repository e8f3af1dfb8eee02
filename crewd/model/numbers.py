"""Numbers that a worker may report: finite, and so bounded that sums of them fit what they are kept in.

Tests: tests/hostile/test_numbers.py.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

COUNT_MAX = 1 << 50
"""A thousand attempts of so many tokens still make a number of 64 bits."""
AMOUNT_MAX = 1e15
SECONDS_MAX = 10 * 366 * 86_400.0

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Amount = Annotated[float, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Cost = Annotated[float, Meta(ge=0, le=AMOUNT_MAX)]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
