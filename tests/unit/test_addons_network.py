"""The proof of a pod network, where its pods do not come up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from k8sha import Host, NotReady
from k8sha.addons.network import network_checks
from k8sha.versions import Version


@define
class Server:
    """Gives every pod the same status."""

    status: dict[str, Any]
    pods: list[str] = field(factory=list)
    deleted: list[str] = field(factory=list)

    def request(self, verb: str, path: str, body: dict[str, Any]) -> None:
        if path.endswith("/pods"):
            self.pods.append(body["metadata"]["name"])

    def get(self, path: str) -> dict[str, Any]:
        return {"items": [{"metadata": {"name": name}, "status": self.status} for name in self.pods]}

    def delete(self, path: str) -> None:
        self.deleted.append(path)


def test_a_pod_that_was_put_out_is_not_waited_for() -> None:
    """The kubelet's word is told: "no pod runs yet", after a minute, hid a disk that was nearly full."""
    said = "The node was low on resource: ephemeral-storage."
    server = Server({"phase": "Failed", "reason": "Evicted", "message": said})
    source = SimpleNamespace(pause_image=lambda version: "pause:3.10")
    plane: Any = SimpleNamespace(api=server, source=source, version=Version.parse("1.33.13"))
    (check,) = network_checks(plane, [Host("worker-1", "192.168.56.20"), Host("worker-2", "192.168.56.21")])
    with pytest.raises(NotReady) as caught:
        check.look()
    assert f"worker-1: Evicted: {said}; worker-2: Evicted" in str(caught.value)
    assert len(server.deleted) == 1
