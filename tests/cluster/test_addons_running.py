"""Add-ons in earnest: their pods run, and what each of them is for is proven by its own ``verify``.

From a bundle with add-ons' images and manifests in /var/lib/k8sha/bundles-addons, or where ``K8SHA_ADDON_BUNDLES``
says. An add-on of which it has no image is skipped, by name. ``K8SHA_NFS`` is an export that every node can mount, as
``server:/path``; a kernel has NFS or it has not, and containers have their machine's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from acceptance.lab_cluster import kubernetes_cluster
from acceptance.vagrant import Lab
from k8sha import Bundle, Cluster, ClusterSettings, ControlPlane, LoadBalancer, NotReady, Workers, wait_for
from k8sha.addons import Addon, HostRoutes, KubePrometheusStack, MetricsServer, NfsProvisioner

from .test_addons import IMAGE, counted, everything, names

pytestmark = pytest.mark.timeout(560, func_only=True)  # without the installation of the cluster

log = logging.getLogger(__name__)
KUBELETS = "Service kube-system/kubelet"
"""The operator of Prometheus makes it for itself, and it stays."""
BY_HAND = {"fieldManager": "kubectl-edit"}
BUNDLES = Path(os.environ.get("K8SHA_ADDON_BUNDLES", "/var/lib/k8sha/bundles-addons"))


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """A cluster whose kubelets ask for serving certificates, and whose own parts may be watched."""
    bundle = Bundle.find(BUNDLES)
    if bundle is None:
        pytest.skip(f"there is no bundle with add-ons' images below {BUNDLES}")
    usual = kubernetes_cluster(lab, bundle, bundle.version)
    (lb,), (before,), (workers,) = usual.of(LoadBalancer), usual.of(ControlPlane), usual.of(Workers)
    settings = evolve(
        before.settings,
        kubelet={**before.settings.kubelet, "serverTLSBootstrap": True},
        kube_proxy={**before.settings.kube_proxy, **KubePrometheusStack.KUBE_PROXY},
    )
    watched = ClusterSettings(
        controller_manager=KubePrometheusStack.CONTROLLER_MANAGER,
        scheduler=KubePrometheusStack.SCHEDULER,
        etcd=KubePrometheusStack.ETCD,
    )
    plane = evolve(before, settings=settings, cluster=watched)
    workers = evolve(workers, plane=plane)
    with Cluster(lb, plane, workers, HostRoutes(plane, workers)) as found:
        found.install()
        yield found


@pytest.fixture
def plane(cluster: Cluster) -> ControlPlane:
    return cluster.of(ControlPlane)[0]


def lacking(addon: Addon) -> set[str]:
    """The images of an add-on that the bundle has not."""
    return {item.reference for item in addon.artifacts() if item.kind == "image" and not item.bundled}


def proven(addon: Addon) -> None:
    """Installed where nothing of it was, proven by its own checks, and left alone by a second plan."""
    if missing := lacking(addon):
        pytest.skip(f"the bundle has no {', '.join(sorted(missing))}")
    fresh, _ = counted(addon, "plan, fresh", addon.plan)
    assert names(fresh)
    counted(addon, "install", addon.install)
    for check in addon.checks():
        log.info("%s: %s", check.sentence, wait_for(check, timeout=120))
    counted(addon, "verify", addon.verify)
    assert names(counted(addon, "plan, nothing to do", addon.plan)[0]) == []


def mended(addon: Addon, *expected: str) -> None:
    """What somebody changed is planned, these and nothing else; install mends it, and it is proven anew."""
    drift, _ = counted(addon, "plan, drift", addon.plan)
    assert sorted(names(drift)) == sorted(expected)
    counted(addon, "install, drift", addon.install)
    addon.verify()
    assert names(addon.plan()) == []


def test_metrics_server_answers_for_every_node(plane: ControlPlane) -> None:
    """With the kubelets' certificates checked, which the masters' approver let through."""
    addon = MetricsServer(plane)
    evolve(addon, patience=180).uninstall()
    before = everything(plane)
    proven(addon)

    path = "/apis/apps/v1/namespaces/kube-system/deployments/metrics-server"
    plane.api.request("patch", path, {"spec": {"replicas": 1}}, query=BY_HAND, kind="merge-patch+json")
    plane.api.delete("/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets/metrics-server")
    mended(
        addon,
        "apps/v1 Deployment kube-system/metrics-server",
        "policy/v1 PodDisruptionBudget kube-system/metrics-server",
    )
    counted(addon, "uninstall", addon.uninstall)
    assert everything(plane) == before


def test_a_claim_is_written_on_one_node_and_read_on_another(plane: ControlPlane) -> None:
    """A claim is a folder of the export; the export keeps what was on it under another name."""
    server, _, path = os.environ.get("K8SHA_NFS", "").partition(":")
    if not path:
        pytest.skip("K8SHA_NFS names no export that every node can mount")
    addon = NfsProvisioner(plane, server=server, path=path, check_image=IMAGE)
    evolve(addon, patience=180).uninstall()
    before = everything(plane)
    proven(addon)

    deployment = "/apis/apps/v1/namespaces/nfs-provisioner/deployments/nfs-client-provisioner"
    plane.api.request("patch", deployment, {"spec": {"replicas": 0}}, query=BY_HAND, kind="merge-patch+json")
    plane.api.delete("/apis/storage.k8s.io/v1/storageclasses/nfs")
    mended(addon, "apps/v1 Deployment nfs-provisioner/nfs-client-provisioner", "storage.k8s.io/v1 StorageClass nfs")
    counted(addon, "uninstall", addon.uninstall)
    assert everything(plane) == before


def as_far_as_images_go(addon: Addon, what: str, missing: set[str]) -> None:
    """Install; what has no image does not come up, which is told and logged, and Prometheus is not among it."""
    if not missing:
        counted(addon, what, addon.install)
        return
    with pytest.raises(NotReady) as caught:
        counted(addon, what, addon.install)
    log.info("%s", caught.value)
    assert "monitoring/prometheus" not in str(caught.value)


@pytest.mark.timeout(900, func_only=True)
def test_prometheus_watches_every_part_of_the_cluster(cluster: Cluster, plane: ControlPlane) -> None:
    """Everything but what the bundle has no image of, such as Grafana: its check is left out, and logged."""
    addon = KubePrometheusStack(plane, balancers=cluster.of(LoadBalancer), check_images=False, patience=240)
    missing = lacking(addon)
    if any("prometheus/" in image or "prometheus-operator/" in image for image in missing):
        pytest.skip(f"the bundle has no {', '.join(sorted(missing))}")
    if missing:
        log.info("the bundle has no %s", ", ".join(sorted(missing)))
        addon = evolve(addon, patience=90)
    evolve(addon, patience=180).uninstall()
    before = everything(plane)

    def prove() -> None:
        for check in addon.checks():
            if "Grafana" not in check.sentence or not any("grafana" in image for image in missing):
                log.info("%s: %s", check.sentence, wait_for(check, timeout=240, interval=2))
        assert names(counted(addon, "plan, nothing to do", addon.plan)[0]) == []

    as_far_as_images_go(addon, "install", missing)
    prove()

    objects = "/apis/monitoring.coreos.com/v1/namespaces/monitoring"
    one = {"spec": {"replicas": 1}}
    plane.api.request("patch", f"{objects}/prometheuses/k8s", one, query=BY_HAND, kind="merge-patch+json")
    plane.api.delete(f"{objects}/servicemonitors/kubelet")
    assert sorted(names(addon.plan())) == [
        "monitoring.coreos.com/v1 Prometheus monitoring/k8s",
        "monitoring.coreos.com/v1 ServiceMonitor monitoring/kubelet",
    ]
    as_far_as_images_go(addon, "install, drift", missing)
    prove()
    counted(addon, "uninstall", evolve(addon, patience=180).uninstall)
    assert everything(plane) - {KUBELETS} == before - {KUBELETS}
