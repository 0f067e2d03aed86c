"""Which lines of a known_hosts file are a host's. Pure but for reading the file.

paramiko reads such a file whole, in a time that grows with the square of its length, and anew for every connection.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import os
import threading
from pathlib import Path

__all__ = ["known_lines"]

_reading = threading.Lock()  # many hosts are connected to at once: one of them reads the file, the others wait for it


def known_lines(path: str, place: str) -> tuple[str, ...]:
    """A host's lines, in their order; its place is ``[address]:port`` where the port is not 22. None where there is no
    such file. Raises OSError where it can't be read.

    Marked lines (``@cert-authority``) are nobody's, and patterns are not understood: as with paramiko. A key that is
    ``@revoked``, for whichever host, is nobody's either.
    """
    with _reading:
        plain, hashed = _read(path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
    found = [*plain.get(place, ()), *((number, line) for name, number, line in hashed if _is(name, place))]
    return tuple(line for _, line in sorted(found))


@functools.lru_cache(maxsize=16)
def _read(path: str, stamp: int) -> tuple[dict[str, list[tuple[int, str]]], list[tuple[str, int, str]]]:
    """A file's numbered lines by each name in them, and those whose name is hashed."""
    plain: dict[str, list[tuple[int, str]]] = {}
    hashed: list[tuple[str, int, str]] = []
    lines = Path(path).read_text(errors="replace").splitlines() if stamp else []
    revoked = {tuple(line.split()[2:4]) for line in lines if line.split()[:1] == ["@revoked"]}
    for number, line in enumerate(map(str.strip, lines)):
        names = line.partition(" ")[0]
        if tuple(line.split()[1:3]) in revoked:
            continue
        if names.startswith("|1|"):
            hashed.append((names, number, line))
        elif names[:1] not in ("#", "@", ""):
            for name in names.split(","):
                plain.setdefault(name, []).append((number, line))
    return plain, hashed


def _is(hashed: str, place: str) -> bool:
    """Whether this is the host's name, hashed: |1|salt|HMAC-SHA1, both base64."""
    try:
        salt, wanted = (base64.b64decode(part, validate=True) for part in hashed.removeprefix("|1|").split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, place.encode(), hashlib.sha1).digest(), wanted)
