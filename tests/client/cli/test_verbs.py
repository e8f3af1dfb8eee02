"""Verbs as people type them: words that they try, options on both sides, what is refused, and never a traceback."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from crewd.client.blocking import Crew
from crewd.client.cli.common import PIPE_CLOSED
from crewd.client.cli.main import ALIASES, MEANT, VERBS, main
from crewd.client.shapes import one_step
from crewd.model.errors import DeadlineExceeded
from crewd.model.workflow import WorkerSpec
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import MAIN, Shell

pytestmark = pytest.mark.process
FORGED = "x\r\nrun forger completed\n\ty"


@pytest.fixture
def shell(crew: Crew, tmp_path: Path) -> Shell:
    return Shell(str(crew.home.root), tmp_path)


def test_help_is_quick_lists_what_each_verb_says_of_itself_and_loads_none() -> None:
    code = (
        "import sys\nfrom crewd.client.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "slow = {'zmq', 'rich', 'yaml', 'psutil'}\n"
        "loaded = [m for m in sys.modules if m in slow or m.startswith('crewd.client.cli.')]\n"
        "print(sorted(loaded), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(shown.stderr) == ["crewd.client.cli.common", "crewd.client.cli.main", "crewd.client.cli.screen"]
    for verbs in VERBS.values():
        for name in verbs:
            assert f"  {name} " in shown.stdout


def test_every_verb_has_a_help_of_its_own_that_fits_a_narrow_terminal() -> None:
    verbs = [[name, "--help"] for verbs in VERBS.values() for name in verbs]
    for words in (*verbs, ["--help"], ["help"], ["help", "exit-codes"]):
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, words)
        assert shown.exit_code == 0, shown.output
        assert [line for line in shown.output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("word", sorted(ALIASES))
def test_words_that_people_try_are_verbs(word: str) -> None:
    shown = CliRunner().invoke(main, [word, "--help"], prog_name="crew").output
    assert f"Usage: crew {ALIASES[word]}" in shown or f"Usage: crew {word}" in shown


@pytest.mark.parametrize("word", [*MEANT, "pss", "cancle", "xyzzy"])
def test_other_words_name_the_right_verb(shell: Shell, word: str) -> None:
    said = shell.fails(2, word)
    assert "crew" in said or "Did you mean" in said
    assert json.loads(shell.fails(2, "--json", word))["error"]["code"] == "usage"


def test_a_word_that_is_nearly_another_name_of_a_verb_is_named_with_the_verb(shell: Shell) -> None:
    assert "Did you mean status, which is ps?" in shell.fails(2, "statu")
    assert "Did you mean cancel?" in shell.fails(2, "cancle")


def test_options_stand_before_and_after_the_verb(shell: Shell) -> None:
    assert json.loads(shell.ok("--json", "ps")).keys() == json.loads(shell.ok("ps", "--json")).keys()
    assert json.loads(shell.ok("daemon", "status", "--json"))["running"] is True
    assert json.loads(shell.fails(4, "show", "nobody", "--json"))["error"]["code"] == "not_found"
    assert json.loads(shell.fails(2, "wait", "--json"))["error"]["code"] == "usage"


def test_an_input_that_is_no_plain_file_is_refused_with_a_way_out(shell: Shell) -> None:
    os.mkfifo(shell.cwd / "pipe")
    assert "pipe it in: crew exec --stdin - ... < pipe" in shell.fails(2, "exec", "--stdin", "pipe", "cat")
    assert ". is a directory" in shell.fails(2, "exec", "--stdin", ".", "cat")


def test_what_follows_the_command_is_the_command_s(shell: Shell) -> None:
    (shell.cwd / "f").write_text("foo\n")
    shell.ok("exec", "--name", "opts", "grep", "-e", "foo", "--name", "x", "f")
    shell.run("wait", "opts")
    assert json.loads(shell.ok("show", "opts", "--json"))["run"]["workflow"]["steps"][0]["worker"]["argv"][1:3] == ["-e", "foo"]
    shell.ok("exec", "--name", "opts2", "--", "grep", "-c", "foo", "f")
    shell.run("wait", "opts2")
    assert shell.ok("logs", "opts2") == "1\n"


def test_what_is_piped_in_is_the_command_s_input_and_is_said(shell: Shell) -> None:
    done = shell.run("exec", "--name", "piped", "wc", "-c", stdin=None, input="data\n")
    assert "5 bytes" in done.stderr
    shell.run("wait", "piped")
    assert shell.ok("logs", "piped").strip() == "5"
    shell.ok("exec", "--name", "unpiped", "--stdin", "none", "wc", "-c", stdin=None, input="data\n")
    shell.run("wait", "unpiped")
    assert shell.ok("logs", "unpiped").strip() == "0"
    reading, writing = os.pipe()
    try:
        done = shell.run("exec", "true", stdin=reading)
        assert "nothing comes" in done.stderr, "a pipe that stays silent holds up nobody"
    finally:
        os.close(reading)
        os.close(writing)


def test_what_changes_nothing_says_so(shell: Shell) -> None:
    shell.ok("exec", "--name", "done", "true")
    shell.ok("wait", "done")
    for words in (("retry", "done"), ("resume", "done"), ("dismiss", "done"), ("signal", "done", "HUP")):
        assert "crew:" in shell.fails(5, *words)
    assert "worker_ended" in shell.run("steer", "done", "late").stdout
    assert shell.run("steer", "done", "late").returncode == 5
    sent = json.loads(shell.run("--json", "steer", "done", "late").stdout)
    shell.fails(5, "unsend", sent["id"])
    shell.fails(5, "daemon", "resume")


def test_a_failure_is_told_once_and_shown_first(shell: Shell, crew: Crew) -> None:
    shell.run("news")
    shell.ok("exec", "--name", "broken", "sh", "-c", "echo the cause >&2; exit 3")
    shell.fails(1, "wait", "broken")
    told = [line for line in shell.ok("news").splitlines() if "broken" in line]
    assert len(told) == 1
    assert "the cause" in told[0]
    assert not shell.ok("news")
    shown = shell.ok("show", "broken").splitlines()
    assert shown[0].startswith("broken  failed")
    assert "the cause" in shown[2]
    assert "0/1" in next(line for line in shell.ok("ps", "-a").splitlines() if line.startswith("broken"))
    shell.ok("dismiss", "broken")


def test_waiting_for_what_is_parked_ends_and_for_a_question_says_so(shell: Shell, jobs_dir: str) -> None:
    shell.ok("exec", "--name", "parks", "--restart", "permanent", "false")
    done = shell.run("wait", "parks")
    assert (done.returncode, "is parked" in done.stderr) == (1, True)
    shell.run("cancel", "parks")
    asks = Shell(shell.home, Path(jobs_dir))
    asks.ok("call", "jobs:ask", "--name", "asks")
    command = [sys.executable, "-c", MAIN, "--home", shell.home, "wait", "asks"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as waiting:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert "crew respond q_" in said
        shell.ok("respond", "asks", "yes")
        assert waiting.wait(60) == 0
    assert "no question is open" in shell.fails(4, "respond", "asks", "yes")


def test_following_shows_what_workers_write(shell: Shell) -> None:
    done = shell.run("exec", "-f", "--name", "shown", "sh", "-c", "echo out; echo err >&2; sleep 0.5; printf end")
    assert done.returncode == 0
    assert done.stdout == "out\nend"
    assert "err\n" in done.stderr
    assert "run completed\n" in done.stderr
    assert "run failed: false\n" in shell.run("exec", "-f", "false").stderr
    lines = [json.loads(line) for line in shell.ok("exec", "-f", "--json", "sh", "-c", "echo out").splitlines()]
    assert {"run.created", "run.ended"} <= {line.get("type") for line in lines}
    assert "out" in {line.get("line") for line in lines}


def test_a_draining_daemon_says_so_everywhere_and_goes_on_when_asked(daemon: Daemon, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    shell.ok("exec", "--name", "live", "sleep", "1000")
    assert shell.run("daemon", "stop", "--timeout", "0.1").returncode == 124
    for words in (("ps",), ("show", "live"), ("logs", "live"), ("events", "live")):
        assert "draining" in shell.run(*words).stderr, words
    assert json.loads(shell.ok("daemon", "status", "--json"))["draining"] is True
    shell.fails(69, "exec", "true")
    shell.ok("daemon", "resume")
    assert "draining" not in shell.run("ps").stderr
    shell.ok("exec", "true")
    shell.ok("daemon", "stop", "--end", "--grace", "1s")


@pytest.mark.parametrize("words", [("ps",), ("--help",), ("events",), ("ps", "--json"), ("show", "nobody")])
def test_a_full_or_closed_output_is_no_traceback(shell: Shell, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        assert shell.run(*words, stdout=full, stderr=subprocess.PIPE, capture_output=False).returncode in {0, 4, 74}
    closed = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -c '{MAIN}' --home {shell.home} {' '.join(words)} >&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in closed.stderr


@pytest.mark.parametrize("words", [("help", "exit-codes"), ("ps", "-a"), ("--json", "ps", "-a"), ("ps", "--help")])
def test_a_pipe_that_nobody_reads_is_no_failure_of_a_run(crew: Crew, shell: Shell, words: tuple[str, ...]) -> None:
    crew.run(one_step("a", WorkerSpec(argv=("true",))), cwd="/").wait(timeout=120)
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as closed:
        done = shell.run(*words, stdout=closed, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


@pytest.mark.parametrize("home", ["/dev/null", "{file}", "/proc/none/x"])
def test_a_home_that_can_be_none_is_said(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").write_text("")
    shell = Shell(home.format(file=tmp_path / "file"), tmp_path)
    for words in (("ps",), ("exec", "true")):
        assert shell.run(*words, env={**os.environ, "CREWD_AUTOSTART": "1"}).returncode in {2, 69, 74}


def test_a_directory_that_is_gone_is_said(shell: Shell, tmp_path: Path) -> None:
    script = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -c '{MAIN}' --home {shell.home} exec true"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode, "gone" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_workflow_is_shown_as_it_is_understood(shell: Shell) -> None:
    (shell.cwd / "w.md").write_text(
        "---\nname: nightly\ninputs:\n  depth: {type: integer, default: 2}\n---\n"
        "## a\nrun: python3 go.py {depth}\nlimits: {memory_bytes: 2k}\n\n## b\nrun: x {dpeth}\nverify: look {depth}\n"
        "dependsOn: a\nmodel: big\n\n## c\nrun: |\n  if true; then\n    echo 1\n  fi\n"
    )
    (shell.cwd / "d.md").write_text("## d\nagent: pi\n\nFix {gaol} now.\n")
    said = "d.md: line 4: step d: '{gaol}' is no input, and stays in its text as it is (did you mean {goal}?)"
    assert said in shell.run("check", "d.md").stderr
    (shell.cwd / "v.md").write_text("## b\nrun: true\n\n## a.verify\nrun: true\n\n## a\nrun: true\nverify: make\n")
    assert "v.md: line 4: step a.verify has the name of a verification" in shell.fails(2, "check", "v.md")
    (shell.cwd / "s.md").write_text("## s\nrun: echo ${goal} $goal\n\n## t\nrun: goal=1; echo $goal $HOME\n")
    said = "s.md: line 2: step s: '${goal}' is a variable of the shell, and nothing sets it (did you mean {goal}?)"
    assert [said, said.replace("${goal}", "$goal")] == shell.run("check", "s.md", "--json").stderr.splitlines()
    checked = shell.run("check", "w.md")
    shown = checked.stdout
    assert checked.returncode == 0
    said = "w.md: line 11: step b: '{dpeth}' is no input, and is left to the shell as it is (did you mean {depth}?)"
    assert said in checked.stderr
    assert 'verify: look "${CREWD_INPUT_DEPTH}"' in shown
    assert "    run:    if true; then\n              echo 1\n            fi\n" in shown
    assert 'exec python3 go.py "${CREWD_INPUT_DEPTH}"' in shown
    assert "b after a" in shown
    assert "memory_bytes=2048" in shown
    assert "not used: line 14: model of step b" in shown
    assert json.loads(shell.ok("check", "w.md", "--json"))["name"] == "nightly"
    (shell.cwd / "bad.md").write_text("## a\nrum: x\n")
    assert "bad.md: line 2" in shell.fails(2, "check", "bad.md")
    assert "no integer" in shell.fails(2, "run", "-w", "w.md", "-i", "depth=deep")
    shell.ok("run", "-w", "w.md", "-i", "depth=3", "--name", "given")
    shell.run("wait", "given")


def test_tables_fit_a_narrow_terminal(shell: Shell) -> None:
    shell.ok("exec", "--name", "a-rather-long-name-for-a-run-that-says-little", "true")
    for columns in (20, 40, 80, 300):
        shown = shell.ok("ps", "-a", env={**os.environ, "COLUMNS": str(columns)})
        assert max(map(len, shown.splitlines())) <= columns


def test_what_a_run_does_stands_whole_beside_an_id_that_can_be_typed(shell: Shell) -> None:
    run = json.loads(shell.ok("exec", "--name", "long-gone", "--label", "for=ps", "--json", "false"))["id"]
    shell.run("wait", "long-gone")
    for columns, shown in ((80, run[-6:]), (120, run)):
        _, line = shell.ok("ps", "-a", "--label", "for=ps", env={**os.environ, "COLUMNS": str(columns)}).splitlines()
        assert line.endswith(f" {shown}")
        assert "[dead_letter]" in line
        assert "long-gone" in shell.ok("show", shown)


def attached(shell: Shell, run: str, environment: dict[str, str] | None = None) -> tuple[int, int, Callable[[], bytes]]:
    """`crew attach` on a terminal of its own: its pid, the other side of the terminal, and what that has shown until now."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-c", MAIN, "--home", shell.home, "attach", run]
        os.execve(sys.executable, command, dict(os.environ) if environment is None else environment)
    seen = bytearray()

    def read() -> bytes:
        with contextlib.suppress(OSError):  # the other side has ended
            while select.select([terminal], [], [], 0.05)[0]:
                seen.extend(os.read(terminal, 4096))
        return bytes(seen)

    return pid, terminal, read


def test_a_terminal_is_attached_and_left_again(shell: Shell, crew: Crew) -> None:
    run = crew.exec(["sh", "-c", 'echo up; read x; echo "got $x"; stty size; sleep 1000'], pty=(24, 80), cwd="/")
    wait_until(lambda: b"up" in crew.log(run.id).data, "the command")
    pid, terminal, read = attached(shell, run.id)
    wait_until(lambda: b"up" in read(), "what it showed before")
    os.write(terminal, b"typed\r")
    wait_until(lambda: b"got typed" in read(), "what it says")
    os.write(terminal, b"\x1d")
    wait_until(lambda: b"detached" in read(), "the end")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run.show().run.status == "running"
    run.cancel(mode="now")


def test_a_terminal_is_left_as_it_was_found_and_no_answer_is_typed_twice(shell: Shell, crew: Crew) -> None:
    script = r"printf '\033[?1049h\033[6n\033[?25lup'; while read -r line; do echo \"read $line\"; stty size; done"
    run = crew.exec(["sh", "-c", script], pty=(24, 80), cwd="/")
    wait_until(lambda: b"up" in crew.log(run.id).data, "the command")
    environment = {**os.environ, "COLUMNS": "17", "LINES": "5"}
    pid, terminal, read = attached(shell, run.id, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    wait_until(lambda: b"\x1b[?1049h\x1b[?25lup" in read(), "what it showed before, without its question")
    os.write(terminal, b"last\r\x1dnever typed")
    wait_until(lambda: b"detached" in read(), "the end")
    assert b"\x1b[?1049l" in read() and b"\x1b[?25h" in read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    wait_until(lambda: b"33 99" in crew.log(run.id).data, "the size of the terminal, and not of the variables")
    assert b"read last" in crew.log(run.id).data
    assert b"never" not in crew.log(run.id).data
    run.cancel(mode="now")


def test_a_terminal_is_put_back_when_who_is_attached_is_ended(shell: Shell, crew: Crew) -> None:
    run = crew.exec(["sh", "-c", "echo up; sleep 1000"], pty=(24, 80), cwd="/")
    wait_until(lambda: b"up" in crew.log(run.id).data, "the command")
    pid, terminal, _ = attached(shell, run.id)
    before = termios.tcgetattr(terminal)
    wait_until(lambda: termios.tcgetattr(terminal) != before, "raw keys")
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal) == before
    run.cancel(mode="now")


def test_a_live_run_is_neither_retried_nor_resumed_and_that_is_said(shell: Shell, crew: Crew) -> None:
    crew.exec(["sleep", "1000"], cwd="/", name="live")
    for verb in ("retry", "resume"):
        assert "nothing changed" in shell.fails(5, verb, "live")
    crew.get("live").cancel(mode="now")
    shell.ok("resume", "live")
    for verb in ("retry", "resume"):
        assert "nothing changed" in shell.fails(5, verb, "live"), "it has been resumed already"
    message = crew.get("live").message("hello").id
    assert "nothing was taken back" in shell.fails(5, "unsend", message)


def test_a_stop_that_was_taken_back_ends(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    run = crew.exec(["sleep", "1000"], cwd="/", name="live")
    with ThreadPoolExecutor() as pool:
        stop = pool.submit(shell.fails, 5, "daemon", "stop")
        wait_until(lambda: "draining" in shell.ok("daemon", "status"), "the stop to begin")
        assert "crew daemon resume takes that back" in shell.fails(69, "exec", "true")
        shell.ok("daemon", "resume")
        assert "was taken back" in stop.result(timeout=120)
    run.cancel(mode="now")


def test_a_message_says_something(shell: Shell, crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    for verb in ("message", "follow-up"):
        for text in ("", " "):
            assert "has no text" in shell.fails(2, verb, run.id, text)
    assert not crew.messages(run.id)
    run.cancel(mode="now")


def test_each_of_several_faults_is_told_in_the_form_that_was_asked_for(shell: Shell) -> None:
    said = [json.loads(line) for line in shell.fails(4, "cancel", "nosuch", "neither", "--json").splitlines()]
    assert [each["error"]["code"] for each in said] == ["not_found", "not_found"]
    assert shell.fails(4, "cancel", "nosuch", "neither").count("crew: ") == 2


def test_what_is_no_text_is_printed_by_no_verb(shell: Shell, crew: Crew) -> None:
    run = crew.exec(["printf", r"\377\033[31mX"], cwd="/", name="bytes")
    run.wait(timeout=120)
    assert "is no text" in shell.fails(2, "result", "bytes")
    assert json.loads(shell.ok("result", "bytes", "--json"))["encoding"] == "base64"


def test_a_result_is_printed_as_it_is_or_what_was_left_out_is_said(shell: Shell, crew: Crew) -> None:
    text = "one\r\n\u200fשלום \x1b[31mred\x1b[0m\r\n"
    run = crew.exec(["printf", "%s", text], cwd="/", name="odd")
    run.wait(timeout=120)
    real = Shell(shell.home, shell.cwd, real=True)
    raw = subprocess.run(real.command("result", "odd", "--raw"), capture_output=True, check=True)
    assert raw.stdout.decode() == text
    shown = shell.run("result", "odd")
    assert (shown.stdout, "crew result odd --raw" in shown.stderr) == ("one\nשלום red\n", True)
    shell.ok("exec", "--name", "even", "printf", "a\tb\n")
    assert shell.prints(0, "result", "even") == "a\tb\n"


def test_who_waits_for_a_claim_says_so(shell: Shell, crew: Crew) -> None:
    crew.run(one_step("by-hand", WorkerSpec(outside=True)), cwd="/", name="out")
    assert "crew claim out/by-hand" in shell.fails(124, "wait", "out", "--timeout", "1")


def test_a_text_of_several_lines_forges_none(shell: Shell, crew: Crew) -> None:
    run = crew.run(one_step("a", WorkerSpec(shell="exit 3")), cwd="/", name="forger", goal=FORGED)
    run.wait(timeout=120)
    for words in (("news",), ("show", "forger"), ("history", "forger", "--attempts"), ("events", "forger")):
        assert not [line for line in shell.ok(*words).splitlines() if line.startswith("run forger completed")], words


def trapped(crew: Crew, run: str) -> bool:
    return b"up" in crew.log(f"{run}/s").data


def test_a_variable_is_a_secret_or_none(shell: Shell) -> None:
    env = {**os.environ, "KEY": "of the caller"}
    assert "KEY is given with --secret and with --env" in shell.fails(
        2, "exec", "--secret", "KEY", "-e", "KEY=x", "true", env=env
    )


@pytest.mark.parametrize(
    "words",
    [
        ("exec", "--label", "a=1", "--label", "a=2", "--", "true"),
        ("exec", "--limit", "turns=1", "--limit", "turns=2", "--", "true"),
        ("exec", "--budget", "cost=1", "--budget", "cost=2", "--", "true"),
        ("exec", "--env", "A=1", "--env", "A=2", "--", "true"),
        ("exec", "--secret", "PATH", "--secret", "PATH=@/dev/null", "--", "true"),
        ("call", "m:f", "--arg", "a=1", "--arg", "a=2"),
        ("run", "nothing", "--input", "a=1", "--input", "a=2"),
        ("ps", "--label", "a=1", "--label", "a=2"),
    ],
)
def test_two_values_of_one_name_are_refused(shell: Shell, words: tuple[str, ...]) -> None:
    said = shell.fails(2, *words)
    assert "two values" in said and "leave one of them out" in said
    assert ("/bin" in said) is False, "no secret is shown"


@pytest.mark.parametrize(
    "words",
    [
        ("respond", "q", "--allow", "--deny"),
        ("daemon", "stop", "--end", "--keep"),
        ("logs", "x", "--stderr", "--acts"),
    ],
)
def test_flags_that_exclude_each_other_are_refused(shell: Shell, words: tuple[str, ...]) -> None:
    assert f"{words[2]} and {words[3]} exclude each other" in shell.fails(2, *words)
    assert shell.json("daemon", "status")["running"] is True


def test_the_name_of_a_run_is_no_answer(crew: Crew, shell: Shell, jobs_dir: str) -> None:
    run = crew.call("jobs:question", {"kind": "text"}, cwd=jobs_dir, name="asker")
    wait_until(lambda: run.show().asks, "the question")
    for target in ("asker", run.id, f"asker/{run.show().tasks[0].step}"):
        assert "no answer was given to the question of" in shell.fails(2, "respond", target)
    shell.ok("respond", "asker", "here it is")
    assert run.result(timeout=120) == "here it is"


def test_to_cancel_all_of_nothing_is_no_error(daemon: Daemon, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    done = shell.run("cancel", "--all")
    assert (done.returncode, done.stderr.strip()) == (0, "nothing is live")
    assert "name a run" in shell.fails(2, "cancel")


@pytest.mark.parametrize("words", [("mcp",), ("acp",), ("attach", "x")])
def test_a_standard_input_that_is_closed_is_said(shell: Shell, words: tuple[str, ...]) -> None:
    line = shlex.join(shell.command(*words))
    done = subprocess.run(["sh", "-c", f"{line} <&-"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "closed" in done.stderr or "no terminal" in done.stderr


def test_an_interrupt_at_the_very_beginning_is_no_traceback() -> None:
    code = (
        "import sys\nfrom crewd.client.cli import entry\n"
        "class Interrupts:\n    def find_spec(self, name, *rest):\n        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\nentry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_was_done_is_said_as_json(crew: Crew, shell: Shell) -> None:
    run = crew.run(one_step("s", WorkerSpec(argv=("false",))), cwd="/")
    run.wait(timeout=120)
    assert json.loads(shell.ok("--json", "dismiss", run.id)) == {"target": run.id, "done": "dismissed"}
    assert "failed, not cancelled  verified" in shell.ok("cancel", run.id)


def test_several_runs_are_cancelled_at_once_and_what_is_no_run_is_said(crew: Crew, shell: Shell) -> None:
    slow = "trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    runs = [crew.run(one_step("s", WorkerSpec(shell=slow)), name=f"many-{number}") for number in range(4)]
    for run in runs:
        wait_until(partial(trapped, crew, run.id), "its trap to stand")
    done = shell.run("cancel", runs[0].id, "no-such-run", *(run.id for run in runs[1:]), "--grace", "30s")
    assert done.returncode == 4
    assert done.stdout.count("verified: no process is left") == 4
    assert "no-such-run" in done.stderr
    rows = [run.show().run for run in runs]
    asked = [row.cancel.requested_at for row in rows if row.cancel is not None]
    assert max(asked) < min(row.ended_at or 0.0 for row in rows), "all were asked before the first of them had ended"
    recorded = [[each.type for each in crew.events(run.id)].count("run.cancel_requested") for run in runs]
    assert recorded == [1] * 4


def test_a_cancel_that_takes_longer_than_one_waits_hides_none_of_the_others(crew: Crew, shell: Shell) -> None:
    deaf = crew.run(one_step("s", WorkerSpec(shell="trap '' TERM; echo up; while :; do sleep 0.05; done")), name="deaf")
    quick = crew.run(one_step("s", WorkerSpec(argv=("sleep", "600"))), name="quick")
    wait_until(partial(trapped, crew, deaf.id), "its trap to stand")
    done = shell.run("cancel", "deaf", "no-such-run", "quick", "--grace", "50s", "--timeout", "1s")
    assert done.returncode == DeadlineExceeded.exit_code
    said = " ".join(done.stderr.split())
    assert "quick  cancelled  verified" in done.stdout or "quick: the time to wait has passed" in said, "a machine may be slow"
    assert "no-such-run" in said
    assert "deaf: the time to wait has passed" in said
    wait_until(lambda: quick.show().run.status == "cancelled", "the other one to be cancelled")
    shell.ok("cancel", "deaf", "--now")


def test_what_waits_for_a_claim_is_seen_wherever_one_looks(shell: Shell, crew: Crew) -> None:
    crew.run(one_step("four", WorkerSpec(outside=True)), cwd="/", name="manual")
    for words in (("ps",), ("show", "manual"), ("wait", "manual", "--for", "waiting"), ("summary", "manual")):
        assert re.search(r"four: unclaimed|waits for (a claim|somebody to claim it)", " ".join(shell.ok(*words).split())), words
    assert "crew claim manual/four" in shell.ok("summary", "manual")
    crew.cancel("manual")
    assert "crew show manual" in shell.ok("summary", "manual"), "there is no result"


def test_a_list_without_rows_says_so_and_has_no_headers(shell: Shell, crew: Crew) -> None:
    run = crew.exec(["true"], cwd="/")
    run.wait()
    for words in (("messages", run.id), ("artifacts", run.id), ("outbox",), ("ps", "--label", "no=run"), ("dead",)):
        done = shell.run(*words)
        if done.stdout and words == ("dead",):
            continue  # of another test
        assert done.stdout == "", words
        assert re.match(r"(there are no|its workers have left no|nothing waits)", done.stderr), words


def test_a_cancel_of_named_runs_does_not_wait_for_the_list_of_runs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    run = json.loads(shell.ok("exec", "--json", "sleep", "60"))["id"]

    def hangs(*_: object, **__: object) -> None:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(Crew, "runs", hangs)
    assert "cancelled" in shell.ok("cancel", run, "--now")


def test_a_cancel_of_all_names_no_run(shell: Shell) -> None:
    run = json.loads(shell.ok("exec", "--json", "sleep", "60"))["id"]
    assert "--all is given, and runs are named" in shell.fails(2, "cancel", run, "--all", "--now")
    assert "--all is given, and runs are named" in shell.fails(2, "cancel", "nosuch", "--all", "--now")
    assert json.loads(shell.ok("show", run, "--json"))["run"]["status"] == "running"
    shell.ok("cancel", run, "--now")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4, ("show", "nosuch")), (4, ("show", "nosuch", "--json")), (2, ("ps", "--limit", "x")), (0, ("outbox",)),
        (2, ("cancel",)), (2, ("nosuchverb",)),
    ],
)  # fmt: skip
def test_a_full_standard_error_changes_no_exit_code(shell: Shell, code: int, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        assert shell.run(*words, stderr=full, stdout=subprocess.DEVNULL, capture_output=False).returncode == code


def test_a_remark_that_cannot_be_written_keeps_no_run_from_its_start(shell: Shell) -> None:
    (shell.cwd / ".crew").mkdir()
    (shell.cwd / ".crew" / "hooks.toml").write_text('[[hook]]\nname = "x"\non = "before_run"\ncommand = "true"\n')
    assert "hooks" in shell.run("exec", "--json", "true").stderr
    with Path("/dev/full").open("w") as full:
        done = shell.run("exec", "--json", "true", stderr=full, stdout=subprocess.PIPE, capture_output=False)
    assert done.returncode == 0
    shell.ok("wait", json.loads(done.stdout)["id"])


def test_a_text_that_is_not_utf_8_is_refused_by_each_verb(shell: Shell) -> None:
    odd = os.fsdecode(b"pr\xfcf")
    (shell.cwd / "w.workflow.md").write_text("## a\nrun: echo {goal}\n")
    for words in (
        ("run", odd, "-w", "w.workflow.md", "-n"), ("run", odd, "-w", "w.workflow.md"), ("plan", odd, "-w", "w.workflow.md"),
        ("--json", "plan", odd, "-w", "w.workflow.md"), ("call", "os:getcwd", "--arg", f'x="{odd}"'), ("exec", "echo", odd),
    ):  # fmt: skip
        said = shell.fails(2, *words)
        assert "udcfcf" in said, words
        assert "is not UTF-8" in said, words


def test_options_that_contradict_each_other_are_refused(shell: Shell) -> None:
    assert "--follow and --detach exclude each other" in shell.fails(2, "exec", "--follow", "--detach", "true")
    assert "since is later than until" in shell.fails(2, "events", "--since", "1h", "--until", "2h")
    run = json.loads(shell.ok("exec", "--json", "--stdin", "lines", "cat"))["id"]
    assert "no message has the id nosuch" in shell.fails(4, "message", run, "hi", "--reply-to", "nosuch")
    shell.ok("steer", run, "--eof")
    shell.ok("wait", run)
    refused = shell.run("steer", run, "x")
    assert refused.returncode == 5
    assert "crew steer … --on-idle start" in refused.stdout
