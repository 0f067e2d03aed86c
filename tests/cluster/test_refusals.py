"""What must not be taken for a blank host, on a real cluster: a master that a restore has fenced, and one that lacks a
file. Both are told, as often as an install is tried, and their member of etcd stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from k8sha import Cluster, ControlPlane, Host, PreflightError
from k8sha.etcd.fence import FENCED, Fenced, StaticPods
from k8sha.etcd.record import OPEN

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


def test_a_master_that_lacks_a_file(cluster: Cluster, plane: ControlPlane) -> None:
    """kubeadm makes it anew where it is, as the documentation says, and the master was a member all the while."""
    host, other = plane.hosts[-1], plane.hosts[0]
    before = members(plane)
    record = do(
        other,
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config "
        "-o 'jsonpath={.data.ClusterConfiguration}'",
    )
    init = f"localAPIEndpoint: {{advertiseAddress: {host.address}}}\nkind: InitConfiguration"
    do(host, "rm /etc/kubernetes/admin.conf /etc/kubernetes/manifests/kube-scheduler.yaml")
    for verb in (cluster.plan, cluster.install):
        with refused(verb, r"missing: /etc/kubernetes/admin\.conf, /etc/kubernetes/manifests/kube-scheduler\.yaml"):
            assert members(plane) == before
    do(
        host,
        f"""\
cat >/run/cluster.yaml <<'END'
apiVersion: kubeadm.k8s.io/v1beta4
{init}
---
{record}
END
kubeadm init phase kubeconfig admin --config /run/cluster.yaml
kubeadm init phase control-plane scheduler --config /run/cluster.yaml
rm /run/cluster.yaml""",
    )
    whole(cluster)
    assert not cluster.plan()
    assert members(plane) == before
