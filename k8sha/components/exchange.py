"""Another host in a dead master's place, and a control plane with fewer masters: day-2 work in stages.

What is refused is refused before the first change, with the arithmetic. The order is that of etcd's own advice: a dead
member is removed before the next is added, because an etcd that counts a dead one among its voters is a loss nearer to
having no quorum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from attrs import frozen

from k8sha import verbs
from k8sha.component import Component, Stages
from k8sha.components.etcd import StackedEtcdHealthy
from k8sha.components.leaving import Fenced, NodeDrained, NodesForgotten
from k8sha.components.masters import ApiReady
from k8sha.components.membership import MemberSeen, MembersOnly, MembersRemoved, ServerSeen, WhatIsThere
from k8sha.components.names import CertificateNames
from k8sha.components.standing import alarmed, newcomer, refusals
from k8sha.errors import PreflightError, Problem, Unreachable
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.operation import carry_out
from k8sha.report import Outcome, Report
from k8sha.resources.resource import Resource
from k8sha.stage import Stage

__all__ = ["Balancer", "Exchange"]


class Balancer(Protocol):
    """What is asked of a load balancer: :class:`k8sha.LoadBalancer` is one."""

    @property
    def balancers(self) -> tuple[Host, ...]:
        """Its own hosts."""

    @property
    def vip(self) -> str:
        """The address that they hold."""

    def with_backends(self, backends: Iterable[Host]) -> Component:
        """The same one in front of other hosts."""

    def rotation(self, backend: str, wanted: bool) -> Stage:
        """A stage that takes a backend out of rotation, or lets it in again."""


@frozen(kw_only=True)
class Exchange:
    """Masters that leave, and perhaps one that comes.

    ``after`` are the masters that there are in the end, ``leaving`` those that go, ``new`` the one of ``after`` that is
    yet to join (None where nobody joins). ``plane`` is the control plane as it is going to be, ``prepare`` the stages
    that make ``new`` a node, ``join`` its joining, ``names`` kubeadm's record of the masters as seen from one of them.
    Without ``stacked`` etcd is elsewhere, and no member comes or goes; ``needs`` are hosts that ``prepare`` works on.
    """

    after: tuple[Host, ...]
    leaving: tuple[Host, ...]
    new: Host | None = None
    balancers: tuple[Balancer, ...] = ()
    components: tuple[Component, ...] = ()
    prepare: Callable[[], Stages] | None = None
    join: Resource | None = None
    names: Callable[[Host], CertificateNames]
    powered_off: bool = False
    stacked: bool = True
    needs: tuple[Host, ...] = ()

    @property
    def staying(self) -> tuple[Host, ...]:
        """The masters that were there before and still are after."""
        return tuple(host for host in self.after if host != self.new)

    def carry_out(self, listen: Listener, *, what: str) -> Report:
        """Do it; safe to run again at any time. Raises PreflightError with nothing changed."""
        reached = tuple(self._reached())
        silent = tuple(host for host in self.staying if not _answers(host))
        own = tuple(host for balancer in self.balancers for host in balancer.balancers)
        hosts = tuple(host for host in dict.fromkeys((*self.after, *own, *reached, *self.needs)) if host not in silent)
        return carry_out("ControlPlane", self._stages(reached, silent, listen), hosts, listen, what=what)

    def _gone(self) -> tuple[Host, ...]:
        """The leaving ones whose address another machine has now: there is nothing left to reach."""
        return tuple(host for host in self.leaving if self.new is not None and host.address == self.new.address)

    def _reached(self) -> Iterator[Host]:
        """The leaving hosts that let us in. Raises PreflightError for one that doesn't and might come back."""
        for host in self.leaving:
            if host in self._gone():
                continue
            try:
                host.connect()
            except Unreachable as error:
                if not self.powered_off:
                    raise PreflightError(
                        [
                            Problem(
                                host.name,
                                f"can't be reached ({error.cause}), and could come back with its old data and serve it",
                                "cut its power, or its network for good, and say so with powered_off=True",
                            )
                        ]
                    ) from None
            else:
                yield host

    def _stages(self, reached: tuple[Host, ...], silent: tuple[Host, ...], listen: Listener) -> Stages:
        asked = (*(host for host in self.staying if host not in silent), *reached)
        look: dict[Host, tuple[Resource, ...]] = {host: (self._seen(host),) for host in asked}
        if self.new is not None:
            look[self.new] = (WhatIsThere(stacked=self.stacked),)
        outcome = yield Stage("what there is", look)
        standing = _Standing.of(self, outcome, reached, silent)
        if standing.problems:
            raise PreflightError(standing.problems)
        joined, helper = standing.joined, standing.helper
        after = tuple(balancer.with_backends(self.after) for balancer in self.balancers)
        if not joined:
            verbs.preflight((*self.components, *after), listen)
            if self.prepare is not None:
                yield from self.prepare()
        yield from self._leave(reached, standing)
        names = {host.name: host.address for host in self.after}
        if self.new is not None and self.join is not None:
            etcd = (StackedEtcdHealthy(expected=tuple(names.items())),) if self.stacked else ()
            yield Stage("join", {self.new: (self.join, ApiReady(self.new.address, patience=240), *etcd)})
        for component in after:
            yield from component.stages()
        if self.new is not None:
            for balancer in self.balancers:
                yield balancer.rotation(self.new.name, True)
        only = _only(names) if self.stacked else ()
        record = {helper: (self.names(helper), *only)}
        yield Stage("what there is in the end", {host: only for host in self.after} | record)

    def _seen(self, host: Host) -> Resource:
        """What tells how a master stands."""
        return MemberSeen() if self.stacked else ServerSeen(host.address)

    def _leave(self, reached: tuple[Host, ...], standing: _Standing) -> Stages:
        """What makes the leaving hosts leave. One that is healthy is asked to agree to it first; any other is stopped
        before anything is decided without it."""
        names = tuple(host.name for host in self.leaving if not (standing.joined and host.name in standing.kept))
        for balancer in self.balancers:
            for name in names:
                yield balancer.rotation(name, False)
        ill = {host: (Fenced(),) for host in reached if host.address not in standing.healthy}
        alive = tuple(host for host in reached if host not in ill)
        if self.new is None and alive:
            drained = tuple(NodeDrained(host.name, standing.helper.address) for host in alive)
            yield Stage("drain", {standing.helper: drained})
        if ill:
            yield Stage("fence", ill)
        forgotten = (NodesForgotten(names, standing.helper.address),) if names else ()
        if self.stacked:
            yield Stage("members that leave", {standing.helper: (MembersRemoved(standing.addresses),)})
        if alive:
            yield Stage("stop what has left", {host: (Fenced(),) for host in alive})
        yield Stage("nodes that leave", {standing.helper: forgotten})


def _answers(host: Host) -> bool:
    """Whether a host can be reached."""
    try:
        host.connect()
    except Unreachable:
        return False
    return True


def _only(names: dict[str, str]) -> tuple[MembersOnly, ...]:
    return (MembersOnly(tuple((name, address) for name, address in names.items())),)


@frozen
class _Standing:
    """What was found before anything is changed."""

    helper: Host
    """A master that stays and is healthy: it carries out what one of them must."""
    healthy: frozenset[str]
    addresses: tuple[str, ...]
    """Of the members that are to be removed, in that order."""
    joined: bool
    kept: frozenset[str]
    """Names of leaving hosts that the new one has taken over."""
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, exchange: Exchange, outcome: Outcome, reached: tuple[Host, ...], silent: tuple[Host, ...]) -> _Standing:
        """Judge what the hosts have said."""
        if not exchange.stacked:
            return cls._of_servers(exchange, outcome, reached, silent)
        problems = [
            Problem(host.name, "is to stay and can't be reached", "bring it back, or take it out with remove()")
            for host in silent
        ]
        asked = (host for host in exchange.staying if host not in silent)
        seen = {host: MemberSeen.parse(outcome.of(host.name, MemberSeen().key)) for host in asked}
        left = {host: MemberSeen.parse(outcome.of(host.name, MemberSeen().key)) for host in reached}
        healthy = {host.address for host, said in {**seen, **left}.items() if said.well and said.members}
        lists = [said.members for said in seen.values() if said.members is not None]
        members = max(lists, key=len, default=())
        for host, said in seen.items():
            if said.members is not None and set(said.members) != set(members):
                problems.append(Problem(host.name, "lists other members than its peers", "wait until they agree"))
        if not lists:
            staying = ", ".join(host.name for host in exchange.staying) or "nobody"
            problems.append(Problem("etcd", f"no member answers of those that stay ({staying})", "restore a snapshot"))
        joined = False
        if exchange.new is not None and lists:
            new = exchange.new
            state, authority, files = WhatIsThere.parse(outcome.of(new.name, WhatIsThere().key))
            cluster = next((said.authority for said in seen.values() if said.authority), "")
            member = next((each for each in members if each.address == new.address), None)
            joined, problem = newcomer(new.name, state, authority, files, cluster=cluster, member=member)
            problems += [problem] if problem else []
            if joined:
                healthy.add(new.address)  # whether it is, is waited for
        addresses = _addresses(exchange, joined)
        alarms = frozenset(alarm for said in seen.values() for alarm in said.alarms)
        problems += alarmed(members, alarms)
        if lists and not alarms:  # with CORRUPT raised nobody is healthy: the arithmetic would lead astray
            strict = exchange.new is not None
            problems += refusals(members, healthy, addresses, others_must_be_healthy=strict)
        helper = next((host for host in exchange.staying if host.address in healthy), exchange.after[0])
        kept = frozenset(host.name for host in exchange.leaving if exchange.new and host.name == exchange.new.name)
        addresses = tuple(sorted(addresses, key=lambda address: address in healthy))  # the dead ones go first
        return cls(helper, frozenset(healthy), addresses, joined, kept, tuple(problems))

    @classmethod
    def _of_servers(
        cls, exchange: Exchange, outcome: Outcome, reached: tuple[Host, ...], silent: tuple[Host, ...]
    ) -> _Standing:
        """The same where etcd is elsewhere: it is its own members' matter whether that has a quorum."""
        problems = [
            Problem(host.name, "is to stay and can't be reached", "bring it back, or take it out with remove()")
            for host in silent
        ]
        asked = tuple(host for host in (*exchange.staying, *reached) if host not in silent)
        seen = {host: ServerSeen.parse(outcome.of(host.name, ServerSeen(host.address).key)) for host in asked}
        healthy = {host.address for host, (ready, _) in seen.items() if ready}
        helper = next((host for host in exchange.staying if host.address in healthy), None)
        if helper is None:
            staying = ", ".join(host.name for host in exchange.staying) or "nobody"
            problems.append(
                Problem("ControlPlane", f"no API server is ready of those that stay ({staying})", "look at diagnose()")
            )
        joined = False
        if exchange.new is not None:
            new = exchange.new
            state, authority, files = WhatIsThere.parse(outcome.of(new.name, WhatIsThere().key))
            cluster = next((own for host, (_, own) in seen.items() if own and host in exchange.staying), "")
            joined, problem = newcomer(new.name, state, authority, files, cluster=cluster, member=None, stacked=False)
            problems += [problem] if problem else []
        kept = frozenset(host.name for host in exchange.leaving if exchange.new and host.name == exchange.new.name)
        return cls(helper or exchange.after[0], frozenset(healthy), (), joined, kept, tuple(problems))


def _addresses(exchange: Exchange, joined: bool) -> tuple[str, ...]:
    """Whose members go: the leaving ones', and what an unfinished join has left at the new one's address."""
    gone = [host.address for host in exchange.leaving]
    if exchange.new is not None:
        gone = [address for address in gone if address != exchange.new.address]
        gone += [] if joined else [exchange.new.address]
    return tuple(dict.fromkeys(gone))
