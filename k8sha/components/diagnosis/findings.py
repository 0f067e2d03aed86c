"""What is wrong, as a value, and all that was read, as the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import field, frozen

from k8sha.components.diagnosis.symptoms import HostSymptoms

__all__ = ["Finding", "Rule", "Symptoms"]


@frozen
class Finding:
    """Something that is wrong: where, what, what shows it, and what to do about it. Low ranks come first."""

    rank: int
    where: str
    cause: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""


@frozen
class Symptoms:
    """What was read of every host. ``vip`` and balancers may be missing; ``endpoint`` is where the API is reached."""

    hosts: tuple[HostSymptoms, ...]
    endpoint: str = ""
    vip: str = ""
    voters: tuple[tuple[str, str], ...] = field(init=False)
    """etcd's voters (name, address), as the members that answer list them; else the hosts that should be members."""

    @voters.default
    def _voters(self) -> tuple[tuple[str, str], ...]:
        lists = [host.etcd.voters for host in self.members if host.etcd.voters]
        return max(lists, key=len, default=tuple((host.name, host.address) for host in self.members))

    def of(self, role: str) -> tuple[HostSymptoms, ...]:
        """The hosts of a role that were read."""
        return tuple(host for host in self.hosts if host.role == role and not host.unreachable)

    @property
    def masters(self) -> tuple[HostSymptoms, ...]:
        """Every master, read or not."""
        return tuple(host for host in self.hosts if host.role == "master")

    @property
    def members(self) -> tuple[HostSymptoms, ...]:
        """Every host that has a member of etcd, read or not: the masters, unless etcd has hosts of its own."""
        return tuple(host for host in self.hosts if host.role == "etcd") or self.masters

    @property
    def read(self) -> tuple[HostSymptoms, ...]:
        """The hosts that were read."""
        return tuple(host for host in self.hosts if not host.unreachable)

    @property
    def installed(self) -> bool:
        """Whether there is a cluster on any master that was read; where none could be, that there is."""
        read = self.of("master")
        return any(host.state not in ("", "none") for host in read) or (not read and bool(self.masters))


Rule = Callable[[Symptoms], Iterator[Finding]]
