"""A host's part of a stage: look, make it so and look again, wait. At most two trips, and one a look while waiting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from attrs import define, field

from k8sha import events
from k8sha.errors import K8shaError, ProbeError, Unreachable, merged
from k8sha.events import Event
from k8sha.hosts import program
from k8sha.hosts.host import Host
from k8sha.hosts.program import Did, Frame, Program, Saw, Snippet
from k8sha.report import Diff, Result, Status
from k8sha.resources.resource import Condition, Resource
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Work"]


@define(eq=False)
class _Tried:
    """Changes that were sent to a host, and what was heard of them. Mutable: it is what the thread writes down."""

    todo: list[tuple[int, Resource, Diff]]
    used: list[Resource] = field(factory=list)
    hidden: list[str] = field(factory=list)
    began: set[int] = field(factory=set)
    did: dict[int, Did] = field(factory=dict)
    problem: K8shaError | None = None

    @property
    def failed(self) -> bool:
        return any(frame.exit != 0 for frame in self.did.values())

    @property
    def in_flight(self) -> bool:
        """Whether something began of which it was not heard that it ended."""
        return bool(self.began - self.did.keys())

    def snippet(self, resource: Resource) -> Snippet:
        self.used.append(resource)
        secrets = tuple(resource.secrets().items())
        self.hidden.extend((*(value for _, value in secrets), *resource.hidden))
        return Snippet(resource.apply(), resource.timeout, secrets)

    def clean_up(self) -> list[K8shaError]:
        """Let every resource clean up, also where another one's cleaning failed."""
        errors: list[K8shaError] = []
        for resource in self.used:
            try:
                resource.clean_up()
            except K8shaError as error:
                logging.getLogger("k8sha").warning("%s: cleaning up failed: %s", resource.key, error)
                errors.append(error)
        return errors

    def redact(self, said: str) -> str:
        """A text without the secrets that were sent, whole or line by line."""
        lines = {line.strip() for secret in self.hidden for line in secret.splitlines()}
        parts = {*self.hidden, *(line for line in lines if len(line) > 5)} - {""}
        for part in sorted(parts, key=len, reverse=True):
            said = said.replace(part, "(secret)")
        return said


@define(eq=False)
class Work:
    """A host's resources in one stage, what was seen of them, and what became of them."""

    component: str
    stage: str
    host: Host
    resources: tuple[Resource, ...]
    tell: Callable[[Event], None]
    seen: list[bytes] = field(factory=list)
    diffs: list[Diff] = field(factory=list)
    results: list[Result] = field(factory=list)

    def wanted(self) -> Iterator[tuple[int, Resource, Diff]]:
        """Each resource that differs or watches one that does, with its own diff or the reason."""
        changing: list[Resource] = []
        for index, (resource, own) in enumerate(zip(self.resources, self.diffs, strict=True)):
            causes = [watched.key for watched in resource.watches if watched in changing]
            diff = own or (Diff.of(f"because {', '.join(causes)} changes") if causes else own)
            if diff:
                if not isinstance(resource, Condition):
                    changing.append(resource)
                yield index, resource, diff

    def changes(self) -> list[tuple[int, Resource, Diff]]:
        """What an install would apply."""
        return [todo for todo in self.wanted() if not isinstance(todo[1], Condition)]

    def probe(self) -> None:
        """The first trip: what is there?"""
        if not self.resources:
            return
        self.host.run(Program(probes=self._probes()), self._take_in)
        for _, resource, diff in self.wanted():
            self.tell(events.Planned(self.component, self.stage, self.host.name, resource.key, diff))

    def apply(self) -> None:
        """The second trip, where something differs: make it so, and look again.

        What became of each change is in ``results``, also where this raises.
        """
        todo = self.changes()
        if not todo:
            return
        self._upload(todo)
        tried = _Tried(todo)
        try:
            self._try(tried)
        finally:
            errors = tried.clean_up()
        self._settle(tried)
        if tried.problem is not None and not tried.in_flight:
            errors.insert(0, tried.problem)
        if errors:
            raise merged(errors)

    def await_conditions(self) -> None:
        """Wait until every condition of the host holds: one trip a look, none where it holds already."""
        for index, resource in enumerate(self.resources):
            if isinstance(resource, Condition) and self.diffs[index]:
                began = time.monotonic()
                wait_for(
                    Check(f"{self.host.name}: {resource.key}", lambda at=index: self._look(at)),  # type: ignore[misc]
                    timeout=resource.patience,
                    interval=resource.interval,
                    tell=lambda check, last, waited: self.tell(events.Waiting(check, last, waited)),
                    pause=self.host.pause,
                )
                self._became(resource, Status.UNCHANGED, Diff(), seconds=time.monotonic() - began)

    def _probes(self) -> tuple[Snippet, ...]:
        return tuple(
            Snippet(resource.probe(), resource.probe_timeout, surveys=resource.surveys) for resource in self.resources
        )

    def _take_in(self, frame: Frame) -> None:
        if not isinstance(frame, Saw):
            return
        for resource, (exit, _, err) in zip(self.resources, frame.replies, strict=True):
            if exit != 0:
                slow = f"it took longer than {resource.probe_timeout} s"
                raise ProbeError(self.host.name, resource.key, slow if exit == 124 else err.decode(errors="replace"))
        self.seen = [out for _, out, _ in frame.replies]
        self.diffs = [resource.diff(out) for resource, out in zip(self.resources, self.seen, strict=True)]

    def _upload(self, todo: list[tuple[int, Resource, Diff]]) -> None:
        for index, resource, _ in todo:
            for payload in resource.payloads(self.seen[index]):

                def tell(sent: int, total: int, key: str = resource.key) -> None:
                    self.tell(events.Uploaded(self.host.name, key, sent, total))

                self.host.upload(payload.source, payload.staged, tell, payload.sha256)

    def _try(self, tried: _Tried) -> None:
        def hear(frame: Frame) -> None:
            match frame:
                case program.Began(index):
                    tried.began.add(index)
                    self.tell(events.Began(self.host.name, tried.todo[index][1].key))
                case Did(index):
                    tried.did[index] = frame
                    _, resource, diff = tried.todo[index]
                    status = Status.CHANGED if frame.exit == 0 else Status.FAILED
                    self.tell(events.Finished(self._result(resource, status, diff, frame, tried)))
                case _:
                    self._take_in(frame)

        try:
            applies = tuple(tried.snippet(resource) for _, resource, _ in tried.todo)
            self.host.run(Program(applies=applies, probes=self._probes()), hear)
        except Unreachable as error:
            tried.problem = error
        except ProbeError as error:
            tried.problem = None if tried.failed else error  # a change that failed is what must be told

    def _settle(self, tried: _Tried) -> None:
        """Write down what became of each change, and what other resources differ since."""
        sound = not tried.failed and tried.problem is None
        for position, (index, resource, diff) in enumerate(tried.todo):
            frame = tried.did.get(position)
            if frame is None:
                status = Status.LOST if position in tried.began else Status.SKIPPED
            elif frame.exit != 0:
                status = Status.FAILED
            elif sound and self.diffs[index]:
                status, diff = Status.DIVERGED, self.diffs[index]
            else:
                status = Status.CHANGED
            self.results.append(self._result(resource, status, diff, frame, tried))
        planned = {index for index, _, _ in tried.todo}
        for index, resource, diff in self.changes() if sound else ():
            if index not in planned:
                self._became(resource, Status.DIVERGED, diff)

    def _result(self, resource: Resource, status: Status, diff: Diff, frame: Did | None, tried: _Tried) -> Result:
        name = self.host.name
        if frame is None:
            return Result(self.component, self.stage, name, resource.key, status, diff)
        said = tried.redact((frame.err.strip() or frame.out).decode(errors="replace"))[-4000:]
        if frame.exit in (124, 137) and frame.seconds >= resource.timeout:
            said += f"\nit was ended because it took longer than {resource.timeout} s"
        return Result(self.component, self.stage, name, resource.key, status, diff, frame.seconds, frame.exit, said)

    def _became(self, resource: Resource, status: Status, diff: Diff, *, seconds: float = 0.0) -> None:
        self.results.append(
            Result(self.component, self.stage, self.host.name, resource.key, status, diff, seconds=seconds)
        )

    def _look(self, index: int) -> str:
        resource = self.resources[index]
        exit, out, err = self.host.read(resource.probe(), timeout=resource.probe_timeout)[0]
        if exit != 0:
            raise NotYet(err.decode(errors="replace").strip() or f"exit {exit}")
        self.seen[index], self.diffs[index] = out, resource.diff(out)
        if self.diffs[index]:
            raise NotYet("; ".join(self.diffs[index].lines))
        return ""
