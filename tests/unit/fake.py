"""The one double: a function at the seam. A ``Machine`` answers programs as a host does, from a dictionary."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attrs import define, field, frozen

from k8sha.component import Component, Requirements, Stages
from k8sha.errors import Unreachable
from k8sha.facts import FACTS
from k8sha.hosts.host import Host
from k8sha.hosts.program import Began, Busy, Did, End, Frame, Program, Saw, Snippet
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Requirement, Resource
from k8sha.stage import Stage

Answer = Callable[[Program], Iterable[Frame]]


@frozen(eq=False)
class Fake:
    """A transport whose links answer each program by a function."""

    answer: Answer
    machine: Machine | None = None

    def open(self, name: str, address: str) -> FakeLink:
        if self.machine is not None:
            self.machine.opened += 1
            self.machine.link = FakeLink(name, self)
            return self.machine.link
        return FakeLink(name, self)


@define(eq=False)
class FakeLink:
    name: str
    transport: Fake
    closed: threading.Event = field(factory=threading.Event)

    @property
    def alive(self) -> bool:
        return not self.closed.is_set()

    def run(self, program: Program) -> Iterator[Frame]:
        for frame in self.transport.answer(program):
            if self.closed.is_set():
                raise Unreachable(self.name, "the link was lost")
            yield frame

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        tell(1, 2)
        tell(2, 2)
        if self.transport.machine is not None:
            self.transport.machine.files.append(destination)

    def tunnel(self, address: str, port: int) -> socket.socket:
        raise NotImplementedError

    def close(self) -> None:
        self.closed.set()


@define(eq=False)
class Machine:
    """A host with facts in place of files. ``probe NAME`` prints one, ``set NAME VALUE`` makes it so.

    What goes wrong is told beforehand: ``fails`` has exit code and stderr by name, ``stubborn`` names are set in vain,
    ``cut`` is a name at which the link is lost (``before``, ``begin`` or ``end`` say when; with no name, ``probes`` are
    any, ``probes again`` those after changes), ``disturbs`` says which other fact a change undoes.
    """

    name: str
    state: dict[str, str] = field(factory=dict)
    fails: dict[str, tuple[int, bytes]] = field(factory=dict)
    broken: dict[str, tuple[int, bytes]] = field(factory=dict)
    stubborn: set[str] = field(factory=set)
    disturbs: dict[str, str] = field(factory=dict)
    cut: tuple[str, str] | None = None
    busy: list[Busy] = field(factory=list)
    holds_back: str | None = None
    becomes: dict[str, list[str]] = field(factory=dict)
    heard: list[Program] = field(factory=list)
    files: list[str] = field(factory=list)
    opened: int = 0
    link: FakeLink | None = None
    waiting: threading.Event = field(factory=threading.Event)

    @property
    def host(self) -> Host:
        return self._host

    def __attrs_post_init__(self) -> None:
        self._host = Host(self.name, "192.168.56.20", ssh=Fake(self.answer, self))

    _host: Host = field(init=False)

    def answer(self, program: Program) -> Iterator[Frame]:
        self.heard.append(program)
        if program.lock is not None and self.busy:
            yield self.busy.pop(0)
            yield End()
            return
        sound = True
        for index, snippet in enumerate(program.applies):
            if not sound:
                break
            _, name, value = snippet.text.split(" ", 2)
            self._cut(name, "before")
            yield Began(index)
            self._cut(name, "begin")
            if self.holds_back == name:
                assert self.link is not None
                self.waiting.set()
                self.link.closed.wait(30)
            exit, err = self.fails.get(name, (0, b""))
            sound = exit == 0
            if sound and name not in self.stubborn:
                self.state[name] = value
                self.state.pop(self.disturbs.get(name, ""), None)
            yield Did(index, exit, b"", err, 0.5)
            self._cut(name, "end")
        self._cut("", "probes")
        if program.applies:
            self._cut("", "probes again")
        if program.probes:
            yield Saw(tuple(self._probe(snippet) for snippet in program.probes))
        yield End()

    def _cut(self, name: str, when: str) -> None:
        if self.cut == (name, when):
            raise Unreachable(self.name, "the link was lost")

    def _probe(self, snippet: Snippet) -> tuple[int, bytes, bytes]:
        if snippet.text == FACTS:
            return 0, b"hostname " + self.name.encode(), b""
        _, name = snippet.text.split(" ", 1)
        if name in self.broken:
            exit, err = self.broken[name]
            return exit, b"", err
        if self.becomes.get(name):
            self.state[name] = self.becomes[name].pop(0)
        return 0, self.state.get(name, "").encode(), b""


@frozen
class Fact(Resource):
    """A fact that a Machine can be given."""

    name: str
    value: str = "right"

    @property
    def key(self) -> str:
        return f"fact {self.name}"

    def probe(self) -> str:
        return f"probe {self.name}"

    def diff(self, seen: bytes) -> Diff:
        return Diff.between(self.name, seen.decode() or "absent", self.value)

    def apply(self) -> str:
        return f"set {self.name} {self.value}"


@frozen
class Becomes(Condition):
    """A fact that becomes so by itself."""

    name: str
    value: str = "right"

    key = Fact.key
    probe = Fact.probe
    diff = Fact.diff


@frozen
class Needs(Requirement):
    """A fact without which nothing is begun."""

    name: str
    value: str = "right"

    key = Fact.key
    probe = Fact.probe
    diff = Fact.diff


@define(eq=False)
class Parts(Component):
    """A component of given stages; what each stage saw is kept in ``outcomes``."""

    given: tuple[Stage, ...]
    needs: Requirements = field(factory=dict)
    title: str = "Parts"
    outcomes: list[object] = field(factory=list)
    early: bool = False
    first: tuple[Component, ...] = ()

    @property
    def name(self) -> str:
        return self.title

    @property
    def begins_early(self) -> bool:  # type: ignore[override]
        return self.early

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(dict.fromkeys(host for stage in self.given for host in stage.work))

    def yields_to(self, other: Component) -> bool:
        return other in self.first

    def requirements(self) -> Requirements:
        return self.needs

    def stages(self) -> Stages:
        for stage in self.given:
            self.outcomes.append((yield stage))


def stage(name: str, *machines: Machine, facts: tuple[Resource, ...], batch: int | None = None) -> Stage:
    """The same resources on several machines."""
    return Stage(name, {machine.host: facts for machine in machines}, batch=batch)
