"""Desired-state values: what can be true of a host."""

from k8sha.resources.command import Command
from k8sha.resources.containerd import ContainerdConfig, SystemdCgroups
from k8sha.resources.download import Download, Upload
from k8sha.resources.files import Absent, Contents, Directory, File, Link
from k8sha.resources.images import ContainerImages, ImageArchive
from k8sha.resources.kernel import Modules, NoSwap, Sysctl
from k8sha.resources.kubelet import CniPlugins, HostsEntry, Kubelet
from k8sha.resources.packages import AptPackages, DnfPackages
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.programs import Program, Programs
from k8sha.resources.reach import AptPackagesAtHand, DnfPackagesAtHand, Reachable
from k8sha.resources.requirements import (
    DiskSync,
    Minimum,
    NodeRequirement,
    PeersAnswer,
    PortsFree,
    Resolves,
    SameVersion,
    Size,
    Space,
)
from k8sha.resources.resource import Condition, KnownAfter, Payload, Requirement, Resource
from k8sha.resources.service import Service

__all__ = [
    "Absent",
    "AptPackages",
    "AptPackagesAtHand",
    "CertificateAuthority",
    "CniPlugins",
    "Command",
    "Condition",
    "ContainerImages",
    "ContainerdConfig",
    "Contents",
    "Directory",
    "DiskSync",
    "DnfPackages",
    "DnfPackagesAtHand",
    "Download",
    "File",
    "HostsEntry",
    "ImageArchive",
    "KnownAfter",
    "Kubelet",
    "Link",
    "Minimum",
    "Modules",
    "NoSwap",
    "NodeRequirement",
    "Payload",
    "PeersAnswer",
    "PortsFree",
    "Program",
    "Programs",
    "Reachable",
    "Requirement",
    "Resolves",
    "Resource",
    "SameVersion",
    "Service",
    "Size",
    "Space",
    "Sysctl",
    "SystemdCgroups",
    "Upload",
]
