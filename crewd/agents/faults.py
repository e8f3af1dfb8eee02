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


_NO_MODEL = re.compile(
    r"(?:model|provider)\b.{0,80}(?:not found|unavailable|disabled|unknown|not exist|not supported|unsupported|overloaded)"
    r"|(?:unknown|unsupported|invalid|no such) (?:model|provider)",
    re.IGNORECASE,
)
_NO_ACCESS = re.compile(
    r"\b40[13]\b|unauthori[sz]ed|forbidden|api[ -_]?key|authenticat|token (?:has )?expired|billing|credit|not logged in"
    r"|context (?:window|length)",
    re.IGNORECASE,
)


def falls_back(text: str) -> bool:
    """Whether another model may do what this error has stopped.

    Not if no access was given, whatever else the text says, and not if the context is full: it would be for the next one, too.
    """
    return not _NO_ACCESS.search(text) and bool(_NO_MODEL.search(text) or fault_class(text) == TRANSIENT)


def fault_class(text: str) -> str:
    """The class of an error with this text: `PermanentError`, `TransientError`, or empty where the text says neither.

    Where it says both it is permanent: a key that is refused does not become good by waiting.
    """
    if _NEVER.search(text):
        return PERMANENT
    return TRANSIENT if _AGAIN.search(text) else ""
