"""Handing the VIP over on purpose: drain a balancer before work on it, and let it take part again."""

from __future__ import annotations

from attrs import evolve

from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.loadbalancers.conditions import BalancerReady, Drained, HoldsVIP
from k8sha.operation import carry_out, in_order
from k8sha.report import Report
from k8sha.stage import Stage

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
    return carry_out(component, in_order(stages), (host, peer), listen, what="hands the VIP over")


def undrain(component: str, host: Host, ready: BalancerReady, listen: Listener) -> Report:
    """Let a balancer take part again; ends when it could take over."""
    stage = Stage("take part again", {host: (Drained(False), evolve(ready, drained=False))})
    return carry_out(component, in_order((stage,)), (host,), listen, what="takes part again")
