"""Whole machines: frozen, or without power. Stopping the kubelet on a master is not among these: its static pods live
on without it, so API server and etcd would not notice, and a test that does it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Literal

from attrs import field, frozen

from k8sha import Host

from ..subject import Power, Subject
from .fault import Fault, Injected

__all__ = ["Frozen", "PowerCut"]

Whom = Literal["holder", "master", "leader"]
"""Whose machine: the balancer with the VIP, a master that does not lead etcd, or the machine whose
member leads."""

_POWERLESS = "power over machines (the lab's own, or an object `power` in the cluster's module)"


def missing(whom: Whom, subject: Subject) -> str:
    """What a cluster lacks for a fault of that machine."""
    if subject.power is None:
        return _POWERLESS
    if whom == "holder":
        return "" if len(subject.balancer_hosts) > 1 else "a second balancer to take over"
    if whom == "leader":
        return majority(subject)
    return "" if len(subject.masters) > 2 else "three masters, so that a majority is left"


def majority(subject: Subject) -> str:
    """What a cluster lacks for the loss of a member of its etcd."""
    if subject.etcd is None:
        return "etcd"
    return "" if len(subject.etcd.hosts) > 2 else "three members of etcd, so that a majority is left"


def choose(whom: Whom, subject: Subject, random: Random) -> Host:
    """The machine that it hits. Raises LookupError where there is none."""
    if whom == "holder":
        holders = subject.holders()
        if len(holders) != 1:
            raise LookupError(f"the VIP is held by {', '.join(map(str, holders)) or 'no balancer'}, not by one")
        return holders[0]
    if whom == "leader":
        return subject.etcd_leader()
    leader = subject.etcd_leader() if subject.etcd is not None else None
    return random.choice([host for host in subject.masters if host != leader])


_ROLE: dict[Whom, str] = {
    "holder": "the balancer that held the VIP",
    "master": "a master",
    "leader": "whose etcd member led",
}


@contextmanager
def _machine(
    host: Host, sentence: str, harm: Callable[[str], float | None], heal: Callable[[str], None]
) -> Iterator[Injected]:
    try:
        since = harm(host.name)
        yield Injected(host, sentence, since)
    finally:
        heal(host.name)
        host.close()  # its link may be dead: the next look opens a new one


def _power(subject: Subject) -> Power:
    if subject.power is None:
        raise LookupError(_POWERLESS)
    return subject.power


@frozen
class Frozen(Fault):
    """A machine whose processors stop at once: nothing in it runs, no connection is closed, no reset is sent. A
    hypervisor that stalls, a kernel that hangs, a storage that blocks."""

    whom: Whom = field(kw_only=True)

    def missing(self, subject: Subject) -> str:
        """See :meth:`Fault.missing`."""
        return missing(self.whom, subject)

    @contextmanager
    def inject(self, subject: Subject, random: Random) -> Iterator[Injected]:
        """See :meth:`Fault.inject`."""
        power, host = _power(subject), choose(self.whom, subject, random)
        host.close()
        with _machine(host, f"{host.name}, {_ROLE[self.whom]}, was frozen", power.freeze, power.thaw) as injected:
            yield injected


@frozen
class PowerCut(Fault):
    """A machine whose power is cut, and that comes back."""

    whom: Whom = field(kw_only=True)

    def missing(self, subject: Subject) -> str:
        """See :meth:`Fault.missing`."""
        return missing(self.whom, subject)

    @contextmanager
    def inject(self, subject: Subject, random: Random) -> Iterator[Injected]:
        """See :meth:`Fault.inject`."""
        power, host = _power(subject), choose(self.whom, subject, random)
        host.close()
        said = f"the power of {host.name}, {_ROLE[self.whom]}, was cut"
        with _machine(host, said, power.power_off, power.power_on) as injected:
            yield injected
