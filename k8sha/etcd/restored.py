"""What a restore reports: what it made, what was lost, and what is left to do."""

from __future__ import annotations

import time
from collections.abc import Iterator

from attrs import frozen

from k8sha.etcd.record import Record
from k8sha.report import Report

__all__ = ["Restored", "absent_notes", "restored_notes"]


@frozen(kw_only=True)
class Restored:
    """What a restore did. Times in seconds.

    ``reached`` is the highest revision of the old cluster that anybody could tell (0: nobody), ``snapshot`` that of the
    snapshot, ``revision`` where the new cluster began. What was written between ``taken`` and ``begun`` (seconds since
    1970) is gone. ``answering`` is how long it took until the cluster answered: through its endpoint, if it has one.
    ``resumed`` says that all data were in place before the call: it restored nothing, and brought an earlier one to its
    end; what was written since that one is there. ``left_out`` are members' hosts that were powered off, ``absent``
    nodes that the cluster lists and whose kubelets were not started anew: nothing of theirs was waited for.
    """

    id: str
    source: str
    reached: int
    snapshot: int
    revision: int
    keys: int
    taken: int
    begun: int
    members: tuple[str, ...]
    left_out: tuple[str, ...]
    resumed: bool
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    answering: float
    seconds: float
    report: Report

    @property
    def lost(self) -> int | None:
        """How many revisions are gone, None where nobody could tell: a restored cluster's own count begins anew."""
        return max(0, self.reached - self.snapshot) if self.reached else None

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.taken))
        gone = "an unknown number of" if self.lost is None else str(self.lost)
        lines = [
            f"restored {', '.join(self.members)} from {self.source}: {self.keys} keys, "
            f"revision {self.snapshot} of {since}",
            f"lost: {gone} revisions, whatever was written in the {max(0, self.begun - self.taken)} s after that",
            f"the new cluster began at revision {self.revision}; it answered after {self.answering:.1f} s",
        ]
        if self.resumed:
            begun = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.begun))
            lines.insert(
                0, f"nothing was restored now: an earlier call had put all data in place at {begun}; it is over"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def restored_notes(record: Record, *, raised: bool, absent: tuple[str, ...]) -> tuple[str, ...]:
    """What whoever restored must know."""
    return (*_notes(record, raised=raised), *absent_notes(absent))


def absent_notes(absent: tuple[str, ...]) -> Iterator[str]:
    """What to do about nodes that no host was given for, or whose host is off."""
    for name in absent:
        yield (
            f"the node {name} is none of the hosts that were reached: its kubelet still knows the past. If it is no "
            f"more, kubectl delete node {name}; else restart its kubelet"
        )


def _notes(record: Record, *, raised: bool) -> Iterator[str]:
    if not raised:
        yield (
            "this version of etcd can't raise the revision in a restore: restart every program that watches the "
            "cluster, or it waits for a future that was cut off"
        )
    for name in record.left_out:
        yield (
            f"{name} was powered off and is no member any more: its old etcd must never meet clients again. Unless it "
            "is blank, take its disk out or wipe it before it gets power; then let it join anew"
        )
    if len(record.members) % 2 == 0:
        yield f"{len(record.members)} members tolerate no more losses than {len(record.members) - 1}: add one soon"
