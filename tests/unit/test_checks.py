"""What a ``verify`` of a control plane sees of static pods."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from k8sha import Host, NotReady
from k8sha.components.checks import _static_pods
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
