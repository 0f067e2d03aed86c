"""What is wrong with a load balancer as it was written down: all of it at once, without asking any host."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, Problem
from k8sha.loadbalancers.keepalived import ADVERTS
from k8sha.loadbalancers.preflight import NAMES

if TYPE_CHECKING:
    from k8sha.loadbalancers.loadbalancer import LoadBalancer

__all__ = ["faults"]


def faults(lb: LoadBalancer) -> Iterator[Problem]:
    """Everything that no host need be asked for."""
    yield from _hosts(lb)
    yield from _vip(lb)
    yield from _values(lb)


def _hosts(lb: LoadBalancer) -> Iterator[Problem]:
    if len(lb.balancers) != 2:
        yield Problem(
            "load balancer",
            f"is given {len(lb.balancers)} balancers, needs two",
            "one would fail alone, a third would never work; ExternalLoadBalancer takes any other kind",
        )
    if not lb.backends:
        yield Problem("load balancer", "has no backends", "give the control-plane hosts")
    for role, hosts in (("balancers", lb.balancers), ("backends", lb.backends)):
        for host, count in Counter(hosts).items():
            if count > 1:
                yield Problem(host.name, f"is given {count} times among the {role}", "give each host once")
    for host in dict.fromkeys(lb.balancers):
        if host in lb.backends:
            yield Problem(host.name, "is both balancer and backend", "both take the API's port: use other hosts")
    everyone = tuple(dict.fromkeys((*lb.balancers, *lb.backends)))
    yield from _shared("name", [host.name for host in everyone])
    yield from _shared("address", [host.address for host in everyone])


def _shared(what: str, values: list[str]) -> Iterator[Problem]:
    for value, count in Counter(values).items():
        if count > 1:
            yield Problem(value, f"is the {what} of {count} hosts", "give each host its own")


def _vip(lb: LoadBalancer) -> Iterator[Problem]:
    try:
        vip = ipaddress.ip_address(lb.vip)
    except ValueError:
        yield Problem(f"VIP {lb.vip!r}", "is not an IP address", "take an unused address of the balancers' subnet")
        return
    if vip.version != 4:
        yield Problem(f"VIP {lb.vip}", "is IPv6, which the balancers can't do yet", "take an IPv4 address")
    for host in dict.fromkeys((*lb.balancers, *lb.backends)):
        if ipaddress.ip_address(host.address) == vip:
            yield Problem(f"VIP {lb.vip}", f"is {host.name}'s own address", "take an address that no host has")


def _values(lb: LoadBalancer) -> Iterator[Problem]:
    for name, port in (("port", lb.port), ("backend_port", lb.backend_port)):
        if not 0 < port < 65536:
            yield Problem(name, f"{port} is not a port", "1 to 65535")
    if lb.port in lb.proxy.ports:
        yield Problem("port", f"{lb.port} is what {lb.proxy.name} uses for itself", "take another one")
    if lb.profile not in ADVERTS:
        yield Problem("profile", f"{lb.profile!r} is unknown", f"one of {', '.join(ADVERTS)}")
    if lb.router_id is not None and not 0 < lb.router_id < 256:
        yield Problem("router_id", f"{lb.router_id} is not a VRRP router id", "1 to 255, unique on the network")
    if unknown := [name for name in lb.skip_requirements if name not in NAMES]:
        yield Problem(
            "skip_requirements", f"there is no requirement {', '.join(unknown)}", f"known are {', '.join(NAMES)}"
        )
    if lb.endpoint_name is not None:
        try:
            Endpoint(lb.endpoint_name)
        except ConfigError as error:
            yield from error.problems
