"""Metrics of a daemon: what `crew doctor` counts, by names that do not change, as text for Prometheus or as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """A metric: its name, whether it only grows, the count that it is made of, and what one of that is."""

    name: str
    kind: Literal["counter", "gauge"]
    count: str
    says: str
    factor: int = 1


class Sample(msgspec.Struct, frozen=True):
    """The value of a metric."""

    name: str
    value: float


MIB: Final = 1 << 20
METRICS: Final[Sequence[Metric]] = (
    Metric("crewd_events_total", "counter", "events", "Events in the log."),
    Metric("crewd_runs", "gauge", "runs", "Runs that are kept."),
    Metric("crewd_runs_live", "gauge", "runs_live", "Runs that have not ended."),
    Metric("crewd_tasks", "gauge", "tasks", "Tasks of the runs that are kept."),
    Metric("crewd_attempts", "gauge", "attempts", "Attempts of the runs that are kept."),
    Metric("crewd_messages", "gauge", "messages", "Messages of the runs that are kept."),
    Metric("crewd_questions", "gauge", "asks", "Questions of the runs that are kept."),
    Metric("crewd_operations", "gauge", "operations", "Operations of the runs that are kept."),
    Metric("crewd_artifacts", "gauge", "artifacts", "Artifacts of the runs that are kept."),
    Metric("crewd_notices", "gauge", "notices", "Notices of the runs that are kept."),
    Metric("crewd_workers_connected", "gauge", "workers_connected", "Workers that are connected to crewd."),
    Metric("crewd_worker_processes", "gauge", "worker_processes", "Processes of workers."),
    Metric("crewd_orphans", "gauge", "orphans", "Processes of workers that nobody owns."),
    Metric("crewd_clients", "gauge", "clients", "Clients that are known."),
    Metric("crewd_waits", "gauge", "waits", "Requests that wait for something to happen."),
    Metric("crewd_subscriptions", "gauge", "subscriptions", "Clients that follow events."),
    Metric("crewd_actors", "gauge", "actors", "Actors of the daemon."),
    Metric("crewd_database_bytes", "gauge", "database_mib", "Size of the database.", MIB),
    Metric("crewd_disk_free_bytes", "gauge", "disk_free_mib", "Free room on the disk of the home.", MIB),
    Metric("crewd_memory_available_bytes", "gauge", "memory_available_mib", "Memory that the machine has left.", MIB),
)


def samples_of(counts: Mapping[str, int | float | str], *, healthy: bool) -> tuple[Sample, ...]:
    """The values, in the order of `METRICS`, of what was counted; and whether the daemon is healthy, as 1 or 0."""
    found = ((metric, counts.get(metric.count)) for metric in METRICS)
    known = (Sample(metric.name, value * metric.factor) for metric, value in found if isinstance(value, int | float))
    return (Sample("crewd_healthy", int(healthy)), *known)


def as_text(samples: Sequence[Sample]) -> str:
    """The text that Prometheus reads (its exposition format, version 0.0.4)."""
    about = {metric.name: metric for metric in METRICS}
    lines: list[str] = []
    for sample in samples:
        metric = about.get(sample.name, Metric(sample.name, "gauge", "", "Whether crew doctor finds nothing."))
        lines += [
            f"# HELP {metric.name} {metric.says}",
            f"# TYPE {metric.name} {metric.kind}",
            f"{metric.name} {sample.value!r}",
        ]
    return "\n".join(lines) + "\n"
