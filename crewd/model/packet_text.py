"""The task packet in a step of a workflow file. Pure.

Tests: tests/model/test_packet.py.
"""

from __future__ import annotations

from typing import Any, get_args

from crewd.model.errors import UsageError
from crewd.model.markdown import did_you_mean, wrong
from crewd.model.packet import Packet, Scope
from crewd.model.yaml_text import Yaml, read_yaml, scalar_text

LISTS = ("acceptance", "constraints", "artifacts")
MEANT = {
    "scopepath": "path", "scope_path": "path", "acceptancetests": "acceptance", "acceptance_tests": "acceptance",
    "tests": "acceptance", "done": "acceptance", "expectedartifacts": "artifacts", "expected_artifacts": "artifacts",
    "files": "artifacts", "branchpolicy": "branch", "branch_policy": "branch", "commitpolicy": "commit",
    "commit_policy": "commit", "reporting": "report", "reportingcontract": "report", "reporting_contract": "report",
    "escalation": "escalate", "escalationpolicy": "escalate", "escalation_policy": "escalate", "limits": "constraints",
}  # fmt: skip


def read_packet_file(text: str, where: str) -> Packet:
    """What a file says that is a packet and nothing else. UsageError with the file and the line for what is wrong."""
    try:
        yaml = read_yaml(text, 1)
        if not isinstance(yaml.value, dict):
            raise wrong(1, "this is no packet", "for example scope: module, path: src, acceptance: [it works], each on a line")
        return read_packet(yaml)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None


def read_packet(yaml: Yaml) -> Packet:
    """What `packet` says. UsageError with the line for what is not understood."""
    found: dict[str, Any] = {}
    for name, value in yaml.value.items():
        line = yaml.line(name)
        if name == "objective":
            raise wrong(line, "packet is wrong: there is no 'objective'", "the text of the step is its objective")
        if name not in Packet.__struct_fields__:
            raise wrong(line, f"packet is wrong: there is no {name!r}", did_you_mean(name, Packet.__struct_fields__, MEANT))
        if value is None or value == "":
            raise wrong(line, f"{name} of the packet has no value", f"write one, or leave {name} out")
        if name in LISTS:
            if name == "artifacts" and isinstance(value, str):  # as the other lists of names
                entries = [part.strip() for part in value.split(",") if part.strip()]
            else:
                entries = value if isinstance(value, list) else [value]
            found[name] = tuple(scalar_text(each, line, f"an entry of {name}") for each in entries)
        else:
            found[name] = scalar_text(value, line, name)
    scope = found.get("scope", "")
    if scope not in get_args(Scope):
        said = f"the scope {scope!r} of the packet is not possible" if scope else "the packet has no scope"
        raise wrong(yaml.line("scope"), said, f"scope: {', '.join(get_args(Scope))}")
    return Packet(**found)
