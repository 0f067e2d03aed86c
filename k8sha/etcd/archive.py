"""The archive of a backup: one tar file with the snapshot, what it is worthless without, and a descriptor of it all.

::

    backup.json      the descriptor, first
    snapshot.db      as etcdctl snapshot save wrote it
    files/etc/...    certificate authorities, service account keys, configuration, by their own paths

``tar`` unpacks it, after ``age -d`` where it is encrypted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import attrs
from attrs import field, frozen

from k8sha.errors import BackupError, ConfigError
from k8sha.etcd.age import Unlock, decrypted
from k8sha.scratch import private_folder

__all__ = ["DESCRIPTOR", "SNAPSHOT", "Descriptor", "Part", "opened", "write_archive"]

DESCRIPTOR, SNAPSHOT = "backup.json", "snapshot.db"
_FORMAT = 1
_AGE = b"age-encryption.org/"


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen(kw_only=True)
class Descriptor:
    """What a backup is of. ``files`` is the sha256 of everything in the archive, by name.

    ``identity`` names the cluster for ever, ``cluster_id`` is etcd's own name for it, another one after every restore.
    ``keys`` is how many there are at ``revision``, ``live`` whether the member itself counted as many. ``hash`` is
    that of ``etcdutl snapshot status``, ``marker`` the value of the key that was written just before.
    """

    name: str
    time: str
    host: str
    identity: str
    cluster_id: str
    revision: int
    hash: int
    keys: int
    live: bool
    size: int
    etcd: str
    kubernetes: str
    stacked: bool
    members: tuple[str, ...] = field(converter=_names)
    marker: str
    files: Mapping[str, str]

    def json(self) -> bytes:
        """As it stands in the archive; ``sum`` is the sha256 of all before it."""
        said = {"format": _FORMAT, **attrs.asdict(self)}
        sum = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return (json.dumps({**said, "sum": sum}, indent=2) + "\n").encode()

    @classmethod
    def parse(cls, text: bytes) -> Descriptor:
        """Raises BackupError for what is none of ours."""
        try:
            raw = json.loads(text)
            if raw.pop("format") != _FORMAT:
                raise BackupError.of("the archive", "was made by a later k8sha", "use that one to read it")
            sealed = raw.pop("sum", None) is not None
            found = cls(**raw)
            if sealed and found.json() != text:
                raise ValueError("it is not as it was written")
            return found
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BackupError.of(
                "the archive", f"{DESCRIPTOR} can't be read", "take another copy of it, or another backup"
            ) from None


@frozen
class Part:
    """One file that goes into an archive: its chunks, of which the sha256 is known beforehand."""

    name: str
    size: int
    sha256: str
    chunks: Callable[[], Iterable[bytes]]


class _Source(io.RawIOBase):
    """Chunks as a file to read from, hashed as they pass."""

    def __init__(self, part: Part) -> None:
        self._chunks = iter(part.chunks())
        self._left = b""
        self.sum = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self.sum.update(chunk)
            self._left += chunk
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return found


def write_archive(sink: BinaryIO, descriptor: Descriptor, parts: Iterable[Part]) -> None:
    """The descriptor and all parts into ``sink``. Raises BackupError where a part does not arrive as it was hashed."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        text = descriptor.json()
        tar.addfile(_entry(DESCRIPTOR, len(text)), io.BytesIO(text))
        for part in parts:
            source = _Source(part)
            try:
                tar.addfile(_entry(part.name, part.size), source)
            except OSError as error:
                raise BackupError.of(part.name, f"did not arrive whole: {error}", "run again") from None
            if source.sum.hexdigest() != part.sha256:
                raise BackupError.of(part.name, "changed on its way from the host", "run again")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override] # BufferedReader gives one
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


@contextmanager
def opened(path: Path | str, unlock: Unlock | None = None) -> Iterator[tuple[Descriptor, Path]]:
    """The descriptor of an archive, and a folder with all that is in it, each file of the right hash.

    The folder is the caller's alone (0700) and gone afterwards; where that process was killed, the next call removes
    it. Raises BackupError where the archive is damaged, is encrypted and ``unlock`` is missing or wrong, or is none of
    ours.
    """
    path = Path(path)
    with private_folder("archive") as folder:
        try:
            with path.open("rb") as file:
                descriptor = _unpack(_plain(file, path, unlock), folder, str(path))
        except OSError as error:
            raise BackupError.of(str(path), error.strerror or str(error), "give the path of an archive") from None
        yield descriptor, folder


def _plain(file: BinaryIO, path: Path, unlock: Unlock | None) -> BinaryIO:
    encrypted = file.read(len(_AGE)) == _AGE
    file.seek(0)
    if not encrypted:
        return file
    if unlock is None:
        raise ConfigError.of(str(path), "is encrypted", "give what opens it: Passphrase(...) or AgeKey(...)")
    return io.BufferedReader(_Chunks(decrypted(file, unlock)))  # type: ignore[type-var] # for readinto above


def _unpack(source: BinaryIO, folder: Path, subject: str) -> Descriptor:
    found: dict[str, str] = {}
    passed = _Passed(source)
    try:
        with tarfile.open(fileobj=passed, mode="r|") as tar:
            for entry in tar:
                if entry.isdir():
                    continue
                name = PurePosixPath(entry.name)
                content = tar.extractfile(entry)
                if content is None or name.is_absolute() or ".." in name.parts:
                    cause = f"holds {entry.name!r}, which no archive of ours does"
                    raise BackupError.of(subject, cause, "take a backup that etcd.backup() made")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                found[entry.name] = _copied(content, target)
        while passed.read(1 << 20):  # what follows the tar's end is part of what was encrypted: it must be whole too
            pass
    except tarfile.TarError as error:
        raise BackupError.of(subject, f"is no archive of a backup, or damaged: {error}", "take another copy") from None
    if DESCRIPTOR not in found:
        raise BackupError.of(subject, f"has no {DESCRIPTOR}, so it is no archive of a backup", "take another file")
    order = tuple(found)
    text = (folder / DESCRIPTOR).read_bytes()
    descriptor = Descriptor.parse(text)
    del found[DESCRIPTOR]
    wrong = sorted(name for name in {*found, *descriptor.files} if found.get(name) != descriptor.files.get(name))
    if wrong:
        raise BackupError.of(subject, f"{', '.join(wrong)}: missing or damaged", "take another copy of it")
    # One that a schedule made, with tar, has no such seal: its files are hashed, and what lies between them is not.
    if b'"sum"' in text and _written(order, folder) != passed.sum.digest():
        raise BackupError.of(subject, "differs from how it was written, between its files", "take another copy of it")
    return descriptor


class _Passed(io.RawIOBase):
    """A file to read from, hashed as it passes."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.sum = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override] # BufferedReader gives one
        data = self._source.read(len(buffer))
        self.sum.update(data)
        buffer[: len(data)] = data
        return len(data)


class _Sum(io.RawIOBase):
    """A file to write to that keeps the hash alone."""

    def __init__(self) -> None:
        self.sum = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sum.update(data)
        return len(data)


def _written(names: Iterable[str], folder: Path) -> bytes:
    """The hash of an archive of these files: every byte of one is given by them, so damage shows even where no file
    lies."""
    sink = _Sum()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            with (folder / name).open("rb") as file:
                tar.addfile(_entry(name, os.fstat(file.fileno()).st_size), file)
    return sink.sum.digest()


def _copied(source: object, target: Path) -> str:
    sum = hashlib.sha256()
    with open(target, "xb", opener=_mine) as file:
        while chunk := source.read(1 << 20):  # type: ignore[attr-defined]
            sum.update(chunk)
            file.write(chunk)
    return sum.hexdigest()


def _mine(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
