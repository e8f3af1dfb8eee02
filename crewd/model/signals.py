"""Signals by name and number, as `kill -l` prints them. Pure; the numbers are those of the machine that this runs on."""

from __future__ import annotations

import signal

from crewd.model.errors import UsageError

_LAST = signal.NSIG - 1
_REAL_TIME = (int(getattr(signal, "SIGRTMIN", 0)), int(getattr(signal, "SIGRTMAX", 0)))


def signal_name(number: int) -> str:
    """`SIGHUP` for 1, `SIGRTMIN+6` for 40 on Linux; `signal N` for a number without a name."""
    least, most = _REAL_TIME
    if least and least <= number <= most:
        return "SIGRTMIN" if number == least else "SIGRTMAX" if number == most else f"SIGRTMIN+{number - least}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_ended(code: int | None) -> str:
    """How a process ended, by the code that `subprocess` gives: `exit code 3`, `SIGKILL`; None is not known."""
    return "exit code unknown" if code is None else f"exit code {code}" if code >= 0 else signal_name(-code)


def signal_number(text: str) -> int:
    """The number of `HUP`, `SIGHUP`, `sighup`, `1`, `RTMIN+6` or `RTMAX-2`. UsageError for anything else."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= _LAST:
        return int(name)
    base, sign, offset = name[:5], name[5:6], name[6:]
    if base in {"RTMIN", "RTMAX"} and _REAL_TIME[0] and (not sign or (sign in "+-" and offset.isdecimal())):
        number = _REAL_TIME[base == "RTMAX"] + (int(f"{sign}{offset}") if sign else 0)
        if _REAL_TIME[0] <= number <= _REAL_TIME[1]:
            return number
    found = signal.Signals.__members__.get(f"SIG{name}")
    if found is None:
        raise UsageError(f"{text!r} is no signal", hint=f"a name such as HUP or RTMIN+1, or a number from 1 to {_LAST}")
    return int(found)
