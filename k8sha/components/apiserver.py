"""How the API servers' settings, files and manifests are changed: the same on all, one master at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from k8sha.component import Checks, Stages
from k8sha.components.apiserver_change import ApiServerManifest
from k8sha.components.apiserver_host import (
    ApiServerPod,
    ApiServerRuns,
    KubeadmConfig,
    arguments_of,
)
from k8sha.components.masters import ApiReady
from k8sha.errors import Problem
from k8sha.hosts.host import Host
from k8sha.resources.resource import Resource
from k8sha.stage import Stage
from k8sha.versions import Version, kubeadm_api

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["ApiServerPolicy", "ApiServers", "Volume", "policy_stages", "with_policies"]


@frozen
class Volume:
    """A file or folder of the host that the API server sees under the same path."""

    name: str
    path: str
    path_type: str = "File"
    read_only: bool = True

    def as_extra(self) -> dict[str, object]:
        """It as kubeadm's ``extraVolumes`` have it."""
        return {
            "name": self.name,
            "hostPath": self.path,
            "mountPath": self.path,
            "readOnly": self.read_only,
            "pathType": self.path_type,
        }


@frozen
class ApiServerPolicy:
    """Something that every API server is told by arguments and files: a :class:`ControlPlane` is given it.

    Its files are on every master before ``kubeadm init`` and ``join``, since all take the same configuration. A file
    that the API server reads only at its start has a hash of its content in its name: another content is another
    argument, and so is rolled out master by master.
    """

    def arguments(self) -> Mapping[str, str]:
        """The API server's arguments, once all is as it shall be."""
        return {}

    def gradual(self) -> tuple[str, ...]:
        """Those of its arguments that only :meth:`changeover` may change on a cluster that runs."""
        return ()

    def volumes(self) -> tuple[Volume, ...]:
        """What of the host the API server must see."""
        return ()

    def files(self) -> tuple[Resource, ...]:
        """What every master must have before its API server starts."""
        return ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong with it, before the first change."""
        yield from ()

    def preparation(self, masters: tuple[Host, ...]) -> Stages:
        """Stages of its own before ``kubeadm init`` and ``join``."""
        yield from ()

    def changeover(self, servers: ApiServers) -> Stages:
        """Stages of its own on a cluster that runs, before all API servers get their final arguments."""
        yield from ()

    def clearing(self, masters: tuple[Host, ...]) -> Stages:
        """Stages of its own once all API servers have them."""
        yield from ()

    def checks(self, plane: ControlPlane) -> Checks:
        """What ``verify`` looks at."""
        return ()


def with_policies(
    config: dict[str, object],
    version: Version,
    arguments: Mapping[str, str | None],
    volumes: Iterable[Volume],
) -> dict[str, object]:
    """A ClusterConfiguration whose API servers have these arguments (None: not that one) and volumes as well, whatever
    its version."""
    server = config["apiServer"]
    if not isinstance(server, Mapping):
        raise TypeError("a ClusterConfiguration has apiServer")
    given = {**arguments_of(server.get("extraArgs")), **arguments}
    values = {name: value for name, value in given.items() if value is not None}
    extra: object = values
    if kubeadm_api(version) != "v1beta3":
        extra = [{"name": name, "value": value} for name, value in sorted(values.items())]
    changed = {**server, "extraArgs": extra}
    if found := [volume.as_extra() for volume in volumes]:
        changed["extraVolumes"] = found
    return {**config, "apiServer": changed}


@frozen
class ApiServers:
    """All API servers of a control plane that runs, and the stage that changes them one at a time."""

    masters: tuple[Host, ...]
    first: Host
    """One that is in the cluster, to ask and to change the cluster's own records."""
    version: Version
    config: Callable[[Mapping[str, str | None]], dict[str, object]]
    """The ClusterConfiguration with these arguments in place of the policies' own."""

    def admit(self, policies: Iterable[ApiServerPolicy], running: Mapping[str, str]) -> Stages:
        """kubeadm's record names no file that a master that joins now has not: it has those of its policies only.

        What changes step by step stays as it is with the arguments of the API servers that run.
        """
        kept = {name: running.get(name) for policy in policies for name in policy.gradual()}
        record = KubeadmConfig(self.config(kept), self.version, self.first.address)
        yield Stage("API servers of masters that join", {self.first: (record,)})

    def change(self, name: str, arguments: Mapping[str, str] | None = None, *, record_first: bool = False) -> Stages:
        """Each master: its manifest, the new process, readiness; then the next.

        kubeadm's record is changed once the first API server runs by it, so that it never has what none would start
        with; with ``record_first`` (arguments only go) before it, so that whoever finds none on any master need not
        look at the record.
        """
        config = self.config(arguments or {})
        record = KubeadmConfig(config, self.version, self.first.address)
        work: dict[Host, tuple[Resource, ...]] = {}
        for host in (self.first, *(host for host in self.masters if host != self.first)):
            others = tuple(other.address for other in self.masters if other != host)
            manifest = ApiServerManifest(config, self.version, host.address, others)
            own: tuple[Resource, ...] = (manifest,)
            if host == self.first:
                own = (record, manifest) if record_first else (manifest, record)
            pod = ApiServerPod(host.name, host.address)
            work[host] = (*own, ApiServerRuns(), ApiReady(host.address, patience=240), pod)
        yield Stage(name, work, batch=1)


def policy_stages(
    policies: tuple[ApiServerPolicy, ...], servers: ApiServers, *, leftovers: bool, changed: bool = False
) -> Stages:
    """What brings a control plane that runs to its policies and to the caller's own arguments; no stage at all where
    no policy is declared, there are no ``leftovers`` of any, and no argument has ``changed``."""
    for policy in policies:
        yield from policy.changeover(servers)
    if policies or leftovers or changed:
        yield from servers.change("API servers", record_first=leftovers and not policies)
    for policy in policies:
        yield from policy.clearing(servers.masters)
