"""Host: a machine with a name and an address, and the one live thing here: its link, made on first use."""

from __future__ import annotations

import ipaddress
import os
import platform
import pwd
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from attrs import Attribute, define, evolve, field, frozen

from k8sha.distros import DISTROS, Distro
from k8sha.errors import ConfigError, HostBusy, PreflightError, ProbeError, Problem, Unreachable
from k8sha.facts import FACTS, Facts
from k8sha.hosts.link import Link, Transport
from k8sha.hosts.program import Busy, Frame, Program, Saw, Snippet
from k8sha.hosts.ssh import SSH
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Host", "as_hosts", "holder"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def _valid_name(host: Host, attribute: Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(value) or len(value) > 253:
        raise ConfigError.of(
            f"host name {value!r}", "is not a DNS name", "use lower-case letters, digits, hyphens and dots (RFC 1123)"
        )


def _valid_address(host: Host, attribute: Attribute[str], value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ConfigError.of(f"host {host.name}", f"{value!r} is not an IP address", "give the node's own IP") from None


def _pairs(given: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(dict(given).items()))


@define(eq=False)
class _Live:
    """What is open at present; mutable because a link is."""

    link: Link | None = None
    facts: Facts | None = None
    holder: str | None = None  # who we said we are when we took the lock
    locked: bool = False  # whether the present link has the lock: one that was opened anew has not
    halted: threading.Event = field(factory=threading.Event)
    trips: int = 0
    guard: threading.Lock = field(factory=threading.Lock)
    turn: threading.Lock = field(factory=threading.Lock)  # one program at a time: they share a shell


@frozen
class Host:
    """A machine: its name (which becomes its node name), the address that its peers use, and how to log in.

    ``reach`` is the address to log in to, where it is another one. ``labels`` and ``taints`` (``key=value:NoSchedule``)
    are its node's, which :class:`k8sha.policies.Nodes` keeps. The link is opened on first use and closed by
    ``close()`` or ``with``. ``trips`` counts the programs that were sent, which is what a slow network makes one pay.
    """

    name: str = field(validator=_valid_name)
    address: str = field(validator=_valid_address)
    ssh: Transport = field(factory=SSH, kw_only=True)
    reach: str | None = field(default=None, kw_only=True)
    labels: tuple[tuple[str, str], ...] = field(default=(), kw_only=True, converter=_pairs)
    taints: tuple[str, ...] = field(default=(), kw_only=True, converter=tuple)
    _live: _Live = field(init=False, factory=_Live, eq=False, repr=False)

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def trips(self) -> int:
        """Programs sent to the host so far."""
        return self._live.trips

    @property
    def connected(self) -> bool:
        """Whether a link is open."""
        return self._live.link is not None

    @property
    def way(self) -> tuple[Host, ...]:
        """The hosts that the link goes through, nearest to this one first. Their links stay open until closed."""
        jump = self.ssh.jump if isinstance(self.ssh, SSH) else None
        return () if jump is None else (jump, *jump.way)

    def connect(self) -> Link:
        """The host's link, opened if there is none. Raises Unreachable or AccessDenied."""
        with self._live.guard:
            if self._live.link is not None and not self._live.link.alive:
                self._drop(self._live.link)
            if self._live.link is None and not self._live.halted.is_set():
                self._live.link = self.ssh.open(self.name, self.reach or self.address)
            if self._live.link is None or self._live.halted.is_set():
                raise Unreachable(self.name, "the work on it was interrupted", "run again")
            return self._live.link

    def halt(self) -> None:
        """Cut the link and let no other be opened until ``close()``: whatever is at work on the host fails soon."""
        self._live.halted.set()
        if self._live.link is not None:
            self._live.link.close()

    def pause(self, seconds: float) -> None:
        """Let time pass, less of it where the host is halted."""
        self._live.halted.wait(seconds)

    def close(self) -> None:
        """Close the link, and with it give up the host's lock. The next use opens a new one."""
        if self._live.link is not None:
            self._drop(self._live.link)
        self._live.holder = None
        self._live.halted.clear()

    def _drop(self, link: Link) -> None:
        if self._live.link is link:
            self._live.link, self._live.facts, self._live.locked = None, None, False
        link.close()

    def run(self, program: Program, tell: Callable[[Frame], None]) -> None:
        """Carry a program to the host; ``tell`` hears each frame. One trip.

        Raises Unreachable (and forgets the link, so that the next call opens a new one) or HostBusy: a new link takes
        the lock again where the old one had it.
        """
        busy: Busy | None = None
        with self._live.turn:
            link = self.connect()
            if program.lock is None and not self._live.locked:
                program = evolve(program, lock=self._live.holder)
            self._live.trips += 1
            try:
                for frame in link.run(program):
                    if isinstance(frame, Busy):
                        busy = frame
                    else:
                        tell(frame)
            except Unreachable:
                self._drop(link)
                raise
            if busy is not None:
                raise HostBusy(self.name, busy.holder, orphaned=busy.orphaned, process=busy.process)
            self._live.locked = self._live.locked or program.lock is not None

    def read(self, *texts: str, timeout: int = 60) -> tuple[tuple[int, bytes, bytes], ...]:
        """Run shell texts that only read, in one trip; returns exit code, output and error of each."""
        seen: list[Saw] = []
        program = Program(probes=tuple(Snippet(text, timeout) for text in texts))
        self.run(program, lambda frame: seen.append(frame) if isinstance(frame, Saw) else None)
        return seen[0].replies

    def execute(self, text: str, *, timeout: int = 60) -> tuple[int, bytes, bytes]:
        """Run a shell text that may change something, outside of any stage; returns exit code, output and error."""
        return self.read(text, timeout=timeout)[0]

    def lock(
        self,
        who: str,
        *,
        patience: float = 600,
        interval: float = 1.0,
        tell: Callable[[str, str, float], None] | None = None,
    ) -> None:
        """Take the host's lock until ``close()``, and read its facts in the same trip.

        Raises HostBusy after a second where a living run holds it. A run that has died leaves at most one snippet
        running: that one is waited for, at most ``patience`` seconds.
        """
        if self._live.holder not in (None, who):
            raise HostBusy(self.name, str(self._live.holder))

        def look() -> str:
            try:
                self._read_facts(who)
            except HostBusy as error:
                if error.orphaned:
                    raise NotYet(str(error)) from None
                raise
            return who

        check = Check(f"{self.name} is free", look)
        wait_for(check, timeout=patience, interval=interval, tell=tell, pause=self.pause)
        self._live.holder = who

    @property
    def facts(self) -> Facts:
        """What the host is; read once a link, in one trip."""
        facts = self._live.facts
        return self._read_facts(None) if facts is None else facts

    @property
    def distro(self) -> Distro:
        """The family that the host's system belongs to. Raises PreflightError where none fits."""
        for distro in DISTROS:
            if distro.fits(self.facts):
                return distro
        system = self.facts.os_name or self.facts.os or "an unknown system"
        raise PreflightError([Problem(self.name, f"runs {system}, which is not supported", "see docs/support.md")])

    def _read_facts(self, who: str | None) -> Facts:
        seen: list[Saw] = []
        program = Program(probes=(Snippet(FACTS),), lock=who, public=True)
        self.connect()  # before, because it takes longer than the trip
        sent = time.time()
        self.run(program, lambda frame: seen.append(frame) if isinstance(frame, Saw) else None)
        exit, out, err = seen[0].replies[0]
        if exit != 0:
            raise ProbeError(self.name, "facts", err.decode(errors="replace"))
        facts = self._live.facts = Facts.parse(out.decode(errors="replace"), sent=sent)
        return facts

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        """Put a local file on the host, root's, mode 0600; see :meth:`Link.upload`. Raises HostError where the host
        can't keep it."""
        link = self.connect()
        try:
            link.upload(source, destination, tell, sha256)
        except Unreachable:
            self._drop(link)
            raise

    def tunnel(self, address: str, port: int) -> socket.socket:
        """A connection to an address as this host sees it. Raises HostError where that address does not answer."""
        link = self.connect()
        try:
            return link.tunnel(address, port)
        except Unreachable:
            self._drop(link)
            raise


def as_hosts(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Hosts as a tuple, whatever they were given as."""
    return tuple(hosts)


def holder(what: str = "installs") -> str:
    """How we name ourselves in a host's lock: who, where, which process, since when, and what for."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run us under a number that has no name
        user = str(uid)
    return f"{user}@{platform.node()} pid {os.getpid()}, {what} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
