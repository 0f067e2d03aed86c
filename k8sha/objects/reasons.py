"""Why a workload does not come up: the last word of its pods, of their containers, or of what makes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from k8sha.errors import KubeError
from k8sha.kube import Api, Json, ready
from k8sha.objects.identity import Ref

__all__ = ["why"]

_LINES = 5
"""Lines of a container's log that are told."""

_STARTING = (None, "ContainerCreating", "PodInitializing")
"""Reasons of a container that waits which say nothing of what for: the kubelet tells that in events."""


def why(api: Api, item: Json) -> str:
    """What the pods of a workload that does not come up say: the worst pod's last word. Empty for other kinds.

    Two requests at most: a container that ended says more by its log, a pod that waits by the last warning about it.
    """
    labels = (item.get("spec", {}).get("selector") or {}).get("matchLabels")
    if item["kind"] not in ("DaemonSet", "Deployment", "Job", "StatefulSet") or not labels:
        return ""
    ref = Ref.of(item)
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    there = api.get(f"/api/v1/namespaces/{ref.namespace}/pods", labelSelector=selector)["items"]
    pods = _newest_first(pod for pod in there if not ready(pod))
    for pod in pods:
        for container, said in _failed(pod):
            return f"pod {pod['metadata']['name']}: {said}" + _log(api, pod, container)
    for pod in pods:
        for said in _lacks(pod):
            return f"pod {pod['metadata']['name']}: {said}" + _warning(api, pod)
    return _without_pod(api, ref, "no other pod is made" if there else "it has no pod")


def _newest_first(pods: Iterable[Json]) -> list[Json]:
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)


def _failed(pod: Json) -> Iterator[tuple[Json, str]]:
    """Why a pod can't run by the word of its containers, each with the container if it ran and ended."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):  # such as one that was evicted
        yield None, f"{status['reason']}: {status.get('message', '')}"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting") or {}
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        if ended.get("exitCode"):
            said = " ".join(str(ended.get("message") or "").split())[-300:]
            reason = waiting.get("reason") or ended.get("reason")
            text = f"container {container['name']}: {reason}, exit {ended['exitCode']}" + (f": {said}" if said else "")
            yield container, text
        elif waiting.get("reason") not in _STARTING:
            yield None, f"container {container['name']}: {waiting['reason']}: {waiting.get('message', '')}"


def _lacks(pod: Json) -> Iterator[str]:
    """What a pod waits for, by its conditions."""
    conditions = {item["type"]: item for item in pod.get("status", {}).get("conditions") or ()}
    for kind in ("PodScheduled", "Initialized", "Ready"):
        found = conditions.get(kind, {})
        if found.get("status") == "False" and (found.get("message") or found.get("reason")):
            yield f"{kind}=False: {found.get('message') or found.get('reason')}"


def _log(api: Api, pod: Json, container: Json) -> str:
    """The last lines that a container wrote before it ended; empty where they can't be had."""
    if container is None:
        return ""
    meta, query = pod["metadata"], {"container": container["name"], "tailLines": str(_LINES), "limitBytes": "4000"}
    if not container.get("state", {}).get("terminated"):  # it was started again, or is about to be
        query["previous"] = "true"
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
    try:
        said = api.request("get", path, query=query, accept="application/json, */*")
    except KubeError:  # its node does not answer, or has no log of it any more: what is known already must do
        return ""
    text = said if isinstance(said, str) else json.dumps(said)  # a line that is JSON comes decoded
    lines = " | ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())[-500:]
    return f"; the pod's last message: {lines}" if lines else ""


def _warning(api: Api, pod: Json) -> str:
    """The last warning about a pod that waits: a volume, a Secret or a network that it does not get is told nowhere
    else. Not for one that has no node: its condition has said so."""
    meta = pod["metadata"]
    if not pod.get("spec", {}).get("nodeName"):
        return ""
    about = f"type=Warning,involvedObject.kind=Pod,involvedObject.name={meta['name']}"
    found = api.get(f"/api/v1/namespaces/{meta['namespace']}/events", fieldSelector=about)["items"]
    if not found:
        return ""
    last = max(found, key=_when)
    return f"; {last.get('reason')}: {' '.join(str(last.get('message')).split())[-500:]}"


def _when(event: Json) -> str:
    """When an event was seen last, whichever of the two APIs of events it was made by."""
    series = event.get("series") or {}
    times = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return next(filter(None, times), None) or str(event["metadata"].get("creationTimestamp"))


def _without_pod(api: Api, ref: Ref, said: str) -> str:
    """The last warning about a workload, or about what it made (a ReplicaSet is called after its Deployment)."""
    events = api.get(f"/api/v1/namespaces/{ref.namespace}/events", fieldSelector="type=Warning")["items"]
    found = [event for event in events if str(event["involvedObject"].get("name", "")).startswith(ref.name)]
    if not found:
        return said
    last = max(found, key=_when)
    return f"{said}: {last['involvedObject']['kind']} says {last.get('reason')}: {last.get('message')}"
