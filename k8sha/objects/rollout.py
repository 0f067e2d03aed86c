"""Whether what was applied works: definitions established, workloads with all their pods, APIs available."""

from __future__ import annotations

from k8sha.kube import Json

__all__ = ["AWAITED", "unfinished"]

AWAITED = (
    "APIService",
    "Alertmanager",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "Elasticsearch",
    "Job",
    "Kibana",
    "Prometheus",
    "StatefulSet",
)
"""Kinds that are waited for after they were applied, those of known operators among them."""


def unfinished(item: Json) -> str:
    """What an object still lacks; empty where it works, or is of a kind that is not waited for."""
    status = item.get("status") or {}
    match item["kind"]:
        case "CustomResourceDefinition":
            return _condition(status, "Established")
        case "APIService":
            return _condition(status, "Available") if item["spec"].get("service") is not None else ""
        case "Job":
            failed = _found(status, "Failed")
            if failed.get("status") == "True":
                return f"Failed: {failed.get('message', '')}"
            return "" if _found(status, "Complete").get("status") == "True" else "it has not completed"
        case "Deployment" | "StatefulSet" | "DaemonSet":
            return _workload(item, status)
        case "Prometheus" | "Alertmanager" if item["apiVersion"].startswith("monitoring.coreos.com/"):
            return _unseen(item, status) or _condition(status, "Reconciled") or _condition(status, "Available")
        case "Elasticsearch" | "Kibana" if ".k8s.elastic.co/" in item["apiVersion"]:
            return _unseen(item, status) or _health(item, status)
    return ""


def _unseen(item: Json, status: Json) -> str:
    """Whether an operator speaks of what was before the last change. It says which change it saw with its status as a
    whole, or with each condition."""
    said = [status] if "observedGeneration" in status else status.get("conditions") or ()
    seen = [part["observedGeneration"] for part in said if "observedGeneration" in part]
    return "its operator has not seen it yet" if seen and min(seen) < item["metadata"].get("generation", 0) else ""


def _health(item: Json, status: Json) -> str:
    """By Elastic's operator: green, or yellow where one node alone has no other to keep copies on."""
    if (phase := status.get("phase", "Ready")) != "Ready":  # green as well, while nodes are exchanged one by one
        return f"it is {phase}"
    nodes = sum(group["count"] for group in item.get("spec", {}).get("nodeSets", ()))
    if status.get("health") == "green" or (status.get("health") == "yellow" and nodes == 1):
        return ""
    return f"its health is {status.get('health', 'not known yet')}"


def _found(status: Json, kind: str) -> Json:
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})


def _condition(status: Json, kind: str) -> str:
    found = _found(status, kind)
    if found.get("status") == "True":
        return ""
    refused = _found(status, "NamesAccepted") if kind == "Established" else {}
    said = refused.get("message") if refused.get("status") == "False" else found.get("message")
    return f"{kind} is {found.get('status', 'not known yet')}" + (f": {said}" if said else "")


def _workload(item: Json, status: Json) -> str:
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return "its controller has not seen it yet"
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted = item["spec"].get("replicas", 1)
        updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
        if item["kind"] == "Deployment" and status.get("replicas", 0) > updated >= wanted:
            return f"{status['replicas'] - updated} old pods are still there"
    updated = wanted if updated >= wanted - _left_as_they_are(item["spec"], wanted) else updated
    if updated >= wanted and available >= wanted:
        return ""
    said = f"{min(updated, available)} of {wanted} pods are updated and available"
    for kind in ("ReplicaFailure", "Progressing", "Available"):
        found = _found(status, kind)
        bad = "True" if kind == "ReplicaFailure" else "False"
        if found.get("status") == bad:
            said += f"; {kind}={bad}: {found.get('message', found.get('reason', ''))}"
            break
    return said


def _left_as_they_are(spec: Json, pods: int) -> int:
    """How many of so many pods their controller doesn't update by itself: all where somebody is to delete them, those
    below a StatefulSet's partition."""
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return pods
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
