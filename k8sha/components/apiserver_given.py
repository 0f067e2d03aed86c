"""What somebody has written into an API server's manifest: kubeadm, which makes it anew, knows none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from k8sha.components.apiserver_host import (
    MANIFEST,
    arguments_of,
    flags_of,
    manifest_lines,
    policy_argument,
    spec_of,
)
from k8sha.report import Diff
from k8sha.resources.resource import Requirement

__all__ = ["READ", "NothingByHand", "by_hand"]

# getAPIServerCommand in kubeadm's phases/controlplane/manifests.go writes these, from 1.30 on to this day. Most follow
# from the cluster's configuration; what is compared are those that take a list which is often made longer by hand.
_KUBEADM: Mapping[str, str | None] = {
    **dict.fromkeys(("advertise-address", "allow-privileged", "client-ca-file", "enable-bootstrap-token-auth")),
    **dict.fromkeys(("etcd-cafile", "etcd-certfile", "etcd-keyfile", "etcd-servers")),
    **dict.fromkeys(("kubelet-client-certificate", "kubelet-client-key", "kubelet-preferred-address-types")),
    **dict.fromkeys(("proxy-client-cert-file", "proxy-client-key-file", "requestheader-allowed-names")),
    **dict.fromkeys(("requestheader-client-ca-file", "requestheader-extra-headers-prefix")),
    **dict.fromkeys(("requestheader-group-headers", "requestheader-username-headers", "secure-port")),
    **dict.fromkeys(("service-account-issuer", "service-account-key-file", "service-account-signing-key-file")),
    **dict.fromkeys(("service-cluster-ip-range", "tls-cert-file", "tls-private-key-file")),
    "authorization-mode": "Node,RBAC",
    "enable-admission-plugins": "NodeRestriction",
}


# What else kubeadm puts there: GetStaticPodSpecs beside it, and the folders of its volumes.go (the last two in one from
# before 1.31). Its variables are its own environment's proxies, whatever their names.
_MOUNTED = {
    *("/etc/kubernetes/pki", "/etc/ssl/certs", "/etc/ca-certificates", "/usr/share/ca-certificates"),
    *("/usr/local/share/ca-certificates", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki"),
}
_RESOURCES = {"requests": {"cpu": "250m"}}
_POLICIES = {"admission", "audit-log", "audit-policy", "encryption"}
"""Volumes that policies set: one that is there and not wanted is taken away, as their arguments are."""

_VARIABLE = "# environment: "
READ = f"""\
if [ -f {MANIFEST} ]; then
  env | sed -n 's/^[A-Za-z0-9_]*_[Pp][Rr][Oo][Xx][Yy]=..*/{_VARIABLE}&/p'
  cat {MANIFEST}
fi"""
"""Shell that prints, as comments, the proxies that kubeadm would put into the manifest, and the manifest."""


def by_hand(seen: bytes, spec: Mapping[str, Any], server: Mapping[str, Any]) -> Iterator[str]:
    """What a manifest, ``seen`` by ``READ``, would have no more once kubeadm has made it anew by this ``apiServer``."""
    container, *others = spec["containers"]
    yield from _arguments(flags_of(container["command"]), arguments_of(server.get("extraArgs")))
    wanted = _MOUNTED | {volume["hostPath"] for volume in server.get("extraVolumes", ())}
    for volume in spec.get("volumes") or ():
        path = str((volume.get("hostPath") or {}).get("path", "")).rstrip("/")
        if volume["name"] not in _POLICIES and path not in wanted:
            yield f"the volume {volume['name']}{path and f' ({path})'}"
    lines = seen.decode(errors="replace").splitlines()
    proxies = {line.removeprefix(_VARIABLE) for line in lines if line.startswith(_VARIABLE)}
    for variable in container.get("env") or ():
        if f"{variable['name']}={variable.get('value', '')}" not in proxies:
            yield f"the variable {variable['name']}"  # its value may be a secret
    if container.get("resources") not in (None, {}, _RESOURCES):
        yield "resources of its own"
    yield from (f"the container {other.get('name')}" for other in others)
    yield from (key for key in ("dnsConfig", "hostAliases", "initContainers") if spec.get(key))


def _arguments(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(found.items()):
        if name in wanted or policy_argument(name):
            continue
        if name not in _KUBEADM or _KUBEADM[name] not in (None, value):
            yield f"--{name}={value}"


@frozen
class NothingByHand(Requirement):
    """No API server's manifest that is to be made anew has anything that nobody declares: it would be gone."""

    config: Mapping[str, object] = field(hash=False)
    remedy: str = field(
        default="declare arguments that are to stay in ClusterSettings(api_server={...}), and put files that they name "
        "below /etc/kubernetes/pki, which every API server sees; proxies stay that the environment of root's commands "
        f"has there (/etc/environment); take the rest out of {MANIFEST}",
        kw_only=True,
    )

    @property
    def key(self) -> str:
        return "the API server's manifest is kubeadm's"

    def probe(self) -> str:
        return READ

    def diff(self, seen: bytes) -> Diff:
        spec, server = spec_of(seen), self.config["apiServer"]
        if spec is None or not isinstance(server, Mapping):
            return Diff()
        if not manifest_lines(spec, server):
            return Diff()
        lost = by_hand(seen, spec, server)
        return Diff(tuple(f"its API server has {each}, which nobody declares, and would lose it" for each in lost))
