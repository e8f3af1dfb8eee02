"""The verb `attach`: the terminal of a command, here.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import sys
import termios
import tty

import click

from crewd.client.blocking import Crew
from crewd.client.cli.common import Options, look_at, verb, warn
from crewd.client.cli.terminal_state import Modes, without_queries
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, UsageError
from crewd.model.rows import AttemptRow
from crewd.model.terms import Terms

DETACH = "\x1d"
"""Ctrl-], as telnet has it."""
LOOK_SECONDS = 0.05
"""Between two looks at what the command shows."""
SHOWN_BYTES = 16_384
"""Of what it showed before."""


@click.command()
@click.argument("target")
@verb
def attach(options: Options, target: str) -> None:
    """Show the terminal of a command (crew exec --pty) and type what you type. Ctrl-] detaches; the command goes on."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("this is no terminal", hint="crew logs -f shows the output, crew steer types a line")
    with look_at(options) as crew:
        attempt = _attempt(crew, target)
        warn(f"attached to {attempt.task}; Ctrl-] detaches")
        before = termios.tcgetattr(0)
        resized, modes = [True], Modes()
        signal.signal(signal.SIGWINCH, lambda *_: resized.__setitem__(0, True))
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))  # so that the terminal is put back
        try:
            tty.setraw(0)
            ended = _relay(crew, attempt, resized, modes)
        finally:
            with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
                os.write(1, modes.undo())
                termios.tcsetattr(0, termios.TCSADRAIN, before)
    warn("it has ended" if ended else "detached; it goes on")


def _attempt(crew: Crew, target: str) -> AttemptRow:
    found = crew.show(target)
    step = target.partition("/")[2]
    live = [each for each in found.attempts if each.ended_at is None and step in {"", each.task.partition("/")[2]}]
    if not live:
        raise UsageError(f"{target} is not at work", hint="crew logs shows what it has written")
    if "keys" not in live[-1].capabilities:
        raise UsageError(f"{live[-1].task} has no terminal", hint="crew exec --pty gives one; crew logs -f shows the output")
    return live[-1]


def _relay(crew: Crew, attempt: AttemptRow, resized: list[bool], modes: Modes) -> bool:
    """Until the command has ended (True) or the person detaches."""
    clock, decoder = SystemClock(), codecs.getincrementaldecoder("utf-8")("replace")
    size = crew.log(attempt.task, epoch=attempt.epoch, offset=-1).size
    offset, old = max(0, size - SHOWN_BYTES), b""
    while True:
        at = offset
        reply = crew.log(attempt.task, epoch=attempt.epoch, offset=offset)
        offset = reply.next
        old += reply.data[: max(0, size - at)]
        if reply.data and offset < size:
            continue  # what it showed before is shown as a whole
        if reply.data:
            shown = without_queries(old) + reply.data[max(0, size - at) :]
            old = b""
            modes.show(shown)
            sys.stdout.buffer.write(shown)
            sys.stdout.flush()
        elif reply.ended:
            return True
        if resized[0]:
            resized[0] = False
            screen = os.get_terminal_size(1)
            _type(crew, attempt, f"{screen.lines}x{screen.columns}", Terms(typed="size", epoch=attempt.epoch))
        if select.select([0], [], [], 0 if reply.data else LOOK_SECONDS)[0]:
            typed = os.read(0, 1024)
            keys = decoder.decode(typed)
            keys, detach, _ = keys.partition(DETACH)
            if keys:  # else the rest of a character is still to come
                _type(crew, attempt, keys, Terms(typed="keys", epoch=attempt.epoch))
            if detach or not typed:
                return False
        elif reply.data:
            clock.sleep(0)


def _type(crew: Crew, attempt: AttemptRow, text: str, terms: Terms) -> None:
    try:
        crew.send("steer", attempt.task, text, wait="accepted", terms=terms)
    except CrewdError as error:
        warn(f"\r\n{error}\r")
