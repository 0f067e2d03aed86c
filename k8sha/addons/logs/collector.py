"""Fluent Bit on every node: it reads what containers write, and sends it to Elasticsearch over TLS."""

from __future__ import annotations

import hashlib

from k8sha.kube import Json

__all__ = ["INDEX", "collector_objects"]

_IMAGE = "cr.fluentbit.io/fluent/fluent-bit:5.1.1"
_NAME = "fluent-bit"
INDEX = "logs-kubernetes-default"
"""A data stream: Elasticsearch's own template for ``logs-*-*`` fits it, with its rollover. By it the words of a
``message`` can be searched for, and of every other text only the whole: so a line is renamed, once the filter that
looks for it as ``log`` has had it."""

_CONFIG = """\
service:
  flush: 1
  http_server: on
  http_listen: 0.0.0.0
  http_port: 2020
  health_check: on
pipeline:
  inputs:
    - name: tail
      path: /var/log/containers/*.log
      multiline.parser: docker, cri
      tag: kube.*
      db: /var/lib/fluent-bit/positions.db
      mem_buf_limit: 16MB
      skip_long_lines: on
  filters:
    - name: kubernetes
      match: kube.*
      merge_log: on
      merge_log_key: json
      keep_log: on
      k8s-logging.exclude: on
    - name: modify
      match: kube.*
      rename: log message
  outputs:
    - name: es
      match: kube.*
      host: {host}
      port: 9200
      index: {index}
      write_operation: create
      suppress_type_name: on
      time_key: '@timestamp'
      replace_dots: on
      retry_limit: no_limits
      http_user: fluent-bit
      http_passwd: ${{PASSWORD}}
      tls: on
      tls.verify: on
      tls.ca_file: /authority/ca.crt
"""


def collector_objects(namespace: str, *, elasticsearch: str, password: Json) -> tuple[Json, ...]:
    """Its objects; ``password`` says which key of which Secret has its password in Elasticsearch."""
    meta = {"name": _NAME, "namespace": namespace}
    config = _CONFIG.format(host=f"{elasticsearch}-es-http.{namespace}.svc", index=INDEX)
    rbac = "rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": ["get", "list", "watch"]}]
    binding = {
        "apiVersion": rbac,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _NAME},
        "subjects": [{"kind": "ServiceAccount", **meta}],
    }
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"fluent-bit.yaml": config}},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": _NAME}, "rules": rules},
        binding,
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": meta,
            "spec": _daemon(config, f"{elasticsearch}-es-http-certs-public", password),
        },
    )


def _daemon(config: str, authority: str, password: Json) -> Json:
    labels = {"app.kubernetes.io/name": _NAME}
    folders = {"log": "/var/log", "positions": "/var/lib/fluent-bit"}
    volumes: list[Json] = [
        {"name": "config", "configMap": {"name": _NAME}},
        {"name": "authority", "secret": {"secretName": authority, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    volumes += [
        {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in folders.items()
    ]
    container = {
        "name": _NAME,
        "image": _IMAGE,
        "args": ["--config=/config/fluent-bit.yaml"],
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": password}}],
        "ports": [{"name": "http", "containerPort": 2020}],
        "readinessProbe": {"httpGet": {"path": "/api/v1/health", "port": "http"}},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "authority", "mountPath": "/authority", "readOnly": True},
            {"name": "log", "mountPath": folders["log"], "readOnly": True},
            {"name": "positions", "mountPath": folders["positions"]},
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
    }
    sum = hashlib.sha256(config.encode()).hexdigest()[:16]  # it reads its configuration at its start alone
    return {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": {"k8sha.io/configuration": sum}},
            "spec": {
                "serviceAccountName": _NAME,
                "tolerations": [{"operator": "Exists"}],
                "containers": [container],
                "volumes": volumes,
            },
        },
    }
