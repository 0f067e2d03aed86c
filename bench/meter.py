"""Runs one command and says what it cost: ``python -m bench.meter LOG COMMAND...`` prints JSON.

Processes that the command leaves behind (the ssh masters that Ansible keeps) are ended afterwards, and what they used
is counted too: nothing hides in the background. The meter is a process of its own, so that it counts nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _children() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):  # it ended in this moment
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                yield int(entry.name)


def _reap() -> None:
    """End every child that is left, asking first, and wait for all."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 10
        for child in _children():
            os.kill(child, sign)
        while time.monotonic() < end:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not ended:
                time.sleep(0.01)  # between two looks


def main(log: str, *command: str) -> None:
    _adopt_orphans()
    with open(log, "wb") as output:
        began = time.monotonic()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        wall = time.monotonic() - began
    _reap()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    json.dump({"exit": done.returncode, "wall": wall, "cpu": cpu, "memory_kib": used.ru_maxrss}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
