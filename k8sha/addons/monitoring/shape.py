"""kube-prometheus' objects, as they are for a cluster of ours."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import yaml
from attrs import frozen

from k8sha.errors import ConfigError
from k8sha.kube import Json

__all__ = ["NAMESPACE", "Shape", "check_alertmanager", "claim", "secret"]

NAMESPACE = "monitoring"

_DOWN = {"kube-controller-manager": "KubeControllerManagerDown", "kube-scheduler": "KubeSchedulerDown"}
"""Alerts of upstream's that would fire for ever where the target is left out."""

_TEXTFILE = "/host/textfile"


def secret(name: str, values: dict[str, str]) -> Json:
    """A Secret with these texts."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": data,
    }


def claim(name: str, storage_class: str, size: str) -> Json:
    """Room for one pod."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": _claim_spec(storage_class, size),
    }


def _claim_spec(storage_class: str, size: str) -> Json:
    return {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }


@frozen(kw_only=True)
class Shape:
    """What is changed in upstream's objects, and why is said at each of them."""

    storage_class: str | None
    prometheus_storage: str
    alertmanager_storage: str
    retention: str
    metrics: str
    left_out: tuple[str, ...]
    alertmanager: str | None
    admitted: Mapping[str, str]

    def shaped(self, item: Json) -> Json | None:
        """An object as it shall be; None where it shall not be at all."""
        name = item["metadata"]["name"]
        if item["kind"] in ("Deployment", "DaemonSet"):
            self._unhindered(item["spec"]["template"]["spec"])
        match item["kind"]:
            case "Namespace":
                item["metadata"]["labels"] = {**item["metadata"].get("labels", {}), **self.admitted}
            case "Prometheus":
                self._prometheus(item["spec"])
            case "Alertmanager":
                self._kept(item["spec"], self.alertmanager_storage)
                item["spec"]["affinity"] = _apart("alertmanager")
            case "Deployment" if name == "grafana":
                self._grafana(item["spec"])
            case "DaemonSet" if name == "node-exporter":
                self._node_exporter(item["spec"]["template"]["spec"])
            case "ServiceMonitor" if name in self.left_out:
                return None
            case "PrometheusRule":
                self._without_absent(item["spec"])
            case "Secret":
                return self._secret(item)
        return item

    def _unhindered(self, pod: Json) -> None:
        # Held to 20 ms of a second, as upstream has it, it took minutes to begin on slow processors, and no scrape
        # got through after that.
        for container in pod["containers"]:
            if container["name"].startswith("kube-rbac-proxy"):
                container["resources"]["limits"].pop("cpu", None)

    def _prometheus(self, spec: Json) -> None:
        spec["retention"] = self.retention
        spec["affinity"] = _apart("prometheus")
        self._kept(spec, self.prometheus_storage)

    def _kept(self, spec: Json, size: str) -> None:
        if self.storage_class is not None:
            spec["storage"] = {"volumeClaimTemplate": {"spec": _claim_spec(self.storage_class, size)}}

    def _grafana(self, spec: Json) -> None:
        pod = spec["template"]["spec"]
        kept = {"secretKeyRef": {"name": "grafana-admin", "key": "password"}}
        pod["containers"][0]["env"] = [{"name": "GF_SECURITY_ADMIN_PASSWORD", "valueFrom": kept}]
        if self.storage_class is not None:
            spec["strategy"] = {"type": "Recreate"}  # two pods can't have the one claim
            for volume in pod["volumes"]:
                if volume["name"] == "grafana-storage":
                    volume.pop("emptyDir")
                    volume["persistentVolumeClaim"] = {"claimName": "grafana"}

    def _node_exporter(self, pod: Json) -> None:
        # The kubelet makes the folder where it is not there: one that is missing counts as a failed look.
        pod["volumes"].append({"name": "textfile", "hostPath": {"path": self.metrics, "type": "DirectoryOrCreate"}})
        for container in pod["containers"]:
            if container["name"] == "node-exporter":
                container["args"].append(f"--collector.textfile.directory={_TEXTFILE}")
                container["volumeMounts"].append({"name": "textfile", "mountPath": _TEXTFILE, "readOnly": True})

    def _without_absent(self, spec: Json) -> None:
        alerts = {_DOWN[name] for name in self.left_out if name in _DOWN}
        for group in spec["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule.get("alert") not in alerts]
        spec["groups"] = [group for group in spec["groups"] if group["rules"]]

    def _secret(self, item: Json) -> Json:
        """With ``data`` alone: ``stringData`` is written and never read, so it would differ for ever."""
        texts = dict(item.pop("stringData", {}))
        if item["metadata"]["name"] == "alertmanager-main" and self.alertmanager is not None:
            texts["alertmanager.yaml"] = self.alertmanager
        item["data"] = item.get("data", {}) | secret("", texts)["data"]
        return item


def _apart(name: str) -> Json:
    """Its pods on different nodes, where there are several."""
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "kube-prometheus"}
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]
        }
    }


def check_alertmanager(text: str) -> None:
    """Raises ConfigError where a configuration of Alertmanager is none."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:  # the error quotes the text, which has passwords in it
        found = None
    if not isinstance(found, dict) or not {"route", "receivers"} <= found.keys():
        raise ConfigError.of("Alertmanager's configuration", "has no route and receivers", "write it as YAML")
