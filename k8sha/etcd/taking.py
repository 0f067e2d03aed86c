"""The part of a backup that a member's host does: marker, snapshot, proof, and the files that go with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from k8sha.errors import BackupError
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.snapshot import CHECK, SnapshotFacts
from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

__all__ = ["MASTER_FILES", "PLACES", "STEPS", "WORKS", "Snapshot", "Taken", "settings", "tidy", "told"]

WORKS = f"{STATE}/etcd/works"
"""One file a backup that is being made, by its id: where on the host it lies."""

PLACES = (f"{STATE}/etcd", "/var/backups", "/var/tmp", "/home")
"""Folders that are tried, in this order, for one that is off etcd's disk and has room."""

STEPS = CHECK + Path(__file__).with_name("steps.sh").read_text()
"""Shell that defines the steps of a backup, after :func:`settings`."""

MASTER_FILES = (
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/pki/ca.key",
    "/etc/kubernetes/pki/front-proxy-ca.crt",
    "/etc/kubernetes/pki/front-proxy-ca.key",
    "/etc/kubernetes/pki/sa.key",
    "/etc/kubernetes/pki/sa.pub",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/etcd/ca.key",
    "/etc/kubernetes/manifests/*.yaml",
    "/etc/kubernetes/*.yaml",
    "/etc/kubernetes/encryption/*.key",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
)
"""Of a master, patterns: what the values and the tokens in its etcd are worthless without."""

_OWN = (
    "/etc/etcd/pki/ca.crt",
    "/etc/etcd/pki/ca.key",
    "/etc/etcd/*",
    "/etc/default/etcd",
    "/etc/systemd/system/etcd.service",
    "/etc/systemd/system/etcd.service.d/*",
)


def settings(access: Access) -> str:
    """What the steps need to know of a member's host."""
    files = " ".join(MASTER_FILES if access.stacked else _OWN)
    return f"DATA={DATA} PKI={access.pki}\nCREDENTIALS={shlex.quote(access.credentials)}\nFILES={shlex.quote(files)}\n"


def tidy(id: str) -> str:
    """Shell that removes what the backup of that id left on its host."""
    return f"""\
if [ -s {WORKS}/{id} ]; then
  read -r work <{WORKS}/{id}
  rm -rf "$work"
  rm -f {WORKS}/{id}
fi"""


@frozen
class Snapshot(Resource):
    """A proven snapshot of this host's member, and copies of what goes with it, in a folder that only root enters.

    ``id`` is that of one backup. What earlier ones left, which were killed, is removed: the host's lock says that none
    of them is still at work. A scheduled one at the same time is waited for.
    """

    access: Access
    id: str
    address: str
    places: tuple[str, ...] = field(default=())

    @property
    def key(self) -> str:
        return "snapshot"

    @property
    def timeout(self) -> int:
        return 3600

    def probe(self) -> str:
        return f"""\
if [ -s {WORKS}/{self.id} ]; then
  read -r work <{WORKS}/{self.id}
  if [ -s "$work/facts" ]; then cat "$work/facts"; fi
fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of("take one, and prove it")

    def apply(self) -> str:
        places = " ".join(map(shlex.quote, self.places or PLACES))
        return f"""\
{STEPS}
{settings(self.access)}
umask 077
mkdir -p {WORKS} {STATE}/etcd
for work in {WORKS}/*; do
  if [ -s "$work" ]; then read -r old <"$work"; rm -rf "$old"; rm -f "$work"; fi
done
exec 8>>{STATE}/etcd/backup.lock
flock -w 1800 8 || {{ echo "another backup has been running here for 30 minutes" >&2; exit 1; }}
place=$(k8sha_place "$(k8sha_need)" {places})
work=$place/k8sha-backup.{self.id}
printf '%s\\n' "$work" >{WORKS}/{self.id}
mkdir -m 0700 "$work"
k8sha_marker=$(k8sha_mark {self.id})
k8sha_facts=$work/facts.new
printf 'folder %s\\ntime %s\\n' "$work" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$k8sha_facts"
{self._kubernetes()}
k8sha_save "$work/snapshot.db" >>"$k8sha_facts" || exit 1
k8sha_cluster >>"$k8sha_facts"
k8sha_gather "$work"
rm -f "$work/snapshot.db.facts"
(cd "$work" && k8sha_hashed snapshot.db) >>"$k8sha_facts"
sync "$k8sha_facts"
mv "$k8sha_facts" "$work/facts\""""

    def _kubernetes(self) -> str:
        if not self.access.stacked:
            return ""
        kubectl = f"--kubeconfig=/etc/kubernetes/admin.conf --server=https://{self.address}:6443"
        return f"""\
k8sha_show {kubectl} >>"$k8sha_facts"
k8sha_kubeadm "$work" {kubectl} >>"$k8sha_facts\""""


def told(seen: bytes) -> tuple[dict[str, str], tuple[str, ...], dict[str, tuple[int, str]]]:
    """What the steps on a host printed: facts by name, what was not done, and size and sha256 of each file by name."""
    found: dict[str, str] = {}
    notes: list[str] = []
    files: dict[str, tuple[int, str]] = {}
    for line in seen.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "file":
            sum, size, path = value.split(" ", 2)
            files[path] = (int(size), sum)
        elif value.startswith("not "):
            notes.append(f"{name} {value}")
        else:
            found[name] = value
    return found, tuple(notes), files


@frozen
class Taken:
    """What a host has ready: ``files`` are size and sha256 by the name in ``folder``. ``live`` says whether the member
    itself counted as many keys at that revision."""

    facts: SnapshotFacts
    folder: str
    time: str
    cluster_id: str
    kubernetes: str
    members: tuple[str, ...]
    live: bool
    notes: tuple[str, ...]
    files: Mapping[str, tuple[int, str]]

    @classmethod
    def parse(cls, seen: bytes) -> Taken:
        """From what the probe of :class:`Snapshot` printed. Raises BackupError where that is not whole."""
        found, notes, files = told(seen)
        voters = [
            line.removeprefix("voter ") for line in seen.decode(errors="replace").splitlines() if line[:6] == "voter "
        ]
        facts = SnapshotFacts.parse(seen)
        if not facts.verified or "snapshot.db" not in files:
            raise BackupError.of("snapshot", facts.refused or "is not there", "run again")
        if files["snapshot.db"][1] != facts.sha256:
            raise BackupError.of("snapshot", "was changed after it had been proven", "look at the host's disk")
        ordered = {"snapshot.db": files.pop("snapshot.db"), **files}
        return cls(
            facts,
            found["folder"],
            found["time"],
            found.get("cluster_id", ""),
            found.get("kubernetes", ""),
            tuple(sorted(voters)),
            found.get("live", "unknown") != "unknown",
            notes,
            ordered,
        )
