"""One worker in the guardian's care: what is known of it, and what it leaves in its directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from loguru import logger

from crewd import worker_files
from crewd.protocol import hands
from crewd.protocol.known_secrets import KnownSecrets
from crewd.store.output import Tail
from crewd.supervisor.guardian.ladder import Ladder
from crewd.supervisor.guardian.papers import Papers
from crewd.supervisor.guardian.tree import Key, Proc
from crewd.supervisor.guardian.zygote import LOCK

LAST_WORDS_BYTES_MAX = 4 << 20
"""A worker's last words; it keeps at most 1,024 reports, so more is not ours."""


@dataclass(slots=True)
class Charge:
    """A worker in the guardian's care.

    `number`: what its processes bear (see `limit_mark`). `led` are the sessions and groups that the last look has seen its
    processes in; `stirred`: one of them has ended since then, and `stirring` are the sessions and groups of such.
    `orphans`: how many processes it has left to the guardian since `measured_at`.
    `marked` and `marked_at`: how much of its output was last noted with its time (`first_mark_at`: when first).
    """

    key: Key
    directory: Path
    papers: Papers
    number: int
    ordered_at: float = 0.0
    led: set[int] = field(default_factory=set)
    stirred: bool = False
    stirring: set[int] = field(default_factory=set)
    orphans: float = 0.0
    known_secrets: KnownSecrets = field(default_factory=KnownSecrets)
    measured_at: float = 0.0
    limit: str = ""
    limit_text: str = ""
    killed: bool = False
    memory_peak: int = 0
    cpu: float = 0.0
    used: hands.Used | None = None
    used_at: float = 0.0
    marked: tuple[int, int] = (0, 0)
    marked_at: float = 0.0
    first_mark_at: float = 0.0
    main: Proc | None = None
    adopted: bool = False
    pidfd: int | None = None
    status: int | None = None
    main_over: bool = False
    vanished_at: float | None = None
    cause: hands.Cause = "exited"
    ladder: Ladder | None = None
    look_at: float = 0.0
    orphan_at: float | None = None
    known: frozenset[tuple[int, float]] = field(default_factory=frozenset)


@contextlib.contextmanager
def noted(errors: list[str]) -> Iterator[None]:
    """What cannot be tidied up is said, and stops nothing."""
    try:
        yield
    except OSError as error:
        errors.append(str(error))


def make_room(directory: str, shared: str) -> None:
    """Make what a worker will write to: while the store syncs the same disk, each new name could wait for that."""
    with contextlib.suppress(OSError):  # the birth says what is wrong
        for path in (Path(directory), Path(shared)):
            worker_files.make(path)
        for folder, name in ((Path(directory), "stdout"), (Path(directory), "stderr"), (Path(directory).parent, LOCK)):
            os.close(worker_files.open_to_append(folder, name))


def leave_file(shared: str, name: str, data: bytes, *, if_absent: bool) -> None:
    """Write a file of a run so that a reader sees all of it or nothing. What goes wrong is logged."""
    try:
        worker_files.make(Path(shared))
        if if_absent and (Path(shared) / name).exists():
            return
        worker_files.write(Path(shared), name, data)
    except OSError as error:
        logger.warning("the output file {} cannot be written: {}", name, error)


def take_last_words(directory: Path) -> bytes:
    """The worker's last words, once; the exit record keeps them from here on."""
    try:
        words = worker_files.read(directory, "last_words", LAST_WORDS_BYTES_MAX)
    except OSError:
        return b""
    worker_files.remove(directory, "last_words")
    return words


def without(ends: Tail, known: KnownSecrets) -> Tail:
    """The ends of both files without secrets that are known."""
    return (
        msgspec.structs.replace(ends, stdout=known.in_bytes(ends.stdout), stderr=known.in_bytes(ends.stderr)) if known else ends
    )
