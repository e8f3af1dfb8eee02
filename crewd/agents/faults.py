"""What kind of fault an agent's error is: one that another try may mend, or one that it will not."""

from __future__ import annotations

import re

PERMANENT = "PermanentError"
"""The class of an error that is never tried again."""
TRANSIENT = "TransientError"
_NEVER = re.compile(
    r"\b40[0134]\b|unauthori[sz]ed|forbidden|api[ -_]?key|authenticat|token (?:has )?expired|billing|credit|not logged in"
    r"|context (?:window|length)|invalid[ _]request",
    re.IGNORECASE,
)
_AGAIN = re.compile(
    r"\b(?:408|425|429|5\d\d)\b|rate.?limit|too many requests|quota|overloaded|unavailable|timed? ?out|refused|reset|hang ?up"
    r"|internal.?server.?error|high demand|network|fetch failed|upstream|disconnected|connection",
    re.IGNORECASE,
)


def fault_class(text: str) -> str:
    """The class of an error with this text: `PermanentError`, `TransientError`, or empty where the text says neither.

    Where it says both it is permanent: a key that is refused does not become good by waiting.
    """
    if _NEVER.search(text):
        return PERMANENT
    return TRANSIENT if _AGAIN.search(text) else ""
