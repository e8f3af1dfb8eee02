"""Secrets are masked, wherever they stand; ordinary words, counts and hashes are not; and it takes no longer than it must."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.redact import MASK, blot, clip, redact, redact_value

PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEow' * 40}\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    "openai": "sk-proj-abcDEF123456ghiJKL789", "anthropic": "sk-ant-api03-AbCdEf123456_7890-xyz", "github": "ghp_" + "a1B2" * 9,
    "github fine": "github_pat_11ABCDEFG0abcdefghij_klmnop",
    "gitlab": "glpat-abcDEF1234567890abcd", "slack": "xoxb-1234567890-abcdef",
    "aws": "AKIAIOSFODNN7EXAMPLE", "google": "AIza" + "SyA1b2C3d4" * 4, "stripe": "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "hugging face": "hf_" + "AbCdEfGhIj" * 3, "npm": "npm_" + "AbCdEfGhIj" * 3,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "pem": PEM,
}  # fmt: skip
SECRETS |= {
    "google oauth": "ya29." + "a0AfH6SMBx" * 4,
    "google client": "GOCSPX-" + "AbCd1234Ef" * 3,
    "pypi": "pypi-AgEIcHlwaS5vcmc" + "AbCd" * 15,
    "digitalocean": "dop_v1_" + "0a" * 32,
    "stripe webhook": "whsec_" + "AbCd1234" * 4,
    "vault": "hvs." + "AbCd1234" * 4,
    "gitlab runner": "glrt-" + "abcDEF1234567890abcd",
    "encrypted pkcs8": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBOBgkqhkiG9w0B\n-----END ENCRYPTED PRIVATE KEY-----",
    "pem in json": json.dumps(PEM)[1:-1],
    "pypi short": "pypi-AgEIcHlwaS5vcmcCJDAxMjM0",
    "replicate": "r8_" + "abcdEFGH1234" * 3,
    "discord webhook": f"discord.com/api/webhooks/123456789012345678/{'abcdEFGH_' * 7}",
    "slack webhook": "hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/AbCdEfGhIjKlMnOpQrStUvWx",
    "encrypted pem": "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-128-CBC,0AF1\n\nMIIEow\n-----END RSA PRIVATE KEY-----",
}
PLACES = {
    "office webhook": ("https://acme{}", f".webhook.office.com/webhookb2/{'a1B2' * 20}"),
    "assigned": ("API_KEY={}", "hunter22xyz"), "password": ("the password: {} is it", "correcthorse"),
    "json": ('{{"client_secret": "{}"}}', "abc123def456"), "yaml": ("token: {}\nnext: 1", "q9w8e7r6t5"),
    "flag": ("run --password {} now", "s3cr3tW0rd"), "flag2": ("run --api-key={} now", "s3cr3tW0rd"),
    "bearer": ("Authorization: Bearer {}", "abcdefghijklmnop1234"),
    "basic": ("authorization: Basic {}", "dXNlcjpwYXNzd29yZA=="),
    "header": ("-H 'Authorization: {}'", "opaque-value-1234"), "url": ("https://user:{}@example.org/x", "p4ssw0rdXY"),
    "prefix": ("MY_SERVICE_TOKEN={}", "z1y2x3w4v5"), "quoted": ("password = '{}'", "quoted-secret-9"),
    "pem": ('TLS_PRIVATE_KEY="{}"', PEM),
    "service account": ('{{"type": "service_account", "private_key": "{}"}}', json.dumps(PEM)[1:-1]),
    "two words": ('password = "{}"', "correct horse"), "words in json": ('{{"db_password": "{}", "n": 1}}', "blue Tiger lake"),
    "words as a flag": ("run --password '{}' now", "two words9"), "json in json": (r'{{\"password\": \"{}\"}}', "hunter2xyz"),
    "short": ("DB_PASS={} run", "abc1"), "environment": ("MYSQL_PWD={} mysql", "hunter2x"),
    "telegram": ("https://api.telegram.org/bot123456789:{}/getMe", "AA" + "HdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"),
    "azure": ("AccountName=x;AccountKey={};EndpointSuffix=y", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq=="),
    "token in a url": ("https://{}@github.com/a/b.git", "abcdef0123456789abcd"),
    "signed url": ("https://x.example/c?sv=2020&sig={}&se=1", "abcd%2Fefghijklmnop%3D"),
    "curl user": ("curl -s -u admin:{} https://x", "s3cretpw"),
    "curl cookie": ("curl -b '{}' https://x", "session=abc123def456ghi789"),
    "cookie": ("Cookie: {}", "session=abc123def456; other=1"),
    "cookie set": ("Set-Cookie: {}", "sid=s%3Aabcdefghijk.xyz; Path=/"),
    "docker": ('{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{}"}}}}}}', "dXNlcjpwYXNzd29yZDEyMw=="),
    "npmrc": ("//registry.npmjs.org/:_auth={}", "dXNlcjpwYXNzd29yZDEyMw=="),
    "element": ("<server><password>{}</password></server>", "hunter2x"),
    "attribute": ('<add key="Password" value="{}"/>', "hunter2x"),
    "netrc": ("machine api.example.com login me@x.org password {}", "c4cd94da15ea0544802c"),
    "netrc in lines": ("machine h\n  login u\n  password {}\nmachine i\n", "abc!def9"),
    "capital": ("Password: {}\nand so on", "Sunshine"), "capital in a sentence": ("Password: {} is mine", "Sunshine"),
    "before a word": ("passwd: {} denied", "hunter22x"),
    "in a path": ("/run/secrets/db_password: {}", "hunter22x"), "path and equals": ("user/passwd={}", "hunter2xyz"),
    "of a store": ("vault kv put secret/db/password={}", "correcthorse"),
    "of a store in quotes": ('"/db/password": "{}"', "sunshine"),
    "hash": ("/etc/passwd:{}", "alice:$6$abc$defghi:1000"), "file of users": ("/srv/app/passwd:{}", "admin:hunter2x"),
    "in a sentence": ("Password: {} (prod)", "Winterfell"), "assigned words": ("POSTGRES_PASSWORD={}", "Default-Password"),
    "assigned camel": ("password={}", "SecretPassword"), "ordinary and assigned": ("PGPASSWORD={}", "connection"),
    "camel phrase": ("SECRET_KEY={}", "CorrectHorseBatteryStaple"),
    "camel in yaml": ("client_secret: {}", "correctHorseBatteryStaple"),
    "letters and slashes": ("aws_secret_access_key = {}", "wJalrXUtnFEMI/KMDENG/bPxRfiCYEXAMPLEKEY"),
    "like docker": ("run --password {} x", "id=hunter2xyz"), "netrc word": ("machine h login u password {}", "secretive"),
    "credential": ("Authorization: {}", "secret-password"),  "camel": ("password: {}", "HunterTwo"),
    "letters": ("token: {}", "qWeRtzUiopASdfgHjklyx"), "flag of docker": ("build --secret {} .", "hunter22x"),
    "mysql": ("mysql -u root -p{} db", "hunter2xyz"), "sshpass": ("sshpass -p '{}' ssh h", "hunter2x"),
}  # fmt: skip
REFERENCES = [
    "Authorization: Bearer $API_TOKEN",
    'Authorization: "Bearer ${token}"',
    "https://x:${GH_TOKEN}@host/r",
    "https://u:$PASS@host",
    "https://user:<password>@host",
    "TOKEN=process.env.TOKEN",
    "--eos_token=endoftext",
    "password = form.get('password')",
    "password = getpass.getpass()",
    "token: os.environ['TOKEN']",
    "api_key=settings.API_KEY",
    "secret = secrets.token_hex",
    "token: {{ secrets.TOKEN }}",
    "password: %s",
    "token = self.token",
    "key: <your-api-key>",
    "password: required",
    "the password: incorrect, try again",
    "token: /run/secrets/token",
    "token_type: bearer_something",
    "next_page_token=abcdef123456",
    "primary_key=identifier1",
    "csrf_token=abc123def456",
    "password: ********",
    "--token-file x --password $PASSWORD",
    "token => $token",
    "API_KEY=$(cat key)",
    "pass: @file.txt",
    "bos_token: begin-of-text-1",
    'password: "$DB_PASSWORD or so"',
    "<password>${db.password}</password>",
    "curl -u $USER:$PASSWORD https://x",
    "Cookie: <the cookie>",
    "PWD=/root/x OLDPWD=/tmp",
]
BENIGN = [
    *REFERENCES,
    "author: Jane Austen", "the author's tokens: 12345", "max_tokens=4096 token_count: 17", "tokens=512, cost=0.25",
    "sha256: " + hashlib.sha256(b"x").hexdigest(), "commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "token: 1234",
    "the key to success is patience", "keyboard monkey donkey", "authority and authentication", "secretary: Ms. Green",
    '{"password": "must have 8 characters"}', 'password: "Enter your password"', "PASS=10 FAIL=0",
    "docker run -u 1000:1000 image",
    '"auth": "required"', "login with a password please", "the cookie: crumbled", "curl -s https://x", "PASS: test_one",
    "password:", "token = true", "password: $DB_PASSWORD", "token: ${TOKEN}", "--token-file /run/secrets/x", "basic training",
    "skeleton-key-of-the-house", "http://example.org:8080/path", "mailto:someone@example.org", "1 token = 4 characters",
    "r_01m7zx7thce008y86bfd8zk0yq/prog#1", "x" * 10_000, "task-sk-1", "bearer of bad news", "git@github.com:a/b.git", "",
    "pass: ok, key: C major", "the tokenizer splits words", '{"input_tokens": 100, "output_tokens": 20}', "secret", "passwords",
    "cat: /etc/passwd: Permission denied", "passwd: Authentication token manipulation error", "sh: pwd: Permission denied",
    "useradd: /etc/passwd: Read-only filesystem", "/etc/passwd:root:x:0:0:root:/root:/bin/bash", "/etc/passwd:12:daemon:x:1",
    "grep: /etc/passwd: input: yes", "stat: passwd: Filesystem is read-only", "vipw: /etc/passwd: Resource busy",
    "cat: /run/secrets/db_password: Permission denied", "bash: pwd: unrecognized-option", "error: pwd: command_not_found",
    "getent passwd: Configuration incomplete", "password: Unauthorized", "password: Forbidden", "password: authentication",
    "password: AuthenticationFailed for me", "password: Incorrect-password", "Password: required-field",
    "passwd: struct_passwd",
    "token: CancellationTokenSource", "password: SecretStr = Field(...)", "password: String!", "token: cancellationTokenSource",
    "secret: kubernetes.io/service-account-token", "docker build --secret id=npm,src=.npmrc .",
    "docker build --secret=type=env,id=npm .", "podman run --secret my_secret1,type=env x", "password: NoneType",
    "podman run --secret source=npm,type=env x", "Authorization: Basic authentication", "Bearer authentication-required",
    "machine github.com login user password required", "AKIAtoo short",
    "eyJ", "a_b_c_d", "sk-short", "Basic auth is on", "<password>", "password: [redacted]", "key=value",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_the_keys_of_providers_are_masked_anywhere(name: str) -> None:
    secret = SECRETS[name]
    for text in (secret, f"it said {secret} and went on", f'"{secret}"', f"({secret})", f"key:{secret},", f"\n{secret}\n"):
        assert secret not in redact(text) and MASK in redact(text)
        assert secret.encode() not in blot(text.encode())


@pytest.mark.parametrize("name", PLACES)
def test_what_is_assigned_to_a_secret_s_name_is_masked_and_the_rest_stays(name: str) -> None:
    form, secret = PLACES[name]
    masked = redact(form.format(secret))
    assert masked == form.format(MASK)


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_is_untouched(text: str) -> None:
    assert redact(text) == text
    assert blot(text.encode()) == text.encode()


def test_masking_twice_is_masking_once() -> None:
    for form, secret in PLACES.values():
        once = redact(form.format(secret))
        assert redact(once) == once


@given(st.text(), st.sampled_from(sorted(SECRETS)), st.text())
def test_a_planted_secret_never_survives(before: str, name: str, after: str) -> None:
    text = f"{before} {SECRETS[name]} {after}"
    assert SECRETS[name] not in redact(text)
    assert SECRETS[name].encode() not in blot(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("form", ["x = 1\n{}\ny = 2\n", "password:\n  {}\n", "Bearer {}\nBearer {}\n"])
def test_a_long_text_is_masked_as_a_short_one(form: str) -> None:
    secret = SECRETS["openai"]
    long = "nothing here\n" * 500 + form.replace("{}", secret) + "nothing there\n" * 500
    assert redact(long) == long.replace(secret, MASK)
    assert blot(long.encode()) == long.replace(secret, "*" * len(secret)).encode()


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "OPENSSH PRIVATE KEY"])
def test_a_private_key_is_masked_to_its_last_line(kind: str) -> None:
    lines = "\n".join(f"lQOYBFx{number}abcdEFGH0123456789" for number in range(60))
    text = f"before\n-----BEGIN {kind}-----\nVersion: 1\n\n{lines}\n-----END {kind}-----\nafter\n"
    assert redact(text) == f"before\n{MASK}\nafter\n"


@pytest.mark.parametrize("letter", ["\u0130", "\u1e9e", "\U0001d504"])
def test_letters_without_a_plain_lower_case_move_nothing(letter: str) -> None:
    text = f"{letter * 200} password=hunter22x {SECRETS['github']} {letter * 200} token: a1B2c3D4\n"
    assert redact(text) == f"{letter * 200} password={MASK} {MASK} {letter * 200} token: {MASK}\n"


@given(st.binary(max_size=300))
def test_a_file_keeps_its_length(data: bytes) -> None:
    assert len(blot(data)) == len(data)


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Zs"])))
def test_words_alone_are_no_secret(text: str) -> None:
    assert redact(text) == text


def test_data_is_masked_by_its_names_and_by_its_texts() -> None:
    data = {"password": "x", "user": "me", "n": 3, "deep": [{"api_key": "short"}, f"see {SECRETS['github']}"], "tokens": "12"}
    masked = redact_value(data)
    assert masked == {"password": MASK, "user": "me", "n": 3, "deep": [{"api_key": MASK}, f"see {MASK}"], "tokens": "12"}


@pytest.mark.parametrize(
    "piece",
    ["a", "token=", "password: ", "://", "eyJ", "eyJaaaaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "sk-", "Bearer ", "_",
     "token " * 3, "token\n", "authorization: ", "aaaa_token = ", "--token ", "user:", "curl ", "login a ", "machine a ", "://a:"],
)  # fmt: skip
def test_twice_the_text_takes_about_twice_the_time(piece: str) -> None:
    def seconds(count: int) -> float:
        text = piece * (count // len(piece))
        best = 1e9
        for _ in range(3):
            begin = time.thread_time()
            redact(text)
            best = min(best, time.thread_time() - begin)
        return best

    small, large = seconds(4_000), seconds(64_000)
    assert large < 16 * 5 * small + 0.05, f"{small:.4f} s -> {large:.4f} s for sixteen times as much"


@pytest.mark.parametrize("piece", ["eyJ", "word ", "password=Lq8ZrTe4bNc1XwYd7Kf2 "])
def test_what_is_cut_away_is_not_looked_at(piece: str) -> None:
    def seconds(count: int) -> float:
        """Of this thread's own processor time, the least of some tries: others work on this machine, too."""
        text, best = piece * count, float("inf")
        for _ in range(5):
            begin = time.thread_time()
            shown = clip(text, 2_000)
            best = min(best, time.thread_time() - begin)
            assert len(shown) <= 2_000
            assert "Lq8Z" not in shown
        return best

    small, large = seconds(20_000), seconds(400_000)
    assert large < 5 * small + 0.05, f"{small:.4f} s -> {large:.4f} s for twenty times as much"


def test_a_secret_that_ends_in_what_is_cut_away_is_not_shown() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "Lq8ZrTe4bNc1XwYd7Kf2\n" * 600 + "-----END RSA PRIVATE KEY-----\n"
    for before in (0, 900, 15_000, 33_000):
        assert "Lq8Z" not in clip(f"{'. ' * (before // 2)}{key * 12}{'. ' * (before // 2)}", 2_000)


@pytest.mark.parametrize("value", [(1, (2, "three")), {"shape": (640, 480)}, [{"a": ()}, ("b",)], {"deep": [[("x",)]]}])
def test_what_holds_no_secret_stays_equal(value: object) -> None:
    """A worker's result that is not equal to the redacted one is reported as masked."""
    assert redact_value(value) == value
