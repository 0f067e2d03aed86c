"""Reaching machines."""

from k8sha.hosts.host import Host
from k8sha.hosts.ssh import SSH

__all__ = ["SSH", "Host"]
