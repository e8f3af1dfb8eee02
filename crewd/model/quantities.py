"""Sizes, times and counts as people write them: `150M`, `1.5GiB`, `90`, `500ms`, `10m`, `1h30m`, `1 fault`. Pure."""

from __future__ import annotations

import math
import re

from crewd.model.errors import UsageError

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?\s*")
_STEPS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
DIGITS_MAX = 40
"""A number with more digits is no size and no time."""
SIZES = "for example 150M, 1.5G or 4096; k, M, G and T count in steps of 1024"
TIMES = "for example 90, 500ms, 90s, 10m, 1h30m or 2d"


def counted(number: float, thing: str) -> str:
    """A number of things, whose plural has an s: `1 fault`, `2 faults`, `1,024 bytes`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {thing}" if number == 1 else f"{shown} {thing}s"


def size(text: str) -> int:
    """Bytes. UsageError for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or len(found[1]) > DIGITS_MAX:
        raise UsageError(f"{text[:40]!r} is no size", hint=SIZES)
    exact = float(found[1]) * 1024 ** _STEPS[found[2].lower()]
    if 0 < exact < 1:
        raise UsageError(f"{text[:40]!r} is less than a byte", hint=SIZES)
    return int(exact)


def seconds(text: str) -> float:
    """Seconds; a number without a unit is seconds. UsageError for what is no time."""
    text = text.strip()
    if len(text) > DIGITS_MAX:
        raise UsageError(f"{text[:40]!r} is no time", hint=TIMES)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    total, at = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != at:
            break
        total, at = total + float(part[1]) * _UNITS[part[2].lower()], part.end()
    if not text or at != len(text) or not math.isfinite(total):
        raise UsageError(f"{text!r} is no time", hint=TIMES)
    return total


def quantity(name: str, text: str, *, integral: bool = False) -> int | float:
    """The value of something that is named with its unit: `..._bytes` takes a size, `..._seconds` a time, the rest a number.

    If `integral`, it must be a whole number. UsageError naming it otherwise.
    """
    try:
        if name.endswith("_bytes"):
            return size(text)
        if name.endswith("_seconds"):
            return seconds(text)
        number = float(text)
        if not math.isfinite(number) or not _NUMBER.fullmatch(text):
            raise ValueError
        if integral and not number.is_integer():
            raise UsageError(f"{text!r} is no whole number", hint="for example 20")
        return int(number) if number.is_integer() else number
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None
    except ValueError:
        raise UsageError(f"{name}: {text!r} is no number", hint="a plain number") from None
