from __future__ import annotations

import pytest

from crewd.model.errors import UsageError
from crewd.model.quantities import counted, quantity, seconds, size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1k", 1 << 10),
        ("150M", 150 << 20),
        ("1.5G", 3 << 29),
        ("2GiB", 2 << 30),
        ("512 kB", 512 << 10),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("90", 90.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "x", "10x", "-1", "1h 30", "m", "1e3", "nan", "inf", "10mm", "1,5"])
def test_what_is_neither_is_refused_with_an_example(text: str) -> None:
    for read in (size, seconds):
        with pytest.raises(UsageError) as caught:
            read(text)
        assert "for example" in caught.value.hint


def test_the_name_says_the_unit() -> None:
    assert quantity("memory_bytes", "10m") == 10 << 20
    assert quantity("task_seconds", "10m") == 600
    assert quantity("turns", "20") == 20
    for name, text in (("turns", "many"), ("cost", "nan"), ("task_seconds", "soon")):
        with pytest.raises(UsageError, match=name):
            quantity(name, text)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1_024, "1,024 runs"), (1.0, "1 run"), (0.5, "0.5 runs")]
)
def test_one_thing_is_not_called_as_several_are(number: float, text: str) -> None:
    assert counted(number, "run") == text
