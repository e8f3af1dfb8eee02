"""`crew recommend`: which team a goal is for.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import shlex

import click
from msgspec.structs import replace

from crewd.agents.recommend import Fit
from crewd.agents.recommend import recommend as recommended
from crewd.agents.team import Team
from crewd.client.agents import agent_named
from crewd.client.chosen import addressed, team_named
from crewd.client.cli.common import Options, out, say, verb
from crewd.client.disabled import disabled
from crewd.client.resources import resources
from crewd.model.errors import CrewdError, UsageError


@click.command()
@click.argument("goal")
@verb
def recommend(options: Options, goal: str) -> None:
    """Say which team GOAL is for, and why. Starts nothing, and asks no model.

    Teams say in their files which words of a goal are theirs: triggers, useWhen, avoidWhen.
    """
    if not goal.strip():
        raise UsageError("there is no goal", hint="crew recommend 'add a rate limit'")
    team, agent, _ = addressed(goal)
    teams = _teams()
    found = recommended(goal, teams.values(), changes=lambda name: _changes(teams[name]))
    if team or agent:
        why = "the goal names it" if team else f"the goal names the agent {agent}"
        found = replace(found, team=team, why=why, others=(), parts=(), worktrees=False)
    if options.json:
        out(found)
        return
    if team or agent:
        say(f"{team or 'no team'}: {found.why}")
        say(f"crew run {shlex.quote(goal)}")
        return
    say(f"{found.team or 'no team'}: {found.why}")
    for other in found.others:
        say(f"  {_told(other)}")
    team = found.team or "NAME"
    if not found.parts:
        say(f"crew run --team {team} {'-- ' if goal.startswith('-') else ''}{shlex.quote(goal)}")
        return
    say(f"The goal lists {len(found.parts)} things. Each can be a run of its own:")
    for part in found.parts:
        say(f"  crew run --team {team} {shlex.quote(part)}")
    if found.worktrees:
        say("This team changes files. Runs at the same time need a directory each:")
        say("a git worktree, for example, that --cwd names.")


def _told(fit: Fit) -> str:
    if fit.avoided:
        return f"not {fit.team}: it is not for {', '.join(map(repr, fit.avoided))}"
    return f"or {fit.team}: {', '.join(map(repr, fit.words))}"


def _teams() -> dict[str, Team]:
    """The teams that can be named, without those that are disabled or that cannot be read."""
    off, found = disabled(), dict[str, Team]()
    for each in resources("teams"):
        if each.state != "active" or f"team:{each.name}" in off:
            continue
        try:
            found[each.name] = team_named(each.name)
        except CrewdError:  # `crew check` says what is wrong with it
            continue
    return {team.name: team for team in found.values()}


def _changes(team: Team) -> bool:
    """Whether one of its roles may change something: only an agent that declares shared access does not."""
    for role in team.roles.values():
        try:
            access = role.access or agent_named(role.agent).definition.access
        except CrewdError:
            access = ""
        if access != "shared":
            return True
    return False
