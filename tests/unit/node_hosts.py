"""Hosts whose facts are given: what the facts' probe prints is a text, and nothing else can be asked of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from k8sha.hosts import Host
from k8sha.hosts.program import End, Frame, Program, Saw

_FACTS = {
    "os": "debian",
    "os_version": "13",
    "os_like": "",
    "os_name": "Debian GNU/Linux 13 (trixie)",
    "arch": "x86_64",
    "kernel": "6.12.48+deb13-amd64",
    "cpus": "0-3",
    "memory_kib": "8388608",
    "init": "systemd",
    "cgroup": "cgroup2fs",
}


@frozen
class _FactsLink:
    text: str
    alive: bool = True

    def run(self, program: Program) -> Iterator[Frame]:
        """Answer the one probe that a test of facts sends."""
        (probe,) = program.probes
        assert "/etc/os-release" in probe.text
        yield Saw(((0, self.text.encode(), b""),))
        yield End()

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        raise NotImplementedError

    def tunnel(self, address: str, port: int) -> socket.socket:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@frozen
class _Facts:
    text: str

    def open(self, name: str, address: str) -> _FactsLink:
        return _FactsLink(self.text)


def node(
    name: str, last: int, *, clock: float | None = None, mac: str | None = None, own: str | None = None, **facts: str
) -> Host:
    """A host on 192.168.56.0/24 that is fit for any role, but for the ``facts`` that a test gives.

    ``own`` is the address that it has, where that is not the one that we were told.
    """
    address = f"192.168.56.{last}"
    identity = {"hostname": name, "machine_id": f"{last:032x}", "product_uuid": f"uuid-{last}"}
    lines = [f"{fact} {value}" for fact, value in {**_FACTS, **identity, **facts}.items()]
    lines += [f"mac eth1 {mac or f'52:54:00:00:00:{last:02x}'}", "address lo 127.0.0.1/8"]
    lines += [f"address eth1 {own or address}/24"]
    if clock is not None:
        lines.append(f"clock {clock:.3f}")
    return Host(name, address, ssh=_Facts("\n".join(lines)))
