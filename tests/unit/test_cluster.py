"""A cluster as it is written down: what only all components together show to be wrong, before any host is asked."""

from __future__ import annotations

import pytest
from attrs import evolve

from k8sha import (
    Cluster,
    ClusterSettings,
    ConfigError,
    ControlPlane,
    Endpoint,
    EtcdCluster,
    ExternalLoadBalancer,
    Host,
    LoadBalancer,
    Upstream,
    Workers,
)
from k8sha.addons import CsiNfs, KubePrometheusStack, Logging
from k8sha.component import Component
from k8sha.errors import Problem

VIP = "192.168.56.100"


def host(name: str, last: int) -> Host:
    return Host(name, f"192.168.56.{last}")


LBS = (host("lb-1", 101), host("lb-2", 102))
MORE_LBS = (host("lb-3", 103), host("lb-4", 104))
MASTERS = tuple(host(f"master-{number}", 9 + number) for number in (1, 2, 3))
WORKERS = tuple(host(f"worker-{number}", 19 + number) for number in (1, 2, 3))
LB = LoadBalancer(LBS, VIP, MASTERS)


def plane(**changed: object) -> ControlPlane:
    given: dict[str, object] = {"hosts": MASTERS, "endpoint": LB.endpoint, "version": "1.33.13", "source": Upstream()}
    return ControlPlane(**{**given, **changed})  # type: ignore[arg-type]


PLANE = plane()
NFS = CsiNfs(PLANE, server="nfs.example.org", path="/export")


def said(*components: Component) -> list[str]:
    """What is wrong with a cluster of these; each has a remedy."""
    found: tuple[Problem, ...] = ()
    try:
        Cluster(*components)
    except ConfigError as error:
        found = error.problems
    assert all(problem.remedy for problem in found)
    return [f"{problem.subject}: {problem.cause}" for problem in found]


@pytest.mark.parametrize(
    "components",
    [
        pytest.param((LB, PLANE, Workers(hosts=WORKERS, plane=PLANE)), id="the usual one"),
        pytest.param((LB,), id="no control plane"),
        pytest.param((LB, EtcdCluster(MASTERS)), id="etcd alone behind it"),
        pytest.param((PLANE,), id="a load balancer that nobody mentions"),
        pytest.param((ExternalLoadBalancer(Endpoint("10.0.0.1")), plane(endpoint=Endpoint("10.0.0.1"))), id="external"),
        pytest.param(
            (LB, ExternalLoadBalancer(Endpoint("10.0.0.1")), plane(endpoint=Endpoint("10.0.0.1"))), id="both kinds"
        ),
        pytest.param((LB, LoadBalancer(MORE_LBS, "192.168.56.99", MASTERS), PLANE), id="two load balancers"),
        pytest.param((LB, plane(endpoint=Endpoint("api.example.com"))), id="a name that DNS knows"),
        pytest.param((LB, PLANE, NFS, Logging(PLANE, storage_class=NFS)), id="storage before what keeps data on it"),
        pytest.param((LB, plane(endpoint=Endpoint("api.example.com", address=VIP))), id="a name for the VIP"),
        pytest.param(
            (evolve(LB, endpoint_name="api.example.com"), plane(endpoint=Endpoint("api.example.com", address=VIP))),
            id="the load balancer's own name",
        ),
    ],
)
def test_what_can_work_is_taken(components: tuple[Component, ...]) -> None:
    assert said(*components) == []


@pytest.mark.parametrize(
    ("components", "problems"),
    [
        (
            (LB, PLANE, Workers(hosts=[LBS[1], WORKERS[0]], plane=PLANE)),
            ["lb-2: is a balancer and a worker"],
        ),
        (
            (LoadBalancer([LBS[0], MASTERS[2]], VIP, MASTERS[:2]), PLANE),
            [
                "master-3: is a balancer and a master",
                "LoadBalancer: its backends are master-1, master-2, and the masters are master-1, master-2, master-3",
            ],
        ),
        (
            (LoadBalancer(LBS, VIP, MASTERS[:2]), PLANE),
            ["LoadBalancer: its backends are master-1, master-2, and the masters are master-1, master-2, master-3"],
        ),
        (
            (LB, plane(hosts=MASTERS[:1])),
            ["LoadBalancer: its backends are master-1, master-2, master-3, and the masters are master-1"],
        ),
        (
            (LB, LoadBalancer([LBS[0], MORE_LBS[0]], "192.168.56.99", MASTERS), PLANE),
            ["lb-1: is a balancer of two load balancers"],
        ),
        (
            (LB, plane(endpoint=Endpoint("192.168.56.10"))),
            ["ControlPlane: its endpoint 192.168.56.10:6443 is none of the load balancers' (192.168.56.100:6443)"],
        ),
        (
            (LB, plane(endpoint=Endpoint(VIP, 8443))),
            ["ControlPlane: its endpoint 192.168.56.100:8443 is none of the load balancers' (192.168.56.100:6443)"],
        ),
        (
            (LB, plane(endpoint=Endpoint("api.example.com", address="192.168.56.99"))),
            [
                "ControlPlane: its endpoint api.example.com:6443, which leads to 192.168.56.99, is none of the load "
                "balancers' (192.168.56.100:6443)"
            ],
        ),
        (
            (LB, PLANE, Workers(hosts=[Host("worker-1", VIP)], plane=PLANE)),
            ["VIP 192.168.56.100: is worker-1's own address"],
        ),
        (
            (LB, PLANE, Workers(hosts=[host("lb-1", 20)], plane=PLANE)),
            ["Cluster: name lb-1 is of two hosts: lb-1 and lb-1"],
        ),
        (
            (LB, PLANE, Workers(hosts=[host("worker-1", 102)], plane=PLANE)),
            ["Cluster: address 192.168.56.102 is of two hosts: lb-2 and worker-1"],
        ),
        (
            (PLANE, Workers(hosts=WORKERS[:2], plane=PLANE), Workers(hosts=WORKERS[1:], plane=PLANE)),
            ["worker-2: is given in two Workers"],
        ),
        (
            (
                LoadBalancer([Host("lb-1", "10.0.0.11"), Host("lb-2", "10.0.0.12")], "10.0.0.10", MASTERS),
                plane(endpoint=Endpoint("api.example.com"), cluster=ClusterSettings(pod_cidr="10.0.0.0/16")),
            ),
            [
                "LoadBalancer: lb-1's address 10.0.0.11 lies in the pod network 10.0.0.0/16",
                "LoadBalancer: lb-2's address 10.0.0.12 lies in the pod network 10.0.0.0/16",
                "LoadBalancer: the VIP 10.0.0.10 lies in the pod network 10.0.0.0/16",
            ],
        ),
        (
            (LB, PLANE, Logging(PLANE, storage_class=NFS)),
            ["Logging: builds on CsiNfs, which is not in the cluster"],
        ),
        (
            (LB, PLANE, KubePrometheusStack(PLANE, storage_class=NFS), NFS),
            ["KubePrometheusStack: builds on CsiNfs, which comes after it"],
        ),
    ],
)
def test_what_cannot_work_is_refused(components: tuple[Component, ...], problems: list[str]) -> None:
    assert said(*components) == problems


def test_all_problems_come_at_once() -> None:
    found = said(LB, plane(hosts=MASTERS[:1], endpoint=Endpoint("10.0.0.1")), Workers(hosts=[LBS[0]], plane=PLANE))
    assert len(found) == 3
