"""How a member's host stands before a restore, or in the middle of one: all that is to be known, in one trip."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from k8sha.etcd.access import DATA, Access
from k8sha.etcd.fence import FENCED, MANIFESTS
from k8sha.etcd.record import OPEN, PLACE, Record
from k8sha.etcd.snapshot import IDENTITY
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["LastSeen", "Looked", "Standing"]

_KEY = base64.b64encode(IDENTITY.encode()).decode()


@frozen
class Standing:
    """What a host says. ``record`` is that of the restore that is open there, with its ``marks``; ``closed`` are those
    that are over, by the names that they have on disk, and ``kept`` the ids whose old data are still there.

    ``revision``, ``cluster_id`` and ``identity`` are what its member answers, 0 and empty where it does not. ``free``
    is in bytes, on the disk of the data; ``apart`` on the disk of what we keep, where that is another one.
    """

    record: Record | None = None
    marks: frozenset[str] = frozenset()
    closed: tuple[tuple[str, Record], ...] = ()
    kept: frozenset[str] = frozenset()
    revision: int = 0
    cluster_id: str = ""
    identity: str = ""
    name: str = ""
    peer_url: str = ""
    free: int = 0
    apart: int | None = None

    @classmethod
    def parse(cls, seen: bytes) -> Standing:
        """From what the probe of :class:`Looked` printed. Raises ValueError for a record that nobody can read."""
        found: dict[str, list[str]] = {}
        for line in seen.decode(errors="replace").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
        last = {name: values[-1] for name, values in found.items()}
        closed = (line.partition(" ") for line in found.get("closed", ()))
        header = _loads(last.get("status", "")).get("header", {})
        values = _loads(last.get("identity", "")).get("kvs", [])
        return cls(
            record=Record.parse(last["record"]) if "record" in last else None,
            marks=frozenset(found.get("mark", ())),
            closed=tuple((name, Record.parse(text)) for name, _, text in closed),
            kept=frozenset(found.get("kept", ())),
            revision=int(header.get("revision", 0)),
            cluster_id=str(header.get("cluster_id", "")),
            identity=base64.b64decode(values[0]["value"]).decode(errors="replace") if values else "",
            name=last.get("name", ""),
            peer_url=last.get("peer_url", ""),
            free=int(last.get("free", "0")),
            apart=int(last["apart"]) if "apart" in last else None,
        )


def _loads(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@frozen
class Looked(Resource):
    """Reads how a member's host stands; changes nothing."""

    access: Access

    @property
    def key(self) -> str:
        return "what there is"

    def probe(self) -> str:
        curl = self.access.curl
        own = f"""\
for file in {MANIFESTS}/etcd.yaml {FENCED}/etcd.yaml; do
  if [ -s "$file" ]; then
    sed -n 's/^ *- --name=/name /p; s/^ *- --initial-advertise-peer-urls=/peer_url /p' "$file"
  fi
done"""
        return f"""\
ask() {{ {curl} "https://127.0.0.1:2379/v3/$1" -d "$2" 2>&1 | tr -d '\\n' || echo ' (no answer)'; echo; }}
if [ -s {OPEN}/record.json ]; then printf 'record %s\\n' "$(cat {OPEN}/record.json)"; fi
for mark in fencing exchanged undoing put-back; do if [ -e "{OPEN}/$mark" ]; then echo "mark $mark"; fi; done
for record in {PLACE}/*/record.json; do
  folder=${{record%/record.json}}
  if [ -s "$record" ] && [ "$folder" != {OPEN} ]; then printf 'closed %s %s\\n' "${{folder##*/}}" "$(cat "$record")"; fi
done
for kept in {DATA}/k8sha-kept-*/member {DATA}/k8sha-kept-*/nothing; do
  if [ -e "$kept" ]; then folder=${{kept%/*}}; echo "kept ${{folder##*/k8sha-kept-}}"; fi
done
printf 'status %s\\n' "$(ask maintenance/status '{{}}')"
printf 'identity %s\\n' "$(ask kv/range '{{"key":"{_KEY}","serializable":true}}')"
{own if self.access.stacked else ":"}
place() {{ place=$1; while [ ! -d "$place" ]; do place=${{place%/*}}; done; place=${{place:-/}}; }}
free() {{ stat -f -c '%a * %S' "$place" | awk '{{ printf "%.0f", $1 * $3 }}'; }}
place {DATA}
echo "free $(free)"
disk=$(stat -L -c %d "$place")
place {PLACE}
if [ "$(stat -L -c %d "$place")" != "$disk" ]; then echo "apart $(free)"; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class LastSeen(Resource):
    """How far the old cluster had come, and when that was: written down on this host just before its member is stopped,
    so that what is lost is told to the last write. Until it is stopped, what was written is no answer."""

    access: Access

    @property
    def key(self) -> str:
        return "how far the old cluster came"

    def probe(self) -> str:
        last = f"if [ -s {OPEN}/last ]; then cat {OPEN}/last; else echo 0 0; fi"
        return f"if [ -e {OPEN}/fencing ]; then {last}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of(f"+ {OPEN}/last")

    def apply(self) -> str:
        return f"""\
said=$({self.access.curl} https://127.0.0.1:2379/v3/maintenance/status -d '{{}}' 2>/dev/null || echo)
at=$(printf '%s' "$said" | tr -d ' \\n' | sed -n 's/.*"revision":"\\([0-9]*\\)".*/\\1/p')
printf '%s %s\\n' "${{at:-0}}" "$(date +%s)" >{OPEN}/last.new
sync {OPEN}/last.new
mv -f {OPEN}/last.new {OPEN}/last"""

    @staticmethod
    def latest(seen: Iterable[bytes], *, revision: int, begun: int, now: int) -> tuple[int, int]:
        """The highest revision and the latest time of these and the given ones; a clock that runs ahead adds none."""
        for each in seen:
            at, when = (int(word) for word in each.split()[:2])
            revision, begun = max(revision, at), max(begun, min(when, now))
        return revision, begun
