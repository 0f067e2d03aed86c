"""Whose lines the ones of a known_hosts file are."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from k8sha.hosts.known import known_lines

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"


def hashed(place: str) -> str:
    """A name as ``ssh-keygen -H`` writes it."""
    salt = hashlib.sha1(place[::-1].encode()).digest()
    digest = hmac.new(salt, place.encode(), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text(
        "# 192.168.56.11 is commented out\n\n"
        f"192.168.56.10,master-1 {KEY}1\n"
        f"{hashed('192.168.56.11')} {KEY}2\n"
        f"[192.168.56.10]:2222 {KEY}3\n"
        f"  192.168.56.11 {KEY}4\n"
        f"@revoked * {KEY}5\n"
        f"192.168.56.12 {KEY}5\n"
        f"{hashed('192.168.56.12')} {KEY}5 a comment\n"
        "|1|damaged 192.168.56.12\n|1|äöü|ß x\n"
        f"{hashed('192.168.56.10')} {KEY}6\n"
    )
    return path


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        ("192.168.56.10", "16"),
        ("master-1", "1"),
        ("192.168.56.11", "24"),
        ("[192.168.56.10]:2222", "3"),
        ("192.168.56.12", ""),
        ("192.168.56.1", ""),
        ("#", ""),
        ("@revoked", ""),
    ],
)
def test_a_line_is_the_hosts_whose_name_it_has(file: Path, place: str, keys: str) -> None:
    """Unless its key is revoked, also where it is listed as well: somebody has lost it."""
    assert [line[-1] for line in known_lines(str(file), place)] == list(keys)


def test_a_file_that_is_changed_is_read_again_and_none_is_empty(file: Path) -> None:
    before = known_lines(str(file), "192.168.56.10")
    file.write_text(f"192.168.56.10 {KEY}7\n")
    assert known_lines(str(file), "192.168.56.10") == (f"192.168.56.10 {KEY}7",) != before
    file.unlink()
    assert known_lines(str(file), "192.168.56.10") == ()


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        known_lines(str(tmp_path), "192.168.56.10")
