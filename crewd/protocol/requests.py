"""What clients ask: one struct per kind of request, and the table of them. `replies` has what they hear.

Rights: `observe < message < respond < cancel < admin`; each request names the role that it needs. `force`: also of a run
that another client owns (see `rights`).

Tests: tests/protocol/test_wire_page.py, tests/witness/test_witness.py.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from crewd.model.hooks import HookRun
from crewd.model.inventory import Item
from crewd.model.message_kinds import MessageKind
from crewd.model.receipts import Level
from crewd.model.rights import Role
from crewd.model.terms import Terms
from crewd.model.workflow import Workflow
from crewd.protocol.keeping import KEEP_REQUESTS, Archive, Export, Forget, GetArtifact, KeepRequest

CREDIT_DEFAULT = 256
CREDIT_MAX = 1_000
"""Events that may be on the way to one subscriber."""


class Hello(msgspec.Struct, frozen=True):
    """The first frame of a client on a connection: its name, and the key that proves who it is (`rights.owner_id`).

    Without a key it may only observe. `wish` is the role that it wants to have, at most the one that its connection gives
    it: a dashboard that wishes to observe cannot cancel by accident.
    """

    role: ClassVar[Role] = Role.NONE
    owner: str
    software: str = ""
    wish: int = Role.ADMIN
    key: str = ""


class StartRun(msgspec.Struct, frozen=True):
    """Admit a run. The same `request_id` of the same owner gives the same run; with another content it is a conflict.

    `parent` is the living attempt (`task#epoch`) whose worker asks; when that attempt ends, the run is cancelled, unless
    `on_parent` is `keep`. It is a worker of the caller's own run, or the caller has its `parent_token`, which its processes
    find in the variable `CREWD_PARENT_TOKEN`. `env` are variables of the caller that its workers get, such as `PATH`; they
    are kept with the run. `secrets` are variables whose values are kept nowhere: only their names are, and a run that is
    resumed needs the values again. `passed` are not stored either, only their names; when their values are gone, those that
    `env_pass` names are taken from crewd's own environment. `inventory` is what there is to run with, as its client sees
    it; it is kept with the run. How deep it stands follows from the parent's record, never from what the asker says.
    """

    role: ClassVar[Role] = Role.MESSAGE
    workflow: Workflow
    cwd: str
    goal: str = ""
    name: str = ""
    request_id: str = ""
    parent: str = ""
    on_parent: Literal["end", "keep"] = "end"
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    passed: dict[str, str] = {}
    inputs: dict[str, str] = {}
    parent_token: str = ""
    inventory: tuple[Item, ...] = ()


class Reopen(msgspec.Struct, frozen=True):
    """Do again what failed or was parked (`retry`), or all that was not finished (`resume`); of a run or of one task.

    What is completed stays so. Each task that is done again gets a new attempt. Refused if there is nothing to do again.
    `secrets`: the values of the run's secrets, and of what it brought as `passed`; crewd keeps neither after the end of a run.
    `id`: see `Approve`.
    """

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    kind: Literal["retry", "resume"] = "retry"
    intent: str = ""
    force: bool = False
    secrets: dict[str, str] = {}
    id: str = ""


class Approve(msgspec.Struct, frozen=True):
    """Let a blocked run go on, or, with `approved` false, end it. Refused if nothing blocks it.

    Forbidden for a worker, and for a client that sends a `parent_token`: the processes of workers find it in the variable
    `CREWD_PARENT_TOKEN`, and crewd's own clients send it. `id` is a message id: a request that was carried out and is sent
    again with the same id is answered as done, also by a crewd that was started meanwhile; another request with that id is a
    conflict. A run remembers its 16 latest.
    """

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    approved: bool = True
    intent: str = ""
    force: bool = False
    parent_token: str = ""
    id: str = ""


class Dismiss(msgspec.Struct, frozen=True):
    """A dead letter has been seen and needs nothing more: `target` is a task, or a run with all of its dead letters.

    `id`: see `Approve`.
    """

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    intent: str = ""
    force: bool = False
    id: str = ""


class TellHooks(msgspec.Struct, frozen=True):
    """Record what hooks answered that the caller ran before a request about the run `target` (docs/hooks.md).

    Each becomes an event of the run, which has to be its own. `id` is a message id: what was told with it already changes
    nothing.
    """

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    hooks: tuple[HookRun, ...]
    id: str = ""


class Claim(msgspec.Struct, frozen=True):
    """Carry out a task oneself: crewd does not start it for `seconds`. Said again with the same `token`, it renews the lease.

    `token` is made by the claimer and proves later that it is the one; `note` says what it is doing (shown as progress).
    """

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    token: str
    seconds: float = 300.0
    note: str = ""
    intent: str = ""
    force: bool = False


class Release(msgspec.Struct, frozen=True):
    """Give a claimed task back: it is queued again."""

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    token: str


class Finish(msgspec.Struct, frozen=True):
    """How a claimed task has ended. Only while the lease runs."""

    role: ClassVar[Role] = Role.MESSAGE
    target: str
    token: str
    outcome: Literal["completed", "failed"] = "completed"
    result: object = None
    error: str = ""


class ListDead(msgspec.Struct, frozen=True):
    """Dead letters: tasks that failed for good and that nobody has requeued or dismissed, oldest first."""

    role: ClassVar[Role] = Role.OBSERVE
    limit: int = 200


class Send(msgspec.Struct, frozen=True):
    """A steer, follow-up, answer, or a plain message for a mailbox. `id` is made by the sender and kept across retries.

    `target` selects a task (or a run with one live task); for a `response` it may be empty and `ask` names the question.
    The reply comes when `wait` is reached or `timeout_seconds` has passed (an error that names the level reached).
    `force` and `intent`: to answer a question of another client's run, or to start its worker again (`terms.on_idle`).
    """

    role: ClassVar[Role] = Role.MESSAGE
    id: str
    kind: MessageKind
    target: str = ""
    text: str = ""
    ask: str = ""
    wait: Level = Level.ACCEPTED
    timeout_seconds: float = 30.0
    deadline_seconds: float | None = None
    terms: Terms = Terms()
    intent: str = ""
    force: bool = False


class Acknowledge(msgspec.Struct, frozen=True):
    """A message of a mailbox was read. Said again it changes nothing: who said it first stays."""

    role: ClassVar[Role] = Role.MESSAGE
    id: str


class Withdraw(msgspec.Struct, frozen=True):
    """Take a message back, if its worker does not have it yet: one's own, or one for a run that one owns."""

    role: ClassVar[Role] = Role.MESSAGE
    id: str
    intent: str = ""
    force: bool = False


class Cancel(msgspec.Struct, frozen=True):
    """End a run, a task or a worker. Legal in every state and idempotent. `wait` = answer when it is verified."""

    role: ClassVar[Role] = Role.CANCEL
    target: str
    reason: str = "caller_cancelled"
    mode: Literal["graceful", "now"] = "graceful"
    grace_seconds: float | None = None
    intent: str = ""
    wait: bool = True
    timeout_seconds: float = 60.0
    force: bool = False


class Signal(msgspec.Struct, frozen=True):
    """Send the signal `number` to a worker's process (of a command: the command's), or, with `tree`, to all that it started."""

    role: ClassVar[Role] = Role.CANCEL
    target: str
    number: int
    tree: bool = False
    intent: str = ""
    force: bool = False


class GetReceipt(msgspec.Struct, frozen=True):
    """The receipt of any message, for ever after."""

    role: ClassVar[Role] = Role.OBSERVE
    id: str


class AwaitEnd(msgspec.Struct, frozen=True):
    """Answer when the run or task has ended; with `or_waiting` also when it waits for somebody: a question, a parked task."""

    role: ClassVar[Role] = Role.OBSERVE
    target: str
    or_waiting: bool = False
    timeout_seconds: float = 3600.0


class ListRuns(msgspec.Struct, frozen=True):
    """Runs, newest first; ended ones only with `all`, only those that have all of these `labels`.

    `before`: only runs that are older than the one of this id.
    """

    role: ClassVar[Role] = Role.OBSERVE
    all: bool = False
    limit: int = 100
    labels: dict[str, str] = {}
    before: str = ""


class Show(msgspec.Struct, frozen=True):
    """A run with everything that belongs to it."""

    role: ClassVar[Role] = Role.OBSERVE
    target: str


class ListMessages(msgspec.Struct, frozen=True):
    """The latest messages of a run or task, oldest first: of one kind, direction or state, if they are named.

    `before` (from the reply before) asks for those before them. `open` is what has not settled, `unread` what lies in a
    mailbox and nobody has acknowledged.
    """

    role: ClassVar[Role] = Role.OBSERVE
    target: str
    limit: int = 200
    kind: MessageKind | Literal["", "group_join"] = ""
    direction: Literal["", "in", "out"] = ""
    state: Literal["", "open", "settled", "unread"] = ""
    before: int = 0


class Inbox(msgspec.Struct, frozen=True):
    """Open questions over all runs, oldest first."""

    role: ClassVar[Role] = Role.OBSERVE


class ListEvents(msgspec.Struct, frozen=True):
    """Events after `after`, of one run or task or of all; only of these `types` (see `kinds`), of runs with these labels.

    With a `before`, the last ones before it instead. `epoch`: of this attempt of the task. `since`, `until`: of these times,
    in wall-clock seconds.
    """

    role: ClassVar[Role] = Role.OBSERVE
    target: str = ""
    after: int = 0
    limit: int = 500
    types: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    before: int = 0
    epoch: int = 0
    since: float = 0.0
    until: float = 0.0


class Subscribe(msgspec.Struct, frozen=True):
    """Events after `after` and then as they happen, chosen as in `ListEvents`.

    Notes carry this request's id until `Unsubscribe`. At most `credit` events are on the way or unread; `Credit` says how far
    the subscriber has come, and without it nothing comes after so many.
    """

    role: ClassVar[Role] = Role.OBSERVE
    target: str = ""
    after: int = 0
    progress: bool = True
    types: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    credit: int = CREDIT_DEFAULT


class Credit(msgspec.Struct, frozen=True):
    """The subscriber has dealt with the events up to `upto`; `id` is the id of the subscription's request."""

    role: ClassVar[Role] = Role.OBSERVE
    id: str
    upto: int


class Unsubscribe(msgspec.Struct, frozen=True):
    """End a subscription; `id` is the id of its request."""

    role: ClassVar[Role] = Role.OBSERVE
    id: str


class ListNews(msgspec.Struct, frozen=True):
    """What has happened to the client's own runs (or, with `everyone`, to all) since it last said `SeenNews`, oldest first.

    With an `after` above 0: since that.
    """

    role: ClassVar[Role] = Role.OBSERVE
    limit: int = 200
    everyone: bool = False
    after: int = 0


class SeenNews(msgspec.Struct, frozen=True):
    """All news up to `upto` were told: they do not come again. Durable when it is answered."""

    role: ClassVar[Role] = Role.MESSAGE
    upto: int


class ReadLog(msgspec.Struct, frozen=True):
    """Bytes of a worker's output from `offset` (negative: counted from the end), or of a result that is kept as a file.

    Of an agent there are also its `acts`, and its own `records` (docs/agents.md).

    `since`: not before what was written at this time (wall-clock seconds), which is known to about a second.
    """

    role: ClassVar[Role] = Role.OBSERVE
    task: str
    stream: Literal["stdout", "stderr", "result", "acts", "records"] = "stdout"
    epoch: int = 0
    offset: int = 0
    limit: int = 65_536
    since: float = 0.0


class Doctor(msgspec.Struct, frozen=True):
    """How the daemon is; with `rebuild` the log is folded again and compared with the rows, with `actors` they are measured.

    With `check` each page of the database and each part of each bundle is looked at.
    """

    role: ClassVar[Role] = Role.OBSERVE
    rebuild: bool = False
    actors: bool = False
    check: bool = False


class StopDaemon(msgspec.Struct, frozen=True):
    """Stop. No new work is taken from now on.

    `drain` waits for what is live to end by itself; `end` ends every worker (reason `shutdown`) within the grace, then the
    guardian; `keep` leaves the workers to their guardian and to the next crewd. A later request can only make it faster.
    """

    role: ClassVar[Role] = Role.ADMIN
    grace_seconds: float = 3.0
    mode: Literal["drain", "end", "keep"] = "end"
    intent: str = ""


class ResumeDaemon(msgspec.Struct, frozen=True):
    """Take a stop back that waits (`drain`): new work is taken again. Refused if crewd is not draining."""

    role: ClassVar[Role] = Role.ADMIN


class ReloadConfig(msgspec.Struct, frozen=True):
    """Read `crewd.toml` again. What has changed takes effect where it can; the reply names the rest.

    A file that is wrong changes nothing.
    """

    role: ClassVar[Role] = Role.ADMIN


ForRun = Reopen | Approve | Dismiss | TellHooks | Claim | Release | Finish | Send | Withdraw | Cancel | Signal
"""What a run carries out."""
ForFront = StartRun | Acknowledge | SeenNews | ResumeDaemon | ReloadConfig
"""What is carried out by the front, which is about no single run."""
Commanded = ForRun | ForFront
"""What changes something."""
Targeted = (
    Reopen | Approve | Dismiss | TellHooks | Claim | Release | Finish | Cancel | Signal | AwaitEnd | Subscribe | Forget
    | Archive | Export | GetArtifact
)  # fmt: skip
"""What names a run or a task by its field `target`."""
Request = (
    Commanded | Hello | ListDead | GetReceipt | AwaitEnd | ListRuns | Show | ListMessages | Inbox | ListEvents | Subscribe
    | Credit | Unsubscribe | ListNews | ReadLog | Doctor | StopDaemon | KeepRequest
)  # fmt: skip

REQUESTS: dict[str, type[Request]] = {
    "hello": Hello,
    "start_run": StartRun,
    "reopen": Reopen,
    "approve": Approve,
    "dismiss": Dismiss,
    "tell_hooks": TellHooks,
    "claim": Claim,
    "release": Release,
    "finish": Finish,
    "dead": ListDead,
    "send": Send,
    "acknowledge": Acknowledge,
    "withdraw": Withdraw,
    "cancel": Cancel,
    "signal": Signal,
    "receipt": GetReceipt,
    "await_end": AwaitEnd,
    "runs": ListRuns,
    "show": Show,
    "messages": ListMessages,
    "inbox": Inbox,
    "events": ListEvents,
    "subscribe": Subscribe,
    "credit": Credit,
    "unsubscribe": Unsubscribe,
    "news": ListNews,
    "seen": SeenNews,
    "log": ReadLog,
    "doctor": Doctor,
    "stop_daemon": StopDaemon,
    "resume_daemon": ResumeDaemon,
    "reload_config": ReloadConfig,
    **KEEP_REQUESTS,
}
