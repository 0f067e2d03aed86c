"""What is asked for later, of a cluster that runs: another name for the API, another argument of its servers, settings
that stay as they are; certificates renewed; and a restore while machines are off, or blank. Figures are logged:
``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from acceptance.vagrant import Lab
from k8sha import (
    Cluster,
    ClusterSettings,
    ControlPlane,
    Folder,
    Host,
    LoadBalancer,
    PreflightError,
    VerifyError,
    Workers,
)
from k8sha.etcd.certificates import RENEWAL
from k8sha.kube import Json

from .conftest import whole

pytestmark = pytest.mark.timeout(600)

log = logging.getLogger(__name__)
NAME = "api.later.example"


def changed(cluster: Cluster, **settings: object) -> Cluster:
    """The module of the same cluster, with other settings of the cluster or (``kubelet``) of its nodes."""
    plain = cluster.of(ControlPlane)[0]
    if "kubelet" in settings:
        node = evolve(plain.settings, kubelet={**plain.settings.kubelet, **settings.pop("kubelet")})  # type: ignore[dict-item]
        plain = evolve(plain, settings=node)
    plane = evolve(plain, cluster=ClusterSettings(**settings))  # type: ignore[arg-type]
    made = []
    for part in cluster.components:
        if isinstance(part, ControlPlane):
            made.append(plane)
            continue
        if hasattr(part, "plane"):
            part = evolve(part, plane=plane)
        if hasattr(part, "workers"):
            part = evolve(part, workers=tuple(each for each in made if isinstance(each, Workers)))
        made.append(part)
    return Cluster(*made)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    log.info("%s: %.1f s, load %.1f", what, time.monotonic() - began, os.getloadavg()[0])


def shown(host: Host) -> str:
    return f"openssl s_client -connect {host.address}:6443 </dev/null 2>/dev/null"


def served(host: Host) -> str:
    return host.read(f"{shown(host)} | openssl x509 -noout -ext subjectAltName")[0][1].decode()


def test_another_name_and_another_argument_reach_every_master(cluster: Cluster, plane: ControlPlane) -> None:
    more = changed(cluster, extra_sans=(NAME,), api_server={"v": "1"}.items())
    with more:
        plan = more.plan()
        assert NAME in str(plan)
        assert "--v=1" in str(plan)
        with timed("another name and another argument, three masters"):
            more.install()
        assert not more.plan(), str(more.plan())
        whole(more)
    for host in plane.hosts:
        assert NAME in served(host)
        assert "--v=1" in host.read("cat /etc/kubernetes/manifests/kube-apiserver.yaml")[0][1].decode()
    with changed(cluster, extra_sans=(NAME,), api_server={"v": "1"}.items()) as again:
        assert again.install().changed == ()


def test_a_setting_that_stays_as_it_is_is_told(cluster: Cluster) -> None:
    """What kubeadm writes down once: the plan notes it, and verify() is not content."""
    with changed(cluster, extra_sans=(NAME,), api_server={"v": "1"}.items(), kubelet={"maxPods": 77}) as other:
        plan = other.plan()
        assert not plan.changes
        assert any("maxPods" in text and "77" in text for text in plan.warnings), plan.warnings
        with pytest.raises(VerifyError, match="maxPods"):
            other.verify()


def objects(plane: ControlPlane) -> set[str]:
    found: list[Json] = plane.api.get("/api/v1/namespaces/default/configmaps")["items"]
    return {item["metadata"]["name"] for item in found}


def write(plane: ControlPlane, name: str) -> None:
    plane.api.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"},
            "data": {"a": "b"},
        }
    )


def test_certificates_are_renewed_as_the_remedy_says(cluster: Cluster, plane: ControlPlane) -> None:
    """What verify() names when they are about to end, word by word: the cluster is whole after it."""
    host = plane.hosts[-1]
    ends = "openssl x509 -noout -enddate -in /etc/kubernetes/pki/apiserver.crt"
    before = host.read(ends)[0][1]
    command = RENEWAL.partition(": ")[2]
    with timed("certificates renewed"):
        exit, out, err = host.execute(command, timeout=120)
        assert exit == 0, (out, err)
        whole(cluster, within=180)
    assert host.read(ends)[0][1] != before
    assert host.read(f"{shown(host)} | openssl x509 -noout -enddate")[0][1] == host.read(ends)[0][1]
    assert not cluster.plan()


def test_a_dead_worker_does_not_hold_a_restore_up(
    cluster: Cluster, plane: ControlPlane, lab: Lab, tmp_path: Path
) -> None:
    """Its node is in the snapshot, and no kubelet answers for it: the result names it, and the rest is whole."""
    workers = cluster.of(Workers)[0].hosts
    dead = workers[-1]
    cluster.install()  # kubeadm's record has another name by now
    before, after = (f"{name}-{secrets.token_hex(4)}" for name in ("before", "after"))
    write(plane, before)
    backup = plane.backup([Folder(tmp_path)])
    write(plane, after)
    lab.power_off(dead.name)
    try:
        with timed("restore with a dead worker"):
            done = plane.restore(backup, workers=workers[:-1])
        plane.api.close()
        assert dead.name in done.absent
        assert dead.name in str(done)
        assert {before, after} & objects(plane) == {before}
        with timed("undo with a dead worker"):
            back = plane.undo(workers=workers[:-1])
        plane.api.close()
        assert dead.name in back.absent
        assert {before, after} <= objects(plane)
    finally:
        lab.power_on(dead.name)
    whole(cluster, within=300)
    plane.accept(workers=workers)


def test_a_master_that_is_off_is_left_out_of_a_restore(
    cluster: Cluster, plane: ControlPlane, lab: Lab, tmp_path: Path
) -> None:
    """It comes back blank and joins anew; the cluster is whole then."""
    workers = cluster.of(Workers)[0].hosts
    off = plane.hosts[-1]
    write(plane, "kept")
    backup = plane.backup([Folder(tmp_path)])
    lab.power_off(off.name)
    with timed("restore with a master off"):
        done = plane.restore(backup, workers=workers, powered_off=[off])
    plane.api.close()
    assert (done.left_out, off.name in done.absent) == ((off.name,), True)
    assert "kept" in objects(plane)
    lab.recreate(off.name)
    with timed("replaced by a blank machine"):
        plane.replace(off, off, balancers=cluster.of(LoadBalancer))
    cluster.install()  # the pod network of a machine that is new
    whole(cluster, within=300)
    assert not cluster.plan(), str(cluster.plan())


def test_two_machines_made_anew_are_left_out_of_a_restore_while_they_are_on(
    cluster: Cluster, plane: ControlPlane, lab: Lab, tmp_path: Path
) -> None:
    """The quorum is lost with two disks, and their machines are there again, blank, before anybody restores."""
    workers = cluster.of(Workers)[0].hosts
    blank = plane.hosts[1:]
    write(plane, "kept-twice")
    backup = plane.backup([Folder(tmp_path)])
    for host in blank:
        host.close()
        lab.recreate(host.name)
    plane.api.close()
    with pytest.raises(PreflightError, match="has no manifest of a control plane"):
        plane.restore(backup, workers=workers)
    with timed("restored on the only master that is left"):
        done = plane.restore(backup, workers=workers, powered_off=blank)
    plane.api.close()
    assert set(done.left_out) == {host.name for host in blank}
    assert "kept-twice" in objects(plane)
    with timed("both join anew"):
        cluster.install()
    whole(cluster, within=300)
    assert not cluster.plan(), str(cluster.plan())
    plane.accept(workers=workers)
