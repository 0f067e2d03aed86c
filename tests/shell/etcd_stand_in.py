"""Programs that stand in for etcd's own: small shells that answer as told by files in a folder.

What they are told: ``version``, ``revision``, ``count``; and what fails: a file named after the step, such as
``fail-save``. A snapshot of theirs is a file of random bytes with the hash that etcd puts at the end.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

__all__ = ["EtcdStandIn", "snapshot_bytes"]

_ETCD = """\
#!/bin/sh
case $1 in --version) echo "etcd Version: $(cat {told}/version)"; exit ;; esac
if [ -e {told}/fail-start ]; then echo "panic: bad data" >&2; exit 2; fi
exec sleep 60
"""

_ETCDCTL = """\
#!/bin/sh
told={told}
case "$*" in
  version) echo "etcdctl version: $(cat $told/version)" ;;
  *"snapshot save"*)
    if [ -e $told/fail-save ]; then echo "context deadline exceeded" >&2; exit 1; fi
    for to; do :; done
    cp $told/snapshot "$to" ;;
  *"get k8sha/identity"*) cat $told/identity ;;
  *"get /registry/configmaps/kube-system/k8sha-backup"*) if [ -e $told/shown ]; then cat $told/shown; fi ;;
  *"get k8sha/backup"*"--limit=1"*) tail -n 1 $told/marker ;;
  *"get k8sha/backup"*) if [ -e $told/fail-marker ]; then echo other; else cat $told/marker; fi ;;
  *"put k8sha/backup"*)
    if [ -e $told/fail-put ]; then echo "etcdserver: request timed out" >&2; exit 1; fi
    for value; do :; done
    printf '%s\\n' "$value" >$told/marker
    # Another member is backed up at the same time, and has written its own.
    if [ -e $told/also-marker ]; then echo '{{"id":"another"}}' >>$told/marker; fi ;;
  *"endpoint health"*) exit 0 ;;
  *"endpoint status"*)
    leader=7; if [ -e $told/fail-leader ]; then leader=0; fi
    echo '[{{"Status":{{"header":{{"cluster_id":42}},"leader":'$leader'}}}}]' ;;
  *"alarm list"*) if [ -e $told/fail-alarm ]; then echo "memberID:1 alarm:NOSPACE"; fi ;;
  *"member list"*) echo "7, started, master-1, https://192.168.56.10:2380, https://192.168.56.10:2379, false" ;;
  *"--rev="*)
    count=$(cat $told/count); if [ -e $told/fail-count ]; then count=$((count + 1)); fi
    printf '{{"header":{{"revision":%s}},"count":%s}}\\n' "$(cat $told/revision)" $count ;;
  *"get "*) printf '{{"header":{{"revision":%s}},"count":%s}}\\n' "$(cat $told/revision)" "$(cat $told/count)" ;;
  *) echo "etcdctl $* is not known here" >&2; exit 64 ;;
esac
"""

_ETCDUTL = """\
#!/bin/sh
told={told}
case "$*" in
  "snapshot status"*)
    if [ -e $told/fail-status ]; then echo "snapshot file integrity check failed" >&2; exit 1; fi
    printf '{{"hash":5,"revision":%s,"totalKey":9,"totalSize":4096}}\\n' "$(cat $told/revision)" ;;
  "snapshot restore"*) if [ -e $told/fail-restore ]; then echo "expected sha256 [...]" >&2; exit 1; fi ;;
  *) exit 64 ;;
esac
"""


def snapshot_bytes(seed: int = 1, *, pages: int = 8, text: bytes = b"clusterVersion3.5.0") -> bytes:
    """What a snapshot looks like from outside: pages, the last 32 bytes the sha256 of all before them."""
    body = random.Random(seed).randbytes(pages * 4096 - len(text)) + text
    return body + hashlib.sha256(body).digest()


class EtcdStandIn:
    """The programs in ``bin``, and what they are told in ``told``."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.told = folder / "bin", folder / "told"
        self.bin.mkdir(parents=True)
        self.told.mkdir()
        for name, text in (("etcd", _ETCD), ("etcdctl", _ETCDCTL), ("etcdutl", _ETCDUTL)):
            (self.bin / name).write_text(text.format(told=self.told))
            (self.bin / name).chmod(0o755)
        for name, value in (("version", "3.5.30"), ("revision", "70"), ("count", "6"), ("identity", "0c1f")):
            (self.told / name).write_text(value + "\n")
        (self.told / "marker").write_text("nothing\n")
        self.snapshot(snapshot_bytes())

    def snapshot(self, data: bytes) -> None:
        """What ``snapshot save`` gives from now on."""
        (self.told / "snapshot").write_bytes(data)

    def fails(self, *steps: str) -> None:
        """Exactly these steps fail from now on: save, put, leader, alarm, status, restore, start, marker, count."""
        for old in self.told.glob("fail-*"):
            old.unlink()
        for step in steps:
            (self.told / f"fail-{step}").touch()
