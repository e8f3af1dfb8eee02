"""`python -m bench.matrix`: what still runs of a worker's tree after each action, for crewd beside its peers.

The worker starts c1 (same group), c2 (a session of its own) and g (a child of c2). A cell names those of `worker c1 c2 g`
that live some seconds after the action, `-` if none does. Peers that cannot be imported come into an environment that is
deleted at the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Literal

import psutil

from crewd.client.blocking import Crew
from crewd.client.shapes import call_workflow, exec_workflow
from crewd.clock import SystemClock
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = Path(__file__).resolve().parent.parent
TREE = str(ROOT / "bench" / "tree.py")
ROLES = ("worker", "c1", "c2", "g")
LATER_SECONDS = 4.0
"""From the action to the look. crewd's answer to a cancel says that nothing lives, so there the look comes at once."""
PATIENCE_SECONDS = 1
"""From TERM to KILL where a peer has a setting for it: its default (10 or 30 s) would only make the matrix slower."""
INSTALL_SECONDS = 60
CELLS_AT_ONCE = 6
SECONDS = itertools.count(1_000_000_000 + os.getpid() * 1_000)
"""How long each tree sleeps: an argument that no other process of the machine has."""

Action = Literal["stop", "kill worker", "kill supervisor"]


@dataclass(frozen=True)
class Row:
    """What is done to every column. `options`: with everything that the peer offers for children and groups."""

    name: str
    action: Action
    options: bool = False
    deaf: bool = False


ROWS = (
    Row("normal stop, defaults", "stop"),
    Row("stop with every children/group option on", "stop", options=True),
    Row("the same, worker ignores SIGTERM", "stop", options=True, deaf=True),
    Row("worker SIGKILLed from outside", "kill worker"),
    Row("supervisor SIGKILLed", "kill supervisor"),
)


# -- the tree -------------------------------------------------------------------------------------------------------------


def with_argument(seconds: int) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Every living process that names this duration in its command line."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and any(str(seconds) in argument for argument in arguments):
                yield process, arguments


def find_tree(seconds: int) -> dict[str, psutil.Process]:
    """The roles that can be seen; the worker is whoever started c1."""
    tree: dict[str, psutil.Process] = {}
    for process, arguments in with_argument(seconds):
        match arguments:
            case ["sleep", duration]:
                tree["c1" if duration.endswith(".1") else "g"] = process
            case ["sh", "-c", *_]:
                tree["c2"] = process
    if "c1" in tree:
        with contextlib.suppress(psutil.Error):
            tree["worker"] = psutil.Process(tree["c1"].ppid())
    return tree


def wait_for_tree(seconds: int) -> dict[str, psutil.Process]:
    tree: dict[str, psutil.Process] = {}

    def stands() -> bool:
        tree.update(find_tree(seconds))
        return set(tree) == set(ROLES)

    wait_until(stands, "the tree to stand", 30.0)
    return tree


def living(tree: dict[str, psutil.Process]) -> str:
    """The cell: the roles whose first process (not one that was started in its place) still lives."""
    left = []
    for role in ROLES:
        with contextlib.suppress(psutil.Error):
            if tree[role].is_running() and tree[role].status() != psutil.STATUS_ZOMBIE:
                left.append(role)
    return " ".join(left) or "-"


def clean_up(seconds: int, tree: dict[str, psutil.Process]) -> None:
    """End by pid what a column left behind, and what it started again meanwhile."""
    for process in (*tree.values(), *(process for process, _ in with_argument(seconds))):
        with contextlib.suppress(psutil.Error):
            process.kill()


# -- peers ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A supervisor that is not ours: its command line, its configuration, and how its worker is stopped in order.

    In all of them `{folder}` is a directory of its own, `{worker}` the worker's command line. Who has no configuration is
    told by `start` at the end of the worker's command line; who has no `stop` stops when its input ends.
    """

    name: str
    start: tuple[str, ...]
    config: str = ""
    options: str = ""
    stop: tuple[str, ...] = ()

    def command(self, folder: Path, worker: list[str], *, options: bool) -> list[str]:
        """Write the configuration, with every option for children and groups or without; the supervisor's command line."""
        if not self.config:
            return [*worker, *self.start]
        text = self.config + (self.options if options else "")
        text = text.format(folder=folder, worker=shlex.join(worker), patience=PATIENCE_SECONDS)
        (folder / "config").write_text(text)
        return [each.format(folder=folder) for each in self.start]


def circus(python: str) -> Peer:
    return Peer(
        "circus",
        start=(python, "-m", "circus.circusd", "{folder}/config"),
        config="""[circus]
endpoint = ipc://{folder}/ctl
pubsub_endpoint = ipc://{folder}/pub
[watcher:w]
cmd = {worker}
graceful_timeout = {patience}
""",
        options="stop_children = True\n",
        stop=(python, "-m", "circus.circusctl", "--endpoint", "ipc://{folder}/ctl", "stop", "w"),
    )


def supervisord(python: str) -> Peer:
    return Peer(
        "supervisord",
        start=(python, "-m", "supervisor.supervisord", "-n", "-c", "{folder}/config"),
        config="""[unix_http_server]
file = {folder}/ctl
[supervisord]
logfile = {folder}/log
pidfile = {folder}/pid
childlogdir = {folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/ctl
[program:w]
command = {worker}
stopwaitsecs = {patience}
""",
        options="stopasgroup = true\nkillasgroup = true\n",
        stop=(python, "-m", "supervisor.supervisorctl", "-c", "{folder}/config", "stop", "w"),
    )


MULTIPROCESSING = Peer("multiprocessing", start=("--supervise",))
"""It has no option for children or groups: those rows are its defaults."""


def worker_command(seconds: int, *, deaf: bool) -> list[str]:
    return [sys.executable, TREE, str(seconds), *(["deaf"] if deaf else [])]


def peer_cell(peer: Peer, row: Row) -> str:
    """One cell of a peer: start it, let its worker's tree stand, do it, look after a while."""
    clock, seconds, tree = SystemClock(), next(SECONDS), {}
    with tempfile.TemporaryDirectory(prefix="matrix-") as name:
        folder = Path(name)
        with (folder / "output").open("wb") as output:
            supervisor = subprocess.Popen(
                peer.command(folder, worker_command(seconds, deaf=row.deaf), options=row.options),
                stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder,
            )  # fmt: skip
        try:
            tree = wait_for_tree(seconds)
            match row.action:
                case "stop" if peer.stop:
                    subprocess.run([each.format(folder=folder) for each in peer.stop], check=True, timeout=30, stdout=DEVNULL)
                case "stop":
                    assert supervisor.stdin is not None
                    supervisor.stdin.close()
                case "kill worker":
                    tree["worker"].kill()
                case "kill supervisor":
                    supervisor.kill()
            clock.sleep(LATER_SECONDS)
            return living(tree)
        except (AssertionError, subprocess.SubprocessError):  # it does not start here; that hides nobody else's cells
            return "not available"
        finally:
            supervisor.kill()
            supervisor.wait()
            if supervisor.stdin is not None:
                supervisor.stdin.close()
            clean_up(seconds, tree)


@contextlib.contextmanager
def peers() -> Iterator[list[Peer | str]]:
    """The columns beside crewd; of a peer that cannot be had, its name."""
    found: list[Peer | str] = []
    with contextlib.ExitStack() as stack:
        python = sys.executable
        if not all(importlib.util.find_spec(name) for name in ("circus", "supervisor")):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="matrix-peers-"))
            python = f"{folder}/bin/python"
            venv.create(folder, with_pip=True)
        for package, peer in (("circus", circus(python)), ("supervisor", supervisord(python))):
            found.append(peer if has(python, package) else peer.name)
        found.append(MULTIPROCESSING)
        yield found


def has(python: str, package: str) -> bool:
    """Whether this Python can run the package, which is installed if need be (never into our own environment)."""
    if python != sys.executable:
        with contextlib.suppress(subprocess.TimeoutExpired):
            install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "0", package]
            subprocess.run(install, check=False, timeout=INSTALL_SECONDS, capture_output=True)
    return subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True).returncode == 0


# -- crewd ----------------------------------------------------------------------------------------------------------------

Deed = Callable[[Daemon, Crew, str, dict[str, psutil.Process]], None]
"""What is done to a run, whose id is given. Afterwards nothing of its tree may live."""


def now(_daemon: Daemon, crew: Crew, run: str, _tree: dict[str, psutil.Process]) -> None:
    crew.cancel(run, mode="now")


def graceful(_daemon: Daemon, crew: Crew, run: str, _tree: dict[str, psutil.Process]) -> None:
    crew.cancel(run, grace=float(PATIENCE_SECONDS))


def kill_worker(_daemon: Daemon, crew: Crew, run: str, tree: dict[str, psutil.Process]) -> None:
    tree["worker"].kill()
    crew.wait(run, timeout=30)


def kill_crewd(daemon: Daemon, crew: Crew, run: str, tree: dict[str, psutil.Process]) -> None:
    daemon.kill()
    daemon.start()
    now(daemon, crew, run, tree)


def kill_guardian(daemon: Daemon, crew: Crew, run: str, tree: dict[str, psutil.Process]) -> None:
    daemon.kill_guardian()
    now(daemon, crew, run, tree)


def kill_both(daemon: Daemon, crew: Crew, run: str, tree: dict[str, psutil.Process]) -> None:
    daemon.kill_guardian()
    kill_crewd(daemon, crew, run, tree)


def kill_crewd_for_good(daemon: Daemon, _crew: Crew, _run: str, _tree: dict[str, psutil.Process]) -> None:
    daemon.kill()
    SystemClock().sleep(LATER_SECONDS)


def stop_crewd(daemon: Daemon, _crew: Crew, _run: str, _tree: dict[str, psutil.Process]) -> None:
    daemon.stop()


def crewd_cell(deed: Deed, *, deaf: bool = False, on_orphan: str = "keep", command: bool = True) -> str:
    """One cell of crewd: a daemon of its own, and the worker as a command (as the peers run it) or as a callable."""
    seconds = next(SECONDS)
    if command:
        workflow = exec_workflow(worker_command(seconds, deaf=deaf), on_orphan=on_orphan)
    else:
        workflow = call_workflow("bench.tree:grow", {"seconds": seconds, "deaf": deaf}, on_orphan=on_orphan)
    with (
        tempfile.TemporaryDirectory(prefix="matrix-") as name,
        Daemon(Path(name) / "h") as daemon,
        daemon.connect() as crew,
    ):
        run = crew.run(workflow, cwd=str(ROOT))
        tree = wait_for_tree(seconds)
        deed(daemon, crew, run.id, tree)
        return living(tree)


BESIDE_PEERS: tuple[tuple[Deed, bool], ...] = (
    (graceful, False),
    (graceful, False),
    (graceful, True),
    (kill_worker, False),
    (kill_both, False),
)
"""crewd's column of `ROWS`: what is done, and whether the worker ignores SIGTERM. There is no option to be turned on."""
OF_OUR_OWN: tuple[tuple[str, Deed, str], ...] = (
    ("crewd: cancel now", now, "keep"),
    ("crewd: cancel graceful", graceful, "keep"),
    ("crewd: stopped in order", stop_crewd, "keep"),
    ("crewd: killed, started again, cancel", kill_crewd, "keep"),
    ("crewd: guardian killed, cancel", kill_guardian, "keep"),
    ("crewd: both killed, started again, cancel", kill_both, "keep"),
    ("crewd: killed for good, on_orphan=end", kill_crewd_for_good, "end"),
)
"""Here the worker is a callable; it ignores SIGTERM."""


# -- the table ------------------------------------------------------------------------------------------------------------


def matrix() -> None:
    """Measure all cells, several at once, and print them."""
    with peers() as columns, ThreadPoolExecutor(CELLS_AT_ONCE) as pool:
        table: list[tuple[str, list[Future[str] | str]]] = []
        for row, (deed, deaf) in zip(ROWS, BESIDE_PEERS, strict=True):
            cells: list[Future[str] | str] = [pool.submit(crewd_cell, deed, deaf=deaf)]
            cells += ["not available" if isinstance(peer, str) else pool.submit(peer_cell, peer, row) for peer in columns]
            table.append((row.name, cells))
        for name, deed, on_orphan in OF_OUR_OWN:
            table.append((name, [pool.submit(crewd_cell, deed, deaf=True, on_orphan=on_orphan, command=False)]))
        heads = ["crewd", *(peer if isinstance(peer, str) else peer.name for peer in columns)]
        print(f"what still runs of `{' '.join(ROLES)}` (crewd: at once when it answers; peers: {LATER_SECONDS:g} s later)")
        print(f"{'':<44}" + "".join(f"{head:<20}" for head in heads).rstrip())
        for name, futures in table:
            texts = [cell if isinstance(cell, str) else cell.result() for cell in futures]
            print(f"{name:<44}" + "".join(f"{text:<20}" for text in texts).rstrip(), flush=True)


if __name__ == "__main__":
    matrix()
