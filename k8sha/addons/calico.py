"""Calico: pod network and network policy, from its released manifest."""

from __future__ import annotations

import copy
from pathlib import Path

from attrs import field, frozen, validators

from k8sha.addons.manifests import Manifest, dump, rewrite_images
from k8sha.addons.network import network_checks
from k8sha.component import Checks, Component, Stages
from k8sha.components.control_plane import ControlPlane
from k8sha.components.workers import Workers, as_workers
from k8sha.errors import ConfigError
from k8sha.hosts.host import Host
from k8sha.kube import Json
from k8sha.resources.files import File
from k8sha.resources.manifest import Applied, RolledOut
from k8sha.sources import Bundle
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


@frozen
class Calico(Component):
    """Calico on every node, its pool being the cluster's pod network.

    ``encapsulation`` is ``ipip`` (the manifest's own), ``vxlan`` or ``none``; ``mtu`` 0 detects it. Images come from
    ``registry`` if given (``registry.example.org/calico`` in place of ``quay.io/calico``).
    """

    plane: ControlPlane
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

    def objects(self) -> tuple[Json, ...]:
        """The manifest's objects with our settings. Raises ConfigError where the manifest can't be had."""
        pinned = self.manifest or Manifest(
            "calico", self._version, _URL.format(version=self._version), _RELEASES[self._version]
        )
        source = self.plane.source
        folder = Path(source.path) / "manifests" if isinstance(source, Bundle) else None
        items = copy.deepcopy(pinned.read(folder))
        if self.registry is not None:
            registry = self.registry.rstrip("/")
            rewrite_images(items, lambda image: f"{registry}/{image.rpartition('/')[2]}")
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
            "CALICO_IPV4POOL_IPIP": "Always" if self.encapsulation == "ipip" else "Never",
            "CALICO_IPV4POOL_VXLAN": "Always" if self.encapsulation == "vxlan" else "Never",
        }
        kept = [item for item in container["env"] if item["name"] not in wanted]
        container["env"] = kept + [{"name": name, "value": value} for name, value in wanted.items()]
        if self.encapsulation == "vxlan":
            for probe in ("livenessProbe", "readinessProbe"):
                command = container[probe]["exec"]["command"]
                container[probe]["exec"]["command"] = [word for word in command if not word.startswith("-bird")]

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        items = self.objects()
        path = f"/etc/kubernetes/k8sha/{self.name.lower()}.yaml"
        file = File(path, dump(items), mode="0600")
        first = self.plane.hosts[0]
        yield Stage(
            f"Calico {self._version}",
            {
                first: (
                    file,
                    Applied(path, len(items), watches=(file,)),
                    RolledOut("daemonset/calico-node", "kube-system"),
                    RolledOut("deployment/calico-kube-controllers", "kube-system"),
                )
            },
        )

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return network_checks(self.plane, self.hosts)
