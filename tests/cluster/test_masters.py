"""Masters exchanged, added and taken away, on a real cluster with etcd inside: three become five, one, and three again.

One story: two of the topology's workers are made anew and become masters, another stays a worker, and a master that was
removed comes back. Each part ends with verify(), an empty plan, and an object that was written at the beginning.
Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from attrs import define

from acceptance.lab_cluster import lab_balancers, lab_hosts, lab_settings
from acceptance.vagrant import Lab
from k8sha import Bundle, Cluster, ControlPlane, Host, LoadBalancer, PreflightError, Workers
from k8sha.addons import HostRoutes
from k8sha.kube import Json

from .conftest import whole

pytestmark = pytest.mark.timeout(900)

log = logging.getLogger(__name__)
NOTE: Json = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "written-by-the-first", "namespace": "default"},
    "data": {"was": "here"},
}


@define
class Story:
    """The machines, and who of them is a master now. Mutable: that is what the story is about."""

    lab: Lab
    bundle: Bundle
    masters: list[str]
    worker: str

    def cluster(self) -> Cluster:
        """The module as its user would write it now."""
        masters = self.hosts(self.masters)
        lb = lab_balancers(self.lab, masters)
        plane = ControlPlane(
            hosts=masters,
            endpoint=lb.endpoint,
            version=self.bundle.version,
            source=self.bundle,
            settings=lab_settings(self.lab),
        )
        workers = Workers(hosts=self.hosts([self.worker]), plane=plane)
        return Cluster(lb, plane, workers, HostRoutes(plane, workers))

    def hosts(self, names: Iterable[str]) -> tuple[Host, ...]:
        return lab_hosts(self.lab, tuple(self.lab.topology[name] for name in names))

    def host(self, name: str) -> Host:
        (found,) = self.hosts([name])
        return found


@pytest.fixture(scope="module")
def story(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Story]:
    bundle = Bundle.find()
    workers = lab.topology.workers
    if bundle is None:
        pytest.skip("there is no bundle below /var/lib/k8sha/bundles: masters need Kubernetes")
    if len(lab.topology.masters) != 3 or len(workers) < 3:
        pytest.skip("needs three masters and three workers, of which two become masters")
    found = Story(lab, bundle, [machine.name for machine in lab.topology.masters], workers[0].name)
    for machine in workers[1:]:
        lab.recreate(machine.name)
    yield found
    if request.session.items[-1].path != request.path:  # its machines are not what the topology calls them any more
        lab.destroy()
        lab.up()


@contextmanager
def part(story: Story, name: str) -> Iterator[None]:
    """A part of the story, timed; afterwards the cluster is whole, and is what its module says."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    cluster = story.cluster()
    with cluster:
        whole(cluster)
        assert not cluster.plan(), str(cluster.plan())
        (plane,) = cluster.of(ControlPlane)
        kept = plane.api.get("/api/v1/namespaces/default/configmaps/written-by-the-first")
        assert kept["data"] == NOTE["data"]
        nodes = {node["metadata"]["name"] for node in plane.api.get("/api/v1/nodes")["items"]}
        assert nodes == {*story.masters, story.worker}
        views = plane.etcd.views().values()
        assert all({member.name for member in view.voters} == set(story.masters) for view in views)
    log.info("%s: %.1f s, load %.1f", name, took, os.getloadavg()[0])


def leader(plane: ControlPlane) -> str:
    view = next(iter(plane.etcd.views().values()))
    return next(member.name for member in view.members if member.id == view.leader)


def remove(story: Story, names: Sequence[str], *, powered_off: bool = False) -> None:
    """These leave; then the module lists the rest, and what follows nodes follows."""
    cluster = story.cluster()
    (plane,) = cluster.of(ControlPlane)
    with cluster:
        plane.remove(*story.hosts(names), balancers=cluster.of(LoadBalancer), powered_off=powered_off)
    story.masters = [name for name in story.masters if name not in names]
    with story.cluster() as after:
        after.install()


def test_three_masters(story: Story) -> None:
    with part(story, "installed"), story.cluster() as cluster:
        cluster.install()
        api = cluster.of(ControlPlane)[0].api
        for machine in story.lab.topology.workers[1:]:  # which other tests may have had in their cluster
            api.delete(f"/api/v1/nodes/{machine.name}")
        cluster.install()
        api.apply(NOTE)


def test_a_dead_one_is_replaced_by_another_name_and_address(story: Story) -> None:
    dead, new = story.masters[0], story.lab.topology.workers[1].name
    cluster = story.cluster()
    (plane,) = cluster.of(ControlPlane)
    story.lab.power_off(dead)
    with part(story, "a dead first master replaced by another machine"), cluster:
        balancers = cluster.of(LoadBalancer)
        with pytest.raises(PreflightError, match="powered_off=True"):
            plane.replace(story.host(dead), story.host(new), balancers=balancers)
        plane.replace(story.host(dead), story.host(new), balancers=balancers, powered_off=True)
        story.masters[0] = new
        with story.cluster() as after:
            after.install()
    story.lab.recreate(dead)


def test_three_become_five(story: Story) -> None:
    blank = story.lab.topology.masters[0].name
    story.masters += [blank, story.lab.topology.workers[2].name]
    with part(story, "3 -> 5 masters"), story.cluster() as cluster:
        cluster.install()


def test_five_become_three_and_the_leader_is_among_those_that_go(story: Story) -> None:
    with story.cluster() as cluster:
        first = leader(cluster.of(ControlPlane)[0])
    gone = [first, next(name for name in story.masters if name != first)]
    with part(story, f"5 -> 3 masters, without the leader {first}"):
        remove(story, gone)
    for name in gone:
        host = story.host(name)
        exit, out, _ = host.execute("ls -d /var/lib/etcd/k8sha-kept-replaced-*/member; pgrep -x etcd || echo none")
        assert exit == 0
        assert out.endswith(b"none\n"), out
        host.close()


def test_one_that_was_removed_comes_back_once_it_is_wiped_as_told(story: Story) -> None:
    """In place of one that is alive. As it was left it is refused, before anybody has gone."""
    gone = story.masters[-1]
    machines = [machine.name for machine in story.lab.topology.machines if machine.role != "balancer"]
    back = next(name for name in machines if name not in (*story.masters, story.worker))
    cluster, host = story.cluster(), story.host(back)
    (plane,) = cluster.of(ControlPlane)
    with part(story, f"{back}, which was removed, in place of {gone}"), cluster:
        balancers = cluster.of(LoadBalancer)
        with pytest.raises(PreflightError, match=f"{back}: is a node already, or was one") as refused:
            plane.replace(story.host(gone), host, balancers=balancers)
        exit, _, err = host.execute(refused.value.problems[0].remedy.partition("run there: ")[2], timeout=120)
        assert exit == 0, err.decode(errors="replace")
        plane.replace(story.host(gone), host, balancers=balancers)
        story.masters[-1] = back
        with story.cluster() as after:
            after.install()


def test_three_become_one_of_a_dead_one_and_the_leader(story: Story) -> None:
    """The dead one must go first, and the leader of two must hand over: the last one could not go on otherwise."""
    with story.cluster() as cluster:
        first = leader(cluster.of(ControlPlane)[0])
    dead = next(name for name in story.masters if name != first)
    story.lab.power_off(dead)
    with part(story, f"3 -> 1 masters, {dead} dead, {first} the leader"):
        remove(story, [dead, first], powered_off=True)


def test_one_becomes_three(story: Story) -> None:
    gone = [machine.name for machine in story.lab.topology.machines if machine.role != "balancer"]
    free = [name for name in gone if name not in (*story.masters, story.worker)]
    story.masters += free[:2]
    for name in free[:2]:
        story.lab.recreate(name)
    with part(story, "1 -> 3 masters"), story.cluster() as cluster:
        cluster.install()
