from __future__ import annotations

import msgspec

from crewd.agents.acp import Acp
from crewd.agents.acts import Task


def test_what_an_agent_says_of_itself_changes_what_it_can_do() -> None:
    machine = Acp(Task("/"))
    assert (machine.capabilities.steer, machine.capabilities.resume) == ("interrupt", False)
    machine.greet()
    meta = {"steering": {"supported": True}}
    machine.hear({"id": 1, "result": {"_meta": meta, "agentCapabilities": {"loadSession": True}}})
    assert (machine.capabilities.steer, machine.capabilities.resume) == ("extension", True)
    assert msgspec.to_builtins(machine.capabilities)["follow_up"] == "crewd"
