"""`crew inbox --answer`: one question after the other, with one key where a key is enough.

Tests: tests/client/test_answer.py.
"""

from __future__ import annotations

import click

from crewd.client.blocking import Crew
from crewd.client.cli.common import Options, ago, look_at, say
from crewd.client.cli.screen import one_line, plain
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Outcome
from crewd.model.rows import AskRow

KEYS_MAX = 9
"""Choices that have a key of their own; with more of them the choice is typed."""
_KEYS = {"confirm": {"y": "yes", "n": "no"}, "permission": {"a": "allow", "d": "deny"}}


def answer_all(options: Options) -> None:
    """Ask about each open question, oldest first. `s` leaves one open, `q` ends."""
    with look_at(options) as crew:
        asks = crew.inbox()
        if not asks:
            say("no open questions")
        for number, ask in enumerate(asks, 1):
            now = SystemClock().wall()
            left = "" if ask.deadline_at is None else f", {ago(max(0.0, ask.deadline_at - now))} left"
            default = "" if ask.default is None else f", else {ask.default}"
            say(f"[{number}/{len(asks)}] {ask.task}, asked {ago(now - ask.opened_at)} ago{left}{one_line(default)}")
            say("  " + plain(ask.question).replace("\n", "\n  "))
            if not _answer(crew, ask):
                return


def keys_of(ask: AskRow) -> dict[str, str]:
    """Which key gives which answer; none for a question whose answer is typed."""
    if ask.kind == "choose" and 0 < len(ask.choices) <= KEYS_MAX:
        return {str(number): choice for number, choice in enumerate(ask.choices, 1)}
    return _KEYS.get(ask.kind, {})


def _answer(crew: Crew, ask: AskRow) -> bool:
    """Ask until there is an answer that fits; whether to go on with the next question."""
    keys = keys_of(ask)
    while True:
        if keys:
            say("  " + "  ".join(f"[{key}] {one_line(meant)}" for key, meant in keys.items()) + "  [s] skip  [q] quit")
            pressed = click.getchar().lower()
            text = {"s": "", "q": None, "\x03": None, "\x04": None}.get(pressed, keys.get(pressed, "?"))
            if text == "?":
                continue
        else:
            for choice in ask.choices:
                say(f"  - {one_line(choice)}")
            text = click.prompt("  answer (empty: skip)", default="", show_default=False, prompt_suffix=": ")
        if not text:
            return text is not None
        try:
            receipt = crew.respond(ask.id, text, wait="applied")
        except CrewdError as error:
            say(f"  {error}")
            continue
        if receipt.outcome is not Outcome.REFUSED:
            say(f"  -> {text}")
            return True
        say(f"  {receipt.reason}: {one_line(receipt.note)}")
        if receipt.reason != RefusalReason.DOES_NOT_FIT:
            return True
