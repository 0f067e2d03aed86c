"""What every Kubernetes node needs before kubeadm runs."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import Attribute, field, frozen

from k8sha.component import Requirements
from k8sha.distros import Distro
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, Problem
from k8sha.etcd.member import KERNEL
from k8sha.hosts.host import Host
from k8sha.preflight import NAMES, known_distro, role_requirements, system_problems
from k8sha.report import Outcome
from k8sha.resources.containerd import SOCKET, ContainerdConfig, SystemdCgroups
from k8sha.resources.files import File, render
from k8sha.resources.kernel import Modules, NoSwap, Sysctl
from k8sha.resources.kubelet import CniPlugins, HostsEntry, Kubelet
from k8sha.resources.requirements import NodeRequirement
from k8sha.resources.resource import Requirement, Resource
from k8sha.resources.service import Service
from k8sha.sources import Role, Source
from k8sha.stage import Stage, Step
from k8sha.versions import Version

__all__ = ["NodeSettings", "node_problems", "node_requirements", "node_stages"]

_HERE = Path(__file__).parent
_MODULES = ("overlay", "br_netfilter")
_SYSCTL = {
    "net.bridge.bridge-nf-call-ip6tables": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.ipv4.ip_forward": "1",
}
"""From https://kubernetes.io/docs/setup/production-environment/container-runtimes/: pods' packets are routed, and those
that cross a bridge go through iptables as well."""


def _as_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _known_names(settings: NodeSettings, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    unknown = [name for name in value if name not in NAMES]
    if unknown:
        raise ConfigError.of(
            "NodeSettings", f"there is no requirement {', '.join(unknown)}", f"known are {', '.join(NAMES)}"
        )


def _toml_keys(
    settings: NodeSettings, attribute: Attribute[Mapping[str, str | int | bool]], value: Mapping[str, str | int | bool]
) -> None:
    for name, setting in value.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not isinstance(setting, str | int | bool):
            raise ConfigError.of(
                f"NodeSettings: containerd {name}",
                "is not a plain setting",
                "give names of letters, and text or numbers",
            )


def _sysctl_names(settings: NodeSettings, attribute: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
    for name, setting in value.items():
        if not re.fullmatch(r"[a-z0-9_./-]+", name) or "\n" in setting:
            raise ConfigError.of(
                f"NodeSettings: sysctl {name!r}", "is not a kernel setting", "write net.ipv4.ip_forward"
            )


@frozen(kw_only=True)
class NodeSettings:
    """What only some environments need on their nodes; the defaults fit a plain server.

    ``containerd`` are settings of containerd's CRI plugin, ``kubelet`` fields of KubeletConfiguration, ``kube_proxy``
    fields of KubeProxyConfiguration, ``sysctl`` further kernel settings. ``ignore_preflight`` names checks of kubeadm
    to pass over, ``skip_requirements`` those of k8sha (``k8sha.preflight.NAMES``).
    """

    containerd: Mapping[str, str | int | bool] = field(factory=dict, hash=False, validator=_toml_keys)
    kubelet: Mapping[str, object] = field(factory=dict, hash=False)
    kube_proxy: Mapping[str, object] = field(factory=dict, hash=False)
    sysctl: Mapping[str, str] = field(factory=dict, hash=False, validator=_sysctl_names)
    ignore_preflight: tuple[str, ...] = field(default=(), converter=_as_names)
    skip_requirements: tuple[str, ...] = field(default=(), converter=_as_names, validator=_known_names)


def node_problems(
    hosts: Sequence[Host], *, role: Role, version: Version, source: Source, settings: NodeSettings
) -> Iterator[Problem]:
    """What the source alone, and each host's facts, show to be wrong. The hosts are connected."""
    for architecture in dict.fromkeys(host.facts.architecture for host in hosts):
        yield from source.problems(version, architecture)
    for host in hosts:
        found = system_problems(
            host,
            version,
            cgroup_v1=settings.kubelet.get("failCgroupV1") is False,
            kubeadm_checks_kernel="SystemVerification" not in settings.ignore_preflight,
        )
        for name, problem in found:
            if name not in settings.skip_requirements:
                yield problem


def node_requirements(
    hosts: Sequence[Host],
    *,
    role: Role,
    version: Version,
    source: Source,
    settings: NodeSettings,
    endpoint: Endpoint | None = None,
    peers: Sequence[Host] = (),
) -> Requirements:
    """What must be true of each host. ``peers`` are further hosts that must answer it; an ``endpoint`` that is a name
    without an address must be known to it."""
    name = endpoint.host if endpoint is not None and endpoint.address is None and not endpoint.is_ip else None
    everyone = tuple(dict.fromkeys((*hosts, *peers)))
    found: dict[Host, tuple[Requirement, ...]] = {}
    for host in hosts:
        wanted: tuple[Requirement, ...] = tuple(
            role_requirements(host, role, version, peers=everyone, endpoint=name, etcd=role == "master")
        )
        if (distro := known_distro(host)) is not None:  # otherwise node_problems says so
            packages = distro.packages_at_hand(
                *_packages(distro, source), remedy="mend the host's package repositories or its way to them"
            )
            wanted += (packages, *source.requirements(version, role, distro))
        found[host] = tuple(
            need
            for need in wanted
            if not isinstance(need, NodeRequirement) or need.name not in settings.skip_requirements
        )
    return found


def node_stages(
    hosts: Sequence[Host],
    *,
    role: Role,
    version: Version,
    source: Source,
    endpoint: Endpoint,
    settings: NodeSettings,
    looks: tuple[Resource, ...] = (),
) -> Generator[Step, Outcome, Outcome]:
    """One stage, for ``yield from`` in a component's stages: everything that a node needs before kubeadm runs.

    Returns what it saw, also of ``looks``: what only reads, for stages that follow.
    """
    work = {
        host: (
            *_resources(host, role=role, version=version, source=source, endpoint=endpoint, settings=settings),
            *looks,
        )
        for host in hosts
    }
    return (yield Stage(f"prepare {role}s", work, early=True))


def _packages(distro: Distro, source: Source) -> tuple[str, ...]:
    plugins = () if source.brings_cni_plugins else ("containernetworking-plugins",)
    return (*distro.node_packages, *plugins)


def _resources(
    host: Host, *, role: Role, version: Version, source: Source, endpoint: Endpoint, settings: NodeSettings
) -> Iterator[Resource]:
    if settings.kubelet.get("failSwapOn") is not False:
        yield NoSwap()
    if endpoint.address is not None and not endpoint.is_ip:
        yield HostsEntry(endpoint.host, endpoint.address)
    yield host.distro.packages(*_packages(host.distro, source))
    yield Modules(_MODULES)
    yield Sysctl({**_SYSCTL, **(KERNEL if role == "master" else {}), **settings.sysctl})
    config = _containerd(source.pause_image(version), settings)
    yield config
    yield File("/etc/crictl.yaml", f"runtime-endpoint: unix://{SOCKET}\nimage-endpoint: unix://{SOCKET}\n")
    yield Service("containerd", watches=(config,), program="/usr/bin/containerd")
    kubernetes = source.kubernetes(version, host.facts, host.distro, role)
    yield from kubernetes
    yield CniPlugins(host.distro.cni_plugins)
    yield Kubelet(source.kubelet, watches=tuple(item for item in kubernetes if "kubelet" in item.key))
    yield from source.images(version, role)
    yield SystemdCgroups()


def _containerd(pause: str, settings: NodeSettings) -> ContainerdConfig:
    values = {
        "pause": json.dumps(pause),  # JSON's strings, numbers and booleans are TOML's as well
        "settings": sorted((name, json.dumps(value)) for name, value in settings.containerd.items()),
    }
    return ContainerdConfig(
        render(_HERE / "containerd-version2.toml.j2", **values), render(_HERE / "containerd-version3.toml.j2", **values)
    )
