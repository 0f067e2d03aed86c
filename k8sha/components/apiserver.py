"""How the API servers' settings, files and manifests are changed: the same on all, one master at a time."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import yaml
from attrs import field, frozen

from k8sha.component import Checks, Stages
from k8sha.components.kubeadm import CRI_SOCKET, dump
from k8sha.components.masters import ADMIN_CONF, ApiReady
from k8sha.errors import Problem
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Requirement, Resource
from k8sha.stage import Stage
from k8sha.versions import Version, kubeadm_api

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["MANIFEST", "ApiServerPolicy", "ApiServers", "NotEncrypted", "Volume", "flags_of", "with_policies"]

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"

_OURS = ("admission-control-config-file", "audit-", "encryption-provider-config")
"""Arguments that policies set, by how they begin: one that is there and not wanted is taken away."""


@frozen
class Volume:
    """A file or folder of the host that the API server sees under the same path."""

    name: str
    path: str
    path_type: str = "File"
    read_only: bool = True

    def as_extra(self) -> dict[str, object]:
        """It as kubeadm's ``extraVolumes`` have it."""
        return {
            "name": self.name,
            "hostPath": self.path,
            "mountPath": self.path,
            "readOnly": self.read_only,
            "pathType": self.path_type,
        }


@frozen
class ApiServerPolicy:
    """Something that every API server is told by arguments and files: a :class:`ControlPlane` is given it.

    Its files are on every master before ``kubeadm init`` and ``join``, since all take the same configuration. A file
    that the API server reads only at its start has a hash of its content in its name: another content is another
    argument, and so is rolled out master by master.
    """

    def arguments(self) -> Mapping[str, str]:
        """The API server's arguments, once all is as it shall be."""
        return {}

    def volumes(self) -> tuple[Volume, ...]:
        """What of the host the API server must see."""
        return ()

    def files(self) -> tuple[Resource, ...]:
        """What every master must have before its API server starts."""
        return ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong with it, before the first change."""
        yield from ()

    def preparation(self, masters: tuple[Host, ...]) -> Stages:
        """Stages of its own before ``kubeadm init`` and ``join``."""
        yield from ()

    def changeover(self, servers: ApiServers) -> Stages:
        """Stages of its own on a cluster that runs, before all API servers get their final arguments."""
        yield from ()

    def clearing(self, masters: tuple[Host, ...]) -> Stages:
        """Stages of its own once all API servers have them."""
        yield from ()

    def checks(self, plane: ControlPlane) -> Checks:
        """What ``verify`` looks at."""
        return ()


def with_policies(
    config: dict[str, object],
    version: Version,
    arguments: Mapping[str, str],
    volumes: Iterable[Volume],
) -> dict[str, object]:
    """A ClusterConfiguration whose API servers have these arguments and volumes as well, whatever its version."""
    server = config["apiServer"]
    if not isinstance(server, Mapping):
        raise TypeError("a ClusterConfiguration has apiServer")
    values = {**_arguments(server.get("extraArgs")), **arguments}
    extra: object = values
    if kubeadm_api(version) != "v1beta3":
        extra = [{"name": name, "value": value} for name, value in sorted(values.items())]
    changed = {**server, "extraArgs": extra}
    if found := [volume.as_extra() for volume in volumes]:
        changed["extraVolumes"] = found
    return {**config, "apiServer": changed}


def _arguments(extra: object) -> dict[str, str]:
    if isinstance(extra, Mapping):
        return {str(name): str(value) for name, value in extra.items()}
    if isinstance(extra, list):
        return {str(item["name"]): str(item["value"]) for item in extra}
    return {}


def flags_of(words: Iterable[str]) -> dict[str, str]:
    """Arguments of a command line by name."""
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def _flag_lines(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(wanted.items()):
        if name not in found:
            yield f"+ --{name}={value}"
        elif found[name] != value:
            yield f"--{name}: {found[name]} -> {value}"
    for name in sorted(found.keys() - wanted.keys()):
        if name.startswith(_OURS):
            yield f"- --{name}={found[name]}"


def _init(version: Version, address: str) -> dict[str, object]:
    return {
        "apiVersion": f"kubeadm.k8s.io/{kubeadm_api(version)}",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": address, "bindPort": 6443},
        "nodeRegistration": {"criSocket": CRI_SOCKET},
    }


_REGENERATE = """\
for address in {addresses}; do
  if ! said=$(kubectl --kubeconfig={admin} --server="https://$address:6443" --request-timeout=10s \\
    get --raw /readyz 2>&1); then
    echo "nothing is changed here: the API server on $address is not ready: $said" >&2; exit 1
  fi
done
{make}"""

_MAKE = """\
umask 077
config=$(mktemp /run/k8sha/apiserver.XXXXXX)
trap 'rm -f "$config"' EXIT
cat >"$config" <<'END'
{config}END
{command} --config "$config" >/dev/null"""


@frozen
class ApiServerManifest(Resource):
    """The API server's static pod on a master is what kubeadm makes of this configuration.

    It is made anew only while every API server of ``others`` (addresses) is ready: never are two of them down at once.
    """

    config: Mapping[str, object] = field(hash=False)
    version: Version
    address: str
    others: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"file {MANIFEST}"

    def _server(self) -> Mapping[str, object]:
        server = self.config["apiServer"]
        return server if isinstance(server, Mapping) else {}

    def probe(self) -> str:
        return f"if [ -f {MANIFEST} ]; then cat {MANIFEST}; fi"

    def diff(self, seen: bytes) -> Diff:
        wanted = _arguments(self._server().get("extraArgs"))
        try:
            spec = yaml.safe_load(seen)["spec"]
            found = flags_of(spec["containers"][0]["command"])
        except (yaml.YAMLError, TypeError, KeyError, IndexError):
            return Diff.of("is absent" if not seen.strip() else "is no static pod")
        lines = list(_flag_lines(found, wanted))
        mounted = {item["name"]: item.get("hostPath", {}).get("path", "") for item in spec.get("volumes", ())}
        volumes = self._server().get("extraVolumes")
        for volume in volumes if isinstance(volumes, list) else ():
            if mounted.get(volume["name"]) != volume["hostPath"]:
                lines.append(f"+ volume {volume['name']}: {volume['hostPath']}")
        return Diff(tuple(lines))

    def apply(self) -> str:
        make = _MAKE.format(
            config=dump(_init(self.version, self.address), self.config),
            command="kubeadm init phase control-plane apiserver",
        )
        if not self.others:
            return make
        addresses = " ".join(shlex.quote(address) for address in self.others)
        return _REGENERATE.format(addresses=addresses, admin=ADMIN_CONF, make=make)


@frozen
class ApiServerRuns(Condition):
    """The API server that runs was started by its present manifest: the one before it is gone."""

    patience: float = field(default=300, kw_only=True)

    @property
    def key(self) -> str:
        return "the API server runs by its manifest"

    def probe(self) -> str:
        return f"""\
if [ -f {MANIFEST} ]; then sed -n 's/^ *- \\(--[a-z].*\\)$/manifest \\1/p' {MANIFEST}; fi
for process in /proc/[0-9]*; do
  name=
  read -r name 2>/dev/null <"$process/comm" || continue
  if [ "$name" = kube-apiserver ]; then
    echo process
    tr '\\000' '\\n' 2>/dev/null <"$process/cmdline" | sed -n 's/^--/running --/p'
  fi
done"""

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        count = lines.count("process")
        if count != 1:
            return Diff.of(f"{count} API servers run")
        manifest, running = (
            flags_of(line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} "))
            for kind in ("manifest", "running")
        )
        differs = [name for name in sorted(manifest.keys() | running.keys()) if manifest.get(name) != running.get(name)]
        return Diff.of(f"it still runs with another {', '.join(differs[:5])}") if differs else Diff()


@frozen
class KubeadmConfig(Resource):
    """kubeadm's own record of the cluster says what the API servers are told, for masters that join and upgrades."""

    config: Mapping[str, object] = field(hash=False)
    version: Version
    address: str

    @property
    def key(self) -> str:
        return "API server in kubeadm's configuration"

    def probe(self) -> str:
        return f"""\
if [ -s {ADMIN_CONF} ]; then
  kubectl --kubeconfig={ADMIN_CONF} --server=https://{self.address}:6443 --request-timeout=10s -n kube-system \\
    get configmap kubeadm-config -o 'jsonpath={{.data.ClusterConfiguration}}' 2>/dev/null || echo '(no answer)'
fi"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace").strip()
        if not text:
            return Diff()
        try:
            server = yaml.safe_load(text)["apiServer"]
            found, volumes = _arguments(server.get("extraArgs")), server.get("extraVolumes") or []
        except (yaml.YAMLError, TypeError, KeyError):
            return Diff.of("kubeadm's configuration can't be read from the API server")
        wanted = self.config["apiServer"]
        wanted = wanted if isinstance(wanted, Mapping) else {}
        lines = list(_flag_lines(found, _arguments(wanted.get("extraArgs"))))
        names = [json.dumps(volume, sort_keys=True) for volume in volumes]
        for volume in wanted.get("extraVolumes", []):
            if json.dumps(volume, sort_keys=True) not in names:
                lines.append(f"+ volume {volume['name']}: {volume['hostPath']}")
        return Diff(tuple(lines))

    def apply(self) -> str:
        command = f"kubeadm init phase upload-config kubeadm --kubeconfig {ADMIN_CONF}"
        return _MAKE.format(config=dump(_init(self.version, self.address), self.config), command=command)


@frozen
class NotEncrypted(Requirement):
    """No API server encrypts what it stores: without its keys, it could not read it any more."""

    remedy: str = field(
        default='keep EncryptionAtRest among the policies; EncryptionAtRest(provider="identity") decrypts', kw_only=True
    )

    @property
    def key(self) -> str:
        return "encryption at rest"

    def probe(self) -> str:
        return f"""\
if [ -f {MANIFEST} ]; then sed -n 's/^ *- --encryption-provider-config=//p' {MANIFEST}; fi"""

    def diff(self, seen: bytes) -> Diff:
        said = seen.decode(errors="replace").strip()
        if not said or said.endswith("/identity.yaml"):
            return Diff()
        return Diff.of(f"its API server encrypts Secrets by {said}, and no policy says so any more")


@frozen
class ApiServers:
    """All API servers of a control plane that runs, and the stage that changes them one at a time."""

    masters: tuple[Host, ...]
    first: Host
    """One that is in the cluster, to ask and to change the cluster's own records."""
    version: Version
    config: Callable[[Mapping[str, str]], dict[str, object]]
    """The ClusterConfiguration with these arguments in place of the policies' own."""

    def change(self, name: str, arguments: Mapping[str, str] | None = None) -> Stages:
        """kubeadm's record, then each master: its manifest, the new process, readiness; then the next."""
        config = self.config(arguments or {})
        yield Stage(
            f"{name}: kubeadm's record", {self.first: (KubeadmConfig(config, self.version, self.first.address),)}
        )
        work: dict[Host, tuple[Resource, ...]] = {}
        for host in self.masters:
            others = tuple(other.address for other in self.masters if other != host)
            manifest = ApiServerManifest(config, self.version, host.address, others)
            ready = ApiReady(host.address, patience=240)
            work[host] = (manifest, ApiServerRuns(), ready)
        yield Stage(name, work, batch=1)
