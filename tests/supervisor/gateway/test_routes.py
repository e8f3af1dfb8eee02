"""Each request has its row, and whoever may not make it is told so with nothing changed."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from crewd.model.errors import Forbidden, Refused, UsageError
from crewd.model.rights import Role
from crewd.model.rows import RunRow
from crewd.model.statuses import RunStatus
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import keeping as kp
from crewd.protocol import requests as rq
from crewd.supervisor.gateway.clients import NOBODY, Client, Clients
from crewd.supervisor.gateway.routes import ROUTES, About, Owned, To, check_role, check_target, route

ME, YOU, CHIEF = Client("me:1", Role.CANCEL), Client("you:1", Role.CANCEL), Client("chief:1", Role.ADMIN)
FLOW = Workflow(name="w", steps=(Step(id="a"), Step(id="o", worker=WorkerSpec(outside=True))))
MINE = RunRow(id="r_1", name="mine", status=RunStatus.RUNNING, goal="", cwd="/", workflow=FLOW, owner="me:1")


def test_every_request_has_a_row_and_no_row_is_of_anything_else() -> None:
    assert set(ROUTES) == set(get_args(rq.Request))
    assert set(ROUTES) == {*rq.REQUESTS.values()}


def test_what_an_owner_alone_may_do_can_be_forced_and_says_why() -> None:
    for kind, row in ROUTES.items():
        if row.owned or row.intent:
            assert kind in get_args(Owned), kind
            assert {"force", "intent"} <= {field.name for field in msgspec.structs.fields(kind)}
        assert (row.about is About.TARGET) >= (row.owned or row.whole)
        assert row.to is not To.RUN or row.about is not About.NOTHING


def test_only_the_owner_or_an_admin_with_a_reason_may_cancel() -> None:
    cancel = rq.Cancel(target="mine")
    check_target(cancel, ME, MINE, "", require_intent=False)
    with pytest.raises(Forbidden, match="belongs to me:1"):
        check_target(cancel, YOU, MINE, "", require_intent=False)
    with pytest.raises(Forbidden, match="needs the role admin"):
        check_target(msgspec.structs.replace(cancel, force=True), YOU, MINE, "", require_intent=False)
    check_target(msgspec.structs.replace(cancel, force=True, intent="it hangs"), CHIEF, MINE, "", require_intent=False)
    with pytest.raises(UsageError, match="needs a reason here"):
        check_target(cancel, ME, MINE, "", require_intent=True)


def test_a_message_that_decides_for_the_owner_is_the_owners() -> None:
    steer = rq.Send(id="m", kind="steer", target="mine")
    check_target(steer, YOU, MINE, "r_1/a", require_intent=False)
    for decides in (
        msgspec.structs.replace(steer, kind="response", ask="a_1"), msgspec.structs.replace(steer, terms=Terms(on_idle="start"))
    ):  # fmt: skip
        assert route(decides).owned
        with pytest.raises(Forbidden):
            check_target(decides, YOU, MINE, "r_1/a", require_intent=False)


def test_anybody_may_claim_what_is_for_somebody_outside() -> None:
    claim = rq.Claim(target="mine/o", token="t" * 32)
    check_target(claim, YOU, MINE, "r_1/o", require_intent=False)
    with pytest.raises(Forbidden):
        check_target(claim, YOU, MINE, "r_1/a", require_intent=False)


def test_an_archived_run_is_only_read_and_a_run_is_forgotten_as_a_whole() -> None:
    archived = msgspec.structs.replace(MINE, archived=True)
    for client in (ME, None):
        with pytest.raises(Refused, match="archived"):
            check_target(rq.Send(id="m", kind="steer"), client, archived, "", require_intent=False)
    check_target(rq.AwaitEnd(target="mine"), ME, archived, "", require_intent=False)
    with pytest.raises(UsageError, match="as a whole"):
        check_target(kp.Forget(target="mine/a"), ME, MINE, "r_1/a", require_intent=False)


def test_a_role_that_is_too_low_is_named() -> None:
    with pytest.raises(Forbidden, match="needs the role respond"):
        check_role(rq.Send(id="m", kind="response", ask="a_1"), Role.MESSAGE)
    check_role(rq.Send(id="m", kind="steer"), Role.MESSAGE)


def test_a_client_without_a_key_owns_nothing_and_looks() -> None:
    clients = Clients()
    assert clients.at(b"x") is NOBODY
    watcher = clients.greet(b"x", rq.Hello(owner="ann"))
    assert (watcher.owner, watcher.role) == ("ann:", Role.OBSERVE)
    known = clients.greet(b"y", rq.Hello(owner="ann", key="k" * 32))
    assert known.role is Role.ADMIN
    assert known.owner.startswith("ann:")
    assert clients.greet(b"z", rq.Hello(owner="ann", key="k" * 32, wish=Role.OBSERVE)).role is Role.OBSERVE
    clients.forget(b"y")
    assert (clients.at(b"y"), len(clients)) == (NOBODY, 2)
