"""What must not be taken for a blank host, on a real cluster: a master that a restore has fenced, one that a rejoin has
left stopped, and one that lacks a file. All are told, as often as an install is tried, and nothing is done to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k8sha import Cluster, ControlPlane, Host, PreflightError
from k8sha.etcd.fence import FENCED, Fenced, StaticPods
from k8sha.etcd.record import OPEN
from k8sha.etcd.rejoin import PodStopped

from .conftest import whole

pytestmark = pytest.mark.timeout(600)

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def do(host: Host, text: str) -> str:
    exit, out, err = host.execute(text, timeout=120)
    assert exit == 0, err.decode(errors="replace")
    return out.decode()


def members(plane: ControlPlane) -> set[str]:
    """The ids of etcd's members, as one of them tells."""
    views = plane.etcd.views()
    return {member.id for view in views.values() for member in view.members}


def recipe(heading: str) -> list[str]:
    """The shell that a chapter of the documentation shows, block by block."""
    page = (Path(__file__).parents[2] / "docs" / "diagnose.md").read_text()
    chapter = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)


@contextmanager
def refused(verb: Callable[[], object], said: str) -> Iterator[None]:
    """Twice: what a first run left behind must not make the second one bolder."""
    for _ in range(2):
        with pytest.raises(PreflightError, match=said):
            verb()
    yield


def test_a_restore_that_is_half_way(cluster: Cluster, plane: ControlPlane) -> None:
    """Its master is stopped, its manifests are away: to kubeadm it looks like one that was never finished."""
    host = plane.hosts[-1]
    data = do(host, "stat -c %i /var/lib/etcd/member")
    do(host, Fenced().apply())
    try:
        with refused(cluster.install, f"{host}: a restore of etcd is half-way"):
            assert do(host, f"stat -c %i /var/lib/etcd/member; ls {FENCED} | wc -l").split() == [data.strip(), "4"]
        with pytest.raises(PreflightError, match=f"{host}: is a node, and files of its control plane are missing"):
            cluster.plan()
    finally:
        do(host, f"{StaticPods(PARTS).apply()}\nrm -rf {OPEN}")
    whole(cluster)
    assert not cluster.plan()


def test_a_rejoin_that_was_cut_off(cluster: Cluster, plane: ControlPlane) -> None:
    """No restore is open, so none may be named that could be taken back: the same rejoin ends it."""
    host = plane.hosts[-1]
    do(host, PodStopped("rejoined-cut").apply())
    try:
        with refused(cluster.install, rf"{host}: etcd is stopped here, by a rejoin.*plane\.etcd\.rejoin\({host}\)"):
            assert do(host, f"ls {FENCED}").split() == ["etcd.yaml"]
    finally:
        plane.etcd.rejoin(host)
        do(host, "rm -rf /var/lib/etcd/k8sha-kept-rejoined-cut")
    whole(cluster)
    assert not cluster.plan()


def test_a_master_that_lacks_a_file(cluster: Cluster, plane: ControlPlane) -> None:
    """kubeadm makes it anew where it is, as the documentation says, and the master was a member all the while."""
    host, other = plane.hosts[-1], plane.hosts[0]
    before = members(plane)
    do(host, "rm /etc/kubernetes/admin.conf /etc/kubernetes/manifests/kube-scheduler.yaml")
    for verb in (cluster.plan, cluster.install):
        with refused(verb, r"missing: /etc/kubernetes/admin\.conf, /etc/kubernetes/manifests/kube-scheduler\.yaml"):
            assert members(plane) == before
    record, made, phases = recipe("Files of a master that are missing")
    do(other, record)
    do(host, f"cat >/run/kubeadm-record.yaml <<'END'\n{do(other, 'cat /run/kubeadm-record.yaml')}\nEND")
    do(host, made.replace("ADDRESS=192.168.56.12 ", f"ADDRESS={host.address} "))
    do(host, "\n".join(line for line in phases.splitlines() if " etcd " not in line))  # that manifest is there
    do(other, "rm /run/kubeadm-record.yaml")
    whole(cluster)
    assert not cluster.plan()
    assert members(plane) == before
