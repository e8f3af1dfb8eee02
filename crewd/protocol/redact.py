"""Secrets leave a text before it is stored or logged.

Weak on purpose where it must be: it knows the shapes of common keys, not every secret. Errors, notes and questions pass
through it; the text of a control message does not (it must arrive as it was sent).
"""

from __future__ import annotations

import re

_SHAPES = re.compile(
    r"""
    \b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}            # model providers
    | \bgh[pousr]_[A-Za-z0-9]{20,}               # GitHub
    | \bxox[abprs]-[A-Za-z0-9-]{10,}             # Slack
    | \bAKIA[0-9A-Z]{16}\b                       # AWS
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}   # JWT
    | (?i:\bbearer\s+)[A-Za-z0-9._~+/-]{16,}=*
    """,
    re.VERBOSE,
)
_ASSIGNED = re.compile(
    r"(?i)\b([A-Z0-9_]*(?:api[_-]?key|secret|token|passwd|password)[A-Z0-9_]*\s*[=:]\s*)(?![\[{])([^\s'\",;]{6,})"
)
MASK = "[redacted]"


def redact(text: str) -> str:
    """`text` with what looks like a secret replaced by `[redacted]`."""
    return _ASSIGNED.sub(rf"\1{MASK}", _SHAPES.sub(MASK, text))


def clip(text: str, limit: int) -> str:
    """The redacted text, at most `limit` characters: the head and the tail, for both carry meaning (system.md G11).

    What is no text (lone surrogates, of file names that are no UTF-8) becomes `?`.
    """
    text = redact(text if text.isascii() else text.encode("utf-8", "replace").decode())
    if len(text) <= limit:
        return text
    keep = (limit - 5) // 2
    return f"{text[:keep]} ... {text[-keep:]}"
