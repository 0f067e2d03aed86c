"""What must not begin: a whole cluster of hosts of which one is not fit, and not one of them is changed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve, field, frozen

from k8sha import Cluster, ClusterSettings, ControlPlane, Host, LoadBalancer, Workers
from k8sha.errors import HostErrors, K8shaError, PreflightError, Unreachable
from k8sha.hosts.program import Began, Did, End, Frame, Program, Saw

from .node_hosts import node
from .tiny_bundle import make

Answer = Callable[[str, str], bytes | None]
"""What a host, by its name, prints for a shell text; None for what a fit one prints."""


def fit(text: str) -> bytes:
    """What a fit host prints where it must print something."""
    if "Max open files" in text:
        return b"hard 1048576\ncapabilities 000001ffffffffff\nmost 1048576\n"
    return b""


@frozen(eq=False)
class Machine:
    """One host: its facts, and what it prints. ``applied`` are all hosts' changes."""

    facts: str
    answer: Answer
    applied: list[tuple[str, str]]
    lost: bool = False
    name: str = ""
    alive: bool = True

    def open(self, name: str, address: str) -> Machine:
        if self.lost:
            raise Unreachable(name, f"no connection to {address}:22: timed out", "check that the host is up")
        return evolve(self, name=name)

    def run(self, program: Program) -> Iterator[Frame]:
        for index, snippet in enumerate(program.applies):
            self.applied.append((self.name, snippet.text))
            yield Began(index)
            yield Did(index, 0, b"", b"", 0.0)
        yield Saw(tuple((0, self.say(probe.text), b"") for probe in program.probes))
        yield End()

    def say(self, text: str) -> bytes:
        if "/etc/os-release" in text:
            return self.facts.encode()
        said = self.answer(self.name, text)
        return fit(text) if said is None else said

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        self.applied.append((self.name, f"upload {destination}"))

    def tunnel(self, address: str, port: int) -> socket.socket:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@frozen
class Site:
    """Eight hosts that become a cluster, and what was changed on them."""

    folder: Path
    facts: dict[str, dict[str, object]] = field(factory=dict)
    answer: Answer = lambda name, text: None
    lost: str = ""
    settings: ClusterSettings = field(factory=ClusterSettings)
    applied: list[tuple[str, str]] = field(factory=list)

    def host(self, name: str, last: int) -> Host:
        made = node(name, last, **{"clock": time.time(), **self.facts.get(name, {})})  # type: ignore[arg-type]
        machine = Machine(made.ssh.text, self.answer, self.applied, name == self.lost)  # type: ignore[attr-defined]
        return evolve(made, ssh=machine)

    def cluster(self) -> Cluster:
        masters = [self.host(f"master-{number}", 9 + number) for number in (1, 2, 3)]
        lb = LoadBalancer([self.host("lb-1", 101), self.host("lb-2", 102)], "192.168.56.100", masters)
        plane = ControlPlane(
            hosts=masters,
            endpoint=lb.endpoint,
            version="1.33.13",
            source=make(self.folder),
            cluster=self.settings,
        )
        workers = [self.host(f"worker-{number}", 19 + number) for number in (1, 2, 3)]
        return Cluster(lb, plane, Workers(hosts=workers, plane=plane))

    def refused(self) -> K8shaError:
        """The error that an install ends with, before anything was changed anywhere."""
        with pytest.raises(K8shaError) as caught:
            self.cluster().install()
        assert self.applied == []
        return caught.value

    def problems(self) -> dict[str, list[str]]:
        """Each cause that stands in the way, by host. Each has a remedy."""
        error = self.refused()
        assert isinstance(error, PreflightError)
        assert all(problem.remedy for problem in error.problems)
        found: dict[str, list[str]] = {}
        for problem in error.problems:
            found.setdefault(problem.subject, []).append(problem.cause)
        return found


def test_a_fit_site_is_not_refused(tmp_path: Path) -> None:
    """Otherwise nothing else here would say anything: it comes as far as the first changes, which these hosts feign."""
    site = Site(tmp_path)
    with pytest.raises(K8shaError) as caught:
        site.cluster().install()
    assert not isinstance(caught.value, PreflightError)
    assert site.applied != []


@pytest.mark.parametrize("name", ["lb-2", "master-3", "worker-1"])
def test_a_host_that_is_not_reached_keeps_all_others_as_they_are(tmp_path: Path, name: str) -> None:
    error = Site(tmp_path, lost=name).refused()
    errors = error.errors if isinstance(error, HostErrors) else (error,)
    (lost,) = [each for each in errors if isinstance(each, Unreachable)]
    assert lost.host == name
    assert lost.remedy


@pytest.mark.parametrize("name", ["lb-2", "master-3", "worker-1"])
@pytest.mark.parametrize(
    "facts",
    [
        {"os": "alpine", "os_name": "Alpine Linux v3.20"},
        {"os": "centos", "os_like": "rhel fedora", "os_version": "8", "os_name": "CentOS Linux 8"},
    ],
)
def test_an_unsupported_system_is_refused_on_any_host(tmp_path: Path, name: str, facts: dict[str, object]) -> None:
    (found,) = Site(tmp_path, {name: facts}).problems().items()
    assert found[0] == name
    assert str(facts["os_name"]).split()[0] in found[1][0]


def full(name: str, text: str) -> bytes | None:
    if name == "master-2" and "dd if=/dev/zero" in text:
        return b"dd: error writing '/var/lib/.k8sha.sync': No space left on device\n"
    if name == "master-2" and "df -Pm" in text:
        return b"/var/lib 100000 0\n"
    return None


def test_a_full_disk_of_a_master_is_told_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    found = Site(tmp_path, {"lb-1": {"os": "alpine"}}, full).problems()
    assert set(found) == {"master-2", "lb-1"}
    space, sync = sorted(found["master-2"])
    assert space.startswith("/var/lib has 0 MiB free of 100000")
    assert "No space left on device" in sync


@pytest.mark.parametrize("name", ["lb-1", "master-2", "worker-3"])
def test_a_clock_that_is_ten_minutes_behind_is_refused_on_any_host(tmp_path: Path, name: str) -> None:
    found = Site(tmp_path, {name: {"clock": time.time() - 600}}).problems()
    assert list(found) == [name]
    assert all("its clock is" in cause for cause in found[name])


def test_a_pod_network_beside_the_hosts_own_is_refused_by_their_facts(tmp_path: Path) -> None:
    found = Site(tmp_path, settings=ClusterSettings(pod_cidr="192.168.56.128/25")).problems()
    assert set(found) == {f"{role}-{number}" for role in ("master", "worker") for number in (1, 2, 3)}


def small(name: str, text: str) -> bytes | None:
    sizes = {"lb-2": b"cpus 1\nmemory 1024\ndisk 10\n"}
    return sizes.get(name) if "cpus $(nproc)" in text else None


def test_all_of_it_is_one_trip_a_host_beside_the_one_for_facts_and_lock(tmp_path: Path) -> None:
    cluster = Site(tmp_path, answer=small).cluster()
    with pytest.raises(PreflightError):
        cluster.install()
    assert {host.name: host.trips for host in cluster.hosts} == {host.name: 2 for host in cluster.hosts}


def test_a_balancer_that_is_too_small_is_refused_as_the_guide_would(tmp_path: Path) -> None:
    found = Site(tmp_path, answer=small).problems()
    assert list(found) == ["lb-2"]
    assert found["lb-2"] == [
        "has 1 CPUs, 2 are wanted",
        "has 1024 MiB of memory, 4096 are wanted",
        "has 10 GB in /var/lib's file system, 50 are wanted",
    ]
