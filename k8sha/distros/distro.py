"""The contract of this room: what differs per family of Linux distributions, and nothing else.

A new family is one file here and its place in ``DISTROS`` in :mod:`k8sha.distros`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from k8sha.facts import Facts
from k8sha.resources.resource import Requirement, Resource

__all__ = ["Distro"]


class Distro(ABC):
    """A family of distributions: how packages are had, and where things lie."""

    family: str
    """``debian`` or ``redhat``."""

    cni_plugins: str
    """Where the distribution's package of CNI plugins puts them."""

    node_packages: tuple[str, ...]
    """What every node needs: container runtime, kubeadm's and the kubelet's tools, and ``curl`` to ask the runtime."""

    etcd_packages: tuple[str, ...] = ()
    """The packages of etcd and its tools, the server's first; none where the distribution has none."""

    haproxy_ca: str = "/etc/haproxy/kubernetes-ca.crt"

    @abstractmethod
    def fits(self, facts: Facts) -> bool:
        """Whether a host is of this family."""

    @abstractmethod
    def supported(self, facts: Facts) -> str:
        """Empty if this release is supported, otherwise the reason why not."""

    @abstractmethod
    def packages(self, *names: str, hold: bool = False) -> Resource:
        """Packages by their Debian names (translated where another family calls them differently), installed."""

    @abstractmethod
    def packages_at_hand(self, *names: str, remedy: str = "") -> Requirement:
        """That a host has these packages or can fetch them."""

    @abstractmethod
    def kubernetes_package_probe(self, mirror: str, minor: str) -> str:
        """The address of a small file that a package repository of Kubernetes must have."""

    @abstractmethod
    def kubernetes_repository(self, mirror: str, minor: str) -> tuple[Resource, ...]:
        """The package repository of one Kubernetes minor version (``1.33``) below a mirror's address, signed."""
