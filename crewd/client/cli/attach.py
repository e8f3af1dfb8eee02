"""The verb `attach`: the terminal of a command, here.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import codecs
import os
import select
import shutil
import signal
import sys
import termios
import tty

import click

from crewd.client.blocking import Crew
from crewd.client.cli.common import Options, look_at, verb, warn
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
        resized = [True]
        signal.signal(signal.SIGWINCH, lambda *_: resized.__setitem__(0, True))
        try:
            tty.setraw(0)
            ended = _relay(crew, attempt, resized)
        finally:
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


def _relay(crew: Crew, attempt: AttemptRow, resized: list[bool]) -> bool:
    """Until the command has ended (True) or the person detaches."""
    clock, decoder = SystemClock(), codecs.getincrementaldecoder("utf-8")("replace")
    offset = max(0, crew.log(attempt.task, epoch=attempt.epoch, offset=-1).size - SHOWN_BYTES)
    while True:
        reply = crew.log(attempt.task, epoch=attempt.epoch, offset=offset)
        offset = reply.next
        if reply.data:
            sys.stdout.buffer.write(reply.data)
            sys.stdout.flush()
        elif reply.ended:
            return True
        if resized[0]:
            resized[0] = False
            size = shutil.get_terminal_size()
            _type(crew, attempt, f"{size.lines}x{size.columns}", Terms(typed="size", epoch=attempt.epoch))
        if select.select([0], [], [], 0 if reply.data else LOOK_SECONDS)[0]:
            typed = os.read(0, 1024)
            keys = decoder.decode(typed)
            if DETACH in keys or not typed:
                return False
            if keys:  # else the rest of a character is still to come
                _type(crew, attempt, keys, Terms(typed="keys", epoch=attempt.epoch))
        elif reply.data:
            clock.sleep(0)


def _type(crew: Crew, attempt: AttemptRow, text: str, terms: Terms) -> None:
    try:
        crew.send("steer", attempt.task, text, wait="accepted", terms=terms)
    except CrewdError as error:
        warn(f"\r\n{error}\r")
