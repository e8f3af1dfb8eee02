"""The texts of small files that define something. A file is read again only when it has changed.

A leader or an editor asks for a list of a thousand files again and again.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Final

from crewd.client.paths import is_directory
from crewd.client.user_file import FILE_BYTES_MAX
from crewd.clock import SystemClock
from crewd.model.errors import UsageError

KEPT_MAX: Final = 4_096
SETTLED_SECONDS: Final = 2.0
"""A file that was changed later than that may change again and have the same times: file systems count in steps."""
_kept: Final[dict[str, tuple[tuple[int, ...], str]]] = {}


def not_utf8(what: str, error: UnicodeError) -> UsageError:
    """The error that `what` is no text as crewd reads it, with how to translate it."""
    begins = bytes(error.object[:2]) if isinstance(error, UnicodeDecodeError) else b""
    other = "utf-16" if begins in {b"\xff\xfe", b"\xfe\xff"} else "latin1"
    where = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
    return UsageError(f"{what} is not UTF-8{where}", hint=f"iconv -f {other} -t utf-8 translates it")


def check_no_directory(source: str) -> None:
    """Raises UsageError for what can be meant as nothing but a directory."""
    if is_directory(source) and ("/" in source or source in {".", ".."}):
        raise UsageError(f"{source} is a directory", hint="name a file in it")


def read_text(path: Path | str) -> str:
    """The text of a file. UsageError if it cannot be read, is too large, or no UTF-8."""
    place = os.fspath(path)
    try:
        kept = _kept.get(place)
        if kept is not None and kept[0] == _stamp(os.stat(place)):  # noqa: PTH116 (of a thousand files)
            return kept[1]
        data, found = _read(place)
        if len(data) > FILE_BYTES_MAX:
            raise UsageError(f"{path} has more than {FILE_BYTES_MAX} bytes", hint="such a file has a few lines")
        text = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise not_utf8(place, error) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(found.st_mode) and SystemClock().wall() - found.st_ctime >= SETTLED_SECONDS:
        _kept.pop(place, None)
        _kept[place] = (_stamp(found), text)
        if len(_kept) > KEPT_MAX:
            del _kept[next(iter(_kept))]
    return text


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """What is another one when the file was changed or replaced; nobody can set `st_ctime_ns`."""
    return found.st_ino, found.st_size, found.st_ctime_ns, found.st_mtime_ns, found.st_dev


def _read(place: str) -> tuple[bytes, os.stat_result]:
    """At most one byte more than is allowed. A pipe is read to its end: it gives what it has, and has more later."""
    with io.FileIO(place) as file:
        found, data = os.fstat(file.fileno()), b""
        while len(data) <= FILE_BYTES_MAX and (more := file.read(FILE_BYTES_MAX + 1 - len(data))):
            data += more
            if stat.S_ISREG(found.st_mode) and len(data) == found.st_size:
                break
    return data, found
