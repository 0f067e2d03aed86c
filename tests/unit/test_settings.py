"""Settings that were changed after the cluster was made: a plan and ``verify`` name each that is not in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, evolve

from k8sha import ClusterSettings, ControlPlane, Endpoint, Host, NodeSettings, Upstream, Workers
from k8sha import events as k8sha_events
from k8sha.components.settings import Notes, SettingsInForce, in_force, node_settings, note_stages, plane_settings
from k8sha.report import Outcome, Plan
from k8sha.waiting import NotYet

MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3))
PLANE = ControlPlane(hosts=MASTERS, endpoint=Endpoint("192.168.56.100"), version="1.33.13", source=Upstream())
SEEN = b"""\
/etc/kubernetes/manifests/kube-apiserver.yaml:    - --goaway-chance=0.001
/etc/kubernetes/manifests/kube-apiserver.yaml:    - --shutdown-delay-duration=15s
/etc/kubernetes/manifests/kube-controller-manager.yaml:    - --bind-address=127.0.0.1
/etc/kubernetes/manifests/kube-controller-manager.yaml:    - --cluster-cidr=10.244.0.0/16
/etc/kubernetes/manifests/kube-controller-manager.yaml:    - --cluster-name=kubernetes
/etc/kubernetes/manifests/kube-scheduler.yaml:    - '--feature-gates=A=true,B=false'
/etc/kubernetes/manifests/etcd.yaml:    - --quota-backend-bytes=8589934592

file kubelet
clusterDomain: cluster.local
cpuManagerReconcilePeriod: 0s
evictionHard:
  memory.available: 100Mi
failSwapOn: false
maxPods: 110
nodeStatusReportFrequency: 1m0s

file kube-proxy
mode: ""
conntrack:
  maxPerCore: 0
"""


def differences(plane: ControlPlane, seen: bytes = SEEN) -> list[str]:
    return list(plane_settings(plane).differences(seen))


def with_cluster(**given: object) -> ControlPlane:
    return evolve(PLANE, cluster=ClusterSettings(**given))  # type: ignore[arg-type]


def with_nodes(**given: object) -> ControlPlane:
    return evolve(PLANE, settings=NodeSettings(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "plane",
    [
        PLANE,
        with_cluster(scheduler={"feature-gates": "A=true,B=false"}),
        with_nodes(kubelet={"failSwapOn": False, "nodeStatusReportFrequency": "60s", "serverTLSBootstrap": False}),
        with_nodes(kubelet={"evictionHard": {"memory.available": "100Mi"}}, kube_proxy={"conntrack": {"min": 0}}),
    ],
    ids=["defaults", "an argument in quotes", "a duration, and what is empty", "maps"],
)
def test_what_is_in_force_is_no_difference(plane: ControlPlane) -> None:
    assert differences(plane) == []
    assert differences(plane, b"") == [], "a host that is no master yet has nothing to differ"


@pytest.mark.parametrize(
    ("plane", "said"),
    [
        (
            with_cluster(controller_manager={"bind-address": "0.0.0.0"}),
            "kube-controller-manager --bind-address is 127.0.0.1, and 0.0.0.0 is asked for",
        ),
        (with_cluster(scheduler={"v": "4"}), "kube-scheduler --v is not there, and 4 is asked for"),
        (
            with_cluster(etcd={"quota-backend-bytes": "2147483648"}),
            "etcd --quota-backend-bytes is 8589934592, and 2147483648 is asked for",
        ),
        (
            with_cluster(pod_cidr="10.32.0.0/16"),
            "kube-controller-manager --cluster-cidr is 10.244.0.0/16, and 10.32.0.0/16 is asked for",
        ),
        (with_cluster(dns_domain="k8s.local"), "kubelet clusterDomain is cluster.local, and k8s.local is asked for"),
        (with_nodes(kubelet={"maxPods": 50}), "kubelet maxPods is 110, and 50 is asked for"),
        (
            with_nodes(kubelet={"evictionHard": {"memory.available": "1Gi"}}),
            "kubelet evictionHard memory.available is 100Mi, and 1Gi is asked for",
        ),
        (with_nodes(kube_proxy={"mode": "nftables"}), "kube-proxy mode is not there, and nftables is asked for"),
    ],
)
def test_what_is_not_is_named(plane: ControlPlane, said: str) -> None:
    """All of these gave an empty plan and a green ``verify``."""
    assert differences(plane) == [said]


def test_an_api_servers_arguments_are_changed_and_not_told() -> None:
    plane = with_cluster(api_server={"v": "4"})
    settings = plane_settings(plane)
    assert (settings.server_differs(SEEN), differences(plane)) == (True, [])
    assert not plane_settings(PLANE).server_differs(SEEN)
    assert not settings.server_differs(b"")
    assert settings.running(SEEN) == {"goaway-chance": "0.001", "shutdown-delay-duration": "15s"}


def test_each_is_told_once_and_an_install_goes_on() -> None:
    settings = plane_settings(with_nodes(kubelet={"maxPods": 50}))
    outcome = Outcome(tuple((host.name, settings.key, SEEN) for host in MASTERS))
    (step,) = note_stages(MASTERS, outcome, settings)
    assert isinstance(step, Notes)
    heard: list[k8sha_events.Event] = []
    _, plan = step.plan("ControlPlane", heard.append)
    assert step.install("ControlPlane", heard.append) == (Outcome(), ())
    (text,) = step.texts
    assert text.startswith(
        "master-1, master-2, master-3: kubelet maxPods is 110, and 50 is asked for — install() leaves"
    )
    assert heard == [k8sha_events.Warned("ControlPlane", text)] * 2
    assert str(Plan() + plan) == f"nothing to change\nnote: ControlPlane: {text}"
    assert not plan
    assert list(note_stages(MASTERS, outcome, plane_settings(PLANE))) == []


def test_a_worker_without_settings_is_not_looked_at() -> None:
    workers = Workers(hosts=[Host("worker-1", "192.168.56.20")], plane=PLANE)
    sentences = [check.sentence for check in workers.checks()]
    assert not [sentence for sentence in sentences if "settings" in sentence]
    assert node_settings(NodeSettings()).files == {}
    own = evolve(workers, settings=NodeSettings(kubelet={"maxPods": 50}))
    assert "the programs of worker-1 run with the settings that are given" in [each.sentence for each in own.checks()]


@define(eq=False)
class Node:
    name: str
    answer: Callable[[], tuple[int, bytes, bytes]]

    def read(self, *texts: str) -> tuple[tuple[int, bytes, bytes], ...]:
        return (self.answer(),)


def test_verify_tells_what_differs_and_what_can_not_be_read() -> None:
    nodes: list[Any] = [Node("master-1", lambda: (0, SEEN, b"")), Node("master-2", lambda: (0, b"", b""))]
    assert in_force(nodes, plane_settings(PLANE)) == "on 2 hosts"
    with pytest.raises(NotYet, match=r"^master-1: kubelet maxPods is 110, and 50 is asked for — install"):
        in_force(nodes, plane_settings(with_nodes(kubelet={"maxPods": 50})))
    broken: list[Any] = [Node("master-3", lambda: (2, b"", b"grep: an I/O error"))]
    with pytest.raises(NotYet, match=r"^master-3: grep: an I/O error$"):
        in_force(broken, SettingsInForce())
