"""HAProxy as the proxy: TCP through, with an HTTPS check of each API server's ``/readyz`` against the cluster's CA."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path

from attrs import frozen

from k8sha.errors import ConfigError, Problem
from k8sha.loadbalancers.proxy import PROXY_SCRIPT, Proxy, Service
from k8sha.loadbalancers.statistics import ServerStatistics
from k8sha.resources import File
from k8sha.resources import Service as Unit
from k8sha.resources.files import render
from k8sha.resources.resource import Resource

__all__ = ["HAProxy"]

_HERE = Path(__file__).parent
_SOCKET = "/run/haproxy-admin.sock"
_PROXIED = "kube-apiserver"
_UNREADY = f"{_PROXIED}-unready"
"""The same servers once more, unchecked: for connections that come while none is ready."""
_LUA = "/etc/haproxy/lost-servers.lua"
_TICK = 250
"""Milliseconds between two looks at the servers."""
_PATIENCE = 5.0
"""Seconds for which an API server that is not ready, and says so, keeps the connections that it has while another one
is ready. It says so too when it is about to stop, and ends them in good order then, and when etcd elects a leader, and
serves them a moment later."""


def _duration(seconds: float) -> str:
    """A time as HAProxy writes it, in whole milliseconds or seconds."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


@frozen(kw_only=True)
class HAProxy(Proxy):
    """HAProxy's settings; the defaults are what the failover figures were measured with. Times are in seconds.

    ``maxconn`` is the number of client connections at once; each takes two file descriptors, and HAProxy refuses to
    start where it can't have them all: the default fits a hard limit of 20 000. A server that does not accept within
    ``connect_timeout`` is passed over. A connection may be silent for ``session_timeout``. After a reload the old
    process serves the connections that it has for at most ``hard_stop_after``. ``health_port`` is on the loopback
    address alone; with ``metrics`` it serves Prometheus at ``/metrics``.
    """

    name = "HAProxy"
    unit = "haproxy"
    program = "haproxy"
    # socat talks to the admin socket, nftables keeps connections waiting during a handover.
    packages = ("haproxy", "socat", "nftables")
    ca_path = "/etc/haproxy/kubernetes-ca.crt"

    maxconn: int = 8000
    connect_timeout: float = 0.5
    check_interval: float = 1.0
    check_timeout: float = 2.0
    session_timeout: float = 4 * 3600
    hard_stop_after: float = 1800
    health_port: int = 8405
    metrics: bool = True

    def __attrs_post_init__(self) -> None:
        names = ("connect_timeout", "check_interval", "check_timeout", "session_timeout", "hard_stop_after")
        faults = [
            Problem(f"HAProxy({name})", f"{getattr(self, name)} s is not a time", "at least 0.001")
            for name in names
            if not getattr(self, name) >= 0.001
        ]
        if not 10 <= self.maxconn <= 500_000:
            faults.append(Problem("HAProxy(maxconn)", f"{self.maxconn} is out of range", "10 to 500000"))
        if not 0 < self.health_port < 65536:
            faults.append(Problem("HAProxy(health_port)", f"{self.health_port} is not a port", "1 to 65535"))
        if faults:
            raise ConfigError(faults)

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.health_port,)

    @property
    def open_files(self) -> int:
        # Two a connection, a few dozen of its own, and one a check (HAProxy says "Cannot raise FD limit to 40033" at
        # maxconn 20000); the rest is room for what a version adds.
        return 2 * self.maxconn + 1000

    def config(self, service: Service) -> str:
        """The text of haproxy.cfg."""
        return render(
            _HERE / "haproxy.cfg.j2",
            maxconn=self.maxconn,
            hard_stop_after=_duration(self.hard_stop_after),
            socket=_SOCKET,
            lua_path=_LUA,
            session_timeout=_duration(self.session_timeout),
            connect_timeout=_duration(self.connect_timeout),
            check_interval=_duration(self.check_interval),
            check_timeout=_duration(self.check_timeout),
            proxied=_PROXIED,
            unready=_UNREADY,
            port=service.port,
            ca_path=self.ca_path,
            backends=service.backends,
            health_port=self.health_port,
            metrics=self.metrics,
        )

    def task(self) -> str:
        """The text of the Lua program within HAProxy that ends the connections of servers that are down."""
        # Beyond the last moment at which a connection may still be waiting for the server.
        silent = round(1000 * self.connect_timeout) + _TICK
        return render(
            _HERE / "haproxy.lua.j2",
            silent=silent,
            patience=max(silent, round(1000 * _PATIENCE)),
            tick=_TICK,
            proxied=_PROXIED,
            unready=_UNREADY,
        )

    def script(self, service: Service) -> str:
        """The text of the program that :data:`PROXY_SCRIPT` describes."""
        return render(
            _HERE / "haproxy.script.j2",
            socket=_SOCKET,
            health_port=self.health_port,
            proxied=_PROXIED,
            unready=_UNREADY,
            backends=service.backends,
        )

    def resources(self, service: Service, unit_settings: File) -> tuple[Resource, ...]:
        authority = File(self.ca_path, service.ca)
        script = File(PROXY_SCRIPT, self.script(service), mode="0755")
        task = File(_LUA, self.task())
        config = File("/etc/haproxy/haproxy.cfg", self.config(service), check="haproxy -c -f {}")
        unit = Unit(self.unit, reload=True, watches=(authority, task, config, unit_settings))
        return (authority, script, task, config, unit)

    def statistics(self) -> str:
        # -1 4 -1: servers of every proxy, and nothing else.
        return f"echo 'show stat -1 4 -1' | timeout 5 socat -t 2 - UNIX-CONNECT:{_SOCKET}"

    def rotate(self, backend: str, wanted: bool) -> str:
        # Our task within HAProxy ends the sessions of a server in maintenance.
        state = "ready" if wanted else "maint"
        command = "; ".join(f"set server {proxied}/{backend} state {state}" for proxied in (_PROXIED, _UNREADY))
        return f"echo {shlex.quote(command)} | timeout 5 socat -t 2 - UNIX-CONNECT:{_SOCKET}"

    def parse(self, printed: str) -> tuple[ServerStatistics, ...]:
        rows = csv.DictReader(io.StringIO(printed.removeprefix("# ")))
        return tuple(_server(row) for row in rows if row["pxname"] == _PROXIED)


def _server(row: dict[str, str]) -> ServerStatistics:
    found = " ".join(
        part for part in (row["check_status"], row["check_code"], row["last_chk"] or row["check_desc"]) if part
    )
    return ServerStatistics(
        server=row["svname"],
        status=row["status"],
        up=row["status"].startswith("UP"),
        sessions=int(row["scur"]),
        sessions_max=int(row["smax"]),
        sessions_total=int(row["stot"]),
        bytes_in=int(row["bin"]),
        bytes_out=int(row["bout"]),
        checks_failed=int(row["chkfail"]),
        downtime=int(row["downtime"]),
        last_check=found,
    )
