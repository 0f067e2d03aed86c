"""What a drain asks of pods, and of the answers to its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k8sha.errors import KubeError, Problem

__all__ = ["PROOF", "alone", "evictable", "made_anew", "namespace_ends", "passes"]

PROOF = "k8sha-verify-"
"""How namespaces and pods are called that a ``verify`` makes, and takes away at its end."""


def namespace_ends(error: KubeError) -> bool:
    """Whether a refusal is for a namespace that is being deleted."""
    causes = error.details.get("causes") if isinstance(error.details, Mapping) else None
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes or ())


def passes(error: KubeError) -> bool:
    """Whether an answer is one of an API server, or of a way to one, that may answer otherwise a moment later."""
    return error.verb != "read" and (error.status in (0, 429) or error.status >= 500)


def made_anew(pod: Any) -> bool:
    """Whether somebody makes a pod again that is evicted. Nobody need, for what is going, or was made for a proof."""
    meta = pod["metadata"]
    if "deletionTimestamp" in meta or any(meta[name].startswith(PROOF) for name in ("namespace", "name")):
        return True
    return any(owner.get("controller") for owner in meta.get("ownerReferences", ()))


def alone(pod: Any) -> Problem:
    """What there is to say of a pod that nobody makes again."""
    meta = pod["metadata"]
    cause = "has no controller: an eviction would be its end, and nothing would make it again elsewhere"
    return Problem(f"{meta['namespace']}/{meta['name']}", cause, "delete it yourself, or drain with force=True")


def evictable(pod: Any) -> bool:
    """Whether a drain has to do with a pod: not with static pods, daemons, and what has ended."""
    meta = pod["metadata"]
    if "kubernetes.io/config.mirror" in meta.get("annotations", {}):
        return False
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed") and "deletionTimestamp" not in meta:
        return False  # it has ended; one that ended because it is being deleted is waited for, as it is still there
    owners: Iterator[Any] = iter(meta.get("ownerReferences", ()))
    return not any(owner.get("controller") and owner["kind"] == "DaemonSet" for owner in owners)
