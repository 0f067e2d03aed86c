"""etcd inside a real control plane, mended: a member whose data is damaged or disowned, room given back, a full
database, and backups by the clock. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from k8sha import BackupSchedule, Cluster, ControlPlane, Host, KubeError, NotYet, VerifyError
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.archive import opened
from k8sha.etcd.fence import MANIFESTS
from k8sha.etcd.schedule import UNIT
from k8sha.etcd.views import View, read_views
from k8sha.events import Began, Event
from k8sha.waiting import Check, wait_for

from .conftest import whole

pytestmark = pytest.mark.timeout(600)

log = logging.getLogger(__name__)
CURL = Access(stacked=True).curl
SPACE = "/api/v1/namespaces/default/configmaps"
PIECE = 3_000_000


def do(host: Host, text: str, *, timeout: int = 120) -> str:
    exit, out, err = host.execute(text, timeout=timeout)
    assert exit == 0, err.decode(errors="replace")
    return out.decode()


@contextmanager
def timed(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    log.info("%s: %.1f s, load %.1f", name, time.monotonic() - began, os.getloadavg()[0])


def soon(sentence: str, holds: Callable[[], bool], *, within: float = 120) -> None:
    def look() -> str:
        if not holds():
            raise NotYet("it does not")
        return ""

    wait_for(Check(sentence, look), timeout=within, interval=1)


def view(plane: ControlPlane) -> View:
    return next(iter(plane.etcd.views().values()))


def leads(plane: ControlPlane) -> Host:
    seen = view(plane)
    name = next(member.name for member in seen.members if member.id == seen.leader)
    return next(host for host in plane.hosts if host.name == name)


def silent(plane: ControlPlane, host: Host) -> bool:
    try:
        plane.etcd.views()
    except NotYet as error:
        return host.name in str(error)
    return False


def note(plane: ControlPlane, name: str, size: int = 10) -> None:
    data = {"data": "x" * size}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}
    plane.api.apply(item)


@pytest.mark.parametrize("who", ["a follower", "the leader"])
def test_a_member_with_damaged_data_joins_anew(cluster: Cluster, plane: ControlPlane, who: str) -> None:
    lead = leads(plane)
    host = lead if who == "the leader" else next(each for each in plane.hosts if each != lead)
    note(plane, "before-the-damage")
    do(
        host,
        f"for at in 0 1 2 3 4 5 6 7; do dd if=/dev/urandom of={DATA}/member/snap/db bs=4096 count=1 seek=$at \\\n"
        "conv=notrunc status=none; done; for p in $(pgrep -x etcd); do kill -KILL $p; done",
    )
    soon("its member does not come back", lambda: silent(plane, host))
    with pytest.raises(VerifyError, match=host.name):
        cluster.verify()
    old = {member.name: member.id for member in view_of_another(plane, host).members}
    with timed(f"{who} with damaged data joined anew"):
        plane.etcd.rejoin(host)
    whole(cluster)
    assert not cluster.plan(), str(cluster.plan())
    new = {member.name: member.id for member in view(plane).members}
    assert {name for name in old if old[name] != new[name]} == {host.name}
    assert do(host, f"ls -d {DATA}/k8sha-kept-rejoined-*/member").strip()
    assert plane.api.get(f"{SPACE}/before-the-damage")["data"]["data"] == "x" * 10


def view_of_another(plane: ControlPlane, host: Host) -> View:
    found, _ = read_views([each for each in plane.hosts if each != host], plane.etcd.access)
    return next(iter(found.values()))


def test_a_member_that_the_others_call_corrupt_joins_anew(cluster: Cluster, plane: ControlPlane) -> None:
    """With that alarm etcd answers no client: no object is read or written until it is gone."""
    host = next(each for each in plane.hosts if each != leads(plane))
    own = next(member.id for member in view(plane).members if member.name == host.name)
    data = json.dumps({"action": "ACTIVATE", "memberID": own, "alarm": "CORRUPT"})
    do(host, f"{CURL} --fail-with-body https://127.0.0.1:2379/v3/maintenance/alarm -d '{data}'")
    with pytest.raises(VerifyError, match=f"{host.name} raised the alarm CORRUPT"):
        cluster.verify()
    with timed("a member with the alarm CORRUPT joined anew"):
        plane.etcd.rejoin(host)
    whole(cluster)
    note(plane, "after-the-alarm")


def test_room_is_given_back_by_one_after_the_other_and_the_leader_last(cluster: Cluster, plane: ControlPlane) -> None:
    for number in range(40):
        note(plane, "large", 500_000 + number)
    plane.api.delete(f"{SPACE}/large")
    revision = view(plane).revision
    compact = f"{CURL} --max-time 60 --fail-with-body https://127.0.0.1:2379/v3/kv/compaction -d "
    do(plane.hosts[0], compact + f'\'{{"revision":"{revision}","physical":true}}\'')
    lead, before = leads(plane), {name: one.db_size for name, one in plane.etcd.views().items()}
    order: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Began) and "defragmented" in event.resource:
            order.append(event.host)

    with timed("defragmented"):
        plane.etcd.defragment(listen)
    after = {name: one.db_size for name, one in plane.etcd.views().items()}
    log.info("database: %s -> %s", before, after)
    assert all(after[name] < before[name] - 10_000_000 for name in before), (before, after)
    assert len(order) == len(plane.hosts)
    assert order[-1] == lead.name
    whole(cluster)


def fill(plane: ControlPlane) -> None:
    for number in range(100):
        note(plane, "large", 500_000 + number)


def test_a_full_database_is_cured(cluster: Cluster, plane: ControlPlane) -> None:
    host = next(each for each in plane.hosts if each != leads(plane))
    plane.etcd.defragment()  # what earlier tests have left would look like a database that is nearly full
    quota = view(plane).db_size + 8_000_000
    manifest = f"{MANIFESTS}/etcd.yaml"
    edit = f"s|--quota-backend-bytes=.*|--quota-backend-bytes={quota}|"
    do(host, f"cp -p {manifest} /root/etcd.yaml; sed '{edit}' {manifest} >/root/etcd.new; mv /root/etcd.new {manifest}")
    running = "tr '\\0' ' ' </proc/$(pgrep -xo etcd)/cmdline || true"
    soon("etcd has the quota", lambda: f"quota-backend-bytes={quota}" in do(host, running))
    whole(plane.etcd)  # of the plane itself verify() tells that this quota is not what the settings say
    with pytest.raises(KubeError, match="database space exceeded"):
        fill(plane)
    with pytest.raises(VerifyError, match=f"{host.name} raised the alarm NOSPACE"):
        cluster.verify()
    with timed("a full database cured"):
        plane.etcd.disarm()
    note(plane, "after-it-was-full")
    do(host, f"mv /root/etcd.yaml {manifest}")
    soon("etcd has its own quota again", lambda: f"quota-backend-bytes={quota}" not in do(host, running))
    plane.api.delete(f"{SPACE}/large")
    whole(cluster)
    assert not cluster.plan(), str(cluster.plan())


def test_backups_by_the_clock(cluster: Cluster, plane: ControlPlane, tmp_path: Path) -> None:
    schedule = BackupSchedule(plane.etcd, every=timedelta(minutes=5), keep=2, jitter=timedelta(seconds=20))
    with timed("schedule installed, with a first backup of each member"):
        schedule.install()
    assert not schedule.plan(), str(schedule.plan())
    for checked in schedule.verify():
        log.info("%s: %s", checked.check, checked.detail)
    host = plane.hosts[0]

    def made() -> set[str]:
        return set(do(host, f"ls {schedule.folder}").split())

    first = made()
    note(plane, "by-the-clock")
    with timed("the timer made another one"):
        soon("the timer makes another one", lambda: any(name.endswith(".tar") for name in made() - first), within=400)
    for each in plane.hosts:
        newest = do(each, f"ls -t {schedule.folder}/*.tar | head -n 1").strip()
        copy = tmp_path / f"{each.name}.tar"
        size = int(do(each, f"stat -c %s {newest}"))
        with copy.open("wb") as file:  # in pieces: what a text prints is limited
            for at in range(0, size, PIECE):
                file.write(each.execute(f"tail -c +{at + 1} {newest} | head -c {PIECE}")[1])
        with opened(copy) as (descriptor, folder):
            assert descriptor.host == each.name
            assert (folder / "files/etc/kubernetes/pki/sa.key").is_file()
    metrics = f"{schedule.metrics}/{UNIT}.prom"
    assert "k8sha_etcd_backup_last_run_success 1" in do(host, f"su -s /bin/sh nobody -c 'cat {metrics}'")
    kept = made()
    do(host, f"mount -t tmpfs -o size=1M none {schedule.folder}")
    exit, _, _ = host.execute(f"systemctl start {UNIT}.service", timeout=300)
    do(host, f"umount {schedule.folder}")
    assert exit != 0
    with pytest.raises(VerifyError, match=f"{host.name}: the last run failed"):
        schedule.verify()
    told = do(host, f"cat {metrics}")
    assert "k8sha_etcd_backup_last_run_success 0" in told
    assert "k8sha_etcd_backup_last_success_timestamp_seconds 0" not in told
    assert made() == kept
    do(host, f"systemctl start {UNIT}.service", timeout=300)
    schedule.verify()
    do(host, f"systemctl stop {UNIT}.timer")
    with pytest.raises(VerifyError, match=f"{host.name}: the timer is inactive"):
        schedule.verify()
    schedule.install()
    schedule.verify()
    cluster.verify()
    for each in plane.hosts:
        do(each, f"systemctl disable --now --quiet {UNIT}.timer")
