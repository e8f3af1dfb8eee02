"""What the tests of the machines share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from crewd.agents import acts as do

A = TypeVar("A", bound=do.Act)
TASK = do.Task("/work", attempt="r_1/a#1")


def of(kind: type[A], acts: do.Acts) -> list[A]:
    """Those acts of this kind."""
    return [act for act in acts if isinstance(act, kind)]


def said(acts: do.Acts) -> list[Mapping[str, Any]]:
    """The records that are written."""
    return [act.record for act in of(do.Write, acts)]


def hear(machine: do.Machine, *records: Mapping[str, Any]) -> do.Acts:
    """Several records, one after the other: all that is done about them."""
    return [act for record in records for act in machine.hear(record)]
