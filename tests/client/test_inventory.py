"""What there is to run with, and what the user has disabled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
import pytest

from crewd.client.chosen import Wish, choose
from crewd.client.disabled import change_disabled, disabled
from crewd.client.inventory import check_enabled, disable, enable, inventory
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.inventory import ITEM_CHARS_MAX, ITEMS_MAX, Item, ItemState, check_kept, kept_with_run
from crewd.model.redact import redact


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without files, in an empty project, on a machine without agents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    return tmp_path / "config"


def state(key: str) -> tuple[str, str]:
    [found] = [each for each in inventory() if each.id == key]
    return found.state, found.reason


def test_each_item_has_a_state_and_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "explorer.md").write_text("---\nname: explorer\n---\n")
    assert state("agent:explorer") == ("active", "")
    assert state("agent:project:explorer") == ("shadowed", "")
    (folder / "claude.md").write_text("---\nname: claude\n---\n")
    assert state("agent:project:claude") == ("shadowed", ""), "a project takes no name of an agent that crewd knows"
    assert state("runtime:claude")[0] == "missing"
    assert "npm install" in state("runtime:claude")[1]
    assert len({each.id for each in inventory()}) == len(inventory())


@pytest.mark.parametrize(
    ("key", "wish"),
    [
        ("agent:reviewer", Wish(team="review")), ("team:review", Wish(team="builtin:review")),
        ("workflow:review", Wish(team="review")), ("runtime:claude", Wish(team="review", program="claude")),
        ("agent:reviewer", Wish(agent="reviewer")),
    ],
)  # fmt: skip
def test_what_needs_a_disabled_one_is_refused_with_the_reason(key: str, wish: Wish) -> None:
    disable(key, "it deletes tests")
    assert state(key) == ("disabled", "it deletes tests")
    with pytest.raises(Refused, match="is disabled: it deletes tests") as error:
        choose(wish, installed=False)
    assert error.value.hint == f"crew enable {key}"
    assert enable(key)
    assert choose(wish, installed=False).choices
    assert not enable(key), "it was enabled already"


def test_the_name_in_a_file_does_not_change_what_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "bob.md").write_text("---\nname: robert\n---\nx\n")
    disable("agent:bob", "bad")
    with pytest.raises(Refused, match="agent bob is disabled"):
        choose(Wish(agent="bob"), installed=False)


def test_an_agent_with_a_command_of_its_own_is_of_its_runtime_too(tmp_path: Path) -> None:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "own.md").write_text("---\nruntime: claude\ncommand: my-claude\n---\nx\n")
    disable("runtime:claude", "bad")
    with pytest.raises(Refused, match="runtime claude is disabled"):
        choose(Wish(agent="own"), installed=False)


def test_who_disables_says_what_and_why() -> None:
    with pytest.raises(UsageError, match="why"):
        disable("agent:reviewer", "  ")
    with pytest.raises(UsageError, match="characters"):
        disable("agent:reviewer", "x" * 501)
    with pytest.raises(NotFound) as error:
        disable("agent:reviewr", "x")
    assert "agent:reviewer" in error.value.hint
    with pytest.raises(NotFound) as error:
        enable("agent:zzz")
    assert "did you mean" not in error.value.hint
    with pytest.raises(UsageError, match="not KIND:NAME"):
        disable("agnet:reviewer", "x")
    assert disabled() == {}


def test_a_broken_file_is_said_and_allows_nothing(config: Path) -> None:
    config.mkdir()
    (config / "disabled.json").write_text("{broken")
    with pytest.raises(UsageError, match=r"disabled\.json cannot be read"):
        check_enabled("agent", "reviewer")


def test_others_stay_disabled() -> None:
    disable("agent:reviewer", "a")
    disable("team:review", "b")
    enable("agent:reviewer")
    assert disabled() == {"team:review": "b"}


def test_whoever_changes_the_file_at_the_same_time_loses_nothing() -> None:
    ids = [f"skill:s{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda key: change_disabled(lambda off: {**off, key: "why"}), ids))
        assert disabled() == dict.fromkeys(sorted(ids), "why")
        assert all(pool.map(lambda key: change_disabled(lambda off: {k: v for k, v in off.items() if k != key}), ids))
    assert disabled() == {}


def item(name: str, state: ItemState = "active", reason: str = "") -> Item:
    return Item(f"agent:{name}", "agent", name, "project", state, reason)


def test_a_run_keeps_those_first_that_it_could_not_have() -> None:
    many = [item(f"a{number}") for number in range(ITEMS_MAX)]
    off = item("z", "disabled", "r" * 2 * ITEM_CHARS_MAX)
    kept = kept_with_run([*many, off])
    assert len(kept) == ITEMS_MAX
    assert (kept[0].name, len(kept[0].reason)) == ("z", ITEM_CHARS_MAX)
    assert kept[1:] == tuple(many[:-1])
    check_kept(kept)


def test_no_secret_and_nothing_without_a_bound_is_kept() -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    (kept,) = kept_with_run([item("a", "disabled", f"it used {token}")])
    assert token not in kept.reason
    check_kept([kept])
    for wrong, words in (
        ([item("a", "disabled", f"it used {token}")], "a secret"), ([item("a", "disabled", "r" * 1_001)], "1,000 characters"),
        ([item("a")] * (ITEMS_MAX + 1), "1,001 items"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            check_kept(wrong)


def test_what_looks_like_a_secret_only_beside_its_neighbour_keeps_no_run_out() -> None:
    items = [Item("agent:a", "agent", "a", "project", "shadowed", "the password:", "Xk29fLq0Zr7TnW4eB8uYc1Vd")]
    assert redact("the password:\nXk29fLq0Zr7TnW4eB8uYc1Vd") != "the password:\nXk29fLq0Zr7TnW4eB8uYc1Vd"
    check_kept(kept_with_run(items))
    assert kept_with_run(items) == tuple(items)
    long = item("a", "disabled", "password=hunter2hunter2 " * 100)
    check_kept(kept_with_run([long]))
