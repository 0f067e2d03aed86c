"""A snapshot as it is given for a restore: a plain file, an archive of a backup, or a backup just taken."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from k8sha.errors import BackupError
from k8sha.etcd.age import Unlock
from k8sha.etcd.archive import SNAPSHOT, Descriptor, opened
from k8sha.etcd.backup import Backup
from k8sha.etcd.sealing import archived_keys
from k8sha.etcd.snapshot import local_problems

__all__ = ["Given", "given"]

_AGE = b"age-encryption.org/"


@frozen
class Given:
    """A plain snapshot on this machine that its own bytes show to be whole. ``taken`` is in seconds since 1970.

    ``keys`` are those of the API servers of its time (see :func:`archived_keys`), None where it came without.
    """

    path: Path
    sha256: str
    size: int
    taken: float
    source: str
    descriptor: Descriptor | None = None
    keys: Mapping[str, str] | None = None


@contextmanager
def given(snapshot: Path | str | Backup, unlock: Unlock | None = None) -> Iterator[Given]:
    """The snapshot as a plain file; what had to be unpacked for that is gone afterwards.

    Raises BackupError where it is damaged, and ConfigError where it is encrypted and ``unlock`` is missing.
    """
    path = _path(snapshot)
    if not _archived(path):
        yield _plain(path, path.name, None)
        return
    with opened(path, unlock) as (descriptor, folder):
        yield evolve(_plain(folder / SNAPSHOT, path.name, descriptor), keys=archived_keys(folder))


def _path(snapshot: Path | str | Backup) -> Path:
    if not isinstance(snapshot, Backup):
        return Path(snapshot)
    for copy in snapshot.copies:
        if Path(copy.where).is_file():
            return Path(copy.where)
    places = ", ".join(copy.where for copy in snapshot.copies)
    raise BackupError.of(
        snapshot.descriptor.name, f"has no copy on this machine ({places})", "fetch one, and give its path"
    )


def _archived(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(len(_AGE))
        return head == _AGE or tarfile.is_tarfile(path)
    except OSError:
        return False  # why it can't be read is told as for a plain file


def _plain(path: Path, source: str, descriptor: Descriptor | None) -> Given:
    problems = list(local_problems(path))
    if problems:
        raise BackupError(problems)
    sum = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sum.update(chunk)
    stat = path.stat()
    taken = stat.st_mtime if descriptor is None else _seconds(descriptor.time)
    return Given(path, sum.hexdigest(), stat.st_size, taken, source, descriptor)


def _seconds(time: str) -> float:
    import datetime

    try:
        return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise BackupError.of("the archive", f"its time {time!r} can't be read", "take another backup") from None
