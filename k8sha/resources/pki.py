"""The cluster's certificate authority, made before kubeadm runs so that load balancers can verify API servers.

kubeadm keeps a CA that it finds. The private key is made on the host and never leaves it by this resource.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.files import beside
from k8sha.resources.resource import Resource

__all__ = ["CertificateAuthority"]

_KEYLESS = "key: none"


@frozen
class CertificateAuthority(Resource):
    """A self-signed CA in ``<path>.crt`` and ``<path>.key``, as kubeadm would make it: 10 years, RSA 2048.

    Its probe prints the certificate, so a stage's outcome hands it on. One that is there is never replaced. A key
    without its certificate gets one: a run that was killed leaves it so. A certificate without its key fails, because
    something went wrong that needs a person.
    """

    path: str = "/etc/kubernetes/pki/ca"
    common_name: str = "kubernetes"
    days: int = field(default=3650, kw_only=True)

    @property
    def key(self) -> str:
        return f"certificate authority {self.path}"

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
if [ -f {path}.crt ]; then cat {path}.crt; fi
if [ -f {path}.crt ] && [ ! -f {path}.key ]; then echo {_KEYLESS}; fi"""

    @staticmethod
    def pem(seen: bytes) -> str | None:
        """The certificate in what a probe printed, None where there was none."""
        text = seen.decode(errors="replace").removesuffix(f"{_KEYLESS}\n")
        return text if text.startswith("-----BEGIN CERTIFICATE-----") else None

    def diff(self, seen: bytes) -> Diff:
        if seen.decode(errors="replace").splitlines()[-1:] == [_KEYLESS]:
            return Diff.of(f"{self.path}.crt is there without its key, which only a person can bring back")
        if self.pem(seen) is not None:
            return Diff()
        if seen.strip():
            return Diff.of(f"{self.path}.crt is there and is no certificate: a person must look at it")
        return Diff.of(f"is absent -> CN={self.common_name}, RSA 2048, {self.days} days")

    def apply(self) -> str:
        path, new, crt = (shlex.quote(item) for item in (self.path, beside(self.path), beside(f"{self.path}.crt")))
        return f"""\
if [ -f {path}.crt ]; then
  if [ -f {path}.key ] && grep -q -e '-BEGIN CERTIFICATE-' {path}.crt; then exit 0; fi
  printf '%s is there without its key, or is no certificate\\n' {path}.crt >&2; exit 1
fi
(umask 022; mkdir -p {shlex.quote(str(Path(self.path).parent))})
new={new}
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
mkdir -m 0700 "$new"
cat >"$new"/config <<'END'
[req]
distinguished_name = name
x509_extensions = ca
prompt = no
[name]
CN = {self.common_name}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyEncipherment, keyCertSign
subjectKeyIdentifier = hash
subjectAltName = DNS:{self.common_name}
END
if [ ! -f {path}.key ]; then
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$new"/key
  chmod 0600 "$new"/key
  sync "$new"/key
  mv -T "$new"/key {path}.key
fi
openssl req -x509 -new -key {path}.key -sha256 -days {self.days} -config "$new"/config -out "$new"/crt
chmod 0644 "$new"/crt
sync "$new"/crt
mv -fT "$new"/crt {crt}
rm -rf "$new"
mv -T {crt} {path}.crt"""
