"""What a restore is going to make, written down on every member's host before the first change that hurts.

Everything about a restore that is open lies in ``OPEN`` on the hosts, and moves away in one step when it is over. So a
restore that was killed is found by the next run, and goes on with the same token, the same members and the same file.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable

import attrs
from attrs import field, frozen

from k8sha.etcd.access import DATA
from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

__all__ = ["OPEN", "PLACE", "WEEK", "Closed", "Forgotten", "Record", "Written", "bump_for"]

PLACE = f"{STATE}/restore"
"""The folder of restores on a member's host: only root may enter it."""

OPEN = f"{PLACE}/open"
"""The one that has begun and has not ended: its record, its snapshot, and an empty file for each thing done."""

WEEK = 7 * 24 * 3600

_BILLION = 1_000_000_000


def bump_for(age: float, reached: int) -> int:
    """By how much a restore raises the revision, so that nobody ever saw a higher one. ``age`` is the snapshot's in
    seconds, ``reached`` the highest revision known of the old cluster.

    etcd's own advice (recovery.md) is a billion, which outruns 1500 writes a second for a week: so, one for each week.
    A cluster that was restored before has billions in its revision that an older snapshot lacks: they are added.
    """
    return _BILLION * (max(1, math.ceil(age / WEEK)) + reached // _BILLION)


def _members(given: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(url)) for name, url in given)


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen(kw_only=True)
class Record:
    """One restore. ``members`` are the new cluster's names and peer URLs, ``left_out`` the hosts that are powered off.

    ``reached`` is the highest revision that a member had when this began, 0 where none could say; writes went on until
    they were stopped. ``taken`` is when the snapshot was taken, ``begun`` when this began, in seconds since 1970;
    ``source`` is the snapshot's name.
    """

    id: str
    sha256: str
    token: str
    bump: int
    members: tuple[tuple[str, str], ...] = field(converter=_members)
    left_out: tuple[str, ...] = field(converter=_names)
    reached: int
    taken: int
    begun: int
    source: str

    def json(self) -> str:
        """As it is written on the hosts: one line."""
        return json.dumps(attrs.asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Record:
        """What was written. Raises ValueError where that is none of ours."""
        try:
            return cls(**json.loads(text))
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None

    @property
    def initial_cluster(self) -> str:
        """As etcd's option has it."""
        return ",".join(f"{name}={url}" for name, url in self.members)


@frozen
class Written(Resource):
    """The record of the one restore that is open on this host. One that never came to its first change makes way."""

    record: Record

    @property
    def key(self) -> str:
        return "record of the restore"

    def probe(self) -> str:
        return f"if [ -s {OPEN}/record.json ]; then cat {OPEN}/record.json; fi"

    def diff(self, seen: bytes) -> Diff:
        found = seen.decode(errors="replace").strip()
        if found == self.record.json():
            return Diff()
        return Diff.of(f"restore {self.record.id} of {self.record.source}, sha256 {self.record.sha256[:8]}")

    def apply(self) -> str:
        record = shlex.quote(self.record.json())
        return f"""\
umask 077
if [ -e {OPEN}/fencing ]; then echo "another restore is half-way here: finish it, or undo it" >&2; exit 1; fi
mkdir -p {OPEN}
chmod 0700 {PLACE}
rm -f {OPEN}/last {OPEN}/raised {OPEN}/facts-*
printf '%s\\n' {record} >{OPEN}/record.new
sync {OPEN}/record.new
mv -f {OPEN}/record.new {OPEN}/record.json"""


@frozen
class Forgotten(Resource):
    """A restore that never came to its first change, and what it made ready, are gone from this host."""

    @property
    def key(self) -> str:
        return "a restore that was refused"

    def probe(self) -> str:
        return f"if [ -e {OPEN} ] && [ ! -e {OPEN}/fencing ]; then echo begun; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff.of(f"- {OPEN}") if seen.strip() else Diff()

    def apply(self) -> str:
        return f"rm -rf {DATA}/k8sha-restored-*\nrm -rf {OPEN}"


@frozen
class Closed(Resource):
    """No restore is open on this host; the record of this one stays, under ``name``, and its snapshot does not."""

    name: str

    @property
    def key(self) -> str:
        return "the restore is over"

    def probe(self) -> str:
        return f"if [ -e {OPEN} ]; then echo open; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff.of(f"open -> {PLACE}/{self.name}") if seen.strip() else Diff()

    def apply(self) -> str:
        return f"""\
rm -f {OPEN}/snapshot.db {OPEN}/.k8sha.snapshot.db
if [ -e {PLACE}/{self.name} ]; then rm -rf {PLACE}/{self.name}; fi
mv -T {OPEN} {PLACE}/{self.name}"""
