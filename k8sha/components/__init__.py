"""The parts that a cluster's hosts are made into."""

from k8sha.components.control_plane import ControlPlane
from k8sha.components.etcd import EtcdCluster
from k8sha.components.kubeadm import ClusterSettings
from k8sha.components.node import NodeSettings
from k8sha.components.workers import Workers

__all__ = ["ClusterSettings", "ControlPlane", "EtcdCluster", "NodeSettings", "Workers"]
