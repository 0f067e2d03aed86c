"""What goes with a backup of an etcd on hosts of its own: the keys and the configuration of its clients, from a master.

Without them a snapshot is of little use: the values in it may be encrypted, and what the tokens in it were signed with
is on masters alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from attrs import frozen

from k8sha.errors import BackupError, HostError, Problem
from k8sha.etcd.taking import MASTER_FILES, STEPS, WORKS, told
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

__all__ = ["Beside", "MasterFiles", "master_with_keys"]

_KEYS = "if [ -s /etc/kubernetes/pki/ca.key ] && [ -s /etc/kubernetes/pki/sa.key ]; then echo whole; fi"


def master_with_keys(masters: tuple[Host, ...]) -> Host:
    """The first master that answers and has the keys. Raises BackupError with what is wrong with each."""
    problems: list[Problem] = []
    for host in masters:
        try:
            _, out, _ = host.read(_KEYS)[0]
        except HostError as error:
            problems.append(Problem(host.name, error.cause, error.remedy))
            continue
        if out.strip() == b"whole":
            return host
        problems.append(Problem(host.name, "has no keys of a control plane", "install it, or bring another one back"))
    raise BackupError(problems)


@frozen
class MasterFiles(Resource):
    """Copies of a master's keys and configuration, in a folder that only root enters. ``id`` is that of one backup."""

    id: str
    address: str

    @property
    def key(self) -> str:
        return "files of a master"

    @property
    def _folder(self) -> str:
        return f"{STATE}/etcd/files.{self.id}"

    def probe(self) -> str:
        return f"if [ -s {self._folder}/facts ]; then cat {self._folder}/facts; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of("copy them")

    def apply(self) -> str:
        kubectl = f"--kubeconfig=/etc/kubernetes/admin.conf --server=https://{self.address}:6443"
        return f"""\
{STEPS}
FILES={shlex.quote(" ".join(MASTER_FILES))}
umask 077
mkdir -p {WORKS}
for work in {WORKS}/*; do
  if [ -s "$work" ]; then read -r old <"$work"; rm -rf "$old"; rm -f "$work"; fi
done
work={self._folder}
printf '%s\\n' "$work" >{WORKS}/{self.id}
mkdir -m 0700 "$work"
echo "folder $work" >"$work/facts.new"
k8sha_kubeadm "$work" {kubectl} >>"$work/facts.new"
k8sha_gather "$work"
(cd "$work" && k8sha_hashed) >>"$work/facts.new"
sync "$work/facts.new"
mv "$work/facts.new" "$work/facts\""""


@frozen
class Beside:
    """What a master has ready: ``files`` are size and sha256 by the name in ``folder``."""

    folder: str
    kubernetes: str
    notes: tuple[str, ...]
    files: Mapping[str, tuple[int, str]]

    @classmethod
    def parse(cls, seen: bytes) -> Beside:
        """From what the probe of :class:`MasterFiles` printed. Raises BackupError where that is not whole."""
        found, notes, files = told(seen)
        if "folder" not in found or not any(path.endswith("/etc/kubernetes/pki/sa.key") for path in files):
            raise BackupError.of("files of a master", "are not whole: sa.key is missing", "run again")
        return cls(found["folder"], found.get("kubernetes", ""), notes, files)
