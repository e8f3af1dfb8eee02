"""No secret that crewd knows by its shape is in any file of a home, of a bundle or of a backup, wherever it came in."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crewd.client import keeping
from crewd.client.blocking import Crew
from crewd.client.environment import Brought
from crewd.client.shapes import one_step
from crewd.model.errors import CrewdError
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.leaks import SHAPES, cores, planted

pytestmark = pytest.mark.process
LEAKS = str(Path(__file__).with_name("leaks.py"))


def command(mode: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, LEAKS, mode, *more)


def asked(crew: Crew, run: str) -> str:
    wait_until(lambda: [ask for ask in crew.inbox() if ask.run == run], "the question")
    return next(ask.id for ask in crew.inbox() if ask.run == run)


def plant(crew: Crew, daemon: Daemon, gate: Path) -> None:
    """Put a secret into each place that takes a text."""
    spec = WorkerSpec
    here = str(Path(__file__).parent.parent)
    path = Brought({"PYTHONPATH": here}, {}, {})
    run = crew.run(one_step("all", spec(call="tests.leaks:everywhere")), planted("goal"), cwd=here, name="all")
    crew.respond(asked(crew, run.id), "a", wait="settled")
    run.message(planted("message"))
    run.steer(planted("steer"))
    run.follow_up(planted("follow-up"))
    crew.respond(asked(crew, run.id), planted("answer"), wait="settled")
    run.wait(timeout=120)
    for steps in (
        (Step("large", worker=spec(call="tests.leaks:large")),),
        (Step("fails", worker=spec(call="tests.leaks:fails")),),
        (Step("outputs", worker=spec(call="tests.leaks:outputs"), output="o.txt"),),
        (Step("stdio", worker=spec(argv=command("stdio"), protocol="crewd-stdio")),),
        (Step("command", worker=spec(argv=command("command")), output="c.txt"),),
        (Step("large", worker=spec(argv=command("large"))),),
        (Step("fails", worker=spec(argv=command("fails"))),),
    ):
        crew.run(Workflow(f"w{steps[0].id}", steps), cwd=here, brought=path).wait(timeout=120)
    outside = crew.run(one_step("other", spec(outside=True)), cwd="/")
    claimed = crew.claim(f"{outside.id}/other", note=planted("claim note"), intent=planted("claim intent"))
    crew.finish(claimed.task, claimed.token, {"said": planted("finish")})
    failed = crew.run(one_step("other", spec(outside=True)), cwd="/")
    claimed = crew.claim(f"{failed.id}/other")
    crew.finish(claimed.task, claimed.token, error=planted("finish error"))
    crew.dismiss(failed.id)
    cancelled = crew.exec(["sleep", "1000"], cwd="/")
    cancelled.cancel(mode="now", intent=planted("cancel intent"))
    waits = crew.exec(list(command("waits", str(gate))), cwd="/", name="waits")
    wait_until(lambda: any(each.ready_at for each in waits.show().attempts), "the worker")


def refuse(crew: Crew) -> None:
    """What is kept as it is, is refused with a secret in it."""
    text = planted("refused")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: crew.exec(["echo", text], cwd="/"),
        lambda: crew.exec(["true"], cwd="/", env={"A": text}),
        lambda: crew.call("jobs:add", {"a": text}, cwd="/"),
        lambda: crew.run(Workflow("w", (Step("a", text=text, worker=WorkerSpec(shell="true")),), description=text), cwd="/"),
        lambda: crew.exec(["true"], cwd="/", request_id=text[:60]),
        lambda: crew.exec(["cat"], cwd="/", stdin=text.encode()),
    )
    for refused in attempts:
        with pytest.raises(CrewdError) as caught:
            refused()
        assert not [shape for shape, core in cores("refused").items() if core in str(caught.value).encode()]


def texts_of(*roots: Path) -> Iterator[tuple[Path | str, bytes]]:
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()
                if zipfile.is_zipfile(path):
                    with zipfile.ZipFile(path) as bundle:
                        for name in bundle.namelist():
                            yield f"{path}:{name}", bundle.read(name)


PLACES = (
    "standard output", "standard error", "progress", "phase", "tell", "checkpoint key", "checkpoint", "operation kind",
    "operation name", "operation error", "artifact text", "artifact large", "artifact file", "question", "choice",
    "default", "result", "result list", "result key", "large result", "error", "output", "stdio progress", "stdio tell",
    "stdio checkpoint", "stdio artifact", "stdio nonsense", "stdio result", "command output", "command error",
    "command large", "command tail", "unsent reports", "goal", "message", "steer", "follow-up", "answer", "claim note",
    "claim intent", "finish", "finish error", "cancel intent", "refused",
)  # fmt: skip


def test_no_secret_is_in_any_file_wherever_it_came_in(daemon: Daemon, tmp_path: Path) -> None:
    gate, kept = tmp_path / "gate", tmp_path / "kept"
    kept.mkdir()
    with daemon.connect() as crew:
        plant(crew, daemon, gate)
        refuse(crew)
    daemon.kill()
    gate.touch()
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get("waits").wait(timeout=120).run.status == "completed"
        crew.news()
        crew.doctor(rebuild=True)
        wait_until(lambda: unfinished(crew) == [], "every attempt to end and to be scrubbed")
        for run in crew.runs(all=True).runs:
            keeping.export(crew, run.id, kept / f"{run.name}.zip")
        keeping.backup(crew, kept / "backup")
        crew.stop_daemon()
    wait_until(lambda: daemon.stopped, "crewd to stop")
    found = [
        f"{place} ({shape}) in {path}"
        for path, data in texts_of(daemon.home.root, kept)
        for place in PLACES
        for shape, core in cores(place).items()
        if core in data
    ]
    assert found == []
    assert len(SHAPES) * len(PLACES) > 200


def unfinished(crew: Crew) -> list[str]:
    """Attempts that have not ended, or have written something that was not looked through yet."""
    attempts = [each for run in crew.runs(all=True).runs for each in crew.show(run.id).attempts]
    return [
        f"{each.task}#{each.epoch} {each.status}" for each in attempts if not (each.ended_at and clean(Path(each.directory)))
    ]


def clean(directory: Path) -> bool:
    written = any(path.stat().st_size for path in (directory / "stdout", directory / "stderr") if path.exists())
    return not written or (directory / "scrubbed").exists()
