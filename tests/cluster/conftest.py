"""A real cluster for tests: the lab of ``tests/lab``, in which each module here installs Kubernetes from a bundle.

Asked for with ``tests/run tests/cluster``: its cluster would be in the way of tests that begin with bare hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from acceptance.lab_cluster import kubernetes_cluster
from acceptance.vagrant import Lab
from k8sha import Bundle, Cluster, ControlPlane, EtcdCluster, VerifyError, Workers, wait_for
from k8sha.component import Component
from k8sha.components.apiserver import ApiServerPolicy
from k8sha.waiting import Check, NotYet
from tests.lab.conftest import hosts, lab

__all__ = ["hosts", "lab", "whole", "with_policies"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """The lab's cluster, installed where it was not."""
    bundle = Bundle.find()
    if bundle is None:
        pytest.skip("there is no bundle below /var/lib/k8sha/bundles: a cluster needs one")
    with kubernetes_cluster(lab, bundle, bundle.version) as found:
        found.install()
        yield found


@pytest.fixture(scope="module")
def plane(cluster: Cluster) -> ControlPlane:
    """Its control plane."""
    return cluster.of(ControlPlane)[0]


def with_policies(plain: Cluster, *policies: ApiServerPolicy) -> Cluster:
    """The same cluster with these policies, and no others."""
    plane = evolve(plain.of(ControlPlane)[0], policies=policies)
    workers = tuple(evolve(part, plane=plane) for part in plain.of(Workers))

    def made(part: Component) -> Component:
        if isinstance(part, ControlPlane):
            return plane
        if isinstance(part, Workers):
            return workers[0]
        changes = {"plane": plane} if hasattr(part, "plane") else {}
        return evolve(part, **changes, **({"workers": workers} if hasattr(part, "workers") else {}))

    return Cluster(*map(made, plain.components))


def whole(cluster: Cluster | EtcdCluster, *, within: float = 120) -> None:
    """verify() finds nothing wrong within so many seconds."""

    def look() -> str:
        try:
            cluster.verify()
        except VerifyError as error:
            raise NotYet(str(error)) from None
        return ""

    wait_for(Check("verify() finds nothing wrong", look), timeout=within, interval=2)
