"""Folders of this process alone for what is secret, which go even where the process was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["private_folder"]

_NEW = 60
"""Seconds within which a folder may have been made and not locked yet."""


@contextmanager
def private_folder(kind: str) -> Iterator[Path]:
    """An empty folder that nobody else can read (0700), removed at the end.

    A process that is killed can't remove its own: those of this ``kind`` whose process is gone are removed first.
    """
    prefix = f"k8sha-{kind}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_abandoned(left)
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(held)


def _remove_abandoned(folder: Path) -> None:
    try:
        held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # gone meanwhile, somebody else's, or no folder
        return
    try:
        found = os.fstat(held)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or time.time() - found.st_mtime < _NEW:
            return
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return  # its process lives
    finally:
        os.close(held)
