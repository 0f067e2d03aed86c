"""What of an owner's objects no other owner can have as well, and what must not be in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve, frozen

from k8sha.errors import Problem
from k8sha.kinds import Kind
from k8sha.kube import Json
from k8sha.objects.identity import Ref, expanded, kinds_defined, with_namespaces

__all__ = ["NodePort", "claims", "no_texts", "node_ports"]

_IN_NO_NAMESPACE = frozenset(
    {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass", "StorageClass"}
)
"""Kinds of which this is known without asking the API server."""


@frozen(order=True)
class NodePort:
    """A port of every node, which one Service can have: the API server keeps no two for one number, whatever the
    protocol (two ports of one Service may share it)."""

    number: int

    def __str__(self) -> str:
        return f"node port {self.number}"


def node_ports(item: Json) -> set[NodePort]:
    """The node ports that a service names."""
    if item["kind"] != "Service":
        return set()
    ports = (item.get("spec") or {}).get("ports") or ()
    return {NodePort(port["nodePort"]) for port in ports if port.get("nodePort")}


def no_texts(items: Iterable[Json], owner: str) -> Iterator[Problem]:
    """Values of Secrets that are no text (YAML reads an unquoted one as a number), each by its key: the API server's
    refusal would show the value."""
    for item in expanded(items):
        for part in ("data", "stringData") if (item["apiVersion"], item["kind"]) == ("v1", "Secret") else ():
            subject, values = f"{owner}: {Ref.of(item)}", item.get(part) or {}
            if not isinstance(values, dict):
                yield Problem(subject, f"its {part} is no map", "write a key before each value")
                continue
            for key, value in values.items():
                if not isinstance(value, str | None):
                    yield Problem(subject, f"its {part}.{key} is no text", "put it in quotes")


def claims(items: Iterable[Json], namespace: str, kinds: Mapping[tuple[str, str], Kind]) -> Iterator[Ref | NodePort]:
    """What of these only one owner can have. ``kinds`` are those that are known, of a cluster that is not there yet
    none: an object without a namespace is then taken to be in the owner's, unless its kind is known to be in none."""
    items = tuple(expanded(items))
    known = {**kinds_defined(items), **kinds}
    for item in with_namespaces(items, known, namespace):
        ref = Ref.of(item)
        placed = ref.namespace or (ref.api_version, ref.kind) in known or ref.kind in _IN_NO_NAMESPACE
        yield ref if placed else evolve(ref, namespace=namespace)
        yield from sorted(node_ports(item))
