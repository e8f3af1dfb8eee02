"""The main of every worker process: read the bootstrap, run the code with its runtime, say how it ended, and go."""

from __future__ import annotations

import gc
import mimetypes
import os
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec

from crewd.clock import SystemChance, SystemClock
from crewd.model import variables
from crewd.model.ids import IdSource
from crewd.model.redact import compile_patterns
from crewd.model.workflow import WorkerSpec
from crewd.protocol import codec
from crewd.protocol.bootstrap import Bootstrap
from crewd.worker.call import load
from crewd.worker.context import Context
from crewd.worker.declare import capabilities_of
from crewd.worker.desk import Desk
from crewd.worker.hooks import before_start
from crewd.worker.hosting import Hosting, begin_session
from crewd.worker.link import Link, Waker, WorkerSocket
from crewd.worker.runtimes import RUNNERS
from crewd.worker.stderr_tail import known_of
from crewd.worker.token import CancellationToken

_ANY = ("steer", "follow_up")
_EXIT = {"completed": 0, "failed": 1, "cancelled": 3}
_lines: list[WorkerSocket] = []
"""What a warm process has prepared: one line, or none."""
_decoder = msgspec.msgpack.Decoder(Bootstrap)


def rehearse() -> Generator[None, None, None]:
    """Do what the start of a worker does, as far as it can be done without an order, and undo it. It may end at each `yield`.

    In the zygote, so that what is made once and kept is there when workers are forked; in a warm process, so that the memory
    that the start writes to is its own by then: a forked process shares it with the zygote until it does, page after page.
    """
    compile_patterns()
    if not mimetypes.inited:  # what an artifact is: the system's tables are files
        mimetypes.init()
    codec.to_worker.prepare()
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
        line = WorkerSocket(bootstrap.endpoint)
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
    _lines.append(WorkerSocket(endpoint))


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
    if variables.is_possible(variables.TEXT, bootstrap.text):
        os.environ[variables.TEXT] = bootstrap.text
    os.environ[variables.OUTPUTS] = bootstrap.shared
    clock = SystemClock()
    waker = Waker()
    desk = Desk(CancellationToken(clock), waker.wake)
    desk.known = known_of(bootstrap)
    refused = None
    if bootstrap.worker.hooks:
        begin_session()
        bootstrap, refused = before_start(bootstrap, desk)
    host = Hosting(bootstrap, raw, desk, clock, waker, _lines)
    if refused is not None:
        takes = bootstrap.worker.takes  # what waits for it is refused because it has ended, not because of its kind
        return _EXIT[host.end(refused, host.connect(_ANY if takes is None else takes)).outcome]
    return _EXIT[RUNNERS[bootstrap.worker.runtime](host).outcome]
