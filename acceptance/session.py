"""One certification from beginning to end: the lab, the cluster, the certificate. What pytest runs is thin above it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from attrs import define, evolve, field

from k8sha import Check, K8shaError, NotReady, NotYet, Report, StageBegan, VerifyError, wait_for
from k8sha.events import Event

from . import facts, invariants, report
from .bring_up import from_lab, from_module, the_lab
from .faults import Fault, Promise
from .options import NEVER_TESTED, NOT_TESTED, Broken, Options
from .record import Certificate, FaultEntry, Step, Untested, moment
from .subject import NAMESPACE, Subject, open_namespace
from .tell import Tell
from .topology import TopologyError
from .trial import Trial, TrialError
from .vagrant import Lab, LabError
from .workload import Workload

__all__ = ["HEALTHY_FOR", "Broken", "Options", "Session"]

HEALTHY_FOR = 20.0
"""Seconds for which a verify() that found nothing wrong is believed."""


@define
class Session:
    """Mutable: it goes through the certification once, and writes the certificate after every step."""

    options: Options
    tell: Tell
    certificate: Certificate
    lab: Lab | None = None
    lab_is_ours: bool = False
    broken: str = ""
    """Why nothing more can be put to the test, empty while all is well."""
    page: Path | None = None
    installed: bool = False
    events: list[Event] = field(factory=list)
    """What the last install told."""
    managed: tuple[tuple[str, str], ...] = ()
    """Every resource that the last install looked at, by host and key."""
    _subject: Subject | None = None
    _healthy_at: float = -math.inf

    @classmethod
    def begin(cls, options: Options, tell: Tell) -> Session:
        """A new one, with nothing on record yet."""
        made = Certificate(title="", seed=options.seed, repeat=options.repeat, command=options.command)
        if options.slack != 1:
            made.notes.append(
                f"Every promise was loosened by the factor {options.slack:g}: this run tells whether faults are "
                "survived, not how fast."
            )
        made.untested += [Untested(title, reason) for title, reason in NEVER_TESTED]
        return cls(options, tell, made)

    @property
    def subject(self) -> Subject:
        """The cluster; brought up, not yet installed, when first asked for."""
        if self._subject is None:
            if self.broken:
                raise TrialError(NOT_TESTED)
            try:
                if self.options.cluster is not None:
                    self._subject = from_module(self.options.cluster)
                else:
                    self._subject = from_lab(self.open_lab(), self.options, self.certificate, self.tell)
            except (K8shaError, LabError, TopologyError, OSError) as error:
                self.broken = self.certificate.interrupted = str(error)
                raise
            self.certificate.title = self._subject.title
            self.certificate.endpoint = str(self._subject.endpoint)
            if self._subject.plane is None:
                self.certificate.kind = "stand-ins"
            else:
                self.certificate.version = f"Kubernetes v{self._subject.plane.version}"
        return self._subject

    def open_lab(self) -> Lab:
        """The lab, up. Its hosts are ours to throw away at the end if there were none before."""
        if self.lab is None:
            self.lab = the_lab(self.tell.say)
        if self.options.lab:
            self.lab_is_ours = self.lab_is_ours or set(self.lab.status().values()) == {"absent"}
            self.lab.up()
        return self.lab

    def install(self) -> Report:
        """Install the cluster; ``events`` has what was told. Raises what ``install()`` raises, and then all is over."""
        self.events.clear()

        def listen(event: Event) -> None:
            self.events.append(event)
            progress(event)

        try:
            with self.tell.progress() as progress:
                done = self.subject.cluster.install(listen)
        except K8shaError as error:
            self.broken = f"the cluster could not be installed: {error}"
            raise
        self.installed = True
        self.managed = tuple((result.host, result.resource) for result in done.results)
        return done

    @property
    def expected_trips(self) -> int:
        """One to connect to each host, one for each stage that it is in: what an install with nothing to do costs."""
        stages = sum(len(event.hosts) for event in self.events if isinstance(event, StageBegan))
        return len(self.subject.cluster.hosts) + stages

    def check_health(self, *, patience: float = 60.0) -> None:
        """``verify()`` finds nothing wrong within so many seconds, or just did. Raises NotReady; then all is over."""
        if self.broken:
            raise TrialError(NOT_TESTED)
        if not self.installed:
            self.install()
        if time.monotonic() - self._healthy_at < HEALTHY_FOR:
            return

        def look() -> str:
            self._check_network()
            try:
                looked = self.subject.cluster.verify(progress)
            except VerifyError as error:
                raise NotYet(str(error)) from None
            self.certificate.checks = [(checked.check, checked.detail) for checked in looked]
            return ""

        try:
            with self.tell.progress() as progress:
                wait_for(Check("verify() finds nothing wrong", look), timeout=patience, interval=2.0)
        except NotReady as error:
            self.broken = error.last
            raise
        self._healthy_at = time.monotonic()

    def describe(self) -> None:
        """Put the hosts and what runs on them on record."""
        subject = self.subject
        self.certificate.hosts = facts.hosts(subject)
        known = {label for label, _ in self.certificate.facts}
        self.certificate.facts += [(label, value) for label, value in facts.cluster(subject) if label not in known]

    @contextmanager
    def step(self, name: str, title: str, promise: str) -> Iterator[Step]:
        """Something that is promised: ``Broken`` in the block breaks the promise, any other exception is an error."""
        step = Step(name, title, promise, load=self.subject.loads())
        self.certificate.steps.append(step)
        self._healthy_at = -math.inf  # what a look before it found says nothing of what is done in it
        began = time.monotonic()
        self.tell.begin(title, promise)
        try:
            yield step
            step.verdict = "kept"
        except Broken as error:
            step.verdict = "broken"
            step.problems.append(str(error))
            raise
        except BaseException as error:
            step.problems.append(str(error) or type(error).__name__)
            raise
        finally:
            step.seconds = time.monotonic() - began
            step.figures.append(("load average", f"{step.load[0][1]:.1f}"))
            self.tell.end(title, step.verdict, ", ".join(f"{label} {value}" for label, value in step.figures))
            self.save()

    def amiss(self, step: Step, client: Workload, end: float) -> tuple[str, ...]:
        """What a client that was at work until then has lost, and what else is wrong, in sentences; the step gets the
        figures."""
        found = invariants.afterwards(self.subject, client, end)
        if found.written is not None:
            step.figures.append((f"of {found.written} acknowledged writes lost", str(found.lost)))
        return found.broken

    def put_to_the_test(self, fault: Fault) -> FaultEntry:
        """Inject a fault as often as was asked for. Raises Broken if it broke its promise in any run."""
        slack = self.options.slack
        fault = evolve(fault, promise=fault.promise.loosened(slack))
        entry = self.entry(fault)
        self.certificate.faults.append(entry)
        random = Random(f"{self.options.seed} {fault.name}")
        serials = self.subject.serials()
        self.tell.begin(fault.title, str(fault.promise))
        try:
            for number in range(self.options.repeat):
                with self.workload(f"{fault.name}-{number}") as workload:
                    entry.runs.append(Trial(self.subject, workload, random, serials, self.tell.wait).run(fault))
            entry.problems = [words for run in entry.runs for words in run.broken]
            entry.verdict = "broken" if entry.problems else "kept"
            self._healthy_at = time.monotonic()
        except BaseException as error:
            entry.problems.append(str(error) or type(error).__name__)
            raise
        finally:
            self.tell.end(fault.title, entry.verdict, facts.in_a_line(entry))
            self.save()
        if any(run.whole_again is None for run in entry.runs):
            self.broken = entry.problems[-1]
        if entry.problems:
            raise Broken("\n".join(entry.problems))
        return entry

    @staticmethod
    def entry(fault: Fault) -> FaultEntry:
        """A fault's place on record, without any run yet."""
        limits = {name: getattr(fault.promise, name) for name in ("outage", "failed", "write_stall", "watch_gap")}
        return FaultEntry(fault.name, fault.title, fault.meaning, str(fault.promise), limits)

    @contextmanager
    def workload(self, prefix: str, *, subject: Subject | None = None, watch: bool = True) -> Iterator[Workload]:
        """The client at work, on the cluster under test or another one."""
        subject = subject or self.subject
        self._check_network()
        if subject.plane is not None:
            open_namespace(subject.plane.api)
        with Workload(subject.target(prefix=f"{prefix}-{int(time.time())}", watch=watch)) as client:
            yield client

    def _check_network(self) -> None:
        """Raises LabError where the lab's network is gone: what is sent to its addresses would leave this machine."""
        if self.lab is not None and not self.lab.bridge_up():
            self.broken = f"the lab's network {self.lab.topology.network} is gone"
            raise LabError(self.broken)

    @property
    def tolerated(self) -> int:
        """How many requests may fail where none should: 0, unless promises are loosened."""
        return Promise(failed=0).loosened(self.options.slack).failed or 0

    def skip(self, title: str, reason: str) -> None:
        """Put on record that something was not tested, and leave the test."""
        self.certificate.untested.insert(0, Untested(title, reason))
        self.save()
        pytest.skip(reason)

    def save(self) -> Path:
        """Write the certificate as it is at this moment; returns the page's path."""
        self.certificate.ended = moment()
        self.page = report.save(self.certificate, self.options.report)
        return self.page

    def close(self) -> None:
        """Tidy up in the cluster and let go of the hosts; throw the lab away if we made it and are not to keep it."""
        goes = self.lab is not None and self.lab_is_ours and not self.options.keep
        try:
            if self._subject is not None:
                if self._subject.plane is not None and self.installed and not goes:
                    self._subject.plane.api.delete(f"/api/v1/namespaces/{NAMESPACE}")
                self._subject.cluster.close()
        except K8shaError as error:
            self.tell.say(f"the namespace {NAMESPACE} is left behind: {error}")
        finally:
            if self.lab is not None and goes:
                self.lab.destroy()
