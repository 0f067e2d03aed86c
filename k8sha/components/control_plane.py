"""ControlPlane: the first master by ``kubeadm init``, the others one at a time by ``kubeadm join``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from attrs import Factory, define, field, frozen

from k8sha.artifacts import Artifact
from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.components.apiserver import ApiServerPolicy, ApiServers, policy_stages, with_policies
from k8sha.components.apiserver_host import ApiServerArguments, NotEncrypted, UnfinishedChange
from k8sha.components.checks import control_plane_checks
from k8sha.components.diagnosis.report import Diagnosis, diagnosed
from k8sha.components.etcd import EtcdCluster, StackedEtcdHealthy, forget_member
from k8sha.components.exchange import Balancer
from k8sha.components.joins import join_command, reset
from k8sha.components.kubeadm import ClusterSettings, cluster_config, init_config, new_token
from k8sha.components.masters import ADMIN_CONF, DONE, MASTER_FILES, ApiReady, MasterState, first_master
from k8sha.components.names import CertificateNames
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.components.replace import removal, replacement
from k8sha.components.restore import stacked_members
from k8sha.components.tickets import Ticket
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
from k8sha.resources.command import Command
from k8sha.resources.files import Contents
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.resource import Resource
from k8sha.sources import Source
from k8sha.stage import Stage
from k8sha.versions import Version, check_supported

__all__ = ["ControlPlane"]

_INIT = """\
umask 077
trap 'rm -f /run/k8sha/init.yaml' EXIT
printf '%s' "$init_config" >/run/k8sha/init.yaml
kubeadm init --config /run/k8sha/init.yaml --skip-phases=show-join-command </dev/null
kubectl --kubeconfig={admin} --request-timeout=20s -n kube-system delete secret --ignore-not-found \\
  "bootstrap-token-$init_token_id" >/dev/null"""

_INIT_RECOVER = """\
if [ -s {admin} ]; then
  if nodes=$(kubectl --kubeconfig={admin} --server=https://{address}:6443 --request-timeout=5s get nodes -o name); then
    if [ "$(printf '%s\\n' "$nodes" | grep -c .)" -gt 1 ]; then
      echo "an earlier kubeadm init seems unfinished, yet the cluster has other nodes: $nodes" >&2; exit 1
    fi
  fi
fi
{reset}"""


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
            problems.append(
                Problem("ControlPlane", "its etcd is on hosts of its own, which is not supported yet", "leave etcd out")
            )
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
            join=ControlPlane._join,
            names=ControlPlane._names,
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
        exchange = removal(self, hosts, balancers=balancers, powered_off=powered_off, names=ControlPlane._names)
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
            raise ConfigError.of("ControlPlane", "its etcd is on hosts of its own", "use that EtcdCluster's methods")
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
        return diagnosed(hosts, endpoint=self.endpoint, vip=next((pair.vip for pair in pairs), ""), listen=listen)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from node_problems(
            self.hosts, role="master", version=self.version, source=self.source, settings=self.settings
        )
        yield from host_problems(self.hosts, skip=self.settings.skip_requirements)
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
        if any("encryption-provider-config" in policy.arguments() for policy in self.policies):
            return needs
        return {host: (*needs.get(host, ()), NotEncrypted()) for host in self.hosts}

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        yield from node_stages(
            self.hosts,
            role="master",
            version=self.version,
            source=self.source,
            endpoint=self.endpoint,
            settings=self.settings,
        )
        for policy in self.policies:
            yield from policy.preparation(self.hosts)
        if files := tuple(resource for policy in self.policies for resource in policy.files()):
            yield Stage("files of the API servers", dict.fromkeys(self.hosts, files))
        state, told = MasterState(), ApiServerArguments()
        outcome = yield Stage(
            "which masters there are", {host: (UnfinishedChange(host.address), state, told) for host in self.hosts}
        )
        config = self._cluster_config()
        leftovers = any(told.unwanted(outcome.of(host.name, told.key), config) for host in self.hosts)
        running = {host: told.read(outcome.of(host.name, told.key)) for host in self.hosts}
        states = {host: outcome.of(host.name, state.key).decode().strip() for host in self.hosts}
        first = first_master(states)
        servers = ApiServers(
            self.hosts, first, self.version, lambda arguments: self._cluster_config(arguments=arguments)
        )
        etcd = StackedEtcdHealthy(expected=((first.name, first.address),))
        yield Stage("first control plane", {first: (*self._init(first), ApiReady(first.address, patience=240), etcd)})
        if (self.policies or leftovers) and states[first] == "done" and set(states.values()) != {"done"}:
            yield from servers.admit(self.policies, running[first])
        work: dict[Host, tuple[Resource, ...]] = {}
        so_far = [first]
        for host in self.hosts:
            if host == first:
                continue
            so_far.append(host)
            expected = tuple((member.name, member.address) for member in so_far)
            join = self._join(host)
            work[host] = (join, ApiReady(host.address, patience=240), StackedEtcdHealthy(expected=expected))
        if work:
            yield Stage("other control planes", work, batch=1)
        admin = Contents(ADMIN_CONF)
        outcome = yield Stage("administrator's kubeconfig", {first: (admin, self._names(first))})
        self._seen.kubeconfig = outcome.of(first.name, admin.key).decode() or None
        yield from policy_stages(self.policies, servers, leftovers=leftovers)

    def _cluster_config(
        self, masters: tuple[Host, ...] = (), arguments: Mapping[str, str | None] | None = None
    ) -> dict[str, object]:
        """With the policies' arguments, or ``arguments`` in place of those of the same names."""
        config = cluster_config(
            self.version,
            self.endpoint,
            masters or self.hosts,
            self.cluster,
            image_repository=self.source.image_repository,
            etcd_tag=self.source.etcd_tag(self.version),
            dns_tag=self.source.coredns_tag(self.version),
        )
        values = {name: value for policy in self.policies for name, value in policy.arguments().items()}
        volumes = [volume for policy in self.policies for volume in policy.volumes()]
        return with_policies(config, self.version, {**values, **(arguments or {})}, volumes)

    def _names(self, host: Host, masters: tuple[Host, ...] = ()) -> CertificateNames:
        return CertificateNames(self._cluster_config(masters), self.version, host.address)

    def _init(self, host: Host) -> tuple[Resource, ...]:
        def values() -> Mapping[str, str]:
            token = new_token()
            config = init_config(host, self.settings, self._cluster_config(), token=token, version=self.version)
            return {"init_token": token, "init_token_id": token.partition(".")[0], "init_config": config}

        recover = _INIT_RECOVER.format(
            admin=ADMIN_CONF,
            address=host.address,
            reset=reset(keep=("ca.crt", "ca.key"), skip_phases="preflight,remove-etcd-member"),
        )
        init = Command(
            "kubeadm init",
            done=DONE.format(files=MASTER_FILES),
            run=_INIT.format(admin=ADMIN_CONF),
            recover=recover,
            limit=900,
            secret_values=values,
        )
        return (self.ca, init)

    def _join(self, host: Host) -> Command:
        ticket = Ticket(
            self.hosts, self.version, True, self._cluster_config(), lambda joining: forget_member(joining.address)
        )
        recover = reset(keep=(), skip_phases="preflight,remove-etcd-member")
        return join_command(
            host,
            ticket,
            version=self.version,
            endpoint=self.endpoint,
            settings=self.settings,
            files=MASTER_FILES,
            recover=recover,
        )

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield from control_plane_checks(self)
        for policy in self.policies:
            yield from policy.checks(self)
