"""ControlPlane: the masters of a cluster, and what is done with them."""

from __future__ import annotations

import ipaddress
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
from k8sha.components.diagnosis.report import Diagnosis, diagnosed
from k8sha.components.etcd import EtcdCluster
from k8sha.components.exchange import Balancer
from k8sha.components.formation import cluster_configuration, formation
from k8sha.components.kubeadm import ClusterSettings
from k8sha.components.masters import ADMIN_CONF
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.components.replace import removal, replacement
from k8sha.components.restore import external_members, stacked_members
from k8sha.components.serving import ServedNames, serving_stages
from k8sha.components.settings import note_stages, plane_settings
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, HostError, KubeError, Problem
from k8sha.etcd.age import Unlock
from k8sha.etcd.backup import Backup
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
        problems: list[Problem] = []
        count = len(self.hosts)
        if count not in (1, 3, 5):
            problems.append(
                Problem("ControlPlane", f"{count} masters", "take 1, 3 or 5: an even number tolerates no more losses")
            )
        for attribute in ("name", "address"):
            values = [getattr(host, attribute) for host in self.hosts]
            for value in sorted({value for value in values if values.count(value) > 1}):
                problems.append(Problem("ControlPlane", f"{attribute} {value} is given twice"))
        if self.etcd.stacked and self.etcd.hosts != self.hosts:
            problems.append(
                Problem("ControlPlane", "its etcd runs on other hosts", "stacked etcd runs on the masters themselves")
            )
        if not self.etcd.stacked:
            problems += self._etcd_problems()
        problem, _ = check_supported(self.version)
        if problem is not None:
            problems.append(problem)
        problems += self._overlaps()
        kinds = [type(policy).__name__ for policy in self.policies]
        problems += [Problem("ControlPlane", f"has two {kind}") for kind in sorted(set(kinds)) if kinds.count(kind) > 1]
        given = dict(self.cluster.api_server)
        problems += [
            Problem("ControlPlane", f"--{name} is set by {type(policy).__name__} too", "leave it out of api_server")
            for policy in self.policies
            for name in sorted(policy.arguments().keys() & given.keys())
        ]
        if problems:
            raise ConfigError(problems)

    def _etcd_problems(self) -> Iterator[Problem]:
        """What is wrong with an etcd on hosts of its own. A master that is a member as well is lost with it, which is
        what stacked etcd is, without kubeadm knowing of it."""
        for attribute in ("name", "address"):
            own = {getattr(host, attribute): host for host in self.hosts}
            for host in self.etcd.hosts:
                if getattr(host, attribute) in own:
                    cause = f"is a master and a member of an etcd on hosts of its own ({attribute})"
                    yield Problem(host.name, cause, "leave etcd out for one inside the masters, or give it other hosts")
        if self.cluster.etcd:
            cause = "arguments for etcd are given, which kubeadm passes to a stacked one alone"
            yield Problem("ControlPlane", cause, "use EtcdCluster(settings=EtcdSettings(...))")

    @property
    def needs(self) -> tuple[Host, ...]:
        """See :meth:`Component.needs`: members on hosts of their own sign for API servers, and are waited for."""
        return () if self.etcd.stacked else self.etcd.hosts

    def _overlaps(self) -> Iterator[Problem]:
        networks = {}
        for what, cidr in (("pod network", self.cluster.pod_cidr), ("service network", self.cluster.service_cidr)):
            try:
                networks[what] = ipaddress.ip_network(cidr)
            except ValueError as error:
                yield Problem("ControlPlane", f"{what} {cidr}: {error}", "give it as 10.244.0.0/16")
        listed = list(networks.items())
        for index, (what, network) in enumerate(listed):
            for other, second in listed[index + 1 :]:
                if network.version == second.version and network.overlaps(second):
                    yield Problem("ControlPlane", f"{what} {network} and {other} {second} overlap")
            for host in self.hosts:
                if ipaddress.ip_address(host.address) in network:
                    yield Problem("ControlPlane", f"{host.name}'s address {host.address} lies in the {what} {network}")
            if self.endpoint.is_ip and ipaddress.ip_address(self.endpoint.host) in network:
                yield Problem("ControlPlane", f"the endpoint {self.endpoint} lies in the {what} {network}")

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
                    exit, out, _ = host.read(f"if [ -s {ADMIN_CONF} ]; then cat {ADMIN_CONF}; fi")[0]
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

    def accept(self, *, workers: Iterable[Host] = (), listen: Listener = ignore) -> Report:
        """Delete the data that restores have kept. There is no undoing them afterwards."""
        return accept(self._members(workers), listen=listen)

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
        yield from host_problems(self.hosts, skip=self.settings.skip_requirements)
        yield from strangers(self.hosts)
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
        return {host: (*needs.get(host, ()), *told) for host in self.hosts}

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
