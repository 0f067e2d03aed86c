"""What hosts export for Prometheus, as files that a node_exporter reads: certificates on masters, the VIP and HAProxy's
view on balancers. No further port of HAProxy's is opened for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from k8sha.addons.monitoring.targets import EXPORTER_PORT
from k8sha.hosts.host import Host
from k8sha.loadbalancers import HAProxy, LoadBalancer
from k8sha.resources.files import Absent, Directory, File
from k8sha.resources.resource import Resource
from k8sha.resources.service import Service

__all__ = ["FOLDER", "balancer_removal", "balancer_resources", "master_removal", "master_resources"]

FOLDER = "/var/lib/prometheus/node-exporter"
"""Where Debian's node_exporter reads files of others, which is BackupSchedule's default too."""

_HERE = Path(__file__).parent
_PROGRAMS = "/usr/libexec/k8sha"
_UNITS = "/etc/systemd/system"
_DEFAULTS = "/etc/default/prometheus-node-exporter"
_CERTIFICATES, _BALANCER, _VIP = "k8sha-export-certificates", "k8sha-export-balancer", "k8sha-export-vip"

_ONCE = """\
# Written by k8sha.
[Unit]
Description={what}

[Service]
Type=oneshot
ExecStart={command}
"""
_ALWAYS = """\
# Written by k8sha.
[Unit]
Description={what}
After=network-online.target

[Service]
ExecStart={command}
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""
_TIMER = """\
# Written by k8sha.
[Unit]
Description={what}

[Timer]
OnBootSec=30
OnUnitActiveSec={seconds}
AccuracySec=1

[Install]
WantedBy=timers.target
"""


def _timed(unit: str, what: str, command: str, seconds: int) -> Iterator[Resource]:
    service = File(f"{_UNITS}/{unit}.service", _ONCE.format(what=what, command=command))
    timer = File(f"{_UNITS}/{unit}.timer", _TIMER.format(what=f"{what}, every {seconds} s", seconds=seconds))
    yield from (service, timer, Service(f"{unit}.timer", watches=(service, timer)))


def master_resources(folder: str) -> tuple[Resource, ...]:
    """On a master: when its certificates end, looked at every hour."""
    script = File(f"{_PROGRAMS}/{_CERTIFICATES}", (_HERE / "export_certificates.sh").read_text(), mode="0755")
    command = f"{script.path} {shlex.quote(folder)}"
    return (Directory(folder), script, *_timed(_CERTIFICATES, "When certificates end", command, 3600))


def master_removal(folder: str) -> tuple[Resource, ...]:
    """None of it any more."""
    files = (f"{_PROGRAMS}/{_CERTIFICATES}", f"{folder}/k8sha-certificates.prom")
    return (*_stopped(f"{_CERTIFICATES}.timer"), *(Absent(path) for path in files))


def balancer_resources(host: Host, lb: LoadBalancer) -> tuple[Resource, ...]:
    """On a balancer: the distribution's node_exporter on the host's own address, not on the VIP, and what it reads."""
    port = lb.proxy.health_port if isinstance(lb.proxy, HAProxy) and lb.proxy.metrics else 0
    arguments = f'ARGS="--web.listen-address={host.address}:{EXPORTER_PORT} --collector.textfile.directory={FOLDER}"\n'
    defaults = File(_DEFAULTS, f"# Written by k8sha.\n{arguments}")
    script = File(f"{_PROGRAMS}/{_BALANCER}", (_HERE / "export_balancer.sh").read_text(), mode="0755")
    vip = shlex.quote(lb.vip)
    watch = File(
        f"{_UNITS}/{_VIP}.service",
        _ALWAYS.format(what="How often the VIP was taken", command=f"{script.path} watch {FOLDER} {vip}"),
    )
    return (
        host.distro.packages("prometheus-node-exporter", "curl"),
        Directory(FOLDER),
        defaults,
        script,
        watch,
        Service(_VIP, watches=(watch, script)),
        *_timed(_BALANCER, "What a balancer sees", f"{script.path} write {FOLDER} {vip} {port}", 15),
        Service("prometheus-node-exporter", watches=(defaults,)),
    )


def balancer_removal() -> tuple[Resource, ...]:
    """None of it any more; the package and its service stay, they may serve others."""
    files = (f"{_PROGRAMS}/{_BALANCER}", f"{FOLDER}/k8sha-balancer.prom", f"{FOLDER}/k8sha-vip.prom")
    return (
        *_stopped(f"{_BALANCER}.timer"),
        *_stopped(f"{_VIP}.service"),
        *(Absent(path) for path in files),
    )


def _stopped(unit: str) -> Iterator[Resource]:
    yield Service(unit, active=False)
    yield Absent(f"{_UNITS}/{unit}")
    if unit.endswith(".timer"):
        yield Absent(f"{_UNITS}/{unit.removesuffix('.timer')}.service")
