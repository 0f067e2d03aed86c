"""The lab's own cluster: balancers, masters and workers as the topology lists them, from whatever source there is."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from attrs import evolve, frozen

from k8sha import (
    SSH,
    Bundle,
    BundleError,
    Cluster,
    ControlPlane,
    EtcdCluster,
    Host,
    LoadBalancer,
    NodeSettings,
    Problem,
    Upstream,
    Version,
    Workers,
)
from k8sha.addons import HostRoutes
from k8sha.etcd.member import EtcdSettings

from .standin import StandIns
from .topology import Machine
from .vagrant import Lab

__all__ = [
    "Origin",
    "external_etcd_cluster",
    "find_origin",
    "kubernetes_cluster",
    "lab_balancers",
    "lab_hosts",
    "lab_settings",
    "stand_in_cluster",
    "the_kubernetes",
]

UPSTREAM_VERSION = Version.parse("1.33.13")
"""What is installed from package repositories; a bundle says its own version."""

CONTAINER = NodeSettings(
    # A host of the Docker provider is a container: it can't lower an OOM score, is on the machine's cgroups and swap,
    # and may not set the machine's connection tracking.
    containerd={"restrict_oom_score_adj": True},
    kubelet={
        "failSwapOn": False,
        "failCgroupV1": False,
        "featureGates": {"KubeletInUserNamespace": True},
        # Of the machine's disk all of them see the same share: at the usual 15 % free space they would put out every
        # pod, and throw away images that a bundle brought.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    },
    kube_proxy={"conntrack": {"maxPerCore": 0, "min": 0}},
    # kubeadm looks for the kernel's configuration, which a container does not show.
    ignore_preflight=("SystemVerification",),
    # Containers of one machine share its disk, its memory and its processors: no size is their own.
    skip_requirements=("size", "disk-sync"),
)

SMALL = ("size",)
"""What the lab's hosts are passed over for: production's are larger."""


@frozen
class Origin:
    """Where Kubernetes comes from and at which version; ``source`` is None where it can't be had, and ``words`` say
    why, or what was found."""

    source: Bundle | Upstream | None
    version: Version | None
    words: str


def find_origin(bundle: Path | None, *, stand_ins: bool = False) -> Origin:
    """A bundle, the one given or the newest that is at hand; else package repositories, if they can be reached.

    Raises BundleError where the one given is none.
    """
    if stand_ins:
        return Origin(None, None, "stand-ins were asked for")
    if bundle is not None:
        found = Bundle(bundle) if (bundle / "index.json").exists() else Bundle.find(bundle)
        if found is None:
            raise BundleError(
                [Problem(f"bundle {bundle}", "has no index.json in it or below it", "see docs/bundle.md")]
            )
        return Origin(found, found.version, f"bundle {found.path}")
    if (found := Bundle.find()) is not None:
        return Origin(found, found.version, f"bundle {found.path}")
    upstream = Upstream()
    if reason := _unreachable(f"{upstream.mirror}/core:/stable:/v{UPSTREAM_VERSION.minor}/deb/Release"):
        return Origin(None, None, f"there is no bundle, and {upstream.mirror} can't be reached ({reason})")
    return Origin(upstream, UPSTREAM_VERSION, f"packages from {upstream.mirror}")


def _unreachable(address: str) -> str:
    """Why a web address can't be read; empty if it can."""
    try:
        with urllib.request.urlopen(address, timeout=8):
            return ""
    except (urllib.error.URLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def lab_hosts(lab: Lab, machines: tuple[Machine, ...]) -> tuple[Host, ...]:
    """Those machines as hosts that k8sha can log in to."""
    ssh = SSH(lab.ssh_user, key=str(lab.ssh_key), known_hosts=str(lab.known_hosts))
    return tuple(Host(machine.name, str(machine.address), ssh=ssh) for machine in machines)


def lab_settings(lab: Lab) -> NodeSettings:
    """What the lab's nodes need."""
    return CONTAINER if lab.provider == "docker" else NodeSettings(skip_requirements=SMALL)


def lab_balancers(lab: Lab, backends: tuple[Host, ...]) -> LoadBalancer:
    """The lab's balancers, in front of these."""
    balancers = lab_hosts(lab, lab.topology.balancers)
    return LoadBalancer(balancers, str(lab.topology.vip), backends, skip_requirements=SMALL)


def kubernetes_cluster(lab: Lab, source: Bundle | Upstream, version: Version) -> Cluster:
    """All of it, as the topology lists it: balancers, masters with stacked etcd, workers, a pod network."""
    topology = lab.topology
    masters = lab_hosts(lab, topology.masters)
    lb = lab_balancers(lab, masters)
    plane = ControlPlane(
        hosts=masters,
        endpoint=lb.endpoint,
        version=version,
        source=source,
        settings=lab_settings(lab),
    )
    workers = Workers(hosts=lab_hosts(lab, topology.workers), plane=plane)
    return Cluster(lb, plane, workers, HostRoutes(plane, workers))


def the_kubernetes(lab: Lab) -> Cluster:
    """The same from whatever source is at hand; ends the process where there is none."""
    origin = find_origin(None)
    if origin.source is None or origin.version is None:
        raise SystemExit(f"Kubernetes can't be installed here: {origin.words}")
    return kubernetes_cluster(lab, origin.source, origin.version)


def external_etcd_cluster(lab: Lab, source: Bundle | Upstream, version: Version) -> Cluster:
    """The same without workers, and with etcd on their machines: they must be one, three or five."""
    topology = lab.topology
    masters = lab_hosts(lab, topology.masters)
    lb = lab_balancers(lab, masters)
    settings = lab_settings(lab)
    # kubeadm may want a newer etcd than the distribution's packages have.
    settings = evolve(settings, ignore_preflight=(*settings.ignore_preflight, "ExternalEtcdVersion"))
    etcd = EtcdCluster(lab_hosts(lab, topology.workers), settings=EtcdSettings(skip_requirements=("disk-sync",)))
    plane = ControlPlane(
        hosts=masters,
        endpoint=lb.endpoint,
        version=version,
        source=source,
        etcd=etcd,
        settings=settings,
    )
    return Cluster(lb, etcd, plane, HostRoutes(plane))


def stand_in_cluster(lab: Lab) -> Cluster:
    """The balancers, in front of stand-ins for the API servers; and the etcd that would be those', on the masters."""
    masters, vip = lab_hosts(lab, lab.topology.masters), str(lab.topology.vip)
    etcd = EtcdCluster(masters, settings=EtcdSettings(skip_requirements=("disk-sync",)))
    return Cluster(lab_balancers(lab, masters), StandIns(masters, names=(vip,)), etcd)
