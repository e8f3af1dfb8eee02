"""Where each request goes and who may make it: a table with one row per request, and the checks that follow from it. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from crewd.model.errors import Forbidden, Refused, UsageError
from crewd.model.ids import task_id
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.rights import Role, check_intent, check_owner
from crewd.model.rows import RunRow
from crewd.protocol import keeping as kp
from crewd.protocol import requests as rq
from crewd.supervisor.gateway.clients import Client

Owned = rq.Cancel | rq.Signal | rq.Reopen | rq.Approve | rq.Dismiss | rq.Claim | rq.Send | rq.Withdraw | kp.Forget | kp.Archive
"""What is done to something that somebody owns."""


class To(Enum):
    """Who carries a request out."""

    RUN = "the run that it is about, or the front if that does not live"
    FRONT = "the front"
    READER = "the reader, whose answer is the reply"
    OUTPUT = "the output reader, whose answer is the reply"
    KEEPER = "the keeper, whose answer is the reply"
    HERE = "the gateway"


class About(Enum):
    """What a request names, which is looked up before it goes anywhere."""

    NOTHING = "nothing"
    TARGET = "a run or a task, by a selector"
    MESSAGE = "a message, by its id"


class Route(msgspec.Struct, frozen=True):
    """One row.

    `owned`: only the run's owner may, or an admin with `force`. `intent`: where the configuration requires it, the request says
    why. `alters`: it is refused for a run that is archived. `whole`: a run as a whole is named, not a task.
    """

    to: To
    about: About = About.NOTHING
    owned: bool = False
    intent: bool = False
    alters: bool = False
    whole: bool = False


_READ = Route(To.READER)
_KEEP = Route(To.KEEPER)
_HERE = Route(To.HERE)
ROUTES: Final[dict[type[rq.Request], Route]] = {
    rq.Hello: _HERE,
    rq.StartRun: Route(To.FRONT),
    rq.Reopen: Route(To.RUN, About.TARGET, owned=True, alters=True),
    rq.Approve: Route(To.RUN, About.TARGET, owned=True, alters=True, whole=True),
    rq.Dismiss: Route(To.RUN, About.TARGET, owned=True, intent=True, alters=True),
    rq.TellHooks: Route(To.RUN, About.TARGET, alters=True, whole=True),
    rq.Claim: Route(To.RUN, About.TARGET, alters=True),
    rq.Release: Route(To.RUN, About.TARGET),
    rq.Finish: Route(To.RUN, About.TARGET),
    rq.Send: Route(To.RUN, About.TARGET, alters=True),
    rq.Cancel: Route(To.RUN, About.TARGET, owned=True, intent=True),
    rq.Signal: Route(To.RUN, About.TARGET, owned=True, intent=True),
    rq.Withdraw: Route(To.RUN, About.MESSAGE),
    rq.Acknowledge: Route(To.FRONT, About.MESSAGE),
    rq.SeenNews: Route(To.FRONT),
    rq.ResumeDaemon: Route(To.FRONT),
    rq.ReloadConfig: Route(To.FRONT),
    rq.StopDaemon: Route(To.FRONT),
    rq.AwaitEnd: Route(To.HERE, About.TARGET),
    rq.Subscribe: Route(To.HERE, About.TARGET),
    rq.Credit: _HERE,
    rq.Unsubscribe: _HERE,
    rq.GetReceipt: _READ,
    rq.ListRuns: _READ,
    rq.ListDead: _READ,
    rq.Show: _READ,
    rq.ListMessages: _READ,
    rq.Inbox: _READ,
    rq.ListEvents: _READ,
    rq.ListNews: _READ,
    rq.ReadLog: Route(To.OUTPUT, About.TARGET),
    rq.Doctor: _READ,
    kp.Forget: Route(To.KEEPER, About.TARGET, owned=True, intent=True, whole=True),
    kp.Archive: Route(To.KEEPER, About.TARGET, owned=True, intent=True, whole=True),
    kp.Export: Route(To.KEEPER, About.TARGET, whole=True),
    kp.GetArtifact: Route(To.KEEPER, About.TARGET),
    kp.Prune: _KEEP,
    kp.Fetch: _KEEP,
    kp.Upload: _KEEP,
    kp.Import: _KEEP,
    kp.Backup: _KEEP,
}
_ANSWER = Route(To.RUN, About.TARGET, owned=True, alters=True)
"""Of a message that decides for the run's owner: it answers a question, or starts a worker that has ended."""


def route(request: rq.Request) -> Route:
    """The row of this request."""
    match request:
        case rq.Send() if MESSAGE_KINDS[request.kind].purpose is Purpose.ANSWER or request.terms.on_idle == "start":
            return _ANSWER
        case rq.Doctor() if request.rebuild or request.check:
            return _KEEP
        case rq.Subscribe(""):
            return _HERE
        case _:
            return ROUTES[type(request)]


def check_role(request: rq.Request, role: Role) -> None:
    """Raises Forbidden for a request that needs a higher role."""
    needed = MESSAGE_KINDS[request.kind].role if isinstance(request, rq.Send) else request.role
    if needed > role:
        raise Forbidden(f"this needs the role {needed.name.lower()}", hint=f"this connection may {role.name.lower()}")


def check_target(request: rq.Request, client: Client | None, row: RunRow, task: str, *, require_intent: bool) -> None:
    """Whether the client may do this to the run (or the task) that it is about. None is a worker, which `lineage` checks.

    Raises Forbidden, UsageError or Refused, with nothing changed.
    """
    row_of = route(request)
    owned = row_of.owned
    if isinstance(request, rq.Claim):
        step = next((step for step in row.workflow.steps if task in {"", task_id(row.id, step.id)}), None)
        owned = step is None or not step.worker.outside
    if owned and client is not None and isinstance(request, Owned):
        check_owned(request, client, row.owner, f"run {row.id}", require_intent=require_intent)
    if isinstance(request, rq.TellHooks) and client is not None:  # nobody else writes into its history
        check_owner(client.owner, row.owner, client.role, f"run {row.id}", force=False, intent="")
    if row.archived and row_of.alters:
        raise Refused(f"run {row.name} is archived: it is only read", hint="start a new run", reason="archived")
    if row_of.whole and task:
        raise UsageError(
            f"{row.name} can be forgotten, archived, exported or approved of only as a whole", hint=f"name the run: {row.name}"
        )


def check_owned(request: Owned, client: Client, owner: str, what: str, *, require_intent: bool) -> None:
    """Whether the client may do this to what somebody owns. Raises Forbidden or UsageError, with nothing changed."""
    if route(request).intent:
        check_intent(request.intent, type(request).__name__.lower(), required=require_intent)
    check_owner(client.owner, owner, client.role, what, force=request.force, intent=request.intent)
