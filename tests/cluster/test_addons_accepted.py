"""Every add-on that has pins: all its objects accepted by a real API server, whose images need not be at hand.

``K8SHA_MANIFESTS`` is a folder that mirrors https://raw.githubusercontent.com, for machines that don't reach it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from k8sha import ControlPlane, NotReady
from k8sha.addons import (
    Addon,
    Calico,
    CsiNfs,
    IngressNginx,
    KubePrometheusStack,
    Logging,
    MetricsServer,
    Mirror,
    NfsProvisioner,
    TraefikGateway,
)

from .test_addons import cluster, counted, everything, names, plane  # noqa: F401 (fixtures)

pytestmark = pytest.mark.timeout(300, func_only=True)  # without the installation of the cluster

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    folder = os.environ.get("K8SHA_MANIFESTS")
    if folder is None:
        pytest.skip("K8SHA_MANIFESTS names no folder that mirrors https://raw.githubusercontent.com")
    return Mirror(urls={"https://raw.githubusercontent.com": Path(folder).resolve().as_uri()})


NFS: dict[str, object] = {"server": "192.168.56.5", "path": "/export"}
ADDONS: dict[str, tuple[type[Addon], dict[str, object]]] = {
    "calico": (Calico, {}),
    "calico-3.32": (Calico, {"version": "v3.32.1", "encapsulation": "vxlan", "mtu": 1400}),
    "metrics-server": (MetricsServer, {"insecure": True}),
    "ingress-nginx": (IngressNginx, {}),
    "traefik": (TraefikGateway, {}),
    "nfs": (NfsProvisioner, NFS),
    "csi-nfs": (CsiNfs, {**NFS, "snapshots": True}),
    "kube-prometheus": (KubePrometheusStack, {"targets": ()}),
    "logging": (Logging, {}),
}
REQUESTS = {"kube-prometheus": 40}
"""What a plan with nothing to do may ask where that is more than 20: a list a kind, a dry run of each Secret."""


@pytest.mark.parametrize("name", ADDONS)
def test_every_object_is_accepted_and_every_one_removed(plane: ControlPlane, mirror: Mirror, name: str) -> None:  # noqa: F811
    """Planned, applied whole, found unchanged by the next plan, and removed. No image is at hand, so no pod comes up;
    that is told, after ``patience``, with the pod's own word. Calico is only put to the dry run: this cluster has a pod
    network already."""
    kind, settings = ADDONS[name]
    addon = kind(plane, mirror=mirror, check_images=False, patience=8, **settings)  # type: ignore[arg-type]
    addon.uninstall()
    before = everything(plane)
    fresh, _ = counted(addon, "plan, fresh", addon.plan)
    log.info("%s: %d objects", name, len(fresh.changes) - 1)
    if isinstance(addon, Calico):
        return
    try:
        addon.install()
    except NotReady as error:
        log.info("%s: %s", name, error)
    again, requests = counted(addon, "plan, nothing to do", addon.plan)
    assert names(again) == []
    assert requests <= REQUESTS.get(name, 20)
    counted(addon, "uninstall", addon.uninstall)
    assert everything(plane) == before
