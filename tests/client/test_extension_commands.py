"""Commands of extensions: what runs once, what shows artifacts, and what is fed with metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.client.extension_file import declared_in
from crewd.client.extensions import active_extensions, faults_of_extensions
from crewd.client.feeding import feed, sink_named
from crewd.client.hooked import hooked
from crewd.client.initialised import initialise_again, initialise_extensions
from crewd.client.inventory import disable, inventory
from crewd.client.metrics import Sample
from crewd.client.rendering import render
from crewd.client.shapes import exec_workflow
from crewd.model.errors import CrewdError, NotFound, Refused, UsageError
from tests.client.test_extensions import Install, example, install
from tests.shell import Shell

__all__ = ["install"]
pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "crewd-extensions"


@pytest.fixture
def brings(install: Install, tmp_path: Path) -> Callable[[str], Path]:
    """An installed extension `one` with this `extension.toml`."""

    def put(text: str) -> Path:
        folder = tmp_path / "one_ext"
        folder.mkdir()
        (folder / "extension.toml").write_text(text)
        install("one-ext", {"one": "one_ext"}, folder)
        return tmp_path / "site" / "one_ext"

    return put


def test_what_is_declared_is_read_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    assert declared_in(tmp_path).initialise is None
    for text, says in (
        ("[initialise]\n", "run"), ("[initialise]\nrun = ''\n", "empty"), ("[initialze]\nrun = 'cat'\n", "no .initialze"),
        ("[initialise\n", "line 1"),
        ("[initialise]\nrun = 5\n", "initialise.: run = 5 is not possible"), ("[[sinks.a]]\nrun = 'cat'\n", "several times"),
        ("[renderers.a]\nartifct = '*'\nrun = 'cat'\n", r"extension.toml: \[renderers.a\]: there is no 'artifct'"),
        (f"a = {'[' * 5_000}", "recursion"), (f"a = {'1' * 5_000}", "digits"),
        ("[renderers.'a b']\nartifact = '*'\nrun = 'cat'\n", "not a name"), ("[sinks.a]\nrun = 'cat'\nevery = 3\n", "every"),
        ("[renderers.a]\nartifact = '*'\nrun = 'cat'\ntimeout_seconds = 301\n", "timeout_seconds = 301"),
        ("".join(f"[sinks.s{number}]\nrun = 'cat'\n" for number in range(33)), "more than 32"),
    ):  # fmt: skip
        (tmp_path / "extension.toml").write_text(text)
        with pytest.raises(UsageError, match=says):
            declared_in(tmp_path)


def test_a_version_is_initialised_once_before_something_is_started(brings: Callable[[str], Path], data: Path) -> None:
    brings('[initialise]\nrun = \'pwd >>"$EXTENSION_DATA/ran"; echo "$EXTENSION_CONTEXT" >"$EXTENSION_DATA/context"\'\n')
    assert not (data / "one").exists(), "to look runs nothing"
    assert inventory() and not (data / "one").exists()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: hooked(exec_workflow(["true"])), range(4)))
    assert (data / "one" / "ran").read_text().splitlines() == [str(Path.cwd())]
    context = json.loads((data / "one" / "context").read_text())
    assert (context["name"], context["version"], context["interactive"]) == ("one", "1.0", False)
    assert initialise_again("one") == ""
    assert len((data / "one" / "ran").read_text().splitlines()) == 2
    with pytest.raises(NotFound, match="no extension two that is enabled"):
        initialise_again("two")


def test_who_cannot_be_initialised_brings_nothing_and_says_why(brings: Callable[[str], Path], data: Path) -> None:
    folder = brings("[initialise]\nrun = 'test -e \"$EXTENSION_DATA/ready\" || { echo no compiler >&2; exit 3; }'\n")
    (folder / "agents").mkdir()
    (folder / "agents" / "own.md").write_text("---\nname: own\n---\nx\n")
    assert [each.name for each in active_extensions()] == ["one"]
    said: list[str] = []
    initialise_extensions(said.append)
    assert said == ["initialising extension one 1.0 (at most 60 s)"]
    (fault,) = faults_of_extensions()
    assert "initialise: exit code 3: no compiler" in fault and "crew initialise one" in fault
    assert "agent:own" not in {item.id for item in inventory()}
    (data / "one" / "ready").touch()
    initialise_extensions()
    assert active_extensions() == [], "it is not tried again by itself"
    assert initialise_again("one") == ""
    assert [each.name for each in active_extensions()] == ["one"]
    assert "agent:own" in {item.id for item in inventory()}


def test_who_waits_for_another_process_hears_of_its_failure(brings: Callable[[str], Path], data: Path) -> None:
    """Both have looked for extensions before; the second one has run nothing itself."""
    brings("[initialise]\nrun = 'echo x >>\"$EXTENSION_DATA/ran\"; exit 3'\n")
    assert [each.name for each in active_extensions()] == ["one"]
    code = "from crewd.client.initialised import initialise_extensions as i; i()"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    initialise_extensions()
    assert (data / "one" / "ran").read_text() == "x\n"
    assert active_extensions() == [] and "exit code 3" in faults_of_extensions()[0]


def test_a_command_that_starts_something_itself_does_not_wait_for_itself(brings: Callable[[str], Path], data: Path) -> None:
    code = "from crewd.client.initialised import initialise_extensions as i; i()"
    folder = brings("[initialise]\nrun = 'exec sh \"$EXTENSION/start.sh\"'\n")
    python = f"PYTHONPATH='{os.pathsep.join(sys.path)}' {sys.executable}"
    (folder / "start.sh").write_text(f"{python} -c '{code}' && echo x >>$EXTENSION_DATA/ran\n")
    initialise_extensions()
    assert (data / "one" / "ran").read_text() == "x\n" and faults_of_extensions() == []


def test_where_nothing_can_be_kept_it_brings_nothing_and_everything_else_works(
    brings: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, object] = {}
    monkeypatch.setattr("crewd.client.extensions.NOT_KEPT", kept)
    monkeypatch.setattr("crewd.client.initialised.NOT_KEPT", kept)
    brings("[initialise]\nrun = 'true'\n")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert hooked(exec_workflow(["true"]))[0].steps
    assert active_extensions() == [] and "cannot be made" in faults_of_extensions()[0]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert initialise_again("one") == "" and [each.name for each in active_extensions()] == ["one"]


def test_what_is_disabled_is_not_initialised(brings: Callable[[str], Path], data: Path) -> None:
    brings("[initialise]\nrun = 'true'\n")
    disable("extension:one", "not now")
    initialise_extensions()
    with pytest.raises(NotFound):
        initialise_again("one")
    assert not (data / "one").exists()


def test_what_takes_too_long_is_killed_and_has_failed(brings: Callable[[str], Path], data: Path) -> None:
    brings("[initialise]\nrun = 'echo $$ >\"$EXTENSION_DATA/pid\"; exec sleep 1000'\ntimeout_seconds = 0.5\n")
    initialise_extensions()
    assert "longer than 0.5 s" in faults_of_extensions()[0]
    with pytest.raises(ProcessLookupError):
        os.kill(int((data / "one" / "pid").read_text()), 0)


def test_the_first_renderer_for_a_name_shows_an_artifact(brings: Callable[[str], Path]) -> None:
    brings(
        "[renderers.upper]\nartifact = '*.txt'\nrun = 'tr a-z A-Z'\n"
        "[renderers.bad]\nartifact = 'x*'\nrun = 'echo why >&2; exit 4'\n"
        "[renderers.endless]\nartifact = '*.log'\nrun = 'yes'\ntimeout_seconds = 60\n"
    )
    shown = render("a.txt", b"hello \xff")
    assert shown is not None and (shown.renderer, shown.text) == ("one.upper", "HELLO �")
    assert not shown.cut
    assert render("a.md", b"hello") is None
    large = render("a.txt", b"x" * (1 << 20) + b"y")
    assert large is not None
    assert large.cut
    assert large.text == "X" * (1 << 20)
    endless = render("a.log", b"")
    assert endless is not None
    assert (endless.text, endless.cut) == ("y\n" * (1 << 19), True)
    with pytest.raises(CrewdError, match=r"renderer one\.bad has failed: exit code 4: why"):
        render("xyz", b"")
    disable("renderer:one.upper", "too loud")
    assert render("a.txt", b"hello") is None


def test_a_sink_is_fed_until_it_ends_and_a_slow_one_holds_up_nothing(brings: Callable[[str], Path], data: Path) -> None:
    brings(
        "[sinks.two]\nrun = 'head -n 2 >\"$EXTENSION_DATA/got\"'\n[sinks.bad]\nrun = 'exit 3'\n"
        "[sinks.deaf]\nrun = 'while [ ! -e \"$EXTENSION_DATA/go\" ]; do sleep 0.05; done'\n"
    )
    assert feed(sink_named("one.two")[1], lambda: [Sample("a", 1), Sample("b", 2.5)], 0.05) == 0
    assert [json.loads(line) for line in (data / "one" / "got").read_text().splitlines()] == [{"a": 1, "b": 2.5}] * 2
    with pytest.raises(CrewdError, match="exit code 3"):
        feed(sink_named("one.bad")[1], lambda: [Sample("a", 1)], 0.05)
    fed = iter(range(1_000_000))

    def look() -> list[Sample]:
        if next(fed) == 200:
            (data / "one" / "go").touch()
        return [Sample("a" * 1_000, 1)]

    assert feed(sink_named("one.deaf")[1], look, 0.001) > 0
    with pytest.raises(NotFound, match=r"no sink one\.tow") as error:
        sink_named("one.tow")
    assert "one.two" in error.value.hint
    disable("sink:one.two", "too much")
    with pytest.raises(Refused, match="too much"):
        sink_named("one.two")


def test_the_example_is_initialised_and_shows_its_artifact(crew: Crew, install: Install, data: Path, tmp_path: Path) -> None:
    example(install)
    (tmp_path / "leaver.py").write_text(
        "def leave(ctx):\n"
        "    ctx.artifact('left.todo.json', '[\"one\", \"two\"]')\n"
        "    ctx.artifact('loud.todo.json', '[\"' + 'o' * (1 << 20) + '\"]')\n"
        "    ctx.artifact('large.txt', 'x' * (17 << 20))\n"
    )
    shell = Shell(str(crew.home.root), tmp_path)
    run = shell.ok("call", "leaver:leave").split()[0]
    shell.ok("wait", run)
    assert (data / "tidy" / "since").read_text()
    assert shell.ok("artifact", "show", run, "left.todo.json") == "- one\n- two\n"
    assert json.loads(shell.ok("artifact", "show", run, "left.todo.json", "--json"))["renderer"] == "tidy.todo"
    loud = shell.run("artifact", "show", run, "loud.todo.json")
    told = "the renderer tidy.todo has printed more than 1 MiB: the rest is left out"
    assert (loud.returncode, loud.stderr.strip()) == (0, told)
    assert "17,825,792 bytes" in shell.fails(2, "artifact", "show", run, "large.txt")
    found = {each["id"]: each["source"] for each in json.loads(shell.ok("capabilities", "--json"))}
    assert (found["renderer:tidy.todo"], found["sink:tidy.file"]) == ("tidy", "tidy")
    assert "# TYPE crewd_runs_live gauge" in shell.ok("metrics")


def test_the_daemon_s_metrics_reach_a_sink(crew: Crew, brings: Callable[[str], Path], data: Path, tmp_path: Path) -> None:
    brings("[sinks.two]\nrun = 'head -n 2 >\"$EXTENSION_DATA/got\"'\n")
    shell = Shell(str(crew.home.root), tmp_path)
    shell.ok("metrics", "--to", "one.two", "--every", "0.1")
    first, second = (json.loads(line) for line in (data / "one" / "got").read_text().splitlines())
    assert first["crewd_actors"] > 0
    assert second["crewd_events"] >= first["crewd_events"]
    assert json.loads(shell.ok("metrics", "--json"))["crewd_actors"] > 0
    assert "there is no sink one.three" in " ".join(shell.fails(4, "metrics", "--to", "one.three").split())
    assert "nothing to initialise" in " ".join(shell.fails(5, "initialise", "one").split())
