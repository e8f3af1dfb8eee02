"""Metrics have names that do not change, and a text that Prometheus reads."""

from __future__ import annotations

import re

from crewd.client.blocking import Crew
from crewd.client.metrics import METRICS, as_text, samples_of
from crewd.testing.daemon import wait_until


def test_the_text_has_a_type_a_help_and_a_value_for_each() -> None:
    text = as_text(samples_of({"events": 1234567, "database_mib": 2, "home": "/x", "unknown": 3}, healthy=False))
    assert text.splitlines()[:3] == [
        "# HELP crewd_healthy Whether crew doctor finds nothing.", "# TYPE crewd_healthy gauge", "crewd_healthy 0",
    ]  # fmt: skip
    assert "# TYPE crewd_events gauge\ncrewd_events 1234567\n" in text
    assert "crewd_database_bytes 2097152\n" in text
    assert "unknown" not in text and "/x" not in text and text.endswith("\n")
    assert all(re.fullmatch(r"(#.*|[a-z_]+ [0-9.e+]+)", line) for line in text.splitlines())


def test_each_metric_is_counted_by_the_doctor(crew: Crew) -> None:
    def counted() -> dict[str, float]:
        return {sample.name: sample.value for sample in samples_of(crew.doctor().counts, healthy=True)}

    wait_until(lambda: counted().keys() == {"crewd_healthy", *(metric.name for metric in METRICS)}, "the guardian to be asked")
    assert counted()["crewd_actors"] > 0
