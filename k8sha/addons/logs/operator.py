"""The operator of Elastic's own (ECK): its definitions as released, and the program with no more rights than it needs.

Its released manifest is on a server of its own; the definitions are in its repository as well, and the rest is short.
It sees one namespace.
"""

from __future__ import annotations

from k8sha.addons.manifests import Manifest
from k8sha.kube import Json

__all__ = ["DEFINITIONS", "operator_objects"]

_VERSION = "3.5.0"
_IMAGE = f"docker.elastic.co/eck/eck-operator:{_VERSION}"
_NAME = "elastic-operator"

DEFINITIONS = Manifest(
    "eck-definitions",
    f"v{_VERSION}",
    f"https://raw.githubusercontent.com/elastic/cloud-on-k8s/v{_VERSION}/config/crds/v1/all-crds.yaml",
    "3f65a218451a97f126ebd8531205bd5e7dacbe05c10d90344f976f00fdcdbc3d",
)

_OWN_GROUPS = (
    "agent",
    "apm",
    "autoops",
    "autoscaling",
    "beat",
    "elasticsearch",
    "enterprisesearch",
    "kibana",
    "logstash",
    "maps",
    "packageregistry",
    "stackconfigpolicy",
)
_CHANGE = ["get", "list", "watch", "create", "update", "patch", "delete"]
_SETTINGS = """\
operator-namespace: {namespace}
namespaces: [{namespace}]
enable-webhook: false
metrics-port: 0
disable-telemetry: true
enable-leader-election: true
validate-storage-class: true
exposed-node-labels: [topology.kubernetes.io/.*]
"""


def operator_objects(namespace: str) -> tuple[Json, ...]:
    """What it runs from, in a namespace and for that namespace alone."""
    meta = {"name": _NAME, "namespace": namespace}
    account = {"kind": "ServiceAccount", **meta}
    inside = [
        {
            "apiGroups": [""],
            "resources": ["pods", "events", "persistentvolumeclaims", "secrets", "services", "configmaps"],
            "verbs": _CHANGE,
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": _CHANGE},
        {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": _CHANGE},
        {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _CHANGE},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "watch", "create", "update"]},
        {"apiGroups": [f"{name}.k8s.elastic.co" for name in _OWN_GROUPS], "resources": ["*"], "verbs": _CHANGE},
    ]
    everywhere = [
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["namespaces", "nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
    ]
    rbac = "rbac.authorization.k8s.io/v1"
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"eck.yaml": _settings(namespace)}},
        {"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": inside},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": _NAME}, "rules": everywhere},
        _binding("RoleBinding", meta, "Role", account),
        _binding("ClusterRoleBinding", {"name": _NAME}, "ClusterRole", account),
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": _program()},
    )


def _settings(namespace: str) -> str:
    return _SETTINGS.format(namespace=namespace)


def _binding(kind: str, meta: Json, role: str, account: Json) -> Json:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": _NAME},
        "subjects": [account],
    }


def _program() -> Json:
    labels = {"app.kubernetes.io/name": _NAME}
    fields = {"OPERATOR_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
    container = {
        "name": "manager",
        "image": _IMAGE,
        "args": ["manager", "--config=/conf/eck.yaml"],
        "env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()],
        "resources": {"requests": {"cpu": "100m", "memory": "150Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "conf", "mountPath": "/conf", "readOnly": True}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }
    pod = {
        "serviceAccountName": _NAME,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {"runAsNonRoot": True},
        "containers": [container],
        "volumes": [{"name": "conf", "configMap": {"name": _NAME}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"replicas": 1, "serviceName": _NAME, "selector": {"matchLabels": labels}, "template": template}
