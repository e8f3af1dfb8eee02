"""The verb prompt: what an agent was told, exactly, and where each part of it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from crewd.agents.prompt import PROMPT_FILE, SOURCES_FILE, SYSTEM_PROMPT_FILE
from crewd.client.cli.common import Options, look_at, out, say, say_exactly, table, verb
from crewd.client.keeping import artifact_bytes
from crewd.model.agent import AGENT_RUNTIMES
from crewd.model.errors import NotFound, UsageError
from crewd.model.ids import split_task_id

if TYPE_CHECKING:
    from crewd.model.rows import ArtifactRow
    from crewd.protocol.replies import ShowReply

_SHORT = 12
"""Characters of a hash that people compare."""


@click.command()
@click.argument("target", metavar="RUN[/STEP]")
@click.option("--attempt", type=click.IntRange(1), help="The attempt (else the last one that was told something).")
@verb
def prompt(options: Options, target: str, attempt: int | None) -> None:
    """Show what an agent was told: its system prompt, its first prompt, and the source, size and hash of each part."""
    with look_at(options) as crew:
        shown = crew.show(target)
        kept = _of_attempt(shown, target, attempt)
        sources: list[dict[str, Any]] = msgspec.json.decode(artifact_bytes(crew, kept[SOURCES_FILE]))
        texts = {
            name: artifact_bytes(crew, kept[name]).decode("utf-8", "replace")
            for name in (SYSTEM_PROMPT_FILE, PROMPT_FILE)
            if name in kept
        }
    task, epoch = kept[SOURCES_FILE].task, kept[SOURCES_FILE].epoch
    changed = [
        ran.words for each in shown.attempts if (each.task, each.epoch) == (task, epoch) for ran in each.hooks if ran.changed
    ]
    if options.json:
        system, first = texts.get(SYSTEM_PROMPT_FILE, ""), texts.get(PROMPT_FILE, "")
        out({"task": task, "attempt": epoch, "sources": sources, "hooks": changed, "system": system, "first": first})
        return
    say(f"{task.partition('/')[2]}, attempt {epoch}")
    table(("IN", "SOURCE", "BYTES", "SHA-256"), [(s["in"], s["source"], s["bytes"], s["sha256"][:_SHORT]) for s in sources])
    for words in changed:
        say(words)
    for title, name in (("System prompt", SYSTEM_PROMPT_FILE), ("First prompt", PROMPT_FILE)):
        if name in texts:
            say_exactly(f"\n-- {title} --\n{texts[name]}")


def _of_attempt(shown: ShowReply, target: str, attempt: int | None) -> dict[str, ArtifactRow]:
    """The artifacts of the attempt that is meant, by name."""
    agents = {task.id for task in shown.tasks if task.runtime in AGENT_RUNTIMES}  # of others it is a file of their own
    step = split_task_id(target)[1]  # a run is shown whole
    if step:
        agents = {task for task in agents if split_task_id(task)[1] == step}
    told = [row for row in shown.artifacts if row.name == SOURCES_FILE and row.task in agents and attempt in {None, row.epoch}]
    steps = sorted({row.task.partition("/")[2] for row in told})
    if not told:
        hint = "only coding agents are given a prompt, once they have started; crew show tells how it stands"
        raise NotFound(f"{target} has told no agent anything" + (f" in attempt {attempt}" if attempt else ""), hint=hint)
    if len(steps) > 1:
        raise UsageError(f"{target} has {len(steps)} agents: {', '.join(steps)}", hint=f"crew prompt {target}/{steps[0]}")
    last = max(told, key=lambda row: row.epoch)
    return {row.name: row for row in shown.artifacts if (row.task, row.epoch) == (last.task, last.epoch)}
