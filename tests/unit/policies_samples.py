"""The resources of policies, for :mod:`samples`."""

from __future__ import annotations

from k8sha.components.apiserver import Volume, with_policies
from k8sha.components.apiserver_change import ApiServerManifest, UnfinishedChange
from k8sha.components.apiserver_given import NothingByHand
from k8sha.components.apiserver_host import (
    ApiServerArguments,
    ApiServerPod,
    ApiServerRuns,
    KubeadmConfig,
    NotEncrypted,
)
from k8sha.policies.keys import ApiServerKeys, MadeKey, OnlyThese, Rewritten, config_path, key_path
from k8sha.resources import Resource
from k8sha.versions import Version

VERSION = Version(1, 33, 13)
CONFIG = with_policies(
    {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "apiServer": {"extraArgs": []}},
    VERSION,
    {"audit-policy-file": "/etc/kubernetes/audit/policy-1.yaml", "goaway-chance": "0.001"},
    (
        Volume("audit-policy", "/etc/kubernetes/audit/policy-1.yaml"),
        Volume("audit-log", "/var/log/audit", "DirectoryOrCreate", read_only=False),
    ),
)

POLICIES_SAMPLES: dict[str, Resource] = {
    "api-server-arguments": ApiServerArguments(),
    "api-server-change-unfinished": UnfinishedChange("192.168.56.10"),
    "api-server-by-hand": NothingByHand(CONFIG, policies=True),
    "api-server-keys": ApiServerKeys(),
    "api-server-manifest": ApiServerManifest(CONFIG, VERSION, "192.168.56.10", ("192.168.56.11", "192.168.56.12")),
    "api-server-not-encrypted": NotEncrypted(),
    "api-server-pod": ApiServerPod("master-1", "192.168.56.10"),
    "api-server-runs": ApiServerRuns(),
    "key-made": MadeKey("secretbox-1", make=True),
    "key-taken": MadeKey("aescbc-1", make=False),
    "keys-only-these": OnlyThese((config_path(("secretbox-1", "identity")), key_path("secretbox-1"))),
    "kubeadm-config": KubeadmConfig(CONFIG, VERSION, "192.168.56.10"),
    "secrets-decrypted": Rewritten("identity"),
    "secrets-rewritten": Rewritten("secretbox-1"),
}
