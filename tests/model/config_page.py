"""The tables in docs/configuration.md, made from the keys. Run it with `--write` to write them again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

from crewd.model.config import KEYS, Config
from crewd.model.run_settings import RUN_KEYS, RunSettings
from crewd.model.settings import Key, shown, type_words

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def table(name: str) -> str:
    """The keys of one kind of file, between marks."""
    shape: type[Config | RunSettings] = Config if name == "crewd.toml" else RunSettings
    keys: Mapping[str, Key] = KEYS if name == "crewd.toml" else RUN_KEYS
    last = "takes effect" if name == "crewd.toml" else "may stand in"
    lines = [f"<!-- {name}: begin -->\n", f"| key | is | default | what for | {last} |\n", "| --- | --- | --- | --- | --- |\n"]
    hints, default = get_type_hints(shape), shape()
    for key, each in keys.items():
        bounds = f", {each.range}" if each.range else ""
        when = ("reload" if each.live else "start") if name == "crewd.toml" else "yours" if each.personal else "both"
        value = shown(getattr(default, key))
        lines.append(f"| `{key}` | {type_words(hints[key])}{bounds} | `{value}` | {each.text} | {when} |\n")
    return "".join([*lines, f"<!-- {name}: end -->"])


def written(text: str) -> str:
    """The page with the tables as they are now."""
    for name in ("crewd.toml", "crew.toml"):
        before, _, rest = text.partition(f"<!-- {name}: begin -->\n")
        text = before + table(name) + rest.partition(f"<!-- {name}: end -->")[2]
    return text


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(written(PAGE.read_text()))
