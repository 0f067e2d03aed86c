"""Why a snapshot can't be restored on these hosts, as they stand: pure judgements, all before the first stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from k8sha.errors import Problem
from k8sha.etcd.given import Given
from k8sha.etcd.snapshot import SnapshotFacts
from k8sha.etcd.standing import Standing
from k8sha.etcd.tools import etcd_release
from k8sha.hosts.host import Host
from k8sha.resources.resource import STATE

__all__ = ["foreign", "no_room", "not_raised", "too_old"]

_ACCEPT = "make room there; old data of earlier restores go with accept()"


def no_room(standing: Mapping[Host, Standing], size: int) -> Iterator[Problem]:
    """Where the snapshot, its trial (on the first host) and the new data don't fit. ``size`` is in bytes."""
    # What is made of a snapshot, and its like for whatever etcd writes first; its log takes 64 MB beforehand, twice.
    made = 2 * size + (128 << 20)
    for at, (host, each) in enumerate(standing.items()):
        # A trial is over before new data are made: where they share a disk, one has the other's room.
        needs = made if each.apart is not None else size + made
        if each.free < needs:
            cause = f"{each.free >> 20} MiB are free beside etcd's data, and a restore needs {needs >> 20}"
            yield Problem(host.name, cause, _ACCEPT)
        needs = size + (made if at == 0 else 0)
        if each.apart is not None and each.apart < needs:
            cause = f"{each.apart >> 20} MiB are free below {STATE}, and a restore needs {needs >> 20}"
            yield Problem(host.name, cause, "make room there")


def foreign(
    facts: SnapshotFacts, given: Given, standing: Mapping[Host, Standing], members: Mapping[str, str]
) -> Iterator[Problem]:
    """Why a snapshot must not be restored here: it is no good, or another cluster's. ``members`` are names and peer
    URLs, of those that are off too."""
    identity = next((each.identity for each in standing.values() if each.identity), "")
    found = list(facts.problems(given.source, names=members, peers=members.values(), identity=identity))
    yield from found
    descriptor, now = given.descriptor, {each.cluster_id for each in standing.values() if each.cluster_id}
    if found or (identity and facts.identity) or descriptor is None or not (descriptor.cluster_id and now):
        return  # etcd's own id is another after every restore, so it tells something only where no identity does
    if descriptor.cluster_id not in now:
        yield Problem(
            given.source,
            f"is of the cluster {descriptor.cluster_id}, and here is {', '.join(sorted(now))}",
            "give a snapshot of this cluster; or, if it is one, say so with another_cluster=True",
        )


def too_old(facts: SnapshotFacts, versions: Mapping[str, str]) -> Iterator[Problem]:
    """Hosts whose etcd is older than the one that made the snapshot: one host tried it, all are to run on it."""
    if not facts.made_by or facts.refused:
        return
    made = etcd_release(facts.made_by)
    for name, version in versions.items():
        if version and etcd_release(version)[:2] < made[:2]:
            cause = f"has etcd {version}, and the snapshot was made by etcd {made[0]}.{made[1]}"
            yield Problem(name, cause, "upgrade etcd there, or use an older snapshot")


def not_raised(raised: Mapping[str, bool], versions: Mapping[str, str]) -> Iterator[Problem]:
    """Hosts whose etcd can't raise the revision while others' can: their data would differ from the first write on."""
    if len(set(raised.values())) < 2:
        return
    for name, was in raised.items():
        if not was:
            cause = f"its etcd {versions.get(name, '')} can't raise the revision in a restore, and other members' can"
            yield Problem(name, cause, "bring all members to one version of etcd first")
