"""The verb metrics: what the daemon counts, for Prometheus, as JSON, or for the sink of an extension.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from crewd.client.cli.common import Options, Seconds, look_at, out, say, verb
from crewd.client.feeding import feed, sink_named
from crewd.client.metrics import Sample, as_text, samples_of
from crewd.model.quantities import counted


@click.command()
@click.option("--to", "sink", metavar="EXTENSION.NAME", help="Feed them to this sink, until it ends (Ctrl-C ends it).")
@click.option("--every", type=Seconds(), default=10.0, show_default="10s", help="How often a sink gets them.")
@verb
def metrics(options: Options, sink: str | None, every: float) -> None:
    """Print metrics of the daemon in Prometheus' text format, or feed them to an extension."""
    if sink is not None:
        _, run = sink_named(sink)
        with look_at(options) as crew:

            def look() -> Sequence[Sample]:
                reply = crew.doctor()
                return samples_of(reply.counts, healthy=reply.healthy)

            missed = feed(run, look, max(every, 0.1))
        if missed:
            say(f"{sink} has missed {counted(missed, 'line')}")
        return
    with look_at(options) as crew:
        reply = crew.doctor()
    samples = samples_of(reply.counts, healthy=reply.healthy)
    if options.json:
        out({sample.name: sample.value for sample in samples})
    else:
        click.echo(as_text(samples), nl=False)
