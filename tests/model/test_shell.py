"""A goal is never read as shell: where a placeholder stands decides how it is quoted, or that it is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.model.shell import near_names, place_values, unset_names, with_exec

NASTY = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\nb",
    "  spaced  ",
    "-n",
    "*",
    "$HOME",
    "\\",
    '"',
]
SAFE = [
    "printf %s {goal}",
    'printf %s "{goal}"',
    'printf %s "a{goal}b"',
    "printf %s a{goal}b",
    'X={goal}; printf %s "$X"',
    'printf %s "$(printf %s "{goal}")"',
    "printf %s $(printf %s {goal} | od -An -tx1)",
    'for x in {goal}; do printf %s "$x"; done',
    "case {goal} in a) printf %s {goal};; *) printf %s {goal};; esac",
    "printf %s {goal} 2>&1 >/dev/null | cat; printf %s {goal}",
    'if [ -n "{goal}" ]; then printf %s {goal}; fi',
    "sh -c 'printf %s \"$1\"' _ {goal}",
    "env printf %s {goal}",
    "python3 -c 'import sys; sys.stdout.write(sys.argv[1])' {goal}",
]
REFUSED = [
    "echo '{goal}'",
    'sh -c "echo {goal}"',
    'bash -lc "echo {goal}"',
    'timeout 5 sh -c "{goal}"',
    'eval "echo {goal}"',
    "eval {goal}",
    "x=`echo {goal}`",
    "cat <<E\n{goal}\nE",
    "echo $(( {goal} ))",
    "echo ${x:-{goal}}",
    "{goal}",
    '"{goal}" now',
    "env {goal}",
    "sudo {goal}",
    "if {goal}; then x; fi",
    "ssh host ls {goal}",
    'awk "{goal}" f',
    "sed s/x/{goal}/ f",
    "jq .{goal} f",
    "python3 -c \"print('{goal}')\"",
    "perl -ne {goal} f",
    "bash -c{goal}",
    "x=$(sh -c {goal})",
    "echo {goal} | sh",
    "echo {goal} | sudo bash -s",
    "trap {goal} EXIT",
    ". {goal}",
    'psql -c "select {goal}"',
    "echo $'{goal}'",
]


@pytest.mark.parametrize("line", SAFE)
@pytest.mark.parametrize("goal", NASTY)
def test_what_is_placed_is_what_the_command_gets(line: str, goal: str, tmp_path: Path) -> None:
    placed = place_values(line, ("goal",))
    environment = {**os.environ, "CREWD_GOAL": goal}
    done = subprocess.run(["/bin/sh", "-c", placed], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not (tmp_path / "pwned").exists()
    if "od -An" not in line:
        assert goal.strip("\n") in done.stdout, (placed, done)


@pytest.mark.parametrize("line", REFUSED)
def test_what_would_be_read_as_code_is_refused_with_the_form_that_works(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        place_values(line, ("goal",))
    assert "{goal}" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "line", ["awk '{print $1}'", "echo {a,b}", "echo ${goal}", "echo {Goal} {other}", "# {goal}", "find . -exec ls {} +"]
)
def test_other_braces_are_left_alone(line: str) -> None:
    assert place_values(line, ("goal",)) == line


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("echo {depht} {gaol}", {"depht": "depth", "gaol": "goal"}), ("echo {depth} {goal}", {}), ("awk '{print}'", {}),
        ("echo ${depht}", {}), ("cp a.{jpg,png} .", {}), ("", {}),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_found(line: str, near: dict[str, str]) -> None:
    assert near_names(line, ("goal", "depth")) == near


def test_an_input_has_a_variable_of_its_own() -> None:
    assert place_values("build -j{jobs} {target}", ("goal", "jobs", "target")) == (
        'build -j"${CREWD_INPUT_JOBS}" "${CREWD_INPUT_TARGET}"'
    )


@given(st.text(alphabet="ab {}goal\"'`$()\\;|&<>#\n=-c", max_size=40), st.sampled_from(NASTY))
def test_whatever_the_line_is_the_goal_is_no_part_of_it(line: str, goal: str) -> None:
    try:
        placed = place_values(line, ("goal",))
    except UsageError:
        return
    assert goal not in placed or goal in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python3 server.py", "exec python3 server.py"),
        ("./serve --port 80 > log 2>&1", "exec ./serve --port 80 > log 2>&1"),
        ("cd x && y", "cd x && y"),
        ("A=1 serve", "A=1 serve"),
        ("echo hi", "echo hi"),
        ("a; b", "a; b"),
        ("a | b", "a | b"),
        ("serve &", "serve &"),
        ("x $(y)", "x $(y)"),
        ("if a; then b; fi", "if a; then b; fi"),
        ("exec x", "exec x"),
        ("x\ny", "x\ny"),
        ("(x)", "(x)"),
        ("cat <<E", "cat <<E"),
        ("", ""),
        ("x 'a;b'", "exec x 'a;b'"),
    ],
)
def test_a_simple_command_needs_no_shell_around_it(line: str, expected: str) -> None:
    assert with_exec(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "bash -cl {goal}",
        "sh -cx {goal}",
        "sh -c -- {goal}",
        "sh -c -x {goal}",
        "bash -co pipefail {goal}",
        "python3 -c -- {goal}",
        "docker run i sh -cl {goal}",
        "echo {goal} | sh 2>&1",
        "echo {goal} | bash -e",
        "echo {goal} | /bin/sh -eu",
        "echo {goal} |& sh",
        "echo {goal} | sudo -n sh",
        "echo {goal} | python3",
        "echo {goal} | xargs -I% sh -c %",
        "sh <<< {goal}",
        "awk -F : {goal}",
        "sed -n -e p -e {goal}",
        "sed s/a/b/ -e {goal}",
        "node -p {goal}",
        "sqlite3 a.db {goal}",
        "$SHELL -c {goal}",
        '${SHELL} -c "{goal}"',
        "echo $(( (1+(2)) + {goal} ))",
        'eval "$(echo {goal})"',
        'sh -c "$(echo {goal})"',
        "sh <(echo {goal})",
        ". <(echo {goal})",
        "source <(echo {goal})",
        "(echo {goal}) | sh",
        "{ echo {goal}; } | sh -s",
        "$(echo {goal})",
        "perl -e a -e {goal}",
        "bash -c {goal}",
        "ev\\\nal {goal}",
        "sh \\\n-c {goal}",
        ">/dev/null {goal}",
        "2>&1 {goal}",
        "find . -exec {goal} \\;",
        "git -c alias.x={goal} x",
        "GIT_SSH_COMMAND={goal} git fetch",
        "BASH_ENV={goal} bash -c true",
        "tar cf x y --checkpoint=1 --checkpoint-action={goal}",
        'echo {goal} | while read l; do eval "$l"; done',
        'X={goal}; eval "$X"',
        "ENV={goal} sh -i",
        "git clone --upload-pack={goal} x",
        'sh -c "echo {goal}"',
        "awk {goal}",
        "sed {goal} f",
        "echo `echo {goal}`",
        "echo '{goal}'",
        "eval {goal}",
        "ssh host {goal}",
        "{goal} x",
        "xargs {goal}",
        "env {goal}",
        "trap {goal} EXIT",
        "psql -c {goal}",
        "echo {goal} | psql db",
        "echo {goal} | node -",
        '"$X" -c {goal}',
        'bash -c"{goal}"',
        'python -c"{goal}"',
        "sudo sh -c {goal}",
        "timeout 5 sh -c {goal}",
        "echo {goal} | env sh",
        "echo ${x:-{goal}}",
        "cat {goal} | sqlite3 x",
        "find . -exec sh -c {goal} \\;",
        "[[ -v {goal} ]] ; bash -c {goal}",
        *[
            f"echo {{goal}} | {reader}"
            for reader in (
                "timeout 5 sh",
                "nice -n 5 sh",
                "(sh)",
                "{ sh; }",
                "sh /dev/stdin",
                "sh -",
                "flock x sh",
                "tee >(sh)",
                "if true; then sh; fi",
                "docker run -i x sh",
                "timeout 5 nice python3",
                "sudo -u me bash -s",
            )
        ],
        "seq 3 | split --filter={goal}",
        "split --filter {goal} x",
        "make {goal}",
        "make -- {goal}",
        "sed -e p {goal} in.txt",
        "python3 -m timeit -n1 {goal}",
        "python3 {goal}",
        "bash {goal}",
        "git rebase -x {goal}",
        "git rebase --exec {goal}",
        "git submodule foreach {goal}",
        "git bisect run {goal}",
        "git fetch {goal}",
        "rsync -e {goal} a b",
        "tar -I {goal} -cf x y",
        "tar {goal}",
        "sort --compress-program {goal}",
        "scp -o ProxyCommand={goal} a b",
        "scp -S {goal} a b",
        "man -P {goal} x",
        "socat - EXEC:{goal}",
        "bash --rcfile <(echo {goal}) -i",
        "npx -c {goal}",
        "nodemon --exec {goal}",
        "sg grp -c {goal}",
        "xterm -e {goal}",
        'X={goal}; sh -c "$X"',
        'X={goal}; bash -lc "${X}"',
        'for x in {goal}; do sh -c "$x"; done',
        'set -- {goal}; sh -c "$1"',
        'f() { sh -c "$1"; }; f {goal}',
        "sh -c '$1' x {goal}",
        "sh -c 'eval \"$1\"' x {goal}",
        "export {goal}; ls",
        "declare -x {goal}",
        "find . {goal}",
        "find {goal} -type f",
        "flock lk -c {goal}",
        "su root -c {goal}",
        "script -q x -c {goal}",
        "runuser u -c {goal}",
        "psql -d x -c {goal}",
        "mysql db -e {goal}",
        "vim f -c {goal}",
        "gdb p -ex {goal}",
        "expect x -c {goal}",
        "tmux new {goal}",
    ],
)
def test_no_form_in_which_a_program_reads_it_as_code_is_taken(line: str) -> None:
    with pytest.raises(UsageError, match="goal"):
        place_values(line, ("goal",))


@pytest.mark.parametrize(
    "line",
    [
        "echo {goal}",
        "echo \\\n{goal}",
        "cat < {goal} > out.txt",
        "make 2>&1 >{goal}.log",
        "2>/dev/null echo {goal}",
        "python3 script.py {goal}",
        "python3 -m pytest {goal}",
        "bash -e script.sh {goal}",
        "sh -c 'echo \"$1\"' _ {goal}",
        "bash script.sh {goal}",
        "grep -c node {goal}",
        "ruff check {goal}",
        "awk '{print}' {goal}",
        "sed s/a/b/ -- {goal}",
        "sed -e s/a/b/ -- {goal}",
        "jq . {goal}",
        "jq --arg x {goal} .",
        "echo {goal} | grep x",
        "echo {goal} | python3 script.py",
        'echo "a {goal} b"',
        "python3 eval.py {goal}",
        "npm run eval -- {goal}",
        "python3 script.py -c {goal}",
        "node app.js -e {goal}",
        "python3 -m pytest -p {goal}",
        "echo {goal} | grep sh",
        "python3 -- {goal}",
        "find . -name {goal}",
        "export X={goal}; ls",
        "flock lk ls {goal}",
        "test -d {goal} && ls {goal}",
        "X={goal} cmd",
        "for f in {goal}/*; do echo $f; done",
        'if [ -n "{goal}" ]; then echo y; fi',
        "echo {goal} > {goal}.txt",
        "git clone -- {goal} && cd {goal}",
        "node app.js {goal}",
        "perl script.pl {goal}",
        "curl -e ref {goal}",
        "tar -czf {goal}.tgz -- {goal}",
        "echo $(basename {goal})",
        "x=$(cat {goal})",
        "echo {goal} | awk '{print $1}'",
        "wc -l < {goal}",
        "awk -F : '{print}' {goal}",
        "awk -v x={goal} '{print x}'",
        'echo {goal} | python3 -c "import sys; print(sys.stdin.read())"',
        "ls {goal} || true",
        'cp {goal} "$HOME/x"',
        "cat {goal} | sort | uniq -c",
        "diff <(sort -- {goal}) <(sort other)",
        "docker run img python app.py {goal}",
        "python3 go.py --name={goal}",
    ],
)
def test_ordinary_lines_are_taken(line: str) -> None:
    assert "CREWD_GOAL" in place_values(line, ("goal",))


@pytest.mark.parametrize(
    ("line", "unset"),
    [
        ("echo ${goal}", {"${goal}": "goal"}), ("echo $goal $depth", {"$goal": "goal", "$depth": "depth"}),
        ("goal=x; echo $goal", {}), ("for depth in 1 2; do echo $depth; done", {}), ("read -r goal; echo $goal", {}),
        ("echo {goal} $GOAL ${goals} $HOME", {}), ("echo ${goal:-none}", {}),
    ],
)  # fmt: skip
def test_an_input_written_as_a_shell_variable_is_found(line: str, unset: dict[str, str]) -> None:
    assert unset_names(line, ("goal", "depth")) == unset
