"""Upstream: Kubernetes' own package repositories and image registry, or mirrors of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import field, frozen

from k8sha.artifacts import Artifact
from k8sha.distros.distro import Distro
from k8sha.errors import ConfigError, Problem
from k8sha.facts import Facts
from k8sha.resources.command import Command
from k8sha.resources.images import CTR
from k8sha.resources.reach import Reachable
from k8sha.resources.requirements import Space
from k8sha.resources.resource import Requirement, Resource
from k8sha.sources.source import KUBELET, Role, Source
from k8sha.versions import Version, default_pause

__all__ = ["Upstream"]

_REGISTRY = "registry.k8s.io"


@frozen
class Upstream(Source):
    """Packages from one repository per minor version below ``mirror``, images from ``registry`` (kubeadm's own where
    it is None). Packages are pinned to the exact version and held.
    """

    mirror: str = "https://pkgs.k8s.io"
    registry: str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch(r"https?://[A-Za-z0-9][A-Za-z0-9._:/~%-]*", self.mirror):
            raise ConfigError.of(f"mirror {self.mirror!r}", "is not a web address", "write it as https://pkgs.k8s.io")
        if self.registry is not None and not re.fullmatch(r"[a-z0-9](?:[a-z0-9._:-]|/(?!/))*[a-z0-9]", self.registry):
            raise ConfigError.of(
                f"registry {self.registry!r}", "is not a registry's name", "write it as registry.example.com/kubernetes"
            )

    def problems(self, version: Version, architecture: str) -> Iterator[Problem]:
        """See :meth:`Source.problems`."""
        if architecture not in ("amd64", "arm64", "ppc64le", "s390x"):
            yield Problem(
                f"Kubernetes {version}", f"there are no packages for {architecture}", "use amd64 or arm64 hosts"
            )

    def requirements(self, version: Version, role: Role, distro: Distro) -> tuple[Requirement, ...]:
        """See :meth:`Source.requirements`."""
        registry = (self.registry or _REGISTRY).partition("/")[0]
        return (
            # Measured with 1.33: programs 0.3 GB, a master's images 1 GB packed and unpacked; the rest is for etcd,
            # logs and the first pods.
            Space(mib=4096),
            Reachable(
                distro.kubernetes_package_probe(self.mirror, version.minor),
                what=f"the packages of Kubernetes {version.minor}",
                remedy="open the way, or give Upstream(mirror=...) or a Bundle",
            ),
            Reachable(
                f"https://{registry}/v2/",
                what="the image registry",
                file=False,
                remedy="open the way, or give Upstream(registry=...) or a Bundle",
            ),
        )

    def kubernetes(self, version: Version, facts: Facts, distro: Distro, role: Role) -> tuple[Resource, ...]:
        """See :meth:`Source.kubernetes`. The packages bring the kubelet's unit and kubeadm's drop-in for it."""
        pinned = (f"{name}={version}-*" for name in ("kubeadm", "kubectl", "kubelet"))
        return (
            *distro.kubernetes_repository(self.mirror, version.minor),
            distro.packages(*pinned, "cri-tools", "kubernetes-cni", hold=True),
        )

    def images(self, version: Version, role: Role) -> tuple[Resource, ...]:
        """See :meth:`Source.images`. Pulled ahead on masters, where kubeadm would wait for them one after the other."""
        if role == "worker":
            return ()
        options = f"--kubernetes-version v{version}" + (
            f" --image-repository {self.registry}" if self.registry is not None else ""
        )
        done = f"""\
if [ -e {KUBELET} ]; then exit 0; fi
if ! command -v kubeadm >/dev/null || ! images=$({CTR} list --quiet 2>/dev/null); then
  echo '+ the images of Kubernetes {version}'
  exit 0
fi
for image in $(kubeadm config images list {options}); do
  case " $(echo $images) " in *" $image "*) ;; *) echo "+ $image";; esac
done"""
        return (Command(f"images of Kubernetes {version}", done, f"kubeadm config images pull {options}", limit=1800),)

    def artifacts(self, version: Version) -> Iterator[Artifact]:
        """See :meth:`Source.artifacts`. The tags of etcd and CoreDNS are in kubeadm alone, which says them: ``kubeadm
        config images list``."""
        yield Artifact("url", f"{self.mirror}/core:/stable:/v{version.minor}/deb/Release", "Kubernetes")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"):
            yield Artifact("image", f"{self.registry or _REGISTRY}/{name}:v{version}", "Kubernetes")
        yield Artifact("image", self.pause_image(version), "Kubernetes")

    @property
    def kubelet(self) -> str:
        """Where its package puts it."""
        return "/usr/bin/kubelet"

    @property
    def brings_cni_plugins(self) -> bool:
        """Yes: the package kubernetes-cni has them, and the kubelet needs it."""
        return True

    @property
    def image_repository(self) -> str | None:
        """See :attr:`Source.image_repository`."""
        return self.registry

    def etcd_tag(self, version: Version) -> str | None:
        """kubeadm's own choice."""
        return None

    def coredns_tag(self, version: Version) -> str | None:
        """kubeadm's own choice."""
        return None

    def pause_image(self, version: Version) -> str:
        """See :meth:`Source.pause_image`."""
        return f"{self.registry or _REGISTRY}/pause:{default_pause(version)}"
