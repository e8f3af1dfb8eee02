from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

from crewd.client.conversation import Conversation
from crewd.client.reading import feed


class Talk:
    """A conversation that notices whether it is alone."""

    inside = 0
    most = 0

    def feed(self, frames: list[bytes]) -> list[list[bytes]]:
        Talk.inside += 1
        for _ in range(1_000):
            Talk.most = max(Talk.most, Talk.inside)
        Talk.inside -= 1
        return [frames]


def test_one_thread_at_a_time_reads() -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: feed(cast("Conversation", Talk()), [bytes([number])]), range(200)))
    assert replies == [[[bytes([number])]] for number in range(200)]
    assert (Talk.most, Talk.inside) == (1, 0)
