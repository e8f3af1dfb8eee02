"""Secrets leave a text before it is stored, logged or shown.

What is known: private keys in PEM, what follows `Authorization`, `Bearer` and `Basic`, cookies, passwords, tokens and
signatures in URLs, in `.netrc`, in Docker's configuration and in calls of `curl`, `mysql` and `sshpass`, the keys that
providers hand out (`secret_shapes`), and what is assigned to a name that ends like one of a secret. A reference to a secret
(`$TOKEN`, `process.env.TOKEN`, `form.get("password")`) is none, nor is an ordinary word. What is not known: a secret that looks
like any word. Linear in the length of the text: each pattern begins with something fixed and reads on without going back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from crewd.model.secret_shapes import SHAPES

S = TypeVar("S", str, bytes)
MASK = "[redacted]"
DEPTH_MAX = 250
"""Lists and dicts in each other; a worker's own limit is lower."""
SECRET_CHARS_MAX = 16_384
"""The longest secret that is looked for: a private key of 16,384 bits has 12,800 characters."""
SHORT_CHARS = 4_096
"""A text of fewer characters is first looked through for anything that is long enough to be a key: most hold nothing."""
BEFORE_CHARS = 64
"""A pattern begins at most so long before the word that it is found by (`-----BEGIN ... PRIVATE KEY`)."""
_REFERENCE = r"\\{0,2}[\[{$<%(*@]"
"""How a reference or a placeholder begins: `$TOKEN`, `${TOKEN}`, `%TOKEN%`, `{{token}}`, `<token>`, `(...)`, `***`, `@file`."""
_PHRASE = r"password|passwd|passphrase|passcode|(?<![a-z])(?:db_?)?pass|pwd|(?<![a-z])psk"
"""Names of what people make up themselves."""
_NAMES = (
    rf"api[_-]?key|secret|token|{_PHRASE}"
    r"|(?:secret|access|private|auth|account|encryption|signing)[_-]?key|client[_-]?secret"
)
_QUOTE = r"\\{0,3}[\"']?"
"""Also one that is quoted itself, as in a JSON text within another one."""
_IS = rf"{_QUOTE}\s{{0,4}}(?:[:=]|=>)\s{{0,4}}"
_VALUE = r"(?:[^\s\"',;}}\])\\]|\\(?![\"']))"
_PATTERNS = rf"""
    (?P<pem>-----BEGIN[ ][A-Z0-9 ]{{0,40}}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----(?:(?!-----)[\s\S]){{0,16384}}
        (?:-----END[ ][A-Z0-9 ]{{0,40}}-----)?)
    | (?i:\bauthorization["']?\s{{0,4}}[:=]\s{{0,4}}["']?(?:bearer|basic|token)?\s{{0,4}})
        (?P<header>(?!{_REFERENCE})(?!(?i:bearer|basic|token)\b)[^\s"',;]{{6,8192}})
    | (?i:\b(?:bearer|basic)\s{{1,4}})(?P<bearer>[A-Za-z0-9._~+/-]{{16,8192}}={{0,2}})
    | (?i:\b(?:set-)?cookie{_IS}{_QUOTE})(?P<cookie>(?!{_REFERENCE})[^\s"'=;:]{{1,64}}=[^\r\n"']{{4,4096}})
    | ://(?P<user>(?!{_REFERENCE})(?=[A-Za-z_-]{{0,64}}\d)[A-Za-z0-9_-]{{20,256}}(?::[^\s:/@]{{0,256}})?)@
    | ://[^\s:/@]{{0,128}}:(?P<url>(?!{_REFERENCE})[^\s:/@]{{3,256}})@
    | (?i:[?&](?:sig|signature|x-(?:amz|goog)-signature)=)(?P<signature>[A-Za-z0-9%+/=_-]{{16,1024}})
    | (?i:(?P<phrase_name>{_PHRASE}|secret){_IS})(?P<mark>["'])(?P<phrase>(?!{_REFERENCE})[^"'\n]{{6,256}})(?P=mark)
    | (?!PASS:[ ])(?i:(?P<name>{_NAMES}){_IS}{_QUOTE})
      (?P<assigned>(?!{_REFERENCE})(?!-----BEGIN)(?!\d{{1,12}}(?![^\s"',;}}\])]))(?!(?i:true|false|null|none|undefined)\b)
        {_VALUE}{{6,4096}})
    | (?:PASS(?:WORD|WD|PHRASE)?|_PWD|SECRET)={_QUOTE}(?P<short>(?!{_REFERENCE})(?!\d{{1,5}}(?![^\s"',;}}\])])){_VALUE}{{3,5}}
      (?!{_VALUE}))
    | (?i:["'_]auth{_IS}{_QUOTE})(?P<auth>[A-Za-z0-9+/]{{8,4096}}={{0,2}})(?![^\s"',;}}\\])
    | (?i:--(?P<option>api-?key|secret|token|password|passphrase)[ ]{{1,4}})
      (?P<flag>(?!{_REFERENCE})(?!-)[^\s"',;]{{6,4096}})
    | (?i:--(?P<phrase_option>password|passphrase|secret)[ =]{{1,4}})
      (?P<quotes>["'])(?P<phrase_flag>(?!{_REFERENCE})[^"'\n]{{6,256}})(?P=quotes)
    | (?i:<[\w:.-]{{0,40}}?(?:{_NAMES})>)(?P<element>(?!{_REFERENCE})[^<>]{{3,4096}})(?=</)
    | (?i:(?:key|name)=["'][\w:.-]{{0,40}}?(?:{_NAMES})["']\s{{1,8}}value=["'])
      (?P<attribute>(?!{_REFERENCE})[^"'<>]{{3,4096}})(?=["'])
    | (?i:\b(?:machine\s{{1,40}}\S{{1,256}}|default)\s{{1,40}}login\s{{1,40}}\S{{1,256}}\s{{1,40}}password\s{{1,40}})
      (?P<netrc>(?!{_REFERENCE})\S{{3,256}})
    | (?i:\bcurl\b[^\n]{{0,200}}?\s(?:-u|--user|--proxy-user)[ =]?)["']?[^\s:"']{{1,128}}:
      (?P<curl>(?!{_REFERENCE})[^\s"']{{3,256}})
    | (?i:\bcurl\b[^\n]{{0,200}}?\s(?:-b|--cookie)[ =]{{1,2}})["']?
      (?P<jar>(?!{_REFERENCE})[^\s"'=;]{{1,64}}=[^\r\n"']{{4,4096}})
    | (?i:\bmysql(?:dump|admin)?\b[^\n]{{0,200}}?\s-p)(?P<mysql>(?!{_REFERENCE})[^\s"']{{3,256}})
    | (?i:\bsshpass\s{{1,4}}-p\s{{0,4}}["']?)(?P<sshpass>(?!{_REFERENCE})[^\s"']{{3,256}})
    | (?<=\d{{8}}):(?P<telegram>AA[A-Za-z0-9_-]{{32,36}})(?![A-Za-z0-9_-])
"""
_LONG = re.compile(r"[A-Za-z0-9_./~+=-]{16}")
_LONG_BYTES = re.compile(rb"[A-Za-z0-9_./~+=-]{16}")
_NAMED = {"assigned": "name", "flag": "option"}
"""Groups whose value is a secret only if it looks like one, and the group of the name that it is given."""
_PHRASES = {"phrase": "phrase_name", "phrase_flag": "phrase_option"}
"""The same for values in quotes, which may have several words."""
_GROUPS = (
    "pem", "header", "bearer", "cookie", "user", "url", "signature", "phrase", "assigned", "short", "auth", "flag",
    "phrase_flag", "element", "attribute", "netrc", "curl", "jar", "mysql", "sshpass", "telegram",
)  # fmt: skip


@cache
def _text_pattern() -> re.Pattern[str]:
    """Compiled when it is needed: that takes 10 ms, and most processes never see a text with one of the words."""
    return re.compile(_PATTERNS, re.VERBOSE)


@cache
def _bytes_pattern() -> re.Pattern[bytes]:
    return re.compile(_PATTERNS.encode(), re.VERBOSE)


def compile_patterns() -> None:
    """Compile what is looked for in texts. For a process that others are forked from, so that none of them has to."""
    _text_pattern()
    for _, shape in SHAPES:
        re.compile(shape)


_WORDS = (
    "key", "secret", "token", "pass", "pwd", "psk", "auth", "bearer", "basic", "://", "cookie", "sig=", "signature=", "login",
    "machine", "curl", "mysql", ":aa",
)  # fmt: skip
_BYTE_WORDS = tuple(word.encode() for word in _WORDS)
_BYTE_SHAPES = tuple((word.encode(), shape.encode()) for word, shape in SHAPES)
_NAME = re.compile(rf"(?i)(?:{_NAMES}|\Aauthorization|\A(?:set-)?cookie)\Z")
_NO_SECRET_NAMES = re.compile(
    r"(?i)(?:\A|[_.-]|(?<=[a-z])(?=[A-Z]))(?:eos|bos|pad|unk|sep|cls|mask|csrf|xsrf|next|page|continuation|cursor|sync|stop|start"
    r"|special|image|end|primary|foreign|public|partition|sort|idempotency)[_-]?(?:page)?[_-]?(?:token|key)\Z"
)
"""Names that end like one of a secret, and are none: special tokens of models, cursors, keys of tables (gitleaks allows
most)."""
_WORD = re.compile(r"[A-Za-z_.-]+\Z")
_CODE = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\??\.|::|->)[A-Za-z_]\w*)*[(\[]|[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]+)+\Z")
"""A call, an index or an attribute: what a program is made of, and no value."""
_PLACE = re.compile(r"(?:~|\.{1,2})?/(?:[\w.-]+/)*[\w.-]*\Z")
_ORDINARY = frozenset(
    {
        "required", "optional", "incorrect", "invalid", "expired", "missing", "changed", "updated", "correct",
        "unknown", "hidden", "prompt", "string", "secret", "password", "redacted", "disabled", "enabled", "default",
        "example", "placeholder", "generated", "protected", "cannot", "should", "please", "needed", "denied",
        "accepted", "rejected", "failed", "matches", "mismatch", "cleared", "stored", "encrypted", "hashed", "saved",
        "entered", "provided", "field", "length", "policy", "prompts", "prompted", "strength", "manager",
    }
)  # fmt: skip
"""What stands behind `password:` in an ordinary sentence."""
_SENTENCE = (_ORDINARY - {"secret", "password", "correct"}) | {
    "is", "must", "your", "enter", "please", "was", "are", "not", "confirm", "repeat", "forgot", "reset", "wrong", "characters",
}  # fmt: skip
"""What stands in a sentence about a password."""


def redact(text: str) -> str:
    """`text` with what looks like a secret replaced by `[redacted]`."""
    low = text.lower()
    found = _merged([*_found(text, low, _text_pattern, _WORDS, "\n", "private key-----"), *_keys(text, low, SHAPES, _LONG)])
    return "".join(_pieces(text, found, lambda _size: MASK)) if found else text


def blot(data: bytes, upto: int | None = None) -> bytes:
    """The same for the bytes of a file, each byte of a secret replaced by `*`: every offset stays what it was.

    `upto`: only what is found before it. What begins after it is looked at with what follows, where it may be longer.
    """
    low = data.lower()
    found = _merged(
        [
            *_found(data, low, _bytes_pattern, _BYTE_WORDS, b"\n", b"private key-----"),
            *_keys(data, low, _BYTE_SHAPES, _LONG_BYTES),
        ]
    )
    found = [span for span in found if upto is None or span[0] < upto]
    return b"".join(_pieces(data, found, lambda size: b"*" * size))


def _found(
    text: S, low: S, pattern: Callable[[], re.Pattern[S]], words: Iterable[S], newline: S, pem: S
) -> list[tuple[int, int]]:
    """Where secrets begin and end. The patterns are slow, so they look only where one of the words stands."""
    hits: list[int] = sorted({at for word in words if word in low for at in _places(low, word)})
    found: list[tuple[int, int]] = []
    if not hits:
        return found
    begin = end = 0
    for hit in [*hits, len(text) + BEFORE_CHARS + 1]:
        if hit - BEFORE_CHARS > end:
            found += _spans(text, pattern(), begin, end)
            begin = end = max(0, hit - BEFORE_CHARS)
        limit = min(len(text), hit + SECRET_CHARS_MAX + BEFORE_CHARS)
        if not low.startswith(pem, max(0, hit - 8), hit + len(pem)):  # a value may stand on the line below its name
            line = low.find(newline, hit, limit)
            line = low.find(newline, line + 1, limit) if line >= 0 else -1
            limit = limit if line < 0 else line
        end = max(end, limit)
    return found


def _keys(text: S, low: S, shapes: Iterable[tuple[S, S]], long: re.Pattern[S]) -> Iterator[tuple[int, int]]:
    """Where keys of providers stand: looked for by their prefixes, each of which is rare."""
    if len(text) < SHORT_CHARS and not long.search(text):
        return
    for word, shape in shapes:
        for at in _places(low, word) if word in low else ():
            found = re.compile(shape).match(text, at)  # kept by the module re, once it was compiled
            if found is not None and not (at and text[at - 1 : at].isalnum()):
                yield found.span()


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, and those that overlap as one."""
    if len(spans) < 2:
        return spans
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _spans(text: S, pattern: re.Pattern[S], begin: int, end: int) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text, begin, end):
        group = next(name for name in _GROUPS if match.group(name) is not None)
        value, named = _as_text(match.group(group)), _NAMED.get(group) or _PHRASES.get(group)
        if named is not None:
            before = _as_text(text[max(0, match.start(named) - BEFORE_CHARS) : match.end(named)])
            name = re.split(r"[^\w.-]", before)[-1]
            if not (_is_phrase(name, value) if group in _PHRASES else _is_secret(name, value)):
                continue
        if group == "auth" and value.isalpha() and (value.islower() or value.istitle()):
            continue  # a word
        yield match.span(group)


def _as_text(piece: str | bytes) -> str:
    return piece if isinstance(piece, str) else piece.decode("latin-1")


def _is_secret(name: str, value: str) -> bool:
    """Whether what is assigned to a name like one of a secret may be one: no reference, no code, no ordinary word."""
    if _NO_SECRET_NAMES.search(name) or _CODE.match(value) or _PLACE.match(value) or len(set(value)) == 1:
        return False
    if not _WORD.match(value):
        return True
    if "pass" in name.lower()[-12:] or name.lower().endswith("pwd"):
        plain = value.strip("._-").lower()
        return plain not in _ORDINARY and not (value.isupper() and "_" in value)
    return len(value) >= 20 and value.isalpha()


def _is_phrase(name: str, value: str) -> bool:
    """The same for what stands in quotes: several words are a secret, unless they are a sentence about one."""
    words = value.lower().split()
    if len(words) < 2:
        return _is_secret(name, value)
    if _NO_SECRET_NAMES.search(name) or value.rstrip()[-1] in ".:?!" or re.search(r"[({[]", value):
        return False
    return not _SENTENCE.intersection(word.strip(".,:;") for word in words)


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


def _names_a_secret(key: object, value: str) -> bool:
    """Whether a text stands under a key like `password`: it is a secret then, unless it only refers to one."""
    if not value or not isinstance(key, str) or not _NAME.search(key) or _NO_SECRET_NAMES.search(key):
        return False
    return re.match(_REFERENCE, value) is None and _CODE.match(value) is None


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
                MASK if isinstance(each, str) and _names_a_secret(key, each) else redact_value(each)
                for key, each in value.items()
            }  # fmt: skip
        case _:
            return value


def is_deep(value: Any) -> bool:
    """Whether the value has more lists and dicts in each other than it can be walked down."""
    level, depth = [value], 0
    while level:
        if depth > DEPTH_MAX:
            return True
        level = [
            inner
            for each in level
            if isinstance(each, list | tuple | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, list | tuple | dict)
        ]
        depth += 1
    return False


def clip(text: str, limit: int) -> str:
    """The redacted text, at most `limit` characters: the head and the tail, for both carry meaning.

    What is no text (lone surrogates, of file names that are no UTF-8) becomes `?`.
    """
    text = redact(text if text.isascii() else text.encode("utf-8", "replace").decode())
    if len(text) <= limit:
        return text
    keep = (limit - 5) // 2
    return f"{text[:keep]} ... {text[-keep:]}"
