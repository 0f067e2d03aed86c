"""kubeadm's configuration, by version of its API, and the tickets that let a host join.

v1beta3 is written for Kubernetes 1.30 alone, v1beta4 from 1.31 on (kubeadm 1.37 no longer reads v1beta3).
"""

from __future__ import annotations

import json
import secrets
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence

import yaml
from attrs import define, field, frozen

from k8sha.components.node import NodeSettings
from k8sha.endpoint import Endpoint
from k8sha.errors import HostErrors, K8shaError, KubeError
from k8sha.hosts.host import Host
from k8sha.versions import Version, kubeadm_api

__all__ = ["ClusterSettings", "Ticket", "init_config", "join_config"]

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


def _dump(*documents: Mapping[str, object]) -> str:
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
) -> dict[str, object]:
    """kubeadm's ClusterConfiguration. Every name and address that a client may use is in the certificate from the
    start, because ``kubeadm certs renew`` copies the old certificate's names."""
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
        "etcd": {"local": etcd},
    }
    if image_repository:
        config["imageRepository"] = image_repository
    if dns_tag:
        config["dns"] = {"imageTag": dns_tag}
    return config


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
        **_plain(settings.kubelet),
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        **_plain(settings.kube_proxy),
    }
    return _dump(init, cluster, kubelet, proxy)


def _plain(values: object) -> dict[str, object]:
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
    return _dump(join)


def new_token() -> str:
    """A bootstrap token as Kubernetes wants it: six characters, a dot, sixteen characters."""
    id, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))
    return f"{id}.{secret}"


_NOT_A_MASTER = 71
_MINT = (
    f"""\
if [ ! -s /etc/kubernetes/admin.conf ]; then exit {_NOT_A_MASTER}; fi
"""
    + """\
umask 077
config=$(mktemp /run/k8sha/ticket.XXXXXX)
trap 'rm -f "$config"' EXIT
cat >"$config" <<'END'
{config}END
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl --request-timeout=10s --server=https://{address}:6443 get --raw /readyz >/dev/null
{forget}kubeadm token create --config "$config" >/dev/null
{upload}openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum
"""
)

_REVOKE = """\
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl --request-timeout=20s -n kube-system delete secret --ignore-not-found {names}
"""

_UPLOAD_OWNER = """\
kubectl --request-timeout=20s -n kube-system get secret kubeadm-certs --ignore-not-found \\
  -o 'jsonpath={.metadata.ownerReferences[*].name}'"""


@define(eq=False)
class Ticket:
    """A join token (and, for masters, a certificate key): made on a live master when the first host asks, deleted there
    once the last that asked has given it back. Safe to use from several threads."""

    masters: tuple[Host, ...]
    version: Version
    control_plane: bool
    cluster: dict[str, object]
    forget: Callable[[Host], str] = lambda host: ""
    """Shell for the issuing master that clears what a joining host's dead attempt left behind."""
    _users: int = field(default=0, init=False)
    _token: str = field(default="", init=False, repr=False)
    _key: str = field(default="", init=False, repr=False)
    _hash: str = field(default="", init=False)
    _issuer: Host | None = field(default=None, init=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False)

    def take(self, host: Host) -> tuple[str, str, str | None]:
        """Token, CA hash, and certificate key. Raises KubeError or a host's error if no master can make them."""
        with self._guard:
            forget = self.forget(host)
            if self._users == 0 or forget:
                self._mint(host, forget)
            self._users += 1
            return self._token, self._hash, self._key if self.control_plane else None

    def give_back(self) -> None:
        """The join was tried; the last one to say so makes the ticket worthless. Raises if that failed."""
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._revoke()

    def _mint(self, host: Host, forget: str) -> None:
        token, key = new_token(), secrets.token_hex(32)
        upload = ""
        if self.control_plane:
            upload = 'kubeadm init phase upload-certs --upload-certs --config "$config" >/dev/null\n'
        errors: list[K8shaError] = []
        for master in self.masters:
            if master == host:
                continue
            config = self._config(master, token, key)
            script = _MINT.format(config=config, address=master.address, forget=forget, upload=upload)
            try:
                exit, out, err = master.execute(script, timeout=240)
            except K8shaError as error:
                errors.append(error)
                continue
            if exit == 0:
                self._token, self._key, self._hash, self._issuer = token, key, out.decode().split()[0], master
                return
            said = err.decode(errors="replace").replace(token, "(secret)").replace(key, "(secret)").strip()
            if exit != _NOT_A_MASTER:
                errors.append(KubeError("create", f"a join token on {master.name}", 0, said[-1500:]))
        if not errors:
            raise KubeError("create", f"a join token for {host.name}", 0, "no other master is in a cluster yet")
        raise errors[0] if len(errors) == 1 else HostErrors(errors)

    def _config(self, master: Host, token: str, key: str) -> str:
        """What kubeadm on the issuing master reads. With its own address: kubeadm would guess one otherwise, and talk
        to an API server whose certificate does not have it."""
        init: dict[str, object] = {
            "apiVersion": f"kubeadm.k8s.io/{kubeadm_api(self.version)}",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": token, "ttl": TOKEN_TTL, "description": "k8sha: for joins, deleted after"}],
            "localAPIEndpoint": {"advertiseAddress": master.address, "bindPort": 6443},
            "nodeRegistration": {"criSocket": CRI_SOCKET},
        }
        if self.control_plane:
            init["certificateKey"] = key
        return _dump(init, *([self.cluster] if self.cluster else []))

    def _revoke(self) -> None:
        issuer, token = self._issuer, self._token
        self._token = self._key = ""
        if issuer is None:
            return
        names = f"bootstrap-token-{shlex.quote(token.partition('.')[0])}"
        if self.control_plane:
            names += f" kubeadm-certs $({_UPLOAD_OWNER})"
        exit, _, err = issuer.execute(_REVOKE.format(names=names), timeout=60)
        if exit != 0:
            raise KubeError(
                "delete",
                f"the join token on {issuer.name} (it expires by itself within {TOKEN_TTL})",
                0,
                err.decode(errors="replace").strip()[-500:],
            )
