"""A component, and its three verbs, written once: plan, install, verify."""

from __future__ import annotations

import getpass
import os
import platform
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from queue import SimpleQueue
from threading import Event as Flag
from typing import TypeAlias

from attrs import evolve, frozen

from k8sha import events
from k8sha.errors import (
    ApplyError,
    K8shaError,
    PreflightError,
    Problem,
    VerifyError,
)
from k8sha.events import Event, Listener, ignore
from k8sha.hosts.host import Host
from k8sha.parallel import in_parallel
from k8sha.report import Outcome, Plan, Report, Result
from k8sha.resources.resource import Requirement
from k8sha.stage import Stage, install_stage, plan_stage
from k8sha.waiting import Check, NotYet

__all__ = ["Checks", "Component", "Requirements", "Stages", "install", "plan", "preflight", "verify"]

Stages: TypeAlias = Generator[Stage, Outcome, None]
"""What a component's ``stages()`` returns: it yields stages and is sent back what each of them saw."""

Requirements: TypeAlias = Mapping[Host, tuple[Requirement, ...]]
Checks: TypeAlias = Iterable[Check]


class Component:
    """Something that is installed on hosts, in stages. Its three verbs may be used on their own.

    A subclass says what its ``hosts`` are, what it requires of them, its ``stages`` and its ``checks``.
    """

    @property
    def name(self) -> str:
        """What plans, reports and events call it."""
        return type(self).__name__

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host that it touches or reads."""
        raise NotImplementedError(type(self).__name__)

    def problems(self) -> Iterator[Problem]:
        """What facts alone show to be wrong (the hosts are connected); looked at before the first change."""
        yield from ()

    def requirements(self) -> Requirements:
        """What must be true of the hosts before the first change."""
        return {}

    def stages(self) -> Stages:
        """The steps, in order. What stands between two yields may use what earlier ones saw."""
        yield from ()

    def checks(self) -> Checks:
        """What ``verify`` looks at, besides the plan being empty."""
        return ()

    def plan(self, listen: Listener = ignore) -> Plan:
        """What an install would change. Touches nothing."""
        return plan((self,), listen)

    def install(self, listen: Listener = ignore) -> Report:
        """Make it so. Safe to run again at any time, after a kill as well.

        Raises PreflightError with nothing changed, ApplyError with a report, NotReady, or an error of the link.
        """
        return install((self,), listen)

    def verify(self, listen: Listener = ignore) -> tuple[events.Checked, ...]:
        """Prove that it works; returns what was looked at. Raises VerifyError with everything that is wrong."""
        return verify((self,), listen)


@frozen
class _Hosts:
    """The distinct hosts of components, and doing something with all of them."""

    hosts: tuple[Host, ...]

    @classmethod
    def of(cls, components: Iterable[Component]) -> _Hosts:
        return cls(tuple(dict.fromkeys(host for component in components for host in component.hosts)))

    def open(self, listen: Listener, who: str | None) -> None:
        """Connect to every host at once and read its facts; with ``who``, take every host's lock as well."""
        queue: SimpleQueue[Event] = SimpleQueue()
        cancelled = Flag()

        def step(host: Host) -> None:
            if cancelled.is_set():
                return
            if who is None:
                host.facts  # noqa: B018 (read now, in parallel, because later reads are one after the other)
            else:
                host.lock(who, tell=lambda check, last, waited: queue.put(events.Waiting(check, last, waited)))
            queue.put(events.Connected(host.name))

        def cancel() -> None:
            cancelled.set()
            self.close()

        in_parallel(step, self.hosts, listen=listen, queue=queue, cancel=cancel)

    def trips(self) -> int:
        return sum(host.trips for host in self.hosts)

    def close(self) -> None:
        for host in self.hosts:
            host.close()


def _who() -> str:
    return f"{getpass.getuser()}@{platform.node()} pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def preflight(components: Iterable[Component], listen: Listener = ignore) -> None:
    """Look at everything that must be true before the first change. Raises PreflightError with all that is not."""
    components = tuple(components)
    problems = [problem for component in components for problem in component.problems()]
    work: dict[Host, tuple[Requirement, ...]] = {}
    for component in components:
        for host, requirements in component.requirements().items():
            work[host] = tuple(dict.fromkeys((*work.get(host, ()), *requirements)))
    stage = Stage("preflight", work)
    _, found = plan_stage("Preflight", stage, _quiet_planned(listen))
    remedies = {(host.name, need.key): need.remedy for host, needs in work.items() for need in needs}
    for change in found.changes:
        for line in change.diff.lines:
            problems.append(Problem(change.host, line, remedies[change.host, change.resource]))
    if problems:
        raise PreflightError(dict.fromkeys(problems))


def _quiet_planned(listen: Listener) -> Listener:
    return lambda event: None if isinstance(event, events.Planned) else listen(event)


def plan(components: Iterable[Component], listen: Listener = ignore) -> Plan:
    """What an install of these components, in this order, would change."""
    components = tuple(components)
    hosts = _Hosts.of(components)
    hosts.open(listen, None)
    before = hosts.trips()
    found = Plan()
    for component in components:

        def carry_out(stage: Stage, name: str = component.name) -> Outcome:
            nonlocal found
            outcome, part = plan_stage(name, stage, listen)
            found += part
            return outcome

        _drive(component, carry_out)
    return evolve(found, trips=hosts.trips() - before)


def install(components: Iterable[Component], listen: Listener = ignore) -> Report:
    """Lock every host, look at all requirements, then install these components in this order."""
    components = tuple(components)
    hosts = _Hosts.of(components)
    began = time.monotonic()
    before = hosts.trips()
    results: list[Result] = []

    def report() -> Report:
        return Report(tuple(results), hosts.trips() - before, time.monotonic() - began)

    try:
        hosts.open(listen, _who())
        preflight(components, listen)
        for component in components:

            def carry_out(stage: Stage, name: str = component.name) -> Outcome:
                outcome, part = install_stage(name, stage, listen)
                results.extend(part)
                return outcome

            _drive(component, carry_out)
    except ApplyError as error:
        results.extend(error.report.results)
        raise ApplyError(report()) from None
    finally:
        hosts.close()  # gives up the locks
    return report()


def _drive(component: Component, carry_out: Callable[[Stage], Outcome]) -> None:
    stages = component.stages()
    try:
        stage = next(stages)
        while True:
            stage = stages.send(carry_out(stage))
    except StopIteration:
        return
    finally:
        stages.close()


def verify(components: Iterable[Component], listen: Listener = ignore) -> tuple[events.Checked, ...]:
    """The plan of these components is empty, and every check holds. Raises VerifyError with all that is wrong."""
    components = tuple(components)
    problems: list[Problem] = []
    looked: list[events.Checked] = []

    def note(check: str, problem: str, detail: str, began: float) -> None:
        checked = events.Checked(check, problem, detail, time.monotonic() - began)
        looked.append(checked)
        listen(checked)

    for component in components:
        began = time.monotonic()
        try:
            found = plan((component,), listen)
        except K8shaError as error:
            problems.append(Problem(component.name, str(error)))
            note(f"{component.name}: nothing differs from what was asked for", str(error), "", began)
        else:
            wrong = [
                Problem(
                    change.host, f"{change.resource} differs: {'; '.join(change.diff.lines[:3])}", "install() mends it"
                )
                for change in found.changes
            ]
            wrong += [
                Problem(change.host, f"{change.resource}: {'; '.join(change.diff.lines[:3])}") for change in found.waits
            ]
            problems += wrong
            note(f"{component.name}: nothing differs from what was asked for", "; ".join(map(str, wrong)), "", began)
        for check in component.checks():
            began = time.monotonic()
            try:
                detail = check.look()
            except (NotYet, K8shaError) as error:
                problems.append(Problem(component.name, f"{check.sentence}: {error}"))
                note(check.sentence, str(error), "", began)
            else:
                note(check.sentence, "", detail, began)
    if problems:
        raise VerifyError(problems)
    return tuple(looked)
