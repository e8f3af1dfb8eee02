"""Texts of errors after which another try would end the same way: the service does not know the caller, or wants money.

The table is rule N2 of the system that crewd re-creates: a rate limit or an overloaded service is tried again, and what is
about authentication, permission or billing never is. If an error speaks of both, it is not tried again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from crewd.model.errors import UsageError

PERMANENT_TEXTS = (
    r"\b(?:http|https|status|response)(?:[ _/-]?(?:error|code|status|1\.[01]|2))*\W{1,3}40[123]\b",
    r"\b40[123]\W{1,3}(?:client error|unauthori[sz]ed|payment|forbidden)",
    r"^(?:\w+(?:error|exception)\W{1,3})?(?:error\W{1,3})?\(?40[123]\W*$",
    r"\berror(?: code)?\W{1,3}40[123]\b(?!\.\d)(?! \w+s\b)",
    r"\bunauthori[sz]ed\b",
    r"\bforbidden\b",
    r"\bauthentication[ _](?:error|failed|failure|required)\b|\bnot authenticated\b|\bauth(?:orization)? failed\b",
    r"\b(?:invalid|incorrect|expired|revoked)[ _](?:x-)?(?:api[ _-]?)?(?:key|token|credentials?)\b",
    r"\b(?:missing|no)[ _](?:api[ _-]?key|credentials?)\b",
    r"\b(?:key|token|credentials?|session|login) (?:is |are |has |have )?(?:been )?(?:invalid|incorrect|expired|revoked)\b",
    r"\bpermission_error\b|\binsufficient[ _](?:permissions?|scope)\b",
    r"\bbilling\b|\bpayment required\b|\b(?:insufficient|out of|not enough|no) (?:credits?|funds|balance)\b",
    r"\bcredit balance\b|\binsufficient_quota\b",
)
"""Regular expressions, searched for line by line in the error of an attempt without regard to case."""
TEXTS_MAX = 64
TEXT_CHARS_MAX = 500


@functools.cache
def _table() -> list[re.Pattern[str]]:
    return [re.compile(text, re.IGNORECASE | re.MULTILINE) for text in PERMANENT_TEXTS]


def is_permanent(error: str, texts: Sequence[str] | None = None) -> bool:
    """Whether the error holds one of the texts, which are plain words; without any, whether the table knows it."""
    if texts is None:
        return bool(error) and any(pattern.search(error) for pattern in _table())
    folded = error.casefold()
    return any(text.casefold() in folded for text in texts)


def check_texts(what: str, texts: Sequence[str]) -> None:
    """UsageError for texts that are empty, too long or too many."""
    if len(texts) > TEXTS_MAX:
        raise UsageError(f"{what} has {len(texts)} texts of permanent errors", hint=f"at most {TEXTS_MAX}")
    for text in texts:
        if not 0 < len(text) <= TEXT_CHARS_MAX:
            raise UsageError(
                f"{what}: a text of permanent errors has {len(text)} characters", hint=f"1 to {TEXT_CHARS_MAX} are possible"
            )
