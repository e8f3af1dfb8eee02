"""Stress tests for the workers of crewd's users: control histories, a harness, and the laws of a good worker.

    from crewd.testing.stress import Target, stress

    def test_my_worker_can_be_cancelled_anywhere() -> None:
        stress(Target("mypackage.jobs:index", {"root": "."}))

A worker is cancelled at every point of its work, killed and started again at every point, and put through drawn histories
of steers, follow-ups, answers, cancels and crashes. `crew stress MODULE:FUNC` does the same from the command line.
"""

from crewd.testing.stress.history import Cancel, Control, Crash, FollowUp, History, Steer, parse
from crewd.testing.stress.laws import LAWS, Breach, WorkerLawBroken
from crewd.testing.stress.search import FoundMistake, Search, check, stress
from crewd.testing.stress.target import Target, try_out
from crewd.testing.stress.trial import Act, File, Point, SentMessage, Trial

__all__ = [
    "LAWS",
    "Act",
    "Breach",
    "Cancel",
    "Control",
    "Crash",
    "File",
    "FollowUp",
    "FoundMistake",
    "History",
    "Point",
    "Search",
    "SentMessage",
    "Steer",
    "Target",
    "Trial",
    "WorkerLawBroken",
    "check",
    "parse",
    "stress",
    "try_out",
]
