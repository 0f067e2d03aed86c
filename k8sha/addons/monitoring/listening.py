"""Where the parts of a cluster show their metrics: by the cluster's own word where there is one, else as declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import yaml

from k8sha.errors import KubeError, Problem
from k8sha.kube import Api, Json

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["CONTROLLER_MANAGER", "ETCD", "KUBE_PROXY", "SCHEDULER", "target_problems"]

CONTROLLER_MANAGER: Mapping[str, str] = {"bind-address": "0.0.0.0"}
SCHEDULER: Mapping[str, str] = {"bind-address": "0.0.0.0"}
ETCD: Mapping[str, str] = {"listen-metrics-urls": "http://0.0.0.0:2381"}
KUBE_PROXY: Mapping[str, str] = {"metricsBindAddress": "0.0.0.0:10249"}

_ARGUMENTS = {
    "etcd": "listen-metrics-urls",
    "kube-controller-manager": "bind-address",
    "kube-scheduler": "bind-address",
}
_LOCAL = ("", "127.", "localhost", "[::1]", "::1")

_MANIFEST = (
    "on {nodes}, one after another: cd /etc/kubernetes && (umask 077; sed 's#--{argument}=.*#--{argument}={value}#' "
    "manifests/{name}.yaml >{name}.yaml) && mv {name}.yaml manifests/ — and the same in the ConfigMap "
    "kube-system/kubeadm-config, for masters to come"
)
_PROXY = (
    "kubectl -n kube-system get configmap kube-proxy -o yaml | sed 's#metricsBindAddress: .*#metricsBindAddress: "
    "0.0.0.0:10249#' | kubectl apply -f - && kubectl -n kube-system rollout restart daemonset kube-proxy"
)


def target_problems(plane: ControlPlane, targets: tuple[str, ...]) -> Iterator[Problem]:
    """Targets that nobody could reach, because they listen on their host's loopback address alone."""
    declared, live = _declared(plane), _live(plane.api)
    for name in targets:
        if name == "etcd" and not plane.etcd.stacked:
            yield Problem("KubePrometheusStack", "etcd is on hosts of its own", "leave it out of targets=")
        elif name not in live:
            if _closed(declared[name][0]):
                cause = f"{name} shows its metrics on loopback alone"
                remedy = f"give the control plane {declared[name][1]} when it is made, or leave it out of targets="
                yield Problem("KubePrometheusStack", cause, remedy)
        elif closed := sorted(where for where, address in live[name].items() if _closed(address)):
            cause = f"{name} shows its metrics on loopback alone ({', '.join(closed)})"
            yield Problem(
                "KubePrometheusStack", cause, f"leave it out of targets=, or open it {_opening(name, closed)}"
            )


def _declared(plane: ControlPlane) -> dict[str, tuple[str, str]]:
    """Each target's address as it is made by kubeadm, and the setting that opens it."""
    cluster, stack = plane.cluster, "KubePrometheusStack"
    return {
        "kube-controller-manager": (
            dict(cluster.controller_manager).get("bind-address", ""),
            f"ClusterSettings(controller_manager={stack}.CONTROLLER_MANAGER)",
        ),
        "kube-scheduler": (
            dict(cluster.scheduler).get("bind-address", ""),
            f"ClusterSettings(scheduler={stack}.SCHEDULER)",
        ),
        "etcd": (dict(cluster.etcd).get("listen-metrics-urls", ""), f"ClusterSettings(etcd={stack}.ETCD)"),
        "kube-proxy": (
            str(plane.settings.kube_proxy.get("metricsBindAddress", "")),
            f"NodeSettings(kube_proxy={stack}.KUBE_PROXY)",
        ),
    }


def _live(api: Api) -> dict[str, dict[str, str]]:
    """Each target's addresses by node, of those that are there: settings given since change nothing of them."""
    found: dict[str, dict[str, str]] = {}
    try:
        pods = api.get("/api/v1/namespaces/kube-system/pods", labelSelector="tier=control-plane")["items"]
        proxy = api.found("/api/v1/namespaces/kube-system/configmaps/kube-proxy")
    except KubeError:  # no cluster, or one that this very install mends
        return {}
    for pod in pods:
        if (name := pod["metadata"]["labels"].get("component")) in _ARGUMENTS:
            found.setdefault(name, {})[pod["spec"].get("nodeName", "")] = _argument(pod, _ARGUMENTS[name])
    settings = yaml.safe_load(((proxy or {}).get("data") or {}).get("config.conf", "")) or {}
    if settings:
        found["kube-proxy"] = {"every node": str(settings.get("metricsBindAddress") or "")}
    return found


def _argument(pod: Json, name: str) -> str:
    container = pod["spec"]["containers"][0]
    words = (*(container.get("command") or ()), *(container.get("args") or ()))
    return next((str(word).partition("=")[2] for word in words if str(word).startswith(f"--{name}=")), "")


def _opening(name: str, nodes: list[str]) -> str:
    if name == "kube-proxy":
        return f"by: {_PROXY}"
    value = {**ETCD, **SCHEDULER}[_ARGUMENTS[name]]
    return _MANIFEST.format(nodes=", ".join(nodes), argument=_ARGUMENTS[name], value=value, name=name)


def _closed(addresses: str) -> bool:
    return all(_local(address) for address in addresses.split(","))


def _local(address: str) -> bool:
    host = address.strip().rpartition("//")[2]
    return any(host == start or (start and host.startswith(start)) for start in _LOCAL)
