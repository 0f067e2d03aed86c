"""k8sha turns bare Linux hosts into a highly available kubeadm cluster over SSH, and proves that it is one.

Names load the module that they come from when they are first used, so that importing k8sha costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k8sha.addons.addon import Addon
    from k8sha.cluster import Cluster
    from k8sha.component import Component
    from k8sha.components.control_plane import ControlPlane
    from k8sha.components.diagnosis.findings import Finding
    from k8sha.components.diagnosis.report import Diagnosis
    from k8sha.components.etcd import EtcdCluster
    from k8sha.components.kubeadm import ClusterSettings
    from k8sha.components.node import NodeSettings
    from k8sha.components.workers import Workers
    from k8sha.endpoint import Endpoint
    from k8sha.errors import (
        AccessDenied,
        ApplyError,
        BackupError,
        BundleError,
        ConfigError,
        HostBusy,
        HostError,
        HostErrors,
        K8shaError,
        KubeError,
        NotReady,
        PreflightError,
        ProbeError,
        Problem,
        Unreachable,
        VerifyError,
    )
    from k8sha.etcd.backup import Backup
    from k8sha.etcd.destinations import S3, Folder, OnHost
    from k8sha.etcd.encryption import Age, AgeKey, Passphrase
    from k8sha.etcd.member import EtcdSettings
    from k8sha.etcd.restored import Restored
    from k8sha.etcd.schedule import BackupSchedule
    from k8sha.etcd.undo import Undone
    from k8sha.events import (
        Began,
        Checked,
        Connected,
        Event,
        Finished,
        Listener,
        Planned,
        StageBegan,
        StageEnded,
        Uploaded,
        Waiting,
        Warned,
    )
    from k8sha.hosts.host import Host
    from k8sha.hosts.ssh import SSH
    from k8sha.loadbalancers import ExternalLoadBalancer, HAProxy, LoadBalancer
    from k8sha.report import Change, Diff, Plan, Report, Result, Status
    from k8sha.script import script
    from k8sha.sources import Bundle, Upstream
    from k8sha.versions import Version
    from k8sha.waiting import Check, NotYet, wait_for

__all__ = [
    "S3",
    "SSH",
    "AccessDenied",
    "Addon",
    "Age",
    "AgeKey",
    "ApplyError",
    "Backup",
    "BackupError",
    "BackupSchedule",
    "Began",
    "Bundle",
    "BundleError",
    "Change",
    "Check",
    "Checked",
    "Cluster",
    "ClusterSettings",
    "Component",
    "ConfigError",
    "Connected",
    "ControlPlane",
    "Diagnosis",
    "Diff",
    "Endpoint",
    "EtcdCluster",
    "EtcdSettings",
    "Event",
    "ExternalLoadBalancer",
    "Finding",
    "Finished",
    "Folder",
    "HAProxy",
    "Host",
    "HostBusy",
    "HostError",
    "HostErrors",
    "K8shaError",
    "KubeError",
    "Listener",
    "LoadBalancer",
    "NodeSettings",
    "NotReady",
    "NotYet",
    "OnHost",
    "Passphrase",
    "Plan",
    "Planned",
    "PreflightError",
    "ProbeError",
    "Problem",
    "Report",
    "Restored",
    "Result",
    "StageBegan",
    "StageEnded",
    "Status",
    "Undone",
    "Unreachable",
    "Uploaded",
    "Upstream",
    "VerifyError",
    "Version",
    "Waiting",
    "Warned",
    "Workers",
    "script",
    "wait_for",
]

_WHERE = {
    "AccessDenied": "k8sha.errors",
    "Addon": "k8sha.addons.addon",
    "Age": "k8sha.etcd.encryption",
    "AgeKey": "k8sha.etcd.encryption",
    "ApplyError": "k8sha.errors",
    "Backup": "k8sha.etcd.backup",
    "BackupError": "k8sha.errors",
    "BackupSchedule": "k8sha.etcd.schedule",
    "Began": "k8sha.events",
    "Bundle": "k8sha.sources",
    "BundleError": "k8sha.errors",
    "Change": "k8sha.report",
    "Check": "k8sha.waiting",
    "Checked": "k8sha.events",
    "Cluster": "k8sha.cluster",
    "ClusterSettings": "k8sha.components.kubeadm",
    "Component": "k8sha.component",
    "ConfigError": "k8sha.errors",
    "Connected": "k8sha.events",
    "ControlPlane": "k8sha.components.control_plane",
    "Diagnosis": "k8sha.components.diagnosis.report",
    "Diff": "k8sha.report",
    "Endpoint": "k8sha.endpoint",
    "EtcdCluster": "k8sha.components.etcd",
    "EtcdSettings": "k8sha.etcd.member",
    "Event": "k8sha.events",
    "ExternalLoadBalancer": "k8sha.loadbalancers",
    "Finding": "k8sha.components.diagnosis.findings",
    "Finished": "k8sha.events",
    "Folder": "k8sha.etcd.destinations",
    "HAProxy": "k8sha.loadbalancers",
    "Host": "k8sha.hosts.host",
    "HostBusy": "k8sha.errors",
    "HostError": "k8sha.errors",
    "HostErrors": "k8sha.errors",
    "K8shaError": "k8sha.errors",
    "KubeError": "k8sha.errors",
    "Listener": "k8sha.events",
    "LoadBalancer": "k8sha.loadbalancers",
    "NodeSettings": "k8sha.components.node",
    "NotReady": "k8sha.errors",
    "NotYet": "k8sha.waiting",
    "OnHost": "k8sha.etcd.destinations",
    "Passphrase": "k8sha.etcd.encryption",
    "Plan": "k8sha.report",
    "Planned": "k8sha.events",
    "PreflightError": "k8sha.errors",
    "ProbeError": "k8sha.errors",
    "Problem": "k8sha.errors",
    "Report": "k8sha.report",
    "Restored": "k8sha.etcd.restored",
    "Result": "k8sha.report",
    "S3": "k8sha.etcd.destinations",
    "SSH": "k8sha.hosts.ssh",
    "StageBegan": "k8sha.events",
    "StageEnded": "k8sha.events",
    "Status": "k8sha.report",
    "Undone": "k8sha.etcd.undo",
    "Unreachable": "k8sha.errors",
    "Uploaded": "k8sha.events",
    "Upstream": "k8sha.sources",
    "VerifyError": "k8sha.errors",
    "Version": "k8sha.versions",
    "Waiting": "k8sha.events",
    "Warned": "k8sha.events",
    "Workers": "k8sha.components.workers",
    "script": "k8sha.script",
    "wait_for": "k8sha.waiting",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
