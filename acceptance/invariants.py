"""What must be true after every fault: named predicates over the record and the cluster.

Each returns what is wrong, empty where all is well.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable

from attrs import frozen

from k8sha import EtcdCluster, KubeError, VerifyError

from .history import WatchMark
from .subject import NAMESPACE, Subject
from .workload import Workload

__all__ = ["Afterwards", "afterwards", "keys", "lost_writes", "one_holder", "watch_lost_nothing", "whole"]

PAGE = 500


@frozen
class Afterwards:
    """What was found after something had been done to a cluster that a client was using."""

    written: int | None
    """Objects whose creation was acknowledged; None where nothing was written."""
    lost: int
    """How many of those do not exist."""
    broken: tuple[str, ...]
    """What is wrong, in sentences."""


def afterwards(subject: Subject, workload: Workload, end: float) -> Afterwards:
    """Whether all that was acknowledged to a client until a moment is there, its watch was told of it, and one balancer
    has the VIP."""
    acknowledged = workload.acknowledged(before=end - 1)  # what was acknowledged just now the watch may not know yet
    lost = lost_writes(subject, workload.target.prefix, acknowledged)
    # Stand-ins have a watch that tells of nothing that was written.
    watched = subject.plane is not None and workload.target.watch
    found = (
        one_holder(subject),
        f"{len(lost)} acknowledged writes are lost: {', '.join(lost[:5])}" if lost else "",
        watch_lost_nothing(workload.history().watch, acknowledged) if watched else "",
    )
    written = len(acknowledged) if workload.target.writes else None
    return Afterwards(written, len(lost), tuple(sentence for sentence in found if sentence))


def lost_writes(subject: Subject, prefix: str, acknowledged: Iterable[str]) -> tuple[str, ...]:
    """Objects of one workload, told by its prefix, whose creation was acknowledged and that are not there."""
    plane = subject.plane
    if plane is None:
        return () if subject.etcd is None else tuple(sorted(set(acknowledged) - keys(subject.etcd, prefix)))
    names: set[str] = set()
    more = ""
    while True:
        query = {
            "limit": str(PAGE),
            "labelSelector": f"k8sha-acceptance={prefix}",
            **({"continue": more} if more else {}),
        }
        page = plane.api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps", **query)
        names.update(item["metadata"]["name"] for item in page["items"])
        more = page["metadata"].get("continue", "")
        if not more:
            break
    return tuple(sorted(set(acknowledged) - names))


def keys(etcd: EtcdCluster, prefix: str) -> set[str]:
    """The keys of one workload in an etcd on its own hosts, as its first member that answers has them."""
    begin = f"k8sha-acceptance/{prefix}-"
    asked = {"key": begin, "range_end": begin[:-1] + chr(ord(begin[-1]) + 1)}
    body = {name: base64.b64encode(text.encode()).decode() for name, text in asked.items()}
    order = shlex.quote(json.dumps({**body, "keys_only": True}))
    said = ""
    for host in etcd.hosts:
        exit, out, err = host.read(f"{etcd.access.curl} https://127.0.0.1:2379/v3/kv/range -d {order}")[0]
        if exit == 0 and b'"header"' in out:
            found = (base64.b64decode(item["key"]).decode() for item in json.loads(out).get("kvs", []))
            return {name.removeprefix("k8sha-acceptance/") for name in found}
        said = (err or out).decode(errors="replace").strip()
    raise LookupError(f"no etcd member lists its keys: {said[-300:]}")


def watch_lost_nothing(marks: Iterable[WatchMark], acknowledged: Iterable[str]) -> str:
    """The watch told of every acknowledged write that it was open for, reconnected or not, and of none twice in one
    life. (After a relist it tells of everything again, which is no fault.)"""
    told: list[str] = []
    relists = 0
    for mark in marks:
        if mark.kind == "event" and mark.detail.startswith("ADDED "):
            told.append(mark.detail.removeprefix("ADDED "))
        relists += mark.kind == "relist"
    silent = sorted(set(acknowledged) - set(told))
    if silent:
        return f"the watch never told of {len(silent)} acknowledged writes: {', '.join(silent[:5])}"
    twice = len(told) - len(set(told))
    return f"the watch told of {twice} writes twice without a relist" if twice and not relists else ""


def one_holder(subject: Subject) -> str:
    """Exactly one balancer has the VIP."""
    if subject.balancers is None:
        return ""
    holders = subject.holders()
    if len(holders) == 1:
        return ""
    return f"the VIP is on {', '.join(host.name for host in holders) if holders else 'no balancer'}"


def whole(subject: Subject) -> str:
    """``verify()`` finds nothing wrong, which includes that the plan is empty."""
    try:
        subject.cluster.verify()
    except (VerifyError, KubeError) as error:
        return str(error)
    return ""
