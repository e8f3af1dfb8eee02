import time

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.known_secrets import CHARS_MIN, PART_CHARS_MIN, KnownSecrets
from crewd.model.redact import LEFT_OUT, MASK, clip
from crewd.protocol.reports import Asked, Checkpoint, OpOpened, Outcome, Report

SECRETS = st.text("abcXYZ123-_", min_size=CHARS_MIN, max_size=60)


def test_each_occurrence_is_masked() -> None:
    assert KnownSecrets(["quiet words"]).in_text("some quiet words and quiet words") == f"some {MASK} and {MASK}"


def test_what_a_mask_has_left_of_one_is_masked() -> None:
    known = KnownSecrets(["front-sk-Lq8ZrTe4bNc1XwYd7Kf2-and-back"])
    assert known.in_text(f"key front-{MASK}-and-back, done") == f"key {MASK * 3}, done"


def test_a_text_without_a_cut_stays() -> None:
    assert KnownSecrets(["the quiet words"]).in_text("the quiet talk") == "the quiet talk"


def test_what_stands_between_two_masks_inside_of_one_is_masked() -> None:
    url = "postgres://bob:pw@db.internal:5432/?password=pw"
    assert KnownSecrets([url]).in_text(url.replace("pw", MASK) + ", done") == f"{MASK * 4}, done"


def test_a_cut_inside_a_mask_does_not_hide_that_one_was_there() -> None:
    secret, limit = "first-half-of-it-and-the-other-half", 40
    for before in range(limit):
        text = clip(f"{'.' * before}{secret[:15]}{MASK}{secret[20:]}{'.' * 60}", limit)
        shown = KnownSecrets([secret]).in_text(text)
        assert all(secret[at : at + PART_CHARS_MIN] not in shown for at in range(len(secret) - PART_CHARS_MIN)), text


def test_a_message_keeps_its_kinds_and_its_shape_whatever_the_secret_is() -> None:
    for secret in ("number", "completed", "outcome", "result", "checkpoint", "reason", "default"):
        known = KnownSecrets([secret])
        for body in (
            Outcome("completed", error=f"it is {secret}", result={"a": [secret], secret: 1}), Checkpoint(value={"b": secret}),
            OpOpened(id="o", kind="tool", name=secret), Asked("q", secret, choices=(secret, "no"), default=secret),
        ):  # fmt: skip
            masked = known.in_struct(Report(number=7, body=body))
            assert (masked.number, type(masked.body)) == (7, type(body))
            values = [value for value in msgspec.structs.astuple(masked.body) if value != "completed"]
            assert secret not in repr(values), masked
            assert MASK in repr(masked)


def test_what_is_odd_in_a_message_crashes_nobody() -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    for value in (deep, {(1, 2): 3, None: 4}, msgspec.msgpack.Ext(5, b"x")):
        assert KnownSecrets(["the secret"]).in_struct(Checkpoint(value=value)) == Checkpoint(value=value)


def test_many_cuts_and_many_secrets_take_no_longer() -> None:
    text = "".join(f"{number}aaac{LEFT_OUT}" for number in range(50_000))
    known = KnownSecrets([f"{number}-and-more-{'a' * 300}" for number in range(60)])
    before = time.thread_time()
    shown = known.in_text(text)
    took = time.thread_time() - before
    before = time.thread_time()
    sum(value in text for value in ("no such",) * 1_000)
    assert took < 100 * max(0.01, time.thread_time() - before)
    assert shown.startswith("0aaac ... ")
    assert shown.endswith("49999aaac ... ")


def test_ordinary_words_beside_a_cut_stay() -> None:
    text = f"the first words{LEFT_OUT}the last words"
    assert KnownSecrets(["the quiet words"]).in_text(text) == text


def test_what_nearly_is_one_takes_no_longer() -> None:
    known, text = KnownSecrets(["-" * 20_000]), f"{MASK} {'-' * 60} " * 1_000
    times = []
    for count in (1, 8):
        before = time.thread_time()
        known.in_text(text * count)
        times.append(time.thread_time() - before)
    assert times[1] < 40 * times[0]


@given(st.text("ab", min_size=1, max_size=12), st.text("ab", max_size=12))
def test_the_longest_part_of_one_is_masked(value: str, text: str) -> None:
    secret = f"{value}-ab"
    shown = KnownSecrets([secret]).in_text(f"{text}{MASK}{text}{LEFT_OUT}").split(MASK)
    sizes = range(PART_CHARS_MIN, len(secret) if len(secret) >= CHARS_MIN else 0)
    beginning = max((size for size in sizes if text.endswith(secret[:size])), default=0)
    end = max((size for size in sizes if text.startswith(secret[-size:])), default=0)
    assert shown[0] == text[: len(text) - beginning]
    if end + beginning <= len(text) and not (len(text) >= PART_CHARS_MIN and text in secret):
        assert shown[-1 if not beginning else -2].removesuffix(LEFT_OUT) == text[end : len(text) - beginning]


@given(SECRETS, st.text("lmno ", max_size=80), st.text("lmno ", max_size=80), st.integers(12, 120))
def test_no_part_of_one_is_left_wherever_the_text_was_cut(secret: str, before: str, after: str, limit: int) -> None:
    shown = KnownSecrets([secret]).in_text(clip(f"{before} {secret} {after}", limit))
    assert secret not in shown
    head, _, tail = shown.partition(LEFT_OUT)
    for size in range(PART_CHARS_MIN, len(secret)):
        assert not (tail and head.endswith(secret[:size]))
        assert not tail.startswith(secret[-size:])
