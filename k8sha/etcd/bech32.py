"""Bech32 (BIP 173), in which age writes its keys: letters with a checksum that catches any few wrong ones."""

from __future__ import annotations

__all__ = ["bech32_decoded"]

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _checksum(values: list[int]) -> int:
    sum = 1
    for value in values:
        top = sum >> 25
        sum = (sum & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate(_GENERATOR):
            sum ^= part if top >> bit & 1 else 0
    return sum


def bech32_decoded(prefix: str, text: str) -> bytes | None:
    """The 32 bytes of a key with that prefix, None where the text is none."""
    if text not in (text.lower(), text.upper()):
        return None
    head, one, tail = text.lower().rpartition("1")
    if not one or head != prefix or any(letter not in _LETTERS for letter in tail):
        return None
    values = [_LETTERS.index(letter) for letter in tail]
    if _checksum([ord(letter) >> 5 for letter in head] + [0] + [ord(letter) & 31 for letter in head] + values) != 1:
        return None
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    padding = len(values[:-6]) * 5 - 256
    if not 0 <= padding < 5 or number & ((1 << padding) - 1):
        return None
    return (number >> padding).to_bytes(32, "big")
