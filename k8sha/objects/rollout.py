"""Whether what was applied works: definitions established, workloads with all their pods, APIs available.

Where it does not, the reason is told with the object, its condition, and what its pod said last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k8sha.kube import Api, Json
from k8sha.objects.identity import Ref

__all__ = ["AWAITED", "unfinished", "why"]

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
            return _condition(status, "Reconciled") or _condition(status, "Available")
        case "Elasticsearch" | "Kibana" if ".k8s.elastic.co/" in item["apiVersion"]:
            return _health(item, status)
    return ""


def _health(item: Json, status: Json) -> str:
    """By Elastic's operator: green, or yellow where one node alone has no other to keep copies on."""
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
        on_delete = item["spec"].get("updateStrategy", {}).get("type") == "OnDelete"
        updated = wanted if on_delete else updated
    else:
        wanted = item["spec"].get("replicas", 1)
        updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
        if item["kind"] == "Deployment" and status.get("replicas", 0) > updated >= wanted:
            return f"{status['replicas'] - updated} old pods are still there"
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


def why(api: Api, item: Json) -> str:
    """What the pods of a workload that does not come up say: the worst pod's last word. Empty for other kinds."""
    labels = (item.get("spec", {}).get("selector") or {}).get("matchLabels")
    if item["kind"] not in ("DaemonSet", "Deployment", "Job", "StatefulSet") or not labels:
        return ""
    ref = Ref.of(item)
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = api.get(f"/api/v1/namespaces/{ref.namespace}/pods", labelSelector=selector)["items"]
    said = [f"pod {pod['metadata']['name']}: {word}" for pod in _newest_first(pods) for word in _pod_says(pod)]
    return said[0] if said else _events(api, ref)


def _newest_first(pods: Iterable[Json]) -> list[Json]:
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)


def _pod_says(pod: Json) -> Iterator[str]:
    """Why a pod does not run, beginning with what its containers say."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):  # such as one that was evicted
        yield f"{status['reason']}: {status.get('message', '')}"
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        waiting = container.get("state", {}).get("waiting") or {}
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        if ended.get("exitCode"):
            said = " ".join(str(ended.get("message") or "").split())[-300:]
            yield (
                f"container {container['name']}: {waiting.get('reason') or ended.get('reason')}, exit "
                f"{ended['exitCode']}" + (f": {said}" if said else "")
            )
        elif waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"container {container['name']}: {waiting['reason']}: {waiting.get('message', '')}"
    for kind in ("PodScheduled", "Initialized", "Ready"):
        found = _found(status, kind)
        if found.get("status") == "False" and (found.get("message") or found.get("reason")):
            yield f"{kind}=False: {found.get('message') or found.get('reason')}"


def _events(api: Api, ref: Ref) -> str:
    """The last warning about a workload, or about what it made (a ReplicaSet is called after its Deployment)."""
    path = f"/api/v1/namespaces/{ref.namespace}/events"
    found = [
        event
        for event in api.get(path, fieldSelector="type=Warning")["items"]
        if str(event["involvedObject"].get("name", "")).startswith(ref.name)
    ]
    found.sort(key=lambda event: str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp")))
    if not found:
        return "it has no pod"
    last = found[-1]
    return f"it has no pod: {last['involvedObject']['kind']} says {last.get('reason')}: {last.get('message')}"
