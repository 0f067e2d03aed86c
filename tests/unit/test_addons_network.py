"""The proof of a pod network, where its pods do not come up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from k8sha import Host, NotReady
from k8sha.addons.network import network_checks


@define
class Server:
    """Gives every pod the same status. ``left`` are namespaces that are there before."""

    status: dict[str, Any]
    pods: list[str] = field(factory=list)
    specs: list[dict[str, Any]] = field(factory=list)
    deleted: list[str] = field(factory=list)
    left: list[dict[str, Any]] = field(factory=list)

    def request(self, verb: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/pods"):
            self.pods.append(body["metadata"]["name"])
            self.specs.append(body["spec"])
        return body | {"metadata": body["metadata"] | {"creationTimestamp": "2026-11-23T21:00:00Z"}}

    def get(self, path: str, labelSelector: str = "") -> dict[str, Any]:
        if path == "/api/v1/namespaces":
            assert labelSelector == "app.kubernetes.io/managed-by=k8sha"
            return {"items": self.left}
        return {"items": [{"metadata": {"name": name}, "status": self.status} for name in self.pods]}

    def delete(self, path: str) -> None:
        self.deleted.append(path)


def proved(server: Server) -> str:
    source = SimpleNamespace(pause_image=lambda version: "pause:3.10")
    plane: Any = SimpleNamespace(api=server, source=source, version="1.33.13")
    (check,) = network_checks(plane, [Host("worker-1", "192.168.56.20"), Host("worker-2", "192.168.56.21")])
    return check.look()


ENDED = {"phase": "Failed"}


def namespace(name: str, made: str, **more: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": made, **more}}


def test_what_killed_proofs_have_left_is_taken_away() -> None:
    """Each stayed for ever, with a pod on every node. One that may be at work is left alone, and so is what is not
    a proof's."""
    server = Server(
        ENDED,
        left=[
            namespace("k8sha-verify-0001", "2026-11-23T20:44:59Z"),
            namespace("k8sha-verify-0002", "2026-11-23T20:45:01Z"),
            namespace("k8sha-verify-0003", "2026-11-22T21:00:00Z", deletionTimestamp="2026-11-23T20:59:00Z"),
            namespace("k8sha-sample", "2026-11-22T21:00:00Z"),
        ],
    )
    with pytest.raises(NotReady):
        proved(server)
    assert server.deleted[0] == "/api/v1/namespaces/k8sha-verify-0001"
    assert len(server.deleted) == 2, "and its own"


def test_its_pods_are_admitted_wherever_restricted_is_enforced() -> None:
    """``verify`` failed on a cluster with PodSecurityDefaults(enforce="restricted")."""
    server = Server(ENDED)
    with pytest.raises(NotReady):
        proved(server)
    for spec in server.specs:
        assert spec["securityContext"] | {"runAsUser": 1} == {
            "runAsNonRoot": True,
            "runAsUser": 1,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_pod_that_was_put_out_is_not_waited_for() -> None:
    """The kubelet's word is told: "no pod runs yet", after a minute, hid a disk that was nearly full."""
    said = "The node was low on resource: ephemeral-storage."
    server = Server({"phase": "Failed", "reason": "Evicted", "message": said})
    with pytest.raises(NotReady) as caught:
        proved(server)
    assert f"worker-1: Evicted: {said}; worker-2: Evicted" in str(caught.value)
    assert len(server.deleted) == 1
