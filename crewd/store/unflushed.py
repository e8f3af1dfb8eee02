"""What is committed and not in the tables yet, as far as somebody asks for it before the next flush.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from crewd.model.events import Event, RunArchived, RunCreated, RunForgotten


@dataclass(slots=True)
class Unflushed:
    """`count` events; the runs that they are about (`touched`), those that they take away, and the names of those they make."""

    count: int = 0
    touched: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def note(self, events: Sequence[Event]) -> None:
        """These were committed."""
        for event in events:
            self.touched.add(event.run)
            match event.body:
                case RunCreated(name):
                    self.names[name] = event.run
                case RunForgotten():
                    self.removed.add(event.run)
                case RunArchived(row):
                    self.removed.add(event.run)
                    self.names[row.name] = row.id
                case _:
                    pass

    def clear(self) -> None:
        """Everything was flushed."""
        self.count = 0
        self.touched.clear()
        self.removed.clear()
        self.names.clear()
