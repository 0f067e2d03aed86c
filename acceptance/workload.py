"""Steady traffic through a cluster's endpoint while it is broken: a client in a process of its own, read live."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from attrs import asdict, evolve, field, frozen

from k8sha import Check, NotYet, wait_for

from .history import QUIET, Gap, History, Request, WatchMark

__all__ = ["EtcdTarget", "Target", "Workload", "WorkloadError"]

CLIENT = Path(__file__).with_name("client.py")
MEMORY = "/dev/shm"


class WorkloadError(Exception):
    """The client could not do its work, so there is no measurement; the text says why."""


@frozen
class EtcdTarget:
    """Members of an etcd on its own hosts, by address, and who we are to them."""

    members: tuple[str, ...]
    ca: str = field(repr=False)
    certificate: str = field(repr=False)
    key: str = field(repr=False)
    port: int = 2379


@frozen
class Target:
    """Where the client's requests go and how many of them there are.

    A new TLS connection for a GET of ``probe`` every ``interval`` seconds, whether or not earlier ones have been
    answered; one that takes longer than ``limit`` seconds has failed. client-go's own limits are laxer (30 s to
    connect, 10 s for TLS). With a ``namespace`` (a real cluster) a ConfigMap is created there every ``write_interval``
    seconds, over new connections as well, and the watch is on those; without one (stand-ins) the watch is of a stream
    of ticks, and with ``etcd`` the writes are keys that are put there.
    """

    host: str
    port: int
    name: str
    """The name that the server's certificate must have."""
    ca: str = field(repr=False)
    certificate: str = field(default="", repr=False, kw_only=True)
    key: str = field(default="", repr=False, kw_only=True)
    namespace: str = field(default="", kw_only=True)
    prefix: str = field(default="write", kw_only=True)
    probe: str = field(default="/readyz", kw_only=True)
    interval: float = field(default=0.05, kw_only=True)
    limit: float = field(default=2.0, kw_only=True)
    write_interval: float = field(default=0.1, kw_only=True)
    write_limit: float = field(default=5.0, kw_only=True)
    watch: bool = field(default=True, kw_only=True)
    etcd: EtcdTarget | None = field(default=None, kw_only=True)

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return bool(self.namespace) or self.etcd is not None


class Workload:
    """The client at work, from ``with`` to its end. ``now()`` is on the clock that its history is in."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._folder: TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._history = History()
        self._names: dict[str, Request] = {}

    def __enter__(self) -> Workload:
        # In memory where there is such a place: a busy disk must not hold the client up.
        self._folder = TemporaryDirectory(prefix="k8sha-client-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        order = {**_as_order(self.target), "book": str(self._book)}
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(CLIENT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        _prefer(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._folder is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._take_in()
        self._folder.cleanup()
        self._process = self._folder = None

    @property
    def _book(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, "book")

    @property
    def _complaints(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, "complaints")

    @staticmethod
    def now() -> float:
        """The clock of every history."""
        return time.monotonic()

    def history(self) -> History:
        """Everything up to this moment, or to the end. Raises WorkloadError if the client has died."""
        if self._process is not None and self._process.poll() is not None:
            raise WorkloadError(f"the client has ended: {self._complaints.read_text()[-2000:].strip()}")
        self._take_in()
        return self._history

    def acknowledged(self, *, before: float) -> frozenset[str]:
        """The names of all objects whose creation had been acknowledged by that moment."""
        self.history()
        return frozenset(name for name, write in self._names.items() if write.ok and write.end < before)

    def answers_until(self, moment: float) -> None:
        """Wait until every request that was started before that moment has ended, one way or the other."""
        limit = self.target.write_limit if self.target.writes else self.target.limit

        def look() -> str:
            if self.now() < moment + limit + 0.5:
                raise NotYet("requests may be under way")
            return ""

        wait_for(Check("all answers are in", look), timeout=limit + 2, interval=0.1)

    def settle(
        self,
        since: float,
        *,
        least: float = 0.0,
        limit: float = 60.0,
        quiet: float = QUIET,
        tell: Callable[[str, str, float], None] | None = None,
    ) -> None:
        """Wait until at least ``least`` seconds have passed after ``since`` and the service is at rest.

        At rest: no request that started within the last ``quiet`` seconds, or may have been under way then, has failed;
        answers keep coming, writes are acknowledged, the watch is told news. Raises NotReady after ``limit`` seconds.
        """
        end = since + limit

        def look() -> str:
            now = self.now()
            if now < since + least:
                raise NotYet(f"{since + least - now:.0f} s to go")
            if trouble := self._trouble(max(since, now - quiet - self.target.limit), now, quiet):
                raise NotYet(trouble)
            return "at rest"

        wait_for(Check("the service is at rest", look), timeout=max(0.1, end - self.now()), interval=0.2, tell=tell)

    def _trouble(self, since: float, now: float, quiet: float) -> str:
        history = self.history()
        recent = [request for request in history.probes if request.start >= since]
        if failed := [request for request in recent if not request.ok]:
            return f"a request failed {now - failed[-1].start:.1f} s ago: {failed[-1].error}"
        enough = quiet / self.target.interval * 0.5
        if len([request for request in recent if request.start >= now - quiet]) < enough:
            return "answers are missing"
        if self.target.writes and not any(write.ok and write.end > now - 1 for write in history.writes):
            return "writes are not acknowledged"
        if self.target.watch and not any(mark.at > now - 1 and mark.kind == "event" for mark in history.watch):
            return "the watch is told nothing"
        return ""

    def _take_in(self) -> None:
        if self._folder is None or not self._book.exists():
            return
        with self._book.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        probes, writes, watch, blind = [], [], [], []
        for line in whole.splitlines():
            match json.loads(line):
                case ["probe", planned, start, end, error, backend, _]:
                    probes.append(Request(planned, start, end, error, backend))
                case ["write", planned, start, end, error, backend, name]:
                    writes.append(Request(planned, start, end, error, backend))
                    self._names[name] = writes[-1]
                case ["watch", at, kind, detail]:
                    watch.append(WatchMark(at, kind, detail))
                case ["blind", begin, end]:
                    blind.append(Gap(begin, end))
        old = self._history
        self._history = evolve(
            old,
            probes=old.probes + tuple(probes),
            writes=old.writes + tuple(writes),
            watch=old.watch + tuple(watch),
            blind=old.blind + tuple(blind),
        )


def _prefer(process: int) -> None:
    """Let a process run before others where we may say so: what is measured is the cluster, not this machine."""
    try:
        os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        with contextlib.suppress(PermissionError):  # then it is a process like any other, and notes when it can't run
            os.setpriority(os.PRIO_PROCESS, process, -10)


def _as_order(target: Target) -> dict[str, object]:
    return asdict(target)
