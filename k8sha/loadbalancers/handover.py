"""Handing the VIP over on purpose: drain a balancer before work on it, and let it take part again."""

from __future__ import annotations

import getpass
import os
import platform
import time

from attrs import evolve

from k8sha.errors import ApplyError
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.loadbalancers.conditions import BalancerReady, Drained, HoldsVIP
from k8sha.report import Report, Result
from k8sha.stage import Stage, install_stage

__all__ = ["drain", "undrain"]

PATIENCE = 10.0
"""Seconds within which the other balancer must turn out to be ready."""


def drain(component: str, host: Host, peer: Host, ready: BalancerReady, vip: str, listen: Listener) -> Report:
    """Keep a balancer from holding the VIP; the peer must be able to, and has it in the end."""
    stages = (
        Stage("the other balancer is ready", {peer: (evolve(ready, drained=False, patience=PATIENCE),)}),
        Stage("hand over", {host: (Drained(True),)}),
        Stage("the other balancer holds the VIP", {peer: (HoldsVIP(vip, patience=15),)}),
    )
    return _carry_out(component, stages, (host, peer), listen)


def undrain(component: str, host: Host, ready: BalancerReady, listen: Listener) -> Report:
    """Let a balancer take part again; ends when it could take over."""
    stage = Stage("take part again", {host: (Drained(False), evolve(ready, drained=False))})
    return _carry_out(component, (stage,), (host,), listen)


def _carry_out(component: str, stages: tuple[Stage, ...], hosts: tuple[Host, ...], listen: Listener) -> Report:
    began = time.monotonic()
    before = sum(host.trips for host in hosts)
    results: list[Result] = []

    def report() -> Report:
        return Report(tuple(results), sum(host.trips for host in hosts) - before, time.monotonic() - began)

    try:
        for host in hosts:
            host.lock(f"{getpass.getuser()}@{platform.node()} pid {os.getpid()} hands the VIP over")
        for stage in stages:
            results += install_stage(component, stage, listen)[1]
    except ApplyError as error:
        results += error.report.results
        raise ApplyError(report()) from None
    finally:
        for host in hosts:
            host.close()  # gives up the locks
    return report()
