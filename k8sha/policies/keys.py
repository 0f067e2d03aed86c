"""The keys on the masters: which there are, in which order the API servers use them, and what etcd was written with.

An order is a configuration file whose name lists the keys in it: the first writes, all read. Which one an API server
has is in its manifest, so whatever was killed, the masters themselves say how far a rotation got.
"""

from __future__ import annotations

import base64
import shlex
from pathlib import PurePosixPath
from typing import TypeAlias

from attrs import field, frozen

from k8sha.components.apiserver_host import MANIFEST
from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = [
    "FOLDER",
    "IDENTITY",
    "SECRETS",
    "ApiServerKeys",
    "Key",
    "MadeKey",
    "OnlyThese",
    "Rewritten",
    "ask_etcd",
    "config_path",
    "key_path",
]

Key: TypeAlias = str
"""A key's name: its provider, a hyphen, and what tells it from others of that provider."""

FOLDER = "/etc/kubernetes/encryption"
IDENTITY = "identity"
"""The provider that writes as it is given, and has no key."""

SECRETS = "/registry/secrets/"
"""Where etcd has all Secrets."""


def key_path(name: Key) -> str:
    """Where a key is on every master."""
    return f"{FOLDER}/{name}.key"


def config_path(order: tuple[Key, ...]) -> str:
    """Where the configuration is that uses keys in this order."""
    return f"{FOLDER}/{'+'.join(order)}.yaml"


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _range(key: str, *, prefix: bool = False, count: bool = False) -> str:
    """The body of a request for a key, or for all that begin with it, quoted for a shell."""
    body = f'{{"key": "{_coded(key)}"}}'
    if prefix:
        end = key[:-1] + chr(ord(key[-1]) + 1)
        body = f'{{"key": "{_coded(key)}", "range_end": "{_coded(end)}"}}'
    if count:
        body = body[:-1] + ', "count_only": true}'
    return shlex.quote(body)


_ASK = f"""\
told() {{ sed -n "s/^ *- --etcd-$1=//p" {MANIFEST}; }}
ask() {{
  curl -sS --http1.1 --fail --connect-timeout 5 --max-time "$1" --cacert "$(told cafile)" --cert "$(told certfile)" \\
    --key "$(told keyfile)" "$etcd/v3/kv/range" -d "$2"
}}
count=
for etcd in $(told servers | tr ',' ' '); do
  if count=$(ask 10 {_range(SECRETS, prefix=True, count=True)}); then break; fi
done
if [ -z "$count" ]; then echo "no member of the API server's etcd answers: $(told servers)" >&2; exit 1; fi
"""
"""Shell that asks the etcd of the master's API server, wherever that is, with the API server's own certificate, as its
manifest has them. ``$etcd`` is the first member that answers, ``$count`` its answer: how many Secrets there are."""


def ask_etcd(key: str) -> str:
    """Shell that prints what etcd has of a key, as JSON."""
    return f"{_ASK}ask 60 {_range(key)}"


@frozen
class ApiServerKeys(Resource):
    """Which keys a master has, and in which order its API server's manifest uses them. Only reads."""

    @frozen
    class Seen:
        """What a master has. ``order`` is empty where there is no API server."""

        order: tuple[Key, ...]
        names: frozenset[Key]

    @property
    def key(self) -> str:
        return "keys of the API server"

    def probe(self) -> str:
        return f"""\
if [ -f {MANIFEST} ]; then
  echo manifest
  sed -n 's/^ *- --encryption-provider-config=/config /p' {MANIFEST}
fi
for file in {FOLDER}/*.key; do if [ -s "$file" ]; then echo "key $file"; fi; done"""

    def read(self, seen: bytes) -> Seen:
        """What a probe printed."""
        order: tuple[Key, ...] = ()
        names = set()
        for line in seen.decode(errors="replace").splitlines():
            what, _, path = line.partition(" ")
            if what == "manifest":
                order = (IDENTITY,)
            elif what == "config":
                order = tuple(PurePosixPath(path).stem.split("+"))
            elif what == "key":
                names.add(PurePosixPath(path).stem)
        return self.Seen(order, frozenset(names))

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class MadeKey(Resource):
    """A key on the master that the others get it from; with ``make`` it is made there where it is missing.

    The probe prints the key: the engine gives it to the component alone, and shows no probe's output.
    """

    name: Key
    make: bool

    @property
    def key(self) -> str:
        return f"key {self.name}"

    def probe(self) -> str:
        path = shlex.quote(key_path(self.name))
        return f"if [ -s {path} ]; then cat {path}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of("+ 32 random bytes" if self.make else "is on no master")

    def apply(self) -> str:
        path = shlex.quote(key_path(self.name))
        if not self.make:
            return f"if [ ! -s {path} ]; then echo 'an API server uses this key, and no master has it' >&2; exit 1; fi"
        return f"""\
umask 077
mkdir -p {FOLDER}
if [ ! -s {path} ]; then
  for file in {FOLDER}/*.yaml; do
    if [ -f "$file" ] && grep -qx ' *- name: {self.name}' "$file"; then
      echo "$file has this key, and {path} is gone: another one of its name could not read what it wrote" >&2; exit 1
    fi
  done
  head -c 32 /dev/urandom | base64 -w 0 >{path}.new
  sync -d {path}.new
  mv -fT {path}.new {path}
fi"""


@frozen
class Rewritten(Resource):
    """Every Secret in etcd was written with this key: asked of etcd itself, of each one's first bytes."""

    name: Key
    limit: int = field(default=1800, kw_only=True)

    @property
    def key(self) -> str:
        return f"Secrets in etcd are written with {self.name}"

    @property
    def timeout(self) -> int:
        return self.limit

    @property
    def probe_timeout(self) -> int:
        return 300

    @property
    def _prefix(self) -> bytes:
        """How a stored value begins."""
        if self.name == IDENTITY:
            return b"k8s\0"
        return f"k8s:enc:{self.name.partition('-')[0]}:v1:{self.name}:".encode()

    def _count(self) -> str:
        """Shell that prints how many Secrets there are, and how many are written otherwise. No value leaves a pipe.

        They are counted by etcd as well: fewer in the pipe than that is no answer, never a good one.
        """
        size = -(-len(self._prefix) // 3)  # groups of three bytes, which base64 writes as four letters
        wanted = self._prefix.hex()
        return f"""\
{_ASK}\
count=$(printf '%s' "$count" | sed -n 's/.*"count": *"\\([0-9]*\\)".*/\\1/p')
ask 60 {_range(SECRETS, prefix=True)} | tr '{{' '\\n' | sed -n 's/.*"value": *"\\([^"]*\\)".*/\\1/p' |
  cut -c1-{4 * size} | tr -d '\\n' | base64 -d | od -An -v -tx1 -w{3 * size} | tr -d ' ' |
  awk -v count="${{count:-0}}" '{{ all += 1; if (index($0, "{wanted}") != 1) other += 1 }}
    END {{ if (all == count) print all + 0, other + 0; else print "etcd has " count ", and told " all + 0 }}'"""

    def probe(self) -> str:
        return f"if [ ! -s {ADMIN_CONF} ]; then echo '0 0'; exit 0; fi\n{self._count()}"

    def diff(self, seen: bytes) -> Diff:
        total, _, other = seen.decode(errors="replace").strip().partition(" ")
        if not (total.isdigit() and other.isdigit()):
            return Diff.of(f"not known: {seen.decode(errors='replace').strip() or 'etcd did not tell'}")
        return Diff.of(f"{other} of {total} are written otherwise") if int(other) else Diff()

    def apply(self) -> str:
        return f"""\
export KUBECONFIG={ADMIN_CONF}
umask 077
said=$(mktemp "/run/k8sha/trip.$$.rewrite.XXXXXX")
trap 'rm -f "$said"' EXIT
for round in 1 2 3 4 5; do
  left=$({self._count()})
  if [ "${{left#* }}" = 0 ]; then exit 0; fi
  # One that another client changed or deleted meanwhile is refused, and is looked at again in the next round.
  if ! kubectl --request-timeout=60s get secrets -A -o json |
    kubectl --request-timeout=60s replace -f - >/dev/null 2>"$said"; then
    grep -o 'Error from server ([A-Za-z]*)' "$said" | sort | uniq -c >&2 || echo 'kubectl failed' >&2
  fi
done
echo "after 5 rounds still: $left (all, written otherwise)" >&2
exit 1"""


@frozen
class OnlyThese(Resource):
    """Of keys and their configurations, only these files are there."""

    kept: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"only present keys in {FOLDER}"

    def _others(self, then: str) -> str:
        kept = "|".join(shlex.quote(path) for path in self.kept)
        return f"""\
for file in {FOLDER}/*.key {FOLDER}/*.yaml {FOLDER}/*.new; do
  case $file in {kept}) continue ;; esac
  if [ -f "$file" ]; then {then}; fi
done"""

    def probe(self) -> str:
        return self._others('echo "- $file"')

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return self._others('rm -f "$file"')
