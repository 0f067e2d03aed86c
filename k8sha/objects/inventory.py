"""The inventory of what belongs to one owner: a ConfigMap that lists it, so that what left a manifest is found again.

An object is only ever deleted if it is listed there, has our label, and was made by us rather than adopted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from k8sha.errors import KubeError
from k8sha.kube import Api, Json
from k8sha.objects.identity import Ref

__all__ = ["NAMESPACE", "Inventory"]

NAMESPACE = "kube-system"
_MANAGED = "app.kubernetes.io/managed-by"


@frozen
class Inventory:
    """What is listed for an owner. ``adopted`` objects were there before us: their fields are ours, they are not."""

    owner: str
    made: frozenset[Ref] = frozenset()
    adopted: frozenset[Ref] = frozenset()
    present: bool = False

    @property
    def name(self) -> str:
        """What the ConfigMap is called."""
        return "k8sha-addon-" + re.sub(r"[^a-z0-9.-]+", "-", self.owner.lower())

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/api/v1/namespaces/{NAMESPACE}/configmaps/{self.name}"

    @property
    def all(self) -> frozenset[Ref]:
        """Every object that is listed."""
        return self.made | self.adopted

    @classmethod
    def read(cls, api: Api, owner: str) -> Inventory:
        """That of an owner; empty where there is none. One request."""
        found = api.found(cls(owner).path)
        data = (found or {}).get("data") or {}
        made, adopted = (
            frozenset(Ref.parse(line) for line in data.get(key, "").splitlines()) for key in ("made", "adopted")
        )
        return cls(owner, made, adopted, found is not None)

    def write(self, api: Api) -> None:
        """Put it into the cluster as it is here."""

        def listed(refs: Iterable[Ref]) -> str:
            return "".join(f"{ref}\n" for ref in sorted(refs))

        item: Json = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": {_MANAGED: "k8sha"}},
            "data": {"made": listed(self.made), "adopted": listed(self.adopted)},
        }
        try:
            api.apply(item, force=True)
        except KubeError as error:
            raise KubeError("write", f"inventory {NAMESPACE}/{self.name}", error.status, error.message) from None
