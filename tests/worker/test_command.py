"""A command as a worker: its input, its output, its signals, its end. Real processes, through the public socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from crewd.client.blocking import Crew, RunHandle
from crewd.client.environment import Brought
from crewd.client.shapes import one_step
from crewd.model.errors import Refused, RunCancelled, RunFailed, UsageError
from crewd.model.policy import Limits, Retry
from crewd.model.rows import AttemptRow
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from crewd.worker.child import ChildProcess
from tests.waits import pid_of

pytestmark = pytest.mark.process


def attempt_of(run: RunHandle) -> AttemptRow:
    return run.show().attempts[-1]


def log_of(crew: Crew, run: RunHandle, stream: str = "stdout") -> bytes:
    return crew.log(run.id, stream=stream).data  # type: ignore[arg-type]  # one of the two


def until_up(crew: Crew, run: RunHandle) -> None:
    """Until the command has said so, and its worker has named its process."""
    wait_until(lambda: b"up" in log_of(crew, run) and attempt_of(run).host_pid, "the command")


def sh(crew: Crew, script: str, **given: object) -> RunHandle:
    return crew.exec(["sh", "-c", script], cwd=str(Path.cwd()), **given)  # type: ignore[arg-type]


# -- output ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again", ["echo two > /dev/stdout", "echo two > /proc/self/fd/1", "echo two | tee /proc/$$/fd/1 >/dev/null"]
)
def test_opening_standard_output_again_erases_nothing(crew: Crew, again: str) -> None:
    run = sh(crew, f"echo one; {again}; echo three")
    run.wait(timeout=120)
    assert log_of(crew, run) == b"one\ntwo\nthree\n"


def test_both_streams_are_whole_and_the_result_is_what_was_written(crew: Crew) -> None:
    run = sh(crew, "seq 1 50000; seq 1 3 >&2")
    text = "\n".join(str(number) for number in range(1, 50_001))
    assert run.result(timeout=120) == text, "a result above what is sent is read from its file"
    assert log_of(crew, run, "stderr") == b"1\n2\n3\n"


def test_a_result_that_is_no_text_is_bytes(crew: Crew) -> None:
    assert sh(crew, r"printf '\377\000x'").result(timeout=120) == b"\xff\x00x"
    assert sh(crew, "printf '  spaced  \n\n'").result(timeout=120) == "  spaced  "


@pytest.mark.parametrize(
    ("script", "whole", "said"),
    [
        ("echo out", "out", False),
        ('echo mine > "$CREWD_OUTPUTS/f.txt"', "mine", False),
        ('echo log; echo mine > "$CREWD_OUTPUTS/f.txt"', "mine", False),
        ("true", "", True),
    ],
)
def test_the_output_file_is_what_the_command_wrote_there_else_its_standard_output(
    crew: Crew,
    script: str,
    whole: str,
    said: bool,
) -> None:
    steps = (
        Step("write", output="f.txt", worker=WorkerSpec(shell=script)),
        Step("read", depends_on=("write",), reads=("f.txt",), worker=WorkerSpec(shell='cat "$CREWD_OUTPUTS/f.txt"')),
    )
    run = crew.run(Workflow("w", steps), cwd="/")
    assert run.result(step="read", timeout=120) == whole
    assert any("f.txt is empty" in warning for row in run.show().attempts for warning in row.warnings) == said


def test_what_an_earlier_attempt_has_left_is_not_replaced_by_nothing(crew: Crew) -> None:
    script = 'test -s "$CREWD_OUTPUTS/f.txt" && exit 0; echo good > "$CREWD_OUTPUTS/f.txt"; exit 1'
    spec = WorkerSpec(shell=script, retry=Retry(attempts=2, backoff_seconds=0.05))
    run = crew.run(Workflow("w", (Step("a", output="f.txt", worker=spec),)), cwd="/")
    run.wait(timeout=120)
    assert (crew.home.shared(run.id) / "f.txt").read_text() == "good\n"


def test_an_output_file_that_cannot_be_whole_fails_the_step(crew: Crew) -> None:
    spec = WorkerSpec(shell="head -c 30000000 /dev/zero; sleep 4", limits=Limits(output_bytes=1 << 20))
    run = crew.run(one_step("big", spec, output="big.bin"), cwd="/")
    with pytest.raises(RunFailed, match="output_lost"):
        run.result(timeout=120)


def test_a_result_whose_beginning_was_not_kept_is_no_result(crew: Crew) -> None:
    run = crew.run(
        one_step("big", WorkerSpec(shell="head -c 30000000 /dev/zero; sleep 4", limits=Limits(output_bytes=1 << 20))), cwd="/"
    )
    with pytest.raises(Refused, match="not kept"):
        run.result(timeout=120)


def test_a_process_that_is_left_behind_does_not_hold_up_the_end_and_is_told_of(crew: Crew) -> None:
    run = sh(crew, "sleep 1000 & echo done")
    assert run.result(timeout=120) == "done"
    assert any("left behind" in warning for warning in attempt_of(run).warnings)
    kinds = [event.body for event in run.events() if event.type == "notice.raised"]
    assert kinds, "and it is news"


def test_what_is_unusual_about_an_end_is_said(crew: Crew) -> None:
    run = sh(crew, "echo only here >&2")
    run.wait(timeout=120)
    assert run.show().run.status == "completed"
    assert any("standard error" in warning for warning in attempt_of(run).warnings)
    run = crew.exec(["true"], stdin=b"x" * 200_000, cwd="/")
    run.wait(timeout=120)
    assert any("before it had read its input" in warning for warning in attempt_of(run).warnings)


# -- input ----------------------------------------------------------------------------------------------------------


def test_input_that_is_gone_is_not_taken_for_the_program(crew: Crew, tmp_path: Path) -> None:
    spec = WorkerSpec(argv=("cat",), stdin="file", stdin_file=str(tmp_path / "gone"))
    run = crew.run(one_step("reads", spec), cwd="/")
    run.wait(timeout=120)
    assert f"its input {tmp_path / 'gone'} cannot be opened" in run.show().tasks[0].error


def test_input_is_nothing_bytes_or_a_file(crew: Crew, tmp_path: Path) -> None:
    assert crew.exec(["wc", "-c"], cwd="/").result(timeout=120) == "0"
    assert str(crew.exec(["wc", "-c"], stdin=b"data\n", cwd="/").result(timeout=120)).strip() == "5"
    (tmp_path / "f").write_bytes(b"y" * 100_000)
    assert str(crew.exec(["wc", "-c"], stdin=str(tmp_path / "f"), cwd="/").result(timeout=120)).strip() == "100000"


def test_lines_of_a_steer_stay_lines_and_the_input_can_be_ended(crew: Crew) -> None:
    run = crew.exec(["sort"], stdin="lines", cwd="/")
    assert run.steer("b\na", wait="applied", timeout=120).level in {"applied", "settled"}
    run.steer("c", wait="settled", timeout=120, terms=Terms(eof=True))
    assert run.result(timeout=120) == "a\nb\nc"


def test_an_end_of_input_is_refused_by_what_has_none(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    wait_until(lambda: run.show().attempts and attempt_of(run).ready_at, "the worker")
    assert run.steer("", terms=Terms(eof=True), wait="settled").reason == "not_supported"
    run.cancel(mode="now")


def test_input_that_the_command_has_closed_is_a_refusal_and_no_end(crew: Crew) -> None:
    run = sh(crew, "exec 0</dev/null; echo closed; sleep 1000", stdin="lines")
    wait_until(lambda: b"closed" in log_of(crew, run), "the closed input")
    receipt = run.steer("x" * 60_000, wait="settled", timeout=120)
    assert (receipt.outcome, receipt.reason) == ("refused", "stdin_closed")
    assert run.show().run.status == "running"
    run.cancel(mode="now")


# -- signals and the end --------------------------------------------------------------------------------------------


def test_the_pid_that_is_shown_is_the_command_and_takes_signals(crew: Crew) -> None:
    run = sh(crew, 'trap "echo hup" HUP; trap "echo usr1; exit 0" USR1; echo up; while :; do sleep 0.05; done')
    until_up(crew, run)
    pid = pid_of(run)
    assert pid is not None
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: b"hup" in log_of(crew, run), "the signal")
    crew.signal(run.id, signal.SIGUSR1)
    run.wait(timeout=120)
    assert log_of(crew, run).endswith(b"usr1\n")
    assert [event.type for event in run.events() if event.type == "attempt.signalled"]
    with pytest.raises(Refused):
        crew.signal(run.id, signal.SIGHUP)


def test_a_signal_for_the_worker_that_waits_for_the_command_reaches_the_command(crew: Crew) -> None:
    run = sh(crew, 'trap "echo hup; exit 0" HUP; echo up; while :; do sleep 0.05; done')
    until_up(crew, run)
    host = attempt_of(run).host_pid
    assert host
    os.kill(host, signal.SIGHUP)
    assert run.result(timeout=120) == "up\nhup"


def test_a_tree_gets_a_signal_and_its_waiting_worker_does_not(crew: Crew) -> None:
    run = sh(crew, "sleep 1000 & sleep 1000 & echo up; wait; echo over")
    until_up(crew, run)
    with pytest.raises(UsageError):
        crew.signal(run.id, 99)
    crew.signal(run.id, signal.SIGKILL, tree=True)
    run.wait(timeout=120)
    assert attempt_of(run).reason == "killed_by_signal"


@pytest.mark.parametrize(("number", "name"), [(40, "SIGRTMIN+6"), (9, "SIGKILL"), (6, "SIGABRT"), (31, "SIGSYS")])
def test_a_failure_names_its_signal_and_its_cause(crew: Crew, number: int, name: str) -> None:
    run = sh(crew, f"echo cause >&2; kill -{number} $$")
    run.wait(timeout=120)
    attempt = attempt_of(run)
    assert attempt.reason == "killed_by_signal"
    assert name in attempt.error
    assert "cause" in attempt.error
    assert attempt.exit is not None
    assert (attempt.exit.code, attempt.exit.signal) == (None, number)


def test_what_is_shown_of_output_has_no_end_of_a_secret(crew: Crew) -> None:
    """Neither the last bytes that an error names, nor what is read from the middle of the output of a running worker."""
    failed = sh(crew, "printf 'pass%s=hunter22x%2040s\\n' word cause >&2; exit 3")
    failed.wait(timeout=120)
    error = attempt_of(failed).error
    assert "cause" in error and "22x" not in error
    key = "printf -- '-----BEGIN %s KEY-----\\n' PRIVATE; printf 'MIIE%06000d\\n-----END %s KEY-----' 7 PRIVATE"
    run = sh(crew, f"{key}; echo after; exec sleep 1000")
    wait_until(lambda: log_of(crew, run).endswith(b"after\n"), "the output to be written")
    assert set(crew.log(run.id, offset=5_000, limit=500).data) == {ord("*")}
    run.cancel(mode="now")


def test_a_callable_that_vanishes_names_what_it_wrote_last(crew: Crew, tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text(
        "import os, sys\ndef f():\n    print('the cause', file=sys.stderr, flush=True)\n    os._exit(3)\n"
    )
    run = crew.call("gone:f", cwd=str(tmp_path))
    run.wait(timeout=120)
    assert "the cause" in attempt_of(run).error


SLOW = """
import os, signal, sys, time
def stop(*_):  # a handler that prints fails if it interrupts the print below
    os.write(1, b"TERM ")
    time.sleep(4.5)
    os.write(1, b"clean ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(1, b"up ")
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize(
    "script", ["exec {} slow.py", "{} slow.py; echo after", "(setsid {} slow.py &); exec sleep 1000"],
    ids=["itself", "below a shell", "in a session of its own"],
)  # fmt: skip
def test_the_grace_is_for_the_whole_tree(crew: Crew, tmp_path: Path, script: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    script = script.format(sys.executable)
    run = crew.exec(["sh", "-c", script], cwd=str(tmp_path))
    wait_until(lambda: b"up" in log_of(crew, run), "the server")
    reply = run.cancel(grace=60)
    assert reply is not None
    assert reply.verified
    assert b"clean" in log_of(crew, run)


COUNTS = """
import os, signal, sys, time
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
signal.signal(signal.SIGTERM, lambda *_: os.write(out, b"TERM "))
os.write(out, b"up ")
while b"TERM" not in open(sys.argv[1], "rb").read():
    time.sleep(0.01)
time.sleep(1.5)
os.write(out, b"done ")
"""


@pytest.mark.parametrize(
    "script",
    ["exec {}", "{}; echo after", "(setsid {} &); exec sleep 1000", "(setsid {} > /dev/null 2>&1 &); exec sleep 1000"],
    ids=["itself", "below a shell", "in a session of its own", "with an output of its own"],
)
def test_each_process_gets_one_term_and_its_grace(crew: Crew, tmp_path: Path, script: str) -> None:
    """Many programs take a second TERM as "at once"."""
    (tmp_path / "counts.py").write_text(COUNTS)
    said = tmp_path / "said"
    run = crew.exec(["sh", "-c", script.format(f"{sys.executable} counts.py {said}")], cwd=str(tmp_path))
    wait_until(lambda: said.exists() and b"up" in said.read_bytes(), "the server")
    reply = run.cancel(grace=60, timeout=120)
    assert reply is not None and reply.verified
    assert said.read_bytes() == b"up TERM done "


def test_a_command_that_leaves_many_processes_is_cancelled(crew: Crew) -> None:
    """More than are waited for one by one."""
    run = sh(crew, "i=0; while [ $i -lt 300 ]; do setsid sleep 1000 > /dev/null 2>&1 & i=$((i+1)); done; echo up; wait")
    until_up(crew, run)
    reply = run.cancel(grace=60, timeout=120)
    assert reply is not None and reply.verified
    assert attempt_of(run).status == "cancelled"


def test_a_worker_starts_with_the_dispositions_of_the_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever crewd was started with: nohup ignores HUP, a pipeline may ignore PIPE, a shell may block signals."""
    monkeypatch.setenv("CREWD_KEYS", str(home / "keys"))
    start = (
        "import os, signal, sys\n"
        "for number in (1, 2, 3, 10, 13, 15, 20): signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGHUP})\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'crewd', '--home', sys.argv[1]])\n"
    )
    running = subprocess.Popen([sys.executable, "-c", start, str(home / "h")], start_new_session=True)
    try:
        wait_until((home / "h" / "run" / "clients.sock").exists, "crewd")
        import crewd

        with crewd.connect(str(home / "h"), start=False) as crew:
            found = crew.exec(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], cwd="/").result(timeout=120)
            crew.stop_daemon(mode="end")
        ignored = int(str(found).rpartition("\t")[2], 16) & ~(
            0b11 << 31
        )  # 32 and 33 are the C library's own: it may ignore them
        assert (str(found).partition("\n")[0], ignored) == ("SigBlk:\t0000000000000000", 0)
    finally:
        running.wait(30)


# -- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "goal", "says"),
    [
        (WorkerSpec(argv=("echo", "a\0b")), "", "NUL"),
        (WorkerSpec(argv=("echo", "x" * 200_000)), "", "131071 bytes"),
        (WorkerSpec(shell="echo a\0"), "", "NUL"),
        (WorkerSpec(argv=("true",)), "g" * 200_000, "the goal"),
        (WorkerSpec(argv=("true",)), "a\0b", "NUL"),
        (WorkerSpec(argv=("true",), env={"A": "x" * 200_000}), "", "131071 bytes"),
        (WorkerSpec(argv=("true", "caf\udce9")), "", "not UTF-8"),
        (WorkerSpec(call="m:f", stdin="lines"), "", "no command"),
        (WorkerSpec(argv=("true",), stdin="file"), "", "contradict"),
        (WorkerSpec(argv=("true",), stdin="input", input=b"x" * 300_000), "", "262144"),
    ],
    ids=str,
)
def test_what_no_program_can_be_given_is_refused_at_the_door(crew: Crew, spec: WorkerSpec, goal: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        crew.run(Workflow("w", (Step("w", worker=spec),)), goal, cwd="/")


def test_a_text_that_no_variable_can_hold_is_left_out_and_the_step_runs(crew: Crew) -> None:
    step = Step("w", worker=WorkerSpec(shell='echo "<${CREWD_TEXT-unset}>"'))
    texts = {"a": "plain", "b": "a\0b", "c": "x" * 200_000}
    steps = tuple(replace(step, id=key, text=text) for key, text in texts.items())
    assert crew.run(Workflow("w", steps), cwd="/").result(timeout=120) == {"a": "<plain>", "b": "<unset>", "c": "<unset>"}


def test_large_arguments_and_a_large_environment_arrive(crew: Crew) -> None:
    big = {f"BIG_{number}": "v" * 30_000 for number in range(8)}
    run = crew.exec(["sh", "-c", 'echo ${#BIG_7} ${#1} "$2"', "_", "a" * 100_000, "{goal} {x}"], env=big, cwd="/")
    assert run.result(timeout=120) == "30000 100000 {goal} {x}", "and braces in arguments are left alone"


# -- environment ----------------------------------------------------------------------------------------------------


def test_the_path_of_the_caller_is_searched_and_named(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "mytool"
    tool.write_text("#!/bin/sh\necho from-here\n")
    tool.chmod(0o755)
    missing = crew.exec(["mytool"], cwd="/")
    missing.wait(timeout=120)
    assert "PATH=" in attempt_of(missing).error
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run = crew.exec(["mytool"], cwd="/")
    assert run.result(timeout=120) == "from-here"
    assert run.show().run.env["PATH"].startswith(str(tmp_path))


def test_a_secret_reaches_the_worker_and_nothing_else(daemon: Daemon, crew: Crew) -> None:
    value = "plain-words-that-no-pattern-knows"
    run = crew.run(
        one_step("s", WorkerSpec(shell='test "$HUSH" = plain-words-that-no-pattern-""knows && echo got it; exit 1')),
        cwd="/", brought=Brought({}, {"HUSH": value}, {}),
    )  # fmt: skip
    run.wait(timeout=120)
    assert log_of(crew, run) == b"got it\n"
    assert run.show().run.secrets == ("HUSH",)
    with pytest.raises(Refused, match="HUSH"):
        crew.retry(run.id)
    crew.retry(run.id, secrets={"HUSH": value})
    run.wait(timeout=120)
    assert len(run.show().attempts) == 2
    crew.doctor(rebuild=True)
    for path in daemon.home.root.rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes(), path


SAYS_IT = "echo it is $HUSH; echo it is $HUSH >&2; test -e $CREWD_OUTPUTS/../none || exit 3"
SPELLS_IT = "for c in $(echo $HUSH | sed 's/./& /g'); do printf %s $c; sleep 0.01; done; echo; echo $HUSH"


@pytest.mark.parametrize(
    "spec", [
        WorkerSpec(shell=SAYS_IT), WorkerSpec(shell=SPELLS_IT), WorkerSpec(shell=SPELLS_IT, pty=(24, 80)),
        WorkerSpec(call="jobs:tell_secret"), WorkerSpec(shell="echo $HUSH", protocol="crewd-stdio"),
    ], ids=["a failure", "letter by letter", "a terminal", "a callable", "crewd-stdio"],
)  # fmt: skip
def test_a_secret_that_its_worker_says_is_masked_wherever_it_comes(daemon: Daemon, spec: WorkerSpec) -> None:
    value = "horse battery staple"
    with daemon.connect() as crew:
        run = crew.run(one_step("s", spec), cwd=str(Path(__file__).parents[1]), brought=Brought({}, {"HUSH": value}, {}))
        run.wait(timeout=120)
        assert value not in repr(run.show())
        wait_until(lambda: list(daemon.home.runs.glob("*/*/*/scrubbed")), "the output to be scrubbed")
        assert log_of(crew, run).count(b"*" * len(value)) >= 1
        crew.doctor(rebuild=True)
    daemon.stop()
    for path in daemon.home.root.rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes(), path
            assert b"nhorse" not in path.read_bytes(), path


def test_a_run_whose_secrets_are_gone_says_so_and_starts_nothing(daemon: Daemon) -> None:
    spec = WorkerSpec(shell="echo $HUSH; exit 1")
    with daemon.connect() as crew:
        from msgspec.structs import replace

        from crewd.model.policy import Retry

        again = replace(spec, retry=Retry(attempts=3, backoff_seconds=6.0, jitter=0.0))
        run = crew.run(one_step("s", again), cwd="/", brought=Brought({}, {"HUSH": "v"}, {}))
        wait_until(lambda: run.show().tasks[0].status == "backoff", "the first try to fail")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        ended = crew.wait(run.id, timeout=120)
        assert ended.run.status == "failed"
        assert "--secret HUSH" in crew.show(run.id).tasks[0].error


def test_what_the_configuration_passes_on_is_brought_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "h").mkdir(mode=0o700)
    (home / "h" / "crewd.toml").write_text('env_pass = ["SITE_KEY"]\n')
    with Daemon(home / "h") as daemon:
        with daemon.connect() as crew:
            monkeypatch.setenv("SITE_KEY", "mine")
            run = crew.exec(["sh", "-c", "echo $SITE_KEY; exit 1"], cwd="/")
            run.wait(timeout=120)
            assert run.show().run.passed == ("SITE_KEY",)
            run_id = run.id
        daemon.kill()
        daemon.start()
        with daemon.connect() as crew:
            monkeypatch.setenv("SITE_KEY", "mine again")
            crew.retry(run_id)
            crew.wait(run_id, timeout=120)
            assert [crew.log(each.task, epoch=each.epoch).data for each in crew.show(run_id).attempts] == [
                b"mine\n",
                b"mine again\n",
            ]


def test_a_clean_environment_has_the_least(crew: Crew) -> None:
    run = crew.run(
        one_step("e", WorkerSpec(shell="env | cut -d= -f1 | sort", clean_env=True, env={"MINE": "1"})), cwd="/",
        brought=Brought({}, {}, {}),
    )  # fmt: skip
    names = set(str(run.result(timeout=120)).split())
    assert "MINE" in names
    assert names <= {"MINE", "PATH", "HOME", "PWD", "OLDPWD", "_", "SHLVL"} | {n for n in names if n.startswith("CREWD_")}


# -- names ----------------------------------------------------------------------------------------------------------


def test_a_name_means_the_newest_run_and_older_ones_are_reached(crew: Crew) -> None:
    runs = []
    for number in range(3):
        run = crew.exec(["echo", str(number)], name="nightly", cwd="/")
        run.wait(timeout=120)
        runs.append(run.id)
    assert [crew.get(name).id for name in ("nightly", "nightly~1", "nightly~2")] == runs[::-1]
    with pytest.raises(UsageError, match="3 runs"):
        crew.get("nightly~3")
    live = crew.exec(["sleep", "1000"], name="nightly", cwd="/")
    with pytest.raises(UsageError, match="is live"):
        crew.exec(["true"], name="nightly", cwd="/")
    live.cancel(mode="now")
    with pytest.raises(RunCancelled):
        live.result(timeout=120)


def test_a_signal_that_comes_while_a_command_is_reaped_holds_up_nothing() -> None:
    """The handler runs on the thread that reaps, and what sends a signal waits until it was reaped."""
    child = ChildProcess(subprocess.Popen(["true"]))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    before = signal.getsignal(signal.SIGUSR2)
    try:
        child.forward([signal.SIGUSR2])
        with child._reaping:
            os.kill(os.getpid(), signal.SIGUSR2)
        assert child.wait() == 0
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_command_that_was_not_started_has_no_exit_code_and_says_what_was_missing(crew: Crew, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/sh\necho never\n")
    script.chmod(0o755)
    run = crew.exec(["./script"], cwd=str(tmp_path))
    run.wait(timeout=120)
    attempt = attempt_of(run)
    assert (attempt.reason, attempt.exit.code) == ("spawn_failed", None)
    assert "./script names the interpreter /nowhere/sh in its first line" in attempt.error
