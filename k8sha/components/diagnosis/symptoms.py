"""What was read of a cluster's hosts, as plain values."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

__all__ = ["PARTS", "UNITS", "Disk", "HostSymptoms", "MemberSymptoms", "Unit"]

UNITS = ("containerd", "kubelet", "haproxy", "keepalived", "etcd")
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
WORKER_FILES = "kubelet.conf pki/ca.crt"


@frozen
class Unit:
    """A systemd unit's state; ``there`` is False where it is not installed."""

    there: bool = False
    active: str = "unknown"
    result: str = ""
    restarts: int = 0
    enabled: str = ""


@frozen
class Disk:
    """A file system: its size and what is free of it in MiB, and free inodes in percent (100 where it has no limit)."""

    path: str
    size: int
    free: int
    inodes: int = 100


@frozen
class MemberSymptoms:
    """What an etcd member says. ``expected`` if this host should have one; ``error`` why it says nothing.

    ``healthy`` includes that the member sees a quorum. ``voters`` are (name, address).
    """

    expected: bool = False
    healthy: bool = False
    error: str = ""
    voters: tuple[tuple[str, str], ...] = ()
    learners: tuple[str, ...] = ()
    leader: bool = False
    has_leader: bool = False
    alarms: tuple[str, ...] = ()
    version: str = ""


@frozen
class HostSymptoms:
    """All that was read of one host. ``role`` is master, worker, balancer or etcd; ``unreachable`` why it was not read.

    ``clock`` is the interval in seconds in which its clock's distance from ours lies. ``certificates`` are (path, days
    left). ``api`` is what its own API server says of itself (``ok`` where all is well), ``endpoint`` what is found at
    the cluster's endpoint from here.
    """

    name: str
    role: str
    address: str = ""
    unreachable: str = ""
    units: Mapping[str, Unit] = field(factory=dict, hash=False)
    disks: tuple[Disk, ...] = ()
    clock: tuple[float, float] = (0.0, 0.0)
    certificates: tuple[tuple[str, float], ...] = ()
    etcd: MemberSymptoms = MemberSymptoms()
    containers: Mapping[str, str] = field(factory=dict, hash=False)
    """The newest container of each part of the control plane: ``running``, or how it ended."""
    state: str = ""
    """How far kubeadm got (see :class:`~k8sha.components.masters.MasterState`), of a worker too."""
    missing: tuple[str, ...] = ()
    """Files that a master has and this one lacks."""
    api: str = ""
    endpoint: str = ""
    holds_vip: bool = False
    vrrp: str = ""
    drained: bool = False
    backends: Mapping[str, str] = field(factory=dict, hash=False)
    not_ready: tuple[str, ...] = ()
    join_secrets: tuple[str, ...] = ()
    restore: str = ""
    """The restore of etcd that is open there, in a sentence."""
    logs: Mapping[str, tuple[str, ...]] = field(factory=dict, hash=False)
    failed: Mapping[str, str] = field(factory=dict, hash=False)
    """Parts that could not be read, and why."""

    def active(self, unit: str) -> bool:
        """Whether a unit runs."""
        return self.units.get(unit, Unit()).active in ("active", "reloading")

    def last(self, *programs: str) -> tuple[str, ...]:
        """The last log lines of these programs."""
        return tuple(line for program in programs for line in self.logs.get(program, ()))
