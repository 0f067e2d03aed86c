"""The deployment guide's own balancers, to measure them with the same probe as ours.

The two files are the guide's, word for word (its §2.2 and §2.3), with the indentation that its rendering has lost.
Changed is only what can't be kept: the VIP is a third address (the guide gives the first balancer's own, which can't
work), the API servers' addresses and the interface are those of the hosts at hand. ``killall``, which the guide's check
calls and does not install, is installed: the check must not fail for that reason alone.
"""

from __future__ import annotations

from attrs import field, frozen

from k8sha import Component, Endpoint, Host
from k8sha.component import Stages
from k8sha.hosts.host import as_hosts
from k8sha.resources import Absent, File, Resource, Service
from k8sha.stage import Stage

__all__ = ["GuideBalancers", "haproxy_cfg", "keepalived_conf"]

HAPROXY = """\
global
    log /dev/log local0
    log /dev/log local1 notice
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin
    stats timeout 30s
    user haproxy
    group haproxy
    daemon

defaults
    log global
    mode tcp
    option tcplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000

# Kubernetes API Server 负载均衡
frontend kubernetes-apiserver
    bind *:6443
    mode tcp
    option tcplog
    default_backend kubernetes-apiserver

backend kubernetes-apiserver
    mode tcp
    option tcp-check
    balance roundrobin
{servers}
# HAProxy 监控页面（可选）
listen stats
    bind *:8080
    mode http
    stats enable
    stats uri /stats
    stats refresh 30s
    stats realm HAProxy\\ Statistics
    stats auth admin:admin123
"""

KEEPALIVED = """\
global_defs {{
    router_id LVS_DEVEL
}}

vrrp_script check_haproxy {{
    script "/usr/bin/killall -0 haproxy"
    interval 2
    weight 2
}}

vrrp_instance VI_1 {{
    state {state}
    interface {interface}
    virtual_router_id 51
    priority {priority}
    advert_int 1

    authentication {{
        auth_type PASS
        auth_pass 1234
    }}

    virtual_ipaddress {{
        {vip}
    }}

    track_script {{
        check_haproxy
    }}
}}
"""

DROP_INS = tuple(f"/etc/systemd/system/{unit}.service.d/k8sha.conf" for unit in ("haproxy", "keepalived"))
"""What k8sha's own balancers leave and the guide doesn't have."""


def haproxy_cfg(servers: tuple[tuple[str, str], ...]) -> str:
    """The guide's haproxy.cfg for these API servers, by name and address."""
    lines = (f"    server {name} {address}:6443 check fall 3 rise 2\n" for name, address in servers)
    return HAPROXY.format(servers="".join(lines))


def keepalived_conf(vip: str, interface: str, *, first: bool) -> str:
    """The guide's keepalived.conf, of its first balancer or its second."""
    state, priority = ("MASTER", 100) if first else ("BACKUP", 90)
    return KEEPALIVED.format(state=state, interface=interface, priority=priority, vip=vip)


@frozen
class _GuideProxy:
    unit: str = "haproxy"


@frozen
class GuideBalancers(Component):
    """Two balancers exactly as the guide has them. For measurements only."""

    balancers: tuple[Host, ...] = field(converter=as_hosts, alias="hosts")
    vip: str
    backends: tuple[Host, ...] = field(converter=as_hosts)
    proxy: _GuideProxy = field(factory=_GuideProxy, init=False)

    @property
    def name(self) -> str:
        """See :attr:`Component.name`."""
        return "the guide's balancers"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """See :attr:`Component.hosts`."""
        return self.balancers

    @property
    def endpoint(self) -> Endpoint:
        """Where the API is reached."""
        return Endpoint(self.vip)

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        yield Stage(
            "packages", {host: (host.distro.packages("haproxy", "keepalived", "psmisc"),) for host in self.balancers}
        )
        yield Stage("configuration", {host: self._files(host, at == 0) for at, host in enumerate(self.balancers)})

    def _files(self, host: Host, first: bool) -> tuple[Resource, ...]:
        towards = host.facts.interface_towards(self.vip)
        if towards is None:
            raise LookupError(f"{host.name} has no interface on the VIP's network")
        haproxy = File(
            "/etc/haproxy/haproxy.cfg", haproxy_cfg(tuple((host.name, host.address) for host in self.backends))
        )
        keepalived = File("/etc/keepalived/keepalived.conf", keepalived_conf(self.vip, towards.name, first=first))
        gone = tuple(Absent(path) for path in DROP_INS)
        return (
            *gone,
            haproxy,
            Service("haproxy", watches=(haproxy, gone[0])),
            keepalived,
            Service("keepalived", watches=(keepalived, gone[1])),
        )
