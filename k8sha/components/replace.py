"""A control plane's exchanges: another host in a dead master's place, or fewer masters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from k8sha.component import Stages
from k8sha.components.apiserver import ApiServers
from k8sha.components.apiserver_host import ApiServerArguments
from k8sha.components.etcd import EtcdCluster
from k8sha.components.exchange import Balancer, Exchange
from k8sha.components.formation import cluster_configuration, join, names
from k8sha.components.membership import ServerSeen
from k8sha.components.node import node_stages
from k8sha.errors import ConfigError
from k8sha.etcd.clients import client_certificates, with_etcd
from k8sha.hosts.host import Host
from k8sha.stage import Stage

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["removal", "replacement"]


def replacement(
    plane: ControlPlane,
    dead: Host,
    new: Host,
    *,
    balancers: Iterable[Balancer],
    powered_off: bool,
) -> Exchange:
    """The exchange of one master for another; ``plane`` lists either of the two. Raises ConfigError."""
    after = tuple(new if host == dead else host for host in plane.hosts)
    if new not in after:
        raise ConfigError.of(dead.name, "is not one of the masters, nor is its replacement", _listed(plane.hosts))
    if after.count(new) > 1:
        raise ConfigError.of(new.name, "is a master already", "take a host that is none")
    then = evolve(plane, hosts=after, etcd=EtcdCluster(after, stacked=True) if plane.etcd.stacked else plane.etcd)
    return Exchange(
        after=after,
        leaving=(dead,),
        new=new,
        balancers=tuple(balancers),
        components=(then,),
        stacked=plane.etcd.stacked,
        needs=plane.needs,
        prepare=lambda: _prepared(then, new),
        join=join(then, new),
        names=lambda host: names(then, host, after),
        powered_off=powered_off,
    )


def _prepared(plane: ControlPlane, new: Host) -> Stages:
    """What makes the new host a node, brings there what every API server starts with, and makes it a client of an etcd
    elsewhere."""
    yield from node_stages(
        (new,),
        role="master",
        version=plane.version,
        source=plane.source,
        endpoint=plane.endpoint,
        settings=plane.settings,
    )
    for policy in plane.policies:
        yield from policy.preparation(plane.hosts)
    if files := tuple(resource for policy in plane.policies for resource in policy.files()):
        yield Stage("files of the API server", {new: files})
    yield from _admitted(plane, new)
    if not plane.etcd.stacked:
        members, days = plane.etcd.hosts, plane.etcd.settings.certificate_days
        outcome = yield Stage("what etcd's new client needs", with_etcd({new: ()}, members))
        others = [host for host in plane.hosts if host != new]
        yield from client_certificates((new,), members, outcome, serving=others, days=days)


def _admitted(plane: ControlPlane, new: Host) -> Stages:
    """kubeadm's record names no file that the new host has not: the policies may have changed since it was written.
    The masters that stay get those of now by the next install."""
    told = ApiServerArguments()
    staying = [host for host in plane.hosts if host != new]
    outcome = yield Stage("API servers that stay", {host: (ServerSeen(host.address), told) for host in staying})
    seen = {host: ServerSeen.parse(outcome.of(host.name, ServerSeen(host.address).key)) for host in staying}
    first = next((host for host, (ready, _) in seen.items() if ready), staying[0])  # which then says why it is not
    servers = ApiServers(
        plane.hosts, first, plane.version, lambda arguments: cluster_configuration(plane, arguments=arguments)
    )
    yield from servers.admit(plane.policies, told.read(outcome.of(first.name, told.key)))


def removal(
    plane: ControlPlane, hosts: tuple[Host, ...], *, balancers: Iterable[Balancer], powered_off: bool
) -> Exchange:
    """Masters that go, and nobody who comes; ``plane`` may list them still. Raises ConfigError."""
    after = tuple(host for host in plane.hosts if host not in hosts)
    if not after or not hosts:
        raise ConfigError.of("ControlPlane", "no master would be left" if hosts else "no host is given", "keep one")
    return Exchange(
        after=after,
        leaving=hosts,
        stacked=plane.etcd.stacked,
        balancers=tuple(balancers),
        names=lambda host: names(plane, host, after),
        powered_off=powered_off,
    )


def _listed(hosts: Iterable[Host]) -> str:
    return ", ".join(host.name for host in hosts)
