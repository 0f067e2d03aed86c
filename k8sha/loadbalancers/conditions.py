"""What the load balancer reads of its hosts, and what it waits for, as resources."""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.loadbalancers.keepalived import KEEP, RUN, VIP_SCRIPT
from k8sha.loadbalancers.proxy import PROXY_SCRIPT
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Resource

__all__ = ["BalancerReady", "Drained", "HoldsVIP", "VIPHolder", "held"]


def held(vip: str) -> str:
    """Shell that prints ``vip <interface>`` where the host holds the VIP."""
    return f'ip -o -4 address show to {shlex.quote(vip)}/32 | while read -r index name rest; do echo "vip $name"; done'


@frozen
class VIPHolder(Resource):
    """Reads whether the host holds the VIP, and changes nothing: for a stage that needs to know."""

    vip: str

    @property
    def key(self) -> str:
        return f"holder of {self.vip}"

    def probe(self) -> str:
        return held(self.vip)

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"

    @staticmethod
    def holds(seen: bytes) -> bool:
        """What a probe found."""
        return seen.startswith(b"vip ")


@frozen
class HoldsVIP(Condition):
    """The host holds the VIP."""

    vip: str

    @property
    def key(self) -> str:
        return f"{self.vip} is here"

    def probe(self) -> str:
        return held(self.vip)

    def diff(self, seen: bytes) -> Diff:
        return Diff() if VIPHolder.holds(seen) else Diff.of(f"{self.vip} is not on this host")


@frozen
class BalancerReady(Condition):
    """The proxy answers, keepalived is master or backup, and the VIP takes connections as seen from here.

    With this true of one balancer, the other may be changed. One that was drained on purpose is ready as well, unless
    ``drained`` is False.
    """

    vip: str
    port: int
    proxy: str
    drained: bool = field(default=True, kw_only=True)

    @property
    def key(self) -> str:
        return "balancer is ready"

    def probe(self) -> str:
        connect = f"exec 3<>/dev/tcp/{self.vip}/{self.port}"
        return f"""\
if [ -x {PROXY_SCRIPT} ] && timeout 2 {PROXY_SCRIPT} answers 2>/dev/null; then echo answers; fi
if [ -r {RUN}/vrrp ] && systemctl is-active --quiet keepalived; then echo "state $(cat {RUN}/vrrp)"; fi
if [ -r {KEEP}/drained ] && [ "$(cat {KEEP}/drained)" != 0 ]; then echo drained; fi
if [ -x {VIP_SCRIPT} ] && timeout 1 bash -c {shlex.quote(connect)} 2>/dev/null; then echo reachable; fi"""

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        states = [line.removeprefix("state ") for line in lines if line.startswith("state ")]
        state = states[0] if states else ""
        differs = Diff()
        if "answers" not in lines:
            differs += Diff.of(f"{self.proxy} does not answer on this host")
        if "drained" in lines and not self.drained:
            differs += Diff.of("is drained")
        elif state not in ("MASTER", "BACKUP") and "drained" not in lines:
            differs += Diff.of(f"keepalived is {state or 'not running'}, neither MASTER nor BACKUP")
        if "reachable" not in lines:
            differs += Diff.of(f"{self.vip}:{self.port} does not take connections from this host")
        return differs


@frozen
class Drained(Resource):
    """Whether a balancer is kept from holding the VIP. It survives a reboot; becoming so hands the VIP over."""

    wanted: bool

    @property
    def key(self) -> str:
        return "drained"

    @property
    def timeout(self) -> int:
        return 30

    def probe(self) -> str:
        return f"if [ -r {KEEP}/drained ]; then cat {KEEP}/drained; else echo 0; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff.between("drained", seen.strip() not in (b"", b"0"), self.wanted)

    def apply(self) -> str:
        return f"{VIP_SCRIPT} {'drain' if self.wanted else 'undrain'}"
