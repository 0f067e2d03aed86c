"""A real control plane whose etcd is on hosts of its own: the lab's workers are the members, and nobody else works.

Needs a lab without another cluster in it. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.lab_cluster import external_etcd_cluster
from acceptance.vagrant import Lab
from k8sha import Bundle, Cluster, ControlPlane, EtcdCluster, Folder
from k8sha.kube import Json
from k8sha.report import Status

pytestmark = pytest.mark.timeout(900)

log = logging.getLogger(__name__)
CRT = "/etc/kubernetes/pki/apiserver-etcd-client.crt"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    bundle = Bundle.find()
    if bundle is None:
        pytest.skip("there is no bundle below /var/lib/k8sha/bundles")
    with external_etcd_cluster(lab, bundle, bundle.version) as found:
        report = found.install()
        log.info("install: %.1f s, %d trips", report.seconds, report.trips)
        yield found


@pytest.fixture(scope="module")
def plane(cluster: Cluster) -> ControlPlane:
    return cluster.of(ControlPlane)[0]


@pytest.fixture(scope="module")
def etcd(cluster: Cluster) -> EtcdCluster:
    return cluster.of(EtcdCluster)[0]


def config_map(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"name": name}}


def names(plane: ControlPlane) -> set[str]:
    return {str(item["metadata"]["name"]) for item in plane.api.get(MAPS)["items"]}


def test_it_is_whole_and_a_second_install_changes_nothing(cluster: Cluster) -> None:
    for checked in cluster.verify():
        log.info("%s: %s", checked.check, checked.detail)
    again = cluster.install()
    log.info("second install: %.1f s, %d trips", again.seconds, again.trips)
    assert [each for each in again.results if each.status is not Status.UNCHANGED] == []


def test_no_master_has_a_member_and_each_has_a_certificate_of_its_own(plane: ControlPlane) -> None:
    subjects = set()
    for host in plane.hosts:
        exit, out, err = host.read(f"ls /etc/kubernetes/manifests; openssl x509 -noout -subject -in {CRT}")[0]
        assert exit == 0, err
        assert b"etcd.yaml" not in out
        subjects.add(out.decode().splitlines()[-1])
    assert len(subjects) == len(plane.hosts)


def test_a_certificate_that_is_gone_is_made_again_and_nothing_is_restarted(
    cluster: Cluster, plane: ControlPlane
) -> None:
    host = plane.hosts[-1]
    pids = host.read("pgrep -x kube-apiserver")[0][1]
    host.execute(f"rm {CRT}")
    report = cluster.install()
    changed = {(each.host, each.resource) for each in report.results if each.status is Status.CHANGED}
    assert {name for name, resource in changed if resource == f"file {CRT}"} == {host.name}
    assert host.read("pgrep -x kube-apiserver")[0][1] == pids
    plane.verify()


def test_a_restore_and_its_undoing_take_the_api_servers_along(
    plane: ControlPlane, etcd: EtcdCluster, tmp_path: Path
) -> None:
    plane.api.request("POST", MAPS, body=config_map("before"))
    backup = plane.backup([Folder(tmp_path)])
    assert {"files/etc/kubernetes/pki/sa.key", "files/kubeadm-config.yaml"} <= set(backup.descriptor.files)
    assert (backup.notes, backup.descriptor.kubernetes) == ((), str(plane.version))
    plane.api.request("POST", MAPS, body=config_map("after"))
    began = time.monotonic()
    restored = plane.restore(backup)
    log.info("restore: answering after %.1f s, over after %.1f s", restored.answering, time.monotonic() - began)
    assert {"before"} <= names(plane)
    assert "after" not in names(plane)
    plane.verify()
    undone = plane.undo()
    log.info("undo: %.1f s", undone.seconds)
    assert {"before", "after"} <= names(plane)
    plane.verify()
    etcd.verify()


def test_it_is_diagnosed(cluster: Cluster, etcd: EtcdCluster) -> None:
    text = str(cluster.diagnose())
    for host in etcd.hosts:
        assert f"{host.name} (etcd): etcd 3." in text
    etcd.hosts[0].execute("systemctl stop etcd")
    try:
        assert f"{etcd.hosts[0].name}: its etcd member is dead" in str(cluster.diagnose())
    finally:
        etcd.hosts[0].execute("systemctl start etcd")
