from __future__ import annotations

from typing import Any, get_args

import msgspec

from crewd.protocol.free_form import free_values
from crewd.protocol.reports import FROM_WORKER, Asked, Checkpoint, Outcome, Report, ReportBody, Reports
from crewd.protocol.requests import REQUESTS, Finish, StartRun


def structs_in(kind: Any) -> set[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {kind}
    return {each for arg in get_args(kind) for each in structs_in(arg)}


def test_every_field_that_may_be_anything_is_looked_at() -> None:
    todo, seen, free = [*REQUESTS.values(), *FROM_WORKER.values()], set[Any](), set[str]()
    while todo:
        kind = todo.pop()
        if kind not in seen:
            seen.add(kind)
            for field in msgspec.structs.fields(kind):
                if object in (field.type, *get_args(field.type)) or Any in (field.type, *get_args(field.type)):
                    free.add(f"{kind.__name__}.{field.name}")
                todo += structs_in(field.type)
    assert free == {"WorkerSpec.args", "Finish.result", "Asked.schema", "Checkpoint.value", "Outcome.result"}


def test_their_values_are_found_wherever_they_stand() -> None:
    bodies: tuple[ReportBody, ...] = (Asked("a", "?", schema=1), Checkpoint(2), Outcome("completed", result=3))
    said = Reports(tuple(Report(number, body) for number, body in enumerate(bodies, 1)))
    assert list(free_values(said)) == [1, 2, 3]
    assert list(free_values(Finish("r/s", "", result=4))) == [4]
    assert StartRun in REQUESTS.values()
