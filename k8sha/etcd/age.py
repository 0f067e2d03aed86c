"""The age format (https://age-encryption.org/v1): a random key encrypts the contents in authenticated chunks of 64 KiB,
and is itself wrapped in a header, once for each way to open the file.

What was cut off, reordered or changed anywhere is refused. The primitives are those of ``cryptography``.
"""

from __future__ import annotations

import base64
import hmac
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from attrs import frozen

from k8sha.errors import BackupError

__all__ = [
    "VERSION",
    "Encryption",
    "Stanza",
    "Unlock",
    "decoded",
    "decrypted",
    "derived",
    "encoded",
    "encrypting",
    "public",
    "sealed",
    "shared",
    "unsealed",
]

VERSION = b"age-encryption.org/v1"
_CHUNK = 64 * 1024
_TAG = 16


def encoded(data: bytes) -> bytes:
    """Base64 as the format writes it, without padding."""
    return base64.b64encode(data).rstrip(b"=")


def decoded(text: bytes) -> bytes:
    """What was written so. Raises ValueError for anything else, also for the same bytes written in another way: the
    last character has bits to spare, and the format wants them to be 0.
    """
    data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    if encoded(data) != text:
        raise ValueError("not the one way to write it in base64")
    return data


def derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    """A key made of a secret, for one purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, purpose).derive(secret)


def sealed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Data encrypted, so that a change is noticed."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(nonce, data, None)


def unsealed(key: bytes, nonce: bytes, data: bytes) -> bytes | None:
    """What was sealed, None where the key is another or the data was changed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(nonce, data, None)
    except InvalidTag:
        return None


def shared(secret: bytes, public: bytes) -> bytes:
    """What the holder of one key and whoever knows its other half agree on (X25519)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def public(secret: bytes) -> bytes:
    """The public half of a key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@frozen
class Stanza:
    """One way to open a file: words that say which, and the key, wrapped."""

    words: tuple[bytes, ...]
    body: bytes

    def text(self) -> bytes:
        """As it stands in a header."""
        body = encoded(self.body)
        lines = [body[at : at + 64] for at in range(0, len(body) + 1, 64)]
        return b"-> " + b" ".join(self.words) + b"\n" + b"\n".join(lines) + b"\n"


class Encryption(Protocol):
    """A way to encrypt an archive."""

    def stanzas(self, key: bytes) -> tuple[Stanza, ...]:
        """The archive's key, wrapped for whoever may read it."""
        ...


class Unlock(Protocol):
    """A way to open an archive; ``what`` says which, in a word."""

    @property
    def what(self) -> str:
        """Such as ``passphrase``."""
        ...

    def key(self, stanzas: tuple[Stanza, ...]) -> bytes | None:
        """The archive's key, None where this does not open it."""
        ...


class _Writer(io.RawIOBase):
    """Encrypts what is written to it; ``close`` writes the last chunk."""

    def __init__(self, sink: BinaryIO, how: Encryption) -> None:
        key, nonce = os.urandom(16), os.urandom(16)
        header = VERSION + b"\n" + b"".join(stanza.text() for stanza in how.stanzas(key)) + b"---"
        mac = hmac.digest(derived(key, b"", b"header"), header, "sha256")
        sink.write(header + b" " + encoded(mac) + b"\n" + nonce)
        self._sink, self._key, self._count, self._held = sink, derived(key, nonce, b"payload"), 0, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # bytes are all that we write
        self._held += data
        while len(self._held) > _CHUNK:  # the last chunk is marked as such, so one is always held back
            self._seal(bytes(self._held[:_CHUNK]), last=False)
            del self._held[:_CHUNK]
        return len(data)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._sink.write(sealed(self._key, self._count.to_bytes(11, "big") + bytes((last,)), chunk))
        self._count += 1

    def close(self) -> None:
        if not self.closed:
            self._seal(bytes(self._held), last=True)
        super().close()


def encrypting(sink: BinaryIO, how: Encryption) -> BinaryIO:
    """A file to write to: what arrives in ``sink`` is encrypted, and whole once this was closed."""
    return _Writer(sink, how)  # type: ignore[return-value] # all of BinaryIO that its users call


def _damage(cause: str) -> BackupError:
    return BackupError.of("the archive", cause, "take another copy of it")


def _header(source: BinaryIO) -> tuple[bytes, tuple[Stanza, ...], bytes]:
    """The header's text, its stanzas and its authentication code."""
    text = source.readline(256)
    if text != VERSION + b"\n":
        raise _damage("is not encrypted in a way that is known here")
    stanzas: list[Stanza] = []
    while (line := source.readline(4096)).startswith(b"-> "):
        text += line
        words, body = tuple(line[3:].split()), b""
        while True:
            part = source.readline(128)
            text += part
            body += part.rstrip(b"\n")
            if len(part.rstrip(b"\n")) < 64:
                break
        stanzas.append(Stanza(words, decoded(body)))
    if not line.startswith(b"--- ") or not all(stanza.words for stanza in stanzas):
        raise _damage("has a header that is damaged")
    return text + b"---", tuple(stanzas), decoded(line[4:].removesuffix(b"\n"))


def decrypted(source: BinaryIO, how: Unlock) -> Iterator[bytes]:
    """The contents of an encrypted file, chunk by chunk; each is authentic, and the last proves the whole.

    Raises BackupError for a wrong passphrase or key, and for a file that was changed or cut off.
    """
    try:
        text, stanzas, mac = _header(source)
        key = how.key(stanzas)
    except ValueError:
        raise _damage("has a header that is damaged") from None
    if key is None:
        raise BackupError.of(
            "the archive", f"the {how.what} does not open it", f"give the {how.what} that it was made with"
        )
    if not hmac.compare_digest(mac, hmac.digest(derived(key, b"", b"header"), text, "sha256")):
        raise _damage("has a header that was changed")
    payload, count = derived(key, source.read(16), b"payload"), 0
    chunk = source.read(_CHUNK + _TAG)
    while True:
        following = source.read(_CHUNK + _TAG)
        found = unsealed(payload, count.to_bytes(11, "big") + bytes((not following,)), chunk)
        if found is None:
            raise _damage("was changed or cut off")
        yield found
        if not following:
            return
        chunk, count = following, count + 1
