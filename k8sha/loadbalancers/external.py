"""A load balancer that somebody else runs."""

from __future__ import annotations

import socket
import ssl

from attrs import field, frozen

from k8sha.component import Checks, Component
from k8sha.endpoint import Endpoint
from k8sha.hosts.host import Host
from k8sha.waiting import Check, NotYet

__all__ = ["ExternalLoadBalancer"]


@frozen
class ExternalLoadBalancer(Component):
    """An endpoint that exists: nothing is installed, ``verify`` proves that it answers.

    With ``ca`` (PEM) the certificate there must be one of that authority; without it, any TLS answer will do.
    ``timeout`` is in seconds.
    """

    endpoint: Endpoint
    ca: str | None = field(default=None, kw_only=True)
    timeout: float = field(default=10.0, kw_only=True)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """None: it is not ours."""
        return ()

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return (Check(f"{self.endpoint} answers with TLS", self._answers),)

    def _answers(self) -> str:
        context = ssl.create_default_context(cadata=self.ca) if self.ca else ssl.create_default_context()
        context.check_hostname = self.ca is not None
        if self.ca is None:
            context.verify_mode = ssl.CERT_NONE
        address = self.endpoint.address or self.endpoint.host
        try:
            with socket.create_connection((address, self.endpoint.port), timeout=self.timeout) as connection:
                with context.wrap_socket(connection, server_hostname=self.endpoint.host) as tls:
                    return tls.version() or "TLS"
        except OSError as error:
            raise NotYet(f"{address}:{self.endpoint.port}: {error}") from None
