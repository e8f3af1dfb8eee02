"""The verb `history`: a run's events as a tree, its attempts in time, and what led to an event.

Tests: tests/client/test_history.py.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence

import click

from crewd.client.cli.common import Options, lasted, look_at, out, say, say_within, table, verb
from crewd.client.cli.follow import details, line_of, words
from crewd.client.cli.screen import one_line, plain
from crewd.client.history import HistoryLine, origin, tree, tries, why
from crewd.client.summary import status_words
from crewd.clock import in_words, local_time
from crewd.model.errors import NotFound, UsageError
from crewd.model.events import Event
from crewd.model.rows import TaskRow

DEPTH_MAX = 6
"""What hangs deeper is shown here: the fiftieth attempt of a task would begin beyond the edge of the page."""


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
    if options.json and form in {"markdown", "html"}:
        raise UsageError(f"--json and --format {form} exclude each other", hint="leave one of them out")
    with look_at(options) as crew:
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
        title = f"{shown.run.name}  {status_words(shown.run, shown.tasks)}  {shown.run.id}"
        lines = [HistoryLine(min(line.depth, DEPTH_MAX), line.event) for line in tree(events)]
        for text in _WRITERS[form](title, lines):
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
        ["ATTEMPT", "END", "LASTED", "BEGUN", "AFTER", "WHY"],
        (
            [
                f"{each.task.partition('/')[2]}#{each.epoch}", each.end or "lives",
                lasted(each.ended_at - each.begun_at) if each.ended_at is not None else "", local_time(each.begun_at)[:-4],
                each.hangs_on,
                f"{each.reason} {each.error}".strip(),
            ]
            for each in found
        ),
    )  # fmt: skip
    for task in dead:
        say_within(one_line(f"dead letter {task.dead}: {task.id.partition('/')[2]} {task.reason} {task.error}"))


def _text(event: Event) -> str:
    branch = f" {event.branch}" if event.branch else ""
    return one_line(f"{event.seq} {local_time(event.at)}{branch} {event.type} {_said(event)}")


def _said(event: Event) -> str:
    """What happened, without the step, which stands before it."""
    step, text = event.task.partition("/")[2], words(event).strip()
    return one_line((text.removeprefix(f"{step}: ") if step else text) or details(event))


def _as_text(title: str, lines: Sequence[HistoryLine]) -> Iterator[str]:
    yield title
    for line in lines:
        yield f"{'  │ ' * line.depth}  {_text(line.event)}"


def _as_markdown(title: str, lines: Sequence[HistoryLine]) -> Iterator[str]:
    yield f"# {_quoted(title)}"
    yield ""
    for line in lines:
        event = line.event
        where = f" **{_quoted(event.branch)}**" if event.branch else ""
        begin = f"{'  ' * line.depth}- `{event.seq}` {in_words(event.at)}{where}"
        yield f"{begin} {_quoted(event.type)} {_quoted(_said(event))}".rstrip()


def _quoted(text: str) -> str:
    """Text of people and workers in a Markdown document: it may be anything, and must not become markup."""
    text = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>()#+-.!|~&" else each for each in text)


_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:1rem;max-width:70rem}"
    "ul{list-style:none;padding-left:1rem;border-left:1px solid #ccc}body>ul{border:0;padding:0}"
    "li{margin:.15rem 0;overflow-wrap:anywhere}li:target{background:#ffc}"
    "time,.after{color:#666;font-size:.85em}.step{background:#eef;border-radius:3px;padding:0 .3em}"
    "h1{font-size:1.2rem;overflow-wrap:anywhere}"
)


def _as_html(title: str, lines: Sequence[HistoryLine]) -> Iterator[str]:
    """Each event has an anchor, `#SEQ`: its number leads to itself, and `after N` to the event that it follows."""
    known = {line.event.seq for line in lines}
    yield "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    yield f"<title>{html.escape(plain(title))}</title><style>{_STYLE}</style>"
    yield f"<h1>{html.escape(plain(title))}</h1>"
    depth = -1
    for line in lines:
        yield "<ul>" * (line.depth - depth) + "</ul>" * (depth - line.depth)
        depth = line.depth
        event = line.event
        step = f"<span class='step'>{html.escape(event.branch)}</span> " if event.branch else ""
        after = f" <a class='after' href='#{event.parent}'>after {event.parent}</a>" if event.parent in known else ""
        yield (
            f"<li id='{event.seq}'><a href='#{event.seq}'>{event.seq}</a> <time>{in_words(event.at)}</time> {step}"
            f"<b>{html.escape(event.type)}</b> {html.escape(_said(event))}{after}"
        )
    yield "</ul>" * (depth + 1)


_WRITERS: dict[str, Callable[[str, Sequence[HistoryLine]], Iterator[str]]] = {
    "text": _as_text, "markdown": _as_markdown, "html": _as_html
}  # fmt: skip
