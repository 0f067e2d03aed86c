"""The resources of policies and of what API servers are told, for :mod:`samples`."""

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
from k8sha.components.serving import NamesServed, ServedNames, ServingCertificate
from k8sha.components.settings import SettingsInForce
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
NAMES = ("192.168.56.100", "master-1", "fd00::1", "localhost")

POLICIES_SAMPLES: dict[str, Resource] = {
    "api-server-arguments": ApiServerArguments(),
    "api-server-change-unfinished": UnfinishedChange("192.168.56.10"),
    "api-server-by-hand": NothingByHand(CONFIG),
    "api-server-keys": ApiServerKeys(),
    "api-server-manifest": ApiServerManifest(CONFIG, VERSION, "192.168.56.10", ("192.168.56.11", "192.168.56.12")),
    "api-server-not-encrypted": NotEncrypted(),
    "api-server-names": ServedNames(),
    "api-server-names-shown": NamesServed("192.168.56.10", NAMES),
    "api-server-pod": ApiServerPod("master-1", "192.168.56.10"),
    "api-server-runs": ApiServerRuns(),
    "key-made": MadeKey("secretbox-1", make=True),
    "key-taken": MadeKey("aescbc-1", make=False),
    "keys-only-these": OnlyThese((config_path(("secretbox-1", "identity")), key_path("secretbox-1"))),
    "kubeadm-config": KubeadmConfig(CONFIG, VERSION, "192.168.56.10"),
    "serving-certificate": ServingCertificate(
        {**CONFIG, "apiServer": {"certSANs": ["192.168.56.100"]}}, VERSION, "master-1", "192.168.56.10", NAMES
    ),
    "settings-in-force": SettingsInForce(
        {"kube-apiserver": {"v": "2"}, "kube-scheduler": {"v": "2"}},
        files={"kubelet": {"maxPods": 50}, "kube-proxy": {"mode": "nftables"}},
    ),
    "secrets-decrypted": Rewritten("identity"),
    "secrets-rewritten": Rewritten("secretbox-1"),
}
