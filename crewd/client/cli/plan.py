"""What a run would be, as people and programs read it.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crewd.client.chosen import Chosen
from crewd.client.cli.common import Options, out, say_exactly, say_within
from crewd.model.budget import words_of
from crewd.model.green import needed, required
from crewd.model.limits import CONCURRENCY_MAX
from crewd.model.quantities import counted
from crewd.model.runtimes import runtime_of
from crewd.model.workflow import check_argument


def tell_plan(options: Options, goal: str, chosen: Chosen) -> None:
    """Print the steps, who does each, and what decides it."""
    check_argument("the goal", goal)
    choices = {choice.step: choice for choice in chosen.choices}
    rows: list[dict[str, Any]] = []
    for step in chosen.workflow.steps:
        choice = choices.get(step.id)
        rows.append(
            {
                "step": step.id, "after": list(step.depends_on), "role": step.role, "does": runtime_of(step.worker),
                "agent": choice.found.name if choice else "", "agent_from": choice.agent_from if choice else "",
                "agent_file": choice.found.origin if choice else "",
                "installed": bool(choice.found.program) if choice else True,
                "model": choice.model if choice else "", "model_from": choice.model_from if choice else "",
                "skills": list(choice.skills) if choice else [], "skills_left_out": list(choice.left_out) if choice else [],
                "reads": list(step.reads), "output": step.output, "access": step.access,
                "access_from": choice.access_from if choice else "step" if step.access else "",
                "conflict_key": step.conflict_key, "effectiveness": step.guard, "verify": step.verify,
                "verify_levels": dict(step.verify_levels),
                "packet": None if step.packet is None else msgspec.structs.asdict(step.packet),
                "adaptive": step.adaptive, "cwd": step.worker.cwd,
                "hooks": [{"name": each.name, "on": each.on, "from": each.source} for each in step.worker.hooks],
            }
        )  # fmt: skip
    if options.json:
        workflow = chosen.workflow
        plan = {
            "goal": goal,
            "workflow": workflow.name,
            "workflow_from": chosen.origin,
            "named_by": chosen.named_by,
            "settings": chosen.settings,
        }
        bounds = {
            "at_once": workflow.max_concurrency, "at_once_from": chosen.at_once_from, "unbounded": workflow.unbounded,
            "plan_approval": workflow.plan_approval, "budget": workflow.budget,
            "green": required(workflow),
        }  # fmt: skip
        roles = [
            {
                "role": each.step,
                "agent": each.found.name,
                "agent_from": each.agent_from,
                "model": each.model,
                "model_from": each.model_from,
            }
            for each in chosen.roles
        ]
        out({**plan, **bounds, "steps": rows, "roles": roles})
        return
    most = chosen.workflow.max_concurrency
    bound = f", {most} at once (by {chosen.at_once_from})" if most else ""
    say_within(
        f"{chosen.workflow.name}: {counted(len(rows), 'step')}{bound}, from {chosen.origin}"
        + (f", for {goal!r}" if goal else "")
    )
    if chosen.named_by:
        say_within(f"{chosen.named_by} names what is run")
    for key, (value, where) in chosen.settings.items():
        say_within(f"{key} is {value}, by {where}")
    for row, step in zip(rows, chosen.workflow.steps, strict=True):
        say_within(f"  {row['step']}" + (f" after {', '.join(row['after'])}" if row["after"] else ""))
        if row["agent"]:
            say_within(f"    agent:  {row['agent']} ({row['agent_file']}), by {row['agent_from']}")
            say_within(f"    model:  {row['model'] or '-'}, by {row['model_from']}")
        if row["access"]:
            key = f", key {row['conflict_key']}" if row["conflict_key"] else ""
            say_within(f"    access: {row['access']}{key}, by {row['access_from']}")
        if row["skills"]:
            said = f" (no room for {', '.join(row['skills_left_out'])})" if row["skills_left_out"] else ""
            say_within(f"    skills: {', '.join(row['skills'])}{said}")
        say_exactly(f"    runs:   {row['does']}" + (f" in {row['cwd']}" if row["cwd"] else ""))
        if row["verify"]:
            say_exactly(f"    verify: {row['verify']}")
        for level, command in needed(step.verify_levels, required(chosen.workflow)):
            say_exactly(f"    verify: {level}: {command}")
        if step.packet is not None:
            say_exactly(f"    packet: {step.packet.summary}")
        if row["hooks"]:
            asked = ", ".join(f"{each['name']} ({each['on']}, {each['from'] or 'step'})" for each in row["hooks"])
            say_within(f"    hooks:  {asked}")
        if row["adaptive"]:
            say_within("    adaptive: its plan adds steps")
    for choice in chosen.roles:
        say_within(f"  role {choice.step}, for the steps of the plan")
        say_within(f"    agent:  {choice.found.name} ({choice.found.origin}), by {choice.agent_from}")
        say_within(f"    model:  {choice.model or '-'}, by {choice.model_from}")
    _tell_bounds(chosen)
    missing = {
        choice.found.definition.agent.command[0]: choice.found
        for choice in (*chosen.choices, *chosen.roles)
        if not choice.found.program
    }
    for program, found in missing.items():
        say_within(f"{program} was not found in PATH" + (f": {found.known.install}" if found.known else ""))


def _tell_bounds(chosen: Chosen) -> None:
    """What holds for the run as a whole."""
    if chosen.workflow.max_concurrency > CONCURRENCY_MAX and not chosen.workflow.unbounded:
        say_within("At most concurrency_max of crewd.toml (8 unless it says another) are at once, without --unbounded")
    if chosen.workflow.budget.bounded:
        say_within(f"All workers together: {words_of(chosen.workflow.budget)} at most")
    if required(chosen.workflow) == "none":
        say_within("No level of verification is required")
    elif required(chosen.workflow):
        say_within(f"Its verifications have to reach the level {required(chosen.workflow)}")
    if chosen.workflow.plan_approval:
        say_within("The plan is to be approved before anything changes: crew approve RUN")
    for text in chosen.hooks_not_run:
        say_within(text)
