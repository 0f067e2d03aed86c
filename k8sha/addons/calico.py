"""Calico: pod network and network policy, from its released manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator

from attrs import field, frozen, validators

from k8sha.addons.addon import Addon
from k8sha.addons.manifests import Manifest, rewrite_images
from k8sha.addons.mirror import Mirror
from k8sha.addons.network import network_checks
from k8sha.component import Checks, Stages
from k8sha.components.workers import Workers, as_workers
from k8sha.errors import ConfigError, KubeError, Problem
from k8sha.hosts.host import Host
from k8sha.kube import Json
from k8sha.resources.files import Absent
from k8sha.stage import Stage
from k8sha.versions import Version

__all__ = ["Calico"]

_URL = "https://raw.githubusercontent.com/projectcalico/calico/{version}/manifests/calico.yaml"
_RELEASES = {
    "v3.31.7": "d6d8a489a4ed8e5b8efd8b339047b496ca657b55ee2e3618e791507b0a853e8d",
    "v3.32.1": "a1df919d9721cf667accdc3e72848911b0cb25cfab7d2478ad0c996302c95744",
}
"""sha256 of ``manifests/calico.yaml`` at each release's tag. Tested upstream with Kubernetes 1.32 to 1.35 (3.31) and
1.34 to 1.36 (3.32), by Calico's own page of requirements."""

_POOL = "/apis/crd.projectcalico.org/v1/ippools/default-ipv4-ippool"
"""The pool that Calico makes at its first start, from its settings at that time."""

_LEFT_ON_HOSTS = ("/etc/cni/net.d/10-calico.conflist", "/etc/cni/net.d/calico-kubeconfig")

_MADE_BY_PODS = (
    "BlockAffinity *",
    "ClusterInformation default",
    "FelixConfiguration default",
    "HostEndpoint *-auto-hep",
    "IPAMBlock *",
    "IPAMConfig default",
    "IPAMHandle *",
    "IPPool default-ipv4-ippool",
    "IPPool default-ipv6-ippool",
    "KubeControllersConfiguration default",
    "Tier adminnetworkpolicy",
    "Tier baselineadminnetworkpolicy",
    "Tier default",
    "Tier kube-admin",
    "Tier kube-baseline",
)


@frozen
class Calico(Addon):
    """Calico on every node, its pool being the cluster's pod network.

    ``encapsulation`` is ``ipip`` (the manifest's own), ``vxlan`` or ``none``, for the cluster's life: another one than
    the pool has that is there is refused. ``mtu`` 0 detects it. Images come from ``registry`` if given
    (``registry.example.org/calico`` in place of ``quay.io/calico``).
    """

    workers: tuple[Workers, ...] = field(default=(), converter=as_workers)
    version: str | None = field(default=None, kw_only=True)
    manifest: Manifest | None = field(default=None, kw_only=True)
    encapsulation: str = field(default="ipip", kw_only=True, validator=validators.in_(("ipip", "vxlan", "none")))
    mtu: int = field(default=0, kw_only=True)
    registry: str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.manifest is None and self._version not in _RELEASES:
            raise ConfigError.of(
                f"Calico {self._version}",
                "its manifest's hash is not known here",
                "give Calico(manifest=Manifest(...))",
            )

    @property
    def _version(self) -> str:
        if self.version is not None:
            return self.version
        return "v3.32.1" if self.plane.version >= Version.parse("1.34.0") else "v3.31.7"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every node: the network is proved on all of them."""
        return (*self.plane.hosts, *(host for workers in self.workers for host in workers.hosts))

    @property
    def made_by_pods(self) -> tuple[str, ...]:
        """See :attr:`Addon.made_by_pods`: its own settings, and which addresses are whose."""
        return _MADE_BY_PODS

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        url = _URL.format(version=self._version)
        return (self.manifest or Manifest("calico", self._version, url, _RELEASES[self._version]),)

    def objects(self) -> tuple[Json, ...]:
        """The manifest's objects with our settings. Raises ConfigError where the manifest can't be had."""
        items = super().objects()
        if self.registry is not None:
            rewrite_images(items, Mirror(dict.fromkeys(("docker.io/calico", "quay.io/calico"), self.registry)).image)
        for item in items:
            if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "calico-config":
                item["data"]["veth_mtu"] = str(self.mtu)
                if self.encapsulation == "vxlan":
                    item["data"]["calico_backend"] = "vxlan"
            if item["kind"] == "DaemonSet":
                for container in item["spec"]["template"]["spec"]["containers"]:
                    self._set_environment(container)
        return items

    def _set_environment(self, container: Json) -> None:
        if container["name"] != "calico-node":
            return
        wanted = {
            "CALICO_IPV4POOL_CIDR": self.plane.cluster.pod_cidr,
            "CALICO_IPV4POOL_IPIP": self._mode("ipip"),
            "CALICO_IPV4POOL_VXLAN": self._mode("vxlan"),
        }
        kept = [item for item in container["env"] if item["name"] not in wanted]
        container["env"] = kept + [{"name": name, "value": value} for name, value in wanted.items()]
        if self.encapsulation == "vxlan":
            for probe in ("livenessProbe", "readinessProbe"):
                command = container[probe]["exec"]["command"]
                container[probe]["exec"]["command"] = [word for word in command if not word.startswith("-bird")]

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`: the pool of addresses is made once, and never follows the settings after."""
        try:
            pool = self.plane.api.found(_POOL)
        except KubeError:  # no cluster, or one that this very install mends
            pool = None
        if pool is not None and (live := _encapsulation(pool["spec"])) != self.encapsulation:
            name = pool["metadata"]["name"]
            patch = json.dumps({"spec": {"ipipMode": self._mode("ipip"), "vxlanMode": self._mode("vxlan")}})
            yield Problem(
                self.name,
                f"its pool {name} has encapsulation {live!r}: {self.encapsulation!r} would change the nodes "
                "alone, and pods would reach each other no more",
                f"keep {live!r}; or change the pool first, at a time when connections may break: "
                f"kubectl patch ippools.crd.projectcalico.org {name} --type merge -p '{patch}'",
            )
        yield from super().problems()

    def _mode(self, encapsulation: str) -> str:
        return "Always" if self.encapsulation == encapsulation else "Never"

    def removal_stages(self) -> Stages:
        """See :meth:`Addon.removal_stages`: the nodes' configuration, which would win over another pod network's."""
        absent = tuple(Absent(path) for path in _LEFT_ON_HOSTS)
        yield Stage("Calico's configuration of nodes", dict.fromkeys(self.hosts, absent))

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return network_checks(self.plane, self.hosts)


def _encapsulation(pool: Json) -> str:
    """What a pool's packets are wrapped into; between subnets alone is a kind of it."""
    for name in ("ipip", "vxlan"):
        if pool.get(f"{name}Mode", "Never") != "Never":
            return name
    return "none"
