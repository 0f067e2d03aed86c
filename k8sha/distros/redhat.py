"""RHEL and its family."""

from __future__ import annotations

from k8sha.distros.distro import Distro
from k8sha.facts import Facts
from k8sha.resources.files import File
from k8sha.resources.packages import DnfPackages
from k8sha.resources.reach import DnfPackagesAtHand
from k8sha.resources.resource import Requirement, Resource

__all__ = ["RedHat"]

_NAMES = {
    "conntrack": "conntrack-tools",
    "iptables": "iptables-nft",
    "iputils-arping": "iputils",
    "procps": "procps-ng",
    "containerd": "containerd.io",
    "runc": "runc",
}


class RedHat(Distro):
    """RHEL, Rocky, Alma and CentOS Stream, 9 and 10."""

    family = "redhat"
    cni_plugins = "/usr/libexec/cni"
    node_packages = (
        "containerd.io",
        "conntrack-tools",
        "ethtool",
        "iptables-nft",
        "iputils",
        "kmod",
        "openssl",
        "procps-ng",
        "socat",
    )

    def fits(self, facts: Facts) -> bool:
        return facts.os in ("rhel", "rocky", "almalinux", "centos") or "rhel" in facts.os_like

    def supported(self, facts: Facts) -> str:
        if facts.os_version.split(".")[0] in ("9", "10"):
            return ""
        return f"{facts.os_name or facts.os} is not among RHEL, Rocky, Alma and CentOS Stream 9/10"

    def packages(self, *names: str, hold: bool = False) -> Resource:
        pairs = (name.partition("=") for name in names)
        return DnfPackages(tuple(_NAMES.get(name, name) + sign + version for name, sign, version in pairs), hold=hold)

    def packages_at_hand(self, *names: str, remedy: str = "") -> Requirement:
        return DnfPackagesAtHand(tuple(_NAMES.get(name, name) for name in names), remedy=remedy)

    def kubernetes_package_probe(self, mirror: str, minor: str) -> str:
        return f"{mirror.rstrip('/')}/core:/stable:/v{minor}/rpm/repodata/repomd.xml"

    def kubernetes_repository(self, mirror: str, minor: str) -> tuple[Resource, ...]:
        base = f"{mirror.rstrip('/')}/core:/stable:/v{minor}/rpm/"
        text = (
            f"[kubernetes]\nname=Kubernetes {minor}\nbaseurl={base}\nenabled=1\ngpgcheck=1\n"
            f"gpgkey={base}repodata/repomd.xml.key\nexclude=kubelet kubeadm kubectl cri-tools kubernetes-cni\n"
        )
        return (File("/etc/yum.repos.d/kubernetes.repo", text),)
