"""An API server as a client of an etcd on other hosts: its key, made where it is used, and its certificate.

The key never leaves its host. A request for a certificate goes to a member that has the authority's key, the
certificate comes back. kubeadm would have every master use the first one's pair.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence

from attrs import frozen

from k8sha.errors import PreflightError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.certificates import PKI, RENEW_DAYS
from k8sha.etcd.conditions import MembersHealthy
from k8sha.etcd.signing import CLIENT, Request, Signed
from k8sha.hosts.host import Host
from k8sha.report import Diff, Outcome
from k8sha.resources.files import File, beside
from k8sha.resources.resource import KnownAfter, Resource
from k8sha.stage import Stage, Step

__all__ = ["CLIENT_FILES", "ClientKey", "ServingAuthority", "client_certificates", "with_etcd"]

_KUBERNETES = "/etc/kubernetes/pki"
_CA = f"{_KUBERNETES}/etcd/ca.crt"
_CRT, _KEY = f"{_KUBERNETES}/{CLIENT}.crt", f"{_KUBERNETES}/{CLIENT}.key"

CLIENT_FILES = ("etcd/ca.crt", f"{CLIENT}.crt", f"{CLIENT}.key")
"""What an API server needs of an etcd on other hosts, below ``/etc/kubernetes/pki``."""

# All that a cluster keeps in etcd is below /registry/, the API server's own prefix; the second is where that ends.
_RANGE = '{"key":"L3JlZ2lzdHJ5Lw==","range_end":"L3JlZ2lzdHJ5MA==","count_only":true}'


@frozen
class ServingAuthority(Resource):
    """Reads from a member's host the authority that it is under, whether its key is there, and whether a cluster of
    Kubernetes has its objects in this etcd."""

    @property
    def key(self) -> str:
        return "authority of etcd"

    def probe(self) -> str:
        return f"""\
if [ -s {PKI}/ca.crt ]; then echo "ca $(base64 -w 0 <{PKI}/ca.crt)"; fi
if [ -s {PKI}/ca.key ]; then echo key; fi
if [ -s {PKI}/healthcheck-client.crt ]; then
  found=$({Access(stacked=False).curl} https://127.0.0.1:2379/v3/kv/range -d '{_RANGE}' 2>/dev/null) || found=
  case $found in *'"count":"'[1-9]*) echo objects;; *'"header":'*) echo empty;; esac
fi"""

    @staticmethod
    def parse(seen: bytes) -> tuple[str, bool, str]:
        """The authority's certificate, PEM (empty without one); whether its key is there; and ``objects``, ``empty``,
        or nothing where the member does not say."""
        lines = seen.decode().splitlines()
        ca = next((base64.b64decode(line[3:]).decode() for line in lines if line.startswith("ca ")), "")
        return ca, "key" in lines, next((line for line in lines if line in ("objects", "empty")), "")

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class ClientKey(Resource):
    """The key with which this host's API server logs in to etcd. A key whose certificate is another host's is none:
    ``kubeadm join`` leaves such a pair. Its probe prints a request where a certificate is missing or ends soon."""

    host: str

    @property
    def key(self) -> str:
        return f"file {_KEY}"

    def _own(self) -> str:
        name = shlex.quote(f"subject=CN={self.host},O={CLIENT}")
        return f"""\
own() {{
  if [ ! -s {_KEY} ]; then return 1; fi
  if [ ! -s {_CRT} ]; then return 0; fi
  [ "$(openssl x509 -in {_CRT} -noout -subject -nameopt RFC2253 2>/dev/null)" = {name} ]
}}"""

    def probe(self) -> str:
        return f"""\
if ! command -v openssl >/dev/null; then exit 0; fi
{self._own()}
fits() {{
  if [ ! -s {_CRT} ] || [ ! -s {_CA} ]; then return 1; fi
  openssl verify -CAfile {_CA} -purpose sslclient {_CRT} >/dev/null 2>&1 || return 1
  openssl x509 -in {_CRT} -noout -checkend {RENEW_DAYS * 86400} >/dev/null || return 1
  [ "$(openssl x509 -in {_CRT} -noout -pubkey)" = "$(openssl pkey -in {_KEY} -pubout)" ]
}}
if own; then
  echo "key $(stat -c '%a %U:%G' {_KEY})"
  if ! fits; then echo "due $(openssl req -new -key {_KEY} -subj /CN=any -outform DER | base64 -w 0)"; fi
fi
if [ -s {_CA} ]; then echo "ca $(base64 -w 0 <{_CA})"; fi"""

    @staticmethod
    def parse(seen: bytes) -> tuple[str | None, str]:
        """A request for a certificate, base64 (None where none is due, empty without a key); and the authority's
        certificate that is here, PEM."""
        lines = dict(line.split(" ", 1) for line in seen.decode().splitlines() if " " in line)
        ca = base64.b64decode(lines.get("ca", "")).decode()
        return ("" if "key" not in lines else lines.get("due")), ca

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        found = next((line for line in lines if line.startswith("key ")), "")
        if not found:
            return Diff.of("is absent, or another host's -> RSA 2048")
        wanted = "600 root:root"
        return Diff() if found == f"key {wanted}" else Diff.between("mode", found[4:], wanted)

    def apply(self) -> str:
        return f"""\
umask 077
{self._own()}
(umask 022; mkdir -p {_KUBERNETES}/etcd)
if ! own; then
  new={shlex.quote(beside(_KEY))}
  rm -f "$new"
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$new" 2>/dev/null
  sync "$new"
  mv -fT "$new" {_KEY}
fi
chown root:root {_KEY}
chmod 600 {_KEY}"""


def with_etcd(
    masters: Mapping[Host, tuple[Resource, ...]], members: Sequence[Host]
) -> dict[Host, tuple[Resource, ...]]:
    """The work of a stage on masters, and what :func:`client_certificates` needs to see: in the same trip of each."""
    expected = tuple((host.name, host.address) for host in members)
    work: dict[Host, tuple[Resource, ...]] = {host: (*own, ClientKey(host.name)) for host, own in masters.items()}
    work |= {host: (MembersHealthy(expected, patience=60), ServingAuthority()) for host in members}
    return work


def client_certificates(
    masters: Sequence[Host],
    members: Sequence[Host],
    outcome: Outcome,
    *,
    serving: Collection[Host],
    days: int,
) -> Generator[Step, Outcome, None]:
    """Gives every master a certificate that is due, by what a stage saw of :class:`ClientKey` and
    :class:`ServingAuthority`. ``serving`` are the masters that have an API server already.

    Raises PreflightError with nothing changed where those are served by another etcd than this.
    """
    authorities = {host: ServingAuthority.parse(outcome.of(host.name, ServingAuthority().key)) for host in members}
    ca = next((pem for pem, _, _ in authorities.values() if pem), "")
    seen = {host: ClientKey.parse(outcome.of(host.name, ClientKey(host.name).key)) for host in masters}
    _refuse(authorities, seen, ca, serving)
    due = {host: csr for host, (csr, own) in seen.items() if csr is not None or (ca and own.strip() != ca.strip())}
    if not due:
        return
    later = KnownAfter("keys are made")
    signer = next((host for host, (_, has_key, _) in authorities.items() if has_key), members[0])
    signed = Signed(
        tuple(Request(host.name, host.address, CLIENT, csr or later) for host, csr in due.items()), days=days
    )
    outcome = yield Stage("etcd's authority signs for API servers", {signer: (signed,)})
    made = Signed.certificates(outcome.of(signer.name, signed.key))
    yield Stage("API servers' certificates for etcd", {host: tuple(_files(host, ca, made)) for host in due})


def _files(host: Host, ca: str, made: Mapping[tuple[str, str], str]) -> Iterable[Resource]:
    yield File(_CA, ca or KnownAfter("the authority is made"))
    # The API server reads it anew for each new connection, so nothing is to be restarted.
    yield File(_CRT, made.get((host.name, CLIENT)) or KnownAfter("it is signed"))


def _refuse(
    authorities: Mapping[Host, tuple[str, bool, str]],
    seen: Mapping[Host, tuple[str | None, str]],
    ca: str,
    serving: Collection[Host],
) -> None:
    problems = [
        Problem(host.name, "its API server is a client of another etcd than this one", "list that etcd's hosts")
        for host, (_, own) in seen.items()
        if host in serving and ca and own and own.strip() != ca.strip()
    ]
    said = {objects for _, _, objects in authorities.values()}
    if not serving and ca and not said - {""}:
        problems.append(Problem("etcd", "no member says whether it has a cluster's objects", "install it first"))
    if not serving and "objects" in said:
        cause = "has the objects of a cluster, and none of the masters is in one"
        remedy = "bring a master of that cluster back, with /etc/kubernetes/pki; or give an etcd without data"
        problems.append(Problem("etcd", cause, remedy))
    if problems:
        raise PreflightError(problems)
