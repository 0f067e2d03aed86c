"""The names for which API servers show a certificate: what is missing is found, and made anew master by master.

An API server reads its serving certificate again by itself when the files change, so none of them is restarted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from k8sha.component import Stages
from k8sha.components.apiserver_host import MANIFEST, arguments_of, init_configuration
from k8sha.components.formation import cluster_configuration
from k8sha.components.kubeadm import dump
from k8sha.components.masters import ADMIN_CONF, ApiReady
from k8sha.components.names import CertificateNames
from k8sha.components.settings import SettingsInForce
from k8sha.hosts.host import Host
from k8sha.report import Diff, Outcome
from k8sha.resources.command import Command
from k8sha.resources.files import beside
from k8sha.resources.resource import STATE, Condition, Resource
from k8sha.stage import Stage
from k8sha.versions import Version

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["NamesServed", "ServedNames", "ServingCertificate", "certificate_names", "serving_stages", "wanted_names"]

_PKI = "/etc/kubernetes/pki"
_CERTIFICATE, _KEY = f"{_PKI}/apiserver.crt", f"{_PKI}/apiserver.key"
_MARK = f"{STATE}/apiserver-certificate.begun"
"""It is there while certificate and key may not belong together."""

_JOINING = " || ".join(f"[ -e {Command(name, '', '').mark} ]" for name in ("kubeadm init", "kubeadm join"))

_SEEN = f"""\
if [ ! -s {ADMIN_CONF} ] || {_JOINING}; then exit 0; fi
if [ -e {_MARK} ]; then echo begun; fi
if [ -f {_CERTIFICATE} ]; then cat {_CERTIFICATE}
elif [ -f {MANIFEST} ]; then echo absent; fi"""
"""A host that is no master says nothing, nor does one that is half-way: kubeadm begins there once more."""

_FOLDER = "/run/k8sha/serving"

# In a folder of its own, because kubeadm keeps a certificate that it finds, whatever its names.
_MAKE = """\
umask 077
rm -rf {folder}
mkdir -p {folder}
trap 'rm -rf {folder}' EXIT
cp {pki}/ca.crt {pki}/ca.key {folder}/
cat >{folder}/config.yaml <<'END'
{config}END
kubeadm init phase certs apiserver --config {folder}/config.yaml >/dev/null
cp -p {folder}/apiserver.crt {new_certificate}
chmod 0644 {new_certificate}
cp -p {folder}/apiserver.key {new_key}
mkdir -p {state}
touch {mark}
sync {new_certificate} {new_key} {mark}
mv -fT {new_key} {key}
mv -fT {new_certificate} {certificate}
sync {pki}
rm -f {mark}"""


def certificate_names(text: str) -> tuple[str, ...] | None:
    """DNS names and addresses that the first certificate (PEM) in a text is for; None where there is no certificate."""
    from cryptography import x509  # paramiko has loaded it by now

    found = re.search("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    if found is None:
        return None
    try:
        extensions = x509.load_pem_x509_certificate(found[0].encode()).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except ValueError:
        return None
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses)


def _plain(name: str) -> str:
    """A name as :func:`certificate_names` has it."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def wanted_names(plane: ControlPlane, host: Host) -> tuple[str, ...]:
    """The names under which clients reach this master's API server: its own, the endpoint's, and what the caller adds.

    The other masters' names are in its certificate as well where they were known when it was made; nobody needs them.
    """
    endpoint = plane.endpoint
    names = [endpoint.host, *([endpoint.address] if endpoint.address else []), host.name, host.address]
    return tuple(dict.fromkeys(map(_plain, (*names, "localhost", "127.0.0.1", *plane.cluster.extra_sans))))


def _missing(seen: str, wanted: Iterable[str]) -> Iterator[str]:
    """Lines of a diff: the names that the certificate in a text has not."""
    names = certificate_names(seen)
    if names is None:
        yield "is no certificate"
    else:
        yield from (f"+ {name}" for name in wanted if name not in names)


def _lines(seen: bytes, wanted: Iterable[str]) -> tuple[str, ...]:
    """What :data:`_SEEN` has printed, against the wanted names."""
    text = seen.decode(errors="replace").strip()
    if not text:
        return ()
    if text == "absent":
        return ("is absent",)
    begun, rest = text.startswith("begun\n") or text == "begun", text.removeprefix("begun").strip()
    if begun:
        return ("its exchange was cut off",)
    return tuple(_missing(rest, wanted))


@frozen
class ServedNames(Resource):
    """For which names the API server's certificate on a master is. Only reads."""

    @property
    def key(self) -> str:
        return "names of the API server"

    def probe(self) -> str:
        return _SEEN

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class ServingCertificate(Resource):
    """The API server's certificate on a master is for all of these names: kubeadm makes it, with a new key.

    ``cluster`` is the ClusterConfiguration that has the names, ``name`` the node's.
    """

    cluster: Mapping[str, object] = field(hash=False)
    version: Version
    name: str
    address: str
    wanted: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"certificate {_CERTIFICATE}"

    def probe(self) -> str:
        return _SEEN

    def diff(self, seen: bytes) -> Diff:
        return Diff(_lines(seen, self.wanted))

    def apply(self) -> str:
        init = init_configuration(self.version, self.address)
        registration = init["nodeRegistration"]
        init["nodeRegistration"] = {"name": self.name, **(registration if isinstance(registration, Mapping) else {})}
        return _MAKE.format(
            config=dump(init, {**self.cluster, "certificatesDir": _FOLDER}),
            folder=_FOLDER,
            pki=_PKI,
            state=STATE,
            mark=_MARK,
            key=_KEY,
            certificate=_CERTIFICATE,
            new_key=beside(_KEY),
            new_certificate=beside(_CERTIFICATE),
        )


@frozen
class NamesServed(Condition):
    """What an API server shows to its clients is a certificate for all of these names."""

    address: str
    wanted: tuple[str, ...]
    patience: float = field(default=150, kw_only=True)
    """It looks at its files as soon as they change, and once a minute."""

    @property
    def key(self) -> str:
        return f"API server on {self.address} shows its names"

    def probe(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        return f"""\
timeout 10 openssl s_client -connect {where}:6443 -servername kubernetes </dev/null 2>&1 || echo '(no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        if "-----BEGIN CERTIFICATE-----" not in text:
            return Diff.of(f"shows no certificate: {' '.join(text.split())[-300:] or 'no answer'}")
        return Diff(tuple(_missing(text, self.wanted)))


def serving_stages(plane: ControlPlane, outcome: Outcome, settings: SettingsInForce) -> Stages:
    """What makes certificates anew that lack a name, by what a stage with :class:`ServedNames` and ``settings`` has
    seen; no stage at all where none does. It comes before anybody joins, who may do it by the new name.

    kubeadm's record has the names from then on, so that a master that joins gets them; it keeps the arguments with
    which the API servers run.
    """
    looked = ServedNames().key
    lacking = [host for host in plane.hosts if _lines(outcome.of(host.name, looked), wanted_names(plane, host))]
    if not lacking:
        return
    work: dict[Host, tuple[Resource, ...]] = {}
    for host in lacking:
        wanted = wanted_names(plane, host)
        work[host] = (
            ServingCertificate(cluster_configuration(plane), plane.version, host.name, host.address, wanted),
            ApiReady(host.address, patience=240),
            NamesServed(host.address, wanted),
        )
    helper = lacking[0]
    server = cluster_configuration(plane)["apiServer"]
    given = arguments_of(server.get("extraArgs")) if isinstance(server, Mapping) else {}
    running = settings.running(outcome.of(helper.name, settings.key)) or {}
    kept = {name: running.get(name) for name in given}
    record = CertificateNames(cluster_configuration(plane, arguments=kept), plane.version, helper.address)
    work[helper] = (*work[helper], record)
    yield Stage("names of the API servers", work, batch=1)
