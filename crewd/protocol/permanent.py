"""Texts of errors after which another try would end the same way: the service does not know the caller, or wants money.

The table is rule N2 of the system that crewd re-creates: a rate limit or an overloaded service is tried again, and what is
about authentication, permission or billing never is. If an error speaks of both, it is not tried again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from crewd.protocol.errors import UsageError

PERMANENT_TEXTS = (
    r"(?:^|[:({\[]\s*|\b(?:http|https|status|code|error|response)\b\W{0,3}(?:code\W{0,3})?)40[123]\b(?!\.\d)",
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
"""Regular expressions, searched for in the error of an attempt without regard to case."""
TEXTS_MAX = 64
TEXT_CHARS_MAX = 500


def is_permanent(error: str, texts: Sequence[str] = PERMANENT_TEXTS) -> bool:
    """Whether one of the texts is found in the error."""
    return bool(error) and any(_compiled(text).search(error) for text in texts)


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.MULTILINE)


def check_texts(what: str, texts: Sequence[str]) -> None:
    """UsageError for what is no regular expression, is too long or is too many."""
    if len(texts) > TEXTS_MAX:
        raise UsageError(f"{what} has {len(texts)} texts of permanent errors", hint=f"at most {TEXTS_MAX}")
    for text in texts:
        try:
            if len(text) > TEXT_CHARS_MAX:
                hint = f"at most {TEXT_CHARS_MAX}"
                raise UsageError(f"{what}: a text of permanent errors has {len(text)} characters", hint=hint)
            re.compile(text)
        except re.error as error:
            raise UsageError(f"{what}: {text!r} is no regular expression: {error}") from None
