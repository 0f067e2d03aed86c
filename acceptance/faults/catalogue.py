"""Every fault that a cluster is certified by, in order, with what is promised for it.

Where the figures come from: keepalived and HAProxy as k8sha sets them up, and measurements. A balancer that falls
silent is given up after 3.6 adverts of 0.2 s, 0.72 s; one that stops says so, and the other takes over after 0.12 s.
A proxy that dies says nothing: systemd notices, and tells keepalived. A hang is noticed by two checks half a second
apart, each with up to a second's patience. An API server that does not accept costs a connection 0.5 s before HAProxy
turns to the next; one that froze just after accepting loses the request.
"""

from __future__ import annotations

from ..subject import Subject
from .fault import Fault, Promise
from .machine import Frozen, PowerCut
from .process import EtcdHung, EtcdKilled, ProxyHung, ProxyKilled, ProxyStopped

__all__ = ["balancer_faults", "catalogue", "master_frozen"]

SILENT_WATCH = 32.0
"""A watch through a balancer that vanished without a word: client-go's own ping notices after 30 s."""

CUT_WATCH = 5.0
"""A watch through a master that vanished: its balancer closes it once two checks have failed."""

STALL = 2.0
"""Writes while etcd elects a leader: it is missed after 1 s to 2 s (its election timeout, etcd's default of 1 s)."""

CUT_OFF = 5.5
"""An API server without its etcd: it is asked every second, tells within 2 s or is given up then, and asked once more
half a second later. Until then each new connection that it is given waits."""

CUT_OFF_WATCH = 12.0
"""A watch through it: its balancer closes it 5 s later, and client-go waits 0.8 s before it opens another one."""

VANISHED, HANGS = 12.0, 45.0
"""An etcd on its own hosts: each API server asks all its members by turns. One whose machine has vanished is left once
what was sent there has had no answer for 10 s, one that hangs once a ping, sent after 30 s, has had none for 10 s (its
``keepaliveTime`` and ``keepaliveTimeout``, which no option changes). Until then a third of all requests waits."""

DEAD_LINKS = 4
"""A master that stood still for 15 s finds its links to an etcd on its own hosts dead, each by the first request that
needs it: 1 to 3 failed on its return in six tries."""


def balancer_faults() -> tuple[Fault, ...]:
    """What can happen to the balancer that holds the VIP."""
    return (
        Frozen(
            "holder-frozen",
            "Balancer frozen",
            "The machine that holds the VIP stops in mid-air: a stalled hypervisor, a hung kernel.",
            Promise(outage=0.8, watch_gap=SILENT_WATCH),
            whom="holder",
        ),
        ProxyStopped(
            "proxy-stopped",
            "Proxy stopped",
            "Somebody stops the proxy on the balancer that holds the VIP: an upgrade, a slip.",
            Promise(outage=0.5, watch_gap=CUT_WATCH),
        ),
        ProxyKilled(
            "proxy-killed",
            "Proxy killed",
            "The proxy on the balancer that holds the VIP dies at once: out of memory, a bug.",
            Promise(outage=1.0, watch_gap=CUT_WATCH),
        ),
        ProxyHung(
            "proxy-hung",
            "Proxy hung",
            "The proxy on the balancer that holds the VIP keeps its port open and answers nothing (SIGSTOP).",
            Promise(outage=2.5, watch_gap=SILENT_WATCH),
        ),
    )


def master_frozen(*, kubernetes: bool, etcd: bool, apart: bool = False) -> Frozen:
    """A host with an API server falls silent; where there is etcd it is one whose member does not lead. ``apart``: that
    etcd has hosts of its own."""
    failed = (DEAD_LINKS if apart else 0) if kubernetes else 2
    return Frozen(
        "master-frozen",
        "Master frozen" if kubernetes else "API server host frozen",
        "A master stops in mid-air, its connections open."
        if kubernetes
        else "A host behind the balancers falls silent.",
        Promise(failed=failed, write_stall=STALL if etcd else None, watch_gap=CUT_WATCH),
        whom="master",
        least=15.0 if kubernetes else 8.0,
        return_patience=180.0,
    )


def catalogue(subject: Subject) -> tuple[Fault, ...]:
    """All of them, in the order in which they are carried out, whether or not they fit this cluster."""
    kubernetes = subject.plane is not None
    stall = STALL if subject.etcd is not None else None
    apart = kubernetes and subject.etcd is not None and not subject.etcd.stacked
    lost = Promise(outage=VANISHED, write_stall=stall, watch_gap=HANGS)
    hangs = Promise(outage=HANGS, write_stall=stall, watch_gap=HANGS)
    cut_off = Promise(outage=CUT_OFF, write_stall=stall, watch_gap=CUT_OFF_WATCH)
    return (
        *balancer_faults(),
        PowerCut(
            "master-power-cut",
            "Master without power" if kubernetes else "API server host without power",
            "A master's power is cut, and comes back." if kubernetes else "Its power is cut, and comes back.",
            Promise(failed=1 if kubernetes else 2, write_stall=stall, watch_gap=CUT_WATCH),
            whom="master",
            least=15.0,
            return_patience=240.0,
        ),
        master_frozen(kubernetes=kubernetes, etcd=subject.etcd is not None, apart=apart),
        PowerCut(
            "etcd-leader-killed",
            "etcd leader's machine killed",
            "The power of the machine is cut whose etcd member leads: the others must elect a new leader.",
            lost if apart else Promise(failed=1 if kubernetes else 2, write_stall=stall, watch_gap=CUT_WATCH),
            whom="leader",
            least=15.0,
            return_patience=240.0,
        ),
        EtcdKilled(
            "etcd-member-killed",
            "etcd's member killed",
            "The leading member of etcd dies alone, its machine alive: out of memory, a bug.",
            cut_off,
            least=15.0,
        ),
        EtcdHung(
            "etcd-member-hung",
            "etcd's member hung",
            "etcd's leading member answers nothing, its ports open, its machine alive (SIGSTOP): a disk that blocks.",
            hangs if apart else cut_off,
            least=20.0,
        ),
    )
