"""The public Python API: what is exported, that both clients have the same calls, and what type checkers say of typos."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crewd
import crewd.aio
import crewd.testing
import crewd.worker
from crewd.client import aio, blocking
from crewd.client.shapes import result_from
from crewd.model.errors import UsageError
from crewd.model.rows import TaskRow
from crewd.model.statuses import TaskStatus
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = Path(crewd.__file__).parent.parent
PUBLIC = {
    "crewd",
    "crewd.aio",
    "crewd.worker",
    "crewd.testing",
    "crewd.testing.stress",
    "crewd.testing.stress.strategies",
    "crewd.testing.world",
}


def methods(kind: type) -> dict[str, object]:
    return {
        name: each
        for name, each in inspect.getmembers(kind)
        if not name.startswith("_") and name not in {"close", "greet", "home", "ids"}
    }


@pytest.mark.parametrize(("one", "other"), [(blocking.Crew, aio.Crew), (blocking.RunHandle, aio.RunHandle)])
def test_both_clients_have_the_same_calls_with_the_same_parameters(one: type, other: type) -> None:
    mine, theirs = methods(one), methods(other)
    assert set(mine) == set(theirs)
    for name, method in mine.items():
        if callable(method):
            other_method = theirs[name]
            assert callable(other_method)
            assert inspect.signature(method).parameters == inspect.signature(other_method).parameters, name
            assert method.__doc__, name


def test_connect_takes_the_same_in_both() -> None:
    assert inspect.signature(crewd.connect).parameters == inspect.signature(crewd.aio.connect).parameters


@pytest.mark.parametrize("module", [crewd, crewd.aio, crewd.worker, crewd.testing], ids=lambda module: module.__name__)
def test_everything_that_is_exported_is_there_and_has_a_docstring(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        each = getattr(module, name)
        assert name == "__version__" or each.__doc__, name


def _imported(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "crewd":
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "crewd"}
    return found


def test_what_documents_and_examples_use_is_exported() -> None:
    places = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in places:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
            assert _imported(block) <= PUBLIC, path
    for path in (ROOT / "examples").glob("*.py"):
        cli = {"crewd.client.cli.follow"} if path.name == "audit.py" else set()  # it shows what `crew run --follow` shows
        assert _imported(path.read_text()) <= PUBLIC | cli, path


TYPO = """
import crewd
with crewd.connect() as crew:
    run = crew.call("jobs:index", {{"root": "."}})
    {line}
"""


@pytest.mark.process
def test_a_typo_is_found_by_a_strict_type_checker(tmp_path: Path) -> None:
    good = ['run.steer("x", wait="applied")', "print(run.cancel().verified)", 'crew.exec(["a"], stdin=b"x").wait(timeout=3)']
    bad = [
        'run.steer("x", wait="aplied")', "print(run.cancel().verifed)", "run.steers('x')", 'run.cancel(mode="slow")',
        "crew.call(3)", 'crew.exec(["a"], stdn="lines")', "run.wait(timeout='3')",
    ]  # fmt: skip
    for number, line in enumerate((*good, *bad)):
        (tmp_path / f"m{number}.py").write_text(TYPO.format(line=line))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "c"), *map(str, tmp_path.glob("m*.py"))],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    wrong = {int(number) for number in re.findall(r"m(\d+)\.py:\d+: error", done.stdout)}
    assert wrong == set(range(len(good), len(good) + len(bad))), done.stdout


@pytest.mark.process
def test_the_async_client_is_connected_by_a_with_and_finds_its_results(daemon: Daemon) -> None:
    async def story() -> None:
        async with crewd.aio.connect(str(daemon.home.root), start=False) as crew:
            run = await crew.exec(["seq", "1", "20000"], cwd="/")
            text = await run.result(timeout=120)
            assert isinstance(text, str)
            assert text.endswith("\n20000")
            events = [event.type async for event in run.events()]
            assert (events[0], events[-1]) == ("run.created", "run.ended")
            assert [event.type async for event in crew.events(run.id, last=1)] == ["run.ended"]
            assert (await crew.doctor()).healthy
            assert (await run.log()).size > 100_000
            with pytest.raises(crewd.NotFound):
                await crew.get("nobody")

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["Crew", "RunHandle"])
def test_both_clients_have_the_same_names(kind: str) -> None:
    own = {"greet", "home", "ids"}  # how each of them connects

    def names(module: object) -> set[str]:
        return {name for name in dir(getattr(module, kind)) if not name.startswith("_")} - own

    assert names(aio) == names(blocking)


def test_a_client_that_is_closed_or_was_copied_by_a_fork_says_so(daemon: Daemon) -> None:
    crew = daemon.connect()
    crew.runs()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            crew.runs()
        except UsageError as error:
            said = error.message
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.waitpid(child, 0)
    assert b"belongs to the process that forked" in os.read(reading, 1_000)
    os.close(reading)
    os.close(writing)
    assert crew.runs().runs == ()
    crew.close()
    crew.close()
    with pytest.raises(UsageError, match="this client is closed"):
        crew.runs()


def test_a_client_is_used_by_one_thread_at_a_time(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sleep", "60"])
        said: list[str] = []

        def use(call: Callable[[], object]) -> list[str]:
            try:
                call()
            except UsageError as error:
                said.append(error.message)
            return said

        waits = threading.Thread(target=use, args=[run.wait])
        waits.start()
        wait_until(lambda: use(crew.runs), "one of the two is refused")
        with daemon.connect() as other:
            other.cancel(run.id)
        waits.join()
        assert said == ["another thread is using this client"]
        assert crew.get(run.id).id == run.id


def test_an_async_client_is_used_in_its_own_event_loop(daemon: Daemon) -> None:
    kept: list[aio.Crew] = []

    async def first() -> None:
        kept.append(await aio.connect(daemon.home.root, start=False))
        await kept[0].runs()

    async def second() -> None:
        with pytest.raises(UsageError, match="belongs to another event loop"):
            await kept[0].runs()
        with pytest.raises(UsageError, match="belongs to another event loop"):
            await anext(kept[0].watch())
        await kept[0].close()

    asyncio.run(first())
    asyncio.run(second())


def test_a_request_that_crewd_could_not_read_is_refused_here_and_forgotten(crew: crewd.Crew) -> None:
    much: Any = "1G"
    wrong: list[dict[str, Any]] = [
        {"argv": ["true"], "limits": crewd.Limits(memory_bytes=much)},
        {"argv": ["true"], "retry": crewd.Retry(attempts=much)},
    ]
    for words in wrong:
        with pytest.raises(UsageError, match=r"cannot be used: (expected|invalid)"):
            crew.exec(**words, cwd="/")
    with pytest.raises(crewd.CrewdError, match="bytes"):
        crew.exec(["true", "x" * 1_200_000], cwd="/")


def test_a_program_may_end_with_a_feed_that_is_open(crew: crewd.Crew) -> None:
    run = crew.exec(["sleep", "60"], cwd="/")
    program = (
        f"import crewd\ncrew = crewd.connect({str(crew.home.root)!r}, start=False)\n"
        f"def f(x): return x\nfeed = crew.watch({run.id!r})\nnext(feed)\nprint('seen')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")
    run.cancel(mode="now")


def test_a_feed_that_is_left_says_nothing_when_its_client_is_closed(
    crew: crewd.Crew, capfd: pytest.CaptureFixture[str]
) -> None:
    run = crew.exec(["sleep", "60"], cwd="/")
    home = str(crew.home.root)
    with crewd.connect(home, start=False) as other:
        feed = other.watch(run.id)
        next(feed)
    del feed

    async def leave() -> None:
        async with crewd.aio.connect(home, start=False) as awaited:
            events: Any = awaited.watch(run.id)
            await anext(events)
        await events.aclose()

    asyncio.run(leave())
    gc.collect()
    run.cancel(mode="now")
    assert "ZMQError" not in capfd.readouterr().err
    assert crew._connection.talk.open == {}
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"


@pytest.mark.parametrize("data", [b'"cut', b'"\xff"'])
def test_a_result_file_that_is_not_what_was_kept_is_an_error_in_words(data: bytes) -> None:
    task = TaskRow("r_1/a", "r_1", "a", TaskStatus.COMPLETED, "call", result_path="/x")
    with pytest.raises(crewd.CrewdError, match="is not what was kept"):
        result_from(task, data)


def test_a_method_looks_like_one_to_whoever_asks_python_about_it(crew: crewd.Crew) -> None:
    for client, handle in ((crewd.Crew, crewd.RunHandle), (crewd.aio.Crew, crewd.aio.RunHandle)):
        assert str(inspect.signature(client.exec)).endswith("-> 'RunHandle'")
        assert str(inspect.signature(handle.result)) == "(self, *, step: 'str' = '', timeout: 'float' = 3600.0) -> 'object'"
        assert handle.result.__name__ == "result"
    wrong: Any = "5"
    with pytest.raises(crewd.UsageError, match=r"^result\(timeout='5'\) cannot be used"):
        crew.exec(["true"], cwd="/").result(timeout=wrong)
