from __future__ import annotations

import pytest

from crewd.model.agent import PROMPT_BYTES_MAX, Agent, check_agent
from crewd.model.errors import UsageError
from crewd.model.workflow import Step, WorkerSpec, Workflow, check_workflow


def test_an_agent_is_a_runtime_of_its_own() -> None:
    agent = Agent(runtime="pi", command=("pi",))
    assert WorkerSpec(agent=agent).runtime == "pi"
    assert WorkerSpec(agent=agent).takes is None, "it says itself what it takes"


@pytest.mark.parametrize(
    "agent",
    [
        Agent(runtime="pi", command=()),
        Agent(runtime="pi", command=("",)),
        Agent(runtime="pi", command=("pi",), model="--help"),
        Agent(runtime="pi", command=("pi",), thinking="a\nb"),
        Agent(runtime="pi", command=("pi",), session="-x"),
        Agent(runtime="pi", command=("pi",), turns=-1),
        Agent(runtime="pi", command=("pi",), system_prompt="x" * (PROMPT_BYTES_MAX + 1)),
    ],
)
def test_what_no_agent_can_be_is_refused(agent: Agent) -> None:
    with pytest.raises(UsageError):
        check_agent("a", agent)


def test_an_agent_is_no_command_besides() -> None:
    worker = WorkerSpec(agent=Agent(runtime="pi", command=("pi",)), argv=("true",))
    with pytest.raises(UsageError, match="is an agent and has a call or a command"):
        check_workflow(Workflow("w", (Step("a", worker=worker),)))
