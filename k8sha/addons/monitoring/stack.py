"""KubePrometheusStack: two Prometheus, three Alertmanagers, one Grafana, with what kubeadm's clusters need besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from attrs import Attribute, field, frozen, validators

from k8sha.addons.addon import Addon, refused
from k8sha.addons.admission import admitting
from k8sha.addons.manifests import Manifest
from k8sha.addons.monitoring import listening
from k8sha.addons.monitoring import targets as wanted_targets
from k8sha.addons.monitoring.checks import Asking
from k8sha.addons.monitoring.exports import (
    FOLDER,
    balancer_removal,
    balancer_resources,
    master_removal,
    master_resources,
)
from k8sha.addons.monitoring.files import FILES
from k8sha.addons.monitoring.rules import backup_rules, balancer_rules, certificate_rules, etcd_rules, rule_object
from k8sha.addons.monitoring.shape import NAMESPACE, Shape, check_alertmanager, claim, secret
from k8sha.addons.passwords import Password
from k8sha.addons.storage import CsiNfs, NfsProvisioner
from k8sha.addons.storage_class import Storage, class_gate, class_maker, class_name, class_problems
from k8sha.component import Checks, Component, Stages
from k8sha.errors import ConfigError, KubeError, Problem
from k8sha.etcd.schedule import BackupSchedule
from k8sha.hosts.host import Host
from k8sha.kube import Json
from k8sha.loadbalancers import LoadBalancer
from k8sha.objects.identity import expanded
from k8sha.stage import Stage

__all__ = ["KubePrometheusStack"]

_PROXIED = "kube-apiserver"
"""What HAProxy's configuration calls the API servers."""

_SECRET = (f"/api/v1/namespaces/{NAMESPACE}/secrets/grafana-admin", "password")


def _balancers(given: LoadBalancer | Iterable[LoadBalancer]) -> tuple[LoadBalancer, ...]:
    return (given,) if isinstance(given, LoadBalancer) else tuple(given)


def _known(stack: KubePrometheusStack, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if unknown := sorted(set(value) - set(wanted_targets.TARGETS)):
        known = ", ".join(wanted_targets.TARGETS)
        raise ConfigError.of("KubePrometheusStack", f"there is no target {', '.join(unknown)}", f"known are {known}")


def _configured(stack: KubePrometheusStack, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_alertmanager(value)


_SIZE = validators.matches_re(r"[1-9][0-9]*(\.[0-9]+)?([KMGTP]i?)?")


@frozen
class KubePrometheusStack(Addon):
    """kube-prometheus: 2 Prometheus, 3 Alertmanagers, 1 Grafana, what they look with, and alerts of our own.

    With a ``storage_class`` (its name, or the add-on that makes it) all of them keep their data, for ``retention``;
    without, a pod that moves begins anew. Grafana's user ``admin`` has a random password, made once and kept in the
    Secret ``grafana-admin``; it is in no plan, log or report.

    ``targets`` are reached where kubeadm binds to loopback only if the control plane was made with
    :attr:`CONTROLLER_MANAGER`, :attr:`SCHEDULER`, :attr:`ETCD` and :attr:`KUBE_PROXY`; leave out what shall not be.
    Those ports are then open on every address of their hosts: a firewall should let only nodes in.

    Of ``balancers`` the VIP and HAProxy's view are watched: their hosts get the distribution's node_exporter. Of
    ``backups`` the age is watched, where they are the masters' own. ``alertmanager`` is Alertmanager's configuration
    as text (receivers, with their passwords: it goes into a Secret); without it alerts are shown and sent to nobody.
    """

    CONTROLLER_MANAGER: ClassVar[Mapping[str, str]] = listening.CONTROLLER_MANAGER
    SCHEDULER: ClassVar[Mapping[str, str]] = listening.SCHEDULER
    ETCD: ClassVar[Mapping[str, str]] = listening.ETCD
    KUBE_PROXY: ClassVar[Mapping[str, str]] = listening.KUBE_PROXY

    balancers: tuple[LoadBalancer, ...] = field(default=(), converter=_balancers, kw_only=True)
    backups: BackupSchedule | None = field(default=None, kw_only=True)
    targets: tuple[str, ...] = field(default=wanted_targets.TARGETS, converter=tuple, validator=_known, kw_only=True)
    storage_class: Storage = field(default=None, kw_only=True)
    prometheus_storage: str = field(default="50Gi", validator=_SIZE, kw_only=True)
    alertmanager_storage: str = field(default="1Gi", validator=_SIZE, kw_only=True)
    grafana_storage: str = field(default="5Gi", validator=_SIZE, kw_only=True)
    retention: str = field(default="15d", validator=validators.matches_re(r"[1-9][0-9]*[hdwy]"), kw_only=True)
    alertmanager: str | None = field(default=None, repr=False, kw_only=True, validator=_configured)
    patience: float = field(default=600, kw_only=True)
    _password: Password = field(factory=lambda: Password(*_SECRET), init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        problems = list(self._unwatched())
        if problems:
            raise ConfigError(problems)

    def _unwatched(self) -> Iterator[Problem]:
        """Backups of which nothing would come to Prometheus: it reads what lies on nodes."""
        if self.backups is None:
            return
        if elsewhere := [host.name for host in self.backups.hosts if host not in self.plane.hosts]:
            cause = f"backups= are made on {', '.join(elsewhere)}, where no node_exporter of the cluster runs"
            yield Problem(
                "KubePrometheusStack", cause, "leave backups= out: that schedule's own verify() tells their age"
            )
        if not self.backups.metrics:
            remedy = "give the BackupSchedule a folder as metrics=, or leave backups= out"
            yield Problem("KubePrometheusStack", "backups= writes no metrics", remedy)

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return NAMESPACE

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The masters, and the balancers that are watched."""
        return (*self.plane.hosts, *(host for lb in self.balancers for host in lb.balancers))

    @property
    def _folder_of_metrics(self) -> str:
        return self.backups.metrics if self.backups is not None else FOLDER

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        return FILES

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        shape = Shape(
            storage_class=class_name(self.storage_class),
            prometheus_storage=self.prometheus_storage,
            alertmanager_storage=self.alertmanager_storage,
            retention=self.retention,
            metrics=self._folder_of_metrics,
            left_out=tuple(sorted(set(wanted_targets.TARGETS) - set(self.targets))),
            alertmanager=self.alertmanager,
            admitted=admitting("privileged", self.plane.version),  # node_exporter looks at the hosts themselves
        )
        items = [item for item in map(shape.shaped, expanded(super().objects())) if item is not None]
        items += wanted_targets.target_objects(NAMESPACE, self.targets)
        watched = tuple(host for lb in self.balancers for host in lb.balancers)
        if watched:
            items.append(wanted_targets.balancers_found(NAMESPACE, watched))
        if (name := class_name(self.storage_class)) is not None:
            items.append(claim("grafana", name, self.grafana_storage))
        items.append(rule_object(NAMESPACE, self._rules()))
        items.append(secret("grafana-admin", {self._password.key: self._password.value}))
        return tuple(items)

    def _rules(self) -> dict[str, list[Json]]:
        masters = len(self.plane.hosts)
        groups = {"k8sha-certificates": list(certificate_rules(masters))}
        if "etcd" in self.targets:
            groups["k8sha-etcd"] = list(etcd_rules(masters))
        if self.backups is not None:
            longest = 2 * self.backups.every + self.backups.jitter
            groups["k8sha-backups"] = list(backup_rules(len(self.backups.hosts), longest))
        if self.balancers:
            groups["k8sha-balancers"] = list(balancer_rules(_PROXIED))
        return groups

    @property
    def follows(self) -> tuple[Component, ...]:
        """See :attr:`Component.follows`."""
        return class_maker(self.storage_class)

    def gate(self) -> None:
        """See :meth:`Addon.gate`."""
        class_gate(self.name, self.plane.api, self.storage_class)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from listening.target_problems(self.plane, self.targets)
        yield from class_problems(self.name, self.plane.api, self.storage_class)
        for lb in self.balancers:
            for host in lb.balancers:
                if host.distro.family != "debian":
                    cause = "its distribution has no package of node_exporter that is known here"
                    yield Problem(host.name, cause, "leave balancers= out")
        try:
            self._password.read(self.plane.api)
        except KubeError as error:  # whether one that is down stays so is seen when this add-on's turn comes
            yield from refused(self.name, error)
            return
        yield from super().problems()

    def warnings(self) -> Iterator[str]:
        """See :meth:`Component.warnings`."""
        if isinstance(self.storage_class, CsiNfs | NfsProvisioner):
            yield "Prometheus' own documentation advises against NFS for its data: take block storage where you can"

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        self._password.read(self.plane.api)
        work = {host: master_resources(self._folder_of_metrics) for host in self.plane.hosts}
        work |= {host: balancer_resources(host, lb) for lb in self.balancers for host in lb.balancers}
        yield Stage("what hosts export", work)
        yield from super().stages()

    def removal_stages(self) -> Stages:
        """See :meth:`Addon.removal_stages`. The package of node_exporter stays on the balancers."""
        work = {host: master_removal(self._folder_of_metrics) for host in self.plane.hosts}
        work |= {host: balancer_removal() for lb in self.balancers for host in lb.balancers}
        yield Stage("what hosts export", work)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        balancers = sum(len(lb.balancers) for lb in self.balancers)
        counts = {name: len(self.plane.hosts) for name in self.targets if name != "kube-proxy"}
        on_nodes = ("kubelet", "node-exporter", *(("kube-proxy",) if "kube-proxy" in self.targets else ()))
        asking = Asking(
            api=self.plane.api,
            counts=counts | ({"balancers": balancers} if balancers else {}),
            on_nodes=on_nodes,
            groups=tuple(self._rules()),
            masters=len(self.plane.hosts),
            backups=len(self.backups.hosts) if self.backups is not None else 0,
        )
        yield from asking.checks()
