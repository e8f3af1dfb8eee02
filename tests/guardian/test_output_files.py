"""Output files as readers see them: binary, with a part that is kept, and with the end that outlives them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crewd.guardian import processes
from crewd.guardian.output_files import EXIT_FILE, SCRUB_BYTES, TAIL_BYTES, read_output, scrub, tail_of
from crewd.model.known_secrets import KnownSecrets


def test_every_byte_comes_once_whatever_it_is(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "stdout").write_bytes(b"\0\0\0" + data)
    seen, offset = b"", 0
    while (piece := read_output(tmp_path, "stdout", offset, 1000)).data:
        assert piece.offset == offset
        seen += piece.data
        offset += len(piece.data)
    assert seen == b"\0\0\0" + data


@pytest.mark.skipif(not processes.LINUX, reason="holes are punched on Linux")
def test_what_is_not_kept_is_said_and_the_rest_keeps_its_offsets(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    path.write_bytes(b"".join(b"%09d\n" % n for n in range(100_000)))  # 1,000,000 bytes, ten a line
    with path.open("r+b") as file:
        assert processes.punch(file.fileno(), 100_000)
    piece = read_output(tmp_path, "stdout", 0, 1000)
    assert 890_000 < piece.offset <= 900_000
    assert piece.offset % 4096 == 0
    line = -(-piece.offset // 10)
    assert f"{line:09}\n".encode() in piece.data, "the bytes that are kept are where they were"
    assert path.stat().st_blocks * 512 < 200_000, "the room is given back"
    with path.open("ab") as file:
        file.write(b"more")
    assert read_output(tmp_path, "stdout", 1_000_000, 10).data == b"more", "who follows sees what comes next"


def test_the_end_outlives_the_files(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"x" * 200_000 + b"end")
    (tmp_path / "stderr").write_bytes(b"oops")
    (tmp_path / EXIT_FILE).write_bytes(msgspec.msgpack.encode(tail_of(tmp_path, KnownSecrets())))
    for name in ("stdout", "stderr"):
        (tmp_path / name).unlink()
    piece = read_output(tmp_path, "stdout", 0, 1 << 20)
    assert (len(piece.data), piece.size, piece.data[-3:]) == (TAIL_BYTES, 200_003, b"end")
    assert read_output(tmp_path, "stderr", -2, 10).data == b"ps"
    with pytest.raises(FileNotFoundError):
        read_output(tmp_path / "nothing", "stdout", 0, 10)


@pytest.mark.parametrize("text", ["password=hunter22x ", "Bearer a1B2c3D4e5F6g7H8 ", "see 12345678:AA" + "a1B2" * 8 + " "])
def test_a_secret_and_its_name_may_be_in_two_portions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stdout"
    for begin in range(SCRUB_BYTES - len(text), SCRUB_BYTES + 1):
        path.write_text("-" * (begin - 1) + "\n" + text + "after")
        position, looked_at = scrub(tmp_path, "stdout", 0, KnownSecrets())
        while looked_at:
            position, looked_at = scrub(tmp_path, "stdout", position, KnownSecrets())
        secret = text.rsplit("=", maxsplit=1)[-1].rsplit(maxsplit=1)[-1].rpartition(":")[2]
        assert path.read_text()[begin:] == text.replace(secret, "*" * len(secret)) + "after"


def test_nothing_is_left_of_a_known_secret_of_which_a_part_looks_like_one(tmp_path: Path) -> None:
    secret = "AKIAABCDEFGHIJKLMNOP:wJalrXUtnFEMI/K7MDENG"
    (tmp_path / "stdout").write_text(f"x {secret}\n")
    assert tail_of(tmp_path, KnownSecrets([secret])).stdout == b"x " + b"*" * len(secret) + b"\n"
    scrub(tmp_path, "stdout", 0, KnownSecrets([secret]))
    assert (tmp_path / "stdout").read_bytes() == b"x " + b"*" * len(secret) + b"\n"


@pytest.mark.parametrize("size", [10, TAIL_BYTES + 20_000])
def test_a_secret_that_begins_before_the_end_that_is_kept_is_masked(tmp_path: Path, size: int) -> None:
    after = b"-" * (TAIL_BYTES - 5) + b"\n"
    for secret, known in ((b"password=hunter22x\n", KnownSecrets()), (b"quiet words\n", KnownSecrets(["quiet words"]))):
        (tmp_path / "stdout").write_bytes(b"." * size + b"\n" + secret + after)
        tail = tail_of(tmp_path, known)
        assert tail.stdout == b"***\n" + after
        assert tail.stdout_at == size + 1 + len(secret) - 4


def test_a_known_secret_that_is_longer_than_any_key_is_masked_wherever_it_stands(tmp_path: Path) -> None:
    secret = "".join(f"{number}," for number in range(8_000))[:38_000]
    path, known = tmp_path / "stdout", KnownSecrets([secret])
    path.write_text("-" * (SCRUB_BYTES - 100) + "\n" + secret + "\nafter\n")
    position = 0
    while (portion := scrub(tmp_path, "stdout", position, known))[1]:
        position = portion[0]
    assert path.read_bytes() == b"-" * (SCRUB_BYTES - 100) + b"\n" + b"*" * len(secret) + b"\nafter\n"
    path.write_text(secret + "-" * (TAIL_BYTES - 20))
    assert tail_of(tmp_path, known).stdout == b"*" * 20 + b"-" * (TAIL_BYTES - 20)


@pytest.mark.parametrize("at", [-2_000, -1_000, -300, -20, -1, 0, 1])
def test_a_secret_between_two_portions_is_scrubbed_wholly(tmp_path: Path, at: int) -> None:
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEow1234567890' * 90}\n-----END RSA PRIVATE KEY-----\n"
    path = tmp_path / "stdout"
    path.write_text("-" * (SCRUB_BYTES + at - 1) + "\n" + key + "after\n" * 10)
    size = path.stat().st_size
    position = looked_at = 0
    while (portion := scrub(tmp_path, "stdout", position, KnownSecrets()))[1]:
        position, looked_at = portion[0], looked_at + portion[1]
    assert looked_at == path.stat().st_size
    assert path.stat().st_size == size
    assert b"MIIE" not in path.read_bytes() and path.read_bytes().endswith(b"after\n" * 10)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="is a link"):
        scrub(tmp_path, "stdout", 0, KnownSecrets())
