"""The cluster's own networks against everybody's addresses: a node that has both can't tell one from the other."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

from k8sha.components.kubeadm import ClusterSettings
from k8sha.endpoint import Endpoint
from k8sha.errors import Problem
from k8sha.hosts.host import Host
from k8sha.preflight import pass_over

__all__ = ["address_problems", "link_problems", "network_problems", "place_of"]

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_REMEDY = "take another one: ClusterSettings(pod_cidr=..., service_cidr=...)"


def _networks(settings: ClusterSettings) -> dict[str, _Network]:
    """Those that can be read, by what they are."""
    found: dict[str, _Network] = {}
    for what, cidr in (("pod network", settings.pod_cidr), ("service network", settings.service_cidr)):
        try:
            found[what] = ipaddress.ip_network(cidr)
        except ValueError:
            continue  # network_problems says so
    return found


def network_problems(settings: ClusterSettings) -> Iterator[Problem]:
    """What is wrong with the networks themselves."""
    for what, cidr in (("pod network", settings.pod_cidr), ("service network", settings.service_cidr)):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            yield Problem("ControlPlane", f"{what} {cidr}: {error}", "give it as 10.244.0.0/16")
    listed = list(_networks(settings).items())
    for index, (what, network) in enumerate(listed):
        for other, second in listed[index + 1 :]:
            if network.version == second.version and network.overlaps(second):
                yield Problem("ControlPlane", f"{what} {network} and {other} {second} overlap", _REMEDY)


def place_of(endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    """An endpoint's address with what to call it; none where only DNS knows it."""
    if endpoint.is_ip:
        return ((f"the endpoint {endpoint}", endpoint.host),)
    return ((f"the endpoint {endpoint}'s address {endpoint.address}", endpoint.address),) if endpoint.address else ()


def address_problems(
    settings: ClusterSettings, hosts: Iterable[Host], *others: tuple[str, str], subject: str
) -> Iterator[Problem]:
    """Hosts' addresses, and ``others`` with what to call them, that lie in one of the networks."""
    places = [*((f"{host.name}'s address {host.address}", host.address) for host in hosts), *others]
    for what, network in _networks(settings).items():
        for called, address in places:
            if ipaddress.ip_address(address) in network:
                yield Problem(subject, f"{called} lies in the {what} {network}", _REMEDY)


def link_problems(settings: ClusterSettings, hosts: Iterable[Host], *, skip: Collection[str]) -> Iterator[Problem]:
    """Networks that the hosts stand on, by their facts, and that overlap with the cluster's: a neighbour there could
    have a pod's address. The interface that has the host's own address counts: what else a node has may be of the pod
    network itself."""
    for host in hosts if "networks" not in skip else ():
        for interface in host.facts.interfaces:
            if str(interface.address.ip) != host.address:
                continue
            own = interface.address.network
            for what, network in _networks(settings).items():
                # An address within it was refused before any host was asked.
                inside = interface.address.ip in network
                if own.version == network.version and own.overlaps(network) and not inside:
                    cause = f"its own network {own} ({interface.name}) and the {what} {network} overlap"
                    yield Problem(host.name, cause, f"{_REMEDY}, {pass_over('networks')}")
