"""What must be true of the balancers before anything is changed there. Each needs nothing but iproute2 and bash.

What has a name in ``NAMES`` can be passed over by it; without the others no balancer could work.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from k8sha.errors import Problem
from k8sha.hosts.host import Host
from k8sha.loadbalancers.conditions import held
from k8sha.loadbalancers.keepalived import VIP_SCRIPT
from k8sha.preflight import further_problems, known_distro, pass_over, size_wanted
from k8sha.report import Diff
from k8sha.resources.requirements import NodeRequirement, PeersAnswer, Space
from k8sha.resources.resource import Requirement

__all__ = [
    "NAMES",
    "FirewallOpen",
    "OpenFiles",
    "PortFree",
    "VIPFree",
    "balancer_problems",
    "balancer_requirements",
]

NAMES = ("address", "clock", "hostname", "mac", "machine-id", "packages", "peers", "size", "space", "system")
"""Every requirement of a balancer, as ``LoadBalancer(skip_requirements=...)`` names it."""

_MARKS = (VIP_SCRIPT,)
"""A host that has it is a balancer already."""

_ROOM = 500
"""MiB for the packages and what they are fetched by: apt's lists are more than half of it."""


def balancer_problems(
    balancers: Sequence[Host], backends: Sequence[Host], *, skip: Collection[str]
) -> Iterator[Problem]:
    """What facts show to be wrong with the balancers, and between them and the hosts behind. All are connected."""
    for host in balancers:
        distro = known_distro(host)
        system = f"runs {host.facts.os_name or 'an unknown system'}"
        reason = system if distro is None else distro.supported(host.facts)
        if distro is None:
            yield Problem(host.name, reason, "install a supported system (docs/support.md)")
        elif reason and "system" not in skip:
            yield Problem(host.name, reason, f"install a supported system (docs/support.md), {pass_over('system')}")
        if host.facts.init != "systemd":
            yield Problem(host.name, f"was started by {host.facts.init or 'nobody knows what'}", "needs systemd")
    # Nothing here asks for a product_uuid: that is kubeadm's, for nodes.
    yield from further_problems(balancers, backends, skip=(*skip, "product-uuid"))


def balancer_requirements(
    host: Host, peers: Sequence[Host], packages: Sequence[str], *, skip: Collection[str]
) -> Iterator[Requirement]:
    """What a look at a host must find that is no balancer yet. ``peers`` must answer it: the other balancer and the
    hosts behind."""
    others = tuple((peer.name, peer.address) for peer in peers if peer != host)
    wanted: list[NodeRequirement] = [
        size_wanted("balancer", marks=_MARKS),
        Space(mib=_ROOM, folders=("/usr", "/var"), percent=0, marks=_MARKS),
        PeersAnswer(others, marks=_MARKS, remedy=f"check routes and firewalls between them, {pass_over('peers')}"),
    ]
    yield from (each for each in wanted if each.name not in skip)
    if (distro := known_distro(host)) is not None and "packages" not in skip:
        remedy = f"mend the host's package repositories or its way to them, {pass_over('packages')}"
        yield distro.packages_at_hand(*packages, remedy=remedy)


@frozen
class VIPFree(Requirement):
    """Nobody but the balancers has the VIP. ``ours`` are the MAC addresses that may answer for it.

    The host's own neighbour table tells: a datagram to the VIP makes the kernel ask by ARP, and what is on the link
    answers within milliseconds; after two unanswered questions (2.2 s) the address counts as free.
    """

    vip: str
    interface: str
    ours: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.vip} is free"

    def probe(self) -> str:
        vip, interface = shlex.quote(self.vip), shlex.quote(self.interface)
        datagram = f"echo >/dev/udp/{self.vip}/9"
        return f"""\
if [ -n "$({held(self.vip)})" ]; then
  if systemctl is-active --quiet keepalived; then echo held; else echo fixed; fi
  exit 0
fi
ip neigh flush to {vip} dev {interface}
bash -c {shlex.quote(datagram)} || echo "no way to {vip}" >&2
left=44
while [ "$left" -gt 0 ]; do
  seen=$(ip neigh show to {vip} dev {interface})
  case $seen in *lladdr*|*FAILED*) break;; esac
  left=$((left - 1)); sleep 0.05
done
echo "neighbour $seen\""""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace").strip()
        if text == "fixed":
            return Diff.of(f"has the VIP {self.vip} as an address of its own, and keepalived does not run")
        found = re.search(r"lladdr ([0-9a-f:]+)", text)
        if found and found[1].lower() not in {mac.lower() for mac in self.ours}:
            return Diff.of(f"the VIP {self.vip} is in use already: {found[1]} answers for it on {self.interface}")
        return Diff()


@frozen
class PortFree(Requirement):
    """No other program listens on a TCP port. ``program`` is the one that may: it is ours, or becomes so."""

    port: int
    program: str

    @property
    def key(self) -> str:
        return f"port {self.port} is free"

    def probe(self) -> str:
        return f"ss -Hltnp 'sport = :{self.port}'"

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        listening = {name for line in lines for name in re.findall(r'\(\("([^"]+)"', line) or ["an unknown program"]}
        others = sorted(listening - {self.program})
        return Diff.of(f"port {self.port} is taken by {', '.join(others)}") if others else Diff()


@frozen
class FirewallOpen(Requirement):
    """Where firewalld runs, it lets the service's port and VRRP (IP protocol 112) in."""

    port: int

    @property
    def key(self) -> str:
        return "firewall"

    def probe(self) -> str:
        return f"""\
if systemctl is-active --quiet firewalld; then
  if ! firewall-cmd --quiet --query-port={self.port}/tcp; then echo 'port {self.port}/tcp'; fi
  if ! firewall-cmd --quiet --query-protocol=vrrp; then echo 'protocol vrrp'; fi
fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(f"firewalld does not let {what} in" for what in seen.decode().splitlines()))


@frozen
class OpenFiles(Requirement):
    """A service may open this many files: systemd can raise its limit that far."""

    wanted: int

    @property
    def key(self) -> str:
        return "open files"

    def probe(self) -> str:
        # CAP_SYS_RESOURCE, bit 24, lets systemd go beyond its own hard limit, up to fs.nr_open.
        return """\
while read -r a b c soft hard rest; do
  if [ "$a $b $c" = "Max open files" ]; then echo "hard $hard"; fi
done </proc/1/limits
while read -r name value; do if [ "$name" = CapEff: ]; then echo "capabilities $value"; fi; done </proc/1/status
echo "most $(cat /proc/sys/fs/nr_open)\""""

    def diff(self, seen: bytes) -> Diff:
        found = dict(line.split(" ", 1) for line in seen.decode().splitlines())
        privileged = int(found["capabilities"], 16) >> 24 & 1
        limit = found["most"] if privileged or found["hard"] == "unlimited" else found["hard"]
        if int(limit) >= self.wanted:
            return Diff()
        return Diff.of(f"a service may open {limit} files at most, the proxy needs {self.wanted}")
