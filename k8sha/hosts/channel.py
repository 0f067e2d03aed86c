"""A root shell on one SSH channel: becoming root, and noticing a host that has fallen silent."""

from __future__ import annotations

import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from k8sha.errors import AccessDenied

__all__ = ["ANSWER", "Channel", "LateChannel", "as_root", "within"]

SILENCE = 15.0
"""Seconds without a word after which a host is asked whether it is there; as OpenSSH's ServerAliveInterval is used."""

ANSWER = 30.0
"""Seconds that a host then has to answer, after which the link counts as lost; also for what is answered at once."""

_READY = b"k8sha-ready\n"


@contextmanager
def within(transport: Any, seconds: float) -> Iterator[None]:
    """Cut the link where this takes longer: paramiko waits for some answers without any limit of its own."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def as_root(script: str, user: str, sudo_password: str | None) -> tuple[str, bytes]:
    """The command that runs a script as root once it has said that it is ready, and the prompt of sudo in it."""
    command = f"/bin/sh -c {shlex.quote(f'echo {_READY.decode().strip()}; {script}')}"
    if user == "root":
        return command, b""
    if sudo_password is None:
        return f"sudo -n {command}", b""
    prompt = f"k8sha-{secrets.token_hex(8)}:"
    return f"sudo -S -p {prompt} {command}", prompt.encode()


class Channel:
    """A shell (see :class:`~k8sha.hosts.link.Shell`) on a paramiko channel that runs what :func:`as_root` made.

    Raises AccessDenied where the user can't become root, and OSError or EOFError where the link is lost.
    """

    def __init__(self, name: str, transport: Any, channel: Any, prompt: bytes, password: str | None) -> None:
        self._name, self._transport, self._channel = name, transport, channel
        self._head = b""
        asked = 0
        while _READY not in self._head:
            channel.settimeout(ANSWER)
            data = channel.recv(4096)
            self._head += data
            if prompt and self._head.count(prompt) > asked:
                asked += 1
                if asked > 1:
                    channel.close()
                    raise AccessDenied(name, "sudo refused the password", "check SSH(sudo_password=...)")
                channel.sendall((password or "").encode() + b"\n")
            if not data:
                self._refused(prompt)
        self._head = self._head.partition(_READY)[2]

    def _refused(self, prompt: bytes) -> None:
        if not self._transport.is_active():
            raise EOFError("the host hung up")
        said = (self._head.replace(prompt, b"") if prompt else self._head).decode(errors="replace").strip()
        raise AccessDenied(
            self._name,
            f"the user can't become root: {said or 'no message'}",
            "allow it in sudoers, or give SSH(sudo_password=...)",
        )

    def write(self, data: bytes) -> None:
        self._channel.settimeout(SILENCE + ANSWER)
        self._channel.sendall(data)

    def read(self, timeout: float) -> bytes:
        if self._head:
            data, self._head = self._head, b""
            return data
        end = time.monotonic() + timeout
        while True:
            self._channel.settimeout(max(0.0, min(SILENCE, end - time.monotonic())))
            try:
                return bytes(self._channel.recv(1 << 16))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise
            with within(self._transport, ANSWER):  # any answer will do; "no such request" is the usual one
                self._transport.global_request("keepalive@openssh.com")
            if not self._transport.is_active():
                raise OSError(f"no sign of life for {SILENCE + ANSWER:.0f} s")

    def finish(self) -> tuple[int, str]:
        """End its input, and wait for its exit code and what it still had to say."""
        self._channel.shutdown_write()
        said = b""
        while data := self.read(600):
            said = (said + data)[-2000:]
        if not self._channel.status_event.wait(ANSWER):
            raise TimeoutError("no exit code came")
        return int(self._channel.exit_status), said.decode(errors="replace").strip()

    def close(self) -> None:
        self._channel.close()


class LateChannel:
    """A shell that is opened when it is first spoken to: a host that is only jumped through needs none."""

    def __init__(self, open: Callable[[str], Channel]) -> None:
        self._open = open
        self._channel: Channel | None = None

    @property
    def opened(self) -> bool:
        return self._channel is not None

    def open(self, script: str) -> None:
        """Open it now, by this script for /bin/sh, which ends by becoming the shell."""
        self._channel = self._open(script)

    def write(self, data: bytes) -> None:
        if self._channel is None:
            self._channel = self._open("exec /bin/sh -s")
        self._channel.write(data)

    def read(self, timeout: float) -> bytes:
        if self._channel is None:
            raise EOFError("nothing was asked yet")
        return self._channel.read(timeout)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
