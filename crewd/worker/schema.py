"""The JSON schema of a question: what looks at an answer, and what of it is refused before anybody is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from crewd.model.errors import UsageError


def follows(schema: dict[str, Any] | None) -> Callable[[str], str]:
    """What looks at an answer: an empty text if it follows the schema, else what is wrong with it.

    Raises UsageError for what is no schema, and for one that refers to something which is not in it: nothing is fetched.
    """
    if schema is None:
        return lambda _text: ""
    try:
        library: Any = importlib.import_module("jsonschema")
    except ImportError:
        raise UsageError("a question with a schema needs jsonschema", hint="pip install 'crewd[schema]'") from None
    try:
        library.Draft202012Validator.check_schema(schema)
    except library.SchemaError as error:
        raise UsageError(f"the schema is not one: {error.message}") from None
    referencing: Any = importlib.import_module("referencing")
    validator = library.Draft202012Validator(schema, registry=referencing.Registry())  # it fetches nothing
    missing = next((ref for ref in _references(schema) if not _refers(schema, ref)), None)
    if missing is not None:
        raise UsageError(f"the schema refers to {missing!r}, which is not in it", hint="write it under $defs")

    def look(text: str) -> str:
        try:
            wrong = next(iter(validator.iter_errors(msgspec.json.decode(text))), None)
        except referencing.exceptions.Unresolvable as error:
            return f"the schema cannot be followed: {error}"
        return "" if wrong is None else f"{wrong.json_path}: {wrong.message}"

    return look


def _references(schema: object) -> Iterator[str]:
    """What a schema refers to, from all of its parts."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _refers(schema: object, reference: str) -> bool:
    """Whether a reference leads to a part of the schema, as far as that can be seen: by its place (RFC 6901), not by a name."""
    if not reference.startswith("#/"):
        return reference.startswith("#") or "$id" in str(schema)
    for part in reference[2:].split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(schema, dict) and key in schema:
            schema = schema[key]
        elif isinstance(schema, list) and key.isdigit() and int(key) < len(schema):
            schema = schema[int(key)]
        else:
            return False
    return True
