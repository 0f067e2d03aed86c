"""Two balancers and three masters whose shells are functions: what a text prints is looked up, nothing is run."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field, frozen

from k8sha.errors import Unreachable
from k8sha.hosts import Host
from k8sha.hosts.program import Began, Did, End, Frame, Program, Saw
from k8sha.loadbalancers import LoadBalancer

VIP = "192.168.56.100"

Answer = Callable[[str, str], bytes | None]
"""Called with a host's name and a shell text; None where it has nothing to say. May raise Unreachable."""


def facts(name: str, *addresses: str) -> bytes:
    """What the facts' probe prints on a Debian 13 host with these addresses on eth1."""
    lines = ["os debian", "os_version 13", "os_name Debian GNU/Linux 13 (trixie)", f"hostname {name}", "init systemd"]
    lines += ["mac eth0 02:42:ac:11:00:02", "address eth0 172.17.0.2/16"]
    lines += [f"mac eth1 02:42:c0:a8:38:{addresses[0].rsplit('.', 1)[1]:0>2}"] if addresses else []
    return "\n".join([*lines, *(f"address eth1 {address}/24" for address in addresses)]).encode()


@define(eq=False)
class FakeLink:
    """Answers programs; ``applied`` are the texts of changes that reached the host."""

    name: str
    shells: FakeShells
    alive: bool = True

    def run(self, program: Program) -> Iterator[Frame]:
        for index, snippet in enumerate(program.applies):
            self.shells.applied.append((self.name, snippet.text))
            yield Began(index)
            self.shells.say(self.name, snippet.text)
            yield Did(index, 0, b"", b"", 0.0)
        yield Saw(tuple((0, self.shells.say(self.name, probe.text), b"") for probe in program.probes))
        yield End()

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        raise NotImplementedError

    def tunnel(self, address: str, port: int) -> socket.socket:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@frozen(eq=False)
class FakeShells:
    """A transport: every host of a test behind one function."""

    answer: Answer
    addresses: dict[str, tuple[str, ...]] = field(factory=dict)
    applied: list[tuple[str, str]] = field(factory=list)

    def open(self, name: str, address: str) -> FakeLink:
        return FakeLink(name, self)

    def say(self, name: str, text: str) -> bytes:
        """What a text prints on a host."""
        said = self.answer(name, text)
        if said is not None:
            return said
        return facts(name, *self.addresses[name]) if "/etc/os-release" in text else b""


@frozen
class Site:
    """The hosts of a test, and the load balancer that it is about."""

    shells: FakeShells
    lb: LoadBalancer

    @property
    def masters(self) -> tuple[Host, ...]:
        return self.lb.backends


def site(answer: Answer = lambda name, text: None, **settings: object) -> Site:
    """Balancers lb-1 and lb-2, and masters, on 192.168.56.0/24."""
    numbers = {"lb-1": 101, "lb-2": 102, "master-1": 10, "master-2": 11, "master-3": 12}
    shells = FakeShells(answer, {name: (f"192.168.56.{number}",) for name, number in numbers.items()})
    hosts = {name: Host(name, f"192.168.56.{number}", ssh=shells) for name, number in numbers.items()}
    masters = [hosts[name] for name in ("master-1", "master-2", "master-3")]
    return Site(shells, LoadBalancer([hosts["lb-1"], hosts["lb-2"]], VIP, masters, **settings))  # type: ignore[arg-type]


def gone(name: str) -> Unreachable:
    """A host that is down."""
    return Unreachable(name, "no connection", "check that the host is up")
