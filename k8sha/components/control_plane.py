"""ControlPlane: the first master by ``kubeadm init``, the others one at a time by ``kubeadm join``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import define, field, frozen

from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.components.checks import control_plane_checks
from k8sha.components.etcd import EtcdCluster, StackedEtcdHealthy, forget_member
from k8sha.components.kubeadm import (
    ClusterSettings,
    Ticket,
    cluster_config,
    init_config,
    join_config,
    new_token,
)
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, KubeError, PreflightError, Problem
from k8sha.hosts.host import Host, as_hosts
from k8sha.kube import Api
from k8sha.preflight import host_problems
from k8sha.report import Diff
from k8sha.resources.command import Command
from k8sha.resources.files import Contents
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.resource import Condition, Resource
from k8sha.sources import Source
from k8sha.stage import Stage
from k8sha.versions import Version, check_supported

__all__ = ["ADMIN_CONF", "ControlPlane"]

ADMIN_CONF = "/etc/kubernetes/admin.conf"

_DONE = """\
for file in {files}; do if [ ! -s "/etc/kubernetes/$file" ]; then echo "+ /etc/kubernetes/$file"; fi; done"""
_MASTER_FILES = (
    "kubelet.conf admin.conf pki/ca.crt manifests/etcd.yaml manifests/kube-apiserver.yaml "
    "manifests/kube-controller-manager.yaml manifests/kube-scheduler.yaml"
)

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

_RESET = """\
mkdir -p /var/lib/k8sha/keep
for file in {keep}; do
  if [ -s "/etc/kubernetes/pki/$file" ]; then cp -p "/etc/kubernetes/pki/$file" "/var/lib/k8sha/keep/$file"; fi
done
kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock {skip}</dev/null
rm -rf /etc/cni/net.d/*kubeadm* /var/lib/etcd/member
mkdir -p /etc/kubernetes/pki
for file in {keep}; do
  if [ -s "/var/lib/k8sha/keep/$file" ]; then mv -f "/var/lib/k8sha/keep/$file" "/etc/kubernetes/pki/$file"; fi
done"""

_JOIN = """\
umask 077
trap 'rm -f /run/k8sha/join.yaml' EXIT
printf '%s' "$join_config" >/run/k8sha/join.yaml
kubeadm join --config /run/k8sha/join.yaml </dev/null"""


@frozen
class ApiReady(Condition):
    """A master's own API server says that it is ready, asked directly."""

    address: str

    @property
    def key(self) -> str:
        return f"API server on {self.address} is ready"

    def probe(self) -> str:
        return f"""\
if [ ! -s {ADMIN_CONF} ]; then echo 'not there yet'; exit 0; fi
export KUBECONFIG={ADMIN_CONF}
kubectl --server=https://{self.address}:6443 --request-timeout=5s get --raw /readyz 2>&1 || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        said = seen.decode(errors="replace").strip()
        return Diff() if said == "ok" else Diff.of(" ".join(said.split())[-300:] or "no answer")


@frozen
class MasterState(Resource):
    """How far kubeadm got on a host: ``none``, ``init begun``, ``join begun``, ``partial`` or ``done``. Only reads."""

    @property
    def key(self) -> str:
        return "state of the control plane"

    def probe(self) -> str:
        init, join = (Command(name, "", "").mark for name in ("kubeadm init", "kubeadm join"))
        return f"""\
missing=$({_DONE.format(files=_MASTER_FILES)})
if [ -e {init} ]; then echo init begun
elif [ -e {join} ]; then echo join begun
elif [ -z "$missing" ]; then echo done
elif [ -s /etc/kubernetes/kubelet.conf ]; then echo partial
else echo none; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


def first_master(states: Mapping[Host, str]) -> Host:
    """Where the cluster begins, or, where it has begun already, a host that is in it.

    Raises PreflightError where hosts are half-way into a cluster of which nothing else is left: starting a new one
    there could only make things worse.
    """
    for wanted in ("done", "init begun", "partial"):
        for host, state in states.items():
            if state == wanted:
                return host
    lost = [host.name for host, state in states.items() if state == "join begun"]
    if lost:
        raise PreflightError(
            Problem(
                name, "was joining a cluster, and none of the other masters is in one", "kubeadm reset it, or restore"
            )
            for name in lost
        )
    return next(iter(states))


def reset(*, keep: tuple[str, ...], skip_phases: str = "") -> str:
    """Shell that clears what a kubeadm run left half-done, keeping these files of the PKI."""
    skip = f"--skip-phases {skip_phases} " if skip_phases else ""
    return _RESET.format(keep=" ".join(keep) or "''", skip=skip)


@define(eq=False)
class _Seen:
    """What the last run learned of the cluster; mutable because it is learned late."""

    kubeconfig: str | None = None


def _as_version(text: str | Version) -> Version:
    return Version.parse(text)


@frozen(kw_only=True)
class ControlPlane(Component):
    """Masters that run API server, controller manager, scheduler and etcd, made by kubeadm behind one endpoint.

    One or an odd number of ``hosts`` (etcd's quorum), an ``endpoint`` that all nodes reach, a full ``version``, and a
    ``source`` to take Kubernetes from. The first host is where a new cluster begins; in an existing one it has no
    special role, and a host that has lost everything joins again, it never starts a second cluster.
    """

    begins_early: ClassVar[bool] = True

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    endpoint: Endpoint
    version: Version = field(converter=_as_version)
    source: Source
    etcd: EtcdCluster | None = None
    settings: NodeSettings = field(factory=NodeSettings)
    cluster: ClusterSettings = field(factory=ClusterSettings)
    ca: CertificateAuthority = field(factory=CertificateAuthority)
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
        if self.etcd is not None and self.etcd.hosts != self.hosts:
            problems.append(
                Problem("ControlPlane", "its etcd runs on other hosts", "stacked etcd runs on the masters themselves")
            )
        problem, _ = check_supported(self.version)
        if problem is not None:
            problems.append(problem)
        problems += self._overlaps()
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
            if not _is_name(self.endpoint) and ipaddress.ip_address(self.endpoint.host) in network:
                yield Problem("ControlPlane", f"the endpoint {self.endpoint} lies in the {what} {network}")

    @property
    def api(self) -> Api:
        """The cluster's API, as its administrator: through the endpoint, or through a live master's SSH connection."""
        return Api(self.kubeconfig, self.endpoint, self.hosts)

    def kubeconfig(self) -> str:
        """The administrator's kubeconfig, as text: keep it 0600. Read from the first master that has one.

        Raises KubeError where no master has one, or the last host's error where none is reached.
        """
        if self._seen.kubeconfig is None:
            for host in self.hosts:
                exit, out, _ = host.read(f"if [ -s {ADMIN_CONF} ]; then cat {ADMIN_CONF}; fi")[0]
                if exit == 0 and out:
                    self._seen.kubeconfig = out.decode()
                    break
            else:
                names = ", ".join(host.name for host in self.hosts)
                raise KubeError("read", f"{ADMIN_CONF} on {names}", 0, "none has one: the cluster is not installed yet")
        return self._seen.kubeconfig

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from node_problems(
            self.hosts, role="master", version=self.version, source=self.source, settings=self.settings
        )
        yield from host_problems(self.hosts, skip=self.settings.skip_requirements)

    def warnings(self) -> Iterator[str]:
        """See :meth:`Component.warnings`."""
        _, warning = check_supported(self.version)
        if warning is not None:
            yield warning

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        return node_requirements(
            self.hosts,
            role="master",
            version=self.version,
            source=self.source,
            settings=self.settings,
            endpoint=self.endpoint,
        )

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
        state = MasterState()
        outcome = yield Stage("which masters there are", {host: (state,) for host in self.hosts})
        first = first_master({host: outcome.of(host.name, state.key).decode().strip() for host in self.hosts})
        etcd = StackedEtcdHealthy(expected=((first.name, first.address),))
        yield Stage("first control plane", {first: (*self._init(first), ApiReady(first.address, patience=240), etcd)})
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
        outcome = yield Stage("administrator's kubeconfig", {first: (admin,)})
        self._seen.kubeconfig = outcome.of(first.name, admin.key).decode() or None

    def _cluster_config(self) -> dict[str, object]:
        return cluster_config(
            self.version,
            self.endpoint,
            self.hosts,
            self.cluster,
            image_repository=self.source.image_repository,
            etcd_tag=self.source.etcd_tag(self.version),
            dns_tag=self.source.coredns_tag(self.version),
        )

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
            done=_DONE.format(files=_MASTER_FILES),
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
        return join_command(host, self, ticket, files=_MASTER_FILES, recover=recover, settings=self.settings)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return control_plane_checks(self)


def join_command(
    host: Host, plane: ControlPlane, ticket: Ticket, *, files: str, recover: str, settings: NodeSettings
) -> Command:
    """``kubeadm join`` of one host, with a ticket that is taken just before and given back just after."""
    taken: list[Ticket] = []

    def values() -> Mapping[str, str]:
        token, ca_hash, certificate_key = ticket.take(host)
        taken.append(ticket)
        config = join_config(
            host,
            settings,
            plane.endpoint,
            version=plane.version,
            token=token,
            ca_hash=ca_hash,
            certificate_key=certificate_key,
        )
        return {"join_config": config, "join_token": token, "join_key": certificate_key or ""}

    def after() -> None:
        while taken:
            taken.pop().give_back()

    return Command(
        "kubeadm join",
        done=_DONE.format(files=files),
        run=_JOIN,
        recover=recover,
        limit=900,
        secret_values=values,
        after=after,
    )


def _is_name(endpoint: Endpoint) -> bool:
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        return True
    return False
