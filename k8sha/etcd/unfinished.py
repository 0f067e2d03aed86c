"""A restore that is open on a host, for whoever only looks: the cluster may serve, and nothing else would tell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from k8sha.errors import HostError
from k8sha.etcd.record import OPEN, Record
from k8sha.hosts.host import Host
from k8sha.waiting import Check, NotYet

__all__ = ["OVER", "REMEDY", "UNFINISHED", "told", "unfinished_check"]

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

OVER = (
    "it is over on etcd's own hosts: accept() starts what it has left stopped here, and ends it (there is no undo() "
    "after that)"
)
"""The remedy on a host with a client of etcd, where nothing is open on the members' hosts."""


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


def _open(hosts: Iterable[Host]) -> dict[Host, str]:
    """What is open on each of these hosts that answers: that one does not is told elsewhere."""
    found = {}
    for host in hosts:
        with contextlib.suppress(HostError):
            found[host] = told(host.read(UNFINISHED)[0][1].decode(errors="replace"))
    return found


def unfinished_check(hosts: Iterable[Host], which: str, *, members: Iterable[Host] = ()) -> Check:
    """No restore, and no undoing of one, is open on these hosts; ``members`` are those of etcd where these are not."""
    hosts = tuple(hosts)

    def wrong() -> Iterator[str]:
        found = {host: said for host, said in _open(hosts).items() if said}
        elsewhere = _open(members) if found else {}
        remedy = OVER if elsewhere and not any(elsewhere.values()) else REMEDY
        yield from (f"{host.name}: {said}; {remedy}" for host, said in found.items())

    def look() -> str:
        if found := list(wrong()):
            raise NotYet("; ".join(found))
        return f"on {len(hosts)} hosts"

    return Check(f"no restore of etcd is open on {which}", look)
