"""Kinds of objects, as an API server lists them in one answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

__all__ = ["DISCOVERY", "Kind", "discovered"]

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
"""Asks for all groups and kinds in one answer: general since Kubernetes 1.30."""


@frozen
class Kind:
    """A kind of object that the API server has: where its objects live, and whether they live in namespaces."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...] = ()

    def path(self, namespace: str = "", name: str = "") -> str:
        """Where one object is, or all of them (of a namespace)."""
        path = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        return f"{path}/{self.plural}" + (f"/{name}" if name else "")


def discovered(answer: Any) -> Iterator[Kind]:
    """The kinds in such an answer."""
    for group in answer.get("items", ()):
        name = group["metadata"].get("name", "")
        for version in group.get("versions", ()):
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for resource in version.get("resources", ()):
                kind = resource.get("responseKind", {}).get("kind", "")
                verbs = tuple(resource.get("verbs", ()))
                yield Kind(api_version, kind, resource["resource"], resource["scope"] == "Namespaced", verbs)
