"""What runs in a cluster, beginning with its pod network."""

from k8sha.addons.addon import Addon
from k8sha.addons.calico import Calico
from k8sha.addons.gateway import TraefikGateway
from k8sha.addons.helm import HelmChart
from k8sha.addons.host_routes import HostRoutes
from k8sha.addons.ingress import Entrance, IngressNginx
from k8sha.addons.logs.stack import Logging
from k8sha.addons.manifests import Manifest, parse
from k8sha.addons.metrics_server import MetricsServer
from k8sha.addons.mirror import Mirror
from k8sha.addons.monitoring.stack import KubePrometheusStack
from k8sha.addons.storage import CsiNfs, NfsProvisioner

__all__ = [
    "Addon",
    "Calico",
    "CsiNfs",
    "Entrance",
    "HelmChart",
    "HostRoutes",
    "IngressNginx",
    "KubePrometheusStack",
    "Logging",
    "Manifest",
    "MetricsServer",
    "Mirror",
    "NfsProvisioner",
    "TraefikGateway",
    "parse",
]
