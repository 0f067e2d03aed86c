"""Who may open an archive: whoever knows a passphrase, or has one of some keys. The program ``age`` does it too."""

from __future__ import annotations

import os
import re

from attrs import field, frozen

from k8sha.errors import ConfigError
from k8sha.etcd.age import VERSION, Stanza, decoded, derived, encoded, public, sealed, shared, unsealed
from k8sha.etcd.bech32 import bech32_decoded

__all__ = ["Age", "AgeKey", "Passphrase"]

_WORK = 18
"""log2 of scrypt's cost: 2**18, which is what age takes for a passphrase; about a second and 256 MiB."""
_MOST_WORK = 22
"""What age refuses to go beyond when it opens a file: a forged one could ask for all memory."""


def _stretched(passphrase: str, salt: bytes, work: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(VERSION + b"/scrypt" + salt, 32, 1 << work, 8, 1).derive(passphrase.encode())


def _valid_passphrase(instance: object, attribute: object, value: str) -> None:
    if not value:
        raise ConfigError.of("Passphrase", "is empty", "give one that cannot be guessed")


@frozen
class Passphrase:
    """Encrypts an archive by a passphrase, and opens it. ``age -d`` asks for the same one."""

    value: str = field(repr=False, validator=_valid_passphrase)
    work: int = field(default=_WORK, kw_only=True, repr=False)

    def stanzas(self, key: bytes) -> tuple[Stanza, ...]:
        """See :class:`Encryption`."""
        salt = os.urandom(16)
        body = sealed(_stretched(self.value, salt, self.work), bytes(12), key)
        return (Stanza((b"scrypt", encoded(salt), str(self.work).encode()), body),)

    @property
    def what(self) -> str:
        """See :class:`Unlock`."""
        return "passphrase"

    def key(self, stanzas: tuple[Stanza, ...]) -> bytes | None:
        """See :class:`Unlock`."""
        if len(stanzas) != 1 or stanzas[0].words[0] != b"scrypt" or len(stanzas[0].words) != 3:
            return None
        _, salt, work = stanzas[0].words
        if not re.fullmatch(rb"[1-9][0-9]?", work) or int(work) > _MOST_WORK:
            return None
        return unsealed(_stretched(self.value, decoded(salt), int(work)), bytes(12), stanzas[0].body)


def _as_recipients(given: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@frozen
class Age:
    """Encrypts an archive for recipients, ``age1...``: whoever has one of their keys opens it, and nobody here does."""

    recipients: tuple[str, ...] = field(converter=_as_recipients)

    def __attrs_post_init__(self) -> None:
        if not self.recipients:
            raise ConfigError.of("Age", "has no recipients", "give at least one, as age-keygen prints it")
        for recipient in self.recipients:
            if bech32_decoded("age", recipient) is None:
                raise ConfigError.of(
                    f"recipient {recipient[:80]!r}",
                    "is no public key of age",
                    "give it as age-keygen prints it: age1...",
                )

    def stanzas(self, key: bytes) -> tuple[Stanza, ...]:
        """See :class:`Encryption`."""
        return tuple(self._stanza(bech32_decoded("age", recipient) or b"", key) for recipient in self.recipients)

    @staticmethod
    def _stanza(recipient: bytes, key: bytes) -> Stanza:
        secret = os.urandom(32)
        share = public(secret)
        wrap = derived(shared(secret, recipient), share + recipient, VERSION + b"/X25519")
        return Stanza((b"X25519", encoded(share)), sealed(wrap, bytes(12), key))


@frozen
class AgeKey:
    """Opens an archive by a secret key of age, ``AGE-SECRET-KEY-1...``."""

    secret: str = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if bech32_decoded("age-secret-key-", self.secret.strip()) is None:
            raise ConfigError.of("AgeKey", "is no secret key of age", "give the line AGE-SECRET-KEY-1...")

    @property
    def what(self) -> str:
        """See :class:`Unlock`."""
        return "key"

    def key(self, stanzas: tuple[Stanza, ...]) -> bytes | None:
        """See :class:`Unlock`."""
        secret = bech32_decoded("age-secret-key-", self.secret.strip()) or b""
        for stanza in stanzas:
            if stanza.words[0] == b"X25519" and len(stanza.words) == 2:
                share = decoded(stanza.words[1])
                wrap = derived(shared(secret, share), share + public(secret), VERSION + b"/X25519")
                found = unsealed(wrap, bytes(12), stanza.body)
                if found is not None:
                    return found
        return None
