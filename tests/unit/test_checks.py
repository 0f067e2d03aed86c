"""What a ``verify`` of a control plane sees of nodes, API servers, certificates and DNS, and what it waits for."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from k8sha import ControlPlane, Endpoint, Host, NotReady, Upstream, Workers
from k8sha.components.checks import _certificates, _dns, _names, _readyz, _static_pods, nodes_ready
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


def node(version: str = "v1.33.13", *conditions: dict[str, str]) -> dict[str, Any]:
    return {"status": {"nodeInfo": {"kubeletVersion": version}, "conditions": list(conditions)}}


IS_READY = {"type": "Ready", "status": "True", "message": "kubelet is posting ready status"}
IS_NOT = {"type": "Ready", "status": "False", "message": "container runtime network not ready"}


@define
class Nodes:
    found: dict[str, dict[str, Any]]

    def nodes(self) -> dict[str, dict[str, Any]]:
        return self.found


@pytest.mark.parametrize(
    ("m2", "said"),
    [
        (node("v1.33.13", IS_READY), ""),
        (None, "m2 is not a node"),
        (node("v1.32.0", IS_READY), "m2 runs v1.32.0"),
        (node("v1.33.13", IS_NOT), "m2 is not Ready: container runtime network not ready"),
        (node("v1.33.13", {"type": "MemoryPressure", "status": "True"}), "m2 is not Ready: no condition"),
        (node("v1.32.0", IS_NOT), "m2 runs v1.32.0; m2 is not Ready: container runtime network not ready"),
    ],
    ids=["ready", "no node", "another version", "not ready", "says nothing yet", "both"],
)
def test_a_node_that_is_not_as_it_shall_be_is_named(m2: dict[str, Any] | None, said: str) -> None:
    api: Any = Nodes({"m1": node("v1.33.13", IS_READY)} | ({"m2": m2} if m2 else {}))
    if not said:
        assert nodes_ready(api, HOSTS, "v1.33.13") == "2 nodes"
        return
    with pytest.raises(NotYet) as caught:
        nodes_ready(api, HOSTS, "v1.33.13")
    assert str(caught.value) == said


@define(eq=False)
class Said:
    """A host that answers whatever it is asked."""

    name: str
    exit: int
    out: bytes
    err: bytes = b""
    address: str = "192.168.56.10"
    asked: list[str] = field(factory=list)

    def read(self, *scripts: str) -> tuple[tuple[int, bytes, bytes], ...]:
        self.asked += scripts
        return ((self.exit, self.out, self.err),)


PASSED = b"[+]ping ok\n[+]etcd ok\nreadyz check passed\n"


def test_an_api_server_that_is_ready_says_of_how_much() -> None:
    host: Any = Said("m1", 0, PASSED)
    assert _readyz(host, "fd00::10", 6443) == "2 parts ready"
    assert "--server=https://[fd00::10]:6443 --tls-server-name=kubernetes" in host.asked[0]


@pytest.mark.parametrize(
    ("exit", "out", "err", "said"),
    [
        (1, b"[+]ping ok\n[-]etcd failed: reason withheld\n", b"Error", "[-]etcd failed: reason withheld"),
        (0, b"[-]informer-sync failed\nreadyz check passed\n", b"", "[-]informer-sync failed"),
        (1, b"", b"Unable to connect: x509: certificate is valid for kubernetes, not api", "certificate is valid for"),
        (0, b"<html>a proxy answers</html>", b"", "exit 0"),
        (124, b"", b"", "exit 124"),
    ],
)
def test_one_that_is_not_says_what_is_missing(exit: int, out: bytes, err: bytes, said: str) -> None:
    host: Any = Said("m1", exit, out, err)
    with pytest.raises(NotYet) as caught:
        _readyz(host, "192.168.56.10", 6443)
    assert said in str(caught.value)


def ends(days: float, path: str = "/etc/kubernetes/pki/apiserver.crt") -> bytes:
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return f"{when.timestamp():.0f} {path}\n".encode()


def test_certificates_that_last_say_how_long() -> None:
    hosts: Any = [Said("m1", 0, ends(364) + ends(40.01)), Said("w1", 0, ends(90))]
    assert _certificates(hosts) == "the first ends in 40 days"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (Said("w1", 0, ends(364) + ends(29.4, "/x/kubelet.pem")), "w1:/x/kubelet.pem ends in 29 days"),
        (Said("w1", 0, ends(-2)), "w1:/etc/kubernetes/pki/apiserver.crt ends in -2 days"),
        (Said("w1", 1, b"", b"Could not read certificate from /x"), "w1: Could not read certificate from /x"),
        (Said("w1", 0, b""), "w1: no certificate is there"),
    ],
    ids=["soon", "over", "unreadable", "none"],
)
def test_one_that_ends_or_can_not_be_read_is_named(second: Any, said: str) -> None:
    first: Any = Said("m1", 0, ends(364))
    with pytest.raises(NotYet) as caught:
        _certificates([first, second])
    assert str(caught.value) == said


SHOWN = (Path(__file__).with_name("cases") / "api-server-names-shown.txt").read_text().partition("Verify")[0].encode()


def plane(*hosts: Any) -> ControlPlane:
    return ControlPlane(hosts=hosts, endpoint=Endpoint("192.168.56.100"), version="1.33.13", source=Upstream())


def test_a_name_that_an_api_server_does_not_show_is_told() -> None:
    """It was asked as ``kubernetes`` alone, which is in every certificate: a kubectl that used the name failed."""
    assert _names(plane(Said("master-1", 0, SHOWN))) == "asked of 1 API servers"
    with pytest.raises(NotYet, match=r"^other: \+ other$"):
        _names(plane(Said("other", 0, SHOWN)))
    with pytest.raises(NotYet, match=r"^master-1: shows no certificate: connect: Connection refused$"):
        _names(plane(Said("master-1", 0, b"connect: Connection refused")))


def test_verify_asks_the_endpoint_by_its_own_name_and_workers_for_their_certificates() -> None:
    asked: Any = Said("master-1", 0, PASSED)
    (look,) = [each.look for each in plane(asked).checks() if each.sentence.startswith("an API server answers through")]
    look()
    assert "--tls-server-name=192.168.56.100" in asked.asked[-1]
    worker: Any = Said("worker-1", 0, ends(5), address="192.168.56.20")
    workers = Workers(hosts=[worker], plane=plane(asked))
    (look,) = [each.look for each in workers.checks() if "ends within" in each.sentence]
    with pytest.raises(NotYet, match=r"worker-1:/etc/kubernetes/pki/apiserver.crt ends in"):
        look()
