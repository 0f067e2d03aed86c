"""A port on our loopback that comes out at a host's: until it is closed, and not longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from attrs import define, field, frozen

from k8sha import Cluster, ControlPlane, Endpoint, Host, Upstream
from k8sha.hosts.forward import forward

from .fake import Fake, FakeLink, Machine


@define(eq=False)
class Tunnels(FakeLink):
    """Whatever is said to its other end comes back."""

    ends: list[socket.socket] = field(factory=list)

    def tunnel(self, address: str, port: int) -> socket.socket:
        near, far = socket.socketpair()
        self.ends.append(far)

        def echo() -> None:
            with far:
                while data := far.recv(4096):
                    far.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        return near


@frozen(eq=False)
class Tunnelling(Fake):
    def open(self, name: str, address: str) -> FakeLink:
        return Tunnels(name, self)


@pytest.fixture
def opened() -> Iterator[tuple[int, Callable[[], None]]]:
    host = Host("master-1", "192.168.56.10", ssh=Tunnelling(lambda program: ()))
    port, close = forward(host, 6443)
    yield port, close
    close()


def serving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "k8sha-forward-master-1"]


def test_one_that_is_closed_leaves_neither_thread_nor_port(opened: tuple[int, Callable[[], None]]) -> None:
    """Each left both, until the next connection: one that was made to a forward of long ago was carried on."""
    port, close = opened
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(4096) == b"hello"
    (thread,) = serving()
    close()
    thread.join(1)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_cluster_that_is_closed_closes_its_api() -> None:
    """What it had opened stayed: nobody else closes it."""
    plane = ControlPlane(
        hosts=[Machine("master-1").host], endpoint=Endpoint("192.168.56.100"), version="1.33.13", source=Upstream()
    )
    closed: list[str] = []
    with Cluster(plane) as cluster:
        plane.api._closers.append(lambda: closed.append("forward"))
    assert closed == ["forward"]
    cluster.close()
    assert closed == ["forward"]
