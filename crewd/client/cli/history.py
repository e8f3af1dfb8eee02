"""The verb `history`: a run's events as a tree, its attempts in time, and what led to an event."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence

import click

from crewd.client.blocking import connect
from crewd.client.cli.common import Options, ago, out, say, table, verb
from crewd.client.cli.follow import line_of, words
from crewd.client.history import Line, origin, tree, tries, why
from crewd.clock import in_words
from crewd.protocol.errors import NotFound
from crewd.protocol.events import Event
from crewd.protocol.rows import TaskRow


@click.command()
@click.argument("target")
@click.option(
    "--format", "form", type=click.Choice(["text", "jsonl", "markdown", "html"]), default="text", help="How to write the tree."
)
@click.option("--attempts", is_flag=True, help="The attempts in time, what each hangs on, and dead letters.")
@click.option("--why", "seq", default=0, metavar="SEQ", help="What led to this event, back to the run's beginning.")
@verb
def history(options: Options, target: str, form: str, attempts: bool, seq: int) -> None:  # noqa: FBT001 (flags)
    """Show the history of a run as a tree: each attempt of a task is a branch."""
    with connect(options.home, start=False) as crew:
        shown = crew.show(target)
        events = list(crew.events(shown.run.id))
    if seq:
        _why(options, events, seq)
    elif attempts:
        _attempts(options, events, shown.tasks)
    elif options.json or form == "jsonl":
        for line in tree(events):
            out({**line_of(line.event), "depth": line.depth})
    else:
        title = f"{shown.run.name}  {shown.run.status}  {shown.run.id}"
        for text in _WRITERS[form](title, tree(events)):
            say(text)


def _why(options: Options, events: Sequence[Event], seq: int) -> None:
    trace = why(events, seq)
    if not trace:
        raise NotFound(f"this run has no event {seq}", hint="crew history RUN shows their numbers")
    for link in trace:
        if options.json:
            out({**line_of(link.event), "how": link.how})
        else:
            how = f"{link.how}: " if link.how else ""
            say(f"{how}{_text(link.event)}  [{origin(link.event)}]")


def _attempts(options: Options, events: Sequence[Event], tasks: Sequence[TaskRow]) -> None:
    found = list(tries(events))
    dead = [task for task in tasks if task.dead]
    if options.json:
        out({"v": 1, "attempts": [each._asdict() for each in found], "dead_letters": dead})
        return
    table(
        ["ATTEMPT", "AFTER", "BEGUN", "LASTED", "END", "WHY"],
        (
            [
                f"{each.task.partition('/')[2]}#{each.epoch}", each.hangs_on, in_words(each.begun_at),
                ago(each.ended_at - each.begun_at) if each.ended_at is not None else "", each.end or "lives",
                f"{each.reason} {each.error}".strip()[:90],
            ]
            for each in found
        ),
    )  # fmt: skip
    for task in dead:
        say(f"dead letter {task.dead}: {task.id.partition('/')[2]} {task.reason} {task.error}".rstrip())


def _text(event: Event) -> str:
    branch = f" {event.branch}" if event.branch else ""
    text = " ".join(f"{event.seq} {in_words(event.at)}{branch} {event.type} {_said(event)}".split())
    return "".join(each if each.isprintable() else "�" for each in text)  # no worker's text steers somebody's terminal


def _said(event: Event) -> str:
    step, text = event.task.partition("/")[2], words(event).strip()
    return text.removeprefix(f"{step}: ") if step else text


def _as_text(title: str, lines: Sequence[Line]) -> Iterator[str]:
    yield title
    for line in lines:
        yield f"{'  │ ' * line.depth}  {_text(line.event)}"


def _as_markdown(title: str, lines: Sequence[Line]) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    for line in lines:
        event = line.event
        yield f"{'  ' * line.depth}- `{event.seq}` {in_words(event.at)} **{event.type}** {_quoted(_said(event))}".rstrip()


def _quoted(text: str) -> str:
    """Text of people and workers in a Markdown document: it may be anything, and must not become markup."""
    text = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>()#+-.!|~&" else each for each in text)


def _as_html(title: str, lines: Sequence[Line]) -> Iterator[str]:
    yield "<!doctype html><meta charset='utf-8'>"
    yield f"<title>{html.escape(title)}</title><style>body{{font:14px sans-serif}}li{{margin:2px}}time{{color:#777}}</style>"
    yield f"<h1>{html.escape(title)}</h1>"
    depth = -1
    for line in lines:
        yield "<ul>" * (line.depth - depth) + "</ul>" * (depth - line.depth)
        depth = line.depth
        event = line.event
        yield (
            f"<li id='{event.seq}'><a href='#{event.parent or event.seq}'>{event.seq}</a> <time>{in_words(event.at)}</time> "
            f"<b>{html.escape(event.type)}</b> {html.escape(_said(event))}"
        )
    yield "</ul>" * (depth + 1)


_WRITERS: dict[str, Callable[[str, Sequence[Line]], Iterator[str]]] = {
    "text": _as_text, "markdown": _as_markdown, "html": _as_html
}  # fmt: skip
