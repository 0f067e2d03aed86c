"""The engine: a stage is resources on hosts, and this is how one is carried out.

Per host: one trip of probes; where something differs, one more trip that applies what differs, in order, and probes the
whole stage again. Nothing is remembered between runs: the hosts are the state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from threading import Event as Flag

from attrs import define, field, frozen

from k8sha import events
from k8sha.errors import ApplyError, ConfigError, ProbeError, Unreachable
from k8sha.events import Event, Listener
from k8sha.hosts import program
from k8sha.hosts.host import Host
from k8sha.hosts.program import Did, Frame, Program, Snippet
from k8sha.parallel import in_parallel
from k8sha.report import Change, Diff, Outcome, Plan, Report, Result, Status
from k8sha.resources.resource import Condition, Resource
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Stage", "install_stage", "plan_stage"]


@frozen
class Stage:
    """A named step: resources per host, in order.

    ``batch`` hosts are changed at a time (all, if None). Before the next batch begins, the conditions among a host's
    resources hold, also where nothing changed: that is what makes resuming safe. An ``early`` stage needs nothing of the
    components that come before its own, and may run while they are still at work.
    """

    name: str
    work: Mapping[Host, tuple[Resource, ...]]
    batch: int | None = field(default=None, kw_only=True)
    early: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for host, resources in self.work.items():
            claimed: dict[str, Resource] = {}
            for resource in resources:
                if claimed.setdefault(resource.key, resource) != resource:
                    raise ConfigError.of(
                        f"{host.name}: {resource.key}",
                        "is claimed twice with different contents",
                        "keep one of the two",
                    )


@define(eq=False)
class _Work:
    """A host's part of a stage while it is carried out."""

    host: Host
    resources: tuple[Resource, ...]
    seen: list[bytes] = field(factory=list)
    diffs: list[Diff] = field(factory=list)
    results: list[Result] = field(factory=list)

    def keep(self, replies: tuple[tuple[int, bytes, bytes], ...]) -> None:
        """Take in what the probes printed."""
        for resource, (exit, _, err) in zip(self.resources, replies, strict=True):
            if exit != 0:
                said = "it took too long" if exit == 124 else err.decode(errors="replace")
                raise ProbeError(self.host.name, resource.key, said)
        self.seen = [out for _, out, _ in replies]
        self.diffs = [resource.diff(out) for resource, out in zip(self.resources, self.seen, strict=True)]

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


@define(eq=False)
class _Run:
    """One carrying out of one stage, with what it takes to tell about it."""

    component: str
    stage: Stage
    listen: Listener
    works: list[_Work]
    queue: SimpleQueue[Event] = field(factory=SimpleQueue)
    cancelled: Flag = field(factory=Flag)

    @classmethod
    def of(cls, component: str, stage: Stage, listen: Listener) -> _Run:
        return cls(component, stage, listen, [_Work(host, resources) for host, resources in stage.work.items()])

    def on_all(self, step: Callable[[_Work], None], works: list[_Work]) -> None:
        """Do a step for these hosts at once."""
        in_parallel(step, works, listen=self.listen, queue=self.queue, cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled.set()
        for work in self.works:
            work.host.close()

    def probe(self, work: _Work) -> None:
        """The first trip: what is there?"""
        probes = tuple(Snippet(resource.probe(), resource.probe_timeout) for resource in work.resources)
        work.host.run(Program(probes=probes), lambda frame: _take_in(work, frame))
        for _, resource, diff in work.wanted():
            self.queue.put(events.Planned(self.component, self.stage.name, work.host.name, resource.key, diff))

    def apply(self, work: _Work) -> None:
        """The second trip: make it so, and look again."""
        todo = work.changes()
        if not todo or self.cancelled.is_set():
            return
        self._upload(work, todo)
        did: dict[int, Did] = {}
        began: list[int] = []
        hidden: list[str] = []

        def tell(frame: Frame) -> None:
            match frame:
                case program.Began(index):
                    began.append(index)
                    self.queue.put(events.Began(work.host.name, todo[index][1].key))
                case Did(index):
                    did[index] = frame
                    _, resource, diff = todo[index]
                    status = Status.CHANGED if frame.exit == 0 else Status.FAILED
                    self.queue.put(events.Finished(self._result(work, resource, status, diff, frame, hidden)))
                case _:
                    _take_in(work, frame)

        used: list[Resource] = []
        lost = False
        try:
            applies: list[Snippet] = []
            for _, resource, _ in todo:
                used.append(resource)
                secrets = tuple(resource.secrets().items())
                hidden.extend(value for _, value in secrets)
                applies.append(Snippet(resource.apply(), resource.timeout, secrets))
            probes = tuple(Snippet(resource.probe(), resource.probe_timeout) for resource in work.resources)
            work.host.run(Program(applies=tuple(applies), probes=probes), tell)
        except Unreachable:
            if not began:
                raise
            lost = True
        except ProbeError:
            if all(frame.exit == 0 for frame in did.values()):
                raise  # otherwise the failed change is what must be told
        finally:
            for resource in used:
                resource.clean_up()
        failed = lost or any(frame.exit != 0 for frame in did.values())
        for position, (index, resource, diff) in enumerate(todo):
            frame = did.get(position)
            if frame is None:
                status = Status.LOST if lost and position in began else Status.SKIPPED
            elif frame.exit != 0:
                status = Status.FAILED
            elif not failed and work.diffs[index]:
                status, diff = Status.DIVERGED, work.diffs[index]
            else:
                status = Status.CHANGED
            work.results.append(self._result(work, resource, status, diff, frame, hidden))
        if not failed:
            planned = {index for index, _, _ in todo}
            work.results.extend(
                self._result(work, resource, Status.DIVERGED, diff, None, hidden)
                for index, resource, diff in work.changes()
                if index not in planned
            )

    def _upload(self, work: _Work, todo: list[tuple[int, Resource, Diff]]) -> None:
        for _, resource, _ in todo:
            for payload in resource.payloads():

                def tell(sent: int, total: int, key: str = resource.key) -> None:
                    self.queue.put(events.Uploaded(work.host.name, key, sent, total))

                if not self.cancelled.is_set():
                    work.host.upload(payload.source, payload.staged, tell)

    def _result(
        self, work: _Work, resource: Resource, status: Status, diff: Diff, frame: Did | None, hidden: list[str]
    ) -> Result:
        said = "" if frame is None else (frame.err.strip() or frame.out).decode(errors="replace")
        for part in {line for secret in hidden for line in (secret, *secret.splitlines()) if len(line) > 5}:
            said = said.replace(part, "(secret)")
        seconds, exit = (0.0, 0) if frame is None else (frame.seconds, frame.exit)
        name = self.stage.name
        return Result(self.component, name, work.host.name, resource.key, status, diff, seconds, exit, said[-4000:])

    def await_conditions(self, work: _Work) -> None:
        """Wait until every condition of the host holds: one trip a look, none where it holds already."""
        for index, resource in enumerate(work.resources):
            if not isinstance(resource, Condition) or not work.diffs[index]:
                continue
            began = time.monotonic()

            def look(resource: Condition = resource, index: int = index) -> str:
                if self.cancelled.is_set():
                    raise Unreachable(work.host.name, "the wait was interrupted", "run again")
                exit, out, err = work.host.read(resource.probe(), timeout=resource.probe_timeout)[0]
                if exit != 0:
                    raise NotYet(err.decode(errors="replace").strip() or f"exit {exit}")
                work.seen[index], work.diffs[index] = out, resource.diff(out)
                if work.diffs[index]:
                    raise NotYet("; ".join(work.diffs[index].lines))
                return ""

            wait_for(
                Check(f"{work.host.name}: {resource.key}", look),
                timeout=resource.patience,
                tell=lambda check, last, waited: self.queue.put(events.Waiting(check, last, waited)),
            )
            seconds = time.monotonic() - began
            name = work.host.name
            work.results.append(
                Result(self.component, self.stage.name, name, resource.key, Status.UNCHANGED, seconds=seconds)
            )

    def outcome(self) -> Outcome:
        """What the last probes saw."""
        return Outcome(
            tuple(
                (work.host.name, resource.key, seen)
                for work in self.works
                for resource, seen in zip(work.resources, work.seen, strict=True)
            )
        )


def _take_in(work: _Work, frame: Frame) -> None:
    if isinstance(frame, program.Saw):
        work.keep(frame.replies)


def plan_stage(component: str, stage: Stage, listen: Listener) -> tuple[Outcome, Plan]:
    """Look only: what a stage would change. One trip a host, all hosts at once."""
    run = _Run.of(component, stage, listen)
    listen(events.StageBegan(component, stage.name, tuple(host.name for host in stage.work)))
    began = time.monotonic()
    run.on_all(run.probe, run.works)
    listen(events.StageEnded(component, stage.name, time.monotonic() - began))
    found = [(work.host.name, resource, diff) for work in run.works for _, resource, diff in work.wanted()]
    changes, waits = (
        tuple(
            Change(component, stage.name, host, resource.key, diff)
            for host, resource, diff in found
            if isinstance(resource, Condition) == is_wait
        )
        for is_wait in (False, True)
    )
    return run.outcome(), Plan(changes, waits, len(run.works))


def install_stage(component: str, stage: Stage, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
    """Make a stage so. Raises ApplyError where something failed (hosts of the same batch are finished first), NotReady
    where a condition does not come true, and whatever the link raises."""
    run = _Run.of(component, stage, listen)
    listen(events.StageBegan(component, stage.name, tuple(host.name for host in stage.work)))
    began = time.monotonic()
    run.on_all(run.probe, run.works)
    unchanged = {
        (work.host.name, resource.key)
        for work in run.works
        for index, resource in enumerate(work.resources)
        if index not in {changing for changing, _, _ in work.wanted()}
    }
    size = stage.batch or len(run.works) or 1
    for at in range(0, len(run.works), size):
        batch = run.works[at : at + size]
        try:
            run.on_all(run.apply, batch)
        finally:
            results = _results(run, unchanged)
            if any(result.status.bad for result in results):
                raise ApplyError(Report(results))
        run.on_all(run.await_conditions, batch)
    listen(events.StageEnded(component, stage.name, time.monotonic() - began))
    return run.outcome(), _results(run, unchanged)


def _results(run: _Run, unchanged: set[tuple[str, str]]) -> tuple[Result, ...]:
    results: list[Result] = []
    for work in run.works:
        told = {result.resource for result in work.results}
        for resource in work.resources:
            if resource.key not in told and (work.host.name, resource.key) in unchanged:
                results.append(Result(run.component, run.stage.name, work.host.name, resource.key, Status.UNCHANGED))
        results.extend(work.results)
    return tuple(results)
