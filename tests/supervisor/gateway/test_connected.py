"""Who is at the other end of which connection: the one that said hello last."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crewd.supervisor.gateway.connected import ConnectedWorkers


def test_another_connection_of_a_worker_takes_the_place_of_the_one_before() -> None:
    workers = ConnectedWorkers()
    workers.greet(b"x", "r/a", 1, 0.0)
    workers.greet(b"y", "r/a", 1, 1.0)
    assert workers.of("r/a", 1) == b"y"
    assert workers.at(b"x") is None, "what is still said there is not heard"
    assert workers.of("r/a", 2) is None


class TheTable(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.workers = ConnectedWorkers()
        self.said: dict[bytes, tuple[str, int]] = {}

    @rule(identity=st.sampled_from([b"x", b"y", b"z"]), task=st.sampled_from("abcd"))
    def hello(self, identity: bytes, task: str) -> None:
        self.workers.greet(identity, task, 1, 0.0)
        self.said = {each: key for each, key in self.said.items() if key != (task, 1)} | {identity: (task, 1)}

    @rule(task=st.sampled_from("abcd"))
    def gone(self, task: str) -> None:
        self.workers.forget(task, 1)
        self.said = {each: key for each, key in self.said.items() if key != (task, 1)}

    @invariant()
    def both_ways_agree(self) -> None:
        assert len(self.workers) == len(self.said)
        assert {(worker.task, worker.epoch) for worker in self.workers} == set(self.said.values())
        for identity, key in self.said.items():
            assert self.workers.of(*key) == identity
            assert identity in self.workers


TestTheTable = TheTable.TestCase
