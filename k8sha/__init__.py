"""k8sha turns bare Linux hosts into a highly available kubeadm cluster over SSH, and proves that it is one."""

from k8sha.cluster import Cluster
from k8sha.component import Component
from k8sha.components.control_plane import ControlPlane
from k8sha.components.etcd import EtcdCluster
from k8sha.components.kubeadm import ClusterSettings
from k8sha.components.node import NodeSettings
from k8sha.components.workers import Workers
from k8sha.endpoint import Endpoint
from k8sha.errors import (
    AccessDenied,
    ApplyError,
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
from k8sha.sources import Bundle, Upstream
from k8sha.versions import Version
from k8sha.waiting import Check, NotYet, wait_for

__all__ = [
    "SSH",
    "AccessDenied",
    "ApplyError",
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
    "Diff",
    "Endpoint",
    "EtcdCluster",
    "Event",
    "ExternalLoadBalancer",
    "Finished",
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
    "Plan",
    "Planned",
    "PreflightError",
    "ProbeError",
    "Problem",
    "Report",
    "Result",
    "StageBegan",
    "StageEnded",
    "Status",
    "Unreachable",
    "Uploaded",
    "Upstream",
    "VerifyError",
    "Version",
    "Waiting",
    "Warned",
    "Workers",
    "wait_for",
]
