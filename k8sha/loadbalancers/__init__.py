"""The address that all API servers are reached at."""

from k8sha.loadbalancers.external import ExternalLoadBalancer
from k8sha.loadbalancers.haproxy import HAProxy
from k8sha.loadbalancers.loadbalancer import LoadBalancer
from k8sha.loadbalancers.proxy import Backend, Proxy, Service
from k8sha.loadbalancers.statistics import BalancerStatistics, ServerStatistics

__all__ = [
    "Backend",
    "BalancerStatistics",
    "ExternalLoadBalancer",
    "HAProxy",
    "LoadBalancer",
    "Proxy",
    "ServerStatistics",
    "Service",
]
