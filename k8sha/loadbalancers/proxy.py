"""The contract of a proxy: it runs on each balancer, takes connections at the VIP and hands them to the API servers.

A proxy is a value with its settings. keepalived and the load balancer's verbs know it through this contract alone, so
another proxy is one file here with its templates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import frozen

from k8sha.loadbalancers.statistics import ServerStatistics
from k8sha.resources import File, KnownAfter
from k8sha.resources.resource import Resource

__all__ = ["LIBEXEC", "PROXY_SCRIPT", "Backend", "Proxy", "Service"]

LIBEXEC = "/usr/libexec/k8sha"
"""Where programs that the hosts' own services call are put."""

PROXY_SCRIPT = f"{LIBEXEC}/proxy"
"""The proxy's own program. Its verbs, each with exit 0 for yes and done:

- ``answers``: it gave a real answer within half a second. Run by an unprivileged user, twice a second.
- ``sessions``: print how many client connections are open.
- ``close``: close every client connection, so that each client sees the end at once.
"""


@frozen
class Backend:
    """One API server: the name that checks and statistics show, and where it listens."""

    name: str
    address: str
    port: int


@frozen
class Service:
    """What is to be proxied: TCP ``port`` on every address of the balancer, to these backends.

    ``ca`` is the certificate (PEM) that the backends' certificates must chain to.
    """

    port: int
    backends: tuple[Backend, ...]
    ca: str | KnownAfter


class Proxy(ABC):
    """A TCP proxy that checks its backends, serves with none of them ready, and reloads without losing a connection."""

    name: str
    """What people call it."""

    unit: str
    """Its systemd unit, without ``.service``."""

    program: str
    """Its process as the kernel shows it: that one may listen on our ports already."""

    packages: tuple[str, ...]
    """What it needs, by Debian's names."""

    ca_path: str
    """Where it has the backends' CA on a balancer."""

    @property
    @abstractmethod
    def ports(self) -> tuple[int, ...]:
        """Ports that it takes beside the service's, on the loopback address."""

    @property
    @abstractmethod
    def open_files(self) -> int:
        """File descriptors that its process needs at most."""

    @abstractmethod
    def resources(self, service: Service, unit_settings: File) -> tuple[Resource, ...]:
        """What makes it run on a balancer, in order. ``unit_settings`` is the drop-in of its unit (claimed by the
        caller, before these): a change of it restarts, a change of settings reloads."""

    @abstractmethod
    def statistics(self) -> str:
        """Shell text that prints its counters, for :meth:`parse`."""

    @abstractmethod
    def parse(self, printed: str) -> tuple[ServerStatistics, ...]:
        """The backends' counters and states in what :meth:`statistics` printed."""

    @abstractmethod
    def rotate(self, backend: str, wanted: bool) -> str:
        """Shell text that lets a backend take connections, or ends those that it has and gives it no more."""
