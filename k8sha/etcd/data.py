"""The data of a member in a restore: made ready beside the old, exchanged with it by renaming, kept, put back.

Whatever instant it is killed at, the names alone tell what has happened: ``k8sha-restored-<id>/member`` is there until
the new data are in place, ``k8sha-kept-<id>/member`` from when the old ones are out of it.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.etcd.access import DATA
from k8sha.etcd.record import OPEN, PLACE, Record
from k8sha.etcd.snapshot import check_command
from k8sha.etcd.tools import BIN
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["SNAPSHOT", "Exchanged", "Judgement", "KeptDeleted", "Prepared", "Proven", "PutBack"]

SNAPSHOT = f"{OPEN}/snapshot.db"

_ID = "[0-9a-f]" * 8
_KEPT = f"{DATA}/k8sha-kept-{_ID} {DATA}/k8sha-undone-{_ID} {DATA}/k8sha-restored-*"
"""What restores have kept and left, as the shell finds it. A member that was replaced, or joined anew, has its old data
beside it under other names: they are not a restore's to delete."""


@frozen
class Proven(Resource):
    """The snapshot on this host was judged, with a trial: what was found is what the probe prints.

    A refusal is an answer as well: whoever asked must look at it.
    """

    id: str
    sha256: str

    @property
    def key(self) -> str:
        return "judgement of the snapshot"

    @property
    def timeout(self) -> int:
        return 3600

    def probe(self) -> str:
        return f"if [ -s {OPEN}/facts-{self.id} ]; then cat {OPEN}/facts-{self.id}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of(f"try sha256 {self.sha256[:8]} out, away from the real member")

    def apply(self) -> str:
        return f"""\
umask 077
(
{check_command(SNAPSHOT)}
) >{OPEN}/facts.new
sync {OPEN}/facts.new
mv -f {OPEN}/facts.new {OPEN}/facts-{self.id}"""


@frozen
class Judgement(Resource):
    """Reads what was found out about the snapshot of a restore, open or over, where this host judged; and how far the
    old cluster had come there."""

    id: str

    @property
    def key(self) -> str:
        return "judgement of then"

    def probe(self) -> str:
        name = f"facts-{self.id}"
        return f"""\
for facts in {OPEN}/{name} {PLACE}/{self.id}/{name}; do
  if [ -s "$facts" ]; then cat "$facts"; fi
done
for last in {OPEN}/last {PLACE}/{self.id}/last; do
  if [ -s "$last" ]; then printf 'last %s\\n' "$(cat "$last")"; fi
done"""

    @staticmethod
    def last(seen: bytes) -> bytes:
        """What :class:`LastSeen` wrote on that host."""
        lines = (line.partition(b" ") for line in seen.splitlines())
        return next((said for name, _, said in lines if name == b"last"), b"0 0")

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class Prepared(Resource):
    """A member's new data, made of the snapshot beside the old ones. Nothing reads them yet.

    The revision is raised, and all before it marked as compacted, where this version of etcd can (3.4.27, 3.5.10):
    watchers would otherwise wait for a future that was cut off.
    """

    record: Record
    name: str
    peer_url: str

    @property
    def key(self) -> str:
        return "new data"

    @property
    def timeout(self) -> int:
        return 3600

    @property
    def _new(self) -> str:
        return f"{DATA}/k8sha-restored-{self.record.id}"

    def probe(self) -> str:
        return f"""\
if [ -e {OPEN}/exchanged ] || [ -e {self._new} ]; then echo made; fi
if [ -e {OPEN}/raised ]; then echo raised; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff() if b"made" in seen.split() else Diff.of(f"+ {self._new}, of the snapshot")

    def apply(self) -> str:
        record = self.record
        options = " ".join(
            shlex.quote(word)
            for word in (
                f"--data-dir={self._new}.part",
                f"--name={self.name}",
                f"--initial-cluster={record.initial_cluster}",
                f"--initial-cluster-token={record.token}",
                f"--initial-advertise-peer-urls={self.peer_url}",
            )
        )
        return f"""\
umask 077
mkdir -p {DATA}
for old in {DATA}/k8sha-restored-*; do
  if [ -e "$old" ] && [ "$old" != {self._new} ]; then rm -rf "$old"; fi
done
rm -rf {self._new}.part
rm -f {OPEN}/raised
set -- {options}
if {BIN}/etcdutl snapshot restore --help 2>&1 | grep -q -e --bump-revision; then
  set -- "$@" --bump-revision={record.bump} --mark-compacted
  : >{OPEN}/raised
fi
{BIN}/etcdutl snapshot restore {SNAPSHOT} "$@" 2>{OPEN}/restore.log || {{ tail -n 5 {OPEN}/restore.log >&2; exit 1; }}
find {self._new}.part -type f -exec sync {{}} +
mv -T {self._new}.part {self._new}"""


@frozen
class Exchanged(Resource):
    """The new data are in the member's place, and the old ones are kept beside them. The member must be stopped."""

    id: str
    owner: str = field(default="root:root", kw_only=True)

    @property
    def key(self) -> str:
        return "new data in place"

    @property
    def timeout(self) -> int:
        return 600

    def probe(self) -> str:
        return f"if [ -e {OPEN}/exchanged ]; then echo yes; fi"

    def diff(self, seen: bytes) -> Diff:
        if seen.strip():
            return Diff()
        return Diff.of(f"{DATA}/member -> {DATA}/k8sha-kept-{self.id}/member, and the new one in its place")

    def apply(self) -> str:
        return f"""\
umask 077
new={DATA}/k8sha-restored-{self.id} kept={DATA}/k8sha-kept-{self.id}
if [ -e "$new/member" ]; then
  mkdir -p "$kept"
  if [ ! -e {DATA}/member ]; then
    if [ ! -e "$kept/member" ]; then : >"$kept/nothing"; fi
  elif [ -e "$kept/member" ]; then
    echo "{DATA}/member and $kept/member are both there: something has run here meanwhile" >&2; exit 1
  else
    mv -T {DATA}/member "$kept/member"
  fi
  chown -R {self.owner} "$new"
  chmod 0700 {DATA} "$new/member"
  mv -T "$new/member" {DATA}/member
  if [ -x /usr/sbin/restorecon ]; then /usr/sbin/restorecon -R {DATA}/member; fi
elif [ ! -e "$new" ] || [ ! -e {DATA}/member ]; then
  echo "there are no new data in $new" >&2; exit 1
fi
sync {DATA}
: >{OPEN}/exchanged
sync {OPEN}
rm -rf "$new\""""


@frozen
class PutBack(Resource):
    """The data that a restore had kept are the member's again; those that it had made are kept in their turn.

    A host whose member had none goes without: what it has now belongs to the cluster that is being taken back. So does
    one that is a stranger to the restore, or whose kept data are gone. One that the restore had not come to keeps what
    it has; so does one whose kept data are back already, of which their empty folder tells.
    """

    id: str
    owner: str = field(default="root:root", kw_only=True)

    @property
    def key(self) -> str:
        return "kept data in place"

    @property
    def timeout(self) -> int:
        return 600

    def probe(self) -> str:
        return f"""\
if [ -e {OPEN}/put-back ]; then echo done; fi
if [ -e {DATA}/member ]; then echo member; fi"""

    def diff(self, seen: bytes) -> Diff:
        if b"done" in seen.split():
            return Diff()
        return Diff.of(f"{DATA}/k8sha-kept-{self.id}/member -> {DATA}/member")

    def apply(self) -> str:
        return f"""\
umask 077
kept={DATA}/k8sha-kept-{self.id} undone={DATA}/k8sha-undone-{self.id}
if [ -e "$kept/member" ] || [ -e "$kept/nothing" ] || [ -e {OPEN}/stranger ] ||
  {{ [ -e {OPEN}/exchanged ] && [ ! -e "$kept" ]; }}; then
  if [ -e {DATA}/member ]; then
    mkdir -p "$undone"
    if [ -e "$undone/member" ]; then echo "{DATA}/member: something has run here meanwhile" >&2; exit 1; fi
    mv -T {DATA}/member "$undone/member"
  fi
  if [ -e "$kept/member" ]; then mv -T "$kept/member" {DATA}/member; fi
fi
if [ -e {DATA}/member ]; then chown -R {self.owner} {DATA}/member; fi
rm -rf {DATA}/k8sha-restored-*
sync {DATA}
: >{OPEN}/put-back
sync {OPEN}"""


@frozen
class KeptDeleted(Resource):
    """Nothing is left of the data that restores have kept here, and of what they wrote down. There is no way back."""

    @property
    def key(self) -> str:
        return "kept data"

    @property
    def timeout(self) -> int:
        return 600

    def probe(self) -> str:
        return f'for kept in {_KEPT} {PLACE}/*; do if [ -e "$kept" ]; then echo "$kept"; fi; done'

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(f"- {line}" for line in seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
if [ -e {OPEN}/fencing ]; then echo "a restore is half-way here: finish it, or undo it" >&2; exit 1; fi
rm -rf {_KEPT} {PLACE}"""
