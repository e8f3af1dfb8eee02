"""Verbs that change files of agents, teams, workflows and skills (`edit`, `rename`, `rm`), and `crew init`.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from crewd.client import own_files
from crewd.client.cli.common import Options, out, say, verb
from crewd.client.resources import SUFFIXES, Kind, Resource
from crewd.client.texts import read_text
from crewd.model.errors import CrewdError, UsageError

BEGIN, END = "<!-- crewd: begin -->", "<!-- crewd: end -->"
GUIDANCE = f"""{BEGIN}
## Crews

This project has agents, teams and workflows for crewd in `.crew`. `crew teams` lists the teams, `crew plan "@TEAM GOAL"` shows
what would be done, `crew run "@TEAM GOAL" -f` does it. `crew show RUN` says how it stands, `crew steer RUN TEXT` tells a worker
something while it works.
{END}
"""
IGNORED = ".crew/**/*.bak"


def add_commands(group: click.Group, kind: Kind) -> None:
    """Add the verbs that change files of this kind to its group."""

    @group.command()
    @click.argument("name")
    @verb
    def edit(options: Options, name: str) -> None:
        """Change it in $VISUAL or $EDITOR. It is looked at before it takes the place of what was there."""
        _edit(options, own_files.own(kind, name))

    @group.command()
    @click.argument("name")
    @click.argument("new")
    @verb
    def rename(options: Options, name: str, new: str) -> None:
        """Give it another name, in each file that names it, too."""
        written = own_files.rename(own_files.own(kind, name), new)
        out({"written": list(map(str, written))}) if options.json else say("\n".join(map(str, written)))

    @group.command()
    @click.argument("name")
    @click.option("--force", is_flag=True, help="Also while another file names it; needs an --intent.")
    @click.option("--intent", default="", help="Why.")
    @verb
    def rm(options: Options, name: str, force: bool, intent: str) -> None:  # noqa: FBT001 (a flag)
        """Put it aside: it stays beside where it was, as FILE.bak."""
        if force and not intent:
            raise UsageError("--force needs an --intent", hint="say why: --intent 'nobody needs it'")
        aside = own_files.remove(own_files.own(kind, name), force=force)
        out({"kept_as": str(aside), "intent": intent}) if options.json else say(f"kept as {aside}")


def _edit(options: Options, of: Resource) -> None:
    of.text()
    before = of.path.read_bytes()
    with tempfile.NamedTemporaryFile("wb", prefix=f"{of.name}-", suffix=of.path.suffix, delete=False) as draft:
        draft.write(before)
    path = Path(draft.name)
    kept = f"{of.path} is as it was; your text is in {path}"
    try:
        click.edit(filename=str(path))
    except click.ClickException as error:
        if path.exists() and path.read_bytes() != before:
            raise UsageError(error.message, hint=kept) from None
        path.unlink(missing_ok=True)
        raise UsageError(error.message, hint="nothing was changed; VISUAL or EDITOR names the editor") from None
    if not path.exists() or path.read_bytes() == before:
        path.unlink(missing_ok=True)
        say("nothing was changed")
        return
    try:
        read_text(path)
        text = path.read_bytes().decode()
        own_files.check_text(of.kind, of.name, text)
    except CrewdError as error:
        raise UsageError(f"{of.id}: {error.message}", hint=f"{error.hint}; {kept}" if error.hint else kept) from None
    own_files.write({of.path: text})
    path.unlink()
    out({"written": [str(of.path)]}) if options.json else say(str(of.path))


@click.command()
@click.option("--agents-md", is_flag=True, help="Say in AGENTS.md, in a marked block, that there are crews here.")
@click.option("--no-agents-md", is_flag=True, help="Take that block away again, and nothing else.")
@click.option("--gitignore", is_flag=True, help="Let git ignore what is kept aside (.crew/**/*.bak).")
@verb
def init(options: Options, agents_md: bool, no_agents_md: bool, gitignore: bool) -> None:  # noqa: FBT001 (flags)
    """Lay out .crew in this directory. What is there already stays as it is."""
    if agents_md and no_agents_md:
        raise UsageError("--agents-md and --no-agents-md contradict each other", hint="give one of them")
    changed = []
    for kind in SUFFIXES:
        folder = Path(".crew") / kind
        if not folder.is_dir():
            folder.mkdir(parents=True)
            changed.append(folder)
    if agents_md or no_agents_md:
        changed += _guide(Path("AGENTS.md"), GUIDANCE if agents_md else "")
    if gitignore:
        changed += _ignore(Path(".gitignore"))
    if options.json:
        out({"changed": list(map(str, changed))})
    else:
        say("\n".join(map(str, changed)) or "everything is there already")


def _guide(path: Path, guidance: str) -> list[Path]:
    text = path.read_bytes() if path.exists() else b""
    begin, end = text.find(BEGIN.encode()), text.find(END.encode())
    if (begin < 0) != (end < 0) or end < begin:
        raise UsageError(f"{path} has one of two marks ({BEGIN}, {END})", hint="put the other back, or take it out")
    before, rest = text, b""
    if begin >= 0:  # with the one line break before it, which was added with it
        before, rest = text[:begin].removesuffix(b"\n"), text[end + len(END.encode()) :].removeprefix(b"\n")
    after = (before + b"\n" if before else b"") + guidance.encode() + rest if guidance else before + rest
    if after == text:
        return []
    if after:
        path.write_bytes(after)
    else:
        path.unlink()  # nothing else was in it
    return [path]


def _ignore(path: Path) -> list[Path]:
    text = path.read_bytes() if path.exists() else b""
    if IGNORED.encode() in text.splitlines():
        return []
    path.write_bytes(text + (b"" if not text or text.endswith(b"\n") else b"\n") + IGNORED.encode() + b"\n")
    return [path]
