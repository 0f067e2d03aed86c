"""The cluster's certificate authority, made before kubeadm runs so that load balancers can verify API servers.

kubeadm keeps a CA that it finds. The private key is made on the host and never leaves it by this resource.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["CertificateAuthority"]


@frozen
class CertificateAuthority(Resource):
    """A self-signed CA in ``<path>.crt`` and ``<path>.key``, as kubeadm would make it: 10 years, RSA 2048.

    Its probe prints the certificate, so a stage's outcome hands it on. One that is there is never replaced. A
    certificate without its key (or the other way round) fails, because something went wrong that needs a person.
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
if [ -f {path}.key ] && [ ! -f {path}.crt ]; then echo 'key without certificate'; fi"""

    @staticmethod
    def pem(seen: bytes) -> str | None:
        """The certificate in what a probe printed, None where there was none."""
        text = seen.decode(errors="replace")
        return text if text.startswith("-----BEGIN CERTIFICATE-----") else None

    def diff(self, seen: bytes) -> Diff:
        if self.pem(seen) is not None:
            return Diff()
        return Diff.of(f"is absent -> CN={self.common_name}, RSA 2048, {self.days} days")

    def apply(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
if [ -f {path}.crt ]; then exit 0; fi
mkdir -p "$(dirname {path})"
if [ -f {path}.key ]; then echo '{self.path}.key is there without its certificate' >&2; exit 1; fi
new=$(mktemp -d "$(dirname {path})/.ca.XXXXXX")
trap 'rm -rf "$new"' EXIT
cat >"$new/config" <<'END'
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
openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days {self.days} -config "$new/config" \\
  -keyout "$new/key" -out "$new/crt"
chmod 0600 "$new/key"; chmod 0644 "$new/crt"
sync -d "$new/key" "$new/crt"
ln "$new/key" {path}.key
mv "$new/crt" {path}.crt"""
