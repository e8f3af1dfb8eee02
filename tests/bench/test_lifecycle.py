"""The crowds of `make bench`: more workers of one run at once than a run usually may have."""

from __future__ import annotations

import pytest

from bench.lifecycle import storm, thousand
from crewd.client.blocking import Crew
from crewd.model.limits import CONCURRENCY_MAX
from crewd.testing import Daemon

pytestmark = pytest.mark.process
COUNT = CONCURRENCY_MAX + 1


@pytest.mark.long
def test_all_of_a_crowd_are_there_at_once(crew: Crew, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    thousand(crew, daemon, COUNT)
    storm(crew, daemon, COUNT)
    printed = capsys.readouterr().out
    assert f"{COUNT} workers at once: all ready" in printed
    assert "verified: True, 0 survivors" in printed
    assert f"all {COUNT} are parked" in printed
