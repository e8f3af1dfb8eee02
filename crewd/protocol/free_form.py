"""Values in messages that may be whatever their sender likes, if JSON can say it: arguments, results, checkpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from crewd.model.json_like import not_json
from crewd.protocol.reports import Asked, Checkpoint, Outcome, Report, Reports
from crewd.protocol.requests import Finish, StartRun


def free_values(body: object) -> Iterator[object]:
    """Those of a message or a report."""
    match body:
        case StartRun(workflow=workflow):
            yield from (step.worker.args for step in (*workflow.steps, *workflow.roles.values()))
        case Finish(result=result) | Outcome(result=result):
            yield result
        case Reports(reports):
            for report in reports:
                yield from free_values(report)
        case Report(body=inner):
            yield from free_values(inner)
        case Asked(schema=schema):
            yield schema
        case Checkpoint(value=value):
            yield value
        case _:
            pass


def fault_in(body: object) -> str:
    """What in a message JSON cannot say, in words; empty if there is nothing."""
    return next((fault for value in free_values(body) if (fault := not_json(value))), "")
