"""The index of a bundle: every file with its hash and size, and the images in each archive."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from attrs import frozen

from k8sha.errors import ConfigError
from k8sha.versions import Version

__all__ = ["ImageName", "Index", "elf_machine", "file_hash"]

_T = TypeVar("_T")


@frozen
class Entry:
    """A file's hash and its size in bytes."""

    sha256: str
    size: int


@frozen
class Index:
    """What ``index.json`` says. ``images`` has the names of the images in each archive; ``tags`` the versions of etcd,
    CoreDNS and pause where it says them."""

    kubernetes: Version
    architecture: str
    files: Mapping[str, Entry]
    images: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str]

    @classmethod
    def read(cls, file: Path) -> Index:
        """The index in a file, read again only once the file has changed. Raises OSError, ValueError."""
        stat = file.stat()
        return _read(file, stat.st_mtime_ns, stat.st_ino)

    @classmethod
    def parse(cls, text: str) -> Index:
        """Raises ValueError that says what is wrong."""
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.get("format") != 1:
            raise ValueError("its format is not 1, the one that is known")
        files = {name: Entry(_typed(entry, "sha256", str), _typed(entry, "size", int)) for name, entry in _items(raw)}
        for name, entry in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
                raise ValueError(f"the entry of {name!r} is not a file of the bundle with its sha256")
        images = {name: tuple(names) for name, names in _typed(raw, "images", dict).items()}
        try:
            version = Version.parse(_typed(raw, "kubernetes", str))
        except ConfigError as error:
            raise ValueError(str(error)) from None
        tags = {name: _typed(raw, name, str) for name in ("etcd", "coredns", "pause") if name in raw}
        return cls(version, _typed(raw, "architecture", str), files, images, tags)


def _items(raw: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name, entry in _typed(raw, "files", dict).items():
        if not isinstance(entry, dict):
            raise ValueError(f"the entry of {name!r} is not an object")
        yield name, entry


def _typed(raw: Mapping[str, object], name: str, kind: type[_T]) -> _T:
    value = raw.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"{name!r} is missing or not a {kind.__name__}")
    return value


@frozen
class ImageName:
    """``registry.k8s.io/kube-proxy:v1.33.13`` in its parts: the registry with its folders, the image, the tag.

    CoreDNS lies in a folder of its own in Kubernetes' registry; that folder counts as part of the image's name.
    """

    registry: str
    image: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """The parts of a full reference with a tag."""
        path, _, tag = text.rpartition(":")
        if path.endswith("/coredns/coredns"):
            return cls(path.removesuffix("/coredns/coredns"), "coredns", tag)
        registry, _, image = path.rpartition("/")
        return cls(registry, image, tag)


@functools.lru_cache(maxsize=16)
def _read(file: Path, changed: int, inode: int) -> Index:
    return Index.parse(file.read_text())


def file_hash(file: Path) -> str:
    """The sha256 of a file; hashed once by this process, and again only where size, time or inode have changed."""
    stat = file.stat()
    return _hash_once(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=1024)
def _hash_once(file: Path, size: int, changed: int, inode: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def elf_machine(file: Path) -> int | None:
    """The ``e_machine`` of a little-endian ELF program, None for anything else."""
    with file.open("rb") as opened:
        head = opened.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" and len(head) == 20 else None
