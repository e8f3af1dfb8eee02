"""What secrets look like by what stands around them: names, headers, URLs and commands. Data, and nothing that acts.

Every pattern begins with something fixed and reads on without going back, so that it takes a time that is linear in the text.
"""

from __future__ import annotations

import re
from functools import cache

REFERENCE = r"\\{0,2}[\[{$<%(*@]"
"""How a reference or a placeholder begins: `$TOKEN`, `${TOKEN}`, `%TOKEN%`, `{{token}}`, `<token>`, `(...)`, `***`, `@file`."""
_PHRASE = r"password|passwd|passphrase|passcode|(?<![a-z])(?:db_?)?pass|pwd|(?<![a-z])psk"
"""Names of what people make up themselves."""
NAMES = (
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
        (?P<header>(?!{REFERENCE})(?!(?i:bearer|basic|token)\b)[^\s"',;]{{6,8192}})
    | (?i:\b(?:bearer|basic)\s{{1,4}})(?P<bearer>[A-Za-z0-9._~+/-]{{16,8192}}={{0,2}})
    | (?i:\b(?:set-)?cookie{_IS}{_QUOTE})(?P<cookie>(?!{REFERENCE})[^\s"'=;:]{{1,64}}=[^\r\n"']{{4,4096}})
    | ://(?P<user>(?!{REFERENCE})(?=[A-Za-z_-]{{0,64}}\d)[A-Za-z0-9_-]{{20,256}}(?::[^\s:/@]{{0,256}})?)@
    | ://[^\s:/@]{{0,128}}:(?P<url>(?!{REFERENCE})[^\s:/@]{{3,256}})@
    | (?i:[?&](?:sig|signature|x-(?:amz|goog)-signature)=)(?P<signature>[A-Za-z0-9%+/=_-]{{16,1024}})
    | (?i:(?P<phrase_name>{_PHRASE}|secret){_IS})(?P<mark>["'])(?P<phrase>(?!{REFERENCE})[^"'\n]{{6,256}})(?P=mark)
    | (?!PASS:[ ])(?i:(?P<name>{NAMES}){_IS}{_QUOTE})
      (?P<assigned>(?!{REFERENCE})(?!-----BEGIN)(?!\d{{1,12}}(?![^\s"',;}}\])]))(?!(?i:true|false|null|none|undefined)\b)
        {_VALUE}{{6,4096}})
    | (?:PASS(?:WORD|WD|PHRASE)?|_PWD|SECRET)={_QUOTE}(?P<short>(?!{REFERENCE})(?!\d{{1,5}}(?![^\s"',;}}\])])){_VALUE}{{3,5}}
      (?!{_VALUE}))
    | (?i:["'_]auth{_IS}{_QUOTE})(?P<auth>[A-Za-z0-9+/]{{8,4096}}={{0,2}})(?![^\s"',;}}\\])
    | (?i:--(?P<option>api-?key|secret|token|password|passphrase)[ ]{{1,4}})
      (?P<flag>(?!{REFERENCE})(?!-)[^\s"',;]{{6,4096}})
    | (?i:--(?P<phrase_option>password|passphrase|secret)[ =]{{1,4}})
      (?P<quotes>["'])(?P<phrase_flag>(?!{REFERENCE})[^"'\n]{{6,256}})(?P=quotes)
    | (?i:<[\w:.-]{{0,40}}?(?:{NAMES})>)(?P<element>(?!{REFERENCE})[^<>]{{3,4096}})(?=</)
    | (?i:(?:key|name)=["'][\w:.-]{{0,40}}?(?:{NAMES})["']\s{{1,8}}value=["'])
      (?P<attribute>(?!{REFERENCE})[^"'<>]{{3,4096}})(?=["'])
    | (?i:\b(?:machine\s{{1,40}}\S{{1,256}}|default)\s{{1,40}}login\s{{1,40}}\S{{1,256}}\s{{1,40}}password\s{{1,40}})
      (?P<netrc>(?!{REFERENCE})\S{{3,256}})
    | (?i:\bcurl\b[^\n]{{0,200}}?\s(?:-u|--user|--proxy-user)[ =]?)["']?[^\s:"']{{1,128}}:
      (?P<curl>(?!{REFERENCE})[^\s"']{{3,256}})
    | (?i:\bcurl\b[^\n]{{0,200}}?\s(?:-b|--cookie)[ =]{{1,2}})["']?
      (?P<jar>(?!{REFERENCE})[^\s"'=;]{{1,64}}=[^\r\n"']{{4,4096}})
    | (?i:\bmysql(?:dump|admin)?\b[^\n]{{0,200}}?\s-p)(?P<mysql>(?!{REFERENCE})[^\s"']{{3,256}})
    | (?i:\bsshpass\s{{1,4}}-p\s{{0,4}}["']?)(?P<sshpass>(?!{REFERENCE})[^\s"']{{3,256}})
    | \d{{8}}:(?P<telegram>AA[A-Za-z0-9_-]{{32,36}})(?![A-Za-z0-9_-])
"""
GROUPS = (
    "pem", "header", "bearer", "cookie", "user", "url", "signature", "phrase", "assigned", "short", "auth", "flag",
    "phrase_flag", "element", "attribute", "netrc", "curl", "jar", "mysql", "sshpass", "telegram",
)  # fmt: skip
"""The groups that hold a secret: of each match, exactly one."""
_THEN = rf"(?:{_IS}|>|[\"']\s{{1,8}}value=)"
"""What follows the name of a secret: in an assignment, as an element of XML, as the attribute of one."""
_OF_A_KEY = "|".join(
    rf"(?<={kind})|(?<={kind}[_-])"
    for kind in ("api", "secret", "access", "private", "auth", "account", "encryption", "signing")
)
WORDS = {
    "key": rf"(?:{_OF_A_KEY})key{_THEN}|(?:(?<=--api)|(?<=--api-))key[ ]|(?<=private[ ])key(?:[ ]block)?-----",
    "secret": rf"secret{_THEN}|(?<=--)secret[ ]",
    "token": rf"token{_THEN}|(?<=--)token[ ]",
    "pass": rf"pass(?:word|wd|phrase|code)?{_THEN}|(?<=--)pass(?:word|phrase)[ ]|(?<=ssh)pass\s{{1,4}}-p",
    "pwd": rf"pwd{_THEN}",
    "psk": rf"psk{_THEN}",
    "auth": rf"auth(?:orization)?{_IS}",
    "bearer": r"bearer\s{1,4}[a-z0-9._~+/-]{16}",
    "basic": r"basic\s{1,4}[a-z0-9._~+/-]{16}",
    "://": r"://[^\s/@]{3,513}@",
    "cookie": rf"cookie{_IS}",
    "sig=": r"(?<=[?&])sig=[a-z0-9%+/=_-]{16}",
    "signature=": r"(?<=[?&-])signature=[a-z0-9%+/=_-]{16}",
    "login": r"login\s{1,40}\S{1,256}\s{1,40}password\s",
    "machine": r"machine\s{1,40}\S{1,256}\s{1,40}login\s",
    "curl": r"\bcurl\b[^\n]{0,200}?\s(?:-[ub]|--(?:user|proxy-user|cookie))",
    "mysql": r"\bmysql(?:dump|admin)?\b[^\n]{0,200}?\s-p",
    ":aa": r"(?<=\d{8}):aa[a-z0-9_-]{32}",
}
"""Words that stand in everything that the patterns match, and how such a word goes on there, all in lower case.

The words are found fast, and most of those in a log (`passed`, `tokens: 5`, `keys`) go on in another way.
"""


@cache
def text_pattern() -> re.Pattern[str]:
    """Compiled when it is needed: that takes 10 ms, and most processes never see a text with one of the words."""
    return re.compile(_PATTERNS, re.VERBOSE)


@cache
def bytes_pattern() -> re.Pattern[bytes]:
    """The same for the bytes of a file."""
    return re.compile(_PATTERNS.encode(), re.VERBOSE)
