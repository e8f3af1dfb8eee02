"""The main of every worker process: read the bootstrap, connect, run the code, say how it ended, and go.

The last words (every report that may not be durable, the outcome among them) are written to the attempt's directory before
they are sent: if crewd is away and the worker is ended, the guardian finds them there and nothing finished is lost.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Generator
from pathlib import Path

import msgspec

from crewd.clock import SystemChance, SystemClock
from crewd.model import variables
from crewd.model.ids import IdSource
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.model.workflow import WorkerSpec
from crewd.protocol.bootstrap import Bootstrap
from crewd.protocol.reports import Outcome, Report
from crewd.worker import alone, peer
from crewd.worker.call import class_of, hear_term, load, run_call, write_output
from crewd.worker.command import Command, known_of
from crewd.worker.context import Context
from crewd.worker.declare import capabilities_of
from crewd.worker.desk import Desk
from crewd.worker.link import Line, Link, Waker
from crewd.worker.stdio import Program
from crewd.worker.token import CancellationToken

LAST_WORDS = "last_words"
_EXIT = {"completed": 0, "failed": 1, "cancelled": 3}
_lines: list[Line] = []
"""What a warm process has prepared: one line, or none."""
_decoder = msgspec.msgpack.Decoder(Bootstrap)


def rehearse() -> Generator[None, None, None]:
    """Do what a birth does, as far as it can be done without an order, and undo it. Can be broken off at each `yield`.

    In the zygote, so that what is made once and kept is there when workers are forked; in a warm process, so that the memory
    that a birth writes to is its own by then: a forked process shares it with the zygote until it does, page after page.
    """
    clock, waker = SystemClock(), Waker()
    spec = WorkerSpec(call="crewd.worker.probe:probe")
    order = Bootstrap(
        task="r/rehearsal", epoch=0, token="", endpoint="inproc://rehearsal", directory="/", shared="/", cwd="/", goal="",
        text="", reads=(), output="", worker=spec,
    )  # fmt: skip
    try:
        bootstrap = _decoder.decode(msgspec.msgpack.encode(order))
        desk = Desk(CancellationToken(clock), waker.wake)
        yield
        line = Line(bootstrap.endpoint)
        try:
            yield
            link = Link(bootstrap, capabilities_of(load(spec.call)), desk, clock, waker, line)
            Context(bootstrap, desk, link, IdSource(clock, SystemChance()))
            yield
        except GeneratorExit:
            line.close()
            raise
        link.start()
        link.stop()  # it closes the line
    finally:
        waker.close()


def prepare(endpoint: str) -> None:
    """In a warm process: call crewd already."""
    _lines.append(Line(endpoint))


def take_bootstrap(path: Path) -> bytes:
    """What the file says that the guardian left for this worker."""
    raw = path.read_bytes()
    path.unlink()  # it holds the token
    return raw


def host_main(raw: bytes) -> int:
    """Carry out the attempt that the bootstrap (MessagePack) describes. The exit code of the worker process."""
    bootstrap = _decoder.decode(raw)
    gc.enable()
    sys.argv = ["crewd-worker"]
    os.environ[variables.GOAL] = bootstrap.goal
    os.environ[variables.TASK] = bootstrap.task
    os.environ[variables.OUTPUTS] = bootstrap.shared
    clock = SystemClock()
    failure = peer.take_over(bootstrap, raw, _lines) if bootstrap.worker.runtime == "crewd" else None
    token, waker = CancellationToken(clock), Waker()
    desk = Desk(token, waker.wake)
    desk.known = known_of(bootstrap)
    line = _lines.pop() if _lines else Line(bootstrap.endpoint)
    if failure is not None:
        link = Link(bootstrap, (), desk, clock, waker, line)
        link.start()
        return _EXIT[_say(failure, bootstrap, desk, link).outcome]
    if bootstrap.worker.runtime == "crewd-stdio":
        return _EXIT[_host_program(bootstrap, desk, clock, waker, line).outcome]
    host = _host_command if bootstrap.worker.runtime == "exec" else _host_call
    return _EXIT[host(bootstrap, desk, clock, waker, line).outcome]


def _host_command(bootstrap: Bootstrap, desk: Desk, clock: SystemClock, waker: Waker, line: Line) -> Outcome:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a command that closes its input is no reason to die
    hear_term(desk.token, interrupt=False)
    _begin_session()
    command = Command(bootstrap, desk)
    command.start()  # before the first word, which names its process
    link = Link(bootstrap, bootstrap.worker.takes or (), desk, clock, waker, line, command.pid)
    link.start()
    return _say(command.wait(), bootstrap, desk, link)


def _host_program(bootstrap: Bootstrap, desk: Desk, clock: SystemClock, waker: Waker, line: Line) -> Outcome:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a program that closes its input is no reason to die
    hear_term(desk.token, interrupt=False)
    _begin_session()
    program = Program(bootstrap, desk)
    program.start()
    capabilities = program.wait_for_hello()
    link = Link(bootstrap, capabilities, desk, clock, waker, line, program.pid)
    link.start()
    return _say(program.serve(Context(bootstrap, desk, link, IdSource(clock, SystemChance()))), bootstrap, desk, link)


def _host_call(bootstrap: Bootstrap, desk: Desk, clock: SystemClock, waker: Waker, line: Line) -> Outcome:
    try:
        _begin_session()
        alone.begin()
        function = load(bootstrap.worker.call)
    except BaseException as error:  # noqa: BLE001 (user code runs at import)
        traceback.print_exc()
        link = Link(bootstrap, (), desk, clock, waker, line)
        link.start()
        text = clip(f"{type(error).__name__}: {error}", NOTE_CHARS_MAX)
        failed = Outcome(outcome="failed", reason="raised", error=text, error_class=class_of(error))
        return _say(failed, bootstrap, desk, link)
    link = Link(bootstrap, capabilities_of(function), desk, clock, waker, line)
    link.start()
    context = Context(bootstrap, desk, link, IdSource(clock, SystemChance()))
    hear_term(desk.token, interrupt=True)
    outcome = alone.end(run_call(function, bootstrap, context))
    hear_term(desk.token, interrupt=False)  # what follows must not be cut short: last words, goodbye
    return _say(outcome, bootstrap, desk, link)


def _begin_session() -> None:
    """The worker's own code begins. A zygote of an older crewd has made the session already."""
    if os.getsid(0) != os.getpid():
        os.setsid()


def _say(outcome: Outcome, bootstrap: Bootstrap, desk: Desk, link: Link) -> Outcome:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the code may have closed or replaced it
            stream.flush()
    desk.finish()
    desk.report(outcome)
    waiting: list[Report] = desk.waiting()
    try:
        write_output(Path(bootstrap.directory) / LAST_WORDS, msgspec.msgpack.encode(waiting))
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exc()  # the disk is full: the report below is the only copy then
    desk.wait_durable()  # the guardian ends a worker whose crewd stays away
    link.stop()
    return outcome
