"""Whose run it is: foreign cancels, answers and retries are refused with the owner's name, or forced with a reason."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, connect
from crewd.client.keys import identity, keys_directory
from crewd.model.errors import CrewdError, Forbidden, UsageError
from crewd.model.rights import Role, check_intent, check_owner, owner_id
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

KEY = "k" * 64


def as_(daemon: Daemon, name: str, wish: Role = Role.ADMIN) -> Crew:
    return connect(str(daemon.home.root), start=False, name=name, wish=wish)


@pytest.mark.process
def test_what_another_client_owns_is_ended_only_by_force_and_with_a_reason(daemon: Daemon, jobs_dir: str) -> None:
    with as_(daemon, "ann") as ann, as_(daemon, "bob") as bob, as_(daemon, "carl", Role.CANCEL) as carl:
        run = ann.call("jobs:quiet", cwd=jobs_dir)
        assert run.show().run.owner == ann.owner != bob.owner
        with pytest.raises(Forbidden, match="ann:") as caught:
            bob.cancel(run.id)
        assert "--force" in caught.value.info.hint
        with pytest.raises(UsageError, match="say why"):
            bob.cancel(run.id, force=True)
        with pytest.raises(Forbidden, match="admin"):
            carl.cancel(run.id, force=True, intent="it is in my way")
        assert not any("cancel" in event.type for event in run.events()), "nothing was recorded"
        reply = bob.cancel(run.id, mode="now", force=True, intent="it is in my way")
        assert reply is not None and reply.verified
        cancel = run.show().run.cancel
        assert cancel is not None
        assert (cancel.requester, cancel.intent) == (bob.owner, "it is in my way")
        for refused in (bob.retry, bob.resume, bob.dismiss):
            with pytest.raises(Forbidden, match="ann:"):
                refused(run.id)
        assert ann.resume(run.id).id == run.id
        ann.cancel(run.id, mode="now")


@pytest.mark.process
def test_an_answer_needs_the_right_and_the_run(daemon: Daemon, jobs_dir: str) -> None:
    with as_(daemon, "ann") as ann, as_(daemon, "bob") as bob, as_(daemon, "ann", Role.MESSAGE) as weak:
        run = ann.call("jobs:ask", cwd=jobs_dir)
        wait_until(ann.inbox, "the question")
        (ask,) = ann.inbox()
        with pytest.raises(Forbidden, match="ann:"):
            bob.respond(ask.id, "red")
        with pytest.raises(Forbidden, match="respond"):
            weak.respond(ask.id, "red")
        assert weak.owner == ann.owner, "it is she, with less in her hands"
        ann.respond(ask.id, "blue")
        assert run.result() == "blue"


@pytest.mark.process
def test_a_message_is_taken_back_by_its_sender_or_the_owner_of_the_run(daemon: Daemon, jobs_dir: str) -> None:
    with as_(daemon, "ann") as ann, as_(daemon, "bob") as bob, as_(daemon, "carl") as carl:
        run = ann.call("jobs:toil", cwd=jobs_dir)
        wait_until(lambda: run.show().operations, "the operation")
        first, second = (bob.send("steer", run.id, text) for text in ("one", "two"))
        with pytest.raises(Forbidden, match="bob:"):
            carl.withdraw(first.id)
        assert bob.withdraw(first.id).outcome == "withdrawn"
        assert ann.withdraw(second.id).outcome == "withdrawn"
        ann.cancel(run.id, mode="now")


@pytest.mark.process
def test_where_a_reason_is_wanted_nothing_is_ended_without_one(home: Path, jobs_dir: str) -> None:
    running = Daemon(home / "h")
    running.home.config.write_text("require_intent = true\n")
    with running, as_(running, "ann") as ann:
        run = ann.call("jobs:quiet", cwd=jobs_dir)
        with pytest.raises(UsageError, match="reason"):
            ann.cancel(run.id)
        with pytest.raises(UsageError, match="reason"):
            ann.stop_daemon()
        assert run.show().run.cancel is None
        assert ann.cancel(run.id, mode="now", intent="enough") is not None


def test_a_key_is_made_once_kept_for_its_owner_alone_and_not_shown() -> None:
    first, again, other = identity("ann"), identity("ann"), identity("bob")
    assert first == again != other
    assert owner_id(*first) == owner_id(*again) != owner_id("ann", other[1])
    assert stat.S_IMODE((keys_directory() / "ann").stat().st_mode) == 0o600
    assert first[1] not in repr(first)
    assert first[1] not in owner_id(*first)
    assert sorted(path.name for path in keys_directory().iterdir()) == ["ann", "bob"]
    with pytest.raises(UsageError):
        identity("../ann")


@pytest.mark.parametrize("kept", [b"", b"short", b"x" * 129, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "dave").write_bytes(kept)
    (tmp_path / "dave").chmod(0o600)
    with pytest.raises(UsageError, match="dave is no key: it") as caught:
        identity("dave", tmp_path)
    assert caught.value.hint == "remove it, and another one is made"


def test_the_rules_of_owners() -> None:
    check_owner("a:1", "", Role.MESSAGE, "it", force=False, intent="")
    check_owner("a:1", "a:1", Role.MESSAGE, "it", force=False, intent="")
    check_owner("b:1", "a:1", Role.ADMIN, "it", force=True, intent="why")
    for role, force, intent in ((Role.ADMIN, False, "why"), (Role.CANCEL, True, "why"), (Role.ADMIN, True, " ")):
        with pytest.raises(CrewdError, match="a:1"):
            check_owner("b:1", "a:1", role, "it", force=force, intent=intent)
    with pytest.raises(UsageError):
        owner_id("a", "short")
    check_intent("", "it", required=False)
    check_intent("why", "it", required=True)
