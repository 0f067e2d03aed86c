"""keepalived: which balancer holds the VIP, and how fast the other one takes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from k8sha.loadbalancers.proxy import LIBEXEC, PROXY_SCRIPT
from k8sha.resources import Directory, File, Service
from k8sha.resources.files import render
from k8sha.resources.resource import STATE, KnownAfter, Resource

__all__ = ["ADVERTS", "RUN", "VIP_SCRIPT", "VRRP", "router_id_of", "version_of"]

_HERE = Path(__file__).parent

RUN = "/run/k8sha-loadbalancer"
"""What the units and keepalived tell each other until the next boot."""

KEEP = f"{STATE}/loadbalancer"
"""What outlives a boot: whether the balancer is drained."""

VIP_SCRIPT = f"{LIBEXEC}/vip"

ADVERTS: Mapping[str, float] = {"fast": 0.2, "calm": 0.5, "live-migration": 1.0}
"""Failover profiles: seconds between adverts. The backup takes over after three and a bit without one: 0.72, 1.80 and
3.61 s at most. ``live-migration`` outlasts the pause of a virtual machine that moves."""


def router_id_of(vip: str) -> int:
    """The VRRP router id of a VIP: always the same, 1 to 255, and never 51, which every example has."""
    number = int.from_bytes(hashlib.sha256(vip.encode()).digest()[:4], "big") % 254 + 1
    return number if number < 51 else number + 1


def version_of(package: str) -> tuple[int, ...]:
    """The version in a package's (``1:2.3.3-1+b1`` is 2.3.3); empty where it has none that one can read."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", package)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@frozen(kw_only=True)
class VRRP:
    """One balancer's part of the pair. ``version`` is keepalived's, None where it is not known yet; ``address`` and
    ``peer`` are on the VIP's own network, so that the adverts die with the link that clients need."""

    name: str
    vip: str
    prefix: int
    port: int
    interface: str
    address: str
    peer: str
    router_id: int
    priority: int
    peer_priority: int
    profile: str
    proxy_unit: str
    proxy_files: int
    version: tuple[int, ...] | None

    def config(self) -> str | KnownAfter:
        """The text of keepalived.conf."""
        if self.version is None:  # only in a plan: an install has installed it by now
            return KnownAfter("keepalived is installed: its version decides what is in it")
        return render(
            _HERE / "keepalived.conf.j2",
            name=self.name,
            run=RUN,
            state=KEEP,
            proxy_script=PROXY_SCRIPT,
            vip_script=VIP_SCRIPT,
            # 2.2.7 kills itself when it checks a configuration with another script user than root.
            script_user="nobody" if self.version >= (2, 2, 8) else "root",
            # Fractions are understood from 2.3.2 on.
            script_interval="0.5" if self.version >= (2, 3, 2) else "1",
            interface=self.interface,
            router_id=self.router_id,
            priority=self.priority,
            peer_priority=self.peer_priority,
            advert=f"{ADVERTS[self.profile]:g}",
            address=self.address,
            peer=self.peer,
            vip=self.vip,
            prefix=self.prefix,
            # Without a peer it would fall back to multicast; from 2.2.7 on that is a fault instead.
            has_unicast_fault_no_peer=self.version >= (2, 2, 7),
            has_timer_expired_backup=self.version >= (2, 3, 0),
        )

    def script(self) -> str:
        """The text of the program that the units and keepalived call."""
        return render(
            _HERE / "vip.script.j2",
            run=RUN,
            state=KEEP,
            proxy_script=PROXY_SCRIPT,
            interface=self.interface,
            vip=self.vip,
            prefix=self.prefix,
            port=self.port,
        )

    def prepare(self) -> tuple[Resource, ...]:
        """What must be there before the proxy starts."""
        return (
            Directory(RUN),
            Directory(KEEP),
            Directory(LIBEXEC),  # open to the user that keepalived runs the check as
            File(VIP_SCRIPT, self.script(), mode="0755"),
        )

    def proxy_settings(self) -> File:
        """The drop-in of the proxy's unit: it tells keepalived of every start and end, and hands the VIP over before
        it is stopped."""
        return File(
            f"/etc/systemd/system/{self.proxy_unit}.service.d/k8sha.conf",
            f"""\
# Written by k8sha; the next install puts changes back.
[Unit]
# At shutdown it ends first, while keepalived can still hand the VIP over.
After=keepalived.service
StartLimitIntervalSec=0

[Service]
LimitNOFILE={self.proxy_files}
Restart=always
RestartSec=500ms
ExecStartPost={VIP_SCRIPT} started
ExecStop={VIP_SCRIPT} stopping
ExecStopPost={VIP_SCRIPT} stopped
""",
        )

    def resources(self) -> tuple[Resource, ...]:
        """keepalived itself, after the proxy: the programs that it calls must be there when its file is checked."""
        settings = File(
            "/etc/systemd/system/keepalived.service.d/k8sha.conf",
            f"""\
# Written by k8sha; the next install puts changes back.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=500ms
ExecStartPre=/bin/mkdir -p {RUN}
ExecStopPost={VIP_SCRIPT} ended
""",
        )
        config = File("/etc/keepalived/keepalived.conf", self.config(), check="keepalived -t -f {}")
        return (settings, config, Service("keepalived", reload=True, watches=(settings, config)))
