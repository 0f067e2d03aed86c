"""What must be true of the balancers before anything is changed there. Each needs nothing but iproute2 and bash."""

from __future__ import annotations

import re
import shlex

from attrs import frozen

from k8sha.loadbalancers.conditions import held
from k8sha.report import Diff
from k8sha.resources.resource import Requirement

__all__ = ["FirewallOpen", "OpenFiles", "PortFree", "VIPFree"]


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
