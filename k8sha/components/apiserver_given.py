"""Arguments that somebody has written into an API server's manifest: kubeadm, which makes it anew, knows none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

__all__ = ["NothingByHand", "by_hand"]

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


def by_hand(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """The arguments that a manifest would have no more once kubeadm has made it anew with those that are wanted."""
    for name, value in sorted(found.items()):
        if name in wanted or policy_argument(name):
            continue
        if name not in _KUBEADM or _KUBEADM[name] not in (None, value):
            yield f"--{name}={value}"


@frozen
class NothingByHand(Requirement):
    """No API server's manifest that is to be made anew has an argument that nobody declares: it would be gone."""

    config: Mapping[str, object] = field(hash=False)
    remedy: str = field(
        default=f"declare what is to stay in ClusterSettings(api_server={{...}}), and take the rest out of {MANIFEST}",
        kw_only=True,
    )

    @property
    def key(self) -> str:
        return "the API server's manifest is kubeadm's"

    def probe(self) -> str:
        return f"if [ -f {MANIFEST} ]; then cat {MANIFEST}; fi"

    def diff(self, seen: bytes) -> Diff:
        spec, server = spec_of(seen), self.config["apiServer"]
        if spec is None or not isinstance(server, Mapping):
            return Diff()
        if not manifest_lines(spec, server):
            return Diff()
        lost = by_hand(flags_of(spec["containers"][0]["command"]), arguments_of(server.get("extraArgs")))
        return Diff(tuple(f"its API server has {each}, which nobody declares, and would lose it" for each in lost))
