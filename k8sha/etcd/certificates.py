"""The TLS of a member under systemd: keys that are made where they are used, and what is due.

No private key leaves its host in a form that anybody but its receiver can read. Certificate requests go to a host that
has the authority's key, certificates come back. The authority's key itself is on every member, as it is with kubeadm,
so that the loss of any host costs nothing; it travels encrypted for the receiver's own certificate.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.etcd.access import Access
from k8sha.report import Diff
from k8sha.resources.files import beside
from k8sha.resources.resource import KnownAfter, Resource

__all__ = ["NAMES", "PKI", "RENEWAL", "RENEW_DAYS", "AuthorityKey", "Keys", "PrivateKeys"]

NAMES = ("server", "peer", "healthcheck-client")
PKI = Access(stacked=False).pki
RENEW_DAYS = 30
"""A certificate that ends within so many days is renewed; ``verify`` names it from then on."""
RENEWAL = (
    "run there, one master after the other (docs/diagnose.md): kubeadm certs renew all && "
    "pkill -x 'etcd|kube-apiserver|kube-controller|kube-scheduler'"
)
"""What a person does about certificates that kubeadm has made: nothing here renews those. The kubelet starts again what
has ended; no program reads all of its certificates anew by itself. The kernel cuts names of programs to 15 letters, and
not every host has ``crictl``."""

_AUTHORITY = f"""\
if [ -s {PKI}/ca.crt ] && [ -s {PKI}/ca.key ] &&
  [ "$(openssl pkey -in {PKI}/ca.key -pubout)" = "$(openssl x509 -in {PKI}/ca.crt -noout -pubkey)" ]; then
  authority=yes
else authority=no; fi"""


@frozen
class Keys:
    """What a host has of the PKI. ``ca`` is its authority's certificate, empty without one; ``authority`` says whether
    it has the key of that as well; ``due`` maps the certificates that it needs to requests, base64; ``server`` is its
    present certificate, base64."""

    ca: str
    authority: bool
    due: tuple[tuple[str, str], ...]
    server: str


@frozen
class PrivateKeys(Resource):
    """The private keys of a member, made on its host. Its probe prints a certificate request for each certificate that
    is missing, ends soon, is by another authority or for other names; a stage's outcome hands them on."""

    host: str
    address: str

    @property
    def key(self) -> str:
        return "etcd's keys"

    def probe(self) -> str:
        return f"""\
if ! command -v openssl >/dev/null; then exit 0; fi
for name in {" ".join(NAMES)}; do
  if [ -s {PKI}/$name.key ]; then echo "key $name $(stat -c '%a %U:%G' {PKI}/$name.key)"; fi
done
if [ -s {PKI}/ca.crt ]; then echo "ca $(base64 -w 0 <{PKI}/ca.crt)"; fi
{_AUTHORITY}
echo "authority $authority"
if [ -s {PKI}/server.crt ]; then echo "server $(base64 -w 0 <{PKI}/server.crt)"; fi
fits() {{
  crt={PKI}/$1.crt
  if [ ! -s "$crt" ] || [ ! -s {PKI}/ca.crt ]; then return 1; fi
  openssl verify -CAfile {PKI}/ca.crt "$crt" >/dev/null 2>&1 || return 1
  openssl x509 -in "$crt" -noout -checkend {RENEW_DAYS * 86400} >/dev/null || return 1
  if [ "$(openssl x509 -in "$crt" -noout -pubkey)" != "$(openssl pkey -in {PKI}/$1.key -pubout)" ]; then return 1; fi
  if [ "$1" = healthcheck-client ]; then return 0; fi
  case $(openssl x509 -in "$crt" -noout -checkhost {shlex.quote(self.host)}) in *NOT*) return 1;; esac
  case $(openssl x509 -in "$crt" -noout -checkip {self.address}) in *NOT*) return 1;; esac
}}
for name in {" ".join(NAMES)}; do
  if [ -s {PKI}/$name.key ] && ! fits $name; then
    echo "due $name $(openssl req -new -key {PKI}/$name.key -subj /CN=any -outform DER | base64 -w 0)"
  fi
done"""

    @staticmethod
    def keys(seen: bytes) -> Keys:
        """What a probe printed."""
        lines = [line.split(" ") for line in seen.decode().splitlines()]
        found = {line[0]: line[1] for line in lines if line[0] in ("ca", "authority", "server") and len(line) == 2}
        have = {line[1] for line in lines if line[0] == "key"}
        due = {line[1]: line[2] for line in lines if line[0] == "due"}
        due |= {name: "" for name in NAMES if name not in have}
        return Keys(found.get("ca", ""), found.get("authority") == "yes", tuple(due.items()), found.get("server", ""))

    def diff(self, seen: bytes) -> Diff:
        have = {line.split(" ")[1]: line for line in seen.decode().splitlines() if line.startswith("key ")}
        wrong = Diff()
        for name in NAMES:
            if name not in have:
                wrong += Diff.of(f"+ {PKI}/{name}.key, RSA 2048")
            elif have[name] != f"key {name} {self._mode(name)}":
                wrong += Diff.between(f"{name}.key", have[name].partition(f"{name} ")[2], self._mode(name))
        return wrong

    @staticmethod
    def _mode(name: str) -> str:
        return "600 root:root" if name == "healthcheck-client" else "640 root:etcd"

    def apply(self) -> str:
        steps = "\n".join(f"made {name} {self._mode(name)}" for name in NAMES)
        return f"""\
umask 077
made() {{
  file={PKI}/$1.key
  if [ ! -s "$file" ]; then
    new={PKI}/.k8sha.$1.key
    rm -f "$new"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$new" 2>/dev/null
    sync "$new"
    mv -fT "$new" "$file"
  fi
  chown $3 "$file"
  chmod $2 "$file"
}}
{steps}"""


@frozen
class AuthorityKey(Resource):
    """The authority's key on this host, out of what another member has encrypted for it."""

    sealed: str | KnownAfter = field(repr=False)

    @property
    def key(self) -> str:
        return f"file {PKI}/ca.key"

    def probe(self) -> str:
        return f'{_AUTHORITY}\necho "$authority"'

    def diff(self, seen: bytes) -> Diff:
        return (
            Diff() if seen.strip() == b"yes" else Diff.of("is absent, or of another authority -> from another member")
        )

    def apply(self) -> str:
        new = shlex.quote(beside(f"{PKI}/ca.key"))
        return f"""\
umask 077
new={new}
trap 'rm -f "$new"' EXIT
echo {self.sealed} | base64 -d |
  openssl cms -decrypt -binary -inform DER -inkey {PKI}/server.key -recip {PKI}/server.crt -out "$new"
if [ "$(openssl pkey -in "$new" -pubout)" != "$(openssl x509 -in {PKI}/ca.crt -noout -pubkey)" ]; then
  echo 'the key that came is not that of {PKI}/ca.crt' >&2
  exit 1
fi
chown root:root "$new"
sync "$new"
mv -fT "$new" {PKI}/ca.key"""
