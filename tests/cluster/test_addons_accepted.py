"""Every add-on that has pins: all its objects accepted by a real API server, whose images need not be at hand.

``K8SHA_MANIFESTS`` is a folder that mirrors https://raw.githubusercontent.com, for machines that don't reach it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from acceptance.topology import DEFAULT, load
from acceptance.vagrant import Lab
from k8sha import Cluster, ControlPlane, NotReady
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


SERVER = str(load(Path(os.environ.get("K8SHA_TOPOLOGY", DEFAULT))).network[1])
NFS: dict[str, object] = {"server": SERVER, "path": "/export"}
ADDONS: dict[str, tuple[type[Addon], dict[str, object]]] = {
    "calico": (Calico, {}),
    "calico-3.32": (Calico, {"version": "v3.32.1", "encapsulation": "vxlan", "mtu": 1400}),
    "metrics-server": (MetricsServer, {"insecure": True}),
    "ingress-nginx": (IngressNginx, {}),
    "traefik": (TraefikGateway, {"http_port": 30081, "https_port": 30444}),  # beside the other one
    "nfs": (NfsProvisioner, NFS),
    "csi-nfs": (CsiNfs, {**NFS, "snapshots": True, "storage_class": "csi"}),
    "kube-prometheus": (KubePrometheusStack, {"targets": ()}),
    "logging": (Logging, {}),
}
REQUESTS = {"kube-prometheus": 40}
"""What a plan with nothing to do may ask where that is more than 20: a list a kind, a dry run of each Secret."""


@pytest.fixture(autouse=True)
def nfs(lab: Lab) -> Iterator[None]:
    """What takes connections where the NFS server is said to be: this machine."""
    with socket.create_server((SERVER, 2049)):
        yield


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
    counted(addon, "uninstall", evolve(addon, patience=120).uninstall)
    assert everything(plane) == before


def test_a_plan_with_all_of_them_at_once(cluster: Cluster, plane: ControlPlane, mirror: Mirror) -> None:  # noqa: F811
    """Nothing to do for a whole cluster with every add-on: one trip per host and stage, and no more requests than each
    of them asks on its own."""
    before = everything(plane)
    addons = [
        kind(plane, mirror=mirror, check_images=False, patience=1, **settings)  # type: ignore[arg-type]
        for kind, settings in (ADDONS[name] for name in ADDONS if not name.startswith("calico"))
    ]
    try:
        for addon in addons:
            try:
                addon.install()
            except NotReady as error:
                log.info("%s: %s", addon.name, error)
        bare, whole = cluster.plan(), Cluster(*cluster.components, *addons)
        began = time.monotonic()
        plan = whole.plan()
        log.info(
            "%d add-ons, %d objects: %d requests and %d trips in %.1f s; without add-ons %d and %d; load %.1f",
            *(len(addons), len(everything(plane)) - len(before), plan.requests, plan.trips, time.monotonic() - began),
            *(bare.requests, bare.trips, os.getloadavg()[0]),
        )
        assert names(plan) == []
        assert plan.requests - bare.requests <= sum(REQUESTS.get(name, 20) for name in ADDONS)
        assert plan.trips - bare.trips <= 3 * len(addons)
    finally:
        for addon in addons:  # that of the metrics first: while its API is down, no namespace goes
            evolve(addon, patience=120).uninstall()
    assert everything(plane) == before
