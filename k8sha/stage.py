"""The engine: a stage is resources on hosts, and this is how one is carried out.

Per host: one trip of probes; where something differs, one more trip that applies what differs, in order, and probes the
whole stage again. Nothing is remembered between runs: the hosts are the state.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue

from attrs import field, frozen

from k8sha import events
from k8sha.errors import ApplyError, ConfigError, HostErrors, K8shaError
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.parallel import News, in_parallel
from k8sha.report import Change, Outcome, Plan, Report, Result, Status
from k8sha.resources.resource import Condition, Resource
from k8sha.work import Work

__all__ = ["Stage", "Step", "install_stage", "plan_stage"]


class Step(ABC):
    """What a component yields: something that can be looked at and made so. A stage of hosts is one; objects of the
    API server, which are on no host, are another."""

    name: str
    early: bool = False

    @abstractmethod
    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """Look only: what carrying it out would change."""

    @abstractmethod
    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """Make it so. Raises ApplyError where something failed, NotReady where a wait ran out."""


@frozen
class Stage(Step):
    """A named step: resources per host, in order.

    ``batch`` hosts are changed at a time (all, if None). Before the next batch begins, the conditions among a host's
    resources hold, also where nothing changed: that is what makes resuming safe. An ``early`` stage needs nothing of
    the components that come before its own, and may run while they are still at work.
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

    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """See :meth:`Step.plan`."""
        return plan_stage(component, self, listen)

    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """See :meth:`Step.install`."""
        return install_stage(component, self, listen)


@frozen
class _Run:
    """One carrying out of one stage."""

    component: str
    stage: Stage
    listen: Listener
    works: tuple[Work, ...]
    news: News

    @classmethod
    def of(cls, component: str, stage: Stage, listen: Listener) -> _Run:
        news: News = SimpleQueue()
        works = (Work(component, stage.name, host, resources, news.put) for host, resources in stage.work.items())
        return cls(component, stage, listen, tuple(works), news)

    def on_all(self, step: Callable[[Work], None], works: Iterable[Work]) -> None:
        """Do a step for these hosts at once."""
        hosts = tuple(self.stage.work)
        in_parallel(step, works, listen=self.listen, news=self.news, hosts=hosts)

    def look(self) -> None:
        """The first trip to every host."""
        self.listen(events.StageBegan(self.component, self.stage.name, tuple(host.name for host in self.stage.work)))
        self.on_all(Work.probe, self.works)

    def outcome(self) -> Outcome:
        """What the last probes saw."""
        return Outcome(
            tuple(
                (work.host.name, resource.key, seen)
                for work in self.works
                for resource, seen in zip(work.resources, work.seen, strict=True)
            )
        )


def plan_stage(component: str, stage: Stage, listen: Listener) -> tuple[Outcome, Plan]:
    """Look only: what a stage would change. One trip a host, all hosts at once."""
    run = _Run.of(component, stage, listen)
    began = time.monotonic()
    run.look()
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
    return run.outcome(), Plan(changes, waits, sum(bool(work.resources) for work in run.works))


def install_stage(component: str, stage: Stage, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
    """Make a stage so. Raises ApplyError where something failed (hosts of the same batch are finished first), NotReady
    where a condition does not come true, and whatever the link raises."""
    run = _Run.of(component, stage, listen)
    began = time.monotonic()
    run.look()
    unchanged = {
        (work.host.name, resource.key)
        for work in run.works
        for index, resource in enumerate(work.resources)
        if index not in {changing for changing, _, _ in work.wanted()}
    }
    size = stage.batch or len(run.works) or 1
    for at in range(0, len(run.works), size):
        batch = run.works[at : at + size]
        errors: tuple[K8shaError, ...] = ()
        try:
            run.on_all(Work.apply, batch)
        except HostErrors as several:
            errors = several.errors
        except K8shaError as error:
            errors = (error,)
        results = _results(run, unchanged)
        if any(result.status.bad for result in results):
            raise ApplyError(Report(results), errors)
        if errors:
            raise errors[0] if len(errors) == 1 else HostErrors(errors)
        run.on_all(Work.await_conditions, batch)
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
