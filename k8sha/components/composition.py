"""What is wrong with a control plane as it was composed: told before any host is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from k8sha.components.networks import address_problems, network_problems, place_of
from k8sha.errors import Problem
from k8sha.versions import check_supported

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["composition_problems"]


def composition_problems(plane: ControlPlane) -> Iterator[Problem]:
    """Everything that is wrong with its hosts, etcd, version, networks and policies, all at once."""
    yield from _host_problems(plane)
    yield from _stacked_problems(plane) if plane.etcd.stacked else _etcd_problems(plane)
    problem, _ = check_supported(plane.version)
    if problem is not None:
        yield problem
    yield from network_problems(plane.cluster)
    hosts = (*plane.hosts, *plane.needs)
    yield from address_problems(plane.cluster, hosts, *place_of(plane.endpoint), subject="ControlPlane")
    yield from _policy_problems(plane)


def _host_problems(plane: ControlPlane) -> Iterator[Problem]:
    count = len(plane.hosts)
    if count not in (1, 3, 5):
        remedy = "take 1, 3 or 5: an even number tolerates no more losses"
        yield Problem("ControlPlane", f"{count} masters", remedy)
    for attribute in ("name", "address"):
        values = [getattr(host, attribute) for host in plane.hosts]
        for value in sorted({value for value in values if values.count(value) > 1}):
            yield Problem("ControlPlane", f"{attribute} {value} is given twice", "give each host its own")


def _stacked_problems(plane: ControlPlane) -> Iterator[Problem]:
    if plane.etcd.hosts != plane.hosts:
        yield Problem("ControlPlane", "its etcd runs on other hosts", "stacked etcd runs on the masters themselves")


def _etcd_problems(plane: ControlPlane) -> Iterator[Problem]:
    """What is wrong with an etcd on hosts of its own. A master that is a member as well is lost with it, which is what
    stacked etcd is, without kubeadm knowing of it."""
    for attribute in ("name", "address"):
        own = {getattr(host, attribute): host for host in plane.hosts}
        for host in plane.etcd.hosts:
            if getattr(host, attribute) in own:
                cause = f"is a master and a member of an etcd on hosts of its own ({attribute})"
                yield Problem(host.name, cause, "leave etcd out for one inside the masters, or give it other hosts")
    if plane.cluster.etcd:
        cause = "arguments for etcd are given, which kubeadm passes to a stacked one alone"
        yield Problem("ControlPlane", cause, "use EtcdCluster(settings=EtcdSettings(...))")


def _policy_problems(plane: ControlPlane) -> Iterator[Problem]:
    kinds = [type(policy).__name__ for policy in plane.policies]
    for kind in sorted(set(kinds)):
        if kinds.count(kind) > 1:
            yield Problem("ControlPlane", f"has two {kind}", "give one of each kind")
    given = dict(plane.cluster.api_server)
    for policy in plane.policies:
        for name in sorted(policy.arguments().keys() & given.keys()):
            cause = f"--{name} is set by {type(policy).__name__} too"
            yield Problem("ControlPlane", cause, "leave it out of api_server")
