"""Why a command was not started, in words that name what to change."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from crewd.worker.program_start import not_started


@pytest.mark.parametrize(
    ("first", "mode", "said"),
    [
        ("#!/nonexist/interp -x\n", 0o755, "names the interpreter /nonexist/interp in its first line, and there is no such"),
        ("#!/bin/sh\r\n", 0o755, "/bin/sh in its first line, and there is no such file: the line ends with a carriage return"),
        ("echo hello\n", 0o755, "has no #! line"),
        ("#!/bin/sh\n", 0o644, "is not executable: chmod +x"),
    ],
    ids=["no interpreter", "carriage return", "no first line", "not executable"],
)  # fmt: skip
def test_a_file_that_is_there_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, mode: int, said: str
) -> None:
    script = tmp_path / "script"
    script.write_text(first, newline="")
    script.chmod(mode)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("./script", str(script), "script"):
        with pytest.raises(OSError, match=name) as refused:
            subprocess.run([name], check=False)
        outcome = not_started([name], refused.value)
        assert said in outcome.error
        assert outcome.reason == "spawn_failed"


def test_a_directory_and_a_program_that_is_nowhere_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (
        not_started([str(tmp_path)], PermissionError(errno.EACCES, os.strerror(errno.EACCES))).error
        == f"{tmp_path} is a directory"
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o755)
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert not_started([str(pipe)], denied).error == f"{pipe} is no plain file", "and it is not waited for"
    assert not_started(["/dev/null"], denied).error == "/dev/null is no plain file"
    long = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    assert "File name too long" in not_started([f"/{'x' * 5_000}"], long).error
    gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    assert not_started(["nowhere"], gone).error == f"nowhere was not found in PATH={tmp_path}"
    assert not_started(["/nowhere/x"], gone).error == "/nowhere/x: No such file or directory"
    busy = not_started(["/bin/sh"], OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY)))
    assert (busy.reason, busy.error) == ("start_busy", "/bin/sh: Text file busy")
