"""Pods with a disruption budget, to see that draining respects it: a Deployment of pause containers, which every node
has the image of already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType

from k8sha import Check, NotYet, wait_for
from k8sha.kube import Api, Json, ready

from .subject import NAMESPACE, open_namespace

__all__ = ["LEAST", "REPLICAS", "Pods"]

REPLICAS = 4
LEAST = 3

_APP = "disruption"
_BASE = f"/api/v1/namespaces/{NAMESPACE}"
_APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{_APP}"
_BUDGET = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/{_APP}"


class Pods:
    """Four pods of one Deployment and their budget, from ``with`` to its end."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __enter__(self) -> Pods:
        open_namespace(self._api)
        self._api.apply(_deployment(self._pause_image()))
        self.allow(REPLICAS - LEAST)
        self.all_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for path in (_BUDGET, _APPS):
            self._api.delete(path)

    def allow(self, evictions: int) -> None:
        """Let so many of the pods be evicted at a time; returns when the budget's controller has taken it in."""
        meta = {"name": _APP, "namespace": NAMESPACE}
        spec = {"minAvailable": REPLICAS - evictions, "selector": {"matchLabels": {"app": _APP}}}
        made = self._api.apply(
            {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}
        )

        def look() -> str:
            status = self._api.get(_BUDGET).get("status", {})
            if status.get("observedGeneration") != made["metadata"]["generation"]:
                raise NotYet("its controller has not seen it")
            return ""

        wait_for(Check("the disruption budget is in force", look), timeout=60)

    def all_ready(self) -> None:
        """Wait until all of them are ready."""

        def look() -> str:
            if (count := self.ready()) < REPLICAS:
                raise NotYet(f"{count} of {REPLICAS} are")
            return ""

        wait_for(Check("the pods with the disruption budget are ready", look), timeout=120)

    def ready(self) -> int:
        """How many are ready and not about to leave."""
        return sum(ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in self._pods())

    def on(self, node: str) -> int:
        """How many are on a node."""
        return sum(pod["spec"].get("nodeName") == node for pod in self._pods())

    def busiest(self, nodes: tuple[str, ...]) -> str:
        """The node with the most of them."""
        return max(nodes, key=self.on)

    @contextmanager
    def watched(self) -> Iterator[Callable[[], int]]:
        """Count the ready ones five times a second; what is yielded tells the fewest that there ever were."""
        over = threading.Event()
        counts = [self.ready()]

        def count() -> None:
            while not over.wait(0.2):
                counts.append(self.ready())

        with ThreadPoolExecutor(1, thread_name_prefix="ready pods") as pool:
            counting = pool.submit(count)
            try:
                yield lambda: min(counts)
            finally:
                over.set()
        counting.result()

    def _pods(self) -> list[Json]:
        return list(self._api.get(f"{_BASE}/pods", labelSelector=f"app={_APP}")["items"])

    def _pause_image(self) -> str:
        """The pause image as nodes have it, for nothing is to be pulled."""
        for node in self._api.nodes().values():
            for image in node["status"].get("images", ()):
                for name in image.get("names", ()):
                    if "/pause:" in name:
                        return str(name)
        raise LookupError("no node says that it has the pause image")


def _deployment(image: str) -> Json:
    labels = {"app": _APP}
    container = {"name": "pause", "image": image, "imagePullPolicy": "IfNotPresent"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _APP, "namespace": NAMESPACE},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 1,
                    "topologySpreadConstraints": [spread],
                },
            },
        },
    }
