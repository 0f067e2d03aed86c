"""A real control plane whose etcd is on hosts of its own: the lab's workers are the members, and nobody else works.

Needs a lab without another cluster in it. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acceptance.lab_cluster import external_etcd_cluster
from acceptance.vagrant import Lab
from k8sha import Bundle, Cluster, ControlPlane, EtcdCluster, Folder, LoadBalancer, wait_for
from k8sha.etcd.views import LOCAL
from k8sha.kube import Json
from k8sha.policies import EncryptionAtRest
from k8sha.report import Status

from .conftest import whole, with_policies

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


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    log.info("%s: %.1f s, load %.1f", what, time.monotonic() - began, os.getloadavg()[0])


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


PLANTED = b"seen-by-nobody-in-etcd"


def stored(etcd: EtcdCluster) -> bytes:
    """The planted Secret as a member has it."""
    asked = json.dumps({"key": base64.b64encode(b"/registry/secrets/default/planted").decode()})
    exit, out, err = etcd.hosts[0].execute(f"{etcd.access.curl} {LOCAL}/v3/kv/range -d '{asked}'")
    assert exit == 0, err
    return base64.b64decode(json.loads(out)["kvs"][0]["value"])


@pytest.mark.timeout(1800, func_only=True)
def test_secrets_are_encrypted_and_in_the_clear_again(cluster: Cluster, etcd: EtcdCluster) -> None:
    """verify() reads the value from a member that answers, with the certificate that the API server has."""
    meta = {"name": "planted", "namespace": "default"}
    secret: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"value": PLANTED.decode()}}
    cluster.of(ControlPlane)[0].api.apply(secret)
    assert PLANTED in stored(etcd)
    policy = EncryptionAtRest()
    with with_policies(cluster, policy) as encrypted:
        with timed("encrypted"):
            encrypted.install()
        assert stored(etcd).startswith(b"k8s:enc:secretbox:v1:")
        assert PLANTED not in stored(etcd)
        assert not encrypted.plan().changes
        etcd.hosts[1].execute("systemctl stop etcd")
        try:
            (proof,) = policy.checks(encrypted.of(ControlPlane)[0])
            log.info("a member down: %s: %s", proof.sentence, wait_for(proof, timeout=60))
        finally:
            etcd.hosts[1].execute("systemctl start etcd")
        whole(encrypted)
    with with_policies(cluster, EncryptionAtRest(provider="identity")) as decrypted, timed("decrypted"):
        decrypted.install()
    assert PLANTED in stored(etcd)
    cluster.install()
    assert not cluster.plan().changes


def test_a_master_is_replaced_by_a_blank_machine(lab: Lab, cluster: Cluster) -> None:
    """The first one: no member comes or goes with it."""
    (plane,) = cluster.of(ControlPlane)
    first = plane.hosts[0]
    first.close()
    lab.recreate(first.name)
    with timed("replaced"):
        plane.replace(first, first, balancers=cluster.of(LoadBalancer))
        cluster.install()
    assert not cluster.plan().changes
    whole(cluster)
