"""docs/hooks.schema.json, made from the types. Run it with `--write` to write it again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from crewd.model.hook_requests import REQUESTS_OF_HOOKS

FILE = Path(__file__).parents[2] / "docs" / "hooks.schema.json"


def written() -> str:
    """The file as it is to be: a schema for each point, and the types that they share."""
    points = list(REQUESTS_OF_HOOKS)
    schemas, types = msgspec.json.schema_components(REQUESTS_OF_HOOKS.values(), ref_template="#/$defs/{name}")
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What hooks of crewd are given, by the point at which they are asked",
        "properties": dict(zip(points, schemas, strict=True)),
        "$defs": types,
    }
    return json.dumps(whole, indent=2) + "\n"


if __name__ == "__main__" and "--write" in sys.argv:
    FILE.write_text(written())
