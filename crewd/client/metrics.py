"""Metrics of a daemon: what `crew doctor` counts, by names that do not change, as text for Prometheus or as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """A metric, a gauge: its name, the count that it is made of, what it says, and what one of that is."""

    name: str
    count: str
    says: str
    factor: int = 1


class Sample(msgspec.Struct, frozen=True):
    """The value of a metric."""

    name: str
    value: float


MIB: Final = 1 << 20
METRICS: Final[Sequence[Metric]] = (
    Metric("crewd_events", "events", "Events of the runs that are kept."),
    Metric("crewd_runs", "runs", "Runs that are kept."),
    Metric("crewd_runs_live", "runs_live", "Runs that have not ended."),
    Metric("crewd_tasks", "tasks", "Tasks of the runs that are kept."),
    Metric("crewd_attempts", "attempts", "Attempts of the runs that are kept."),
    Metric("crewd_messages", "messages", "Messages of the runs that are kept."),
    Metric("crewd_questions", "asks", "Questions of the runs that are kept."),
    Metric("crewd_operations", "operations", "Operations of the runs that are kept."),
    Metric("crewd_artifacts", "artifacts", "Artifacts of the runs that are kept."),
    Metric("crewd_notices", "notices", "Notices of the runs that are kept."),
    Metric("crewd_workers_connected", "workers_connected", "Workers that are connected to crewd."),
    Metric("crewd_worker_processes", "worker_processes", "Processes of workers."),
    Metric("crewd_orphans", "orphans", "Processes of workers that nobody owns."),
    Metric("crewd_clients", "clients_known", "Connections of clients since the start that are remembered."),
    Metric("crewd_waits", "waits", "Requests that wait for something to happen."),
    Metric("crewd_subscriptions", "subscriptions", "Clients that follow events."),
    Metric("crewd_actors", "actors", "Actors of the daemon."),
    Metric("crewd_database_bytes", "database_mib", "Size of the database.", MIB),
    Metric("crewd_disk_free_bytes", "disk_free_mib", "Free room on the disk of the home.", MIB),
    Metric("crewd_memory_available_bytes", "memory_available_mib", "Memory that the machine has left.", MIB),
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
        metric = about.get(sample.name, Metric(sample.name, "", "Whether crew doctor finds nothing."))
        lines += [
            f"# HELP {metric.name} {metric.says}",
            f"# TYPE {metric.name} gauge",
            f"{metric.name} {sample.value!r}",
        ]
    return "\n".join(lines) + "\n"
