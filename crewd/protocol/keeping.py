"""What a client asks of a home's keeper: to forget, archive, prune, export and import runs, and to back the home up.

Tests: tests/test_keeping.py, tests/supervisor/gateway/test_routes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from crewd.model.quantities import counted
from crewd.model.rights import Role
from crewd.model.rows import ArtifactRow, RunRow

CHUNK_BYTES_MAX = 512 << 10
"""Of a file that travels in pieces."""


class Forget(msgspec.Struct, frozen=True):
    """Take everything of an ended run away, but for the note that it was there. `dry_run`: only say what would be done."""

    role: ClassVar[Role] = Role.CANCEL
    target: str
    intent: str = ""
    force: bool = False
    dry_run: bool = False


class Archive(msgspec.Struct, frozen=True):
    """Put an ended run into a bundle: it takes less room, and is read as before."""

    role: ClassVar[Role] = Role.CANCEL
    target: str
    intent: str = ""
    force: bool = False
    dry_run: bool = False


class Prune(msgspec.Struct, frozen=True):
    """Forget (or archive) the caller's runs that ended more than `older_seconds` ago, but for the newest `keep` of them.

    Runs with dead letters that nobody has dealt with, and with mail that nobody has read, are kept. `everyone`: other
    clients' runs, too; that needs the role admin and an intent.
    """

    role: ClassVar[Role] = Role.CANCEL
    older_seconds: float
    keep: int = 0
    archive: bool = False
    intent: str = ""
    everyone: bool = False
    dry_run: bool = False


class Export(msgspec.Struct, frozen=True):
    """Write an ended run into a bundle, to be fetched with `Fetch`."""

    role: ClassVar[Role] = Role.OBSERVE
    target: str


class Fetch(msgspec.Struct, frozen=True):
    """Bytes of an exported bundle from `offset`."""

    role: ClassVar[Role] = Role.OBSERVE
    name: str
    offset: int = 0


class Upload(msgspec.Struct, frozen=True):
    """Bytes of a file that is to be imported. `upload` is an id of the client's; each piece begins where the last one ended."""

    role: ClassVar[Role] = Role.MESSAGE
    upload: str
    offset: int
    data: bytes


class Import(msgspec.Struct, frozen=True):
    """Take a run in from an uploaded bundle (or from an upload of the original system's run directory): it is then archived.

    What stands in its way is a conflict: then nothing is done (`refuse`, `skip`), the run that is there is replaced
    (`overwrite`), or this one gets another name and, if need be, another id (`rename`).
    """

    role: ClassVar[Role] = Role.MESSAGE
    upload: str
    on_conflict: Literal["refuse", "skip", "overwrite", "rename"] = "refuse"
    intent: str = ""
    force: bool = False
    dry_run: bool = False


class GetArtifact(msgspec.Struct, frozen=True):
    """Bytes of an artifact from `offset`. `name` is its name (of the latest one) or its id; `target` a run or a task."""

    role: ClassVar[Role] = Role.OBSERVE
    target: str
    name: str
    offset: int = 0


class Backup(msgspec.Struct, frozen=True):
    """Copy the home's state into the new directory `path` on crewd's machine, while everything goes on."""

    role: ClassVar[Role] = Role.ADMIN
    path: str


class Kept(msgspec.Struct, frozen=True):
    """What was done with a run, or would be: `forgotten`, `archived`, or `kept` and why."""

    run: str
    name: str
    action: Literal["forgotten", "archived", "kept"]
    why: str = ""
    events: int = 0


class KeptReply(msgspec.Struct, frozen=True):
    """What became of the runs that were asked about, or would."""

    runs: tuple[Kept, ...]
    dry_run: bool = False


class BundleReply(msgspec.Struct, frozen=True):
    """A bundle that can be fetched. `lost`: artifacts that are not in it, because they are gone, or are not what they were."""

    name: str
    size: int
    sha256: str
    events: int
    lost: tuple[str, ...] = ()


class ChunkReply(msgspec.Struct, frozen=True):
    """A piece of a file; it was the last one if `next` is `size`. Answers an upload, too, without data."""

    data: bytes
    next: int
    size: int


class Conflicting(msgspec.Struct, frozen=True):
    """What stands in the way of an import.

    `overwrite`: a run of this id is here; `mismatch`: and it is not the same; `name`: another run has the name; `forgotten`: it
    was here and was forgotten. `drift` (the bundle's rows are of an older version) stands in no way.
    """

    kind: Literal["overwrite", "mismatch", "name", "forgotten", "drift"]
    text: str


class ArtifactReply(msgspec.Struct, frozen=True):
    """An artifact and a piece of it; it was the last one if `next` is the artifact's size."""

    row: ArtifactRow
    data: bytes
    next: int


class ImportReply(msgspec.Struct, frozen=True):
    """The run that was taken in; none if a conflict stood in its way, or it was a dry run, or the run is here already."""

    run: RunRow | None
    conflicts: tuple[Conflicting, ...] = ()
    identical: bool = False


class BackupReply(msgspec.Struct, frozen=True):
    """The backup was written, opened again and folded: its rows are what its log says.

    Of `lacking` archived runs the bundles are damaged or gone, and not in it; `lacks` names the first of them. `lost` names
    artifacts whose bytes are gone, and are not in it either.
    """

    path: str
    events: int
    bytes: int
    bundles: int
    lacks: tuple[str, ...] = ()
    lacking: int = 0
    lost: tuple[str, ...] = ()


LACKS_MAX = 20
"""The most runs, and artifacts, that are named as not in a backup."""


def lacking_words(names: Sequence[str], count: int) -> str:
    """A sentence that names the first archived runs whose bundles a backup lacks, of `count`."""
    names = names[:LACKS_MAX]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'bundle')} {verb} damaged or gone, and not in the backup: {', '.join(names)}{more}"


KeepRequest = Forget | Archive | Prune | Export | Fetch | Upload | Import | GetArtifact | Backup
KeepReply = KeptReply | BundleReply | ChunkReply | ImportReply | ArtifactReply | BackupReply
KEEP_REQUESTS: dict[str, type[KeepRequest]] = {
    "forget": Forget,
    "archive": Archive,
    "prune": Prune,
    "export": Export,
    "fetch": Fetch,
    "upload": Upload,
    "import": Import,
    "artifact": GetArtifact,
    "backup": Backup,
}
KEEP_REPLIES: dict[str, type[KeepReply]] = {
    "kept": KeptReply,
    "bundle": BundleReply,
    "chunk": ChunkReply,
    "imported": ImportReply,
    "artifact": ArtifactReply,
    "backed_up": BackupReply,
}
