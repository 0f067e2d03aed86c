"""Stand-ins: where Kubernetes can't be had, something that a balancer and a client take for its API servers."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from attrs import field, frozen

from k8sha import Check, Component, Diff, Host, NotYet
from k8sha.component import Checks, Requirements, Stages
from k8sha.hosts.host import as_hosts
from k8sha.resources import (
    CertificateAuthority,
    Command,
    Condition,
    Contents,
    Directory,
    File,
    KnownAfter,
    Requirement,
    Resource,
    Service,
)
from k8sha.stage import Stage

__all__ = ["StandIns"]

FOLDER = "/usr/local/lib/k8sha-standin"
UNIT = "k8sha-standin"
SERVER = Path(__file__).with_name("standin_server.py")

_UNIT_TEXT = f"""\
[Unit]
Description=Stands in for a Kubernetes API server
After=network.target

[Service]
ExecStart=/usr/bin/python3 -I {FOLDER}/server.py {{address}} {{port}} {FOLDER}/tls.crt {FOLDER}/tls.key
Restart=always
RestartSec=100ms

[Install]
WantedBy=multi-user.target
"""

_ASK = """\
/usr/bin/python3 -I - 2>&1 <<'END'
import ssl, socket
context = ssl.create_default_context(cafile="{folder}/ca.crt")
with socket.create_connection(("{address}", {port}), timeout=3) as plain:
    with context.wrap_socket(plain, server_hostname="kubernetes") as secure:
        secure.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: kubernetes\\r\\n\\r\\n")
        print(secure.recv(100).split(b"\\r\\n")[0].decode())
END
"""


@frozen
class _HasPython(Requirement):
    @property
    def key(self) -> str:
        return "Python with TLS"

    def probe(self) -> str:
        look = "import asyncio, ssl, sys; print(sys.version_info >= (3, 11))"
        return f"/usr/bin/python3 -I -c '{look}' 2>&1 || echo ' (it failed)'"

    def diff(self, seen: bytes) -> Diff:
        found = seen.decode(errors="replace").strip()
        return Diff() if found == "True" else Diff.of(f"Python 3.11 with ssl and asyncio is not there: {found[-200:]}")


@frozen
class _Answers(Condition):
    address: str
    port: int
    patience: float = field(default=20, kw_only=True)

    @property
    def key(self) -> str:
        return f"the stand-in on {self.address} answers"

    def probe(self) -> str:
        ask = _ASK.format(folder=FOLDER, address=self.address, port=self.port)
        return f"if [ -f {FOLDER}/ca.crt ]; then\n{ask}else echo 'not there yet'; fi || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        said = seen.decode(errors="replace").strip()
        return Diff() if said == "HTTP/1.1 200 OK" else Diff.of(said.splitlines()[-1] if said else "no answer")


@frozen
class StandIns(Component):
    """A TLS server on each host that answers like an API server's door: /readyz, /version and a /watch that ticks.

    ``ca`` is the cluster's, kept on the first host; each host makes its own key, and only its request and its
    certificate travel. ``names`` are further names and addresses that clients use, the VIP above all.
    """

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    ca: CertificateAuthority = field(factory=CertificateAuthority)
    names: tuple[str, ...] = field(default=(), kw_only=True)
    port: int = field(default=6443, kw_only=True)

    @property
    def name(self) -> str:
        """See :attr:`Component.name`."""
        return "stand-ins"

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        need = _HasPython(remedy="install python3, at least 3.11")
        return {host: (need,) for host in self.hosts}

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        signer = self.hosts[0]
        folder, key, request = Directory(FOLDER, mode="0700"), _key(), Contents(f"{FOLDER}/tls.csr")
        made: dict[Host, tuple[Resource, ...]] = {host: (folder, key, request) for host in self.hosts}
        made[signer] = (self.ca, *made[signer])
        outcome = yield Stage("keys", made)
        authority = CertificateAuthority.pem(outcome.of(signer.name, self.ca.key))
        requests = {host: outcome.of(host.name, request.key).decode() for host in self.hosts}
        signed = {host: Contents(f"{FOLDER}/{host.name}.crt") for host in self.hosts}
        signing = [self._sign(host, requests[host]) for host in self.hosts]
        outcome = yield Stage("certificates", {signer: (*signing, *signed.values())})
        certificates = {host: outcome.of(signer.name, signed[host].key).decode() for host in self.hosts}
        # One at a time, as one would with real ones: nobody is to notice a change of them.
        servers = {host: self._server(host, certificates[host], authority) for host in self.hosts}
        yield Stage("servers", servers, batch=1)

    def _sign(self, host: Host, request: str) -> Command:
        """On the host that has the CA: a certificate for that request, unless there is one for the same key."""
        path = shlex.quote(f"{FOLDER}/{host.name}.crt")
        ca = shlex.quote(self.ca.path)
        names = ["DNS:kubernetes", f"DNS:{host.name}", f"IP:{host.address}"]
        names += [f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in self.names]
        done = f"""\
wanted=$(openssl req -noout -pubkey <<'END'
{request}END
)
if [ ! -s {path} ]; then echo '+ {host.name}'
elif [ "$(openssl x509 -noout -pubkey -in {path})" != "$wanted" ]; then echo '{host.name} has another key now'
elif ! openssl verify -CAfile {ca}.crt {path} >/dev/null 2>&1; then echo 'is of another authority'
elif [ "$(openssl x509 -noout -ext subjectAltName -in {path} | sed -n '2s/ //gp')" \\
  != {shlex.quote(",".join(names).replace("IP:", "IPAddress:"))} ]; then echo 'has other names'
fi"""
        run = f"""\
new=$(mktemp -d {FOLDER}/.sign.XXXXXX)
trap 'rm -rf "$new"' EXIT
cat >"$new/csr" <<'END'
{request}END
printf 'subjectAltName=%s\\nextendedKeyUsage=serverAuth\\n' {shlex.quote(",".join(names))} >"$new/extensions"
openssl x509 -req -in "$new/csr" -CA {ca}.crt -CAkey {ca}.key -days 365 -set_serial "0x$(openssl rand -hex 8)" \\
  -sha256 -extfile "$new/extensions" -out "$new/crt"
mv -f "$new/crt" {path}"""
        return Command(
            f"certificate of {host.name}'s stand-in", done if request else f"echo '+ {host.name}'", run, recover=":"
        )

    def _server(self, host: Host, certificate: str, authority: str | None) -> tuple[Resource, ...]:
        later = KnownAfter("its key is made")
        files = (
            File(f"{FOLDER}/tls.crt", certificate or later),
            File(f"{FOLDER}/ca.crt", authority or later),
            File(f"{FOLDER}/server.py", SERVER.read_text()),
            File(f"/etc/systemd/system/{UNIT}.service", _UNIT_TEXT.format(address=host.address, port=self.port)),
        )
        return (*files, Service(UNIT, watches=files), _Answers(host.address, self.port))

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return [Check(f"the stand-in on {host.name} answers", partial(self._look, host)) for host in self.hosts]

    def _look(self, host: Host) -> str:
        answers = _Answers(host.address, self.port)
        _, out, _ = host.read(answers.probe())[0]
        if wrong := answers.diff(out):
            raise NotYet(str(wrong))
        return out.decode().strip()


def _key() -> Command:
    """The host's own key and a request for a certificate; the key never leaves the host."""
    return Command(
        "key of the stand-in",
        f"if [ ! -s {FOLDER}/tls.key ] || [ ! -s {FOLDER}/tls.csr ]; then echo '+ {FOLDER}/tls.key'; fi",
        f"""\
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {FOLDER}/tls.key
chmod 0600 {FOLDER}/tls.key
openssl req -new -key {FOLDER}/tls.key -subj /CN=kube-apiserver -out {FOLDER}/tls.csr""",
    )


def _is_address(name: str) -> bool:
    return all(character in "0123456789.:abcdef" for character in name) and ("." in name or ":" in name)
