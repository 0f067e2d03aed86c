"""Killing the installer, over and over, until it is done all the same.

Each run is killed (SIGKILL: it has no time to tidy up) after so many changes have begun, or once a command has begun
that is not atomic (``kubeadm init``, every ``kubeadm join``), with a little delay, so that the blow falls in the middle
of it. The next run starts at once. What a killed run was doing on a host goes on there to its end; the next one waits
for that.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attrs import field, frozen

__all__ = ["Chain", "Kill", "install_with_kills"]


@frozen
class Kill:
    """A run that was killed: when, after how many changes, and what had begun last."""

    run: int
    seconds: float
    changes: int
    last: str


@frozen
class Chain:
    """Runs that were killed, and the last one, that wasn't."""

    kills: tuple[Kill, ...]
    seconds: float
    ended: str
    errors: tuple[str, ...] = field(default=())


def install_with_kills(
    cluster: Path,
    *,
    changes: int,
    kills: int,
    seed: int,
    tell: Callable[[str], None],
    limit: float = 1200,
    delay: float = 3.0,
) -> Chain:
    """Install a cluster module's cluster, killing the installer ``kills`` times, spread over ``changes`` changes.

    Every command is one of these points, once. Stops when a run ends by itself. A run that fails by itself is an error
    of the chain. ``limit`` is the time in seconds that one run may take, ``delay`` the longest between such a point and
    its kill.
    """
    rng = random.Random(seed)
    step = max(1, changes // (kills + 1))
    hit: set[str] = set()
    done: list[Kill] = []
    errors: list[str] = []
    began = time.monotonic()
    while True:
        quota = step if len(done) < kills else None
        run = _Run(cluster, quota, rng.uniform(0.0, delay), limit, hit)
        ended = run.carry_out()
        if ended is None:
            done.append(Kill(len(done) + 1, time.monotonic() - began, run.changes, run.last))
            tell(f"kill {len(done)} at {run.last} after {run.changes} more changes")
            continue
        if run.code != 0:
            errors.append(run.errors[-3000:])
        return Chain(tuple(done), time.monotonic() - began, ended, tuple(errors))


class _Run:
    """One run of the installer, killed after ``quota`` changes have begun and ``delay`` more seconds."""

    def __init__(self, cluster: Path, quota: int | None, delay: float, limit: float, hit: set[str]) -> None:
        self._command = [sys.executable, "-m", "acceptance.installer", str(cluster)]
        self._quota, self._delay, self._limit, self._hit = quota, delay, limit, hit
        self.changes = 0
        self.last = "nothing"
        self.errors = ""
        self.code = 0

    def carry_out(self) -> str | None:
        """Run; returns the last line told, None where it was killed."""
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=lambda stream=process.stderr: errors.extend(stream))
        reader.start()
        timers = [threading.Timer(self._limit, process.kill)]
        timers[0].start()
        killed = False
        try:
            for line in process.stdout:
                what, *rest = json.loads(line)
                self.last = " ".join([what, *rest])
                self.changes += what == "began"
                if self._quota is not None and self._now(what, rest) and not killed:
                    killed = True
                    timers.append(threading.Timer(self._delay, process.kill))
                    timers[-1].start()
        finally:
            self.code = process.wait()
            for timer in timers:
                timer.cancel()
            reader.join()
            process.stdout.close()
            process.stderr.close()
        self.errors = "".join(errors)
        return None if killed and self.code < 0 else self.last

    def _now(self, what: str, rest: list[str]) -> bool:
        if what != "began":
            return False
        if rest[1].startswith("command ") and (point := " ".join(rest)) not in self._hit:
            self._hit.add(point)
            return True
        return self._quota is not None and self.changes >= self._quota
