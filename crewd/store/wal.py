"""Whether SQLite has read the whole log of commits (`-wal`), or has stopped at a damaged place in it.

SQLite stops at the first frame whose checksum is wrong, as after a power cut, and says nothing of what follows. A power cut
can tear only what was not synced: the commit that was being written, and what was copied into tables since the sync before.
If many whole commits follow such a place, the log was damaged later, and what it held after that place would be lost without
a word. The layout of both files is that of https://www.sqlite.org/fileformat2.html (4.1, 4.2) and
https://www.sqlite.org/walformat.html (2.1).
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from crewd.private_files import open_plain

UNSYNCED_COMMITS_MAX = 8
"""How many commits may follow the one at which SQLite stops: they can be those that were not synced."""
_HEADER, _FRAME_HEADER = 32, 24
_PAGE = 4_096
"""Bytes of a page, as SQLite makes them unless it is told otherwise: for a log whose header does not say it."""
_MAGIC = {0x377F0682: "little", 0x377F0683: "big"}
_MX_FRAME = 16
"""Where `-shm` holds the number of frames that SQLite reads, in the byte order of the machine."""


def commits_lost(database: Path) -> int:
    """How many commits follow the place at which SQLite has stopped reading. A connection must be open, and have read.

    OSError if a file cannot be read.
    """
    log, index = Path(f"{database}-wal"), Path(f"{database}-shm")
    if not log.exists() or not index.exists() or log.stat().st_size < _HEADER + _FRAME_HEADER:
        return 0
    with open_plain(index) as file:
        read = int.from_bytes(file.read(_MX_FRAME + 4)[_MX_FRAME:], sys.byteorder)
    with open_plain(log) as file:
        header = file.read(_HEADER)
        whole = _is_whole(header)
        page = int.from_bytes(header[8:12]) if whole else _PAGE
        found, salts = 0, header[16:24]
        number = read if whole else 0
        while True:
            file.seek(_HEADER + number * (page + _FRAME_HEADER))
            frame = file.read(_FRAME_HEADER)
            if len(frame) < _FRAME_HEADER:
                break
            found += frame[4:8] != b"\0\0\0\0" and (frame[8:16] == salts or not whole)
            number += 1
    return found


def _is_whole(header: bytes) -> bool:
    """Whether the header's own checksum is right."""
    order = _MAGIC.get(int.from_bytes(header[:4]), "")
    if not order:
        return False
    words = struct.unpack(f"{'<' if order == 'little' else '>'}6I", header[:24])
    first = second = 0
    for left, right in zip(words[::2], words[1::2], strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return header[24:] == struct.pack(">2I", first, second)
