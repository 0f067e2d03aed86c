"""The three verbs over components, written once: plan, install, verify."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event as Flag
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from k8sha import events
from k8sha.errors import ApplyError, HostBusy, K8shaError, PreflightError, Problem, VerifyError
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host, holder
from k8sha.lanes import Hold, in_lanes
from k8sha.parallel import News, in_parallel
from k8sha.report import Outcome, Plan, Report, Result
from k8sha.resources.resource import Requirement
from k8sha.stage import Stage, Step, plan_stage
from k8sha.waiting import NotYet

if TYPE_CHECKING:
    from k8sha.component import Component

__all__ = ["drive", "install", "locked", "plan", "preflight", "verify"]


@frozen
class _Hosts:
    """The distinct hosts of components, and doing something with all of them."""

    hosts: tuple[Host, ...]
    given: tuple[Host, ...]
    """The same, with objects that are equal and not the same: each has a link of its own that must be closed."""

    @classmethod
    def of(cls, components: Iterable[Component]) -> _Hosts:
        return cls.of_hosts(host for component in components for host in (*component.hosts, *component.needs))

    @classmethod
    def of_hosts(cls, hosts: Iterable[Host]) -> _Hosts:
        given = {id(host): host for host in hosts}
        return cls(tuple(dict.fromkeys(given.values())), tuple(given.values()))

    def open(self, listen: Listener, who: str | None) -> None:
        """Connect to every host at once and read its facts; with ``who``, take every host's lock as well.

        The first host's lock comes before the others', so that of two installers one gets all and the other none.
        """
        news: News = SimpleQueue()
        hosts = sorted(self.hosts, key=lambda host: host.name)
        decided, refused = Flag(), Flag()

        def lock(host: Host, who: str) -> None:
            first = host is hosts[0]
            try:
                host.connect()
                if not first:
                    decided.wait()
                if not refused.is_set():
                    host.lock(who, tell=lambda check, last, waited: news.put(events.Waiting(check, last, waited)))
            except HostBusy:
                refused.set()
                raise
            finally:
                if first:
                    decided.set()

        def step(host: Host) -> None:
            if who is None:
                host.facts  # noqa: B018 (read now, in parallel, because later reads are one after the other)
            else:
                lock(host, who)
            news.put(events.Connected(host.name))

        in_parallel(step, hosts, listen=listen, news=news, hosts=hosts)

    def trips(self) -> int:
        return sum(host.trips for host in self.given)

    def close(self) -> None:
        for host in self.given:
            host.close()
        for jump in dict.fromkeys(jump for host in self.given for jump in host.way):
            jump.close()


def preflight(components: Iterable[Component], listen: Listener = ignore) -> None:
    """Look at everything that must be true before the first change. Raises PreflightError with all that is not."""
    components = tuple(components)
    _warn(components, listen)
    problems: list[Problem] = []
    work: dict[Host, tuple[Requirement, ...]] = {}
    for component in components:
        try:
            problems += component.problems()
            for host, requirements in component.requirements().items():
                work[host] = tuple(dict.fromkeys((*work.get(host, ()), *requirements)))
        except PreflightError as error:  # such as a system that no distro fits: the other components' are told as well
            problems += error.problems
    problems += _claimed_twice(components)
    stage = Stage("preflight", work)
    _, found = plan_stage("Preflight", stage, _quiet_planned(listen))
    remedies = {(host.name, need.key): need.remedy for host, needs in work.items() for need in needs}
    for change in found.changes:
        for line in change.diff.lines:
            problems.append(Problem(change.host, line, remedies[change.host, change.resource]))
    if problems:
        raise PreflightError(dict.fromkeys(problems))


def _claimed_twice(components: Iterable[Component]) -> Iterator[Problem]:
    """What two components claim and only one can have: the second would fail after the first has got it."""
    owning = [component for component in components if component.owner]
    holders: dict[object, tuple[Component, str]] = {}
    for component in owning if len({component.owner for component in owning}) > 1 else ():
        for claim, remedy in component.claims().items():
            other, others_remedy = holders.setdefault(claim, (component, remedy))
            if other.owner != component.owner:
                pair = (other.name, component.name)
                one, two = pair if pair[0] != pair[1] else (other.owner, component.owner)
                remedy = remedy or others_remedy or "leave it out of one of the two"
                yield Problem(str(claim), f"is asked for by {one} and by {two}", remedy)


def _warn(components: Iterable[Component], listen: Listener) -> tuple[str, ...]:
    """Tell what an operator should know; returns it as well."""
    found = [(component.name, text) for component in components for text in component.warnings()]
    for name, text in found:
        events.warn(name, text, listen)
    return tuple(f"{name}: {text}" for name, text in found)


def _quiet_planned(listen: Listener) -> Listener:
    return lambda event: None if isinstance(event, events.Planned) else listen(event)


def plan(components: Iterable[Component], listen: Listener = ignore) -> Plan:
    """What an install of these components, in this order, would change."""
    components = tuple(components)
    hosts = _Hosts.of(components)
    hosts.open(listen, None)
    before = hosts.trips()
    found = Plan(warnings=_warn(components, listen))
    for component in components:

        def carry_out(stage: Step, name: str = component.name) -> Outcome:
            nonlocal found
            outcome, part = stage.plan(name, listen)
            found += part
            return outcome

        drive(component.stages(), carry_out)
    return evolve(found, trips=hosts.trips() - before)


def install(components: Iterable[Component], listen: Listener = ignore) -> Report:
    """Lock every host, look at all requirements, then install these components in this order.

    A stage that is ``early`` needs nothing of the components before its own and runs beside them; early stages of those
    that its component yields to go first.
    """
    components = tuple(components)
    hosts = _Hosts.of(components)
    began = time.monotonic()
    before = hosts.trips()
    results: list[list[Result]] = [[] for _ in components]

    def lane(index: int, tell: Listener, hold: Hold) -> None:
        def carry_out(stage: Step) -> Outcome:
            hold(stage.early)
            try:
                outcome, part = stage.install(components[index].name, tell)
            except ApplyError as error:
                results[index].extend(error.report.results)
                raise
            results[index].extend(part)
            return outcome

        hold(components[index].begins_early)
        drive(components[index].stages(), carry_out)

    try:
        hosts.open(listen, holder())
        preflight(components, listen)
        in_lanes(
            [_first(components, index) for index in range(len(components))], lane, listen=listen, hosts=hosts.given
        )
    except ApplyError as error:
        raise ApplyError(_report(results, hosts.trips() - before, began), error.errors) from None
    finally:
        hosts.close()  # gives up the locks
    return _report(results, hosts.trips() - before, began)


def _first(components: Sequence[Component], index: int) -> tuple[int, ...]:
    """Which components before one go first with their early stages."""
    return tuple(before for before in range(index) if components[index].yields_to(components[before]))


def _report(results: list[list[Result]], trips: int, began: float) -> Report:
    return Report(tuple(result for lane in results for result in lane), trips, time.monotonic() - began)


@contextlib.contextmanager
def locked(hosts: Iterable[Host], listen: Listener, who: str) -> Iterator[None]:
    """Every host's lock, taken at once and given up at the end. Raises HostBusy, with none of them kept."""
    all_hosts = _Hosts.of_hosts(hosts)
    try:
        all_hosts.open(listen, who)
        yield
    finally:
        all_hosts.close()


def drive(stages: Generator[Step, Outcome, None], carry_out: Callable[[Step], Outcome]) -> None:
    """Carry out stages in order, sending each one's outcome back to where they come from."""
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
