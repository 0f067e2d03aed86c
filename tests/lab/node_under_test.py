"""A component that prepares nodes and does nothing else; run as a program it is an installer that a test may kill.

``python -m tests.lab.node_under_test HOST ADDRESS KEY KNOWN_HOSTS BUNDLE`` prints one line an event.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from k8sha.component import Component, Requirements, Stages
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.endpoint import Endpoint
from k8sha.errors import Problem
from k8sha.events import Began, Event, Finished, Uploaded
from k8sha.hosts import SSH, Host
from k8sha.preflight import host_problems
from k8sha.sources import Bundle, Role
from k8sha.versions import Version

SETTINGS = NodeSettings(
    containerd={"restrict_oom_score_adj": True},
    kubelet={"failSwapOn": False, "failCgroupV1": False, "featureGates": {"KubeletInUserNamespace": True}},
    skip_requirements=("size", "disk-sync"),
)
"""What containers on one machine need: they share its size and disk."""

VERSION = Version(1, 33, 13)
ENDPOINT = Endpoint("api.k8sha.test", address="192.168.56.100")


@frozen
class Nodes(Component):
    """Hosts that are prepared for kubeadm."""

    hosts: tuple[Host, ...]
    source: Bundle
    role: Role = "worker"
    settings: NodeSettings = SETTINGS
    version: Version = VERSION
    endpoint: Endpoint = ENDPOINT

    def problems(self) -> Iterator[Problem]:
        yield from node_problems(
            self.hosts, role=self.role, version=self.version, source=self.source, settings=self.settings
        )
        yield from host_problems(self.hosts, skip=self.settings.skip_requirements)

    def requirements(self) -> Requirements:
        return node_requirements(
            self.hosts,
            role=self.role,
            version=self.version,
            source=self.source,
            settings=self.settings,
            endpoint=self.endpoint,
        )

    def stages(self) -> Stages:
        yield from node_stages(
            self.hosts,
            role=self.role,
            version=self.version,
            source=self.source,
            endpoint=self.endpoint,
            settings=self.settings,
        )


def say(event: Event) -> None:
    match event:
        case Began(_, resource):
            line = f"began {resource}"
        case Uploaded(_, resource, sent, total):
            line = f"sent {sent} of {total} for {resource}"
        case Finished(result):
            line = f"finished {result.resource} {result.status.value}"
        case _:
            return
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    name, address, key, known_hosts, bundle = sys.argv[1:]
    host = Host(name, address, ssh=SSH("vagrant", key=key, known_hosts=known_hosts))
    Nodes((host,), Bundle(Path(bundle))).install(say)
    sys.stdout.write("done\n")
