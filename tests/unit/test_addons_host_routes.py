"""The stages of HostRoutes: what they wait for, and what a plan can say of nodes that have no pod range yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from k8sha import ControlPlane, Endpoint, Host, KubeError, NotReady, Upstream, Workers
from k8sha.addons import HostRoutes
from k8sha.addons.host_routes import CNI_CONFIG, ROUTES, PodRange
from k8sha.events import ignore
from k8sha.hosts.program import End, Frame, Program, Saw
from k8sha.kube import Api, Json
from k8sha.report import Outcome
from k8sha.resources.files import File
from k8sha.resources.resource import KnownAfter
from k8sha.stage import Stage, Step

from .fake import Fake

RANGES = {"master-1": "10.244.0.0/24", "worker-1": "10.244.1.0/24", "worker-2": "10.244.2.0/24"}
DELETED = json.dumps({"kind": "Status", "code": 404, "message": "not found"})


class Server(Api):
    """An API server that has these nodes, with these pod ranges."""

    ranges: Any

    def nodes(self) -> dict[str, Json]:
        if isinstance(self.ranges, KubeError):
            raise self.ranges
        return {
            name: {"kind": "Node", "spec": {"podCIDR": given} if given else {}} for name, given in self.ranges.items()
        }


def answer(program: Program) -> Iterator[Frame]:
    """A host whose node was deleted."""
    yield Saw(tuple((0, DELETED.encode(), b"") for _ in program.probes))
    yield End()


def routes(ranges: Any) -> HostRoutes:
    ssh = Fake(answer)
    masters = [Host("master-1", "192.168.56.10", ssh=ssh)]
    endpoint = Endpoint("192.168.56.100")
    plane = ControlPlane(hosts=masters, endpoint=endpoint, version="1.33.13", source=Upstream())
    server = Server(lambda: "", endpoint)
    server.ranges = ranges
    plane._seen.api = server
    workers = [Host(f"worker-{number}", f"192.168.56.{19 + number}", ssh=ssh) for number in (1, 2)]
    return HostRoutes(plane, Workers(hosts=workers, plane=plane))


def stages(net: HostRoutes, said: str = "") -> list[Stage]:
    """All stages, where every wait was told this."""
    steps, found = net.stages(), []
    try:
        step: Step = next(steps)
        while True:
            assert isinstance(step, Stage)
            found.append(step)
            seen = [(host.name, resource.key, said.encode()) for host, work in step.work.items() for resource in work]
            step = steps.send(Outcome(tuple(seen)))
    except StopIteration:
        return found


def unknown(stage: Stage) -> set[tuple[str, str]]:
    """Hosts and files of which a plan can't say yet what will be in them."""
    return {
        (host.name, item.path)
        for host, work in stage.work.items()
        for item in work
        if isinstance(item, File) and isinstance(item.content, KnownAfter)
    }


def test_where_every_node_has_its_range_nothing_is_waited_for() -> None:
    (stage,) = stages(routes(RANGES))
    assert unknown(stage) == set()


@pytest.mark.parametrize("left", [{}, {"worker-2": ""}], ids=["no such node", "no range yet"])
def test_a_plan_with_a_new_worker_shows_no_change_of_what_stays(left: dict[str, str]) -> None:
    """It showed the network's configuration of every node as one that changes."""
    there = {name: given for name, given in RANGES.items() if name != "worker-2"}
    wait, stage = stages(routes(there | left), "it has not joined yet")
    assert [host.name for host in wait.work] == ["worker-2"]
    assert unknown(stage) == {("worker-2", CNI_CONFIG), ("master-1", ROUTES), ("worker-1", ROUTES)}


def test_an_install_goes_on_with_the_range_that_was_waited_for() -> None:
    there = {name: given for name, given in RANGES.items() if name != "worker-2"}
    node = {"kind": "Node", "spec": {"podCIDR": RANGES["worker-2"]}}
    _, stage = stages(routes(there | {"worker-2": ""}), json.dumps(node))
    assert list(stage.work.values()) == list(stages(routes(RANGES))[0].work.values())


def test_where_there_is_no_cluster_every_node_is_waited_for() -> None:
    away = KubeError("read", "admin.conf", 0, "none has one: the cluster is not installed yet")
    wait, stage = stages(routes(away), "it has not joined yet")
    assert {host.name for host in wait.work} == set(RANGES)
    assert len(unknown(stage)) == 6


def test_an_install_says_which_node_is_missing_and_what_brings_it_back() -> None:
    """A node that was deleted ended every install with a TypeError: its files say that it has joined."""
    there = {name: given for name, given in RANGES.items() if name != "worker-1"}
    wait = next(routes(there).stages())
    assert isinstance(wait, Stage)
    at_once = {
        host: tuple(evolve(item, patience=0) for item in work if isinstance(item, PodRange))
        for host, work in wait.work.items()
    }
    with pytest.raises(NotReady, match=r"worker-1 is not a node: .* systemctl restart kubelet"):
        Stage(wait.name, at_once).install("HostRoutes", ignore)
