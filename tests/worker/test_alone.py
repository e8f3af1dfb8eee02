"""A callable behaves in a worker as it does in a Python that was started for it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tests.alone as functions
from crewd.client.blocking import Crew
from crewd.model.errors import RunFailed

pytestmark = pytest.mark.process
HERE = Path(__file__).parent.parent
NAMES = [
    name
    for name, each in vars(functions).items()
    if callable(each) and getattr(each, "__module__", "") == "tests.alone" and not name.startswith("_") and name != "Point"
]
GUARD = "import json, alone\nvalue = alone.{name}()\nimport sys; sys.stderr.write('RESULT ' + json.dumps(value) + chr(10))"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_in_python(crew: Crew, name: str) -> None:
    # A shell starts what runs in the background with INT ignored, nohup with HUP, and some programs
    # block signals for what they start; a terminal does none of it, and it is what is compared with.
    usual = (
        "import os, signal, sys; [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)];"
        "signal.pthread_sigmask(signal.SIG_SETMASK, ()); os.execv(sys.executable, sys.argv[1:])"
    )
    alone = subprocess.run(
        [sys.executable, "-c", usual, sys.executable, "-c", GUARD.format(name=name)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=120,
        check=True,
    )
    expected = next(json.loads(line[7:]) for line in alone.stderr.splitlines() if line.startswith("RESULT "))
    run = crew.call(f"alone:{name}", cwd=str(HERE))
    assert run.result(timeout=120) == expected
    assert crew.log(run.id).data.decode() == alone.stdout


def test_packages_of_all_kinds_are_found_from_the_working_directory(crew: Crew, tmp_path: Path) -> None:
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/mod.py": "from . import other\ndef f(): return other.VALUE\n",
        "pkg/other.py": "VALUE = 1\n",
        "space/inner/deep.py": "def f(): return 2\n",
        "flat.py": "import pkg.other\ndef f(): return pkg.other.VALUE + 2\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = [
        crew.call(f"{module}:f", cwd=str(tmp_path)).result(timeout=120) for module in ("pkg.mod", "space.inner.deep", "flat")
    ]
    assert found == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("float('nan')", "nan"),
        ("{'a': [1, float('inf')]}", r"\['a'\]\[1\] is inf"),
        ("2 ** 70", "64 bits"),
        ("-2 ** 70", "64 bits"),
        ("chr(0xD800)", "surrogates"),
        ("b'x'", "bytes"),
        ("{'k': bytearray(2)}", "bytes"),
        ("{1: 'x'}", "key 1"),
        ("object()", "unsupported"),
        ("(lambda l: l.append(l) or l)([])", "nested"),
        ("complex(1)", "unsupported"),
    ],
)
def test_a_result_that_would_be_another_one_is_refused_by_name(crew: Crew, tmp_path: Path, value: str, says: str) -> None:
    (tmp_path / "m.py").write_text(f"def f():\n    return {value}\n")
    with pytest.raises(RunFailed, match=says):
        crew.call("m:f", cwd=str(tmp_path)).result(timeout=120)


@pytest.mark.parametrize(
    "value",
    [
        "2 ** 64 - 1",
        "-2 ** 63",
        "1.5",
        "None",
        "True",
        "'text ü 😀'",
        "[]",
        "{'a': {'b': [1, None]}}",
        "'x' * 200_000",
        "list(range(40_000))",
        "'the password: required, and token = self.token'",
    ],
)
def test_a_result_is_the_very_value(crew: Crew, tmp_path: Path, value: str) -> None:
    (tmp_path / "m.py").write_text(f"def f():\n    return {value}\n")
    assert crew.call("m:f", cwd=str(tmp_path)).result(timeout=120) == eval(value)


def test_a_worker_is_not_done_while_its_threads_work_and_can_be_cancelled_then(crew: Crew, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "    print('back', flush=True)\n"
    )
    run = crew.call("m:f", cwd=str(tmp_path))
    from crewd.testing.daemon import wait_until

    wait_until(lambda: crew.log(run.id).data == b"back\n", "the function to return")
    assert run.show().run.status == "running"
    reply = run.cancel(grace=0)
    assert reply is not None
    assert (reply.status, reply.verified) == ("cancelled", True)


FORKED = """
import os, signal

def f():
    child = os.fork()
    if child == 0:
        {end}
    assert os.waitpid(child, 0)[1] == {status}, "the child has ended as in Python"
    {then}
"""


@pytest.mark.parametrize(("end", "status"), [("return 'the child'", 0), ("raise SystemExit(3)", 3 << 8), ("1 / 0", 1 << 8)])
def test_only_the_worker_says_how_the_worker_has_ended(crew: Crew, tmp_path: Path, end: str, status: int) -> None:
    (tmp_path / "m.py").write_text(FORKED.format(end=end, status=status, then="return 'the worker'"))
    assert crew.call("m:f", cwd=str(tmp_path)).result(timeout=120) == "the worker"
    (tmp_path / "n.py").write_text(FORKED.format(end=end, status=status, then="os.kill(os.getpid(), signal.SIGKILL)"))
    run = crew.call("n:f", cwd=str(tmp_path))
    run.wait(timeout=120)
    (task,) = run.show().tasks
    assert (task.status, task.reason, task.result) == ("failed", "killed_by_signal", None)


@pytest.mark.parametrize(
    ("code", "says"),
    [("['a']", "SystemExit: ['a']"), ("Odd()", "SystemExit"), ("True", "True"), ("2 ** 60", "SystemExit"), ("256", "256")],
)
def test_whatever_it_exits_with_is_how_it_has_ended(crew: Crew, tmp_path: Path, code: str, says: str) -> None:
    odd = "class Odd:\n    def __str__(self):\n        raise ValueError\n"
    (tmp_path / "m.py").write_text(f"import sys\n{odd}def f():\n    sys.exit({code})\n")
    run = crew.call("m:f", cwd=str(tmp_path))
    run.wait(timeout=120)
    (task,) = run.show().tasks
    assert (task.status, task.reason) == ("failed", "raised")
    assert says in task.error


TWICE = "def twice(each):\n    with each: pass\n    with each: pass\n"


@pytest.mark.parametrize("call", ["ctx.tell('x')", "ctx.permission('may I?', timeout=3)", "ctx.checkpoint({})"])
def test_a_fork_of_a_worker_does_not_speak_for_it(crew: Crew, tmp_path: Path, call: str) -> None:
    lines = (
        "import os, crewd",
        "def f(ctx):",
        "    child = os.fork()",
        "    if child == 0:",
        f"        try: {call}",
        "        except crewd.UsageError: os._exit(7)",
        "        os._exit(0)",
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])",
    )
    (tmp_path / "m.py").write_text("\n".join(lines))
    run = crew.call("m:f", cwd=str(tmp_path))
    assert run.result(timeout=120) == 7
    assert (run.show().asks, run.messages()) == ((), ())


def test_what_cannot_be_said_is_an_error_in_the_line_that_says_it(crew: Crew, tmp_path: Path) -> None:
    calls = (
        "ctx.ask('n?', kind='choose', choices=[1, 2])", "ctx.ask('n?', default=True)", "ctx.tell('x', priority='high')",
        "ctx.tell('x', reply_to='nope')",
        "ctx.ask('n?', kind='choose', choices=['x' * 1_200_000], timeout=3)",
        "ctx.ask('n?', kind='choose', choices=['x'] * 65)", "ctx.ask('n?', kind='bogus')", "ctx.ask(' ')",
        "ctx.ask('n?', kind='choose', choices=['a', 'b'], default='c', timeout=1)",
        "ctx.ask('n?', kind='confirm', default='maybe', timeout=1)", "ctx.ask('n?', kind='choose', choices=['a', 'a'])",
        "ctx.ask('n?', schema={'type': 'object'}, timeout=1)", "twice(ctx.operation('tool', name='a'))",
        "ctx.operation('tool', name='a', seconds=-1)", "ctx.operation('', name='a')",
        "ctx.artifact('a', 'b', retention='ever')", "ctx.artifact('a', None)",
        "ctx.confirm('n?', default='no', timeout=0.2)",
        "ctx.sleep(None)", "ctx.sleep(float('inf'))", "ctx.safe_point(wait=None)", "ctx.tell(None)", "ctx.tell(' ')",
        "ctx.progress(1, note=None)",
        "ctx.ask('n?', choices=['a', 'b'], timeout=1)",
        "ctx.ask('n?', kind='choose', choices='abc', timeout=1)", "ctx.wait_for(None)", "ctx.send('parent', None)",
    )  # fmt: skip
    lines = "".join(f"    try: {each}\n    except crewd.UsageError: refused += 1\n" for each in calls)
    (tmp_path / "m.py").write_text(f"import crewd\n{TWICE}def f(ctx):\n    refused = 0\n{lines}    return refused\n")
    run = crew.call("m:f", cwd=str(tmp_path))
    assert run.result(timeout=120) == len(calls)
    assert [ask for ask in run.show().asks if ask.closed_at is None] == []


@pytest.mark.parametrize("value", ["float('nan')", "[float('inf')]", "{1: 2}", "b'x'"])
def test_a_checkpoint_that_would_be_another_one_is_refused(crew: Crew, tmp_path: Path, value: str) -> None:
    lines = (
        "import crewd",
        "def f(ctx):",
        "    try:",
        f"        ctx.checkpoint({value})",
        "    except crewd.UsageError as error:",
    )
    (tmp_path / "m.py").write_text("\n".join([*lines, "        return error.message"]))
    assert str(crew.call("m:f", cwd=str(tmp_path)).result(timeout=120)).startswith("the checkpoint")


@pytest.mark.parametrize(
    ("target", "args", "result"), [("math:hypot", {}, 0.0), ("builtins:dict", {"a": 1}, {"a": 1}), ("builtins:str", {}, "")]
)
def test_a_function_that_does_not_say_what_it_takes_is_called_with_what_it_is_given(
    crew: Crew, target: str, args: dict[str, object], result: object
) -> None:
    assert crew.call(target, args, cwd="/").result(timeout=120) == result


def test_such_a_function_that_takes_something_else_says_so(crew: Crew) -> None:
    with pytest.raises(RunFailed, match="TypeError"):
        crew.call("math:hypot", {"side": 1}, cwd="/").result(timeout=120)


@pytest.mark.parametrize("takes", ["path, ctx", "path, *, context"])
def test_a_context_in_another_place_is_an_error_that_says_where_it_belongs(crew: Crew, tmp_path: Path, takes: str) -> None:
    (tmp_path / "m.py").write_text(f"def f({takes}): pass\n")
    with pytest.raises(RunFailed, match="a worker is given its context as the first one"):
        crew.call("m:f", {"path": "x"}, cwd=str(tmp_path)).result(timeout=120)
