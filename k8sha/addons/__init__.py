"""What runs in a cluster, beginning with its pod network."""

from k8sha.addons.calico import Calico
from k8sha.addons.host_routes import HostRoutes
from k8sha.addons.manifests import Manifest

__all__ = ["Calico", "HostRoutes", "Manifest"]
