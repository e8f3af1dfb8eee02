"""A program that speaks `crewd-stdio`: JSON lines on its standard input and output (docs/stdio.md).

Tests: tests/witness/test_worker_witness.py.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from crewd.worker.call import hear_term
from crewd.worker.hosting import begin_session
from crewd.worker.stdio import Program

if TYPE_CHECKING:
    from crewd.protocol.reports import Outcome
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Start it, hear what it takes, and speak for it until it ends."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a program that closes its input is no reason to die
    hear_term(host.desk.token, interrupt=False)
    begin_session()
    program = Program(host.bootstrap, host.desk)
    program.start()
    link = host.connect(program.wait_for_hello(), program.pid)
    return host.end(program.serve(host.context(link)), link)
