"""Bundles that somebody made who means harm: little becomes much, parts are nested deep, uploads are left lying about."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from crewd.client import keeping
from crewd.client.blocking import Crew
from crewd.model.errors import CrewdError, Unavailable, UsageError
from crewd.protocol import keeping as kp
from crewd.store.bundle import Bundle, BundlePart
from crewd.store.keeper.transfers import ROOM_LEFT_BYTES, Transfers
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

DEEP = b"[" * 200_000 + b"]" * 200_000
MIB = 1 << 20


def packed(path: Path, parts: dict[str, bytes], manifest: bytes = b"") -> Path:
    """A bundle of these parts, whose manifest says so."""
    said = {name: msgspec.to_builtins(BundlePart(hashlib.sha256(data).hexdigest(), len(data))) for name, data in parts.items()}
    told = {
        "run": "r_" + "0" * 26, "name": "evil", "status": "completed", "events": 1, "first_seq": 1, "last_seq": 1,
        "bytes": 1, "parts": said,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, data in parts.items():
            target.writestr(name, data)
        target.writestr("manifest.json", manifest or json.dumps(told))
    return path


def rows(path: Path) -> None:
    packed(path, {"rows/messages.jsonl": b"{}\n" * (64 * MIB)})


def events(path: Path) -> None:
    packed(path, {f"events/{number:06}.jsonl": b"0\n" * (16 * MIB) for number in range(4)})


def manifest(path: Path) -> None:
    packed(path, {}, b'{"run": "' + b"x" * (200 * MIB) + b'"}')


def deep_manifest(path: Path) -> None:
    packed(path, {}, b'{"other": ' + DEEP + b"}")


def deep_events(path: Path) -> None:
    packed(path, {"events/000000.jsonl": b'{"body": ' + DEEP + b"}"})


def deep_rows(path: Path) -> None:
    packed(path, {"rows/runs.jsonl": DEEP})


def original(path: Path) -> None:
    packed(path, {"original/manifest.json": b'{"runId": "x"}', "original/events.jsonl": b"{}\n" * (64 * MIB)})


BOMBS = (rows, events, manifest, deep_manifest, deep_events, deep_rows)


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_becomes_much_or_is_nested_deep_is_refused_in_words(tmp_path: Path, bomb: Callable[[Path], None]) -> None:
    bomb(tmp_path / "evil.zip")
    with pytest.raises(UsageError, match=r"become|nested|recursion|cannot be read"):
        Bundle(tmp_path / "evil.zip").verify()


@pytest.mark.long
def test_large_files_are_looked_at_in_pieces(tmp_path: Path) -> None:
    packed(tmp_path / "large.zip", {"files/step/1/stdout": bytes(120 * MIB), "files/step/1/stderr": bytes(120 * MIB)})
    code = (
        "import resource, sys; from pathlib import Path; from crewd.store.bundle import Bundle\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, bundle = peak(), Bundle(Path(sys.argv[1]))\n"
        "try: bundle.verify()\n"
        "except Exception as error: print(error)\n"
        "print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "large.zip"], capture_output=True, text=True, check=True)
    assert "events say" in done.stdout, "it came as far as the rows"
    assert int(done.stdout.split()[-1]) < 100 << 10, done.stdout  # KiB


@pytest.mark.process
def test_what_was_uploaded_in_vain_goes(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    for bomb in (rows, deep_events, original):
        bomb(tmp_path / "evil.zip")
        with pytest.raises(CrewdError) as caught:
            keeping.take_in(crew, tmp_path / "evil.zip")
        assert "Error" not in caught.value.message
        assert not list(daemon.home.imports.iterdir())
    upload = crew.ids.next("x")
    crew.request(kp.Upload(upload=upload, offset=0, data=b"half of it"), 30)
    assert [path.name for path in daemon.home.imports.iterdir()] == [upload]
    os.utime(daemon.home.imports / upload, (0, 0))  # long ago
    daemon.kill()
    daemon.start()
    wait_until(lambda: not list(daemon.home.imports.iterdir()), "it to be cleared away")


def test_an_upload_leaves_room_for_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives: Any = SimpleNamespace(home=SimpleNamespace(imports=tmp_path), check_room=lambda: None)
    transfers = Transfers(archives, cast("Any", None), cast("Any", None))
    upload = "x_" + "0" * 26
    free = ROOM_LEFT_BYTES + 10
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    assert transfers.upload(kp.Upload(upload=upload, offset=0, data=b"x" * 10)).size == 10
    free -= 10
    with pytest.raises(Unavailable, match="no room for this: 32 MiB"):
        transfers.upload(kp.Upload(upload=upload, offset=10, data=b"x"))
    assert not list(tmp_path.iterdir()), "what is not whole takes no room"
