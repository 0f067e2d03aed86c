"""Policies: what a cluster demands of its nodes, its API servers and what runs in it."""

from k8sha.policies.audit import AuditLog
from k8sha.policies.encryption import EncryptionAtRest
from k8sha.policies.namespace import Namespace
from k8sha.policies.nodes import Nodes
from k8sha.policies.sample import SampleApp
from k8sha.policies.security import PodSecurityDefaults

__all__ = ["AuditLog", "EncryptionAtRest", "Namespace", "Nodes", "PodSecurityDefaults", "SampleApp"]
