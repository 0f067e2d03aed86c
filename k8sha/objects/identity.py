"""Which object is meant, in which order objects are made, and the marks by which ours are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

from k8sha.errors import ConfigError
from k8sha.kinds import Kind
from k8sha.kube import Json

__all__ = ["HASH", "OWNER", "Ref", "expanded", "in_order", "kinds_defined", "marked", "with_namespaces"]

OWNER = "k8sha.io/addon"
"""The label of every object that we made; its value is the name of what it belongs to."""

HASH = "k8sha.io/applied"
"""The annotation with the hash of what was applied last. A Secret has none: its content could be guessed by it."""


@frozen(order=True)
class Ref:
    """Names one object: ``apps/v1 Deployment kube-system/coredns``, ``v1 Namespace monitoring``.

    Its version takes no part in comparisons: the same object can be had under several.
    """

    group: str
    kind: str
    namespace: str
    name: str
    api_version: str = field(eq=False, order=False)

    @classmethod
    def of(cls, item: Json) -> Ref:
        """That of an object."""
        meta, version = item["metadata"], str(item["apiVersion"])
        group = version.rpartition("/")[0]
        return cls(group, str(item["kind"]), str(meta.get("namespace") or ""), str(meta["name"]), version)

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read it as it is printed. Raises ConfigError."""
        words = text.split()
        if len(words) != 3:
            raise ConfigError.of(
                f"object {text!r}", "is not named right", "write it as apps/v1 Deployment kube-system/x"
            )
        version, kind, where = words
        namespace, _, name = where.rpartition("/")
        return cls(version.rpartition("/")[0], kind, namespace, name, version)

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.api_version} {self.kind} {where}"


_FIRST = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Service",
)
_LAST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


def in_order(items: Iterable[Json]) -> tuple[Json, ...]:
    """Namespaces and definitions first, then what others refer to, then all else, own kinds, and webhooks last."""
    items = tuple(items)
    own = kinds_defined(items)

    def rank(item: Json) -> int:
        if item["kind"] in _FIRST:
            return _FIRST.index(item["kind"])
        if item["kind"] in _LAST:
            return 100
        return 99 if (item["apiVersion"], item["kind"]) in own else 98

    return tuple(sorted(items, key=rank))


def kinds_defined(items: Iterable[Json]) -> dict[tuple[str, str], Kind]:
    """The kinds that the definitions among these objects bring."""
    found: dict[tuple[str, str], Kind] = {}
    for item in items:
        if item["kind"] == "CustomResourceDefinition":
            spec = item["spec"]
            for version in spec["versions"]:
                api_version, name = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                plural, namespaced = spec["names"]["plural"], spec["scope"] == "Namespaced"
                found[api_version, name] = Kind(api_version, name, plural, namespaced)
    return found


def expanded(items: Iterable[Json]) -> Iterator[Json]:
    """Objects, those of Lists among them one by one."""
    for item in items:
        kind = item.get("kind") or ""
        if kind == "List" or (kind.endswith("List") and "items" in item):
            yield from expanded(item["items"])
        else:
            yield item


def with_namespaces(items: Iterable[Json], kinds: Mapping[tuple[str, str], Kind], default: str) -> Iterator[Json]:
    """Objects of kinds that live in namespaces, each with one; the others with none. A kind that is not known yet is
    taken as it is written."""
    for item in items:
        kind = kinds.get((item["apiVersion"], item["kind"]))
        meta = dict(item["metadata"])
        if kind is not None and kind.namespaced:
            meta["namespace"] = meta.get("namespace") or default
        elif kind is not None:
            meta.pop("namespace", None)
        yield item | {"metadata": meta}


def marked(item: Json, owner: str) -> Json:
    """What is applied: the object without what is the server's to say, with our label and its own hash."""
    meta = {key: value for key, value in item["metadata"].items() if value is not None}
    annotations = {key: value for key, value in (meta.pop("annotations", None) or {}).items() if key != HASH}
    meta["labels"] = {**(meta.get("labels") or {}), OWNER: owner}
    if annotations:
        meta["annotations"] = annotations
    wanted = {key: value for key, value in item.items() if key != "status"} | {"metadata": meta}
    if item["kind"] == "Job":  # one that deletes itself could not be told from one that was never made
        wanted["spec"] = {key: value for key, value in item["spec"].items() if key != "ttlSecondsAfterFinished"}
    if item["kind"] != "Secret":
        sum = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        wanted["metadata"] = meta | {"annotations": annotations | {HASH: sum[:32]}}
    return wanted
