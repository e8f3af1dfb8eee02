"""Where an event hangs in the tree of its run: each attempt is a branch, a retry hangs on what it retries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewd.model import events as ev
from crewd.model.events import Draft
from crewd.model.workflow import Workflow
from crewd.store.cache import Cache, Nowhere
from crewd.store.places import Branches

RUN = "r_1"


class Log:
    """What is committed, as a database would find it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, int, int]] = []

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        found = [seq for at, of, tried, seq in self.lines if (at, of) == (run, task) and epoch in {-1, tried}]
        return max(found, default=0)


def draft(step: str, epoch: int) -> Draft:
    return Draft(ev.ReportTaken(), RUN, f"{RUN}/{step}" if step else "", epoch)


def test_an_attempt_is_a_branch_and_a_retry_hangs_on_what_it_retries() -> None:
    places = Branches(Log(), Cache(Nowhere()))
    story = [
        (Draft(ev.RunCreated(name="n", goal="", cwd="/", workflow=Workflow(name="w", steps=()), request_id="q"), RUN), 0),
        (draft("", 0), 1),
        (draft("a", 1), 2),
        (draft("b", 1), 2),
        (draft("a", 1), 3),
        (draft("a", 0), 5),
        (draft("a", 2), 6),
        (draft("b", 1), 4),
        (draft("a", 1), 5),
        (draft("a", 2), 7),
        (draft("", 0), 2),
    ]
    for seq, (each, parent) in enumerate(story, 1):
        assert places.place(each, seq) == (parent, "q"), seq


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 2)), min_size=1, max_size=4),
            st.sampled_from(["keep", "take back", "forget", "restart"]),
        ),
        max_size=12,
    )
)
def test_what_was_not_kept_was_never_there(story: list[tuple[list[tuple[str, int]], str]]) -> None:
    log, rows = Log(), Cache(Nowhere())
    places = Branches(log, rows)
    for drafts, end in story:
        start, alone = len(log.lines), Branches(log, rows)
        places.begin()
        placed = []
        for seq, (step, epoch) in enumerate(drafts, start + 1):
            each = draft(step, epoch if step else 0)
            placed.append((RUN, each.task, each.epoch, seq))
            assert places.place(each, seq) == alone.place(each, seq), "as if the memory were empty"
        match end:
            case "keep":
                log.lines += placed
                places.keep()
            case "take back":
                places.take_back()
            case "forget":
                places.forget()
            case _:
                places = Branches(log, rows)
