"""Judging a snapshot: on a host by shell that tries it out, here by what its bytes alone tell.

etcd's own ``snapshot save`` and ``snapshot status`` don't look at the hash that a snapshot ends in, and a file that
passes both may still not start. So a snapshot is good when an etcd was made of it and has answered.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from k8sha.errors import Problem
from k8sha.etcd.tools import BIN, etcd_release

__all__ = ["CHECK", "IDENTITY", "MARKER", "SCRATCH", "SnapshotFacts", "check_command", "local_problems"]

MARKER = "k8sha/backup"
"""The key that each backup writes just before its snapshot is taken: JSON with an id and the time."""

IDENTITY = "k8sha/identity"
"""The key that holds a random name of the cluster, made by its first backup. etcd's own cluster id is another after
every restore, and a snapshot does not hold it; this one stays."""

SCRATCH = "/var/lib/k8sha/etcd/scratch"
"""Where a host tries snapshots out, unless it is told another folder."""

CHECK = f"BIN={BIN}\n" + Path(__file__).with_name("check.sh").read_text()
"""Shell that defines ``k8sha_check FILE SCRATCH [MARKER]``; see the text. Needs :class:`EtcdTools` on the host."""

_BOLT = 0xED0CDAED  # the magic number of a bbolt meta page, after the page's header of 16 bytes

_REMEDIES = {
    "unreadable": "give the path of a snapshot that root can read",
    "empty": "take another snapshot",
    "no-hash": "it was cut off, or copied from a data directory: take one that was made by etcdctl snapshot save",
    "damaged": "take another copy of it, or another snapshot",
    "newer": "use a snapshot of this version or an older one, or upgrade etcd first",
    "no-space": "make room, or give another folder",
    "restore": "take another snapshot",
    "start": "take another snapshot",
    "revision": "take another snapshot",
    "marker": "it was not taken from this cluster at this time: take another snapshot",
}


def check_command(path: str, *, scratch: str = SCRATCH, marker: str = "") -> str:
    """Shell that judges a file on a host and always exits 0: what it prints is for :meth:`SnapshotFacts.parse`."""
    words = " ".join(map(shlex.quote, (path, scratch, *((marker,) if marker else ()))))
    return f"{CHECK}\nif k8sha_check {words}; then :; fi"


@frozen
class SnapshotFacts:
    """What a host found out about a snapshot. ``refused`` is empty where it is good, else why not, in words.

    ``size`` is in bytes. ``hash`` and ``total_keys`` are those of ``snapshot status``, which counts what lies in the
    file; ``keys`` is how many keys a member made of it has, and ``trial_revision`` the revision it is at. ``etcd`` is
    the version that tried it, ``made_by`` the newest minor version that the file speaks of. ``members`` are names and
    peer URLs that the file holds, perhaps with some that have left. ``shown`` is the marker in the ConfigMap of the
    snapshot, where that has one that can be read.
    """

    size: int = 0
    sha256: str = ""
    revision: int = 0
    hash: int = 0
    total_keys: int = 0
    etcd: str = ""
    made_by: str = ""
    members: tuple[tuple[str, str], ...] = ()
    trial_revision: int = 0
    keys: int = 0
    marker: str = ""
    shown: str = ""
    identity: str = ""
    verified: bool = False
    code: str = ""
    refused: str = ""

    @classmethod
    def parse(cls, seen: bytes | str) -> SnapshotFacts:
        """From what ``k8sha_check`` printed. Output that ends too early is a refusal too."""
        text = seen.decode(errors="replace") if isinstance(seen, bytes) else seen
        members: dict[tuple[str, str], None] = {}
        found: dict[str, str] = {}
        made: list[str] = []
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "member":
                who, _, url = value.partition(" ")
                members[who, url] = None
            elif name in ("cluster_version", "storage_version"):
                made.append(value)
            else:
                found[name] = value
        code, _, refused = found.get("refused", "").partition(": ")
        if not code and found.get("verified") != "yes":
            code, refused = "unfinished", "its judgement did not come to an end"
        numbers = {
            name: int(found.get(name) or 0)
            for name in ("size", "revision", "hash", "total_keys", "trial_revision", "keys")
        }
        return cls(
            **numbers,
            sha256=found.get("sha256", ""),
            etcd=found.get("etcd", ""),
            made_by=max(made, key=etcd_release, default=""),
            members=tuple(members),
            marker=found.get("marker", ""),
            shown=found.get("shown", ""),
            identity=found.get("identity", ""),
            verified=not code,
            code=code,
            refused=refused,
        )

    def problems(
        self, subject: str, *, names: Iterable[str] = (), peers: Iterable[str] = (), identity: str = ""
    ) -> Iterator[Problem]:
        """Why it must not be used; nothing where it may be.

        ``names`` and ``peers`` (URLs) are those of the members that it is meant for, ``identity`` what that cluster has
        under ``IDENTITY``, if that is known. A snapshot that carries another identity, or knows none of these names, or
        none of these addresses, is another cluster's: many clusters call their members alike.
        """
        if self.refused:
            yield Problem(subject, self.refused, _REMEDIES.get(self.code, "run again"))
            return
        known = {name for name, _ in self.members}
        if identity and self.identity and identity != self.identity:
            yield Problem(
                subject,
                f"is of another cluster: it carries the identity {self.identity}, and here is {identity}",
                "give a snapshot of this cluster",
            )
            return
        if identity and self.identity:
            return
        at = _addresses(url for _, urls in self.members for url in urls.split(","))
        for its, here in ((known, set(names)), (at, _addresses(peers))):
            if its and here and not its & here:
                yield Problem(
                    subject,
                    f"is of another cluster: its members are {', '.join(sorted(its))}, and here are "
                    f"{', '.join(sorted(here))}",
                    "give a snapshot of this cluster; or, if it is one, say so with another_cluster=True",
                )
                return


def _addresses(urls: Iterable[str]) -> set[str]:
    return {name for url in urls if (name := urlsplit(url).hostname)}


def local_problems(path: Path | str) -> Iterator[Problem]:
    """What the bytes of a snapshot on the caller's machine show to be wrong; a host then tries out what passes."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size == 0:
            yield Problem(str(path), "the file is empty", _REMEDIES["empty"])
            return
        if size % 512 != 32:
            words = f"it has {size} bytes, which is no whole number of pages and a hash"
            yield Problem(str(path), words, _REMEDIES["no-hash"])
            return
        found, ending, head = _hashed(path, size - 32)
    except OSError as error:
        yield Problem(str(path), error.strerror or str(error), _REMEDIES["unreadable"])
        return
    if found != ending:
        words = f"its contents have the sha256 {found}, and it ends in {ending}"
        yield Problem(str(path), words, _REMEDIES["damaged"])
    elif int.from_bytes(head[16:20], "little") != _BOLT:
        yield Problem(str(path), "is no database of etcd", _REMEDIES["damaged"])


def _hashed(path: Path, length: int) -> tuple[str, str, bytes]:
    """The sha256 of that many bytes, what follows them, and the first ones."""
    sum = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(min(4096, length))
        sum.update(head)
        left = length - len(head)
        while left and (part := file.read(min(1 << 20, left))):
            sum.update(part)
            left -= len(part)
        return sum.hexdigest(), file.read(32).hex(), head
