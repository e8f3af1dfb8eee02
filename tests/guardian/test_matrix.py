"""The matrix (R1): whatever a worker has started and whatever happens to whom, nothing of its tree lives afterwards.

The peers leave some of c1 (a child), c2 (a child in a session of its own) and g (c2's child) behind in every row. Three nets
look for what is left, and none is the guardian's memory: the pids noted while the tree stood, the marker, and an argument
that no other process of the machine has. They look at once when crewd says that a run has ended, without waiting.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.client.shapes import call_workflow, exec_workflow
from crewd.guardian import marker
from crewd.model.ids import split_marker, split_task_id
from crewd.model.statuses import ATTEMPT_TERMINAL, AttemptStatus, RunStatus
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.users import launcher, ways
from tests.waits import guardian_of, pid_of

pytestmark = pytest.mark.process

TESTS = Path(__file__).resolve().parents[1]
KINDS = {"call": 4, "exec": 5, "nested": 13}
"""Processes of a tree: c1, c2, g and the worker; a command has its host besides; `nested` is a command of 3 generations."""
GENERATIONS = {"call": 1, "exec": 1, "nested": 3}
VARIANTS = ("plain", "deaf", "stopped", "daemon", "nohup")
SECONDS = itertools.count(1_000_000_000 + os.getpid() * 1_000)
"""How long each tree sleeps: the argument that is nobody else's, also beside another run of these tests."""
CELLS: list[tuple[str, str]] = list(itertools.product(KINDS, VARIANTS))
GRACE = 0.2


class Way(Daemon):
    """A crewd of one way, and the cells of the matrix that are planted there."""

    cells: list[tuple[str, str]] = CELLS


WAYS = ways()


@pytest.fixture(params=WAYS, ids=", ".join)
def daemon(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    user, cgroups = request.param
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    running = Way(home / "h", launcher=launcher(user))
    running.cells = CELLS[WAYS.index(request.param) :: len(WAYS)]  # each cell of each row once, in one of the ways
    running.home.config.write_text(f"cgroups = {'true' if cgroups == 'with cgroups' else 'false'}\n")
    with running:
        yield running


@pytest.fixture(autouse=True)
def _a_failure_leaves_nothing_either() -> Iterator[None]:
    first = next(SECONDS)
    yield
    used = {str(number) for number in range(first, next(SECONDS))}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if used & set(" ".join(process.cmdline()).split()):
                process.kill()


@dataclass
class Tree:
    """A run and what it has started."""

    name: str
    run: str
    kind: str
    variant: str
    seconds: str
    gate: Path
    processes: frozenset[psutil.Process] = frozenset()


@dataclass
class Seen:
    """One look at the machine: the living processes by run and by argument."""

    by_run: dict[str, list[psutil.Process]] = field(default_factory=lambda: defaultdict(list))
    by_argument: dict[str, list[psutil.Process]] = field(default_factory=lambda: defaultdict(list))
    arguments: dict[psutil.Process, list[str]] = field(default_factory=dict)


def look(daemon: Way, trees: Iterable[Tree]) -> Seen:
    seen = Seen()
    durations = {tree.seconds for tree in trees}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            mark = split_marker(marker.read(process.pid) or "")
            if mark is not None and mark[0] == daemon.home.key:
                seen.by_run[split_task_id(mark[1])[0]].append(process)
            seen.arguments[process] = process.cmdline()
            for word in " ".join(seen.arguments[process]).split():
                if word in durations:
                    seen.by_argument[word].append(process)
    return seen


def plant(daemon: Way, crew: Crew, kind: str, variant: str, prefix: str, on_orphan: str) -> Tree:
    seconds = next(SECONDS)
    gate = daemon.home.root.parent / str(seconds)
    os.mkfifo(gate)
    if kind == "call":
        args = {"variant": variant, "seconds": seconds, "gate": str(gate)}
        workflow = call_workflow("trees:grow", args, on_orphan=on_orphan)
    else:
        command = ["sh", str(TESTS / "tree.sh"), variant, str(seconds), str(gate), str(GENERATIONS[kind])]
        workflow = exec_workflow(command, on_orphan=on_orphan)
    run = crew.run(workflow, cwd=str(TESTS))
    return Tree(f"{prefix}{kind}/{variant}", run.id, kind, variant, str(seconds), gate)


def stands(tree: Tree, seen: Seen, guardian: int) -> bool:
    sleeps = [each for each in seen.by_run[tree.run] if seen.arguments.get(each) == ["sleep", tree.seconds]]
    if len(seen.by_run[tree.run]) != KINDS[tree.kind] or len(sleeps) != 2 * GENERATIONS[tree.kind]:
        return False
    tree.processes = frozenset(seen.by_run[tree.run])
    with contextlib.suppress(psutil.Error):
        if tree.variant == "daemon":  # the parents between the worker and each c2 are gone
            return sum(each.ppid() == guardian for each in tree.processes) == GENERATIONS[tree.kind]
        if tree.variant == "stopped":
            child = min(sleeps, key=lambda each: each.pid)
            child.suspend()
            return bool(child.status() == psutil.STATUS_STOPPED)
        return True
    return False


def wait_for_trees(daemon: Way, trees: list[Tree]) -> None:
    wait_until(daemon.guardian_pid, "a guardian")
    guardian = daemon.guardian_pid()
    waiting = list(trees)

    def all_stand() -> bool:
        seen = look(daemon, waiting)
        waiting[:] = [tree for tree in waiting if not stands(tree, seen, guardian)]
        return not waiting

    try:
        wait_until(all_stand, "the trees to stand")
    except AssertionError as error:
        raise AssertionError(f"{error}: {_what_stands(daemon, waiting)}") from None


def _what_stands(daemon: Way, trees: list[Tree]) -> list[str]:
    """Of trees that do not stand: the processes that there are, and what crewd says about the attempt."""
    seen, told = look(daemon, trees), []
    with daemon.connect() as crew:
        for tree in trees:
            processes = [f"{each.pid}<{each.ppid()} {each.status()} {each.cmdline()}" for each in seen.by_run[tree.run]]
            told.append(f"{tree.name}: {processes} {crew.show(tree.run).attempts}")
    return told


def plant_all(daemon: Way, crew: Crew, prefix: str = "", on_orphan: str = "keep") -> list[Tree]:
    return [plant(daemon, crew, kind, variant, prefix, on_orphan) for kind, variant in daemon.cells]


def alive(tree: Tree) -> set[int]:
    """The processes noted while the tree stood that still live (never a pid that somebody else has by now)."""
    living = set()
    for process in tree.processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                living.add(process.pid)
    return living


def what_is_left(daemon: Way, trees: list[Tree]) -> dict[str, set[int]]:
    """The matrix, without its empty cells."""
    seen = look(daemon, trees)
    found = {
        tree.name: alive(tree) | {each.pid for each in (*seen.by_run[tree.run], *seen.by_argument[tree.seconds])}
        for tree in trees
    }
    found["marked"] = set(daemon.marked())
    return {name: pids for name, pids in found.items() if pids}


def ends(crew: Crew, trees: list[Tree], status: RunStatus) -> None:
    """Every run ends like this, and the moment crewd says so nothing of its tree lives."""
    for tree in trees:
        end = crew.wait(tree.run, timeout=120)
        living = alive(tree)
        assert not living, f"{tree.name}: {end.run.status} while {living} live"
        assert end.run.status is status, tree.name
        (attempt,) = crew.show(tree.run).attempts
        assert attempt.status in ATTEMPT_TERMINAL


def cancel(crew: Crew, trees: list[Tree]) -> None:
    for tree in trees:
        crew.begin_cancel(tree.run, mode="now")
    ends(crew, trees, RunStatus.CANCELLED)


@contextlib.contextmanager
def open_gates(trees: list[Tree]) -> Iterator[None]:
    """Whoever waits at a gate, or comes to it later, passes."""
    with contextlib.ExitStack() as stack:
        for tree in trees:
            stack.callback(os.close, os.open(tree.gate, os.O_RDWR))
        yield


def test_nothing_is_left_while_crewd_lives(crew: Crew, daemon: Way) -> None:
    """Four rows at once, since most of their time is the wait between TERM and KILL."""
    now = plant_all(daemon, crew, "cancel now, ")
    wait_for_trees(daemon, now)
    cancel(crew, now)
    assert what_is_left(daemon, now) == {}
    graceful = plant_all(daemon, crew, "cancel graceful, ")
    killed = plant_all(daemon, crew, "worker killed, ")
    normal = plant_all(daemon, crew, "normal end, ")
    wait_for_trees(daemon, [*graceful, *killed, *normal])
    for tree in graceful:
        crew.begin_cancel(tree.run, grace=GRACE)
    for tree in killed:
        pid = pid_of(crew.get(tree.run))
        assert pid in {each.pid for each in tree.processes}
        os.kill(pid, signal.SIGKILL)
    with open_gates(normal):
        ends(crew, killed, RunStatus.FAILED)
        ends(crew, normal, RunStatus.COMPLETED)
        ends(crew, graceful, RunStatus.CANCELLED)
    assert what_is_left(daemon, [*graceful, *killed, *normal]) == {}


def kill_guardian(daemon: Way) -> None:
    daemon.kill_guardian()


def kill_both(daemon: Way) -> None:
    daemon.kill_guardian()
    daemon.kill()
    daemon.start()


@pytest.mark.parametrize("happens", [kill_guardian, kill_both])
def test_nothing_is_left_by_a_cancel_after(happens: Callable[[Way], None], daemon: Way) -> None:
    with daemon.connect() as crew:
        trees = plant_all(daemon, crew)
        wait_for_trees(daemon, trees)
    happens(daemon)
    with daemon.connect() as crew:
        cancel(crew, trees)
        assert what_is_left(daemon, trees) == {}


def test_nothing_is_left_when_crewd_stops(daemon: Way) -> None:
    with daemon.connect() as crew:
        trees = plant_all(daemon, crew)
        wait_for_trees(daemon, trees)
    daemon.stop()
    assert what_is_left(daemon, trees) == {}
    daemon.start()
    with daemon.connect() as crew:
        ends(crew, trees, RunStatus.CANCELLED)


def test_nothing_is_left_when_crewd_is_killed_neither_by_the_guardian_alone_nor_by_a_cancel_later(daemon: Way) -> None:
    with daemon.connect() as crew:
        orphans = plant_all(daemon, crew, "on_orphan=end, ", on_orphan="end")
        kept = plant_all(daemon, crew, "on_orphan=keep, ")
        wait_for_trees(daemon, [*orphans, *kept])
    daemon.kill()
    wait_until(lambda: not any(map(alive, orphans)), "every tree that may not live without crewd to end")
    assert {tree.name for tree in kept if len(alive(tree)) == KINDS[tree.kind]} == {tree.name for tree in kept}
    daemon.start()
    with daemon.connect() as crew:
        ends(crew, orphans, RunStatus.FAILED)
        cancel(crew, kept)
        assert what_is_left(daemon, [*orphans, *kept]) == {}


def test_every_attempt_ends_after_something_like_a_restart_of_the_machine(daemon: Way) -> None:
    with daemon.connect() as crew:
        trees = plant_all(daemon, crew)
        wait_for_trees(daemon, trees)
        wait_until(lambda: all(crew.show(tree.run).attempts[0].host_pid != 0 for tree in trees), "each process to be known")
        rows = [crew.show(tree.run).attempts[0] for tree in trees]
        workers = {row.host_pid or row.pid for row in rows}
    guardian = guardian_of(daemon)
    (zygote,) = (each for each in guardian.children() if each.name() == "crewd-zygote")
    daemon.kill()
    processes = [each for tree in trees for each in tree.processes]
    processes.sort(key=lambda each: each.pid not in workers)  # one that lived on could say that its command was killed
    for process in (guardian, zygote, *processes):
        process.kill()
    wait_until(lambda: what_is_left(daemon, trees) == {}, "the machine to be empty")
    daemon.start()
    with daemon.connect() as crew:
        ends(crew, trees, RunStatus.FAILED)
        assert {crew.show(tree.run).attempts[0].status for tree in trees} == {AttemptStatus.LOST}
        assert what_is_left(daemon, trees) == {}


def test_a_bomb_is_ended_in_the_middle(crew: Crew, daemon: Way) -> None:
    run = crew.call("trees:bomb", {"limit": 200}, cwd=str(TESTS))
    wait_until(lambda: len(daemon.marked()) >= 50, "the bomb to go off")
    reply = crew.cancel(run.id, mode="now")
    assert daemon.marked() == []
    assert reply is not None
    assert (reply.status, reply.verified, reply.survivors) == ("cancelled", True, ())


def test_who_was_seen_once_is_remembered_without_parent_session_and_environment(crew: Crew, daemon: Way) -> None:
    seconds = next(SECONDS)
    gate = daemon.home.root.parent / str(seconds)
    os.mkfifo(gate)
    run = crew.call("trees:escape", {"seconds": seconds, "gate": str(gate)}, cwd=str(TESTS))
    tree = Tree("escape", run.id, "call", "escape", str(seconds), gate)

    def fugitives() -> list[psutil.Process]:
        seen = look(daemon, [tree])
        return [each for each in seen.by_argument[tree.seconds] if seen.arguments[each] == ["sleep", tree.seconds]]

    wait_until(fugitives, "the fugitive")
    (fugitive,) = fugitives()
    guardian = guardian_of(daemon)
    reads = guardian.io_counters().read_count
    # A look reads twice for each process, and hardly anything else is read: past this there was a whole new look.
    wait_until(lambda: guardian.io_counters().read_count > reads + 4 * len(psutil.pids()), "the guardian to have looked")
    with open_gates([tree]):
        wait_until(lambda: fugitive.ppid() == guardian.pid, "its parents to go")
    other = crew.exec(["sleep", "100"])
    wait_until(lambda: any(attempt.ready_at for attempt in other.show().attempts), "another worker")
    other.cancel(mode="now")  # its end takes looks: what is known of the session that the fugitive was in is forgotten
    assert fugitive.pid not in daemon.marked()
    tree.processes = frozenset({fugitive})
    assert alive(tree)
    cancel(crew, [tree])
    assert what_is_left(daemon, [tree]) == {}
