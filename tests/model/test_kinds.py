"""Every event has a kind, and names choose what they say."""

from __future__ import annotations

import pytest

from crewd.model.errors import UsageError
from crewd.model.events import EVENT_TYPES, Body
from crewd.model.kinds import KIND_OF, Kind, types_named


def test_every_event_has_a_kind_and_every_kind_events() -> None:
    assert set(KIND_OF) == set(Body.__args__)
    assert set(KIND_OF.values()) == set(Kind)


def test_names_mean_types_groups_and_kinds() -> None:
    assert types_named([]) == frozenset()
    assert types_named(["task.ended", "ask.*"]) == {"task.ended", "ask.opened", "ask.closed"}
    assert types_named(["run_started"]) == {"run.started"}
    assert types_named([kind.value for kind in Kind]) == set(EVENT_TYPES)
    for wrong in ("nothing", "nothing.*", "*", ""):
        with pytest.raises(UsageError):
            types_named([wrong])
