"""What goes wrong: each fault a context manager that heals on every exit."""

from .catalogue import balancer_faults, catalogue, master_frozen
from .fault import Fault, Injected, Promise
from .machine import Frozen, PowerCut
from .process import EtcdHung, EtcdKilled, ProxyHung, ProxyKilled, ProxyStopped

__all__ = [
    "EtcdHung",
    "EtcdKilled",
    "Fault",
    "Frozen",
    "Injected",
    "PowerCut",
    "Promise",
    "ProxyHung",
    "ProxyKilled",
    "ProxyStopped",
    "balancer_faults",
    "catalogue",
    "master_frozen",
]
