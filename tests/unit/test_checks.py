"""What a ``verify`` of a control plane sees of static pods and of DNS, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from k8sha import Host, NotReady
from k8sha.components.checks import _dns, _static_pods
from k8sha.waiting import NotYet

HOSTS = [Host("m1", "192.168.56.10"), Host("m2", "192.168.56.11")]


def pod(name: str, phase: str, *, started: bool = True, is_ready: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    status = {"phase": phase, "conditions": conditions, "containerStatuses": [{"started": started}]}
    return {"metadata": {"name": name}, "status": status}


RUNS = pod("etcd-m2", "Running")


@define
class Server:
    """m1's etcd runs; each look finds the next of these in the place of m2's, and the last one for ever."""

    found: list[dict[str, Any] | None]
    looks: int = 0
    pauses: list[float] = field(factory=list)

    def get(self, path: str) -> dict[str, Any]:
        other = self.found[min(self.looks, len(self.found) - 1)]
        self.looks += 1
        return {"items": [pod("etcd-m1", "Running"), *([other] if other else [])]}

    def look(self) -> str:
        api: Any = self
        return _static_pods(api, HOSTS, ["etcd"], pause=self.pauses.append)


def test_pods_that_all_run_are_seen_at_once() -> None:
    server = Server([RUNS])
    assert (server.look(), server.looks) == ("2 pods", 1)


@pytest.mark.parametrize(
    "before",
    [None, {"metadata": {"name": "etcd-m2"}, "status": {}}, pod("etcd-m2", "Running", started=False, is_ready=False)],
    ids=["no mirror yet", "nothing told yet", "startup probe to come"],
)
def test_kubelet_may_tell_of_a_pod_after_it_runs(before: dict[str, Any] | None) -> None:
    """A ``verify`` right after an install found a master's four pods "Pending" that served all the while."""
    server = Server([before, before, RUNS])
    assert (server.look(), server.looks, len(server.pauses)) == ("2 pods", 3, 2)


def test_a_pod_that_was_ready_once_is_not_waited_for() -> None:
    server = Server([pod("etcd-m2", "Running", is_ready=False)])
    with pytest.raises(NotYet, match=r"^etcd-m2 is not ready \(Running\)$"):
        server.look()
    assert server.looks == 1


def test_one_that_never_starts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8sha.components.checks._TOLD", 0.0)
    with pytest.raises(NotReady, match="etcd-m2 is missing"):
        Server([None]).look()


ANSWER = b" 18 52 129 128 0 1 0 1 192 12 0 1 0 1 0 0 0 30 0 4 10 96 0 1\n"
REFUSED = b"dd: error writing 'standard output': Operation not permitted"


@define(eq=False)
class Node:
    """Answers each question with the next of these, and the last one for ever."""

    name: str
    said: list[tuple[bytes, bytes]]
    asked: int = 0

    def read(self, *scripts: str) -> tuple[tuple[int, bytes, bytes], ...]:
        out, err = self.said[min(self.asked, len(self.said) - 1)]
        self.asked += 1
        return ((0, out, err),)


class Cluster:
    """The two Services and kubeadm's configuration."""

    def get(self, path: str) -> dict[str, Any]:
        if path.endswith("kubeadm-config"):
            return {"data": {"ClusterConfiguration": "networking:\n  dnsDomain: cluster.local\n"}}
        return {"spec": {"clusterIP": "10.96.0.10" if path.endswith("kube-dns") else "10.96.0.1"}}


def resolved(*nodes: Any) -> str:
    api: Any = Cluster()
    return _dns(api, nodes, pause=lambda seconds: None)


def test_a_new_nodes_kube_proxy_may_come_after_the_node() -> None:
    """Those that have answered are not asked again."""
    early, late = Node("w1", [(ANSWER, b"")]), Node("w2", [(b"", REFUSED), (b"", b""), (ANSWER, b"")])
    said = "kubernetes.default.svc.cluster.local is 10.96.0.1, asked from 2 hosts"
    assert (resolved(early, late), early.asked, late.asked) == (said, 1, 3)


@pytest.mark.parametrize(
    ("err", "why"),
    [
        (REFUSED, "w1: no rule for the Service 10.96.0.10 there: does its kube-proxy run?"),
        (b"", "w1: no answer within 3 s"),
    ],
    ids=["refused", "silence"],
)
def test_a_node_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch, err: bytes, why: str) -> None:
    monkeypatch.setattr("k8sha.components.checks._TRANSLATED", 0.0)
    with pytest.raises(NotReady) as caught:
        resolved(Node("w1", [(b"", err)]))
    assert why in str(caught.value)
