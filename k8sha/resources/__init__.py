"""Desired-state values: what can be true of a host."""

from k8sha.resources.command import Command
from k8sha.resources.download import Download, Upload
from k8sha.resources.files import Absent, Contents, Directory, File, Link
from k8sha.resources.kernel import Modules, NoSwap, Sysctl
from k8sha.resources.packages import AptPackages, DnfPackages
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.resource import Condition, KnownAfter, Payload, Requirement, Resource
from k8sha.resources.service import Service

__all__ = [
    "Absent",
    "AptPackages",
    "CertificateAuthority",
    "Command",
    "Condition",
    "Contents",
    "Directory",
    "DnfPackages",
    "Download",
    "File",
    "KnownAfter",
    "Link",
    "Modules",
    "NoSwap",
    "Payload",
    "Requirement",
    "Resource",
    "Service",
    "Sysctl",
    "Upload",
]
