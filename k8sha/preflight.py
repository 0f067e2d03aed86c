"""What must be true of hosts before they become nodes: every problem at once, each with a name to pass it over by."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from k8sha.distros import Distro
from k8sha.errors import PreflightError, Problem
from k8sha.facts import Facts
from k8sha.hosts.host import Host
from k8sha.resources.requirements import (
    NODE_MARKS,
    DiskSync,
    Minimum,
    NodeRequirement,
    PeersAnswer,
    PortsFree,
    Resolves,
    SameVersion,
    Size,
)
from k8sha.sources import Role
from k8sha.versions import Version

__all__ = [
    "NAMES",
    "further_problems",
    "host_problems",
    "known_distro",
    "pass_over",
    "role_requirements",
    "size_wanted",
    "system_problems",
    "unfinished_restores",
]

NAMES = (
    "address",
    "cgroup",
    "clock",
    "disk-sync",
    "endpoint",
    "hostname",
    "kernel",
    "mac",
    "machine-id",
    "minimum",
    "networks",
    "packages",
    "peers",
    "ports",
    "product-uuid",
    "size",
    "source",
    "space",
    "system",
    "version",
)
"""Every requirement of a node, as ``NodeSettings(skip_requirements=...)`` names it."""

MAX_SKEW = 1.0
"""Seconds that two hosts' clocks may differ: beyond it etcd's members complain of each other (rafthttp's prober)."""

PORTS: Mapping[Role, tuple[int, ...]] = {"master": (2379, 2380, 6443, 10250, 10257, 10259), "worker": (10250,)}
"""TCP ports by role, from https://kubernetes.io/docs/reference/networking/ports-and-protocols/."""

_SIZES: Mapping[str, tuple[int, int, int]] = {"balancer": (2, 4, 50), "master": (4, 8, 100), "worker": (8, 16, 200)}
"""CPUs, GiB of memory and GB of disk that a host of that role should have in production."""


def pass_over(name: str) -> str:
    """The end of a remedy: how to do without a requirement."""
    return f'or pass over it with skip_requirements=("{name}",)'


def size_wanted(role: str, *, marks: tuple[str, ...] = NODE_MARKS) -> Size:
    """The size that a host of a role should have, before it has one of the files ``marks``."""
    cpus, memory, disk = _SIZES[role]
    return Size(
        cpus=cpus,
        memory_mib=memory * 1024,
        disk_gb=disk,
        marks=marks,
        remedy=f"give a {role} {cpus} CPUs, {memory} GiB and {disk} GB, {pass_over('size')}",
    )


def known_distro(host: Host) -> Distro | None:
    """The family of a host's system, None where it is of none that is known."""
    try:
        return host.distro
    except PreflightError:
        return None


def role_requirements(
    host: Host, role: Role, version: Version, *, peers: Sequence[Host], endpoint: str | None, etcd: bool
) -> Iterator[NodeRequirement]:
    """What a look at one host must find; ``etcd`` if a member is going to run there."""
    yield SameVersion(
        str(version), remedy="install() makes and mends a cluster and never upgrades one: give the version that it has"
    )
    yield size_wanted(role)
    if role == "master":
        yield Minimum(
            cpus=2, memory_mib=1700, disk_gb=0, remedy=f"kubeadm asks for 2 CPUs and 1700 MiB, {pass_over('minimum')}"
        )
    yield PortsFree(PORTS[role], remedy=f"stop what listens there, {pass_over('ports')}")
    others = tuple((peer.name, peer.address) for peer in peers if peer != host)
    if others:
        yield PeersAnswer(others, remedy=f"check routes and firewalls between the hosts, {pass_over('peers')}")
    if endpoint is not None:
        yield Resolves(endpoint, remedy=f"enter it in DNS, or give Endpoint(address=...), {pass_over('endpoint')}")
    if etcd:
        yield DiskSync(remedy=f"give etcd an SSD, and nothing else on it, {pass_over('disk-sync')}")


def system_problems(
    host: Host, version: Version, *, cgroup_v1: bool, kubeadm_checks_kernel: bool
) -> Iterator[tuple[str, Problem]]:
    """What a host's facts say against this version of Kubernetes on it, each with its requirement's name.

    ``cgroup_v1`` if its kubelet is told to run there, ``kubeadm_checks_kernel`` unless that check is passed over.
    """
    facts = host.facts
    distro = known_distro(host)
    unsupported = f"runs {facts.os_name or 'an unknown system'}" if distro is None else distro.supported(facts)
    if unsupported:
        yield (
            "system",
            Problem(host.name, unsupported, f"install a supported system (docs/support.md), {pass_over('system')}"),
        )
    if facts.init != "systemd":
        yield "system", Problem(host.name, f"is run by {facts.init}, not by systemd", "install a system with systemd")
    if problem := _kernel(facts.kernel, version, kubeadm_checks_kernel):
        yield "kernel", Problem(host.name, problem, f"boot a newer kernel, {pass_over('kernel')}")
    if not facts.cgroup_v2 and version >= Version(1, 35, 0) and not cgroup_v1:
        cause = f"uses cgroup v1, on which the kubelet of {version.minor} does not start"
        remedy = 'boot with systemd.unified_cgroup_hierarchy=1, set kubelet={"failCgroupV1": False}'
        yield "cgroup", Problem(host.name, cause, f"{remedy}, {pass_over('cgroup')}")


def _kernel(release: str, version: Version, kubeadm_checks: bool) -> str:
    """Why a kernel won't do. From KernelSpec in k8s.io/system-validators, which kubeadm compiles in."""
    found = re.match(r"(\d+)\.(\d+)", release)
    numbers = (int(found[1]), int(found[2])) if found else (0, 0)
    if numbers < (4, 19):
        return f"runs kernel {release}; 4.19 is the oldest that Kubernetes is run on"
    if (
        kubeadm_checks
        and version >= Version(1, 36, 0)
        and numbers < (6, 0)
        and numbers not in ((5, 4), (5, 10), (5, 15))
    ):
        return f"runs kernel {release}; kubeadm {version.minor} accepts 5.4, 5.10, 5.15 and 6.0 or later"
    return ""


def host_problems(
    hosts: Collection[Host], *, skip: Collection[str] = (), members: Collection[Host] = ()
) -> Iterator[Problem]:
    """What facts show to be wrong between hosts, and with their addresses. The hosts are connected, and so are the
    ``members`` of an etcd of which they are clients."""
    yield from unfinished_restores(hosts, members)
    for name, problem in _between(tuple(hosts)):
        if name not in skip:
            yield problem


def unfinished_restores(hosts: Iterable[Host], members: Collection[Host] = ()) -> Iterator[Problem]:
    """Hosts on which a restore, or taking one back, is half-way: whoever starts what it has stopped, or takes what it
    has moved for missing, makes two clusters of one. So does whoever starts a member alone that was stopped for itself,
    and there is no restore to be called again there, nor to be taken back. The hosts are connected."""
    for host in hosts:
        if host.facts.restore and members and not any(each.facts.restore for each in members):
            cause = f"a restore that is over on etcd's own hosts was not ended here ({host.facts.restore} is there)"
            yield Problem(host.name, cause, "accept() starts what it has left stopped, and ends it; then install()")
        elif host.facts.restore:
            cause = f"a restore of etcd is half-way ({host.facts.restore} is there)"
            yield Problem(host.name, cause, "call the same restore() again, or undo(); then install()")
        elif host.facts.fenced and members:
            cause = f"what a restore has moved to {host.facts.fenced} was not moved back, and none is open"
            yield Problem(host.name, cause, "move it to /etc/kubernetes/manifests; then install()")
        elif host.facts.fenced:
            cause = (
                f"etcd is stopped here, by a rejoin() that was cut off or an undo() that had no data for it "
                f"({host.facts.fenced} is there, and no restore is open)"
            )
            remedy = f"plane.etcd.rejoin({host.name}) makes its member anew, of what the others have; then install()"
            yield Problem(host.name, cause, remedy)


def further_problems(hosts: Collection[Host], others: Collection[Host], *, skip: Collection[str]) -> Iterator[Problem]:
    """What facts show to be wrong with hosts, and between them and others; not what is so among the others alone, who
    are another component's."""
    yield from unfinished_restores(hosts)
    told = {(name, problem.subject) for name, problem in _between(tuple(others))}
    for name, problem in _between((*others, *hosts)):
        if name not in skip and (name, problem.subject) not in told:
            yield problem


def _between(hosts: tuple[Host, ...]) -> Iterator[tuple[str, Problem]]:
    for host in hosts:
        if not host.facts.has_address(host.address):
            has = ", ".join(str(interface.address.ip) for interface in host.facts.interfaces if interface.name != "lo")
            cause = f"{host.address} is none of its addresses ({has})"
            yield "address", Problem(host.name, cause, f"give the address that its peers use, {pass_over('address')}")
    for name, what, value, remedy in _UNIQUE:
        holders: dict[str, list[str]] = defaultdict(list)
        for host in hosts:
            if found := value(host):
                holders[found].append(host.name)
        for found, names in holders.items():
            if len(names) > 1:
                yield name, Problem(", ".join(names), f"have the same {what}: {found}", f"{remedy}, {pass_over(name)}")
    yield from (("clock", problem) for problem in _clocks(hosts))


def _mac(host: Host) -> str:
    for interface in host.facts.interfaces:
        if str(interface.address.ip) == host.address:
            return interface.mac
    return ""


def _fact(read: Callable[[Facts], str]) -> Callable[[Host], str]:
    return lambda host: read(host.facts)


_UNIQUE: tuple[tuple[str, str, Callable[[Host], str], str], ...] = (
    ("hostname", "hostname", _fact(lambda facts: facts.hostname), "set another with hostnamectl set-hostname"),
    (
        "machine-id",
        "machine-id",
        _fact(lambda facts: facts.machine_id),
        "empty /etc/machine-id on the clones and run systemd-machine-id-setup",
    ),
    (
        "product-uuid",
        "product_uuid",
        _fact(lambda facts: facts.product_uuid),
        "make the virtual machine anew with an identity of its own",
    ),
    ("mac", "MAC address", _mac, "give the network card an address of its own"),
)
"""What kubeadm asks to be unique, https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/."""


def _clocks(hosts: tuple[Host, ...]) -> Iterator[Problem]:
    """Hosts whose clocks certainly differ too much from the middle one; what the measurement can't tell is forgiven."""
    if not hosts:
        return
    ordered = sorted(hosts, key=lambda host: host.facts.skew)
    middle = ordered[len(ordered) // 2]
    for host in hosts:
        apart = host.facts.skew - middle.facts.skew
        unsure = host.facts.skew_error + middle.facts.skew_error
        if abs(apart) - unsure > MAX_SKEW:
            yield Problem(
                host.name,
                f"its clock is {abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} {middle.name}'s",
                f"let chrony keep it, {pass_over('clock')}",
            )
