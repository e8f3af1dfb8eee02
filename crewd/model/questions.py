"""What a worker can ask, and which answers fit: looked at when an answer comes, before anything is recorded of it.

A JSON answer that must follow a schema is looked at by the worker that asked: it has the schema and the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from crewd.model.errors import UsageError

QuestionKind = Literal["text", "confirm", "choose", "permission", "json"]
QUESTION_KINDS = get_args(QuestionKind)
YES = frozenset({"yes", "y", "true", "ok", "1", "allow"})
NO = frozenset({"no", "n", "false", "0", "deny"})
_WORDS = {"confirm": ("yes", "no"), "permission": ("allow", "deny")}


def check_answer(kind: str, choices: Sequence[str], text: str) -> str:
    """The answer as the worker gets it: `yes` or `no`, `allow` or `deny`, one of the choices, JSON, or the text itself.

    A choice may be given by its number from 1. Raises UsageError, with what would fit, for everything else.
    """
    said = text.strip()
    if kind in _WORDS:
        yes, no = _WORDS[kind]
        if said.lower() in YES | NO:
            return yes if said.lower() in YES else no
        raise UsageError(f"{_short(said)} is neither {yes} nor {no}", hint=f"crew respond QUESTION {yes}")
    if kind == "choose" and choices:
        if said in choices:
            return said
        if said.isdecimal() and len(said) < 10 and 1 <= int(said) <= len(choices):
            return choices[int(said) - 1]
        raise UsageError(f"{_short(said)} is not one of the choices", hint=f"one of {', '.join(choices)}")
    if kind == "json":
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"the answer is not JSON: {error}", hint='such as {"colour": "red"}') from None
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]} …")
