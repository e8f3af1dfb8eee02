from __future__ import annotations

import signal

import pytest

from crewd.model.errors import UsageError
from crewd.model.signals import how_ended, signal_name, signal_number


@pytest.mark.parametrize("number", sorted({int(each) for each in signal.valid_signals()}))
def test_every_signal_has_a_name_that_means_it(number: int) -> None:
    name = signal_name(number)
    assert name.startswith("SIG")
    assert signal_number(name) == signal_number(name.lower()) == signal_number(str(number)) == number


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "exit code unknown"), (3, "exit code 3"), (0, "exit code 0"), (-9, "SIGKILL"), (-32, "signal 32")],
)
def test_an_end_is_said_by_its_code_or_its_signal(code: int | None, words: str) -> None:
    assert how_ended(code) == words


def test_numbers_without_a_name_are_said_as_numbers() -> None:
    assert signal_name(32) == "signal 32"


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "HUPP", "SIG", "RTMIN+99", "RTMAX+1", "RTMIN-1", "9x", "٣"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no signal"):
        signal_number(text)
