"""A step's worker has one runtime, and each that crewd starts can be run."""

from __future__ import annotations

import pytest

from crewd.model.agent import AGENT_RUNTIMES, Agent
from crewd.model.runtimes import RUNTIMES, By, runtime_named
from crewd.model.workflow import WorkerSpec
from crewd.worker.runtimes import RUNNERS

SPECS: dict[str, WorkerSpec] = {
    "call": WorkerSpec(call="jobs:add"),
    "exec": WorkerSpec(argv=("true",)),
    "crewd": WorkerSpec(shell="mine", protocol="crewd"),
    "crewd-stdio": WorkerSpec(argv=("mine",), protocol="crewd-stdio"),
    "outside": WorkerSpec(outside=True),
    **{name: WorkerSpec(agent=Agent(runtime=name, command=("mine",))) for name in AGENT_RUNTIMES},
    "agent": WorkerSpec(),
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_spec_means_one_runtime(name: str) -> None:
    assert SPECS[name].runtime == name


def test_each_runtime_that_crewd_starts_has_its_runner() -> None:
    assert set(RUNNERS) == {name for name, row in RUNTIMES.items() if row.by is By.CREWD}


def test_a_command_takes_what_its_input_is_for_and_others_say_it_themselves() -> None:
    assert SPECS["exec"].takes == ()
    assert WorkerSpec(argv=("cat",), stdin="lines").takes == ("steer", "eof")
    assert WorkerSpec(argv=("sh",), pty=(24, 80)).takes == ("steer", "eof", "keys")
    assert [name for name, spec in SPECS.items() if spec.takes is not None] == ["exec"]


def test_a_runtime_that_another_crewd_knows_is_nobodys_here() -> None:
    assert runtime_named("quantum").by is By.NOBODY
