"""The lab's cluster as a cluster module, for a process that is given one by its path."""

from __future__ import annotations

from acceptance.lab_cluster import find_origin, kubernetes_cluster
from acceptance.vagrant import Lab
from k8sha import Cluster


def _cluster() -> Cluster:
    origin = find_origin(None)
    if origin.source is None or origin.version is None:
        raise SystemExit(f"Kubernetes can't be installed here: {origin.words}")
    return kubernetes_cluster(Lab(), origin.source, origin.version)


cluster = _cluster()
