"""What a master says of its API server: the arguments in its manifest, the process, and kubeadm's record of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from attrs import field, frozen

from k8sha.components.kubeadm import CRI_SOCKET, dump
from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Requirement, Resource
from k8sha.versions import Version, kubeadm_api

__all__ = [
    "MANIFEST",
    "ApiServerArguments",
    "ApiServerPod",
    "ApiServerRuns",
    "KubeadmConfig",
    "NotEncrypted",
    "arguments_of",
    "flag_lines",
    "flags_of",
    "init_configuration",
    "manifest_lines",
    "policy_argument",
    "spec_of",
]

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"

_OURS = ("admission-control-config-file", "audit-", "encryption-provider-config")
"""Arguments that policies set, by how they begin: one that is there and not wanted is taken away."""


def policy_argument(name: str) -> bool:
    """Whether it is policies that set an argument of this name."""
    return name.startswith(_OURS)


def arguments_of(extra: object) -> dict[str, str]:
    """``extraArgs`` by name, in whichever way kubeadm's version has them."""
    if isinstance(extra, Mapping):
        return {str(name): str(value) for name, value in extra.items()}
    if isinstance(extra, list):
        return {str(item["name"]): str(item["value"]) for item in extra}
    return {}


def flags_of(words: Iterable[str]) -> dict[str, str]:
    """Arguments of a command line by name."""
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def _of_kind(lines: Iterable[str], kind: str) -> list[str]:
    return [line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} ")]


def spec_of(manifest: bytes | str) -> Mapping[str, Any] | None:
    """A static pod's ``spec``; None where this is none."""
    try:
        spec = yaml.safe_load(manifest)["spec"]
        flags_of(spec["containers"][0]["command"])
    except (yaml.YAMLError, TypeError, KeyError, IndexError):
        return None
    return spec if isinstance(spec, Mapping) else None


def _manifest_flags(manifest: bytes | str) -> dict[str, str] | None:
    spec = spec_of(manifest)
    return None if spec is None else flags_of(spec["containers"][0]["command"])


def flag_lines(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """How arguments differ, line by line; one that is not wanted and is no policy's is left alone."""
    for name, value in sorted(wanted.items()):
        if name not in found:
            yield f"+ --{name}={value}"
        elif found[name] != value:
            yield f"--{name}: {found[name]} -> {value}"
    for name in sorted(found.keys() - wanted.keys()):
        if policy_argument(name):
            yield f"- --{name}={found[name]}"


def manifest_lines(spec: Mapping[str, Any], server: Mapping[str, Any]) -> list[str]:
    """How the ``spec`` of an API server differs from what kubeadm's ``apiServer`` says, line by line."""
    wanted = arguments_of(server.get("extraArgs"))
    lines = list(flag_lines(flags_of(spec["containers"][0]["command"]), wanted))
    mounted = {item["name"]: item.get("hostPath", {}).get("path", "") for item in spec.get("volumes", ())}
    volumes = server.get("extraVolumes")
    for volume in volumes if isinstance(volumes, list) else ():
        if mounted.get(volume["name"]) != volume["hostPath"]:
            lines.append(f"+ volume {volume['name']}: {volume['hostPath']}")
    return lines


def _mount(volume: Mapping[str, object]) -> dict[str, object]:
    """One of ``extraVolumes``, with the value that kubeadm leaves out where it writes them down."""
    return {"readOnly": False, **volume}


def init_configuration(version: Version, address: str) -> dict[str, object]:
    """What kubeadm must know of a master besides the ClusterConfiguration."""
    return {
        "apiVersion": f"kubeadm.k8s.io/{kubeadm_api(version)}",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": address, "bindPort": 6443},
        "nodeRegistration": {"criSocket": CRI_SOCKET},
    }


_MAKE = """\
umask 077
config=$(mktemp "/run/k8sha/trip.$$.apiserver.XXXXXX")
trap 'rm -f "$config"' EXIT
cat >"$config" <<'END'
{config}END
{command} --config "$config" >/dev/null"""


@frozen
class ApiServerRuns(Condition):
    """The API server that runs was started by its present manifest: the one before it is gone."""

    patience: float = field(default=300, kw_only=True)

    @property
    def key(self) -> str:
        return "the API server runs by its manifest"

    def probe(self) -> str:
        return f"""\
if [ -f {MANIFEST} ]; then sed 's/^/manifest /' {MANIFEST}; fi
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
        manifest = _manifest_flags("\n".join(_of_kind(lines, "manifest")))
        if manifest is None:
            return Diff.of("its manifest is no static pod")
        running = flags_of(_of_kind(lines, "running"))
        differs = [name for name in sorted(manifest.keys() | running.keys()) if manifest.get(name) != running.get(name)]
        return Diff.of(f"it still runs with another {', '.join(differs[:5])}") if differs else Diff()


@frozen
class ApiServerPod(Condition):
    """The cluster says of a master's API server that its pod is ready: kubelet tells it a while after it is so, and a
    ``verify`` that follows at once asks the cluster."""

    node: str
    address: str
    patience: float = field(default=120, kw_only=True)

    @property
    def key(self) -> str:
        return "the API server's pod is ready"

    def probe(self) -> str:
        return f"""\
if [ ! -s {ADMIN_CONF} ]; then echo 'not there yet'; exit 0; fi
kubectl --kubeconfig={ADMIN_CONF} --server=https://{self.address}:6443 --request-timeout=5s -n kube-system \\
  get pod kube-apiserver-{self.node} -o 'jsonpath={{.status.conditions[?(@.type=="Ready")].status}}' 2>&1 ||
  echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        said = " ".join(seen.decode(errors="replace").split())
        return Diff() if said == "True" else Diff.of(f"it is not: {said[-300:] or 'unknown'}")


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
            found, volumes = arguments_of(server.get("extraArgs")), server.get("extraVolumes") or []
        except (yaml.YAMLError, TypeError, KeyError):
            return Diff.of("kubeadm's configuration can't be read from the API server")
        wanted = self.config["apiServer"]
        wanted = wanted if isinstance(wanted, Mapping) else {}
        lines = list(flag_lines(found, arguments_of(wanted.get("extraArgs"))))
        there = [_mount(volume) for volume in volumes]
        for volume in wanted.get("extraVolumes", []):
            if _mount(volume) not in there:
                lines.append(f"+ volume {volume['name']}: {volume['hostPath']}")
        return Diff(tuple(lines))

    def apply(self) -> str:
        command = f"kubeadm init phase upload-config kubeadm --kubeconfig {ADMIN_CONF}"
        return _MAKE.format(config=dump(init_configuration(self.version, self.address), self.config), command=command)


@frozen
class ApiServerArguments(Resource):
    """With which arguments a master's manifest starts its API server. Only reads."""

    @property
    def key(self) -> str:
        return "arguments of the API server"

    def probe(self) -> str:
        return f"if [ -f {MANIFEST} ]; then cat {MANIFEST}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"

    def read(self, seen: bytes) -> dict[str, str]:
        """What a probe printed; nothing where there is no API server."""
        return _manifest_flags(seen) or {}

    def unwanted(self, seen: bytes, config: Mapping[str, object]) -> bool:
        """Whether what a probe printed has arguments that a policy has set, and this ClusterConfiguration has not."""
        server = config.get("apiServer")
        wanted = arguments_of(server.get("extraArgs")) if isinstance(server, Mapping) else {}
        return any(policy_argument(name) and name not in wanted for name in self.read(seen))


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
