"""Diagnosis: facts to the first cause, what is read of a host, and that nothing secret is told."""

from __future__ import annotations

import json
import random
import string

import pytest
from attrs import evolve

from k8sha import Cluster, ConfigError, ControlPlane, Endpoint, Host, Upstream, Workers
from k8sha.components.diagnosis.causes import causes
from k8sha.components.diagnosis.findings import Symptoms
from k8sha.components.diagnosis.logs import scrub
from k8sha.components.diagnosis.reading import read_symptoms
from k8sha.components.diagnosis.report import diagnosed
from k8sha.components.diagnosis.snippets import symptom_texts
from k8sha.components.diagnosis.symptoms import PARTS, Disk, HostSymptoms, MemberSymptoms, Unit
from k8sha.etcd.certificates import RENEWAL

from .loadbalancer_hosts import FakeShells, gone, site

VIP = "192.168.56.100"
VOTERS = tuple((f"master-{at}", f"192.168.56.{9 + at}") for at in (1, 2, 3))
RUNS = Unit(there=True, active="active", enabled="enabled")
DEAD = Unit(there=True, active="inactive", result="success", enabled="enabled")
MEMBER = MemberSymptoms(expected=True, healthy=True, voters=VOTERS, has_leader=True, version="3.5.30")
ALONE = evolve(MEMBER, healthy=False, has_leader=False)
"""A member that answers and sees no quorum."""
GONE = MemberSymptoms(expected=True, error="curl: (7) Failed to connect (no answer)")
BACKENDS = {name: "UP" for name, _ in VOTERS}


def healthy() -> dict[str, HostSymptoms]:
    hosts = [
        HostSymptoms(
            name,
            "master",
            address,
            units={"containerd": RUNS, "kubelet": RUNS},
            disks=(Disk("/", 20000, 9000), Disk("/var/lib/etcd", 20000, 9000)),
            clock=(-0.1, 0.1),
            certificates=(("/etc/kubernetes/pki/apiserver.crt", 364.0),),
            etcd=evolve(MEMBER, leader=name == "master-1"),
            containers={part: "running" for part in PARTS},
            state="done",
            api="ok",
            endpoint="ok",
        )
        for name, address in VOTERS
    ]
    for name in ("lb-1", "lb-2"):
        units = {"haproxy": RUNS, "keepalived": RUNS}
        holds = name == "lb-1"
        vrrp = "MASTER" if holds else "BACKUP"
        hosts.append(
            HostSymptoms(
                name, "balancer", units=units, holds_vip=holds, vrrp=vrrp, backends=BACKENDS, clock=(-0.1, 0.1)
            )
        )
    worker = HostSymptoms("worker-1", "worker", units={"containerd": RUNS, "kubelet": RUNS}, state="partial")
    hosts.append(evolve(worker, state="done", clock=(-0.1, 0.1)))
    return {host.name: host for host in hosts}


def judged(**changed: dict[str, object]) -> list[str]:
    """What is found where these hosts (with _ for -) differ from a healthy cluster, in order."""
    hosts = healthy()
    for name, fields in changed.items():
        found = name.replace("_", "-")
        hosts[found] = evolve(hosts[found], **fields)  # type: ignore[arg-type]
    every = Symptoms(tuple(hosts.values()), endpoint=f"{VIP}:6443", vip=VIP)
    return [f"{found.where}: {found.cause}" for found in causes(every)]


def off(why: str = "no connection") -> dict[str, object]:
    return {"unreachable": why}


def unit(**changed: Unit) -> dict[str, object]:
    return {"units": {"containerd": RUNS, "kubelet": RUNS, "haproxy": RUNS, "keepalived": RUNS, **changed}}


FULL = (Disk("/", 20000, 9000), Disk("/var/lib/etcd", 400, 0))
EXPIRED = (("/etc/kubernetes/pki/etcd/server.crt", -1.5),)
SILENT = {"units": {"haproxy": RUNS, "keepalived": DEAD}, "holds_vip": False, "vrrp": ""}
FAULT = {"units": {"haproxy": DEAD, "keepalived": RUNS}, "backends": {}, "holds_vip": False, "vrrp": "FAULT"}
GONE_FULL: dict[str, object] = {"etcd": GONE, "disks": FULL}
TWO = evolve(MEMBER, voters=VOTERS[:2])
ALL_RUN = dict.fromkeys(PARTS, "running")
TABLE: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "etcd member dead": (
        {"master_2": {"etcd": GONE, "api": "[-]etcd failed"}, "lb_1": {"backends": {**BACKENDS, "master-2": "DOWN"}}},
        "master-2: its etcd member is dead (2 of 3 answer, 2 must)",
    ),
    "quorum lost, hosts gone": (
        {"master_1": {"etcd": ALONE, "api": "[-]etcd failed"}, "master_2": off(), "master_3": off()},
        "etcd: has lost its quorum: 1 of 3 members answer, and 2 must",
    ),
    "quorum lost, members gone": (
        {"master_1": {"etcd": ALONE}, "master_2": {"etcd": GONE}, "master_3": {"etcd": GONE}},
        "etcd: has lost its quorum: 1 of 3 members answer, and 2 must",
    ),
    "quorum lost, because disks are full": (
        {"master_1": {"etcd": ALONE}, "master_2": GONE_FULL, "master_3": GONE_FULL},
        "master-2: the disk of /var/lib/etcd is full: 0 of 400 MiB are free",
    ),
    "a restore that is half-way, of which all else comes": (
        {f"master_{at}": {"etcd": GONE, "api": "", "restore": "the restore is half-way"} for at in (1, 2, 3)},
        "master-1, master-2, master-3: the restore is half-way",
    ),
    "a restore that was never finished, and serves": (
        {"master_2": {"restore": "the restore has its data in place"}},
        "master-2: the restore has its data in place",
    ),
    "every certificate expired": (
        {f"master_{at}": {"etcd": GONE, "certificates": EXPIRED, "api": "curl: (60)"} for at in (1, 2, 3)},
        "master-1: 1 certificate(s) have expired, the first 1.5 days ago",
    ),
    "one certificate expired": (
        {"master_3": {"etcd": GONE, "certificates": EXPIRED, "api": "[-]etcd failed"}},
        "master-3: 1 certificate(s) have expired, the first 1.5 days ago",
    ),
    "kubelet stopped": (
        {"master_2": unit(kubelet=DEAD), "master_1": {"not_ready": ("master-2",)}},
        "master-2: kubelet does not run: inactive",
    ),
    "kubelet fails": (
        {"worker_1": unit(kubelet=Unit(there=True, active="failed", result="exit-code", enabled="enabled"))},
        "worker-1: kubelet does not run: failed (exit-code)",
    ),
    "containerd stopped": (
        {
            "master_3": {
                **unit(containerd=DEAD, kubelet=Unit(there=True, active="activating", restarts=9, enabled="enabled")),
                "containers": {},
                "failed": {"containers": "no such file"},
            }
        },
        "master-3: containerd does not run: inactive",
    ),
    "HAProxy stopped": (
        {"lb_1": FAULT, "lb_2": {"holds_vip": True, "vrrp": "MASTER"}},
        "lb-1: HAProxy does not run (is inactive)",
    ),
    "both keepalived stopped": (
        {"lb_1": SILENT, "lb_2": SILENT},
        f"{VIP}: is on no balancer: keepalived does not run on lb-1, lb-2",
    ),
    "one keepalived stopped": (
        {"lb_2": SILENT},
        "lb-2: keepalived does not run (is inactive): the other balancer has no partner",
    ),
    "both HAProxy stopped": (
        {"lb_1": FAULT, "lb_2": FAULT},
        f"{VIP}: is on no balancer: HAProxy does not run on lb-1, lb-2",
    ),
    "two holders": (
        {"lb_2": {"holds_vip": True, "vrrp": "MASTER"}},
        f"{VIP}: is on two balancers at once: lb-1 and lb-2",
    ),
    "a master gone": ({"master_2": off()}, "master-2: can't be reached (master)"),
    "a balancer gone": ({"lb_2": off()}, "lb-2: can't be reached (balancer)"),
    "clock ahead": ({"master_3": {"clock": (29.9, 30.1)}}, "master-3: its clock is about 30 s ahead of the others'"),
    "clock behind": ({"master_3": {"clock": (-30.1, -29.9)}}, "master-3: its clock is about 30 s behind the others'"),
    "nospace": (
        {f"master_{at}": {"etcd": evolve(MEMBER, alarms=("NOSPACE",))} for at in (1, 2, 3)},
        "master-1: etcd raised NOSPACE: its database has reached its quota, and nothing can be written",
    ),
    "corrupt": (
        {"master_2": {"etcd": evolve(MEMBER, alarms=("CORRUPT", "NOSPACE"))}},
        "master-2: etcd raised CORRUPT: members hold different data",
    ),
    "a join that died": (
        {
            "master_1": {"etcd": evolve(TWO, learners=("192.168.56.12",))},
            "master_2": {"etcd": TWO},
            "master_3": {"state": "join begun", "etcd": MemberSymptoms()},
        },
        "master-3: its way into the cluster was begun and never finished (join begun)",
    ),
    "a master that was made anew": (
        {"master_1": {"state": "none", "etcd": MemberSymptoms(), "containers": {}, "units": {}, "api": ""}},
        "master-1: nothing of the cluster is on it, yet etcd counts it as a member: it is blank",
    ),
    "API server dead": (
        {"master_1": {"api": "curl: (7)", "containers": {**ALL_RUN, "kube-apiserver": "exited after 9 restarts"}}},
        "master-1: its API server is not ready: curl: (7)",
    ),
    "scheduler dead": (
        {"master_1": {"containers": {**ALL_RUN, "kube-scheduler": "exited after 9 restarts"}}},
        "master-1: kube-scheduler does not run: exited after 9 restarts",
    ),
    "a member that nobody lists": (
        {f"master_{at}": {"etcd": evolve(MEMBER, voters=(*VOTERS, ("old", "192.168.56.99")))} for at in (1, 2, 3)},
        "etcd: old at 192.168.56.99 is a member and no master of this module",
    ),
    "certificates end soon": (
        {"master_1": {"certificates": (("/etc/kubernetes/pki/apiserver.crt", 3.0),)}},
        "master-1: 1 certificate(s) end within 30 days, the first in 3.0",
    ),
    "disk nearly full": (
        {"master_1": {"disks": (Disk("/", 20000, 900),)}},
        "master-1: the disk of / is nearly full: 900 of 20000 MiB are free",
    ),
    "no inodes": (
        {"worker_1": {"disks": (Disk("/", 20000, 9000, 0),)}},
        "worker-1: the disk of / is full: no inode is free",
    ),
    "a backend in maintenance": (
        {"lb_1": {"backends": {**BACKENDS, "master-1": "MAINT"}}},
        "lb-1: HAProxy sends nothing to master-1 (MAINT)",
    ),
}


def test_of_a_healthy_cluster_nothing_is_told() -> None:
    assert judged() == []


@pytest.mark.parametrize("name", TABLE)
def test_the_likely_cause_comes_first(name: str) -> None:
    changed, first = TABLE[name]
    assert judged(**changed)[:1] == [first]


def test_every_finding_has_a_remedy() -> None:
    for changed, _ in TABLE.values():
        hosts = healthy()
        for name, fields in changed.items():
            found = name.replace("_", "-")
            hosts[found] = evolve(hosts[found], **fields)  # type: ignore[arg-type]
        for finding in causes(Symptoms(tuple(hosts.values()), vip=VIP)):
            assert finding.remedy, finding


def test_a_quorum_that_is_lost_tells_why_of_each_member() -> None:
    hosts = healthy()
    hosts["master-1"] = evolve(hosts["master-1"], etcd=ALONE)
    hosts["master-2"] = evolve(hosts["master-2"], unreachable="no connection")
    hosts["master-3"] = evolve(hosts["master-3"], etcd=GONE, containers={"etcd": "exited after 4 restarts"})
    first = causes(Symptoms(tuple(hosts.values()), vip=VIP))[0]
    assert first.evidence == (
        "master-2: the host can't be reached",
        "master-3: etcd: exited after 4 restarts; curl: (7) Failed to connect (no answer)",
    )
    assert "bring 1 of them back" in first.remedy


@pytest.mark.parametrize("days", [-1.5, 3.0])
def test_what_renews_a_certificate_follows_whose_it_is(days: float) -> None:
    def remedy(host: HostSymptoms, *others: HostSymptoms) -> str:
        found = causes(Symptoms((host, *others), vip=VIP))
        return next(each.remedy for each in found if each.where == host.name and "certificate(s)" in each.cause)

    kubelets, client = (
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    )
    master, worker = healthy()["master-1"], healthy()["worker-1"]
    own = HostSymptoms("etcd-1", "etcd", "192.168.56.30")
    assert remedy(evolve(master, certificates=((client, days),))) == RENEWAL
    assert "install()" in remedy(evolve(master, certificates=((client, days),)), own)
    both = remedy(evolve(master, certificates=((kubelets, days), ("/etc/kubernetes/admin.conf", days))))
    assert RENEWAL in both
    assert both.startswith("the kubelet renews its own")
    assert "kubeadm certs" not in remedy(evolve(worker, certificates=((kubelets, days),)))
    assert "install()" in remedy(evolve(own, certificates=(("/etc/etcd/pki/server.crt", days),)), master)


def test_hosts_without_a_cluster_are_told_nothing_of_one() -> None:
    hosts = [
        HostSymptoms(name, "master", address, units={"containerd": Unit(), "kubelet": Unit()}, state="none")
        for name, address in VOTERS
    ]
    assert causes(Symptoms(tuple(hosts))) == ()
    hosts[0] = evolve(hosts[0], unreachable="no connection")
    assert [found.cause for found in causes(Symptoms(tuple(hosts)))] == ["can't be reached (master)"]


@pytest.mark.parametrize(
    "text",
    [
        "kubeadm join 192.168.56.100:6443 --token {secret}",
        "Bearer {secret}",
        'token="{secret}" next',
        "password: {secret}",
        "auth_pass {secret}",
        "certificate-key={secret} and more",
        "Authorization: {secret}",
    ],
)
def test_named_secrets_are_taken_out_of_log_lines(text: str) -> None:
    assert "planted-value" not in scrub(text.format(secret="planted-value"))
    assert "(secret)" in scrub(text.format(secret="planted-value"))


def test_what_looks_like_a_secret_is_taken_out() -> None:
    rng = random.Random(7)
    letters = string.ascii_lowercase + string.digits
    for _ in range(200):
        token = "".join(rng.choices(letters, k=6)) + "." + "".join(rng.choices(letters, k=16))
        key = "".join(rng.choices("0123456789abcdef", k=64))
        jwt = "eyJ" + "".join(rng.choices(string.ascii_letters, k=30)) + "." + "".join(rng.choices(letters, k=40))
        data = "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=120)) + "=="
        for secret in (token, key, jwt, data):
            assert secret not in scrub(f"failed with {secret} at once")


def test_plain_lines_stay_as_they_are() -> None:
    for line in (
        'E1122 kubelet.go:3117] "Container runtime network not ready"',
        "dial tcp 192.168.56.11:2380: connect: connection refused",
        "lost leader 8e9e05c52164694d at term 4",
    ):
        assert scrub(line) == line


UNITS = """\
Result=success
NRestarts=2
Id=kubelet.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
Result=success
NRestarts=0
Id=haproxy.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""
MEMBERS = {
    "members": [
        {"ID": "1", "name": "master-1", "peerURLs": ["https://192.168.56.10:2380"]},
        {"ID": "2", "peerURLs": ["https://192.168.56.11:2380"], "isLearner": True},
    ]
}
STATUS = {"header": {"member_id": "1"}, "leader": "1", "version": "3.5.30"}


def read(**printed: str) -> HostSymptoms:
    replies = {name: (0, text.encode(), b"") for name, text in printed.items()}
    return read_symptoms("master-1", "master", "192.168.56.10", replies, sent=1000.0, now=1002.0)


def test_what_is_printed_is_read() -> None:
    etcd = "\n".join(
        ["expected", '{"health":"true"}', json.dumps(MEMBERS), json.dumps(STATUS), '{"alarms":[{"alarm":"NOSPACE"}]}']
    )
    containers = {
        "containers": [
            {"metadata": {"name": "etcd", "attempt": 3}, "state": "CONTAINER_RUNNING", "createdAt": "20"},
            {"metadata": {"name": "etcd", "attempt": 2}, "state": "CONTAINER_EXITED", "createdAt": "10"},
            {"metadata": {"name": "kube-apiserver", "attempt": 7}, "state": "CONTAINER_EXITED", "createdAt": "5"},
        ]
    }
    host = read(
        clock="1000.5\n",
        units=UNITS,
        disks="/ 20000 9000 41%\n/var/lib/etcd 400 0 -\n",
        certificates=f"{1002 + 86400} /etc/kubernetes/pki/apiserver.crt\n",
        etcd=etcd,
        containers=json.dumps(containers),
        state="done\n",
        api="[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed",
        nodes="master-1 Ready cp 1d v1\nmaster-2 NotReady cp 1d v1\nw Ready,SchedulingDisabled x 1d v1\n",
        secrets="bootstrap-token-abcdef\nkubeadm-certs\nother\n",
        logs='== etcd\n2026-11-22T21:50:26.6Z stderr F {"level":"warn","ts":"2026-11-22T21:50:26.6Z","msg":"slow",'
        '"error":"x --token planted"}\n{"level":"info","msg":"fine"}\n== kubelet\n\nline\n',
        endpoint="ok",
        restore="fencing {}\n",
    )
    assert host.restore == "a restore is half-way, and was never finished"
    assert host.clock == (-1.5, 0.5)
    assert host.units["kubelet"] == Unit(True, "active", "success", 2, "enabled")
    assert not host.units["haproxy"].there
    assert host.disks == (Disk("/", 20000, 9000, 59), Disk("/var/lib/etcd", 400, 0, 100))
    assert host.certificates == (("/etc/kubernetes/pki/apiserver.crt", 1.0),)
    assert host.etcd == MemberSymptoms(
        expected=True,
        healthy=True,
        voters=(("master-1", "192.168.56.10"),),
        learners=("192.168.56.11",),
        leader=True,
        has_leader=True,
        alarms=("NOSPACE",),
        version="3.5.30",
    )
    assert host.containers == {"etcd": "running", "kube-apiserver": "exited after 7 restarts"}
    assert host.api == "[-]etcd failed: reason withheld"
    assert host.not_ready == ("master-2",)
    assert host.join_secrets == ("bootstrap-token-abcdef", "kubeadm-certs")
    assert host.logs == {"etcd": ("21:50:26 warn: slow: x --token (secret)",), "kubelet": ("line",)}


@pytest.mark.parametrize(
    "garbage", ["", "\n", "Killed", "{", "[]", "null", "a b c d\n1 2\n", "\x00\xff", "expected\n[]\n{}"]
)
def test_whatever_is_printed_is_read_without_an_error(garbage: str) -> None:
    texts = symptom_texts("master", "192.168.56.10", (VIP, 6443), VIP) | symptom_texts("balancer", "", (VIP, 6443), VIP)
    host = read(**dict.fromkeys(texts, garbage))
    causes(Symptoms((host,), vip=VIP))


@pytest.mark.parametrize(("restore", "said"), [("", "plane.etcd.rejoin(master-2)"), ("is half-way", "or its undoing")])
def test_manifests_that_were_moved_away_come_back_by_what_moved_them(restore: str, said: str) -> None:
    hosts = healthy()
    lost = ("/etc/kubernetes/manifests/etcd.yaml",)
    hosts["master-2"] = evolve(hosts["master-2"], state="partial", missing=lost, restore=restore)
    every = Symptoms(tuple(hosts.values()), endpoint=f"{VIP}:6443", vip=VIP)
    (found,) = (each for each in causes(every) if each.cause == "files of its control plane are missing")
    assert said in found.remedy


def test_a_restore_that_is_over_on_etcds_own_hosts_is_not_to_be_called_again() -> None:
    hosts = healthy()
    hosts["master-3"] = evolve(hosts["master-3"], restore="a restore is half-way")
    for own, said in (
        ("", "accept() starts what it has left"),
        ("is half-way", "run restore() with that snapshot again"),
    ):
        hosts["etcd-1"] = HostSymptoms("etcd-1", "etcd", units={"etcd": RUNS}, etcd=MEMBER, restore=own)
        every = Symptoms(tuple(hosts.values()), endpoint=f"{VIP}:6443", vip=VIP)
        (found,) = (each for each in causes(every) if each.where == "master-3" and "half-way" in each.cause)
        assert said in found.remedy


def test_a_part_that_hangs_hides_nothing_else() -> None:
    replies = {"units": (0, UNITS.encode(), b""), "containers": (124, b"", b""), "logs": (1, b"", b"token=planted\n")}
    host = read_symptoms("master-1", "master", "192.168.56.10", replies, sent=1.0, now=2.0)
    assert host.active("kubelet")
    assert host.failed == {"containers": "it took too long", "logs": "token=(secret)"}


def test_all_hosts_are_read_in_one_trip_each_and_one_that_is_gone_is_a_finding() -> None:
    def answer(name: str, text: str) -> bytes | None:
        if name == "master-2":
            raise gone(name)
        return UNITS.encode() if "systemctl show -p Id" in text else b""

    found = site(answer)
    plane = ControlPlane(hosts=found.masters, endpoint=found.lb.endpoint, version="1.33.13", source=Upstream())
    diagnosis = plane.diagnose(balancers=(found.lb,))
    assert [host.trips for host in (*found.masters, *found.lb.balancers)] == [1] * 5
    assert "master-2: can't be reached (master)" in {f"{each.where}: {each.cause}" for each in diagnosis.findings}
    assert f"{VIP}: is on no balancer" in str(diagnosis)
    assert "master-2 (master): can't be reached" in str(diagnosis)
    assert diagnosis


def test_a_diagnosis_of_nothing_is_false_and_says_so() -> None:
    host = Host("worker-1", "192.168.56.20", ssh=FakeShells(lambda name, text: b""))
    diagnosis = diagnosed([(host, "worker")], endpoint=Endpoint(VIP))
    assert not diagnosis
    assert "nothing that is known to go wrong was found" in str(diagnosis)


def test_a_cluster_is_diagnosed_with_all_its_hosts() -> None:
    found = site()
    found.shells.addresses["worker-1"] = ("192.168.56.20",)
    plane = ControlPlane(hosts=found.masters, endpoint=found.lb.endpoint, version="1.33.13", source=Upstream())
    workers = Workers(hosts=[Host("worker-1", "192.168.56.20", ssh=found.shells)], plane=plane)
    seen = Cluster(found.lb, plane, workers).diagnose().symptoms
    assert [(host.name, host.role) for host in seen.hosts] == [
        ("master-1", "master"),
        ("master-2", "master"),
        ("master-3", "master"),
        ("lb-1", "balancer"),
        ("lb-2", "balancer"),
        ("worker-1", "worker"),
    ]
    with pytest.raises(ConfigError, match="no ControlPlane"):
        Cluster(found.lb).diagnose()
