"""What a proxy counted, as values: how the load is spread, and in what state each backend is."""

from __future__ import annotations

from attrs import frozen

__all__ = ["BalancerStatistics", "ServerStatistics"]


@frozen
class ServerStatistics:
    """One backend as one balancer sees it, since its proxy was started or reloaded.

    ``bytes_in`` came from clients, ``bytes_out`` from the backend. ``downtime`` is in seconds. ``last_check`` is the
    proxy's own word for what its last health check found.
    """

    server: str
    status: str
    up: bool
    sessions: int
    sessions_max: int
    sessions_total: int
    bytes_in: int
    bytes_out: int
    checks_failed: int
    downtime: int
    last_check: str


@frozen
class BalancerStatistics:
    """What one balancer counted; only the one that holds the VIP gets new connections."""

    balancer: str
    holds_vip: bool
    servers: tuple[ServerStatistics, ...]

    @property
    def sessions(self) -> int:
        """Connections that are open now."""
        return sum(server.sessions for server in self.servers)

    @property
    def sessions_total(self) -> int:
        """Connections that were handed to a backend so far."""
        return sum(server.sessions_total for server in self.servers)

    def share(self, server: str) -> float:
        """The part of all connections so far that a backend got, between 0 and 1; 0 where there were none.

        Raises KeyError where there is no backend of that name.
        """
        mine = {each.server: each.sessions_total for each in self.servers}[server]
        return mine / self.sessions_total if mine else 0.0

    def __str__(self) -> str:
        head = f"{self.balancer}{' (holds the VIP)' if self.holds_vip else ''}: {self.sessions} connections open"
        lines = [
            f"  {server.server}: {server.status}, {server.sessions} open, {server.sessions_total} in all "
            f"({self.share(server.server):.0%}), {server.bytes_in} bytes in, {server.bytes_out} out"
            for server in self.servers
        ]
        return "\n".join([head, *lines])
