"""Verbs for whole runs and for the home: forget, archive, prune, export, import, backup.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from msgspec.structs import replace

from crewd.client import keeping
from crewd.client.acts import ask_about, ask_hooks, hooks_at, refusal
from crewd.client.blocking import Crew, connect
from crewd.client.cli.common import FileToWrite, Options, Unwritable, out, say, say_hooks, table, time_of, verb, warn
from crewd.client.cli.group import Group
from crewd.client.cli.screen import plain
from crewd.client.keeping import OnConflict
from crewd.client.rendering import render
from crewd.clock import SystemClock
from crewd.model.errors import Refused, UsageError
from crewd.model.rows import ArtifactRow
from crewd.protocol import keeping as kp

RUNS_TOLD_MAX = 1_000
"""Of the runs that are to be pruned, so many are told to hooks."""
SHOWN_BYTES_MAX = 16 << 20
"""An artifact that is shown."""
_intent = click.option("--intent", default="", help="Why, in words; it stays in the history.")
_force = click.option("--force", is_flag=True, help="Also if it belongs to somebody else; needs an --intent.")
_dry = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")


def _show(options: Options, runs: tuple[kp.Kept, ...], *, dry: bool) -> None:
    if options.json:
        out({"v": 1, "dry_run": dry, "runs": runs})
        return
    for each in runs:
        action = {"forgotten": "would be forgotten", "archived": "would be archived"}.get(each.action) if dry else None
        say(f"{each.name}  {action or each.action}{': ' if each.why else ''}{each.why}")


def _one(options: Options, done: kp.Kept, *, dry: bool) -> None:
    if done.action == "kept":
        raise Refused(f"{done.name} is kept: {done.why}")
    _show(options, (done,), dry=dry)


@click.command()
@click.argument("target")
@_intent
@_force
@_dry
@verb
def forget(options: Options, target: str, intent: str, force: bool, dry_run: bool) -> None:  # noqa: FBT001 (flags)
    """Take everything of an ended run away: its history, its output, its artifacts."""
    with connect(options.home, start=False) as crew:
        if not dry_run and hooks_at("before_forget"):
            kept = keeping.forget(crew, target, intent=intent, force=force, dry_run=True)
            if kept.action == "kept":
                raise Refused(f"{kept.name} is kept: {kept.why}")
            say_hooks(ask_about(crew, "before_forget", target, f"{target} is not forgotten", intent=intent).hooks)
        _one(options, keeping.forget(crew, target, intent=intent, force=force, dry_run=dry_run), dry=dry_run)


@click.command()
@click.argument("target")
@_intent
@_force
@_dry
@verb
def archive(options: Options, target: str, intent: str, force: bool, dry_run: bool) -> None:  # noqa: FBT001 (flags)
    """Put an ended run into a compressed bundle; it is read as before."""
    with connect(options.home, start=False) as crew:
        _one(options, keeping.archive(crew, target, intent=intent, force=force, dry_run=dry_run), dry=dry_run)


@click.command()
@click.option("--older-than", default="30d", show_default=True, metavar="TIME", help="Ended so long ago: 90s, 15m, 2h, 30d.")
@click.option("--keep", default=0, metavar="N", help="Keep the newest N in any case.")
@click.option("--archive", "to_archive", is_flag=True, help="Archive them, and forget nothing.")
@click.option("-a", "--all", "everyone", is_flag=True, help="Also what others own; needs an --intent.")
@_intent
@_dry
@verb
def prune(
    options: Options, older_than: str, keep: int, to_archive: bool, everyone: bool, intent: str, dry_run: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Forget (or archive) runs that ended long ago. What somebody still has to look at is kept."""
    now = SystemClock().wall()
    order = kp.Prune(
        older_seconds=max(0.0, now - time_of(older_than, now)), keep=keep, archive=to_archive, intent=intent,
        everyone=everyone, dry_run=dry_run,
    )  # fmt: skip
    with connect(options.home, start=False) as crew:
        if not dry_run and hooks_at("before_cleanup"):
            runs = [kept.run for kept in keeping.prune(crew, replace(order, dry_run=True)) if kept.action != "kept"]
            asked = ask_hooks("before_cleanup", {"runs": runs[:RUNS_TOLD_MAX], "archive": to_archive, "intent": intent})
            if asked.blocked:
                raise refusal(asked, "nothing is pruned")
            say_hooks(asked.hooks)
        _show(options, keeping.prune(crew, order), dry=dry_run)


@click.command()
@click.argument("target")
@click.option("-o", "--output", type=FileToWrite(), help="The file (else NAME.zip).")
@verb
def export(options: Options, target: str, output: Path | None) -> None:
    """Write an ended run into one file: its history, its messages, what its workers left."""
    with connect(options.home, start=False) as crew:
        path = output or Path(f"{crew.show(target).run.name}.zip")
        if str(path) == "-":
            raise UsageError("a bundle is written into a file", hint="-o FILE")
        say_hooks(ask_about(crew, "before_publish", target, f"{path} is not written", path=str(path)).hooks)
        bundle = keeping.export(crew, target, path)
    if options.json:
        out(
            {
                "v": 1,
                "path": str(path),
                "size": bundle.size,
                "sha256": bundle.sha256,
                "events": bundle.events,
                "lost": list(bundle.lost),
            }
        )
    else:
        say(f"{path}  {bundle.size} bytes, {bundle.events} events, sha256 {bundle.sha256}")
    for artifact in bundle.lost:
        warn(f"the artifact {artifact} is damaged or gone, and not in it as it was (crew doctor --check)")


@click.command(name="import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--on-conflict", type=click.Choice(["refuse", "skip", "overwrite", "rename"]), default="refuse", show_default=True,
    help="When a run of this id or name is here.",
)  # fmt: skip
@_intent
@_force
@_dry
@verb
def import_(
    options: Options, path: Path, on_conflict: OnConflict, intent: str, force: bool, dry_run: bool  # noqa: FBT001 (flags)
) -> None:  # fmt: skip
    """Take a run in from a bundle (or a run directory of the original system); it is then only read."""
    with connect(options.home, start=options.start) as crew:
        reply = keeping.take_in(crew, path, on_conflict=on_conflict, intent=intent, force=force, dry_run=dry_run)
    if options.json:
        out(reply)
    else:
        for each in reply.conflicts:
            say(each.text)
        if reply.run is not None:
            say(f"{reply.run.name}  {reply.run.status}  {reply.run.id}")
        elif reply.identical:
            say("this run is here already")
        elif dry_run:
            say("nothing stands in its way" if not reply.conflicts else "nothing was done")
    serious = any(each.kind != "drift" for each in reply.conflicts)
    if reply.run is None and serious and on_conflict == "refuse":
        warn("--on-conflict rename takes it in under an id and a name that are free")
        sys.exit(Refused.exit_code)


@click.command()
@click.argument("target")
@verb
def artifacts(options: Options, target: str) -> None:
    """List what the workers of a run have left."""
    with connect(options.home, start=False) as crew:
        rows = crew.show(target).artifacts
    if options.json:
        out({"v": 1, "artifacts": [replace(row, data=b"") for row in rows]})
        return
    table(
        ["NAME", "SIZE", "TYPE", "BY", "KEPT", "SHA256"],
        (
            [
                row.name, row.size, row.mime, f"{row.task.partition('/')[2]}#{row.epoch}",
                f"{row.retention}{', masked' if row.redacted else ''}", row.sha256[:16],
            ]
            for row in rows
        ),
        empty="its workers have left no artifacts",
    )  # fmt: skip


@click.group(cls=Group)
def artifact() -> None:
    """Get what a worker has left."""


@artifact.command("get")
@click.argument("target")
@click.argument("name")
@click.option("-o", "--output", type=FileToWrite(), help="The file (else stdout).")
@verb
def artifact_get(options: Options, target: str, name: str, output: Path | None) -> None:
    """Write the artifact NAME (or its id) of a run or RUN/STEP to a new file, or to stdout.

    To stdout it is printed as text: what steers a terminal is left out, and said so. With '-o -' its bytes are written.
    """
    with connect(options.home, start=False) as crew:
        if output is None:
            _print(crew, target, name)
            return
        if str(output) == "-":
            keeping.artifact(crew, target, name, sys.stdout.buffer.write)
            sys.stdout.buffer.flush()
            return
        try:
            with output.open("xb") as file:
                row = keeping.artifact(crew, target, name, file.write)
        except FileExistsError:
            raise UsageError(f"{output} exists", hint="choose another file") from None
        except OSError as error:
            output.unlink(missing_ok=True)
            raise Unwritable(f"{output} cannot be written: {error.strerror}") from None
        except BaseException:
            output.unlink()
            raise
    if options.json:
        out(replace(row, data=b""))


@artifact.command("show")
@click.argument("target")
@click.argument("name")
@verb
def artifact_show(options: Options, target: str, name: str) -> None:
    """Print the artifact NAME (or its id) as the renderer of an extension shows it, or as it is if none does."""
    with connect(options.home, start=False) as crew, tempfile.TemporaryFile() as file:
        row = keeping.artifact(crew, target, name, file.write, SHOWN_BYTES_MAX)
        file.seek(0)
        data = file.read()
    rendered = render(row.name, data)
    shown = plain(_as_text(row, data) if rendered is None else rendered.text)
    if options.json:
        by, cut = ("", False) if rendered is None else (rendered.renderer, rendered.cut)
        out({"artifact": row.name, "renderer": by, "text": shown, "cut": cut})
    else:
        sys.stdout.write(shown if shown.endswith("\n") else shown + "\n")
        sys.stdout.flush()
        if rendered is not None and rendered.cut:
            warn(f"the renderer {rendered.renderer} has printed more than 1 MiB: the rest is left out")


def _as_text(row: ArtifactRow, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        hint = "crew artifact get -o FILE writes it as it is"
        raise UsageError(f"{row.name} is no text ({row.size} bytes)", hint=hint) from None


def _print(crew: Crew, target: str, name: str) -> None:
    """An artifact that is text, on standard output: as everywhere, nothing in it steers a terminal."""
    with tempfile.TemporaryFile() as file:
        row = keeping.artifact(crew, target, name, file.write)
        file.seek(0)
        data = file.read()
    text = _as_text(row, data)
    sys.stdout.write(plain(text))
    sys.stdout.flush()
    if plain(text) != text:
        warn(f"control characters were left out of it or replaced: crew artifact get {target} {name} -o - writes its bytes")


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@verb
def backup(options: Options, path: Path) -> None:
    """Copy the home's state into the new directory PATH while everything goes on; 'crewd restore' takes it back.

    Artifacts, results and outputs of steps are in it; logs of workers are not. Exit 1 if bundles of archived runs or
    artifacts are damaged or gone, and so not in it; everything else is.
    """
    with connect(options.home, start=False) as crew:
        reply = keeping.backup(crew, path)
    if options.json:
        out(reply)
    else:
        table(["BACKUP", "EVENTS", "BYTES", "BUNDLES"], [[reply.path, reply.events, reply.bytes, reply.bundles]])
    if reply.lacking:
        warn(f"{kp.lacking_words(reply.lacks, reply.lacking)} (crew doctor --check)")
    for each in reply.lost:
        warn(f"the artifact {each} is damaged or gone, and not in the backup (crew doctor --check)")
    if reply.lacking or reply.lost:
        sys.exit(1)
