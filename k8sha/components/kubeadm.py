"""kubeadm's configuration, by version of its API, and the tickets that let a host join.

v1beta3 is written for Kubernetes 1.30 alone, v1beta4 from 1.31 on (kubeadm 1.37 no longer reads v1beta3).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

import yaml
from attrs import field, frozen

from k8sha.components.node import NodeSettings
from k8sha.endpoint import Endpoint
from k8sha.hosts.host import Host
from k8sha.versions import Version, kubeadm_api

__all__ = ["ClusterSettings", "init_config", "join_config", "plain"]

CRI_SOCKET = "unix:///run/containerd/containerd.sock"
TOKEN_TTL = "15m0s"
"""How long a join token lives if it could not be deleted after its use."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def _pairs(values: tuple[tuple[str, str], ...] | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items())) if isinstance(values, Mapping) else tuple(values)


@frozen(kw_only=True)
class ClusterSettings:
    """What a whole cluster agrees upon: kubeadm's ClusterConfiguration without what follows from the hosts.

    ``api_server``, ``controller_manager``, ``scheduler`` and ``etcd`` are extra arguments of those programs.
    """

    name: str = "kubernetes"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    dns_domain: str = "cluster.local"
    extra_sans: tuple[str, ...] = ()
    api_server: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)
    controller_manager: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)
    scheduler: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)
    etcd: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)


_API_SERVER = {
    "goaway-chance": "0.001",  # spreads long-lived HTTP/2 connections again once a master is back; 0.02 is its maximum
    "shutdown-delay-duration": "15s",  # /readyz fails that long before the end; below the 30 s grace of a static pod
}
_ETCD = {"quota-backend-bytes": "8589934592"}  # 8 GiB, etcd's own advised maximum; its default of 2 GiB fills up


def _arguments(api: str, defaults: Mapping[str, str], extra: tuple[tuple[str, str], ...]) -> object:
    values = {**defaults, **dict(extra)}
    if api == "v1beta3":
        return values
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _registration(api: str, host: Host, settings: NodeSettings) -> dict[str, object]:
    return {
        "name": host.name,
        "criSocket": CRI_SOCKET,
        "imagePullPolicy": "IfNotPresent",
        "ignorePreflightErrors": list(settings.ignore_preflight),
        "kubeletExtraArgs": _arguments(api, {"node-ip": host.address}, ()),
    }


def dump(*documents: Mapping[str, object]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True)


def cluster_config(
    version: Version,
    endpoint: Endpoint,
    masters: Sequence[Host],
    cluster: ClusterSettings,
    *,
    image_repository: str | None,
    etcd_tag: str | None,
    dns_tag: str | None,
    external_etcd: Sequence[str] = (),
) -> dict[str, object]:
    """kubeadm's ClusterConfiguration. Every name and address that a client may use is in the certificate from the
    start, because ``kubeadm certs renew`` copies the old certificate's names. ``external_etcd`` are the client URLs of
    an etcd that kubeadm does not make; without any it makes a stacked one."""
    api = kubeadm_api(version)
    sans = [endpoint.host, *([endpoint.address] if endpoint.address else [])]
    for master in masters:
        sans += [master.name, master.address]
    sans += ["localhost", "127.0.0.1", *cluster.extra_sans]
    etcd: dict[str, object] = {"dataDir": "/var/lib/etcd", "extraArgs": _arguments(api, _ETCD, cluster.etcd)}
    if etcd_tag:
        etcd["imageTag"] = etcd_tag
    config: dict[str, object] = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "ClusterConfiguration",
        "clusterName": cluster.name,
        "kubernetesVersion": f"v{version}",
        "controlPlaneEndpoint": str(endpoint),
        "networking": {
            "podSubnet": cluster.pod_cidr,
            "serviceSubnet": cluster.service_cidr,
            "dnsDomain": cluster.dns_domain,
        },
        "apiServer": {
            "certSANs": list(dict.fromkeys(sans)),
            "extraArgs": _arguments(api, _API_SERVER, cluster.api_server),
        },
        "controllerManager": {"extraArgs": _arguments(api, {}, cluster.controller_manager)},
        "scheduler": {"extraArgs": _arguments(api, {}, cluster.scheduler)},
        "etcd": {"external": _external(external_etcd)} if external_etcd else {"local": etcd},
    }
    if image_repository:
        config["imageRepository"] = image_repository
    if dns_tag:
        config["dns"] = {"imageTag": dns_tag}
    return config


def _external(endpoints: Sequence[str]) -> dict[str, object]:
    """An etcd on hosts of its own, in both versions of the API; the files have the names that kubeadm gives them where
    it makes them itself, so ``upload-certs`` takes them along."""
    pki = "/etc/kubernetes/pki"
    return {
        "endpoints": list(endpoints),
        "caFile": f"{pki}/etcd/ca.crt",
        "certFile": f"{pki}/apiserver-etcd-client.crt",
        "keyFile": f"{pki}/apiserver-etcd-client.key",
    }


def init_config(host: Host, settings: NodeSettings, cluster: dict[str, object], *, token: str, version: Version) -> str:
    """What ``kubeadm init`` reads on the first master: holds a token, so it is written 0600 and removed after."""
    api = kubeadm_api(version)
    init = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "InitConfiguration",
        "bootstrapTokens": [{"token": token, "ttl": TOKEN_TTL, "description": "k8sha: made by init, deleted after"}],
        "localAPIEndpoint": {"advertiseAddress": host.address, "bindPort": 6443},
        "nodeRegistration": _registration(api, host, settings),
    }
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        **plain(settings.kubelet),
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        **plain(settings.kube_proxy),
    }
    return dump(init, cluster, kubelet, proxy)


def plain(values: object) -> dict[str, object]:
    """Settings as plain data, whatever mapping they came as."""
    data = json.loads(json.dumps(values, default=dict))
    if not isinstance(data, dict):
        raise TypeError("settings must be a mapping")
    return data


def join_config(
    host: Host,
    settings: NodeSettings,
    endpoint: Endpoint,
    *,
    version: Version,
    token: str,
    ca_hash: str,
    certificate_key: str | None,
) -> str:
    """What ``kubeadm join`` reads: of a master if it has a certificate key, of a worker otherwise."""
    api = kubeadm_api(version)
    join: dict[str, object] = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": str(endpoint),
                "token": token,
                "caCertHashes": [f"sha256:{ca_hash}"],
            }
        },
        "nodeRegistration": _registration(api, host, settings),
    }
    if certificate_key is not None:
        join["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": host.address, "bindPort": 6443},
            "certificateKey": certificate_key,
        }
    return dump(join)


def new_token() -> str:
    """A bootstrap token as Kubernetes wants it: six characters, a dot, sixteen characters."""
    id, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))
    return f"{id}.{secret}"
