"""What is there: our objects by their label, and what others keep in a namespace or under a definition of ours."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from k8sha.errors import KubeError, Problem
from k8sha.kinds import Kind
from k8sha.kube import Api, Json
from k8sha.objects.identity import OWNER, Ref

__all__ = ["at_once", "bare", "goes_with", "holds_data", "listed", "passing", "strangers_in", "typed"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
"""Requests under way at a time: most of what one costs is its round trip, and priority levels allow many more."""

_BY_ITSELF = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
"""What every namespace has without anybody having made it."""

_NOBODYS = "kube-node-lease"
"""A namespace in which nobody works: what is in it beside leases is put into every namespace by some controller (an
authority's certificate by service meshes, say), and is made again where it is removed."""

_PASSING = frozenset({"Event", "Endpoints", "EndpointSlice", "Lease", "PodMetrics"})
"""Kinds whose objects come and go with others."""


def at_once(work: Callable[[T], R], over: Iterable[T]) -> tuple[R, ...]:
    """Do something for each, several at a time; results in order."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="k8sha-look") as pool:
        return tuple(pool.map(work, over))


def passing(error: KubeError) -> bool:
    """Whether it is worth asking again: an API server may be restarted, or a balancer change over, while we wait."""
    return error.status in (0, 429) or error.status >= 500


def bare(ref: Ref) -> Json:
    """An object without any field: to apply it gives up all of ours."""
    meta = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta}


def typed(ref: Ref, live: Json) -> Json:
    """An object with its kind, which those in a list have not."""
    return {"apiVersion": ref.api_version, "kind": ref.kind} | live


def goes_with(ref: Ref, live: Json, other: Ref) -> bool:
    """Whether to delete an object (a namespace, a definition) deletes another one."""
    if ref.kind == "Namespace":
        return other.namespace == ref.name
    if ref.kind == "CustomResourceDefinition":
        return (other.group, other.kind) == (live["spec"]["group"], live["spec"]["names"]["kind"])
    return False


def holds_data(ref: Ref, live: Json) -> bool:
    """Whether an object is a claim, whose volume goes with it: it is let go of and not deleted, as those that a
    StatefulSet makes. One that somebody has deleted waits for its last pod only."""
    return (ref.group, ref.kind) == ("", "PersistentVolumeClaim") and "deletionTimestamp" not in live["metadata"]


def listed(api: Api, owner: str, kinds: Iterable[Kind]) -> dict[Ref, Json]:
    """Every object of these kinds that has our label. One request a kind."""

    def of(kind: Kind) -> list[Json]:
        items = api.get(kind.path(), labelSelector=f"{OWNER}={owner}")["items"]
        return [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in items]

    return {Ref.of(item): item for items in at_once(of, _once_each(kinds)) for item in items}


def strangers_in(
    api: Api, ref: Ref, live: Json, owner: str, *, by_pods: Iterable[str], staying: Iterable[Ref], otherwise: str
) -> Iterator[Problem]:
    """Why a namespace or a definition of ours can't be deleted: what others have made in it, and what we let go of.
    ``by_pods`` are kinds and names of what our own programs make, ``staying`` is what has our label and is not deleted,
    ``otherwise`` says what to do if that is to stay."""
    kinds: Iterable[Kind] = ()
    if ref.kind == "Namespace":
        kinds = _once_each(kind for kind in api.kinds().values() if kind.namespaced and "list" in kind.verbs)
    elif ref.kind == "CustomResourceDefinition":
        spec = live["spec"]
        stored = next(item["name"] for item in spec["versions"] if item["storage"])
        kind = api.kinds().get((f"{spec['group']}/{stored}", spec["names"]["kind"]))
        kinds = [kind] if kind else []
    namespace = ref.name if ref.kind == "Namespace" else ""
    ours = tuple(by_pods)
    each = at_once(lambda kind: _strangers(api, kind, namespace, owner, ours), kinds)
    found = [name for names in each for name in names]
    if found:
        yield Problem(str(ref), f"has what we did not make: {_named(found)}", f"remove it, or {otherwise}")
    if kept := sorted(other for other in staying if goes_with(ref, live, other)):
        cause = f"has what does not go with an add-on: {_named(list(map(str, kept)))}"
        yield Problem(str(ref), cause, f"remove it, or {otherwise}")


def _named(found: list[str]) -> str:
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _strangers(api: Api, kind: Kind, namespace: str, owner: str, by_pods: tuple[str, ...]) -> list[str]:
    """Objects of a kind that neither we made, nor our programs, nor something that goes with what we made."""
    if kind.kind in _PASSING:
        return []
    not_ours = f"{OWNER}!={owner}"
    try:
        items = api.get(kind.path(namespace), labelSelector=not_ours)["items"]
    except KubeError as error:
        if error.status in (404, 405, 503):  # an aggregated API that is down keeps no objects of its own
            return []
        raise
    metas = [item["metadata"] for item in items]
    found = [m for m in metas if not m.get("ownerReferences") and (kind.kind, m["name"]) not in _BY_ITSELF]
    found = [m for m in found if not any(fnmatch.fnmatchcase(f"{kind.kind} {m['name']}", made) for made in by_pods)]
    if found and namespace:
        spread = api.get(kind.path(_NOBODYS), labelSelector=not_ours)["items"]
        everywhere = {item["metadata"]["name"] for item in spread}
        found = [m for m in found if m["name"] not in everywhere]
    return [f"{kind.kind} " + (f"{m['namespace']}/" if m.get("namespace") else "") + m["name"] for m in found]


def _once_each(kinds: Iterable[Kind]) -> Iterable[Kind]:
    """Each kind under one of its versions."""
    return {(kind.api_version.rpartition("/")[0], kind.kind): kind for kind in kinds}.values()
