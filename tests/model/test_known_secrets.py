from hypothesis import given
from hypothesis import strategies as st

from crewd.clock import SystemClock
from crewd.model.known_secrets import CHARS_MIN, PART_CHARS_MIN, KnownSecrets
from crewd.model.redact import LEFT_OUT, MASK, clip

SECRETS = st.text("abcXYZ123-_", min_size=CHARS_MIN, max_size=60)


def test_each_occurrence_is_masked() -> None:
    assert KnownSecrets(["quiet words"]).in_text("some quiet words and quiet words") == f"some {MASK} and {MASK}"


def test_what_a_mask_has_left_of_one_is_masked() -> None:
    known = KnownSecrets(["front-sk-Lq8ZrTe4bNc1XwYd7Kf2-and-back"])
    assert known.in_text(f"key front-{MASK}-and-back, done") == f"key {MASK * 3}, done"


def test_ordinary_words_beside_a_cut_stay() -> None:
    text = f"the first words{LEFT_OUT}the last words"
    assert KnownSecrets(["the quiet words"]).in_text(text) == text


def test_what_nearly_is_one_takes_no_longer() -> None:
    known, text = KnownSecrets(["-" * 20_000]), f"{MASK} {'-' * 60} " * 1_000
    clock = SystemClock()
    times = []
    for count in (1, 8):
        before = clock.monotonic()
        known.in_text(text * count)
        times.append(clock.monotonic() - before)
    assert times[1] < 40 * times[0]


@given(SECRETS, st.text("lmno ", max_size=80), st.text("lmno ", max_size=80), st.integers(12, 120))
def test_no_part_of_one_is_left_wherever_the_text_was_cut(secret: str, before: str, after: str, limit: int) -> None:
    shown = KnownSecrets([secret]).in_text(clip(f"{before} {secret} {after}", limit))
    assert secret not in shown
    head, _, tail = shown.partition(LEFT_OUT)
    for size in range(PART_CHARS_MIN, len(secret)):
        assert not (tail and head.endswith(secret[:size]))
        assert not tail.startswith(secret[-size:])
