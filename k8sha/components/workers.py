"""Workers: nodes that run what users run; they join in parallel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from attrs import field, frozen

from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.components.belonging import strangers
from k8sha.components.checks import worker_checks
from k8sha.components.control_plane import ControlPlane
from k8sha.components.joins import join_command, reset
from k8sha.components.networks import address_problems, link_problems
from k8sha.components.node import NodeSettings, node_problems, node_requirements, node_stages
from k8sha.components.settings import node_settings, note_stages
from k8sha.components.tickets import Ticket
from k8sha.errors import ConfigError, Problem
from k8sha.hosts.host import Host, as_hosts
from k8sha.preflight import further_problems
from k8sha.stage import Stage

__all__ = ["Workers", "as_workers"]

_FILES = "kubelet.conf pki/ca.crt"


@frozen(kw_only=True)
class Workers(Component):
    """Hosts that join a control plane's cluster as workers. ``settings`` are the control plane's unless given."""

    begins_early: ClassVar[bool] = True

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    plane: ControlPlane
    settings: NodeSettings | None = None

    def __attrs_post_init__(self) -> None:
        problems = []
        everyone = (*self.plane.hosts, *self.hosts)
        for attribute in ("name", "address"):
            values = [getattr(host, attribute) for host in everyone]
            for value in sorted({value for value in values if values.count(value) > 1}):
                problems.append(Problem("Workers", f"{attribute} {value} is given twice", "a host has one role"))
        own = () if self.plane.etcd.stacked else self.plane.etcd.hosts
        problems += [
            Problem(host.name, "is a worker and a member of etcd: pods would take its disk", "a host has one role")
            for host in self.hosts
            if host in own
        ]
        problems += address_problems(self.plane.cluster, self.hosts, subject="Workers")
        if problems:
            raise ConfigError(problems)

    @property
    def _settings(self) -> NodeSettings:
        return self.settings if self.settings is not None else self.plane.settings

    def yields_to(self, other: Component) -> bool:
        """See :meth:`Component.yields_to`: the masters' preparation. Workers' own runs beside their joining."""
        return other == self.plane

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        plane = self.plane
        yield from node_problems(
            self.hosts, role="worker", version=plane.version, source=plane.source, settings=self._settings
        )
        yield from further_problems(self.hosts, plane.hosts, skip=self._settings.skip_requirements)
        yield from link_problems(plane.cluster, self.hosts, skip=self._settings.skip_requirements)
        yield from strangers(plane.hosts, self.hosts)

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        return node_requirements(
            self.hosts,
            role="worker",
            version=self.plane.version,
            source=self.plane.source,
            settings=self._settings,
            endpoint=self.plane.endpoint,
            peers=self.plane.hosts,
        )

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        settings = node_settings(self._settings)
        outcome = yield from node_stages(
            self.hosts,
            role="worker",
            version=self.plane.version,
            source=self.plane.source,
            endpoint=self.plane.endpoint,
            settings=self._settings,
            looks=(settings,) if settings.files else (),
        )
        if settings.files:
            yield from note_stages(self.hosts, outcome, settings)
        plane = self.plane
        ticket = Ticket(plane.hosts, plane.version, False, {})
        recover = reset("kubeadm join", keep=(), skip_phases="preflight,remove-etcd-member")
        joins = {
            host: (
                join_command(
                    host,
                    ticket,
                    version=plane.version,
                    endpoint=plane.endpoint,
                    settings=self._settings,
                    files=_FILES,
                    recover=recover,
                ),
            )
            for host in self.hosts
        }
        yield Stage("join workers", joins)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return worker_checks(self)

    def drain(self, host: Host, *, timeout: float = 300, force: bool = False) -> None:
        """Cordon a worker and evict its pods, as their PodDisruptionBudgets allow. ``timeout`` in seconds.

        A pod without a controller would be gone for good: with one there, PreflightError is raised and nothing is
        changed, unless ``force`` says that it may go. Raises NotReady with the pods that are left and why; the worker
        stays cordoned then.
        """
        self.plane.api.drain(host.name, timeout=timeout, force=force)

    def uncordon(self, host: Host) -> None:
        """Let a worker take pods again."""
        self.plane.api.cordon(host.name, False)


def as_workers(given: Workers | Iterable[Workers]) -> tuple[Workers, ...]:
    """Worker groups as a tuple, whether one or several were given."""
    return (given,) if isinstance(given, Workers) else tuple(given)
