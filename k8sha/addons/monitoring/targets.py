"""How Prometheus finds what kubeadm's masters and the balancers show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from k8sha.kube import Json

if TYPE_CHECKING:
    from k8sha.hosts.host import Host

__all__ = [
    "EXPORTER_PORT",
    "TARGETS",
    "balancers_found",
    "target_objects",
]

EXPORTER_PORT = 9100
"""node_exporter's own default."""

_PORTS = {"etcd": 2381, "kube-controller-manager": 10257, "kube-proxy": 10249, "kube-scheduler": 10259}
TARGETS = tuple(_PORTS)
_SECURE = ("kube-controller-manager", "kube-scheduler")
_OWN_MONITORS = ("etcd", "kube-proxy")
"""Those for which kube-prometheus brings no ServiceMonitor."""


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
