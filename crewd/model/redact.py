"""Secrets leave a text before it is stored, logged or shown.

What is known: private keys in PEM, what follows `Authorization`, `Bearer` and `Basic`, cookies, passwords, tokens and
signatures in URLs, in `.netrc`, in Docker's configuration and in calls of `curl`, `mysql` and `sshpass`, the keys that
providers hand out (`secret_shapes`), and what is assigned to a name that ends like one of a secret. A reference to a secret
(`$TOKEN`, `process.env.TOKEN`, `form.get("password")`) is none, nor is an ordinary word. What is not known: a secret that looks
like any word. The time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from crewd.model.secret_patterns import GROUPS, NAMES, REFERENCE, WORDS, bytes_pattern, text_pattern
from crewd.model.secret_shapes import SHAPES

S = TypeVar("S", str, bytes)
MASK = "[redacted]"
LEFT_OUT = " ... "
"""What stands for the middle of a text that was too long."""
CUT = re.compile(f"({re.escape(MASK)}|{re.escape(LEFT_OUT)})")
"""Where something was taken out of a text."""
DEPTH_MAX = 250
"""Lists and dicts in each other; a worker's own limit is lower."""
SECRET_CHARS_MAX = 16_384
"""The longest secret that is looked for: a private key of 16,384 bits has 12,800 characters."""
LINES = 2
"""A value stands on the line of its name or on the one below. After an empty line begins something else: text, mostly."""
BEFORE_CHARS = 64
"""A pattern begins at most so long before the word that it is found by (`-----BEGIN ... PRIVATE KEY`)."""
_NAMED = {"assigned": "name", "flag": "option"}
"""Groups whose value is a secret only if it looks like one, and the group of the name that it is given."""
_PHRASES = {"phrase": "phrase_name", "phrase_flag": "phrase_option"}
"""The same for values in quotes, which may have several words."""


def compile_patterns() -> None:
    """Compile what is looked for in texts. For a process that others are forked from, so that none of them has to."""
    text_pattern()
    for pattern in (*WORDS.values(), *(shape for _, shape in SHAPES)):
        re.compile(pattern)


_BYTE_WORDS = {word.encode(): follows.encode() for word, follows in WORDS.items()}
_BYTE_SHAPES = tuple((word.encode(), shape.encode()) for word, shape in SHAPES)
_RUN = re.compile(r"[a-z0-9_./~+=-]{14,}")
_BYTES_RUN = re.compile(_RUN.pattern.encode())
"""What is long enough to be the key of a provider: each shape begins with so many of these characters."""
_DOTTED_I = "\u0130"
"""The only character whose lower case is two."""
_NAME = re.compile(rf"(?i)(?:{NAMES}|\Aauthorization|\A(?:set-)?cookie)\Z")
_NO_SECRET_NAMES = re.compile(
    r"(?i)(?:\A|[_.-]|(?<=[a-z])(?=[A-Z]))(?:eos|bos|pad|unk|sep|cls|mask|csrf|xsrf|next|page|continuation|cursor|sync|stop|start"
    r"|special|image|end|primary|foreign|public|partition|sort|idempotency)[_-]?(?:page)?[_-]?(?:token|key)\Z"
)
"""Names that end like one of a secret, and are none: special tokens of models, cursors, keys of tables (gitleaks allows
most)."""
_WORD = re.compile(r"[A-Za-z_.-]+\Z")
_WORDS_WITH_SLASHES = re.compile(r"[a-z_.-]+(?:/[a-z_.-]+)+\Z")
"""A name such as `kubernetes.io/service-account-token`."""
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
_IN_ERRORS = _ORDINARY | {
    "access", "authentication", "authorization", "bearer", "busy", "bytes", "command", "configuration", "connection",
    "contents", "denied", "directory", "error", "exists", "failure", "filesystem", "forbidden", "format", "found",
    "illegal", "incomplete", "input", "interrupted", "malformed", "none", "not", "only", "operation", "option", "output",
    "passwd", "permission", "read", "resource", "stale", "str", "struct", "success", "timeout", "token", "truncated",
    "type", "unauthorized", "unavailable", "unexpected", "unrecognized", "unsupported", "value", "verification",
}  # fmt: skip
"""The same in messages of errors and in declarations of types."""
_SAID = re.compile(r":[ ]{1,2}\Z")
"""What stands between a name and a word in a sentence, a message or a declaration. In an assignment stands `=`, or a quote."""
_TYPE = re.compile(
    r"(?:[a-z]+|[A-Z][a-z]{2,})(?:[A-Z][a-z]{2,})*"
    r"(?:Source|Token|Str|String|Type|Exception|Error|Provider|Manager|Factory|Handler|Service|Store)\Z"
)
"""The name of a class: capitals within, and a last word as classes have it."""
_AUTH_WORDS = re.compile(
    r"(?i)(?:authentication|authorization|credentials|token)?[-_ ]?(?:required|failed|invalid|missing|scheme)?\Z"
)
"""What stands behind `Authorization:`, `Basic` or `Bearer` in a sentence."""
_PASSWD_LINE = re.compile(r"(?:\d+:)?[\w.-]+:[x*!]?:\d")
"""A line of /etc/passwd, perhaps with its number: it holds no password."""
_BUILD_SECRET = re.compile(r"(?:id|type|src|source|env)=")
"""How the name and place of a secret begin behind `--secret` of `docker build` and `podman`."""
_SECRET_OPTIONS = re.compile(r",(?:type|target|uid|gid|mode)=")
"""What follows such a name there, if it stands first."""
_SENTENCE = (_ORDINARY - {"secret", "password", "correct"}) | {
    "is", "must", "your", "enter", "please", "was", "are", "not", "confirm", "repeat", "forgot", "reset", "wrong", "characters",
}  # fmt: skip
"""What stands in a sentence about a password."""


def redact(text: str) -> str:
    """`text` with what looks like a secret replaced by `[redacted]`."""
    low = text.replace(_DOTTED_I, "i").lower()
    runs = "\n".join(_RUN.findall(low))
    found = [*_found(text, low, text_pattern, WORDS, "\n", "private "), *_keys(text, low, runs, SHAPES)]
    return "".join(_pieces(text, _merged(found), lambda _size: MASK)) if found else text


def blot(data: bytes, upto: int | None = None) -> bytes:
    """The same for the bytes of a file, each byte of a secret replaced by `*`: every offset stays what it was.

    `upto`: only what begins before it, with its name if it has one. What begins after it is looked at with what follows,
    where it may be longer.
    """
    low = data.lower()
    found = [
        *_found(data, low, bytes_pattern, _BYTE_WORDS, b"\n", b"private "),
        *_keys(data, low, b"\n".join(_BYTES_RUN.findall(low)), _BYTE_SHAPES),
    ]
    found = [each for each in found if upto is None or each[0] < upto]
    return b"".join(_pieces(data, _merged(found), lambda size: b"*" * size)) if found else data


Found = tuple[int, int, int]
"""Where the name of a secret begins, where the secret itself begins, and where it ends."""


def _found(text: S, low: S, pattern: Callable[[], re.Pattern[S]], words: Mapping[S, S], newline: S, pem: S) -> list[Found]:
    """What the patterns find. They are slow, so they look only where one of the words stands and goes on as it must."""
    hits: list[int] = []
    for word, follows in words.items():
        if word in low:
            goes_on: re.Pattern[S] = re.compile(follows)  # kept by the module re, once it was compiled
            hits += [at for at in _places(low, word) if goes_on.match(low, at)]
    found: list[Found] = []
    if not hits:
        return found
    begin = end = 0
    for hit in [*sorted(hits), len(text) + BEFORE_CHARS + 1]:
        if hit - BEFORE_CHARS > end:
            found += _spans(text, pattern(), begin, end)
            begin = end = max(0, hit - BEFORE_CHARS)
        limit = min(len(text), hit + SECRET_CHARS_MAX + BEFORE_CHARS)
        if not low.startswith(pem, max(0, hit - len(pem))):  # a key has many lines
            line = hit
            for _ in range(LINES):
                line = low.find(newline, line + 1, limit) if line >= 0 else line
            limit = limit if line < 0 else line
        end = max(end, limit)
    return found


def _keys(text: S, low: S, runs: S, shapes: Iterable[tuple[S, S]]) -> Iterator[Found]:
    """Where keys of providers stand: looked for by their prefixes, in the runs of a text. Most texts have little of them."""
    for word, shape in shapes if runs else ():
        for at in _places(low, word) if word in runs else ():
            if at and text[at - 1 : at].isalnum() and text[at : at + 1].isalnum():
                continue  # in the middle of a word
            found = re.compile(shape).match(text, at)
            if found is not None:
                yield at, at, found.end()


def _merged(found: list[Found]) -> list[tuple[int, int]]:
    """Where they begin and end: in order, and those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted((begin, end) for _, begin, end in found):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _spans(text: S, pattern: re.Pattern[S], begin: int, end: int) -> Iterator[Found]:
    for match in pattern.finditer(text, begin, end):
        group = next(name for name in GROUPS if match.group(name) is not None)
        value, named = _as_text(match.group(group)), _NAMED.get(group) or _PHRASES.get(group)
        if named is not None:
            before = _as_text(text[max(0, match.start(named) - BEFORE_CHARS) : match.end(named)])
            name = re.split(r"[^\w.-]", before)[-1]
            if before.endswith("/etc/passwd") and _PASSWD_LINE.match(value):
                continue
            after = _as_text(text[match.end(group) : match.end(group) + 8])
            if name.endswith("--secret") and (_BUILD_SECRET.match(value) or _SECRET_OPTIONS.match(after)):
                continue
            said = _SAID.match(_as_text(text[match.end(named) : match.start(group)])) is not None
            if not (_is_phrase(name, value) if group in _PHRASES else _is_secret(name, value, said=said)):
                continue
        if group == "auth" and value.isalpha() and (value.islower() or value.istitle()):
            continue  # a word
        if group in {"header", "bearer"} and _AUTH_WORDS.match(value):
            continue
        if group == "netrc" and value == "required":
            continue
        yield match.start(), match.start(group), match.end(group)


def _as_text(piece: str | bytes) -> str:
    return piece if isinstance(piece, str) else piece.decode("latin-1")


def _is_secret(name: str, value: str, *, said: bool = False) -> bool:
    """Whether what is assigned to a name like one of a secret may be one: no reference, no code, no ordinary word.

    `said`: it stands there as in a sentence, where more words are ordinary than in an assignment.
    """
    if _NO_SECRET_NAMES.search(name) or _CODE.match(value) or _PLACE.match(value) or len(set(value)) == 1:
        return False
    if said and _is_ordinary(value):
        return False
    if "pass" in name.lower()[-12:] or name.lower().endswith("pwd"):
        plain = value.strip("._-").lower()
        return not _WORD.match(value) or (plain not in _ORDINARY and not (value.isupper() and "_" in value))
    if _WORDS_WITH_SLASHES.match(value) or (said and _TYPE.match(value)):
        return False
    return not _WORD.match(value) or (len(value) >= 20 and value.isalpha())


def _is_ordinary(value: str) -> bool:
    """Whether it is made of words that stand in sentences, messages and declarations about secrets."""
    parts = re.split(r"[._-]|(?<=[a-z])(?=[A-Z])", value.strip("._-!?:"))
    return all(part.lower() in _IN_ERRORS for part in parts)


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
    return re.match(REFERENCE, value) is None and _CODE.match(value) is None


def redact_value(value: Any) -> Any:
    """JSON-like data with every text in it redacted, and the texts under names like `password` masked whatever they are."""
    match value:
        case str():
            return redact(value)
        case list():
            return [redact_value(each) for each in value]
        case tuple():
            return tuple(redact_value(each) for each in value)
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
    """The redacted text, at most `limit` characters: the head and the tail, for both carry meaning. No mask is cut.

    What is no text (lone surrogates, of file names that are no UTF-8) becomes `?`.
    """
    text = text if text.isascii() else text.encode("utf-8", "replace").decode()
    keep = (limit - len(LEFT_OUT)) // 2
    looked_at = limit + 2 * SECRET_CHARS_MAX
    if len(text) > 2 * looked_at:  # the middle is left out in any case; a secret that begins there is not seen to its end
        ends = (redact(text[:looked_at])[:-SECRET_CHARS_MAX], redact(text[-looked_at:])[SECRET_CHARS_MAX:])
        text = LEFT_OUT.join(ends)
    else:
        text = redact(text)
    if len(text) <= limit:
        return text
    head, tail = keep, len(text) - keep
    for cut in CUT.finditer(text):
        head = cut.start() if cut.start() < head < cut.end() else head
        tail = cut.end() if cut.start() < tail < cut.end() else tail
    return f"{text[:head]}{LEFT_OUT}{text[tail:]}"
