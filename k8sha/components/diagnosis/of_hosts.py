"""What goes wrong on a host by itself: disk, clock, certificates, services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from k8sha.components.diagnosis.findings import Finding, Rule, Symptoms
from k8sha.components.diagnosis.symptoms import HostSymptoms
from k8sha.etcd.certificates import RENEWAL
from k8sha.etcd.signing import CLIENT

__all__ = ["HOST_RULES"]

MAX_SKEW = 1.0
"""Seconds that clocks may differ: beyond it etcd's members complain of each other (rafthttp's prober)."""
FULL = 64
"""MiB: etcd allocates its log in segments of 64 MB, and stops where it can't."""
SCARCE = 0.10
"""The kubelet evicts pods where less than this of its file system is free (nodefs.available)."""
SOON = 30.0
"""Days before a certificate's end from which on it is told."""
_KUBELETS = (
    "the kubelet renews its own while that is valid: look at its last lines; once it has expired, see 'Kubelet client "
    "certificate rotation fails' in kubeadm's documentation"
)


def _disks(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.read:
        told: set[tuple[int, int]] = set()
        for disk in sorted(host.disks, key=lambda disk: -len(disk.path)):
            if (disk.size, disk.free) in told:
                continue  # the same file system once more
            told.add((disk.size, disk.free))
            if disk.free < FULL or disk.inodes < 1:
                what = f"{disk.free} of {disk.size} MiB are free" if disk.free < FULL else "no inode is free"
                lines = host.last("etcd", "containerd", "kubelet") if host.role != "balancer" else ()
                yield Finding(
                    10,
                    host.name,
                    f"the disk of {disk.path} is full: {what}",
                    tuple(line for line in lines if "no space left" in line.lower())[-2:],
                    f"make room in {disk.path} (du -xsm {disk.path}/* | sort -n); what stopped starts again by itself",
                )
            elif disk.free < SCARCE * disk.size and host.role != "balancer":
                yield Finding(
                    210,
                    host.name,
                    f"the disk of {disk.path} is nearly full: {disk.free} of {disk.size} MiB are free",
                    (),
                    "make room: below 10 % the kubelet evicts pods",
                )


def _clocks(seen: Symptoms) -> Iterator[Finding]:
    clocks = {host: host.clock for host in seen.read if host.clock != (0.0, 0.0)}
    if len(clocks) < 2:
        return
    middle = median(sum(interval) / 2 for interval in clocks.values())
    spread = median((high - low) / 2 for low, high in clocks.values())
    for host, (low, high) in clocks.items():
        apart = low - middle - spread if low > middle else middle - spread - high
        if apart > MAX_SKEW:
            yield Finding(
                20,
                host.name,
                f"its clock is about {apart:.0f} s {'ahead of' if low > middle else 'behind'} the others'",
                (),
                "let chrony keep it (chronyc makestep), on all hosts",
            )


def _certificates(seen: Symptoms) -> Iterator[Finding]:
    elsewhere = seen.members != seen.masters
    for host in seen.read:
        ended = [(path, days) for path, days in host.certificates if days <= 0]
        soon = [(path, days) for path, days in host.certificates if 0 < days < SOON]
        if ended:
            said = [
                line for line in host.last("etcd", "kube-apiserver", "kubelet") if "certificate has expired" in line
            ]
            yield Finding(
                30,
                host.name,
                f"{len(ended)} certificate(s) have expired, the first {-min(days for _, days in ended):.1f} days ago",
                (*(path for path, _ in ended), *said[-2:]),
                _renewal(host, [path for path, _ in ended], elsewhere=elsewhere),
            )
        if soon:
            yield Finding(
                200,
                host.name,
                f"{len(soon)} certificate(s) end within {SOON:.0f} days, the first in {min(d for _, d in soon):.1f}",
                tuple(path for path, _ in soon),
                _renewal(host, [path for path, _ in soon], elsewhere=elsewhere),
            )


def _renewal(host: HostSymptoms, paths: Sequence[str], *, elsewhere: bool) -> str:
    """What renews these certificates: not all are kubeadm's, and of an etcd ``elsewhere`` none is."""

    def remedy(path: str) -> str:
        if host.role == "etcd" or (elsewhere and path.endswith(f"/{CLIENT}.crt")):
            return "install() renews etcd's own and its clients'"
        return _KUBELETS if path.startswith("/var/lib/kubelet/") else RENEWAL

    return "; ".join(dict.fromkeys(map(remedy, paths)))


def _unreachable(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.hosts:
        if host.unreachable:
            remedy = "start it, or mend its network"
            if host.role == "master":
                remedy += f"; if it is gone for good, plane.replace({host.name}, new, powered_off=True)"
            yield Finding(60, host.name, f"can't be reached ({host.role})", (host.unreachable,), remedy)


def _units(seen: Symptoms) -> Iterator[Finding]:
    for rank, name in ((70, "containerd"), (80, "kubelet")):
        for host in (*seen.of("master"), *seen.of("worker")):
            unit = host.units.get(name)
            joined = host.state not in ("", "none")
            if unit is None or not joined:
                continue
            if not unit.there:
                yield Finding(rank, host.name, f"{name} is not installed", (), "install()")
            elif not host.active(name):
                state = f"{unit.active}" + (f" ({unit.result})" if unit.result not in ("", "success") else "")
                disabled = ", and not started at boot" if unit.enabled not in ("enabled", "") else ""
                yield Finding(
                    rank,
                    host.name,
                    f"{name} does not run: {state}{disabled}",
                    host.last(name)[-3:],
                    f"install() starts it, or there: systemctl enable --now {name}",
                )
            elif unit.restarts > 5 and unit.active != "active":
                yield Finding(rank, host.name, f"{name} was restarted {unit.restarts} times", host.last(name)[-3:])


def _unread(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.read:
        for part, reason in host.failed.items():
            expected = part == "containers" and not host.active("containerd")
            if not expected:
                yield Finding(220, host.name, f"{part} could not be read: {reason}", (), "look there by hand")


HOST_RULES: tuple[Rule, ...] = (_disks, _clocks, _certificates, _unreachable, _units, _unread)
