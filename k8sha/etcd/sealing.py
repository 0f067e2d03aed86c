"""The keys that API servers read Secrets with, on their hosts and in the archive of a backup.

They are compared by hash: what a key is leaves no host, and no archive. The name counts as well: what is stored says by
its key's name which one it needs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from k8sha.errors import Problem
from k8sha.etcd.fence import FENCED, MANIFESTS
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["KeysUsed", "archived_keys", "key_notes", "unreadable"]

_OPTION = "--encryption-provider-config="

_HASHED = r"""
hashed() {
  quote="[\"']\{0,1\}"
  tr '{},' '\n\n\n' | sed -n "s/^[- ]*$quote\(name\|secret\)$quote *: *$quote\([^\"' ]*\).*/\1 \2/p" | {
    name='' secret=''
    while read -r what value; do
      case $what in name) name=$value ;; *) secret=$value ;; esac
      if [ -n "$name" ] && [ -n "$secret" ]; then
        printf '%s:%s' "$name" "$secret" | sha256sum | sed 's/^\([0-9a-f]*\).*/key \1/'
        name='' secret=''
      fi
    done
  }
}
"""
"""Shell whose ``hashed`` reads an EncryptionConfiguration, as YAML or JSON, and prints a hash for each of its keys."""


@frozen
class KeysUsed(Resource):
    """Which keys a host's API server reads with. Only looks, and prints their hashes."""

    @frozen
    class Seen:
        """``serves`` says whether there is an API server, ``encrypts`` whether it has a configuration of keys."""

        serves: bool
        encrypts: bool
        hashes: frozenset[str]

    @property
    def key(self) -> str:
        return "keys of Secrets"

    def probe(self) -> str:
        return f"""\
{_HASHED}
for manifest in {MANIFESTS}/kube-apiserver.yaml {FENCED}/kube-apiserver.yaml; do
  if [ ! -s "$manifest" ]; then continue; fi
  echo serves
  file=$(sed -n 's/^ *- {_OPTION}//p' "$manifest")
  if [ -n "$file" ]; then
    echo encrypts
    if [ -s "$file" ]; then hashed <"$file"; fi
  fi
done"""

    def read(self, seen: bytes) -> Seen:
        """What a probe printed."""
        words = [line.split() for line in seen.decode(errors="replace").splitlines()]
        hashes = frozenset(word[1] for word in words if word[0] == "key")
        return self.Seen(["serves"] in words, ["encrypts"] in words, hashes)

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


def archived_keys(folder: Path) -> Mapping[str, str] | None:
    """The names of the keys in an unpacked archive, by their hashes: those of the API server's own configuration. None
    where it has no API server's files, or they can't be read."""
    import yaml

    files = folder / "files"
    manifest = files / f"{MANIFESTS}/kube-apiserver.yaml".lstrip("/")
    try:
        said = re.search(rf"^ *- {_OPTION}(\S+)", manifest.read_text(), re.MULTILINE)
        if said is None:
            return {}
        config = yaml.safe_load((files / said[1].lstrip("/")).read_text())
        return {_hash(name, secret): name for name, secret in _keys(config)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return None


def _keys(config: Any) -> Iterator[tuple[str, str]]:
    for each in config["resources"]:
        for provider in each["providers"]:
            for settings in provider.values():
                for key in (settings or {}).get("keys", ()):
                    yield str(key["name"]), str(key["secret"])


def _hash(name: str, secret: str) -> str:
    return hashlib.sha256(f"{name}:{secret}".encode()).hexdigest()


def unreadable(keys: Mapping[str, str] | None, used: Mapping[str, KeysUsed.Seen]) -> Iterator[Problem]:
    """API servers that lack a key of the snapshot's time: what was encrypted with it could not be read."""
    for host, seen in used.items():
        lacking = sorted({name for hash, name in (keys or {}).items() if hash not in seen.hashes})
        if seen.serves and lacking:
            yield Problem(
                host,
                f"its API server lacks the key {', '.join(lacking)}, with which Secrets of the snapshot are encrypted: "
                "nobody could read them",
                "give EncryptionAtRest that key back, from files/etc/kubernetes/encryption of the archive, as the page "
                "on restores says; then restore",
            )


def key_notes(keys: Mapping[str, str] | None, used: Iterable[KeysUsed.Seen]) -> Iterator[str]:
    """What can't be known of a snapshot that came without the keys of its time."""
    if keys is None and any(seen.encrypts for seen in used):
        yield (
            "the snapshot came without the keys of its time, and the API servers encrypt, or once did: if their keys "
            "were others then, Secrets of it can't be read. Look: kubectl get secrets -A"
        )
