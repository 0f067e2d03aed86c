"""A port on our loopback that comes out at a host's own: how an API is reached that only its masters can reach."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from k8sha.errors import K8shaError
from k8sha.hosts.host import Host

__all__ = ["forward"]


def forward(host: Host, port: int) -> tuple[int, Callable[[], None]]:
    """A port on our loopback whose connections come out at ``port`` of a host's own address, and what closes it.

    Raises HostError where nothing answers there.
    """
    host.tunnel(host.address, port).close()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # the listener was closed: that is how this ends
            while True:
                near, _ = listener.accept()
                try:
                    far = host.tunnel(host.address, port)
                except K8shaError:
                    near.close()  # the client sees a closed connection and asks anew
                    continue
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def close() -> None:
        # To close it alone wakes nobody: the port would take one more connection, and its thread wait for that.
        with contextlib.suppress(OSError):  # where this wakes nobody, closing does, and it is an error
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    threading.Thread(target=serve, name=f"k8sha-forward-{host.name}", daemon=True).start()
    return int(listener.getsockname()[1]), close


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):  # either side may end the connection at any time
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError, EOFError):
            end.close()
