"""A namespace of its own for what a ``verify`` makes to prove something."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from k8sha.kube import Api, Json
from k8sha.pods import PROOF

__all__ = ["proof_namespace"]

_MANAGED = "app.kubernetes.io/managed-by"
_LEVEL = "baseline"
_OLD = datetime.timedelta(minutes=15)
"""No proof lasts so long: one that is older was killed, and nobody else takes its namespace away."""


@contextmanager
def proof_namespace(api: Api) -> Iterator[str]:
    """It is deleted at the end, however that comes, and before it what proofs that were killed have left.

    It says itself which pods it admits, so the cluster's own default does not count there.
    """
    name = f"{PROOF}{secrets.token_hex(4)}"
    labels = {_MANAGED: "k8sha"}
    labels |= {f"pod-security.kubernetes.io/{mode}": _LEVEL for mode in ("enforce", "warn", "audit")}
    made = api.request(
        "post",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
    )
    try:
        _sweep(api, made)
        yield name
    finally:
        api.delete(f"/api/v1/namespaces/{name}")


def _sweep(api: Api, made: Json) -> None:
    """By the API server's own clock, which is in what it has just made."""
    now = _when(made)
    for item in api.get("/api/v1/namespaces", labelSelector=f"{_MANAGED}=k8sha")["items"]:
        meta = item["metadata"]
        if meta["name"].startswith(PROOF) and "deletionTimestamp" not in meta and now - _when(item) > _OLD:
            api.delete(f"/api/v1/namespaces/{meta['name']}")


def _when(item: Json) -> datetime.datetime:
    return datetime.datetime.fromisoformat(item["metadata"]["creationTimestamp"])
