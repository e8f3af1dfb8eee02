"""What one says to the store's actors and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.protocol.errors import CrewdError
    from crewd.protocol.events import Draft, Event
    from crewd.protocol.requests import Reply, Request
    from crewd.protocol.rows import MessageRow, RunRow


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Append only if this message id is new; the digest tells a repeat from a conflict."""

    id: str
    digest: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """Append only if this request id is new and the run's name is free."""

    request_id: str
    digest: str
    name: str


@dataclass(frozen=True, slots=True)
class Append:
    """Make these events durable, all or none. `guard` marks an admission: new work, refused when the disk is full."""

    drafts: tuple[Draft, ...]
    reply_to: Ref[Any]
    token: int
    guard: NewMessage | NewRun | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """The events are on disk and the rows follow them."""

    token: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The guard found the same thing made before; nothing was written."""

    token: int
    row: MessageRow | RunRow


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was written and nothing will be."""

    token: int
    error: CrewdError


@dataclass(frozen=True, slots=True)
class Delayed:
    """The disk refuses; the store keeps the events and goes on trying. `Committed` follows, or the store's own end."""

    token: int


@dataclass(frozen=True, slots=True)
class Put:
    """A coalesced value; None deletes the key."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Published:
    """Events just committed, for the gateway. A gap in seq means that one of these was lost to a full inbox."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Answer a client's question from the read-only side."""

    request: Request
    reply_to: Ref[Any]
    token: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a `Read`, a `Resolve` or a `LoadLive`."""

    token: int
    reply: Reply | Resolved | tuple[LiveRun, ...] | CrewdError


@dataclass(frozen=True, slots=True)
class Resolve:
    """What a selector means: an id, a unique prefix or ending, a name, each with or without `/STEP`."""

    selector: str
    reply_to: Ref[Any]
    token: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """A run and, if the selector named one, a task."""

    run: RunRow
    task: str


@dataclass(frozen=True, slots=True)
class LoadLive:
    """Every run that has not ended, with all its rows: what a start begins with."""

    reply_to: Ref[Any]
    token: int


@dataclass(frozen=True, slots=True)
class LiveRun:
    """All rows of one run."""

    run: RunRow
    tasks: tuple[Any, ...]
    attempts: tuple[Any, ...]
    messages: tuple[Any, ...]
    asks: tuple[Any, ...]
    operations: tuple[Any, ...]
