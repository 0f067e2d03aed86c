"""Backups of a real etcd of three members: proven, copied, refused when damaged, made by the clock."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from acceptance.vagrant import Lab
from k8sha import (
    BackupError,
    BackupSchedule,
    EtcdCluster,
    EtcdSettings,
    Folder,
    Host,
    OnHost,
    Passphrase,
    Status,
    VerifyError,
)
from k8sha.etcd.archive import opened
from k8sha.etcd.schedule import UNIT
from k8sha.etcd.snapshot import CHECK, SnapshotFacts, local_problems
from k8sha.etcd.tools import BIN, EtcdTools

log = logging.getLogger(__name__)

STACKED = "K8SHA_ETCD_STACKED" in os.environ
by_systemd = pytest.mark.skipif(STACKED, reason="stops etcd by systemd, and this one is a pod")

SETTINGS = EtcdSettings(skip_requirements=("disk-sync",))  # containers of one machine share its disk

SECRET = "planted-secret-77316cbb"
WORD = Passphrase("correct horse")


def on(host: Host, text: str, *, timeout: int = 120) -> str:
    exit, out, err = host.execute(text, timeout=timeout)
    assert exit == 0, f"{host.name}: {err.decode()[-1000:]}"
    return out.decode(errors="replace")


@pytest.fixture(scope="module")
def cluster(hosts: Mapping[str, Host]) -> EtcdCluster:
    """Three members, with a secret among their keys; ``K8SHA_ETCD_HOSTS`` names other hosts than the masters.

    With ``K8SHA_ETCD_STACKED`` it is that of the control plane that the lab's masters are already.
    """
    names = os.environ.get("K8SHA_ETCD_HOSTS", "master-1 master-2 master-3").split()
    cluster = EtcdCluster([hosts[name] for name in names], stacked=STACKED, settings=SETTINGS)
    if not STACKED:
        cluster.install()
    first = cluster.hosts[0]
    on(first, EtcdTools(cluster.access).apply())
    etcdctl = f"{BIN}/etcdctl --endpoints=https://127.0.0.1:2379 {cluster.access.credentials}"
    on(first, f"for n in $(seq 30); do {etcdctl} put /registry/things/$n '{SECRET}'-$n >/dev/null; done")
    return cluster


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


def leftovers(host: Host) -> str:
    """What a backup may have left on a host: folders, files of its own, processes."""
    return on(
        host,
        "find / -xdev \\( -name 'k8sha-backup.*' -o -name 'check.*' -o -path '*/etcd/works/*' \\)"
        " -not -path '/proc/*' -not -path '/usr/*'; for process in /proc/[0-9]*; do"
        " case $(tr '\\0' ' ' <$process/cmdline) in *'--name trial'*) echo $process;; esac; done",
    )


def leads(name: str, cluster: EtcdCluster) -> bool:
    host = next(host for host in cluster.hosts if host.name == name)
    text = f"{cluster.access.curl} https://127.0.0.1:2379/v3/maintenance/status -d '{{}}'"
    status = json.loads(on(host, text))
    return bool(status["leader"] == status["header"]["member_id"])


def test_a_backup_is_proven_and_the_same_everywhere(cluster: EtcdCluster, copies: Path) -> None:
    other = cluster.hosts[0]
    backup = cluster.backup([Folder(copies), OnHost(other, "/var/backups/k8sha-test")], encrypt=WORD)
    log.info("%s", backup)
    assert len(backup.copies) == 2
    assert not leads(backup.descriptor.host, cluster), "the leader has enough to do"
    local = Path(backup.copies[0].where)
    assert hashlib.sha256(local.read_bytes()).hexdigest() == backup.sha256
    assert local.stat().st_mode & 0o777 == 0o600
    path = backup.copies[1].where.partition(":")[2]
    assert on(other, f"sha256sum <{path}; stat -c %a {path}").split() == [backup.sha256, "-", "600"]
    with opened(local, WORD) as (descriptor, folder):
        assert descriptor == backup.descriptor
        assert descriptor.live
        assert descriptor.keys >= 32  # ours, the marker, the identity
        assert list(local_problems(folder / "snapshot.db")) == []
        assert (folder / f"files{cluster.access.pki}/ca.crt").read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    with pytest.raises(BackupError, match="the passphrase does not open it"):
        with opened(local, Passphrase("wrong")):
            pass
    assert [leftovers(host) for host in cluster.hosts] == [""] * 3


def test_no_secret_is_to_be_seen_by_others(cluster: EtcdCluster, copies: Path, lab: Lab) -> None:
    """Every command line and environment while a backup runs, every event, and every file that others may read."""
    watch = (
        "rm -f /run/seen; (set +e; while [ ! -e /run/seen.end ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; done"
        " >/run/seen; rm /run/seen.end) >/dev/null 2>&1 </dev/null 8>&- 9>&- &"
    )
    events: list[object] = []
    for host in cluster.hosts:
        on(host, watch)
    backup = cluster.backup([Folder(copies)], listen=events.append)
    for host in cluster.hosts:
        on(host, "touch /run/seen.end; until [ ! -e /run/seen.end ]; do sleep 0.1; done")
        found = on(host, f"grep -c -a -e {SECRET[:-1]}[b] -e 'BEGIN .*PRIVATE' /run/seen || :; rm /run/seen")
        assert found.strip() == "0", host.name
        recent = "find / -xdev -type f -perm -o=r -newermt '-1 hour' -not -path '/proc/*' -print0"
        readable = f"{recent} | xargs -0r grep -l -a {SECRET[:-1]}[b] || :"
        open_to_all = [path for path in on(host, readable).split() if not closed(host, path)]
        assert open_to_all == [], host.name
    assert SECRET not in repr(events) + repr(backup) + str(backup) + str(backup.report)
    with opened(backup.copies[0].where) as (_, folder):
        assert SECRET.encode() in (folder / "snapshot.db").read_bytes(), "it must be in the backup itself"


def closed(host: Host, path: str) -> bool:
    """Whether a folder above a file keeps others out."""
    parents = " ".join(str(parent) for parent in Path(path).parents)
    return any(int(mode, 8) & 1 == 0 for mode in on(host, f"stat -c %a {parents}").split())


def with_hash(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def damages(whole: bytes) -> Iterator[bytes]:
    """160 that any transport may do; 40 to the structure of the file, with a hash that fits again."""
    chance, body = random.Random(62), whole[:-32]
    for _ in range(110):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(data)
    for _ in range(25):
        yield whole[: chance.randrange(1, len(whole))]
    for _ in range(24):
        yield whole[: chance.randrange(1, len(whole) // 512) * 512 + 32]
    yield b""
    pages = len(body) // 4096
    for _ in range(15):
        yield with_hash(body[: chance.randrange(1, pages) * 4096])
    for number in range(25):
        page = number % pages
        yield with_hash(body[: page * 4096] + chance.randbytes(4096) + body[page * 4096 + 4096 :])


def test_200_damaged_snapshots_are_refused_on_a_host_and_nothing_is_touched(cluster: EtcdCluster, copies: Path) -> None:
    host = cluster.hosts[1]
    backup = cluster.backup([Folder(copies)])
    with opened(backup.copies[0].where) as (_, folder):
        whole = (folder / "snapshot.db").read_bytes()
    archive = copies / "damaged.tar"
    with tarfile.open(archive, "w") as tar:
        for number, data in enumerate([*damages(whole), whole]):
            entry = tarfile.TarInfo(f"{number:03}.db")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    host.upload(archive, "/var/lib/k8sha/upload/damaged.tar", lambda done, total: None)
    member = "ps -o pid=,lstart= -C etcd; ls -laR /var/lib/etcd | grep -v -e db -e wal -e ^total -e ' \\.$'"
    before = on(host, f"cd /var/lib/k8sha && mkdir damaged && tar xf upload/damaged.tar -C damaged; {member}")
    sums = on(host, "cd /var/lib/k8sha/damaged && sha256sum *")
    began = time.monotonic()
    said = on(
        host,
        f"{CHECK}\nfor file in /var/lib/k8sha/damaged/*; do echo file\n"
        "if k8sha_check $file /var/lib/k8sha/trial; then :; fi; done",
        timeout=400,
    )
    took = time.monotonic() - began
    judged = [SnapshotFacts.parse(text) for text in said.split("file\n")[1:]]
    assert len(judged) == 201
    good = judged.pop()
    assert good.verified
    passed = [facts for facts in judged if facts.verified]
    codes = {code: sum(facts.code == code for facts in judged) for code in {facts.code for facts in judged}}
    log.info("200 damaged snapshots of %d bytes judged in %.0f s: %s", len(whole), took, codes)
    # A page that nothing refers to may hold anything: then all that etcd reads is as it was.
    assert all(
        (facts.hash, facts.keys, facts.trial_revision) == (good.hash, good.keys, good.trial_revision)
        for facts in passed
    )
    assert [number for number, facts in enumerate(judged[:160]) if facts.verified] == []
    assert on(host, "cd /var/lib/k8sha/damaged && sha256sum *") == sums
    assert (
        on(host, f"rm -r /var/lib/k8sha/damaged /var/lib/k8sha/upload/damaged.tar /var/lib/k8sha/trial; {member}")
        == before
    )
    assert leftovers(host) == ""


@pytest.mark.parametrize("delay", [0.5, 1.5, 2.5, 3.5])
def test_a_backup_that_is_killed_leaves_nothing_once_another_was_made(
    delay: float, cluster: EtcdCluster, copies: Path, lab: Lab
) -> None:
    members = [f"{host.name}={host.address}" for host in cluster.hosts]
    command = [sys.executable, "-m", "tests.lab.backup_under_test", str(lab.ssh_key), str(lab.known_hosts), str(copies)]
    run = subprocess.Popen(
        [*command, *(["--stacked"] if STACKED else []), *members],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "StageBegan" in line:
            break
    time.sleep(delay)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    for host in cluster.hosts:  # wherever it was at work: the next one there tidies up
        one = EtcdCluster([host], stacked=STACKED)
        cluster_of_one = one.backup([Folder(copies)], encrypt=WORD)
        assert cluster_of_one.descriptor.live
        assert leftovers(host) == ""
    assert [path.name for path in copies.iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def schedule(cluster: EtcdCluster) -> BackupSchedule:
    schedule = BackupSchedule(cluster, every=timedelta(hours=1), keep=2, jitter=timedelta(0))
    schedule.install()
    return schedule


def test_the_schedule_is_installed_once_and_proves_itself(schedule: BackupSchedule) -> None:
    assert not schedule.plan()
    assert all(result.status is Status.UNCHANGED for result in schedule.install().results)
    assert len(schedule.verify()) == 1 + len(schedule.hosts)


def test_the_timer_itself_makes_a_backup_that_was_missed(schedule: BackupSchedule) -> None:
    host = schedule.hosts[0]
    names = "ls /var/backups/k8sha-etcd | grep -c 'tar$'"
    before = on(host, "cat /var/lib/k8sha/etcd/last-good")
    on(host, f"systemctl stop {UNIT}.timer; touch -d '-2 hours' /var/lib/systemd/timers/stamp-{UNIT}.timer")
    on(host, f"systemctl start {UNIT}.timer")
    for _ in range(100):
        if on(host, "cat /var/lib/k8sha/etcd/last-good") != before:
            break
        time.sleep(0.3)
    else:
        pytest.fail("the timer did not run what was missed")
    assert int(on(host, names)) <= 2
    schedule.verify()


@by_systemd
def test_a_failed_run_is_to_be_seen_and_the_next_good_one_mends_it(schedule: BackupSchedule) -> None:
    host = schedule.hosts[2]
    before = on(host, "cd /var/backups/k8sha-etcd; sha256sum *")
    on(host, "systemctl stop etcd")
    exit, _, _ = host.execute(f"systemctl start {UNIT}.service")
    assert exit != 0
    assert on(host, f"systemctl is-failed {UNIT}.service") == "failed\n"
    with pytest.raises(VerifyError) as error:
        schedule.verify()
    assert f"{host.name}: the last run failed" in str(error.value)
    assert "k8sha_etcd_backup_last_run_success 0" in on(host, f"cat /var/lib/prometheus/node-exporter/{UNIT}.prom")
    assert on(host, "cd /var/backups/k8sha-etcd; sha256sum *") == before
    on(host, f"systemctl start etcd; systemctl start {UNIT}.service")
    schedule.verify()


def test_drift_is_named_and_repaired(schedule: BackupSchedule) -> None:
    host = schedule.hosts[1]
    on(host, f"echo '# mine' >>/var/lib/k8sha/etcd/backup; systemctl disable --now {UNIT}.timer")
    text = str(schedule.plan())
    assert "/var/lib/k8sha/etcd/backup" in text
    assert f"{UNIT}.timer" in text
    schedule.install()
    assert not schedule.plan()
    schedule.verify()


@by_systemd
def test_without_quorum_no_backup_is_taken_and_the_reason_is_told(cluster: EtcdCluster, copies: Path) -> None:
    before = sorted(copies.iterdir())
    for host in cluster.hosts[1:]:
        on(host, "systemctl stop etcd")
    try:
        with pytest.raises(BackupError) as error:
            cluster.backup([Folder(copies)])
    finally:
        for host in cluster.hosts[1:]:
            on(host, "systemctl start --no-block etcd")
    assert all(host.name in str(error.value) for host in cluster.hosts)
    assert sorted(copies.iterdir()) == before


def test_programs_of_etcd_are_made_once(cluster: EtcdCluster) -> None:
    tools = EtcdTools(cluster.access)
    host = cluster.hosts[0]
    seen = host.read(tools.probe())[0][1]
    assert not tools.diff(seen)
    said = json.loads(on(host, f"{cluster.access.curl} https://127.0.0.1:2379/version"))
    assert EtcdTools.version(seen) == said["etcdserver"]
