"""A restore that is open on a host, for whoever only looks: the cluster may serve, and nothing else would tell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from k8sha.errors import HostError
from k8sha.etcd.record import OPEN, Record
from k8sha.hosts.host import Host
from k8sha.waiting import Check, NotYet

__all__ = ["REMEDY", "UNFINISHED", "told", "unfinished_check"]

UNFINISHED = f"""\
for mark in undoing exchanged fencing; do
  if [ -e "{OPEN}/$mark" ]; then
    printf '%s ' "$mark"
    if [ -s {OPEN}/record.json ]; then cat {OPEN}/record.json; else echo; fi
    break
  fi
done"""
"""Shell that prints how far the restore is that is open on a host, and its record; nothing where none is."""

REMEDY = "run restore() with that snapshot again, or undo(); accept() ends one that has all its data in place"


def told(seen: str) -> str:
    """What that printed, as a sentence; empty where it printed nothing."""
    mark, _, text = seen.strip().partition(" ")
    what = {"undoing": "is being undone", "exchanged": "has its data in place", "fencing": "is half-way"}.get(mark)
    if what is None:
        return ""
    try:
        record = Record.parse(text)
    except ValueError:
        return f"a restore {what}, and was never finished"
    begun = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.begun))
    return f"the restore from {record.source} that began at {begun} {what}, and was never finished"


def unfinished_check(hosts: Iterable[Host], which: str) -> Check:
    """No restore, and no undoing of one, is open on these hosts."""
    hosts = tuple(hosts)

    def wrong() -> Iterator[str]:
        for host in hosts:
            try:
                said = told(host.read(UNFINISHED)[0][1].decode(errors="replace"))
            except HostError:
                continue  # that it does not answer is told elsewhere
            if said:
                yield f"{host.name}: {said}; {REMEDY}"

    def look() -> str:
        if found := list(wrong()):
            raise NotYet("; ".join(found))
        return f"on {len(hosts)} hosts"

    return Check(f"no restore of etcd is open on {which}", look)
