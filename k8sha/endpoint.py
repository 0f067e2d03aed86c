"""Where a cluster's API is reached."""

from __future__ import annotations

import ipaddress
import re

from attrs import field, frozen

from k8sha.errors import ConfigError

__all__ = ["Endpoint"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


@frozen
class Endpoint:
    """``host:port`` of an API, as kubeadm's controlPlaneEndpoint has it: an IP address or a DNS name.

    For a name that DNS does not know, ``address`` is its IP: nodes get it in /etc/hosts. A name can be moved to another
    address later; an address can't.
    """

    host: str
    port: int = 6443
    address: str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not _is_ip(self.host) and not _NAME.fullmatch(self.host):
            raise ConfigError.of(
                f"endpoint {self.host!r}", "is neither an IP address nor a DNS name", "give lb.endpoint"
            )
        if self.address is not None and not _is_ip(self.address):
            raise ConfigError.of(
                f"endpoint {self.host}", f"{self.address!r} is not an IP address", "give the name's IP"
            )
        if not 0 < self.port < 65536:
            raise ConfigError.of(f"endpoint {self.host}", f"{self.port} is not a port", "take 1 to 65535")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_ip(self) -> bool:
        """Whether it is reached by an address, which can't be moved later, and not by a name."""
        return _is_ip(self.host)

    @property
    def url(self) -> str:
        """``https://host:port``."""
        return f"https://{self}"
