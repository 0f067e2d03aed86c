"""The ten tasks for k8sha: ``python -m bench.tasks.ours FLEET.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from attrs import frozen

from k8sha.component import Component, Stages
from k8sha.hosts.host import Host
from k8sha.hosts.ssh import SSH
from k8sha.resources.files import File
from k8sha.resources.kernel import NoSwap, Sysctl
from k8sha.resources.resource import Resource
from k8sha.resources.service import Service
from k8sha.stage import Stage

FILES = Path(__file__).parent / "files"


@frozen
class NodePreparation(Component):
    """Ten tasks that every Kubernetes node needs."""

    hosts: tuple[Host, ...]

    def stages(self) -> Stages:
        yield Stage("node preparation", {host: self._node(host) for host in self.hosts})

    def _node(self, host: Host) -> tuple[Resource, ...]:
        return (
            File("/etc/modules-load.d/kubernetes.conf", (FILES / "modules.conf").read_text()),
            File("/etc/crictl.yaml", (FILES / "crictl.yaml").read_text()),
            File("/etc/containerd/config.toml", (FILES / "containerd.toml").read_text(), mode="0600"),
            Sysctl(
                {
                    "net.ipv4.ip_forward": "1",
                    "net.ipv4.ip_nonlocal_bind": "1",
                    "net.ipv4.conf.all.rp_filter": "2",
                },
                path="/etc/sysctl.d/90-kubernetes.conf",
            ),
            host.distro.packages("conntrack"),
            Service("cron"),
            Service("ssh"),
            NoSwap(),
        )


def main(path: str) -> None:
    fleet = json.loads(Path(path).read_text())
    ssh = SSH(user="root", port=fleet["port"], key=fleet["key"], known_hosts=fleet["known_hosts"])
    hosts = tuple(Host(f"node-{number}", address, ssh=ssh) for number, address in enumerate(fleet["addresses"], 1))
    report = NodePreparation(hosts).install()
    print(str(report).splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1])
