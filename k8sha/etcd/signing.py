"""Certificates for members under systemd, signed on a host that has the authority's key, for requests of the others."""

from __future__ import annotations

import base64
import hashlib
import shlex

from attrs import field, frozen

from k8sha.etcd.certificates import PKI
from k8sha.report import Diff
from k8sha.resources.resource import STATE, KnownAfter, Resource

__all__ = ["CLIENT", "Request", "Sealed", "Signed"]

_SIGNED = f"{STATE}/etcd/signed"

CLIENT = "apiserver-etcd-client"
"""An API server's certificate for etcd: kubeadm's name for its files."""


@frozen
class Request:
    """A certificate that is wanted: whose it is, what it is for, and the request as base64."""

    host: str
    address: str
    name: str
    csr: str | KnownAfter

    @property
    def id(self) -> str:
        """What the signed certificate is filed under."""
        return hashlib.sha256(f"{self.host} {self.address} {self.name} {self.csr}".encode()).hexdigest()[:32]


_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = {usage}
authorityKeyIdentifier = keyid
{names}"""


def _subject(request: Request) -> str:
    if request.name == CLIENT:
        return f"/O={CLIENT}/CN={request.host}"
    return "/CN=etcd-healthcheck-client" if request.name == "healthcheck-client" else f"/CN={request.host}"


def _extensions(request: Request) -> str:
    if request.name in ("healthcheck-client", CLIENT):
        return _EXTENSIONS.format(usage="clientAuth", names="")
    names = f"DNS:{request.host}, DNS:localhost, IP:{request.address}, IP:127.0.0.1, IP:::1"
    return _EXTENSIONS.format(usage="serverAuth, clientAuth", names=f"subjectAltName = {names}\n")


@frozen
class Sealed:
    """A host that gets the authority's key, encrypted for a certificate of its own: that which is about to be signed
    for it, or ``server``, base64."""

    host: str
    server: str | KnownAfter


@frozen
class Signed(Resource):
    """Certificates by this host's authority for requests of other hosts. Its probe prints them.

    Names and uses are given here; nothing in a request but its public key counts.
    """

    requests: tuple[Request, ...]
    sealed: tuple[Sealed, ...] = ()
    days: int = field(default=365, kw_only=True)

    @property
    def key(self) -> str:
        return "certificates of etcd"

    def probe(self) -> str:
        looks = [f"shown 'crt {each.host} {each.name}' {each.id}.crt" for each in self.requests]
        looks += [f"shown 'sealed {each.host}' {self._seal(each)}" for each in self.sealed]
        text = "\n".join(looks)
        return f"""\
shown() {{
  if [ -s {_SIGNED}/$2 ]; then echo "$1 $(base64 -w 0 <{_SIGNED}/$2)"; fi
}}
{text or ":"}"""

    def _own(self, each: Sealed) -> Request | None:
        return next((one for one in self.requests if one.host == each.host and one.name == "server"), None)

    def _seal(self, each: Sealed) -> str:
        own = self._own(each)
        what = own.id if own else hashlib.sha256(str(each.server).encode()).hexdigest()[:32]
        return f"{what}.cms"

    @staticmethod
    def certificates(seen: bytes) -> dict[tuple[str, str], str]:
        """The certificates, PEM, by host and name, in what a probe printed."""
        lines = [line.split(" ") for line in seen.decode().splitlines() if line.startswith("crt ")]
        return {(line[1], line[2]): base64.b64decode(line[3]).decode() for line in lines}

    @staticmethod
    def seals(seen: bytes) -> dict[str, str]:
        """The encrypted keys of the authority, base64, by host."""
        lines = [line.split(" ") for line in seen.decode().splitlines() if line.startswith("sealed ")]
        return {line[1]: line[2] for line in lines}

    def diff(self, seen: bytes) -> Diff:
        have, sealed = self.certificates(seen), self.seals(seen)
        lines = [f"+ {each.name} of {each.host}" for each in self.requests if (each.host, each.name) not in have]
        return Diff((*lines, *(f"+ key for {each.host}" for each in self.sealed if each.host not in sealed)))

    def apply(self) -> str:
        parts = [
            f"umask 077\nmkdir -p {STATE}/etcd\nrm -rf {_SIGNED}.new\nmkdir {_SIGNED}.new\ncd {_SIGNED}.new\n"
            "trap 'rm -rf csr ext' EXIT"
        ]
        for each in self.requests:
            parts.append(f"""\
echo {each.csr} | base64 -d | openssl req -inform DER -out csr
cat >ext <<'END'
{_extensions(each)}END
openssl x509 -req -in csr -CA {PKI}/ca.crt -CAkey {PKI}/ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \\
  -days {self.days} -extfile ext -subj {shlex.quote(_subject(each))} -out {each.id}.crt 2>said ||
  {{ cat said >&2; exit 1; }}""")
        for sealing in self.sealed:
            own = self._own(sealing)
            receiver = f"cp {own.id}.crt to" if own else f"echo {sealing.server} | base64 -d >to"
            parts.append(
                f"{receiver}\nopenssl cms -encrypt -binary -aes-256-cbc -outform DER -in {PKI}/ca.key "
                f"-out {self._seal(sealing)} to"
            )
        parts.append(f"rm -rf csr ext said to\nsync {_SIGNED}.new/*\nrm -rf {_SIGNED}\nmv -T {_SIGNED}.new {_SIGNED}")
        return "\n".join(parts)
