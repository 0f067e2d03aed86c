"""Encrypted archives: opened by whoever has the key, by nobody else, and never when anything in them was changed."""

from __future__ import annotations

import io
import random

import pytest

from k8sha.errors import BackupError, ConfigError
from k8sha.etcd.age import Encryption, Unlock, decoded, decrypted, encrypting
from k8sha.etcd.encryption import Age, AgeKey, Passphrase

# A pair of keys that age-keygen made for this test alone.
RECIPIENT = "age1ty28n2jz8k9x5yayzkrjlppxx3lylwk0afe4fpfhz2yklsv6xqqqnpkrtw"
SECRET = "AGE-SECRET-KEY-1WC6RND6LZRRX80WZYNS0NCJ70XJV8GE60JDSCY5GSAG5X2TJJ75Q7FUSX2"
SIZES = (0, 1, 65535, 65536, 65537, 200_000)


def fast(text: str) -> Passphrase:
    return Passphrase(text, work=10)


def sealed(data: bytes, how: Encryption) -> bytes:
    sink = io.BytesIO()
    writer = encrypting(sink, how)
    for at in range(0, len(data), 50_000):
        writer.write(data[at : at + 50_000])
    writer.close()
    return sink.getvalue()


def opened(data: bytes, how: Unlock) -> bytes:
    return b"".join(decrypted(io.BytesIO(data), how))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_encrypted_is_opened(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert opened(sealed(data, fast("a word")), fast("a word")) == data
    assert opened(sealed(data, Age(RECIPIENT)), AgeKey(SECRET)) == data


def test_a_wrong_passphrase_or_key_says_so() -> None:
    with pytest.raises(BackupError, match="the passphrase does not open it"):
        opened(sealed(b"secret", fast("right")), fast("wrong"))
    with pytest.raises(BackupError, match="the key does not open it"):
        opened(sealed(b"secret", fast("right")), AgeKey(SECRET))


def test_nothing_of_the_contents_or_the_passphrase_is_to_be_seen() -> None:
    data = sealed(b"planted secret " * 9, fast("open sesame"))
    assert b"planted" not in data
    assert b"sesame" not in data
    assert "sesame" not in repr(fast("open sesame"))
    assert SECRET not in repr(AgeKey(SECRET))


def test_every_flipped_bit_is_noticed() -> None:
    """Every bit of the header, and 300 more at random places."""
    data, chance = sealed(bytes(70_000), fast("a word")), random.Random(4)
    places = [(place, bit) for place in range(data.index(b"---") + 50) for bit in range(8)]
    for place, bit in [*places, *((chance.randrange(len(data)), chance.randrange(8)) for _ in range(300))]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        with pytest.raises(BackupError):
            opened(bytes(damaged), fast("a word"))


@pytest.mark.parametrize("text", [b"QR", b"QUF", b"QQ==", b"QQ\n", b" QQ", b"Q", b"Q*"])
def test_base64_in_any_other_way_than_the_one_is_refused(text: bytes) -> None:
    assert decoded(b"QQ") == b"A"
    with pytest.raises(ValueError):
        decoded(text)


@pytest.mark.parametrize("length", [0, 10, 100, 200, 70_000, 65536 + 16 + 190, -1, -16, -17])
def test_what_is_cut_off_is_noticed(length: int) -> None:
    data = sealed(bytes(131072), fast("a word"))
    with pytest.raises(BackupError):
        opened(data[:length], fast("a word"))


def test_more_at_the_end_is_noticed() -> None:
    with pytest.raises(BackupError, match="changed or cut off"):
        opened(sealed(b"x", fast("a word")) + b"more", fast("a word"))


@pytest.mark.parametrize(
    "given", ["", "age1", "AGE-SECRET-KEY-1QQ", RECIPIENT[:-1] + "x", RECIPIENT.title(), RECIPIENT + "q", SECRET]
)
def test_a_recipient_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ConfigError):
        Age(given)


def test_an_empty_passphrase_and_a_mistyped_key_are_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError):
        Passphrase("")
    mistyped = SECRET[:-1] + "Q"
    with pytest.raises(ConfigError) as error:
        AgeKey(mistyped)
    assert mistyped not in str(error.value)
    with pytest.raises(ConfigError):
        Age(())
