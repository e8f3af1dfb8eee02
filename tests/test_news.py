"""News through the public socket: whoever was away hears each end, question and failure once, also over a crash of crewd."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.client.blocking import connect
from crewd.model.news import Severity
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process


def test_whoever_was_away_hears_everything_once(daemon: Daemon, jobs_dir: str, tmp_path: Path) -> None:
    home, keys = str(daemon.home.root), tmp_path / "keys"
    with connect(home, name="ann", keys=keys) as crew:
        good = crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir, name="good")
        bad = crew.call("jobs:fail", cwd=jobs_dir, name="bad")
        asks = crew.call("jobs:ask", cwd=jobs_dir, name="asks")
        for run in (good, bad):
            run.wait()
        wait_until(crew.inbox, "the question")
    with connect(home, name="ben", keys=keys) as other:
        assert not other.news().items, "it is nobody else's business"
        assert {item.name for item in other.news(everyone=True).items} == {"good", "bad", "asks"}
    daemon.kill()
    daemon.start()
    with connect(home, name="ann", keys=keys) as crew:
        first = crew.news()
        assert {(item.name, item.kind, item.severity) for item in first.items} == {
            ("good", "completed", Severity.INFO),
            ("bad", "dead_letter", Severity.ERROR),
            ("asks", "question", Severity.WARNING),
        }
        assert crew.news().items == first.items, "until it is said that they were seen"
        crew.seen(first.upto)
    daemon.kill()
    daemon.start()
    with connect(home, name="ann", keys=keys) as crew:
        assert not crew.news().items
        crew.cancel(asks.id)
        assert [item.kind for item in crew.news().items] == ["cancelled"]
        crew.seen(10**9)
        assert not crew.news().items
        assert crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir).result() == 3
        assert [item.kind for item in crew.news().items] == ["completed"], "nobody can see what has not happened yet"
