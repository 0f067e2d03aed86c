"""EncryptionAtRest: what etcd stores of a Secret is encrypted, and its key can be exchanged while the cluster runs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import yaml
from attrs import field, frozen

from k8sha.component import Checks, Stages
from k8sha.components.apiserver import ApiServerPolicy, ApiServers, Volume
from k8sha.errors import ConfigError
from k8sha.hosts.host import Host
from k8sha.policies.keys import (
    FOLDER,
    IDENTITY,
    SECRETS,
    ApiServerKeys,
    Key,
    MadeKey,
    OnlyThese,
    Rewritten,
    ask_etcd,
    config_path,
    key_path,
)
from k8sha.resources.files import Directory, File
from k8sha.resources.resource import KnownAfter, Resource
from k8sha.stage import Stage
from k8sha.waiting import Check, NotYet

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["EncryptionAtRest"]

_LENGTH = 32
"""Bytes of a key: the only length of secretbox, and the longest of aescbc."""

_PROVIDERS = ("secretbox", "aescbc", IDENTITY)
_ARGUMENT = "encryption-provider-config"


def _decoded(given: str | bytes | None) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    try:
        return base64.b64decode("".join(given.split()), validate=True)  # what a file has ends in a new line
    except ValueError:
        raise ConfigError.of("EncryptionAtRest", "its key is not base64", "head -c 32 /dev/urandom | base64") from None


@frozen(kw_only=True)
class EncryptionAtRest(ApiServerPolicy):
    """Secrets are encrypted in etcd, with the same keys on every master.

    The key is made on a master, or is the ``key`` that is given (32 bytes, or those as base64). Another ``generation``
    (or another ``key``) is a rotation: every API server can read the new key before any writes with it, all Secrets
    are written anew, then the old one is removed. ``provider="identity"`` switches encryption off in the same way; to
    leave the policy out while Secrets are encrypted is refused. What was never encrypted can always be read.

    A backup of etcd can be read only with the keys of its time: take a new one after a rotation.
    """

    provider: str = "secretbox"
    generation: int = 1
    key: bytes | None = field(default=None, converter=_decoded, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.provider not in _PROVIDERS:
            raise ConfigError.of("EncryptionAtRest", f"unknown provider {self.provider!r}", f"take {_PROVIDERS}")
        if self.generation < 1:
            raise ConfigError.of("EncryptionAtRest", f"generation {self.generation}", "take 1, and one more to rotate")
        if self.key is not None and len(self.key) != _LENGTH:
            raise ConfigError.of(
                "EncryptionAtRest",
                f"its key has {len(self.key)} bytes, and {self.provider} takes {_LENGTH}",
                f"give those, or the text that is printed by: head -c {_LENGTH} /dev/urandom | base64",
            )

    @property
    def key_name(self) -> str:
        """What the key is called, on the masters and in etcd."""
        if self.provider == IDENTITY:
            return IDENTITY
        if self.key is not None:
            return f"{self.provider}-given-{hashlib.sha256(self.key).hexdigest()[:12]}"
        return f"{self.provider}-{self.generation}"

    @property
    def _target(self) -> tuple[Key, ...]:
        return (IDENTITY,) if self.key_name == IDENTITY else (self.key_name, IDENTITY)

    def arguments(self) -> Mapping[str, str]:
        """See :meth:`ApiServerPolicy.arguments`."""
        return {_ARGUMENT: config_path(self._target)}

    def gradual(self) -> tuple[str, ...]:
        """See :meth:`ApiServerPolicy.gradual`."""
        return (_ARGUMENT,)

    def volumes(self) -> tuple[Volume, ...]:
        """See :meth:`ApiServerPolicy.volumes`."""
        return (Volume("encryption", FOLDER, "Directory"),)

    def _steps(self, present: Iterable[tuple[Key, ...]]) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        """From what the API servers have now: the keys with the new one readable, and with it written.

        The writer of the first is one that every API server can read already; there is one, whenever a run was killed.
        """
        orders = sorted(set(present))
        new = self.key_name
        common = next((each[0] for each in orders if all(each[0] in other for other in orders)), IDENTITY)
        old = sorted({name for order in orders for name in order} - {new, IDENTITY})
        readable = tuple(dict.fromkeys((common, new, *old, IDENTITY)))
        return readable, tuple(dict.fromkeys((new, *old, IDENTITY)))

    def preparation(self, masters: tuple[Host, ...]) -> Stages:
        """Every key in use, and the new one, on every master, with every order that they are going to be used in."""
        state = ApiServerKeys()
        outcome = yield Stage("keys in use", {host: (state,) for host in masters})
        seen = {host: state.read(outcome.of(host.name, state.key)) for host in masters}
        present = [found.order for found in seen.values() if found.order]
        orders = tuple(dict.fromkeys((*present, *(self._steps(present) if present else ()), self._target)))
        names = sorted({name for order in orders for name in order} - {IDENTITY})
        reads: dict[Host, tuple[MadeKey, ...]] = {}
        for name in names:
            if name == self.key_name and self.key is not None:
                continue
            source = _source(name, seen, masters)
            reads[source] = (*reads.get(source, ()), MadeKey(name, make=name == self.key_name))
        keys: dict[Key, str] = {}
        if self.key is not None:
            keys[self.key_name] = base64.b64encode(self.key).decode()
        if reads:
            outcome = yield Stage("keys", reads)
            for host, made in reads.items():
                for each in made:
                    if text := outcome.of(host.name, each.key).decode().strip():
                        keys[each.name] = text
        files = (Directory(FOLDER, mode="0700"), *_files(names, orders, keys))
        yield Stage("keys on every master", dict.fromkeys(masters, files))

    def changeover(self, servers: ApiServers) -> Stages:
        """See :meth:`ApiServerPolicy.changeover`: readable everywhere, then written, then everything written anew."""
        state = ApiServerKeys()
        outcome = yield Stage("keys of the API servers", {host: (state,) for host in servers.masters})
        found = [state.read(outcome.of(host.name, state.key)).order for host in servers.masters]
        present = [order for order in found if order]
        if not present:
            return
        readable, written = self._steps(present)
        if any(self.key_name not in order for order in present):
            yield from servers.change("every API server can read the new key", {_ARGUMENT: config_path(readable)})
        if any(self.key_name != order[0] for order in present):
            yield from servers.change("every API server writes with the new key", {_ARGUMENT: config_path(written)})
        # Always looked at: where nothing was encrypted before, the orders do not say whether a run was killed just
        # here, and a backup of earlier times brings back what was written with none.
        yield Stage("Secrets written anew", {servers.first: (Rewritten(self.key_name),)})

    def clearing(self, masters: tuple[Host, ...]) -> Stages:
        """Keys and orders that no API server has any more."""
        kept = [config_path(self._target), *(key_path(name) for name in self._target if name != IDENTITY)]
        yield Stage("old keys removed", dict.fromkeys(masters, (OnlyThese(tuple(kept)),)))

    def checks(self, plane: ControlPlane) -> Checks:
        """See :meth:`ApiServerPolicy.checks`."""
        if self.key_name != IDENTITY:
            yield Check("a Secret of ours can't be read in etcd, and can through the API", lambda: self._hidden(plane))

    def _hidden(self, plane: ControlPlane) -> str:
        name, value = f"k8sha-check-{secrets.token_hex(6)}", secrets.token_hex(24)
        item = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "kube-system"},
            "stringData": {"value": value},
        }
        path = f"/api/v1/namespaces/kube-system/secrets/{name}"
        try:
            plane.api.request("post", "/api/v1/namespaces/kube-system/secrets", item)
            read = base64.b64decode(plane.api.get(path)["data"]["value"]).decode()
            exit, out, err = plane.hosts[0].read(ask_etcd(f"{SECRETS}kube-system/{name}"))[0]
        finally:
            plane.api.delete(path)
        if exit != 0:
            raise NotYet(f"etcd did not answer: {err.decode(errors='replace').strip()[-300:]}")
        found = json.loads(out).get("kvs", [])
        stored = base64.b64decode(found[0]["value"]) if found else b""
        prefix = f"k8s:enc:{self.provider}:v1:{self.key_name}:"
        if not stored.startswith(prefix.encode()) or value.encode() in stored:
            raise NotYet(f"what etcd has of it does not begin with {prefix}")
        if read != value:
            raise NotYet("the API gives another value back than was written")
        return f"{len(stored)} bytes in etcd, {prefix}..."


def _source(name: Key, seen: Mapping[Host, ApiServerKeys.Seen], masters: tuple[Host, ...]) -> Host:
    """From which master a key is taken: one whose API server uses it, else one that has it, else where it is made."""

    def rank(host: Host) -> tuple[bool, bool, bool]:
        found = seen[host]
        return name not in found.order, name not in found.names, not found.order

    return min(masters, key=rank)


def _files(names: Iterable[Key], orders: Iterable[tuple[Key, ...]], keys: Mapping[Key, str]) -> Iterator[Resource]:
    made = KnownAfter("the key is made on a master")
    for name in names:
        text: str | KnownAfter = f"{keys[name]}\n" if name in keys else made
        yield File(key_path(name), text, mode="0600", secret=name in keys)
    for order in orders:
        known = all(name in keys for name in order if name != IDENTITY)
        content: str | KnownAfter = _config(order, keys) if known else made
        yield File(config_path(order), content, mode="0600", secret=known)


def _config(order: Iterable[Key], keys: Mapping[Key, str]) -> str:
    """An EncryptionConfiguration: the first key writes, all of them read. Neighbours of one kind are one provider."""
    providers: list[dict[str, dict[str, list[dict[str, str]]]]] = []
    for name in order:
        kind = name.partition("-")[0]
        if name == IDENTITY:
            providers.append({IDENTITY: {}})
            continue
        entry = {"name": name, "secret": keys[name]}
        if providers and kind in providers[-1]:
            providers[-1][kind]["keys"].append(entry)
        else:
            providers.append({kind: {"keys": [entry]}})
    config = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    }
    return yaml.safe_dump(config, sort_keys=False)
