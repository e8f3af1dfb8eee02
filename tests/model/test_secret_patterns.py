"""The words by which secrets are found stand in all that the patterns match: no look that is saved costs a secret."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crewd.model.secret_patterns import GROUPS, WORDS, bytes_pattern, text_pattern

NAMED = (
    "api_key", "API-Key", "apikey", "secret", "client_secret", "token", "password", "passwd", "passphrase", "passcode",
    "DB_PASS", "pwd", "PSK", "secret_key", "access-key", "privatekey", "auth_key", "account_key", "encryption_key",
    "signing_key", "PASS", "PASSWORD", "X_PWD", "SECRET", "authorization", "Authorization", "bearer", "Basic", "cookie",
    "Set-Cookie", "_auth", '"auth"', "?sig", "&signature", "&X-Amz-Signature", "?x-goog-signature", "key", "name",
    "value", "user",
)  # fmt: skip
BETWEEN = (
    "=", ":", " : ", "=>", "\n  => ", "': '", '": "', '\\": \\"', ' = "', " ", "  ", "--", "<", ">", "</", "<a:", "-", ".", "://",
    ":", "@", " -u", " -p", " -p ", " --user ", " --cookie=", '="', '" ', '" value="', "\n", "-----", "'", '"',
)  # fmt: skip
VALUES = (
    "hunter22", "a1B2c3D4e5F6g7H8i9J0", "abc", "me", "sid=a1B2c3D4", "correct horse battery", "12345678:AA" + "a1B2" * 8,
    "example.com", "MIIEow1234567890", "$TOKEN", "true",
)  # fmt: skip
COMMANDS = (
    "machine h login me password ", "default login me\npassword ", "curl", "mysql", "mysqldump", "sshpass",
    "BEGIN RSA PRIVATE KEY", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    "-----END RSA PRIVATE KEY-----", "https://",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from((*NAMED, *BETWEEN, *VALUES, *COMMANDS)), max_size=12).map("".join)
ONE_OF_EACH = {
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "header": '"Authorization" : "token a1B2c3D4e5"', "bearer": "Bearer a1B2c3D4e5F6g7H8", "cookie": "Set-Cookie: sid=a1B2c3D4",
    "user": "https://a1B2c3D4e5F6g7H8i9J0@example.com", "url": "redis://:hunter22@localhost",
    "signature": "?a=1&X-Amz-Signature=a1B2c3D4e5F6g7H8", "phrase": 'password = "correct horse battery"',
    "assigned": "signing-key => a1B2c3D4", "short": "DB_PWD=ab12", "auth": '"auth": "bWU6aHVudGVyMjI="',
    "flag": "--api-key a1B2c3",
    "phrase_flag": "--passphrase= 'correct horse'", "element": "<db:password>hunter22</db:password>",
    "attribute": 'name="db.password"  value="hunter22"', "netrc": "default\nlogin me\npassword hunter22",
    "curl": "curl -sS --proxy-user 'me:hunter22'", "jar": "curl -b sid=a1B2c3D4", "mysql": "mysqldump -h db -phunter22",
    "sshpass": "sshpass -p 'hunter22'", "telegram": "12345678:AA" + "a1B2" * 8,
}  # fmt: skip


@given(TEXTS)
@example('machine h login me password hunter22"')
def test_what_a_pattern_matches_has_a_word_that_goes_on_as_it_must(text: str) -> None:
    assert all(found(text, *match.span()) for match in text_pattern().finditer(text))
    raw = text.encode()
    assert [match.span() for match in bytes_pattern().finditer(raw)] == [
        (len(text[: match.start()].encode()), len(text[: match.end()].encode())) for match in text_pattern().finditer(text)
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_each_pattern_is_found_by_its_word(group: str) -> None:
    match = text_pattern().search(ONE_OF_EACH[group])
    assert match is not None and [name for name in GROUPS if match.group(name) is not None] == [group]
    assert found(ONE_OF_EACH[group], *match.span())


def found(text: str, begin: int, end: int) -> bool:
    """Whether one of the words stands between the two places, and goes on as it must."""
    low = text.lower()
    return any(
        re.compile(follows).match(low, at.start())
        for word, follows in WORDS.items()
        for at in re.finditer(f"(?={re.escape(word)})", low)
        if begin <= at.start() < end
    )
