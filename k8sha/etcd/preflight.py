"""What must be true of hosts before they become members of an etcd under systemd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from k8sha.distros import Distro
from k8sha.errors import Problem
from k8sha.etcd.access import DATA
from k8sha.etcd.member import TOOLS, EtcdSettings
from k8sha.hosts.host import Host
from k8sha.preflight import host_problems, known_distro
from k8sha.resources.requirements import DiskSync, NodeRequirement, PeersAnswer, PortsFree
from k8sha.resources.resource import Requirement

__all__ = ["MemberDisk", "MemberPeers", "MemberPorts", "member_problems", "member_requirements"]

_SKIP = 'or pass over it with EtcdSettings(skip_requirements=("{name}",))'


@frozen
class MemberPorts(PortsFree):
    """TCP ports that nobody listens on yet; on a host whose member runs they are its own."""

    def probe(self) -> str:
        return f"""\
if [ "$(systemctl show -p ActiveState --value etcd.service)" = active ]; then exit 0; fi
if [ -e {DATA}/member ] && [ -e /etc/etcd/etcd.env ]; then exit 0; fi
{self.look()}"""


@frozen
class MemberPeers(PeersAnswer):
    """Every other host answers, whatever runs on this one."""

    def probe(self) -> str:
        return self.look()


@frozen
class MemberDisk(DiskSync):
    """A disk that is fast enough; hosts with etcd's data on them are passed over."""

    def probe(self) -> str:
        return self.look()


def member_problems(hosts: Sequence[Host], settings: EtcdSettings) -> Iterator[Problem]:
    """What facts show to be wrong. The hosts are connected."""
    for host in hosts:
        distro: Distro | None = known_distro(host)
        system = host.facts.os_name or "an unknown system"
        reason = f"runs {system}" if distro is None else distro.supported(host.facts)
        if reason:
            yield Problem(host.name, reason, "install a supported system (docs/support.md)")
        elif distro is not None and not distro.etcd_packages:
            yield Problem(host.name, f"{system} has no package of etcd", "take Debian or Ubuntu for etcd's own hosts")
        if host.facts.init != "systemd":
            yield Problem(host.name, f"is run by {host.facts.init}, not by systemd", "install a system with systemd")
    yield from host_problems(hosts, skip=settings.skip_requirements)


def member_requirements(hosts: Sequence[Host], settings: EtcdSettings) -> Mapping[Host, tuple[Requirement, ...]]:
    """What a look at each host must find."""
    return {host: tuple(_of(host, hosts, settings)) for host in hosts}


def _of(host: Host, hosts: Sequence[Host], settings: EtcdSettings) -> Iterator[Requirement]:
    others = tuple((peer.name, peer.address) for peer in hosts if peer != host)
    wanted: list[NodeRequirement] = [
        MemberPorts((2379, 2380, 2381), remedy=f"stop what listens there, {_SKIP.format(name='ports')}"),
        MemberDisk(remedy=f"give etcd an SSD, and nothing else on it, {_SKIP.format(name='disk-sync')}"),
    ]
    if others:
        remedy = f"check routes and firewalls between the hosts, {_SKIP.format(name='peers')}"
        wanted.append(MemberPeers(others, remedy=remedy))
    yield from (each for each in wanted if each.name not in settings.skip_requirements)
    if "packages" not in settings.skip_requirements:
        remedy = f"add a repository that has them, {_SKIP.format(name='packages')}"
        yield host.distro.packages_at_hand(*host.distro.etcd_packages, *TOOLS, remedy=remedy)
