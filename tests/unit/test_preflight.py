"""What facts and probes say against a host: each requirement's judgement of what a host printed."""

from __future__ import annotations

import base64
import time

import pytest

from k8sha.components.belonging import strangers
from k8sha.components.node import NodeSettings, node_problems, node_requirements
from k8sha.distros import Debian
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError
from k8sha.etcd.member import EtcdSettings
from k8sha.etcd.preflight import member_problems
from k8sha.hosts import Host
from k8sha.loadbalancers import LoadBalancer
from k8sha.loadbalancers.preflight import NAMES as BALANCER_NAMES
from k8sha.loadbalancers.preflight import balancer_requirements
from k8sha.preflight import NAMES, host_problems
from k8sha.resources.reach import AptPackagesAtHand, DnfPackagesAtHand, Reachable
from k8sha.resources.requirements import (
    DiskSync,
    Minimum,
    NodeRequirement,
    PeersAnswer,
    PortsFree,
    Resolves,
    SameVersion,
    Size,
    Space,
)
from k8sha.sources import Upstream
from k8sha.versions import Version

from .node_hosts import node

V133, V135, V136 = (Version.parse(text) for text in ("1.33.13", "1.35.4", "1.36.2"))


def causes(*hosts: Host, **settings: object) -> list[str]:
    return [str(problem) for problem in host_problems(hosts, **settings)]  # type: ignore[arg-type]


def system(host: Host, version: Version = V133, **settings: object) -> list[str]:
    found = node_problems(
        [host],
        role="worker",
        version=version,
        source=Upstream(),
        settings=NodeSettings(**settings),  # type: ignore[arg-type]
    )
    return [str(problem) for problem in found]


def test_fit_hosts_have_no_problem() -> None:
    hosts = [node(f"worker-{last}", last, clock=time.time()) for last in (20, 21, 22)]
    assert causes(*hosts) == []
    assert [problem for host in hosts for problem in system(host, V136)] == []


@pytest.mark.parametrize(
    ("name", "facts", "what"),
    [
        ("hostname", {"hostname": "localhost"}, "hostname: localhost"),
        ("machine-id", {"machine_id": "f" * 32}, "machine-id: ffff"),
        ("product-uuid", {"product_uuid": "same"}, "product_uuid: same"),
        ("mac", {"mac": "52:54:00:aa:aa:aa"}, "MAC address: 52:54:00:aa:aa:aa"),
    ],
)
def test_clones_are_named_together_and_can_be_passed_over(name: str, facts: dict[str, str], what: str) -> None:
    hosts = [node("worker-1", 20, **facts), node("worker-2", 21, **facts), node("worker-3", 22)]  # type: ignore[arg-type]
    (found,) = causes(*hosts)
    assert found.startswith("worker-1, worker-2: have the same")
    assert what in found
    assert f'skip_requirements=("{name}",)' in found
    assert causes(*hosts, skip=(name,)) == []


def test_an_absent_identity_is_not_a_shared_one() -> None:
    assert causes(node("worker-1", 20, product_uuid=""), node("worker-2", 21, product_uuid="")) == []


def test_an_address_must_be_the_hosts_own() -> None:
    (found,) = causes(node("worker-1", 20, own="192.168.56.77"))
    assert "192.168.56.20 is none of its addresses (192.168.56.77)" in found


def test_a_clock_ten_minutes_off_is_refused_and_names_the_odd_one() -> None:
    now = time.time()
    (found,) = causes(node("a", 1, clock=now), node("b", 2, clock=now - 600), node("c", 3, clock=now))
    assert found.startswith("b: its clock is 6")
    assert "behind" in found


def test_what_a_slow_trip_could_explain_is_no_skew() -> None:
    from k8sha.facts import Facts

    facts = Facts.parse("clock 1000.0", sent=999.0, now=1003.0)
    assert (facts.skew, facts.skew_error) == (-1.0, 2.0)


def test_clocks_that_differ_less_than_a_second_are_fine() -> None:
    now = time.time()
    assert causes(node("a", 1, clock=now), node("b", 2, clock=now - 0.5)) == []


def test_an_unknown_system_is_refused_by_its_name() -> None:
    (found,) = system(node("worker-1", 20, os="alpine", os_name="Alpine Linux v3.20"))
    assert "Alpine Linux v3.20" in found
    (found,) = system(node("worker-1", 20, os_version="11", os_name="Debian GNU/Linux 11 (bullseye)"))
    assert "bullseye" in found
    assert system(node("worker-1", 20, os_version="11"), skip_requirements=("system",)) == []


@pytest.mark.parametrize(
    ("kernel", "version", "refused"),
    [
        ("4.18.0-553.el8", V133, True),
        ("4.19.0", V133, False),
        ("5.14.0-570.el9", V133, False),
        ("5.14.0-570.el9", V136, True),
        ("5.15.0-100-generic", V136, False),
        ("6.8.0-79-generic", V136, False),
        ("nonsense", V133, True),
    ],
)
def test_kernels_are_judged_as_kubeadm_of_that_version_does(kernel: str, version: Version, refused: bool) -> None:
    assert bool(system(node("worker-1", 20, kernel=kernel), version)) is refused


def test_a_kernel_that_only_kubeadm_minds_passes_where_that_check_is_passed_over() -> None:
    host = node("worker-1", 20, kernel="5.14.0-570.el9")
    assert system(host, V136, ignore_preflight=("SystemVerification",)) == []


def test_cgroup_v1_is_refused_from_1_35_unless_the_kubelet_is_told() -> None:
    host = node("worker-1", 20, cgroup="tmpfs")
    assert system(host, V133) == []
    assert "cgroup v1" in system(host, V135)[0]
    assert system(host, V135, kubelet={"failCgroupV1": False}) == []


def test_every_problem_comes_at_once() -> None:
    host = node("worker-1", 20, os="alpine", kernel="3.10.0", cgroup="tmpfs", init="init", arch="mips")
    assert len(system(host, V136)) == 5


def test_names_to_pass_over_are_checked_for_typing_errors() -> None:
    with pytest.raises(ConfigError, match="no requirement siez"):
        NodeSettings(skip_requirements=("siez",))


def test_each_requirement_can_be_passed_over_by_its_name() -> None:
    hosts = [node("master-1", 10), node("master-2", 11)]

    def names(*skip: str) -> set[str]:
        found = node_requirements(
            hosts,
            role="master",
            version=V133,
            source=Upstream(),
            settings=NodeSettings(skip_requirements=skip),
            endpoint=Endpoint("api.example.com"),
        )
        assert [need for needs in found.values() for need in needs if not need.remedy] == []
        return {need.name for needs in found.values() for need in needs if isinstance(need, NodeRequirement)}

    everything = names()
    assert everything == {
        "disk-sync", "endpoint", "minimum", "packages", "peers", "ports", "size", "source", "space", "version"
    }  # fmt: skip
    assert everything <= set(NAMES)
    for name in everything:
        assert names(name) == everything - {name}


def test_only_masters_need_a_disk_for_etcd_and_only_names_must_resolve() -> None:
    found = node_requirements(
        [node("worker-1", 20)],
        role="worker",
        version=V133,
        source=Upstream(),
        settings=NodeSettings(),
        endpoint=Endpoint("192.168.56.100"),
    )
    kinds = {type(need) for needs in found.values() for need in needs}
    assert kinds.isdisjoint({DiskSync, Resolves, Minimum, PeersAnswer})


def test_a_host_of_an_unknown_system_still_gets_its_other_requirements() -> None:
    host = node("worker-1", 20, os="alpine")
    found = node_requirements([host], role="worker", version=V133, source=Upstream(), settings=NodeSettings())
    assert {type(need) for need in found[host]} == {SameVersion, Size, PortsFree}


@pytest.mark.parametrize(
    ("need", "seen", "lines"),
    [
        (Size(cpus=4, memory_mib=8192, disk_gb=100), "cpus 4\nmemory 7700\ndisk 98\n", ()),
        (
            Size(cpus=4, memory_mib=8192, disk_gb=100),
            "cpus 2\nmemory 3900\ndisk 40\n",
            (
                "has 2 CPUs, 4 are wanted",
                "has 3900 MiB of memory, 8192 are wanted",
                "has 40 GB in /var/lib's file system, 100 are wanted",
            ),
        ),
        (Minimum(cpus=2, memory_mib=1700, disk_gb=0), "cpus 1\nmemory 2000\ndisk 1\n", ("has 1 CPUs, 2 are wanted",)),
        (Space(mib=3000), "/var/lib 100000 60000\n", ()),
        (
            Space(mib=3000),
            "/var/lib 10000 2999\n/var/lib/containerd 100000 14000\n",
            (
                "/var/lib has 2999 MiB free of 10000, 3000 are needed",
                "/var/lib/containerd has 14000 MiB free of 100000, 15000 are needed",
            ),
        ),
        (PortsFree((6443, 10250)), "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=1,fd=3))\n", ()),
        (
            PortsFree((6443, 10250)),
            'LISTEN 0 128 [::]:6443 [::]:* users:(("haproxy",pid=7,fd=5))\nLISTEN 0 9 127.0.0.1:10250 0.0.0.0:*\n',
            ("port 10250 is taken", 'port 6443 is taken by users:(("haproxy",pid=7,fd=5))'),
        ),
        (PortsFree((443,)), "LISTEN 0 128 0.0.0.0:6443 0.0.0.0:*\n", ()),
        (PeersAnswer((("b", "192.168.56.11"),)), "", ()),
        (
            PeersAnswer((("b", "192.168.56.11"),)),
            "b 192.168.56.11\n",
            ("gets no answer from b (192.168.56.11)",),
        ),
        (SameVersion("1.33.13"), "", ()),
        (SameVersion("1.33.13"), "1.33.13\n", ()),
        (SameVersion("1.33.13"), "1.32.9\n", ("is a node of Kubernetes 1.32.9, not 1.33.13",)),
        (Resolves("api.example.com"), "unknown\n", ("the name api.example.com is not known there",)),
        (Reachable("https://x/y", what="the packages"), "status 200\n", ()),
        (Reachable("https://x/y", what="the registry", file=False), "status 401\n", ()),
        (
            Reachable("https://x/y", what="the packages"),
            "status 404\n",
            ("does not reach the packages at https://x/y: 404",),
        ),
        (
            Reachable("https://x/y", what="the packages"),
            "status 503\n",
            ("does not reach the packages at https://x/y: 503",),
        ),
        (
            Reachable("https://x/y", what="the packages"),
            "failed curl: (7) Failed to connect 000",
            ("does not reach the packages at https://x/y: curl: (7) Failed to connect 000",),
        ),
        (
            Reachable("https://x/y", what="the registry", file=False),
            "failed E: Failed to fetch https://x/y  401  Unauthorized",
            (),
        ),
        (
            AptPackagesAtHand(("containerd",)),
            "none containerd\nunreachable http://a/b.deb Could not connect\n",
            (
                "has no repository with the package containerd",
                "can't fetch packages: http://a/b.deb: Could not connect",
            ),
        ),
        (
            DnfPackagesAtHand(("containerd.io",)),
            "none containerd.io\n",
            ("has no repository with the package containerd.io",),
        ),
    ],
)  # fmt: skip
def test_what_a_host_prints_is_judged(need: NodeRequirement, seen: str, lines: tuple[str, ...]) -> None:
    assert need.diff(seen.encode()).lines == lines


def _timed(*milliseconds: float) -> bytes:
    return "\n".join(
        f"2300 bytes (2.3 kB, 2.2 KiB) copied, {ms / 1000:.6g} s, 4.5 MB/s" for ms in milliseconds
    ).encode()


def test_one_slow_write_of_a_hundred_is_forgiven_and_two_are_not() -> None:
    assert not DiskSync().diff(_timed(*[0.5] * 99, 80))
    (line,) = DiskSync().diff(_timed(*[0.5] * 98, 30, 80)).lines
    assert "takes 30 ms" in line


def test_a_disk_that_could_not_be_timed_is_a_problem_of_its_own() -> None:
    (line,) = DiskSync().diff(b"dd: error writing '/var/lib/.k8sha.sync': No space left on device\n").lines
    assert "No space left" in line
    assert "make room" in line
    (line,) = DiskSync().diff(_timed(*[0.5] * 99) + b"\ndd: error writing 'x': Input/output error\n" + _timed(0)).lines
    assert "Input/output error" in line


def test_a_balancer_that_is_one_is_not_asked() -> None:
    host, peer = node("lb-1", 101), node("lb-2", 102)
    for need in balancer_requirements(host, [host, peer], ["haproxy"], skip=()):
        assert isinstance(need, NodeRequirement)
        if need.name != "packages":  # which asks nobody where they are installed
            head, _, rest = need.probe().partition("done\n")
            assert "/usr/libexec/k8sha/vip" in head
            assert "exit 0" in head
            assert rest


def balancers(*hosts: Host, backends: tuple[Host, ...], **settings: object) -> list[str]:
    lb = LoadBalancer(hosts, "192.168.56.100", backends, **settings)  # type: ignore[arg-type]
    return [str(problem) for problem in lb.problems()]


def test_fit_balancers_have_no_problem() -> None:
    assert balancers(node("lb-1", 101), node("lb-2", 102), backends=(node("master-1", 10),)) == []


def test_a_balancer_ten_minutes_behind_would_find_the_authority_not_yet_valid() -> None:
    now = time.time()
    masters = tuple(node(f"master-{last}", last, clock=now) for last in (10, 11, 12))
    hosts = node("lb-1", 101, clock=now), node("lb-2", 102, clock=now - 600)
    (found,) = balancers(*hosts, backends=masters)
    assert found.startswith("lb-2: its clock is 6")
    assert "behind" in found
    assert 'skip_requirements=("clock",)' in found
    assert balancers(*hosts, backends=masters, skip_requirements=("clock",)) == []


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("hostname", {"hostname": "localhost"}),
        ("machine-id", {"machine_id": "f" * 32}),
        ("mac", {"mac": "52:54:00:aa:aa:aa"}),
    ],
)
def test_a_balancer_is_no_clone(name: str, facts: dict[str, str]) -> None:
    masters = (node("master-1", 10, **facts),)  # type: ignore[arg-type]
    hosts = node("lb-1", 101), node("lb-2", 102, **facts)  # type: ignore[arg-type]
    (found,) = balancers(*hosts, backends=masters)
    assert found.startswith("master-1, lb-2: have the same")
    assert balancers(*hosts, backends=masters, skip_requirements=(name,)) == []


def test_what_is_wrong_among_masters_alone_is_the_control_planes_to_tell() -> None:
    now = time.time()
    masters = [node(f"master-{last}", last, clock=now) for last in (10, 11)]
    masters.append(node("master-12", 12, clock=now - 600, hostname="master-11"))
    assert balancers(node("lb-1", 101, clock=now), node("lb-2", 102, clock=now), backends=tuple(masters)) == []


def test_balancers_of_an_unknown_system_are_told_with_everything_else() -> None:
    unknown = node("lb-2", 102, os="alpine", os_name="Alpine Linux v3.20", init="init")
    old = node("lb-1", 101, os_version="11", os_name="Debian GNU/Linux 11 (bullseye)")
    said = balancers(old, unknown, backends=(node("master-1", 10),))
    assert [text.split(" — ")[0] for text in said] == [
        "lb-1: Debian GNU/Linux 11 (bullseye) is not among Debian 12/13 and Ubuntu 22.04/24.04/26.04",
        "lb-2: runs Alpine Linux v3.20",
        "lb-2: was started by init",
    ]


def test_each_requirement_of_a_balancer_can_be_passed_over_by_its_name() -> None:
    hosts = [node("lb-1", 101), node("lb-2", 102)]

    def names(*skip: str) -> set[str]:
        lb = LoadBalancer(hosts, "192.168.56.100", [node("master-1", 10)], skip_requirements=skip)
        found = [need for needs in lb.requirements().values() for need in needs if isinstance(need, NodeRequirement)]
        assert all(f'skip_requirements=("{need.name}",)' in need.remedy for need in found)
        return {need.name for need in found}

    assert names() == {"packages", "peers", "size", "space"}
    assert names() <= set(BALANCER_NAMES)
    for name in names():
        assert names(name) == names() - {name}


def test_a_balancer_is_as_large_as_the_guide_wants_it_and_reaches_its_peer_and_all_masters() -> None:
    hosts = [node("lb-1", 101), node("lb-2", 102)]
    lb = LoadBalancer(hosts, "192.168.56.100", [node("master-1", 10), node("master-2", 11)])
    needs = {getattr(need, "name", ""): need for need in lb.requirements()[hosts[0]]}
    size, peers, packages = needs["size"], needs["peers"], needs["packages"]
    assert isinstance(size, Size)
    assert (size.cpus, size.memory_mib, size.disk_gb) == (2, 4096, 50)
    assert isinstance(peers, PeersAnswer)
    assert [name for name, _ in peers.peers] == ["lb-2", "master-1", "master-2"]
    assert isinstance(packages, AptPackagesAtHand)
    assert {"haproxy", "keepalived", "openssl"} <= set(packages.names)


def test_a_node_that_has_joined_is_not_asked() -> None:
    for need in (PortsFree((6443,)), DiskSync(), Space(mib=1), Debian().packages_at_hand("containerd")):
        head, _, rest = need.probe().partition("done\n")
        assert "/etc/kubernetes/kubelet.conf" in head
        assert "exit 0" in head
        assert rest


AUTHORITY, OTHER = (base64.b64encode(text).decode() for text in (b"ours", b"theirs"))


def test_nothing_is_installed_while_a_restore_is_half_way() -> None:
    """What it has stopped would be started, and what it has moved away would be taken for missing."""
    hosts = [node("master-1", 10), node("master-2", 11, restore="/var/lib/k8sha/restore/open")]
    (told,) = causes(*hosts, skip=NAMES)
    assert told.startswith("master-2: a restore of etcd is half-way (/var/lib/k8sha/restore/open is there)")
    assert "undo()" in told
    assert any("half-way" in str(problem) for problem in member_problems(hosts, EtcdSettings()))


def test_a_restore_that_is_over_on_etcds_own_hosts_is_accepted_where_it_was_not_ended() -> None:
    """Called again it would restore again, and there is a restore to be taken back."""
    left = node("master-1", 10, restore="/var/lib/k8sha/restore/open/fencing")
    (told,) = causes(left, skip=NAMES, members=[node("etcd-1", 20), node("etcd-2", 21)])
    assert told.startswith("master-1: a restore that is over on etcd's own hosts was not ended here")
    assert "accept()" in told
    open_there = node("etcd-2", 21, restore="/var/lib/k8sha/restore/open/exchanged")
    (told,) = causes(left, skip=NAMES, members=[node("etcd-1", 20), open_there])
    assert "half-way" in told
    (told,) = causes(node("master-1", 10, fenced="/etc/k8sha-fenced"), skip=NAMES, members=[node("etcd-1", 20)])
    assert told.endswith("move it to /etc/kubernetes/manifests; then install()")


def test_a_member_that_was_stopped_for_itself_is_no_restore_to_be_taken_back() -> None:
    """An ``undo()`` there would take back the last one that came to its end."""
    folder = "/etc/kubernetes/k8sha-fenced"
    (told,) = causes(node("master-1", 10), node("master-2", 11, fenced=folder), skip=NAMES)
    assert told.startswith(
        "master-2: etcd is stopped here, by a rejoin() that was cut off or an undo() that had no data"
    )
    assert told.endswith("plane.etcd.rejoin(master-2) makes its member anew, of what the others have; then install()")
    (told,) = causes(node("master-2", 11, fenced=folder, restore="/var/lib/k8sha/restore/open/fencing"), skip=NAMES)
    assert "a restore of etcd is half-way" in told


@pytest.mark.parametrize(
    ("masters", "workers", "said"),
    [
        (("", "", ""), ("",), []),
        ((AUTHORITY, "", AUTHORITY), (AUTHORITY, ""), []),
        ((AUTHORITY, OTHER, ""), (), ["masters are nodes of 2 clusters: master-1 (authority"]),
        ((AUTHORITY, "", ""), (OTHER,), ["worker-20: is a node of another cluster"]),
        (("", "", ""), (OTHER,), ["none of the masters is in one"]),
    ],
)
def test_a_node_of_another_cluster_is_never_taken_for_ours(
    masters: tuple[str, ...], workers: tuple[str, ...], said: list[str]
) -> None:
    def hosts(kind: str, first: int, authorities: tuple[str, ...]) -> list[Host]:
        given = enumerate(authorities, 1 if kind == "master" else first)
        return [node(f"{kind}-{number}", first + number, authority=text) for number, text in given]

    plane = hosts("master", 9, masters)
    found = [str(problem) for problem in strangers(plane, hosts("worker", 20, workers) if workers else ())]
    assert len(found) == len(said)
    for problem, words in zip(found, said, strict=True):
        assert words in problem
        assert "kubeadm reset" in problem
