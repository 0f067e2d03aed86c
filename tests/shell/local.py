"""A host that is this machine's own ``sh`` in a temporary folder: the wire format against real shells."""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from k8sha.hosts.link import ShellLink


class LocalShell:
    def __init__(self, shell: str) -> None:
        self.process = subprocess.Popen(
            [shell, "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._in.write(view) or 0 :]

    def read(self, timeout: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise TimeoutError
        return os.read(self._out.fileno(), 1 << 16)

    def close(self) -> None:
        self._in.close()
        self._out.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalLink(ShellLink):
    def __init__(self, name: str, shell: str, run: str) -> None:
        self.shell = LocalShell(shell)
        super().__init__(name, self.shell, run=run)

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None]) -> None:
        target = Path(destination)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        tell(source.stat().st_size, source.stat().st_size)

    def tunnel(self, address: str, port: int) -> socket.socket:
        return socket.create_connection((address, port))


@frozen
class Local:
    """A transport to this machine itself."""

    run: str
    shell: str = "/bin/dash"

    def open(self, name: str, address: str) -> LocalLink:
        return LocalLink(name, self.shell, self.run)
