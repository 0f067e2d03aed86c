"""Killing the installer, or a day-2 verb, over and over, until it is done all the same.

Each run is killed (SIGKILL: it has no time to tidy up). An install is, after so many changes have begun, or once a
command has begun that is not atomic (``kubeadm init``, every ``kubeadm join``), with a little delay, so that the blow
falls in the middle of it. Other work is killed at every step once. The next run starts at once. What a killed run was
doing on a host goes on there to its end; the next one waits for that.
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
from typing import TypeAlias

from attrs import field, frozen

from .report import span

__all__ = ["Chain", "Kill", "install_with_kills", "work_with_kills"]

_Now: TypeAlias = Callable[[str, list[str], int], float | None]
"""Whether this line of a run, what it tells, and the changes that have begun in it, is where to kill it: the seconds
until the blow, None where it is not."""

_BRIEF = 0.3
"""Seconds at most between a change that is no command and its blow: more of them would begin meanwhile, and the install
would be done before it was killed often enough."""


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

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """How it went, for the record."""
        return ("kills", str(len(self.kills))), ("wall time", span(self.seconds))

    def amiss(self, least: int) -> str:
        """Why it did not end well after at least so many kills, empty where it did."""
        if self.errors or not self.ended.startswith("done"):
            return "\n".join(self.errors) or self.ended
        if len(self.kills) < least:
            return f"it was done after {len(self.kills)} of {least} kills: nothing is left to kill it at"
        return ""


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
    of the chain. ``limit`` is the time in seconds that one run may take, ``delay`` the longest between a command's
    beginning and its kill. Where few changes are left for the kills that are, next to no time passes between.
    """
    rng = random.Random(seed)
    hit: set[str] = set()
    done: list[Kill] = []

    def now(what: str, rest: list[str], began: int) -> float | None:
        if what != "began":
            return None
        # What is left of both, for more changes begin between a point and its blow.
        share = (changes - sum(kill.changes for kill in done)) // (kills - len(done) + 1)
        if rest[1].startswith("command ") and (point := " ".join(rest)) not in hit:
            hit.add(point)
            return rng.uniform(0.0, delay if share > 1 else _BRIEF)
        if began < max(1, share):
            return None
        return rng.uniform(0.0, _BRIEF) if share > 1 else 0.0

    return _chain(cluster, now, kills=kills, tell=tell, limit=limit, done=done)


def work_with_kills(
    module: Path, *, at: str, tell: Callable[[str], None], kills: int = 200, limit: float = 1200
) -> Chain:
    """Do what a module's ``work`` does, killing it at every step once: at the first event of each host and resource.

    ``at`` says at which: ``began``, in the middle of a change, or ``changed``, between two. A step that a later run
    finds done is not done again, so the chain ends by itself; ``kills`` is where it ends at the latest.
    """
    hit: set[str] = set()

    def now(what: str, rest: list[str], began: int) -> float | None:
        if what != at or (point := " ".join(rest)) in hit:
            return None
        hit.add(point)
        return 0.0

    return _chain(module, now, kills=kills, tell=tell, limit=limit, done=[])


def _chain(
    module: Path,
    now: _Now,
    *,
    kills: int,
    tell: Callable[[str], None],
    limit: float,
    done: list[Kill],
) -> Chain:
    """Runs of one module, each killed when ``now`` says so; none is after so many kills, which are put down in
    ``done``."""
    began = time.monotonic()
    while True:
        run = _Run(module, now if len(done) < kills else None, limit)
        ended = run.carry_out()
        if ended is None:
            done.append(Kill(len(done) + 1, time.monotonic() - began, run.changes, run.last))
            tell(f"kill {len(done)} at {run.last} after {run.changes} more changes")
            continue
        errors = (run.errors[-3000:],) if run.code != 0 else ()
        return Chain(tuple(done), time.monotonic() - began, ended, errors)


class _Run:
    """One run of a module's work, killed when ``now`` says so; never without it."""

    def __init__(self, module: Path, now: _Now | None, limit: float) -> None:
        self._command = [sys.executable, "-m", "acceptance.installer", str(module)]
        self._now, self._limit = now, limit
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
        blow: float | None = None
        try:
            for line in process.stdout:
                what, *rest = json.loads(line)
                if blow != 0.0:  # what comes out between a blow and the end is not where it fell
                    self.last = " ".join([what, *rest])
                self.changes += what == "began"
                if self._now is not None and blow is None:
                    blow = self._now(what, rest, self.changes)
                    if blow is not None:
                        timers.append(threading.Timer(blow, process.kill))
                        timers[-1].start()
        finally:
            self.code = process.wait()
            for timer in timers:
                timer.cancel()
            reader.join()
            process.stdout.close()
            process.stderr.close()
        self.errors = "".join(errors)
        return None if blow is not None and self.code < 0 else self.last
