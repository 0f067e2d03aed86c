"""The seam to the outside world: a transport opens a link to a host, a link carries programs and files.

Tests put a function here; :class:`~k8sha.hosts.ssh.SSH` is the real one.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from k8sha.errors import Unreachable
from k8sha.hosts.program import Busy, End, Frame, Program, Saw, opening, parse, render

__all__ = ["Link", "Shell", "ShellLink", "Transport"]

_ANY_FRAME = re.compile(rb"[0-9a-f]{16} [a-z]+\b")


class Link(Protocol):
    """An open way to one host, as root."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used, as far as is known without asking the host."""

    def run(self, program: Program) -> Iterator[Frame]:
        """Send a program; yield its frames as they come, the last one being ``End``.

        Raises :class:`~k8sha.errors.Unreachable` where the link is lost before that.
        """

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        """Put a file on the host, mode 0600, whole or not at all; skipped where one of its size lies there already, and
        of this hash, if one is given: a host that lost its power keeps a file's size sooner than what is in it.

        Raises HostError where the host can't keep it (its disk is full), Unreachable where the link is lost.
        """

    def tunnel(self, address: str, port: int) -> socket.socket:
        """A connection to an address as the host sees it, that behaves like a socket.

        Raises HostError where the address does not answer, Unreachable where the link itself is lost.
        """

    def close(self) -> None:
        """End the link. What runs on the host at this moment runs to its end there, and nothing after it."""


class Transport(Protocol):
    """How a host is reached. A value: two hosts may share one."""

    def open(self, name: str, address: str) -> Link:
        """Open a link. Raises Unreachable or AccessDenied."""


class Shell(Protocol):
    """Two byte streams to a root shell on a host."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, timeout: float) -> bytes:
        """What has come, at least a byte; empty at the end. Raises TimeoutError after that many silent seconds."""

    def close(self) -> None:
        """End both streams."""


class ShellLink:
    """Carries programs over one shell that lives as long as the link: so the host's lock does too."""

    grace = 60.0
    """Seconds beyond a snippet's own limit after which a silent host counts as lost."""

    def __init__(self, host: str, shell: Shell, *, run: str = "/run/k8sha") -> None:
        self._host = host
        self._shell = shell
        self._rest = b""
        self._noise = b""
        self._opening = opening(run=run)

    @property
    def alive(self) -> bool:
        """See :attr:`Link.alive`."""
        return True

    def run(self, program: Program) -> Iterator[Frame]:
        """See :meth:`Link.run`."""
        limits = [probe.timeout for probe in program.probes]
        if len(limits) > 1:  # they share a process first, and run on their own where it does not reach its end
            limits.append(max(limits))
        limit = max([sum(limits), *(apply.timeout for apply in program.applies)]) + self.grace
        answered = not program.probes
        try:
            self._send(program)
            while True:
                line = self._line(limit)
                frame = parse(line, program.nonce)
                if frame is None:
                    if not _ANY_FRAME.match(line):  # frames carry the contents of files: they must not be quoted
                        self._noise = (self._noise + line)[-2000:]
                    continue
                answered = answered or isinstance(frame, Saw | Busy)
                if isinstance(frame, End) and not answered:
                    raise self._lost("the probes' answer was damaged")
                yield frame
                if isinstance(frame, End):
                    self._sent(program)
                    return
        except TimeoutError:
            raise Unreachable(self._host, f"no answer for {limit:.0f} s", "look at the host, then run again") from None
        except (OSError, EOFError) as error:
            raise self._lost(f"the link was lost ({error})" if str(error) else "the link was lost") from None

    def _send(self, program: Program) -> None:
        text, self._opening = self._opening + render(program), ""
        self._shell.write(text.encode())

    def _sent(self, program: Program) -> None:
        """Called once a program is over."""

    def _lost(self, cause: str) -> Unreachable:
        """An error that quotes what the host's shell said besides its frames: often the reason."""
        said = self._noise.decode(errors="replace").strip()
        return Unreachable(self._host, f"{cause}: {said}" if said else cause, "run again once the host is well")

    def _line(self, limit: float) -> bytes:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            data = self._shell.read(limit)
            if not data:
                raise EOFError
            parts.append(data)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line + b"\n"

    def close(self) -> None:
        """See :meth:`Link.close`."""
        self._shell.close()
