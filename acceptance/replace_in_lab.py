"""Replacing the lab's first master, as a module for a process that is given one by its path: it may be killed.

Its machine was made anew beforehand; see test_replace.
"""

from __future__ import annotations

from acceptance.bring_up import the_lab
from acceptance.lab_cluster import the_kubernetes
from k8sha import Cluster, ControlPlane, LoadBalancer, Report
from k8sha.events import Listener


def replace_first(cluster: Cluster, listen: Listener) -> Report:
    """The first master's machine was made anew: let it take its old place, and let what follows nodes follow it."""
    (plane,) = cluster.of(ControlPlane)
    first = plane.hosts[0]
    report = plane.replace(first, first, balancers=cluster.of(LoadBalancer), listen=listen)
    return report + cluster.install(listen)


def work(listen: Listener) -> Report:
    """What the process is for."""
    return replace_first(cluster, listen)


cluster = the_kubernetes(the_lab(lambda words: None))
