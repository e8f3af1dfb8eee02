"""Bundles: what comes out is what went in, whatever the run; and nothing of a bundle is used that is not as it must be."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crewd.clock import SystemClock
from crewd.guardian.files import Files
from crewd.model.errors import UsageError
from crewd.model.home import Home
from crewd.model.rows import RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.store import bundle as bundles
from crewd.store.bundle import Bundle, Manifest, renamed, write_bundle
from crewd.store.cache import Cache, Nowhere
from crewd.store.database import Database
from crewd.store.fold import fold
from crewd.store.ports import Where
from crewd.store.readonly import ReadOnly
from crewd.store.run_files import RunFiles
from crewd.store.schema import TABLES
from crewd.testing.world.faults import FLAKY
from crewd.testing.world.play import draw, play


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunRow]]:
    """A real database with the log of a simulated world in it, and its runs that have ended."""
    path = tmp_path_factory.mktemp("home")
    database, rows = Database(path / "crewd.db", "s"), Cache(Nowhere())
    log = play(5, draw(5), FLAKY).disk.log
    for event in log:
        fold(rows, event)
    database.commit(log)
    database.flush(rows.changed(), [])
    database.close()
    runs = [row for row in rows.everything().values() if isinstance(row, RunRow) and row.status in RUN_TERMINAL]
    assert runs
    for run in runs:
        folder = path / "runs" / run.id / "step" / "1"
        folder.mkdir(parents=True)
        (folder / "stdout").write_bytes(b"said " * 1_000)
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "lock").touch()
    return path, runs


def written(home: Path, run: RunRow, path: Path) -> Manifest:
    reader = ReadOnly(home / "crewd.db")
    try:
        return write_bundle(path, reader, run, RunFiles(Files(Home(home), SystemClock()).answer), "test")
    finally:
        reader.close()


def test_a_bundle_answers_what_the_database_answers(home: tuple[Path, list[RunRow]], tmp_path: Path) -> None:
    root, runs = home
    reader = ReadOnly(root / "crewd.db")
    kinds: list[Any] = list(TABLES)
    for run in runs:
        written(root, run, tmp_path / "one.zip")
        bundle = Bundle(tmp_path / "one.zip")
        assert bundle.verify() == run
        where = Where(run.id)
        assert bundle.events(limit=10**6, where=where) == reader.events(limit=10**6, where=where)
        seqs = [event.seq for event in reader.events(limit=10**6, where=where)]
        for after, before, limit in ((0, 0, 3), (seqs[2], 0, 5), (0, seqs[-1], 4), (0, 10**9, 2)):
            asked: dict[str, Any] = {"after": after, "before": before, "limit": limit, "where": where}
            assert bundle.events(**asked) == reader.events(**asked)
        for kind in kinds:
            assert bundle.rows_of(kind, run.id, 10**6) == reader.rows_of(kind, run.id, 10**6)
        piece = bundle.output("step/1/stdout", -10, 100)
        assert (piece.data, piece.offset, piece.size) == (b"said " * 2, 4_990, 5_000)
        assert not any("link" in name or "lock" in name for name in bundle.manifest.parts)
        bundle.close()
        (tmp_path / "one.zip").unlink()
    reader.close()


def test_a_run_that_says_the_same_again_and_again_is_no_bomb(
    home: tuple[Path, list[RunRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MEMORY_BYTES_FREE", 0)
    monkeypatch.setattr(bundles, "MEMORY_BYTES_PER_BYTE", 1)
    root, runs = home
    written(root, runs[0], tmp_path / "a.zip")
    bundle = Bundle(tmp_path / "a.zip")
    assert bundle.verify().id == runs[0].id
    assert {bundle.packing(name) for name in bundle.manifest.parts if name.startswith("events/")} == {zipfile.ZIP_STORED}
    bundle.close()


def test_a_renamed_bundle_is_the_same_run_under_another_id(home: tuple[Path, list[RunRow]], tmp_path: Path) -> None:
    root, (run, *_) = home
    written(root, run, tmp_path / "one.zip")
    other = "r_" + "0" * 26
    renamed(tmp_path / "one.zip", tmp_path / "two.zip", run.id, other)
    bundle = Bundle(tmp_path / "two.zip")
    expected = msgspec.json.decode(msgspec.json.encode(run).replace(run.id.encode(), other.encode()), type=RunRow)
    assert bundle.verify() == expected
    bundle.close()


def _manifest(parts: dict[str, bytes], **changes: object) -> None:
    manifest = json.loads(parts["manifest.json"])
    parts["manifest.json"] = json.dumps({**manifest, **changes}).encode()


def _swap(parts: dict[str, bytes]) -> None:
    """Other events under the old hash."""
    parts["events/000000.jsonl"] = parts["events/000000.jsonl"].replace(b"task.ended", b"task.endet")


def _rehash(parts: dict[str, bytes], name: str, data: bytes) -> None:
    import hashlib

    manifest = json.loads(parts["manifest.json"])
    manifest["parts"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "offset": 0}
    parts["manifest.json"], parts[name] = json.dumps(manifest).encode(), data


def _foreign_run(parts: dict[str, bytes]) -> None:
    lines = parts["events/000000.jsonl"].splitlines()
    event = json.loads(lines[1])
    event["run"] = "r_" + "1" * 26
    _rehash(parts, "events/000000.jsonl", b"\n".join([lines[0], json.dumps(event).encode(), *lines[2:]]) + b"\n")


def _rich(parts: dict[str, bytes]) -> None:
    """Rows that the events do not tell."""
    row = json.loads(parts["rows/runs.jsonl"])
    row["status"] = "completed" if row["status"] != "completed" else "failed"
    _rehash(parts, "rows/runs.jsonl", json.dumps(row).encode() + b"\n")


def _without_first(parts: dict[str, bytes]) -> None:
    _rehash(parts, "events/000000.jsonl", b"\n".join(parts["events/000000.jsonl"].splitlines()[1:]) + b"\n")


WRONG: dict[str, Callable[[dict[str, bytes]], object]] = {
    "no manifest": lambda parts: parts.pop("manifest.json"),
    "newer version": lambda parts: _manifest(parts, version=99),
    "newer rows": lambda parts: _manifest(parts, schema=99),
    "other format": lambda parts: _manifest(parts, format="zip"),
    "no run id": lambda parts: _manifest(parts, run="../../etc"),
    "events changed": _swap,
    "events of another run": _foreign_run,
    "rows changed": _rich,
    "the beginning is missing": _without_first,
    "more than is named": lambda parts: parts.update({"files/more": b"x"}),
    "traversal": lambda parts: parts.update({"files/../../../evil": b"x"}),
    "absolute": lambda parts: parts.update({"/etc/evil": b"x"}),
    "backslash": lambda parts: parts.update({"files\\..\\evil": b"x"}),
    "not JSON": lambda parts: _rehash(parts, "events/000000.jsonl", b"nonsense\n"),
    "not UTF-8": lambda parts: _rehash(parts, "rows/runs.jsonl", b'{"id": "\xff"}\n'),
    "bytes cut off": lambda parts: parts.update({"events/000000.jsonl": parts["events/000000.jsonl"][:-20]}),
}


@pytest.mark.parametrize("what", WRONG)
def test_nothing_is_used_of_a_bundle_that_is_not_as_it_must_be(
    home: tuple[Path, list[RunRow]], tmp_path: Path, what: str
) -> None:
    root, (run, *_) = home
    written(root, run, tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as good:
        parts = {name: good.read(name) for name in good.namelist()}
    WRONG[what](parts)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name, data in parts.items():
            bad.writestr(name, data)
    with pytest.raises(UsageError):
        Bundle(tmp_path / "bad.zip").verify()


def test_a_part_twice_a_link_and_a_bomb_are_refused(
    home: tuple[Path, list[RunRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "PART_BYTES_MAX", 20 << 20)
    root, (run, *_) = home
    for name in ("twice", "link", "bomb"):
        path = tmp_path / f"{name}.zip"
        written(root, run, path)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as bundle:
            if name == "twice":
                with pytest.warns(UserWarning, match="Duplicate"):
                    bundle.writestr("manifest.json", b"{}")
            elif name == "link":
                info = zipfile.ZipInfo("files/link")
                info.external_attr = 0o120777 << 16
                bundle.writestr(info, "/etc/passwd")
            else:
                with bundle.open("files/bomb", "w", force_zip64=True) as part:
                    for _ in range(21):
                        part.write(bytes(1 << 20))
        with pytest.raises(UsageError):
            Bundle(path).verify()
    (tmp_path / "none.zip").write_bytes(b"no zip at all")
    with pytest.raises(UsageError, match="no bundle"):
        Bundle(tmp_path / "none.zip")
