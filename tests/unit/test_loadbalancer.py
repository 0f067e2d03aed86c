"""A load balancer as it is written down: what is refused, where it ends up, and the files that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError
from k8sha.hosts import Host
from k8sha.loadbalancers import Backend, ExternalLoadBalancer, HAProxy, LoadBalancer, Service
from k8sha.loadbalancers.keepalived import ADVERTS, router_id_of, version_of
from k8sha.resources import File

from .loadbalancer_hosts import VIP, site

GOLDEN = Path(__file__).with_name("golden") / "loadbalancer"


def host(name: str, last: int) -> Host:
    return Host(name, f"192.168.56.{last}")


LB_1, LB_2, MASTER = host("lb-1", 101), host("lb-2", 102), host("master-1", 10)


@pytest.mark.parametrize(
    ("hosts", "vip", "backends", "settings", "fault"),
    [
        ([LB_1], VIP, [MASTER], {}, "load balancer: is given 1 balancers, needs two"),
        ([LB_1, LB_2, host("lb-3", 103)], VIP, [MASTER], {}, "load balancer: is given 3 balancers, needs two"),
        ([LB_1, LB_2], VIP, [], {}, "load balancer: has no backends"),
        ([LB_1, LB_1], VIP, [MASTER], {}, "lb-1: is given 2 times among the balancers"),
        ([LB_1, LB_2], VIP, [MASTER, MASTER], {}, "master-1: is given 2 times among the backends"),
        ([LB_1, LB_2], VIP, [MASTER, LB_2], {}, "lb-2: is both balancer and backend"),
        ([LB_1, host("lb-1", 102)], VIP, [MASTER], {}, "lb-1: is the name of 2 hosts"),
        ([LB_1, LB_2], VIP, [host("other", 101)], {}, "192.168.56.101: is the address of 2 hosts"),
        ([LB_1, LB_2], "192.168.56.101", [MASTER], {}, "VIP 192.168.56.101: is lb-1's own address"),
        ([LB_1, LB_2], "192.168.56.10", [MASTER], {}, "VIP 192.168.56.10: is master-1's own address"),
        ([LB_1, LB_2], "192.168.56.300", [MASTER], {}, "VIP '192.168.56.300': is not an IP address"),
        ([LB_1, LB_2], "$(reboot)", [MASTER], {}, "VIP '$(reboot)': is not an IP address"),
        ([LB_1, LB_2], "fd00::1", [MASTER], {}, "VIP fd00::1: is IPv6"),
        ([LB_1, LB_2], VIP, [MASTER], {"port": 0}, "port: 0 is not a port"),
        ([LB_1, LB_2], VIP, [MASTER], {"backend_port": 65536}, "backend_port: 65536 is not a port"),
        ([LB_1, LB_2], VIP, [MASTER], {"port": 8405}, "port: 8405 is what HAProxy uses for itself"),
        ([LB_1, LB_2], VIP, [MASTER], {"profile": "faster"}, "profile: 'faster' is unknown"),
        ([LB_1, LB_2], VIP, [MASTER], {"router_id": 256}, "router_id: 256 is not a VRRP router id"),
        ([LB_1, LB_2], VIP, [MASTER], {"router_id": 0}, "router_id: 0 is not a VRRP router id"),
        ([LB_1, LB_2], VIP, [MASTER], {"skip_requirements": ("siez",)}, "skip_requirements: there is no"),
        ([LB_1, LB_2], VIP, [MASTER], {"endpoint_name": "a;b"}, "endpoint 'a;b': is neither"),
    ],
)
def test_what_cannot_work_is_refused(
    hosts: list[Host], vip: str, backends: list[Host], settings: dict[str, object], fault: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        LoadBalancer(hosts, vip, backends, **settings)  # type: ignore[arg-type]
    assert [str(problem) for problem in caught.value.problems if str(problem).startswith(fault)], caught.value


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        LoadBalancer([LB_1], "nonsense", [LB_1], port=0, profile="x", router_id=300, endpoint_name="a b")
    assert len(caught.value.problems) == 7


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"maxconn": 9}, "HAProxy(maxconn): 9 is out of range"),
        ({"check_timeout": 0}, "HAProxy(check_timeout): 0 s is not a time"),
        ({"session_timeout": -1}, "HAProxy(session_timeout): -1 s is not a time"),
        ({"connect_timeout": float("nan")}, "HAProxy(connect_timeout): nan s is not a time"),
        ({"health_port": 0}, "HAProxy(health_port): 0 is not a port"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, float], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HAProxy(**settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(fault)


def test_the_default_fits_a_hard_limit_of_20000_files() -> None:
    assert 2 * HAProxy().maxconn + 33 < HAProxy().open_files <= 20_000


def test_the_endpoint_is_the_vip_or_a_name_for_it() -> None:
    assert LoadBalancer([LB_1, LB_2], VIP, [MASTER]).endpoint == Endpoint(VIP, 6443)
    named = LoadBalancer([LB_1, LB_2], VIP, [MASTER], port=443, endpoint_name="k8s.example.org")
    assert named.endpoint == Endpoint("k8s.example.org", 443, address=VIP)
    assert ExternalLoadBalancer(named.endpoint).endpoint == named.endpoint


def test_it_touches_the_balancers_and_reads_who_has_the_ca() -> None:
    masters = [MASTER, host("master-2", 11)]
    assert LoadBalancer([LB_1, LB_2], VIP, masters).hosts == (LB_1, LB_2, *masters)
    assert ExternalLoadBalancer(Endpoint(VIP)).hosts == ()


def test_the_router_id_follows_from_the_vip() -> None:
    found = [router_id_of(f"10.0.{a}.{b}") for a in range(16) for b in range(256)]
    assert set(found) == set(range(1, 256)) - {51}
    assert router_id_of(VIP) == 233


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("1:2.3.3-1", (2, 3, 3)),
        ("1:2.2.7-1+b2", (2, 2, 7)),
        ("2.2.8-4.el9", (2, 2, 8)),
        ("", ()),
        ("unknown", ()),
    ],
)
def test_a_version_is_read_from_a_packages(package: str, version: tuple[int, ...]) -> None:
    assert version_of(package) == version


def rendered() -> dict[str, str]:
    """Every file of the pair, by the name of its golden file."""
    lb = site().lb
    first, second = (lb.vrrp(host, (2, 3, 3)) for host in lb.balancers)
    old = lb.vrrp(lb.balancers[0], (2, 2, 7))
    service = Service(6443, tuple(Backend(host.name, host.address, 6443) for host in lb.backends), "PEM")
    settings = first.resources()[0]
    assert isinstance(settings, File)
    assert isinstance(settings.content, str)
    drop_in = first.proxy_settings()
    assert isinstance(drop_in.content, str)
    return {
        "lb-1.keepalived.conf": str(first.config()),
        "lb-2.keepalived.conf": str(second.config()),
        "lb-1.keepalived-2.2.7.conf": str(old.config()),
        "haproxy.cfg": HAProxy().config(service),
        "lost-servers.lua": HAProxy().task(),
        "proxy": HAProxy().script(service),
        "vip": first.script(),
        "haproxy.service.conf": drop_in.content,
        "keepalived.service.conf": settings.content,
    }


def test_files_are_as_reviewed() -> None:
    assert rendered() == {path.name: path.read_text() for path in GOLDEN.iterdir() if path.suffix != ".csv"}


@pytest.mark.parametrize(("profile", "advert"), ADVERTS.items())
def test_the_profile_sets_the_adverts(profile: str, advert: float) -> None:
    lb = site(profile=profile).lb
    assert f"    advert_int {advert:g}\n" in str(lb.vrrp(lb.balancers[0], (2, 3, 3)).config())


def test_a_given_router_id_wins() -> None:
    lb = site(router_id=7).lb
    assert "    virtual_router_id 7\n" in str(lb.vrrp(lb.balancers[0], ()).config())


def test_durations_and_metrics_are_settings() -> None:
    proxy = HAProxy(check_interval=0.25, session_timeout=60, metrics=False, maxconn=500, health_port=9000)
    text = proxy.config(Service(443, (Backend("m", "10.0.0.1", 6443),), "PEM"))
    assert "inter 250ms" in text
    assert "timeout tunnel 60s" in text
    assert "maxconn 500\n" in text
    assert "bind 127.0.0.1:9000" in text
    assert "bind *:443\n" in text
    assert "metrics" not in text.replace("people ask /ready and /metrics", "")
