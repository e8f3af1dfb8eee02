"""The steps of `audit.workflow.md`: ordinary functions over an ordinary directory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from crewd.worker import Context, worker

LANGUAGES = {
    ".py": "Python", ".md": "Markdown", ".toml": "TOML", ".sh": "Shell", ".c": "C", ".h": "C", ".js": "JavaScript",
    ".ts": "TypeScript", ".rs": "Rust", ".go": "Go", ".java": "Java", ".yml": "YAML", ".yaml": "YAML", ".json": "JSON",
    ".html": "HTML", ".css": "CSS", ".txt": "Text",
}  # fmt: skip
SKIPPED = {".git", ".venv", "node_modules", "__pycache__", "build", "dist", ".mypy_cache", ".ruff_cache", ".hypothesis"}
FILE_BYTES_MAX = 1 << 20
FILES_MAX = 5_000


def survey(ctx: Context) -> list[dict[str, Any]]:
    """Every text file: path, bytes, lines."""
    root = Path(ctx.goal)
    found: list[dict[str, Any]] = []
    for path in sorted(root.rglob("*")):
        if SKIPPED.intersection(path.relative_to(root).parts) or not path.is_file() or path.is_symlink():
            continue
        size = path.stat().st_size
        if size > FILE_BYTES_MAX or len(found) >= FILES_MAX or b"\0" in (data := path.read_bytes())[:4096]:
            continue
        found.append({"path": str(path.relative_to(root)), "bytes": size, "lines": data.count(b"\n")})
        ctx.progress(len(found), note=str(path.relative_to(root)))
    return found


def languages(ctx: Context) -> dict[str, dict[str, int]]:
    """Files and lines per language."""
    files = json.loads(ctx.read("survey.json"))
    count: dict[str, dict[str, int]] = {}
    for number, file in enumerate(files):
        ctx.progress(number, len(files), file["path"])
        name = LANGUAGES.get(Path(file["path"]).suffix, "other")
        entry = count.setdefault(name, {"files": 0, "lines": 0})
        entry["files"] += 1
        entry["lines"] += file["lines"]
    return dict(sorted(count.items(), key=lambda item: -item[1]["lines"]))


@worker(steer=True, follow_up=True)
def duplicates(ctx: Context) -> dict[str, Any]:
    """Lines that stand in several files. `skip DIR` while it works, `top N` when it is done."""
    files = [file["path"] for file in json.loads(ctx.read("survey.json"))]
    root, seen, skipped, top = Path(ctx.goal), Counter[str](), [], 5
    where: dict[str, set[str]] = {}
    for number, name in enumerate(files):
        ctx.progress(number, len(files), name)
        ctx.sleep(0.02)  # so that a person can watch
        steer = ctx.safe_point()
        if steer is not None:
            verb, _, rest = steer.text.partition(" ")
            if verb == "skip" and rest:
                skipped.append(rest)
                steer.done(f"skipping {rest} from file {number} on")
            else:
                steer.refuse("I know only: skip DIR")
        if any(Path(name).is_relative_to(each) for each in skipped):
            continue
        with ctx.operation("read", name=name):
            lines = (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
        for line in {line.strip() for line in lines if len(line.strip()) > 30}:
            where.setdefault(line, set()).add(name)
    for names in where.values():
        if len(names) > 1:
            seen.update(names)
    for message in ctx.natural_stop():
        verb, _, rest = message.text.partition(" ")
        if verb == "top" and rest.isdigit():
            top = int(rest)
            message.done(f"the list has {top} rows")
        else:
            message.refuse("I know only: top N")
    return {"skipped": skipped, "files": [{"path": name, "shared": lines} for name, lines in seen.most_common(top)]}


def largest(ctx: Context) -> list[dict[str, Any]]:
    """The ten largest files."""
    files: list[dict[str, Any]] = json.loads(ctx.read("survey.json"))
    return sorted(files, key=lambda file: -file["bytes"])[:10]


@worker(steer=False, follow_up=False)
def slow(ctx: Context) -> None:
    """Work for ten minutes, unless it is cancelled."""
    for second in range(600):
        ctx.progress(second, 600, "deliberately slow")
        ctx.sleep(1)


def report(ctx: Context) -> str:
    """Everything on one page, with a table and a chart."""
    files = json.loads(ctx.read("survey.json"))
    count: dict[str, dict[str, int]] = json.loads(ctx.read("languages.json"))
    repeated = json.loads(ctx.read("duplicates.json"))
    chart = ctx.artifact("languages.svg", _chart({name: entry["lines"] for name, entry in count.items()}))
    lint = [line for line in ctx.read("lint.txt").splitlines() if line.strip()]
    lines = [
        f"# Audit of {Path(ctx.goal).name}", "", f"{len(files)} text files, {sum(f['lines'] for f in files):,} lines.", "",
        f"![Lines per language]({chart.name})", "", "| language | files | lines |", "| --- | ---: | ---: |",
        *(f"| {name} | {entry['files']} | {entry['lines']:,} |" for name, entry in count.items()), "",
        "## Largest files", "", "| file | bytes |", "| --- | ---: |",
        *(f"| {file['path']} | {file['bytes']:,} |" for file in json.loads(ctx.read("largest.json"))), "",
        "## Most repeated lines", "", "| file | lines that stand elsewhere too |", "| --- | ---: |",
        *(f"| {file['path']} | {file['shared']} |" for file in repeated["files"]), "",
        f"Skipped on request: {', '.join(repeated['skipped']) or 'nothing'}.", "",
        "## Changed most often", "", "```", ctx.read("churn.txt").strip() or "no history", "```", "",
        "## Linter", "", f"{len(lint)} lines of output; the last ones:", "", "```", *lint[-5:], "```", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    ctx.artifact("audit.md", text)
    return text


def _chart(values: dict[str, int]) -> str:
    """Horizontal bars as SVG."""
    top = sorted(values.items(), key=lambda item: -item[1])[:8]
    widest = max((value for _, value in top), default=1) or 1
    rows = [
        f'<text x="110" y="{24 * i + 27}" text-anchor="end">{name}</text>'
        f'<rect x="118" y="{24 * i + 14}" width="{max(1, 380 * value // widest)}" height="16" fill="#4c78a8"/>'
        f'<text x="{126 + 380 * value // widest}" y="{24 * i + 27}">{value:,}</text>'
        for i, (name, value) in enumerate(top)
    ]
    height = 24 * len(top) + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{height}" font-family="sans-serif" font-size="13">'
        + "".join(rows)
        + "</svg>\n"
    )
