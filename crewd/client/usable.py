"""Whether an agent may be used: nothing that it needs, or that its program may have, is disabled."""

from __future__ import annotations

from msgspec.structs import replace

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.providers import providers_of
from crewd.agents.tools import has_tool, keeps_away, names_for, tool_id
from crewd.client.agents import FoundAgent
from crewd.client.disabled import disabled
from crewd.client.inventory import check_enabled
from crewd.model.agent import Agent
from crewd.model.errors import Refused
from crewd.model.inventory import Item, ItemKind


def program_of(found: FoundAgent) -> str:
    """The name of its program in the catalogue; empty for one that crewd does not know."""
    return next((name for name, known in CATALOGUE.items() if known is found.known), "")


def check_usable(found: FoundAgent, model: str) -> None:
    """Refused, with the reason, if the user has disabled the agent, its program, a tool, or whose model it uses.

    What an agent may have without having said so counts: a tool that its program has no way to keep away, and the model of
    a provider that nobody has named. `model` is the one that it is given; empty for its program's own.
    """
    check_enabled("agent", found.name)
    off, agent = disabled(), found.definition.agent
    for runtime in (program_of(found), agent.runtime):
        check_enabled("runtime", runtime)
    for tool in _named(off, "tool"):
        if has_tool(agent, tool):
            check_enabled("tool", tool)
        if not keeps_away(agent):
            lists = agent.runtime in {"pi", "omp"}
            instead = "name its tools in its file (tools: read, grep)" if lists else "use another program"
            hint = f"{instead}, or crew enable tool:{tool}"
            why = f"agent {found.name} may use tool {tool}, which is disabled: {off[f'tool:{tool}']}"
            raise Refused(why, hint=hint, disabled=f"tool:{tool}")
    uses = _providers(found, model)
    for provider in _named(off, "provider"):
        if provider in uses:
            check_enabled("provider", provider)
        if "" in uses:
            hint = f"name its model with its provider (model: PROVIDER/NAME), or crew enable provider:{provider}"
            why = f"provider {provider} is disabled: {off[f'provider:{provider}']}"
            said = f"agent {found.name} does not say whose model it uses, and {why}"
            raise Refused(said, hint=hint, disabled=f"provider:{provider}")


def is_usable(found: FoundAgent) -> bool:
    """Whether nothing of this is disabled."""
    try:
        check_usable(found, found.definition.agent.model)
    except Refused:
        return False
    return True


def without_disabled(agent: Agent) -> Agent:
    """The agent, without the tools that are disabled. It has been looked at with `check_usable`."""
    return replace(agent, without_tools=names_for(agent, _named(disabled(), "tool")))


def given_to(found: FoundAgent, model: str, skills: tuple[tuple[str, str], ...], team: str) -> tuple[Item, ...]:
    """What an agent is given, as items of the inventory. `skills` are names and sources, `team` the id of a team, or empty."""
    program, agent = program_of(found), found.definition.agent
    items = [_item("agent", found.name, found.origin)]
    items += [_item("runtime", program, "crewd")] if program else []
    items += [_item("team", team.rpartition(":")[2], team.rpartition(":")[0])] if team else []
    items += [_item("skill", name, source) for name, source in skills]
    items += [_item("tool", tool_id(name), f"agent {found.name}") for name in agent.tools]
    items += [_item("provider", name, "crewd") for name in sorted(_providers(found, model)) if name]
    return tuple({item.id: item for item in items}.values())


def _item(kind: ItemKind, name: str, source: str) -> Item:
    return Item(f"{kind}:{name}", kind, name, source, "active")


def _providers(found: FoundAgent, model: str) -> frozenset[str]:
    return providers_of(program_of(found), (model, *found.definition.agent.fallback_models))


def _named(off: dict[str, str], kind: ItemKind) -> list[str]:
    return [key.partition(":")[2] for key in off if key.startswith(f"{kind}:")]
