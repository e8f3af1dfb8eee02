"""Whether a process answers: what is silence, and what is the sleep of whoever asks."""

from __future__ import annotations

from crewd.model.pulse import ASK_SECONDS, GIVE_UP_SECONDS, SILENT_SECONDS, START_SECONDS, STARTING_SECONDS, Pulse


def asked(pulse: Pulse, since: float, until: float) -> float:
    now = since
    while now < until:
        now += ASK_SECONDS
        pulse.ask(now)
    return now


def test_who_answers_is_never_silent() -> None:
    pulse = Pulse(100.0)
    for now in range(101, 400):
        pulse.ask(now)
        pulse.heard(now + 0.1)
        assert not pulse.silent(now + 0.2)
        assert not pulse.is_given_up(now + 0.2)


def test_silence_is_told_of_soon_and_ends_in_giving_up() -> None:
    pulse = Pulse(0.0)
    pulse.heard(1.0)
    now = asked(pulse, 1.0, 1.0 + SILENT_SECONDS)
    assert not pulse.silent(now)
    assert pulse.silent(asked(pulse, now, now + 1.0)) == SILENT_SECONDS + 1.0
    now = asked(pulse, now, GIVE_UP_SECONDS)
    assert not pulse.is_given_up(now)
    assert pulse.is_given_up(asked(pulse, now, now + 2.0))
    pulse.heard(now)
    assert not pulse.is_given_up(now)


def test_who_has_never_answered_has_more_time() -> None:
    pulse = Pulse(0.0)
    now = asked(pulse, 0.0, STARTING_SECONDS)
    assert not pulse.silent(now)
    now = asked(pulse, now, START_SECONDS - 1.0)
    assert pulse.silent(now)
    assert not pulse.is_given_up(now)
    assert pulse.is_given_up(asked(pulse, now, START_SECONDS + 1.0))


def test_who_only_waits_for_a_processor_has_more_time_too() -> None:
    pulse = Pulse(0.0)
    pulse.heard(0.5)
    now = asked(pulse, 0.5, GIVE_UP_SECONDS + 1.0)
    assert pulse.is_given_up(now)
    assert not pulse.is_given_up(now, at_work=True)
    now = asked(pulse, 0.5, STARTING_SECONDS)
    assert pulse.silent(now)
    assert not pulse.silent(now, at_work=True)


def test_the_time_in_which_whoever_asks_was_not_awake_does_not_count() -> None:
    pulse = Pulse(0.0)
    pulse.heard(0.5)
    pulse.ask(1.0)
    pulse.ask(3_600.0)
    assert not pulse.silent(3_600.0)
    assert not pulse.is_given_up(3_601.0)
    now = asked(pulse, 3_600.0, 3_600.0 + GIVE_UP_SECONDS)
    assert pulse.is_given_up(now)
