"""A host that is this machine's own shell in a temporary folder: the wire format and the resources against real shells.

Nothing of the machine itself is touched: what a host keeps below /run and /var/lib is kept in the folder.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import field, frozen

from k8sha.hosts.link import ShellLink
from k8sha.resources.resource import STATE

SHELLS = {"dash": ("/usr/bin/dash",), "bash": ("/bin/bash", "--posix"), "busybox": ("/usr/bin/busybox", "sh")}
KINDS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(command[0]) is None, reason=f"needs {name}"))
    for name, command in SHELLS.items()
]
"""Each of them, to parametrize a test by."""


def hear_signals() -> None:
    """A test run in the background ignores these, and a shell that is born ignoring a signal can't trap it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class LocalShell:
    """A shell as a process of our own. ``replaced`` texts are replaced in all that it is told."""

    def __init__(self, command: tuple[str, ...], replaced: tuple[tuple[str, str], ...] = ()) -> None:
        self._replaced = [(old.encode(), new.encode()) for old, new in replaced]
        self.process = subprocess.Popen(
            [*command, "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            preexec_fn=hear_signals,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self._closed, self._close = os.pipe()  # wakes whoever reads in another thread

    def write(self, data: bytes) -> None:
        for old, new in self._replaced:
            data = data.replace(old, new)
        view = memoryview(data)
        while view:
            if self._in.closed:
                raise OSError("the shell was closed")
            view = view[self._in.write(view) or 0 :]

    def read(self, timeout: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._closed, selectors.EVENT_READ)
            selector.register(self._out, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(timeout)}
        if not ready:
            raise TimeoutError
        return b"" if self._closed in ready else os.read(self._out.fileno(), 1 << 16)

    def deafen(self) -> None:
        """Read nothing more: what the shell prints from now on hits a closed pipe."""
        self._out.close()

    def close(self) -> None:
        if self._in.closed:
            return
        os.write(self._close, b"x")
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __del__(self) -> None:
        os.close(self._closed)
        os.close(self._close)


class LocalLink(ShellLink):
    def __init__(self, name: str, local: Local) -> None:
        path = (("PATH=/usr/local/sbin", f"PATH={local.tools}:/usr/local/sbin"),) if local.tools else ()
        self.shell = LocalShell(local.shell, ((STATE, f"{local.folder}/state"), *path))
        self._local = local
        super().__init__(name, self.shell, run=f"{local.folder}/run")

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        target = Path(destination.replace(STATE, f"{self._local.folder}/state"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        tell(source.stat().st_size, source.stat().st_size)

    def tunnel(self, address: str, port: int) -> socket.socket:
        return socket.create_connection((address, port))


@frozen
class Local:
    """A transport to this machine itself. ``tools`` is a folder of programs that come before the machine's own."""

    folder: Path
    shell: tuple[str, ...] = SHELLS["dash"]
    tools: Path | None = field(default=None, kw_only=True)

    def open(self, name: str, address: str) -> LocalLink:
        return LocalLink(name, self)
