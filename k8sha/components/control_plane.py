"""ControlPlane: the masters of a cluster, and what is done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from attrs import Factory, define, field, frozen

from k8sha.artifacts import Artifact
from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.components.apiserver import ApiServerPolicy, policy_stages
from k8sha.components.apiserver_given import NothingByHand
from k8sha.components.apiserver_host import NotEncrypted
from k8sha.components.belonging import strangers
from k8sha.components.checks import control_plane_checks
from k8sha.components.composition import composition_problems
from k8sha.components.diagnosis.report import Diagnosis, diagnosed
from k8sha.components.etcd import EtcdCluster
from k8sha.components.exchange import Balancer
from k8sha.components.formation import cluster_configuration, formation
from k8sha.components.kubeadm import ClusterSettings
from k8sha.components.masters import ADMIN_CONF, Administrator
from k8sha.components.membership import EtcdFolder
from k8sha.components.networks import link_problems
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.components.replace import removal, replacement
from k8sha.components.restore import external_members, stacked_members
from k8sha.components.serving import ServedNames, serving_stages
from k8sha.components.settings import note_stages, plane_settings
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, HostError, KubeError, Problem
from k8sha.etcd.age import Encryption, Unlock
from k8sha.etcd.backup import Backup, take_backup
from k8sha.etcd.destinations import Destination
from k8sha.etcd.members import Members
from k8sha.etcd.restore import restore
from k8sha.etcd.restored import Restored
from k8sha.etcd.undo import Undone, accept, undo
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host, as_hosts
from k8sha.kube import Api
from k8sha.preflight import host_problems
from k8sha.report import Report
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.resource import Requirement
from k8sha.sources import Source
from k8sha.versions import Version, check_supported

__all__ = ["ControlPlane"]


@define(eq=False)
class _Seen:
    """What the last run learned of the cluster; mutable because it is learned late."""

    kubeconfig: str | None = None
    api: Api | None = None


def _as_version(text: str | Version) -> Version:
    return Version.parse(text)


def _stacked(plane: ControlPlane) -> EtcdCluster:
    return EtcdCluster(plane.hosts, stacked=True)


@frozen(kw_only=True)
class ControlPlane(Component):
    """Masters that run API server, controller manager, scheduler and etcd, made by kubeadm behind one endpoint.

    One or an odd number of ``hosts`` (etcd's quorum), an ``endpoint`` that all nodes reach, a full ``version``, and a
    ``source`` to take Kubernetes from. The first host is where a new cluster begins; in an existing one it has no
    special role, and a host that has lost everything joins again, it never starts a second cluster. ``policies`` are
    what all API servers are told, such as an AuditLog: a change of them is rolled out master by master.
    """

    begins_early: ClassVar[bool] = True

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    endpoint: Endpoint
    version: Version = field(converter=_as_version)
    source: Source
    etcd: EtcdCluster = field(default=Factory(_stacked, takes_self=True))
    settings: NodeSettings = field(factory=NodeSettings)
    cluster: ClusterSettings = field(factory=ClusterSettings)
    ca: CertificateAuthority = field(factory=CertificateAuthority)
    policies: tuple[ApiServerPolicy, ...] = field(default=(), converter=tuple)
    _seen: _Seen = field(factory=_Seen, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if problems := list(composition_problems(self)):
            raise ConfigError(problems)

    @property
    def needs(self) -> tuple[Host, ...]:
        """See :meth:`Component.needs`: members on hosts of their own sign for API servers, and are waited for."""
        return () if self.etcd.stacked else self.etcd.hosts

    @property
    def api(self) -> Api:
        """The cluster's API, as its administrator: through the endpoint, or through a live master's SSH connection."""
        if self._seen.api is None:
            self._seen.api = Api(self.kubeconfig, self.endpoint, self.hosts)
        return self._seen.api

    def kubeconfig(self) -> str:
        """The administrator's kubeconfig, as text: keep it 0600. Read from the first master that has one.

        Raises KubeError where no master has one, or the last host's error where none is reached.
        """
        if self._seen.kubeconfig is None:
            errors: list[HostError] = []
            for host in self.hosts:
                try:
                    exit, out, _ = host.read(Administrator().probe())[0]
                except HostError as error:
                    errors.append(error)
                    continue
                if exit == 0 and out:
                    self._seen.kubeconfig = out.decode()
                    break
            else:
                if errors:
                    raise errors[-1]
                names = ", ".join(host.name for host in self.hosts)
                raise KubeError("read", f"{ADMIN_CONF} on {names}", 0, "none has one: the cluster is not installed yet")
        return self._seen.kubeconfig

    def replace(
        self,
        dead: Host,
        new: Host,
        *,
        balancers: Iterable[Balancer] = (),
        powered_off: bool = False,
        listen: Listener = ignore,
    ) -> Report:
        """Put another machine in a dead master's place, be it the first one, reachable or not.

        ``new`` is a blank host, under the dead one's name and address or others. ``hosts`` may list either of the two:
        afterwards the caller's module lists ``new``. The ``balancers`` send nothing to the dead one from the beginning
        on, and to the new one once its API server is ready. A dead host that can't be reached must be ``powered_off``,
        which only the caller can know; one that answers is stopped for good, its data kept aside on it. Safe to run
        again at any time, after a kill as well.

        Raises PreflightError with nothing changed where etcd would lose its quorum (with the arithmetic), another
        member is not healthy, the dead one might come back, or the new one has old data; otherwise as ``install``.
        """
        exchange = replacement(
            self,
            dead,
            new,
            balancers=balancers,
            powered_off=powered_off,
        )
        return exchange.carry_out(listen, what=f"replaces {dead} by {new}")

    def remove(
        self,
        *hosts: Host,
        balancers: Iterable[Balancer] = (),
        powered_off: bool = False,
        listen: Listener = ignore,
    ) -> Report:
        """Take these masters out of the control plane, reachable or not; the caller's module then lists the rest.

        Pods leave a master that is alive as their disruption budgets allow. What stays should be an odd number. See
        :meth:`replace` for ``balancers``, ``powered_off`` and what is refused.
        """
        exchange = removal(self, hosts, balancers=balancers, powered_off=powered_off)
        return exchange.carry_out(listen, what=f"removes {', '.join(map(str, hosts))}")

    def backup(
        self,
        to: Iterable[Destination],
        *,
        encrypt: Encryption | None = None,
        scratch: Iterable[str] = (),
        listen: Listener = ignore,
    ) -> Backup:
        """Take a backup of the cluster's etcd and prove it: see :meth:`EtcdCluster.backup`. Where etcd has hosts of its
        own, what is on masters alone goes along: their authorities' keys, the encryption, kubeadm's configuration."""
        hosts, access = self.etcd.hosts, self.etcd.access
        masters, folders = () if access.stacked else self.hosts, tuple(scratch)
        return take_backup(hosts, access, to, encrypt=encrypt, scratch=folders, masters=masters, listen=listen)

    def restore(
        self,
        snapshot: Path | str | Backup,
        *,
        workers: Iterable[Host] = (),
        powered_off: Iterable[Host] = (),
        another_cluster: bool = False,
        unlock: Unlock | None = None,
        listen: Listener = ignore,
    ) -> Restored:
        """Make the cluster's etcd anew from one snapshot, and all that depends on it: for a lost quorum, or to go back.

        ``workers`` are the other nodes: their kubelets are started anew as well. The result says what was lost, and
        how long it took until the endpoint answered. See :meth:`EtcdCluster.restore` for everything else.
        """
        return restore(
            self._members(workers),
            snapshot,
            powered_off=powered_off,
            another_cluster=another_cluster,
            unlock=unlock,
            listen=listen,
        )

    def undo(
        self, *, workers: Iterable[Host] = (), powered_off: Iterable[Host] = (), listen: Listener = ignore
    ) -> Undone:
        """Take the last restore back, half-way or done: every master has the data again that it had before it."""
        return undo(self._members(workers), powered_off=powered_off, listen=listen)

    def accept(
        self, *, workers: Iterable[Host] = (), powered_off: Iterable[Host] = (), listen: Listener = ignore
    ) -> Report:
        """Delete the data that restores have kept. There is no undoing them afterwards. See
        :meth:`EtcdCluster.accept`."""
        return accept(self._members(workers), powered_off=powered_off, listen=listen)

    def _members(self, workers: Iterable[Host]) -> Members:
        if not self.etcd.stacked:
            return external_members(self.etcd.hosts, self.hosts, workers, self.endpoint)
        return stacked_members(self.hosts, workers, self.endpoint)

    def diagnose(
        self, *, balancers: Iterable[Balancer] = (), workers: Iterable[Host] = (), listen: Listener = ignore
    ) -> Diagnosis:
        """What is wrong with the cluster, the likely cause first, with the remedy: all hosts are read at once, in one
        trip each. Works with the API down and with hosts that can't be reached; changes nothing, and raises nothing of
        what it finds.
        """
        pairs = tuple(balancers)
        hosts = [(host, "master") for host in self.hosts]
        hosts += [(host, "balancer") for pair in pairs for host in pair.balancers]
        hosts += [(host, "worker") for host in workers]
        hosts += [(host, "etcd") for host in self.needs]
        return diagnosed(hosts, endpoint=self.endpoint, vip=next((pair.vip for pair in pairs), ""), listen=listen)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from node_problems(
            self.hosts, role="master", version=self.version, source=self.source, settings=self.settings
        )
        yield from host_problems(self.hosts, skip=self.settings.skip_requirements, members=self.needs)
        yield from strangers(self.hosts)
        yield from link_problems(self.cluster, self.hosts, skip=self.settings.skip_requirements)
        for policy in self.policies:
            yield from policy.problems()

    def warnings(self) -> Iterator[str]:
        """See :meth:`Component.warnings`."""
        _, warning = check_supported(self.version)
        if warning is not None:
            yield warning

    def artifacts(self) -> Iterator[Artifact]:
        """See :meth:`Component.artifacts`."""
        yield from self.source.artifacts(self.version)

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        needs = node_requirements(
            self.hosts,
            role="master",
            version=self.version,
            source=self.source,
            settings=self.settings,
            endpoint=self.endpoint,
        )
        told: tuple[Requirement, ...] = (NothingByHand(cluster_configuration(self)),)
        encrypts = [dict(self.cluster.api_server), *(policy.arguments() for policy in self.policies)]
        if not any("encryption-provider-config" in arguments for arguments in encrypts):
            told = (*told, NotEncrypted())
        passed = {name.lower() for name in self.settings.ignore_preflight}
        if self.etcd.stacked and not passed & EtcdFolder.checks:
            told = (*told, EtcdFolder())
        return {host: (*needs.get(host, ()), *told) for host in self.hosts}

    def yields_to(self, other: Component) -> bool:
        """See :meth:`Component.yields_to`: whoever has something short to do on a master, whose preparation is long."""
        return not set(other.hosts).isdisjoint(self.hosts)

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        settings = plane_settings(self)
        outcome = yield from node_stages(
            self.hosts,
            role="master",
            version=self.version,
            source=self.source,
            endpoint=self.endpoint,
            settings=self.settings,
            looks=(ServedNames(), settings),
        )
        yield from note_stages(self.hosts, outcome, settings)
        yield from serving_stages(self, outcome, settings)
        formed = yield from formation(self)
        self._seen.kubeconfig = formed.kubeconfig or None
        changed = any(settings.server_differs(outcome.of(host.name, settings.key)) for host in self.hosts)
        yield from policy_stages(self.policies, formed.servers, leftovers=formed.leftovers, changed=changed)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield from control_plane_checks(self)
        for policy in self.policies:
            yield from policy.checks(self)
