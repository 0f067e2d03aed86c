"""The contract of this room: what any source of Kubernetes can tell, and the resources that bring it to a host.

Components don't know which one it is: they ask for resources and get them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal, TypeAlias

from k8sha.artifacts import Artifact
from k8sha.distros.distro import Distro
from k8sha.errors import Problem
from k8sha.facts import Facts
from k8sha.resources.resource import Requirement, Resource
from k8sha.versions import Version

__all__ = ["KUBELET", "Role", "Source"]

Role: TypeAlias = Literal["master", "worker"]

KUBELET = "/etc/kubernetes/kubelet.conf"
"""kubeadm makes it when a host becomes a node: the mark of one that has joined."""


class Source(ABC):
    """A place that Kubernetes is taken from."""

    @abstractmethod
    def problems(self, version: Version, architecture: str) -> Iterator[Problem]:
        """What is known to be wrong without asking a host; looked at before the first change."""

    @abstractmethod
    def requirements(self, version: Version, role: Role, distro: Distro) -> tuple[Requirement, ...]:
        """What hosts must reach or have room for."""

    @abstractmethod
    def kubernetes(self, version: Version, facts: Facts, distro: Distro, role: Role) -> tuple[Resource, ...]:
        """kubelet, kubeadm and kubectl (a bundle: on masters only) of exactly this version, with the kubelet's unit."""

    @abstractmethod
    def images(self, version: Version, role: Role) -> tuple[Resource, ...]:
        """The container images that a node of this role begins with. They need the container runtime running."""

    @abstractmethod
    def artifacts(self, version: Version) -> Iterator[Artifact]:
        """Every image and repository that Kubernetes itself takes from it."""

    @property
    @abstractmethod
    def kubelet(self) -> str:
        """Where the kubelet lies on a host."""

    @property
    @abstractmethod
    def brings_cni_plugins(self) -> bool:
        """Whether the CNI plugins come with the kubelet; otherwise the distribution's are used."""

    @property
    @abstractmethod
    def image_repository(self) -> str | None:
        """The registry that kubeadm's images are named after, None for kubeadm's own."""

    @abstractmethod
    def etcd_tag(self, version: Version) -> str | None:
        """The tag of the etcd image, None for kubeadm's own choice."""

    @abstractmethod
    def coredns_tag(self, version: Version) -> str | None:
        """The tag of the CoreDNS image, None for kubeadm's own choice."""

    @abstractmethod
    def pause_image(self, version: Version) -> str:
        """The full reference of the pause image."""
