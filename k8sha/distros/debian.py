"""Debian and Ubuntu."""

from __future__ import annotations

from k8sha.distros.distro import Distro
from k8sha.facts import Facts
from k8sha.resources.command import Command
from k8sha.resources.files import File
from k8sha.resources.packages import AptPackages
from k8sha.resources.reach import AptPackagesAtHand
from k8sha.resources.resource import Requirement, Resource

__all__ = ["Debian"]

_SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}
_KEY = "/etc/apt/keyrings/kubernetes-apt-keyring.asc"


class Debian(Distro):
    """Debian 12 and 13, Ubuntu 22.04, 24.04 and 26.04."""

    family = "debian"
    cni_plugins = "/usr/lib/cni"
    etcd_packages = ("etcd-server", "etcd-client")
    node_packages = (
        "containerd",
        "runc",
        "conntrack",
        "curl",
        "ethtool",
        "iptables",
        "iputils-ping",
        "kmod",
        "openssl",
        "procps",
        "socat",
    )

    def fits(self, facts: Facts) -> bool:
        return facts.os in _SUPPORTED or "debian" in facts.os_like

    def supported(self, facts: Facts) -> str:
        if facts.os_version in _SUPPORTED.get(facts.os, ()):
            return ""
        return f"{facts.os_name or facts.os} is not among Debian 12/13 and Ubuntu 22.04/24.04/26.04"

    def packages(self, *names: str, hold: bool = False) -> Resource:
        return AptPackages(names, hold=hold)

    def packages_at_hand(self, *names: str, remedy: str = "") -> Requirement:
        return AptPackagesAtHand(names, remedy=remedy)

    def kubernetes_package_probe(self, mirror: str, minor: str) -> str:
        return f"{mirror.rstrip('/')}/core:/stable:/v{minor}/deb/InRelease"

    def kubernetes_repository(self, mirror: str, minor: str) -> tuple[Resource, ...]:
        base = f"{mirror.rstrip('/')}/core:/stable:/v{minor}/deb/"
        key = Command(
            f"signing key of {base}",
            done=f"if [ ! -s {_KEY} ]; then echo '+ {_KEY}'; fi",
            run=f"mkdir -p /etc/apt/keyrings\ncurl -fsSL --retry 3 -o {_KEY}.new '{base}Release.key'\n"
            f"chmod 0644 {_KEY}.new\nmv -f {_KEY}.new {_KEY}",
        )
        source = File("/etc/apt/sources.list.d/kubernetes.list", f"deb [signed-by={_KEY}] {base} /\n", watches=(key,))
        lists = Command(
            f"package lists of {base}",
            done="if [ -z \"$(apt-cache policy kubeadm)\" ]; then echo 'package lists are to be fetched'; fi",
            run="apt-get update -q -o DPkg::Lock::Timeout=300",
            watches=(source,),
        )
        return (AptPackages(("curl", "ca-certificates")), key, source, lists)
