"""etcd on its own hosts, where there is no Kubernetes: backed up, restored after its quorum was lost, a member
exchanged; with a client that writes to it. What Kubernetes' own etcd goes through is told by the other tests."""

from __future__ import annotations

import time
from pathlib import Path

from k8sha import EtcdCluster, Host
from k8sha.etcd.access import DATA
from k8sha.etcd.destinations import Folder

from . import invariants
from .history import stall
from .lab_cluster import lab_hosts
from .report import seconds, span
from .session import Broken, Session
from .subject import part
from .test_install import Record
from .vagrant import Lab


def _etcd(session: Session, title: str) -> tuple[Lab, EtcdCluster]:
    """The etcd, where it is one on its own hosts, in a lab: its data are destroyed on purpose."""
    etcd = part(session.subject.cluster, EtcdCluster)
    if session.lab is None or etcd is None or etcd.stacked:
        session.skip(title, "needs the lab without Kubernetes, and etcd on its own hosts")
    assert session.lab is not None
    assert etcd is not None
    return session.lab, etcd


def test_etcd_restored(healthy: Session, tmp_path: Path, record_property: Record) -> None:
    """A backup is taken under a client's writes, two of three members lose their disks, and the backup is restored."""
    title = "etcd's quorum lost and restored"
    _, etcd = _etcd(healthy, title)
    promise = "a backup that is proven, every key of it back after two disks were lost, and what is lost is told"
    with healthy.step("etcd-restored", title, promise) as step:
        with healthy.workload("kept") as client, healthy.tell.progress() as progress:
            client.settle(client.now(), least=2)
            begin, kept = client.now(), client.acknowledged(before=client.now())
            backup = etcd.backup([Folder(tmp_path)], listen=progress)
            took = client.now() - begin
            later = client.now()
            client.settle(later, least=2)
            gone = client.acknowledged(before=client.now()) - client.acknowledged(before=later)
            waited = stall(client.history().writes, begin, later)
            prefix = client.target.prefix
        for host in etcd.hosts[1:]:
            _lose(host)
        with healthy.tell.progress() as progress:
            restored = etcd.restore(backup, listen=progress)
        found = invariants.keys(etcd, prefix)
        step.figures += [
            ("backup, taken and proven", span(took)),
            ("writes stalled meanwhile", seconds(waited)),
            ("keys in it", str(backup.descriptor.keys)),
            ("restored, from the call to an answer", span(restored.answering)),
            ("told as lost", f"{restored.lost} revisions"),
            ("revision", f"{restored.reached} -> {restored.revision}"),
        ]
        record_property("backup_seconds", round(took, 2))
        record_property("restore_seconds", round(restored.answering, 2))
        record_property("lost_revisions", restored.lost)
        if missing := kept - found:
            raise Broken(f"{len(missing)} keys of the backup are not there: {', '.join(sorted(missing)[:5])}")
        if still := gone & found:
            raise Broken(f"{len(still)} keys that were written after the backup are there")
        if not restored.lost or restored.lost < len(gone):
            raise Broken(f"{len(gone)} writes are gone, and {restored.lost} revisions were told as lost")
        if restored.revision <= restored.reached:
            raise Broken(f"the revision fell from {restored.reached} to {restored.revision}")
        etcd.accept()
        healthy.check_health()


def test_etcd_member_replaced(healthy: Session, record_property: Record) -> None:
    """A member's machine dies, another host takes its place, and later it comes back in place of that one."""
    title = "etcd member replaced"
    lab, etcd = _etcd(healthy, title)
    dead = next(host for host in etcd.hosts if host != healthy.subject.etcd_leader())
    (spare,) = lab_hosts(lab, lab.topology.workers[:1])
    promise = "a dead member is exchanged for a blank host while a client writes, and no acknowledged write is lost"
    with healthy.step("etcd-member-replaced", title, promise) as step:
        with healthy.workload("exchanged") as client, healthy.tell.progress() as progress:
            client.settle(client.now(), least=2)
            begin = client.now()
            dead.close()
            lab.power_off(dead.name)
            try:
                began = time.monotonic()
                etcd.replace(dead, spare, powered_off=True, listen=progress)
                took = time.monotonic() - began
            finally:
                lab.power_on(dead.name)
            etcd_now = EtcdCluster(
                tuple(spare if host == dead else host for host in etcd.hosts), settings=etcd.settings
            )
            etcd_now.replace(spare, dead, wipe=True, listen=progress)
            client.settle(client.now(), least=2)
            end = client.now()
            client.answers_until(end)
            waited = stall(client.history().writes, begin, end)
            acknowledged, prefix = client.acknowledged(before=end), client.target.prefix
        spare.close()
        step.figures += [
            ("replaced, from the call to a whole cluster", span(took)),
            ("writes stalled for at most", seconds(waited)),
            ("acknowledged writes", str(len(acknowledged))),
        ]
        record_property("seconds", round(took, 1))
        record_property("write_stall_seconds", waited)
        if lost := acknowledged - invariants.keys(etcd, prefix):
            raise Broken(f"{len(lost)} acknowledged writes are lost: {', '.join(sorted(lost)[:5])}")
        healthy.check_health()


def _lose(host: Host) -> None:
    """As if the disk had been exchanged for an empty one."""
    exit, _, err = host.execute(f"systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf {DATA}/member")
    if exit != 0:
        raise Broken(f"{host.name}: its data could not be deleted: {err.decode(errors='replace')}")
