"""House rules that matter: who imports whom, and who may name the clock, chance, sockets, processes, SQL."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crewd

ROOT = Path(crewd.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))
ROOMS = {
    "model": {"model"},
    "protocol": {"protocol", "model"},
    "actors": {"actors"},
    "store": {"store", "actors", "protocol", "model"},
    "guardian": {"guardian", "protocol", "model"},
    "supervisor": {"supervisor", "guardian", "actors", "store", "protocol", "model"},
    "agents": {"agents", "model"},
    "worker": {"worker", "agents", "protocol", "model"},
    "client": {"client", "agents", "protocol", "model"},
    "testing": {"testing", "agents", "client", "worker", "supervisor", "guardian", "store", "actors", "protocol", "model"},
}
"""What each room may import `crewd.clock` and the modules beside it are everybody's."""
SHARED = {"clock", "limit_mark", "private_files", "respawn", "worker_files", "__version__", "CrewdError"}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Once for all tests of a process: there are hundreds of them."""
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> frozenset[str]:
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def names(path: Path) -> frozenset[str]:
    """Every dotted name that the code uses."""
    return frozenset(
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )


def test_a_room_imports_only_what_stands_below_it() -> None:
    wrong = []
    for path in FILES:
        for name in imports(path) if room(path) else ():
            parts = name.split(".")
            if parts[0] == "crewd" and len(parts) > 1 and parts[1] not in SHARED and parts[1] not in ROOMS[room(path)]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def users(*forbidden: str) -> set[str]:
    found = set()
    for path in FILES:
        used = {*imports(path), *names(path)}
        if any(name == each or name.startswith(f"{each}.") for name in used for each in forbidden):
            found.add(str(path.relative_to(ROOT)))
    return found


def test_one_place_for_time_and_chance() -> None:
    assert users("time", "random", "secrets", "uuid", "datetime", "os.urandom") == {"clock.py"}


def test_one_place_for_sql() -> None:
    assert users("sqlite3") == {"store/database.py", "store/readonly.py"}


def test_one_guardian_for_processes() -> None:
    forks = users("os.fork", "os.kill", "os.killpg", "os.waitpid", "signal.pidfd_send_signal", "os.execv")
    assert forks == {
        "guardian/zygote_link.py",
        "guardian/processes.py",
        "guardian/zygote.py",
        "testing/daemon.py",
        "testing/agents/standin.py",  # the tools of a stand-in, which are processes as those of a real agent
        "testing/stress/apart.py",
        "worker/child.py",  # signals for the command that it waits for itself, and for what that has left
    }
    assert users("multiprocessing") == {"supervisor/guardian_socket.py", "guardian/entry.py", "worker/alone.py"}
    assert users("subprocess") == {
        "worker/child.py", "worker/command.py", "worker/hook_command.py", "worker/line_process.py", "worker/terminal.py",
        "client/discover.py", "client/acts.py", "client/host_process.py",
        "client/faults.py",  # a shell that reads a command line and runs nothing of it
        "client/feeding.py",  # the sink of an extension, below the crew that feeds it
        "client/cli/agents.py",  # asks a program for its version
        "testing/agents/standin.py", "testing/daemon.py", "respawn.py",
    }  # fmt: skip


def test_ports_alone_open_sockets() -> None:
    assert users("zmq") == {
        "supervisor/gateway/door.py",
        "supervisor/gateway/wire.py",
        "supervisor/poller.py",
        "worker/link.py",
        "client/blocking.py",
        "client/aio.py",
    }
    assert {str(path.relative_to(ROOT)) for path in FILES if "socket" in imports(path)} == {
        "supervisor/gateway/door.py",
        "supervisor/guardian_socket.py",
        "guardian/zygote_link.py",
        "guardian/connection.py",
        "guardian/file_service.py",
        "supervisor/files_link.py",
        "guardian/zygote.py",
        "supervisor/service.py",
    }


def test_no_pickle_anywhere() -> None:
    assert users("pickle", "marshal", "shelve", "yaml.load") == set()


PURE = {
    "actors/exits.py", "actors/restarts.py", "actors/spec.py", "guardian/care.py", "guardian/care_record.py",
    "guardian/guard.py", "guardian/guard_effects.py", "guardian/ladder.py", "guardian/tree.py", "guardian/usage.py",
    "store/fold.py",
    "store/messages.py", "supervisor/admission.py", "supervisor/attempt/decide.py", "supervisor/attempt/effects.py",
    "supervisor/attempt/end.py", "supervisor/attempt/events.py", "supervisor/attempt/finish.py",
    "supervisor/attempt/mailbox.py", "supervisor/attempt/messages.py", "supervisor/attempt/phases.py",
    "supervisor/attempt/reports.py", "supervisor/attempt/start.py", "supervisor/attempt/state.py",
    "supervisor/attempt/verdict.py", "supervisor/attempt/watch.py", "supervisor/caller.py",
    "supervisor/gateway/clients.py", "supervisor/gateway/pace.py", "supervisor/gateway/routes.py",
    "supervisor/gateway/standing.py", "supervisor/gateway/waitgraph.py", "supervisor/gateway/waits.py",
    "supervisor/run/again.py", "supervisor/run/blocks.py", "supervisor/run/planned.py", "supervisor/run/turns.py",
    "supervisor/run/claims.py", "supervisor/run/decide.py", "supervisor/run/effects.py",
    "supervisor/run/events.py", "supervisor/run/phases.py", "supervisor/run/recall.py", "supervisor/run/schedule.py",
    "supervisor/run/state.py", "supervisor/run/tries.py",
}  # fmt: skip
"""What decides. Beside these all of `model` and `protocol` touch nothing."""
IMPURE = {
    "asyncio", "fcntl", "io", "multiprocessing", "os", "psutil", "random", "resource", "select", "selectors", "shutil",
    "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time", "zmq",
}  # fmt: skip


def imported_at_run_time(path: Path) -> Iterator[str]:
    """The modules that a file imports, but for those that only a type checker sees."""
    for node in parsed(path).body:
        if not isinstance(node, ast.If):
            for each in ast.walk(node):
                if isinstance(each, ast.Import):
                    yield from (alias.name for alias in each.names)
                elif isinstance(each, ast.ImportFrom) and each.module:
                    modules = [f"{each.module}.{alias.name}" for alias in each.names]
                    yield from (
                        name if (ROOT.parent / f"{name.replace('.', '/')}.py").exists() else each.module for name in modules
                    )


def test_no_module_needs_itself() -> None:
    """No circle of imports, those for type checkers included. What two modules need of each other is a protocol below both."""
    modules = {f"crewd.{str(path.relative_to(ROOT))[:-3].replace('/', '.')}": path for path in FILES}
    needs = {name: {each for each in imports(path) if each in modules} for name, path in modules.items()}
    free: set[str] = set()
    while ready := {name for name, below in needs.items() if name not in free and below <= free}:
        free |= ready
    assert set(needs) - free == set()


def test_what_decides_and_what_is_touch_nothing() -> None:
    wrong = []
    for path in [p for p in FILES if room(p) in {"model", "protocol"} or str(p.relative_to(ROOT)) in PURE]:
        for name in imported_at_run_time(path):
            place = f"{name.removeprefix('crewd.').replace('.', '/')}.py"
            pure = not name.startswith("crewd.") or place.startswith(("model/", "protocol/")) or place in PURE
            if not pure or name.split(".")[0] in IMPURE:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_only_named_places_import_by_name() -> None:
    """An import that no checker sees: workers' code, verbs, and what is loaded when it is first used."""
    assert {str(path.relative_to(ROOT)) for path in FILES if "import_module(" in path.read_text()} == {
        "__init__.py", "client/cli/main.py", "guardian/zygote.py", "testing/__init__.py", "worker/call.py", "worker/schema.py",
    }  # fmt: skip
    assert 'WORKER_MAIN = "crewd.worker.host"' in (ROOT / "guardian/zygote.py").read_text()


OPENERS = {
    "guardian/files.py": "the lock of the blobs",
    "store/bundle.py": "bundles, and what is being written",
    "store/database.py": "the reserve",
    "store/health.py": "databases, while nothing is served",
    "store/keeper/backup.py": "copies of bundles",
    "store/keeper/transfers.py": "uploads, each a file that the keeper has named",
    "store/original.py": "a bundle that was checked",
    "supervisor/config.py": "the configuration, which may be a link, and was checked",
    "guardian/cgroups.py": "/sys",
    "guardian/entry.py": "/dev/null",
    "guardian/examine.py": "/proc",
    "guardian/marker.py": "/proc",
    "guardian/processes.py": "/proc",
    "guardian/zygote.py": "/dev/null, /sys",
    "supervisor/tokens.py": "the secret, which is made",
}
"""Who opens files in crewd, its guardian and its store by other means than `worker_files` and `private_files`, and which."""


def opens(path: Path) -> bool:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                return True
            case ast.Call(func=ast.Attribute(attr="open", value=value)) if ast.unparse(value) not in {"self._wire", "door"}:
                return True
            case ast.Call(
                func=ast.Attribute(attr="read_text" | "read_bytes" | "write_text" | "write_bytes" | "copyfile" | "ZipFile")
            ):
                return True
    return False


def test_what_a_worker_could_have_put_there_is_opened_by_whoever_does_not_trust_it() -> None:
    assert {
        str(path.relative_to(ROOT)) for path in FILES if room(path) in {"store", "supervisor", "guardian"} and opens(path)
    } == set(OPENERS)


@pytest.mark.parametrize("page", ["docs/guarantees.md", "SECURITY.md"])
def test_the_tests_that_a_promise_names_are_there(page: str) -> None:
    named = re.findall(r"`(tests/[\w./-]+)`", (ROOT.parent / page).read_text())
    assert named
    assert [each for each in named if not (ROOT.parent / each).exists()] == []


@pytest.mark.process
def test_a_client_pays_for_neither_the_supervisor_nor_the_store() -> None:
    code = (
        "import sys, crewd; crewd.connect; import crewd.worker; "
        "print(sorted(m for m in sys.modules if m.startswith(('crewd.supervisor', 'crewd.store', 'crewd.actors', 'pykka', "
        "'loguru', 'rich'))))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert shown.stdout.strip() == "[]"


def test_every_reference_can_be_followed_in_this_repository() -> None:
    """Documents that only the authors had are not cited: a reader gets the reason, or a page of docs/."""
    elsewhere = re.compile(r"\b(?:system|peers|ecosystem|faces|house)\.md\b|\bDESIGN\b|\([RK]\d{1,2}\)")
    pages = [*FILES, *(ROOT.parent / "docs").rglob("*.md"), *ROOT.parent.glob("*.md")]
    assert [str(path) for path in pages if elsewhere.search(path.read_text())] == []


TESTS = re.compile(r"^Tests: (tests/\S+\.py(?:, tests/\S+\.py)*)\.$", re.MULTILINE)


def test_whoever_changes_a_module_finds_its_tests() -> None:
    """They stand at the same place with its name, or a line at the end of its docstring names them: one of the two."""
    wrong = []
    for path in [path for path in FILES if path.name not in {"__init__.py", "__main__.py"}]:
        below = path.relative_to(ROOT)
        named = TESTS.search(ast.get_docstring(parsed(path)) or "")
        beside = ROOT.parent / "tests" / below.parent / f"test_{path.name}"
        lacking = [each for each in named[1].split(", ") if not (ROOT.parent / each).exists()] if named else []
        if lacking or beside.exists() is (named is not None):
            wrong.append(f"{below}: {lacking or 'has both or neither'}")
    assert wrong == []
