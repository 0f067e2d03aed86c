"""Cluster: components in order, installed as one."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TypeVar

from attrs import field, frozen

from k8sha import events, verbs
from k8sha.artifacts import Artifact
from k8sha.component import Component
from k8sha.components.control_plane import ControlPlane
from k8sha.components.diagnosis.report import Diagnosis
from k8sha.components.networks import address_problems
from k8sha.components.workers import Workers
from k8sha.errors import ConfigError, Problem
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host
from k8sha.loadbalancers.external import ExternalLoadBalancer
from k8sha.loadbalancers.loadbalancer import LoadBalancer
from k8sha.report import Plan, Report

__all__ = ["Cluster"]

T = TypeVar("T", bound=Component)


@frozen(init=False)
class Cluster:
    """Everything that makes one cluster, in the order in which it is installed.

    Use it as a context manager: links to hosts are opened when first needed and closed at the end. One installer at a
    time: ``install`` takes a lock on every host before the first change, which the kernel frees whatever happens to us.
    """

    components: tuple[Component, ...] = field()

    def __init__(self, *components: Component) -> None:
        self.__attrs_init__(components)
        problems = list(self._problems())
        if problems:
            raise ConfigError(problems)

    def _problems(self) -> Iterator[Problem]:
        for attribute in ("name", "address"):
            holders: dict[str, Host] = {}
            for host in self.hosts:
                value = getattr(host, attribute)
                other = holders.setdefault(value, host)
                if other != host:
                    cause = f"{attribute} {value} is of two hosts: {other.name} and {host.name}"
                    yield Problem("Cluster", cause, "give each host its own, and all components the same Host objects")
        yield from self._role_problems()
        for pair in self.of(LoadBalancer):
            yield from self._pair_problems(pair)
        yield from self._endpoint_problems()
        yield from self._etcd_problems()
        yield from self._order_problems()
        yield from self._label_problems()
        yield from self._owner_problems()

    def _role_problems(self) -> Iterator[Problem]:
        """Hosts in two roles. Components refuse what they see themselves; this is what only all of them show."""
        pairs, planes, groups = self.of(LoadBalancer), self.of(ControlPlane), self.of(Workers)
        balancers = [host for pair in pairs for host in pair.balancers]
        masters = {host for plane in planes for host in plane.hosts}
        workers = [host for group in groups for host in group.hosts]
        for host in dict.fromkeys(balancers):
            others = [role for role, hosts in (("a master", masters), ("a worker", workers)) if host in hosts]
            if others:
                cause = f"is a balancer and {' and '.join(others)}"
                yield Problem(host.name, cause, "a host has one role: give the load balancer hosts of its own")
            if balancers.count(host) > 1:
                yield Problem(
                    host.name, "is a balancer of two load balancers", "a host holds one VIP: give each two hosts"
                )
        for host in dict.fromkeys(workers):
            if workers.count(host) > 1:
                yield Problem(host.name, "is given in two Workers", "list each worker once")
            if any(host in masters - set(group.plane.hosts) for group in groups):
                yield Problem(host.name, "is a worker and a master", "a host has one role")

    def _pair_problems(self, pair: LoadBalancer) -> Iterator[Problem]:
        """What is wrong between a load balancer and the other components."""
        for host in self.hosts:
            if host not in pair.hosts and host.address == pair.vip:
                yield Problem(f"VIP {pair.vip}", f"is {host.name}'s own address", "take an address that no host has")
        planes = self.of(ControlPlane)
        for plane in planes:
            called = f"the VIP {pair.vip}"
            yield from address_problems(plane.cluster, pair.balancers, (called, pair.vip), subject="LoadBalancer")
        if len(planes) == 1 and set(pair.backends) != set(planes[0].hosts):
            given, wanted = (", ".join(map(str, hosts)) for hosts in (pair.backends, planes[0].hosts))
            cause = f"its backends are {given}, and the masters are {wanted}"
            yield Problem("LoadBalancer", cause, "give both the same hosts")

    def _endpoint_problems(self) -> Iterator[Problem]:
        """Control planes whose API is reached past all load balancers. Where a name leads, only DNS knows."""
        pairs = self.of(LoadBalancer)
        known = {(pair.vip, pair.port) for pair in pairs}
        for external in self.of(ExternalLoadBalancer):
            known.add((external.endpoint.address or external.endpoint.host, external.endpoint.port))
        for plane in self.of(ControlPlane) if pairs else ():
            endpoint = plane.endpoint
            address = endpoint.host if endpoint.is_ip else endpoint.address
            if address is not None and (address, endpoint.port) not in known:
                offered = ", ".join(f"{vip}:{port}" for vip, port in sorted(known))
                leads = "" if endpoint.is_ip else f", which leads to {address},"
                cause = f"its endpoint {endpoint}{leads} is none of the load balancers' ({offered})"
                yield Problem(
                    "ControlPlane", cause, "give it endpoint=lb.endpoint, or list an ExternalLoadBalancer for it"
                )

    def _owner_problems(self) -> Iterator[Problem]:
        """Add-ons that are known by one name: what one has made has left the manifest of the other, and goes."""
        holders: dict[str, Component] = {}
        for part in self.components:
            if part.owner and holders.setdefault(part.owner, part) != part:
                cause = f"is there twice, and differs: each would delete the objects of the other ({part.owner})"
                yield Problem(part.name, cause, part.apart or "give one of the two a name of its own")

    def _etcd_problems(self) -> Iterator[Problem]:
        """What is wrong with the place of an etcd that is a control plane's and not inside it."""
        seen: list[Component] = []
        for part in self.components:
            if isinstance(part, ControlPlane) and not part.etcd.stacked:
                if part.etcd not in seen and part.etcd in self.components:
                    yield Problem("Cluster", "its etcd comes after the ControlPlane", "list the EtcdCluster before it")
                for pair in self.of(LoadBalancer):
                    for host in part.etcd.hosts:
                        if host in pair.balancers:
                            cause = "is a balancer and a member of etcd: a busy one would slow the other down"
                            yield Problem(host.name, cause, "give etcd hosts of its own")
            seen.append(part)

    def _order_problems(self) -> Iterator[Problem]:
        """Components that build on one which would not be there when their turn comes."""
        for position, part in enumerate(self.components):
            for other in part.follows:
                if other not in self.components[:position]:
                    found = "comes after it" if other in self.components else "is not in the cluster"
                    yield Problem(part.name, f"builds on {other.name}, which {found}", f"list {other.name} before it")

    def _label_problems(self) -> Iterator[Problem]:
        """Labels and taints that nobody would set."""
        marked = [host for host in self.hosts if host.labels or host.taints]
        if marked:
            from k8sha.policies.nodes import Nodes

            kept = {host for part in self.of(Nodes) for host in part.hosts}
            for host in marked:
                if host not in kept:
                    yield Problem(host.name, "its labels and taints are kept by nothing", "add Nodes(plane, workers)")

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host, once."""
        return tuple(dict.fromkeys(host for part in self.components for host in (*part.hosts, *part.needs)))

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """The components of a kind."""
        return tuple(part for part in self.components if isinstance(part, kind))

    def artifacts(self) -> tuple[Artifact, ...]:
        """Every image and file that it takes from elsewhere, each once for each component that wants it.

        :func:`k8sha.artifacts.unreachable` says which of them can't be had from here.
        """
        return tuple(dict.fromkeys(found for part in self.components for found in part.artifacts()))

    def plan(self, listen: Listener = ignore) -> Plan:
        """What an install would change, host by host and line by line. Touches nothing."""
        return verbs.plan(self.components, listen)

    def install(self, listen: Listener = ignore) -> Report:
        """Make it so; safe to run again at any time. See :meth:`k8sha.component.Component.install` for errors."""
        return verbs.install(self.components, listen)

    def verify(self, listen: Listener = ignore) -> tuple[events.Checked, ...]:
        """Prove that it works. Raises VerifyError with everything that is wrong."""
        return verbs.verify(self.components, listen)

    def diagnose(self, listen: Listener = ignore) -> Diagnosis:
        """What is wrong, the likely cause first: see :meth:`k8sha.ControlPlane.diagnose`.

        Raises ConfigError where there is no control plane among the components.
        """
        for plane in self.of(ControlPlane):
            workers = tuple(host for part in self.of(Workers) for host in part.hosts)
            return plane.diagnose(balancers=self.of(LoadBalancer), workers=workers, listen=listen)
        raise ConfigError.of(
            "Cluster", "has no ControlPlane to diagnose", "list one, or ask each component to verify()"
        )

    def close(self) -> None:
        """Close the link to every host, and the connections to the API server. The next use opens new ones."""
        for plane in self.of(ControlPlane):
            plane.api.close()  # first: its connections may go through a host's link
        for host in self.hosts:
            host.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
