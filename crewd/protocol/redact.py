"""Secrets leave a text before it is stored, logged or shown (system.md B11).

What is known: private keys in PEM, what follows `Authorization`, `Bearer` and `Basic`, passwords in URLs, the shapes of the
keys that providers hand out, and what is assigned to a name that ends like one of a secret. What is not: a secret that looks
like any word. Linear in the length of the text: each pattern begins with something fixed and reads on without going back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

S = TypeVar("S", str, bytes)
MASK = "[redacted]"
SECRET_CHARS_MAX = 16_384
"""The longest secret that is looked for: a private key of 16,384 bits has 12,800 characters."""
BEFORE_CHARS = 64
"""A pattern begins at most so long before the word that it is found by (`-----BEGIN ... PRIVATE KEY`)."""
_SHAPES = r"""
    (?P<pem>-----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----[^-]{0,16384}(?:-----END[ ][A-Z0-9 ]{0,40}-----)?)
    | (?<![A-Za-z0-9])(?P<key>
        sk-[A-Za-z0-9_-]{16,256} | [srp]k_(?:live|test)_[A-Za-z0-9]{10,128}     # model providers, Stripe
        | gh[pousr]_[A-Za-z0-9]{20,255} | github_pat_[A-Za-z0-9_]{20,255} | glpat-[A-Za-z0-9_-]{16,64}
        | xox[abeoprs]-[A-Za-z0-9-]{10,255} | hf_[A-Za-z0-9]{20,64} | npm_[A-Za-z0-9]{20,64}
        | (?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z]) | AIza[A-Za-z0-9_-]{30,64} | SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}
        | eyJ[A-Za-z0-9_-]{10,4096}\.[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{5,2048}        # JSON web tokens
      )
    | (?i:\bauthorization["']?\s{0,4}[:=]\s{0,4}["']?(?:bearer|basic|token)?\s{0,4})(?P<header>[^\s"',;]{6,8192})
    | (?i:\b(?:bearer|basic)\s{1,4})(?P<bearer>[A-Za-z0-9._~+/-]{16,8192}={0,2})
    | ://[^\s:/@]{0,128}:(?P<url>[^\s:/@]{3,256})@
    | (?i:(?:api[_-]?key|secret|token|password|passwd|passphrase|(?:secret|access|private|auth)[_-]?key|client[_-]?secret)
        ["']?\s{0,4}(?:[:=]|=>)\s{0,4}["']?)
      (?P<assigned>(?![\[{$<%(*])(?!\d{1,12}(?![^\s"',;}\])]))(?!(?i:true|false|null|none|undefined)\b)[^\s"',;}\])]{6,4096})
    | (?i:--(?:api-?key|secret|token|password|passphrase)[ ]{1,4})(?P<flag>(?![\[{$<%(*-])[^\s"',;]{6,4096})
"""
_TEXT = re.compile(_SHAPES, re.VERBOSE)
_BYTES = re.compile(_SHAPES.encode(), re.VERBOSE)
_WORDS = (
    "key", "secret", "token", "passw", "passphrase", "authorization", "bearer", "basic", "://", "sk-", "k_live_", "k_test_",
    "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "hf_", "npm_", "akia", "asia", "aiza", "sg.", "eyj",
)  # fmt: skip
_BYTE_WORDS = tuple(word.encode() for word in _WORDS)
_NAME = re.compile(r"(?i)(?:api[_-]?key|secret|token|password|passwd|passphrase|(?:access|private|auth)[_-]?key)\Z")


def redact(text: str) -> str:
    """`text` with what looks like a secret replaced by `[redacted]`."""
    found = _found(text, text.lower(), _TEXT, _WORDS, "\n", "private key-----")
    return "".join(_pieces(text, found, lambda _size: MASK)) if found else text


def blot(data: bytes, upto: int | None = None) -> bytes:
    """The same for the bytes of a file, each byte of a secret replaced by `*`: every offset stays what it was.

    `upto`: only what is found before it. What begins after it is looked at with what follows, where it may be longer.
    """
    found = _found(data, data.lower(), _BYTES, _BYTE_WORDS, b"\n", b"private key-----")
    found = [span for span in found if upto is None or span[0] < upto]
    return b"".join(_pieces(data, found, lambda size: b"*" * size))


def _found(text: S, low: S, pattern: re.Pattern[S], words: Iterable[S], newline: S, pem: S) -> list[tuple[int, int]]:
    """Where secrets begin and end. The patterns are slow, so they look only where one of the words stands."""
    hits: list[int] = sorted({at for word in words if word in low for at in _places(low, word)})
    found: list[tuple[int, int]] = []
    if not hits:
        return found
    begin = end = 0
    for hit in [*hits, len(text) + BEFORE_CHARS + 1]:
        if hit - BEFORE_CHARS > end:
            found += [match.span(match.lastgroup or 0) for match in pattern.finditer(text, begin, end)]
            begin = end = max(0, hit - BEFORE_CHARS)
        limit = min(len(text), hit + SECRET_CHARS_MAX + BEFORE_CHARS)
        if not low.startswith(pem, max(0, hit - 8), hit + len(pem)):  # a value may stand on the line below its name
            line = low.find(newline, hit, limit)
            line = low.find(newline, line + 1, limit) if line >= 0 else -1
            limit = limit if line < 0 else line
        end = max(end, limit)
    return found


def _places(low: S, word: S) -> Iterator[int]:
    at = low.find(word)
    while at >= 0:
        yield at
        at = low.find(word, at + 1)


def _pieces(text: S, spans: list[tuple[int, int]], mask: Callable[[int], S]) -> Iterator[S]:
    at = 0
    for begin, end in spans:
        yield text[at:begin]
        yield mask(end - begin)
        at = end
    yield text[at:]


def redact_value(value: Any) -> Any:
    """JSON-like data with every text in it redacted, and the texts under names like `password` masked whatever they are."""
    match value:
        case str():
            return redact(value)
        case list() | tuple():
            return [redact_value(each) for each in value]
        case dict():
            return {
                redact(key) if isinstance(key, str) else key:
                MASK if isinstance(each, str) and each and isinstance(key, str) and _NAME.search(key) else redact_value(each)
                for key, each in value.items()
            }  # fmt: skip
        case _:
            return value


def clip(text: str, limit: int) -> str:
    """The redacted text, at most `limit` characters: the head and the tail, for both carry meaning (system.md G11).

    What is no text (lone surrogates, of file names that are no UTF-8) becomes `?`.
    """
    text = redact(text if text.isascii() else text.encode("utf-8", "replace").decode())
    if len(text) <= limit:
        return text
    keep = (limit - 5) // 2
    return f"{text[:keep]} ... {text[-keep:]}"
