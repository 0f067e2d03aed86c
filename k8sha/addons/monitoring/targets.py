"""How Prometheus finds what kubeadm's masters and the balancers show, and what must be set for it to reach them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from k8sha.errors import Problem
from k8sha.kube import Json

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane
    from k8sha.hosts.host import Host

__all__ = [
    "CONTROLLER_MANAGER",
    "ETCD",
    "EXPORTER_PORT",
    "KUBE_PROXY",
    "SCHEDULER",
    "TARGETS",
    "balancers_found",
    "target_objects",
    "target_problems",
]

CONTROLLER_MANAGER: Mapping[str, str] = {"bind-address": "0.0.0.0"}
SCHEDULER: Mapping[str, str] = {"bind-address": "0.0.0.0"}
ETCD: Mapping[str, str] = {"listen-metrics-urls": "http://0.0.0.0:2381"}
KUBE_PROXY: Mapping[str, str] = {"metricsBindAddress": "0.0.0.0:10249"}

EXPORTER_PORT = 9100
"""node_exporter's own default."""

_PORTS = {"etcd": 2381, "kube-controller-manager": 10257, "kube-proxy": 10249, "kube-scheduler": 10259}
TARGETS = tuple(_PORTS)
_SECURE = ("kube-controller-manager", "kube-scheduler")
_OWN_MONITORS = ("etcd", "kube-proxy")
"""Those for which kube-prometheus brings no ServiceMonitor."""

_LOCAL = ("", "127.", "localhost", "[::1]", "::1")


def target_problems(plane: ControlPlane, targets: tuple[str, ...]) -> Iterator[Problem]:
    """Targets that nobody could reach, because they listen on their host's loopback address alone."""
    cluster = plane.cluster
    told = {
        "kube-controller-manager": dict(cluster.controller_manager).get("bind-address", ""),
        "kube-scheduler": dict(cluster.scheduler).get("bind-address", ""),
        "etcd": dict(cluster.etcd).get("listen-metrics-urls", ""),
        "kube-proxy": str(plane.settings.kube_proxy.get("metricsBindAddress", "")),
    }
    remedies = {
        "kube-controller-manager": "ClusterSettings(controller_manager=KubePrometheusStack.CONTROLLER_MANAGER)",
        "kube-scheduler": "ClusterSettings(scheduler=KubePrometheusStack.SCHEDULER)",
        "etcd": "ClusterSettings(etcd=KubePrometheusStack.ETCD)",
        "kube-proxy": "NodeSettings(kube_proxy=KubePrometheusStack.KUBE_PROXY)",
    }
    for name in targets:
        if name == "etcd" and not plane.etcd.stacked:
            yield Problem("KubePrometheusStack", "etcd is on hosts of its own", "leave it out of targets=")
        elif all(_local(address) for address in told[name].split(",")):
            yield Problem(
                "KubePrometheusStack",
                f"{name} shows its metrics on loopback alone",
                f"give the control plane {remedies[name]} when it is made, or leave it out of targets=",
            )


def _local(address: str) -> bool:
    host = address.strip().rpartition("//")[2]
    return any(host == start or (start and host.startswith(start)) for start in _LOCAL)


def target_objects(namespace: str, targets: tuple[str, ...]) -> Iterator[Json]:
    """A Service without an address for each, so that its pods are found; and monitors where upstream has none."""
    for name in targets:
        selector = {"k8s-app": name} if name == "kube-proxy" else {"component": name, "tier": "control-plane"}
        port = "https-metrics" if name in _SECURE else "http-metrics"
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": f"k8sha-metrics-{name}",
                "namespace": "kube-system",
                "labels": {"app.kubernetes.io/name": name},
            },
            "spec": {
                "clusterIP": "None",
                "selector": selector,
                "ports": [{"name": port, "port": _PORTS[name], "targetPort": _PORTS[name]}],
            },
        }
        if name in _OWN_MONITORS:
            yield _monitor(namespace, name, port)


def _monitor(namespace: str, name: str, port: str) -> Json:
    labels = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "jobLabel": "app.kubernetes.io/name",
            "endpoints": [{"port": port, "interval": "30s"}],
            "namespaceSelector": {"matchNames": ["kube-system"]},
            "selector": {"matchLabels": labels},
        },
    }


def balancers_found(namespace: str, hosts: tuple[Host, ...]) -> Json:
    """Balancers are no nodes: they are listed by address."""
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "ScrapeConfig",
        "metadata": {"name": "balancers", "namespace": namespace},
        "spec": {
            "jobName": "balancers",
            "scrapeInterval": "15s",
            "staticConfigs": [
                {"targets": [f"{host.address}:{EXPORTER_PORT}"], "labels": {"balancer": host.name}} for host in hosts
            ],
        },
    }
