"""LoadBalancer: one address for all API servers, on two hosts of which either is enough."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

from attrs import evolve, field, frozen

from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, PreflightError, Problem
from k8sha.events import Listener, ignore
from k8sha.facts import Interface
from k8sha.hosts.host import Host, as_hosts
from k8sha.loadbalancers import checks, handover
from k8sha.loadbalancers.away import backends_may_be_away
from k8sha.loadbalancers.conditions import BalancerReady, VIPHolder
from k8sha.loadbalancers.exchange import InRotation
from k8sha.loadbalancers.faults import faults
from k8sha.loadbalancers.haproxy import HAProxy
from k8sha.loadbalancers.keepalived import VRRP, router_id_of, version_of
from k8sha.loadbalancers.preflight import (
    FirewallOpen,
    OpenFiles,
    PortFree,
    VIPFree,
    balancer_problems,
    balancer_requirements,
)
from k8sha.loadbalancers.proxy import Backend, Proxy, Service
from k8sha.loadbalancers.statistics import BalancerStatistics
from k8sha.report import Outcome, Plan, Report
from k8sha.resources import CertificateAuthority, Command, KnownAfter, Requirement, Resource
from k8sha.resources.files import Contents
from k8sha.resources.packages import versions_seen
from k8sha.stage import Stage

__all__ = ["LoadBalancer"]

_PRIORITIES = (110, 100)
"""Different, so that two that start at once agree; they never move a VIP that is held (nopreempt)."""


def _as_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class LoadBalancer(Component):
    """Two hosts with a proxy and keepalived; one of them holds the VIP, a third address on their network.

    ``backends`` are the control-plane hosts; they need not be there as API servers yet. ``ca`` is made on the first of
    them, if none of them has it, so that the proxy can verify API servers from the first day. ``profile`` says how
    fast a silent balancer is given up: ``fast`` 0.2 s between adverts, ``calm`` 0.5 s, ``live-migration`` 1 s.
    ``skip_requirements`` are preflight's, by name (``k8sha.loadbalancers.preflight.NAMES``).
    ``router_id`` is VRRP's, unique on the network; if None it follows from the VIP. With ``endpoint_name`` the API's
    address is that name, which hosts resolve to the VIP.

    >>> lb = LoadBalancer([lb_1, lb_2], "192.168.56.100", masters)  # doctest: +SKIP
    >>> ControlPlane(masters, endpoint=lb.endpoint, ...)  # doctest: +SKIP
    """

    begins_early: ClassVar[bool] = True

    balancers: tuple[Host, ...] = field(converter=as_hosts, alias="hosts")
    vip: str
    backends: tuple[Host, ...] = field(converter=as_hosts)
    port: int = field(default=6443, kw_only=True)
    backend_port: int = field(default=6443, kw_only=True)
    profile: str = field(default="fast", kw_only=True)
    proxy: Proxy = field(factory=HAProxy, kw_only=True)
    router_id: int | None = field(default=None, kw_only=True)
    ca: CertificateAuthority = field(factory=CertificateAuthority, kw_only=True)
    endpoint_name: str | None = field(default=None, kw_only=True)
    skip_requirements: tuple[str, ...] = field(default=(), converter=_as_names, kw_only=True)

    def __attrs_post_init__(self) -> None:
        found = tuple(faults(self))
        if found:
            raise ConfigError(found)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The balancers, and the hosts that may have the CA."""
        return (*self.balancers, *self.backends)

    @property
    def endpoint(self) -> Endpoint:
        """Where the API is reached."""
        if self.endpoint_name is None:
            return Endpoint(self.vip, self.port)
        return Endpoint(self.endpoint_name, self.port, address=self.vip)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from balancer_problems(self.balancers, self.backends, skip=self.skip_requirements)
        yield from self._vip_problems(self.backends)

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        macs = tuple(interface.mac for host in self.balancers for interface in host.facts.interfaces if interface.mac)
        return {host: self._requirements(host, macs) for host in self.balancers}

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        problems = tuple(self._vip_problems(self.backends[:1]))
        if problems:
            raise PreflightError(problems)
        packages = {host: host.distro.packages(*self._packages) for host in self.balancers}
        holder, authority = VIPHolder(self.vip), Contents(f"{self.ca.path}.crt")
        # Early, so that no balancer waits for a master that is being prepared.
        outcome = yield Stage(
            "who has the certificate authority", {host: (authority,) for host in self.backends}, early=True
        )
        pem = self._found(outcome, authority)
        if pem is None:
            maker = self.backends[0]
            work = {maker: (maker.distro.packages("openssl"), self.ca)}
            made = yield Stage("certificate authority", work, early=True)
            pem = self.ca.pem(made.of(maker.name, self.ca.key))
        outcome = yield Stage("packages", {host: (packages[host], _SELINUX, holder) for host in self.balancers})
        service = self._service(pem or KnownAfter(f"the certificate authority is made on {self.backends[0].name}"))
        balancing = {
            host: self._resources(host, service, versions_seen(outcome.of(host.name, packages[host].key)))
            for host in self._backup_first(outcome, holder)
        }
        yield Stage("proxy and VIP", balancing, batch=1)

    def plan(self, listen: Listener = ignore) -> Plan:
        """See :meth:`Component.plan`."""
        with backends_may_be_away(self.backends):
            return super().plan(listen)

    def install(self, listen: Listener = ignore) -> Report:
        """See :meth:`Component.install`."""
        with backends_may_be_away(self.backends):
            return super().install(listen)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return checks.checks(self.balancers, self.vip, self.port, self.proxy)

    def statistics(self) -> tuple[BalancerStatistics, ...]:
        """What each balancer's proxy counted: how the load is spread, and the backends' states. One trip a balancer."""
        return tuple(checks.statistics(host, self.vip, self.proxy) for host in self.balancers)

    def drain(self, host: Host, listen: Listener = ignore) -> Report:
        """Keep a balancer from holding the VIP, handing it over first if it does, with no request refused.

        It lasts until :meth:`undrain`, also over a reboot. Raises NotReady, with nothing changed, where the other
        balancer could not take over.
        """
        return handover.drain(self.name, self._one(host), self._other(host), self._ready, self.vip, listen)

    def undrain(self, host: Host, listen: Listener = ignore) -> Report:
        """Let a drained balancer take part again. The VIP stays where it is."""
        return handover.undrain(self.name, self._one(host), self._ready, listen)

    def with_backends(self, backends: Iterable[Host]) -> LoadBalancer:
        """The same balancers in front of other control-plane hosts."""
        return evolve(self, backends=tuple(backends))

    def rotation(self, backend: str, wanted: bool) -> Stage:
        """A stage after which a backend, by its name, gets connections from the balancers, or none and keeps none."""
        what = f"{backend} {'gets connections again' if wanted else 'gets no more connections'}"
        return Stage(what, {host: (InRotation(self.proxy, backend, wanted),) for host in self.balancers})

    @property
    def _packages(self) -> tuple[str, ...]:
        return (*self.proxy.packages, "keepalived", "openssl")

    @property
    def _ready(self) -> BalancerReady:
        return BalancerReady(self.vip, self.port, self.proxy.name, patience=60)

    def _one(self, host: Host) -> Host:
        if host not in self.balancers:
            raise ConfigError.of(host.name, "is not one of the balancers", ", ".join(map(str, self.balancers)))
        return host

    def _other(self, host: Host) -> Host:
        first, second = self.balancers
        return second if host == first else first

    def _interface(self, host: Host) -> Interface | None:
        """The interface on the VIP's network, with the address that is the host's own."""
        vip = ipaddress.ip_address(self.vip)
        for interface in host.facts.interfaces:
            address = interface.address
            if address.version == vip.version and vip in address.network and vip != address.ip:
                return interface
        return None

    def _vip_problems(self, backends: tuple[Host, ...]) -> Iterator[Problem]:
        """What makes it impossible to say how the VIP would be held."""
        for host in backends:
            if host.facts.has_address(self.vip):
                yield Problem(host.name, f"has the VIP {self.vip} as its own address", "take an unused address")
        networks: set[str] = set()
        for host in self.balancers:
            interface = self._interface(host)
            if interface is None:
                yield Problem(
                    host.name,
                    f"has no interface on the VIP's network: {self.vip} is in none of its subnets",
                    "take an unused address of the balancers' own subnet",
                )
                continue
            network = interface.address.network
            networks.add(str(network))
            if self.vip in (str(network.network_address), str(network.broadcast_address)):
                yield Problem(host.name, f"{self.vip} is not a host's address in {network}", "take another one")
        if len(networks) > 1:
            names = " and ".join(map(str, self.balancers))
            yield Problem(names, f"stand on different networks: {', '.join(sorted(networks))}", "VRRP needs one")

    def _requirements(self, host: Host, macs: tuple[str, ...]) -> tuple[Requirement, ...]:
        interface = self._interface(host)
        free = "take an unused address, or turn that machine off"
        stop = "stop it, or take another port"
        return (
            *((VIPFree(self.vip, interface.name, macs, remedy=free),) if interface else ()),
            PortFree(self.port, self.proxy.program, remedy=stop),
            *(PortFree(port, self.proxy.program, remedy=stop) for port in self.proxy.ports),
            FirewallOpen(self.port, remedy="firewall-cmd --permanent --add-port=.../tcp --add-protocol=vrrp, --reload"),
            OpenFiles(self.proxy.open_files, remedy="raise the host's limit, or lower the proxy's maxconn"),
            *balancer_requirements(host, self.hosts, self._packages, skip=self.skip_requirements),
        )

    def _found(self, outcome: Outcome, authority: Contents) -> str | None:
        """The CA that most backends have: a master that was made anew has none yet, or one that nobody else knows."""
        seen = (self.ca.pem(outcome.of(host.name, authority.key)) for host in self.backends)
        counted = Counter(pem for pem in seen if pem is not None)
        return counted.most_common(1)[0][0] if counted else None

    def _backup_first(self, outcome: Outcome, holder: VIPHolder) -> list[Host]:
        """The balancers, the one that holds the VIP last."""
        return sorted(self.balancers, key=lambda host: holder.holds(outcome.of(host.name, holder.key)))

    def _service(self, pem: str | KnownAfter) -> Service:
        backends = tuple(Backend(host.name, host.address, self.backend_port) for host in self.backends)
        return Service(self.port, backends, pem)

    def _resources(self, host: Host, service: Service, versions: dict[str, str]) -> tuple[Resource, ...]:
        keepalived = versions.get("keepalived")
        vrrp = self.vrrp(host, None if keepalived is None else version_of(keepalived))
        settings = vrrp.proxy_settings()
        proxy = self.proxy.resources(service, settings)
        return (*vrrp.prepare(), settings, *proxy, *vrrp.resources(), self._ready)

    def vrrp(self, host: Host, version: tuple[int, ...] | None) -> VRRP:
        """A balancer's part of the pair, for a version of keepalived, None where that is not known yet. Both hosts are
        on the VIP's network."""
        mine, others = self._interface(host), self._interface(self._other(host))
        assert mine is not None
        assert others is not None
        at = self.balancers.index(host)
        return VRRP(
            name=host.name,
            vip=self.vip,
            prefix=mine.address.network.prefixlen,
            port=self.port,
            interface=mine.name,
            address=str(mine.address.ip),
            peer=str(others.address.ip),
            router_id=self.router_id or router_id_of(self.vip),
            priority=_PRIORITIES[at],
            peer_priority=_PRIORITIES[1 - at],
            profile=self.profile,
            proxy_unit=self.proxy.unit,
            proxy_files=self.proxy.open_files,
            version=version,
        )


_SELINUX = Command(
    "SELinux lets the balancer connect",
    done="""\
if [ -d /sys/fs/selinux ] && command -v getsebool >/dev/null; then
  for name in haproxy_connect_any keepalived_connect_any; do
    case $(getsebool "$name") in *' on') ;; *) echo "$name: off -> on";; esac
  done
fi""",
    run="setsebool -P haproxy_connect_any=1 keepalived_connect_any=1",
)
