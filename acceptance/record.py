"""What a certification found: plain values that grow while it runs and turn into JSON.

The JSON file's ``schema`` is ``k8sha-certificate/1``: fields are only ever added under that number. Times are seconds,
moments are ISO 8601 with a time zone, offsets in a timeline are seconds after the fault began.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Iterable
from typing import Literal

from attrs import asdict, define, field, frozen

from .history import History, Outage, watch_gaps

__all__ = [
    "SCHEMA",
    "Certificate",
    "Comparison",
    "FaultEntry",
    "HostFacts",
    "Run",
    "Step",
    "Timeline",
    "Untested",
    "Verdict",
    "moment",
]

SCHEMA = "k8sha-certificate/1"

Verdict = Literal["kept", "broken", "error"]
"""Of a promise: kept, broken, or not put to the test because something else went wrong before."""


def moment() -> str:
    """This moment, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).astimezone().isoformat(timespec="seconds")


@frozen
class HostFacts:
    """A host of the cluster, for the record. ``software`` are pairs of a program and its version."""

    name: str
    role: str
    address: str
    system: str
    kernel: str
    cpus: int
    memory_mib: int
    software: tuple[tuple[str, str], ...] = ()


@frozen
class Timeline:
    """Everything that the client saw around one fault: a request is ``(offset of its start, seconds, error)``."""

    begin: float
    healing: float
    healed: float
    end: float
    probes: tuple[tuple[float, float, str], ...]
    writes: tuple[tuple[float, float, str], ...]
    watch_gaps: tuple[tuple[float, float], ...]
    blind: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, history: History, zero: float, begin: float, healing: float, healed: float, end: float) -> Timeline:
        """From a history whose fault began at ``zero``."""
        part = history.between(begin, end)

        def offset(at: float) -> float:
            return round(at - zero, 3)

        return cls(
            offset(begin),
            offset(healing),
            offset(healed),
            offset(end),
            tuple((offset(request.start), round(request.seconds, 4), request.error) for request in part.probes),
            tuple((offset(request.start), round(request.seconds, 4), request.error) for request in part.writes),
            tuple((offset(gap.begin), offset(gap.end)) for gap in watch_gaps(history.watch, begin, end))
            if history.watch
            else (),
            tuple((offset(gap.begin), offset(gap.end)) for gap in part.blind),
        )


@frozen
class Run:
    """One injection of a fault: what a client saw while it lasted (``during``) and after it was healed (``after``)."""

    sentence: str
    at: str
    during: Outage
    after: Outage
    write_stall: float | None
    watch_gap: float | None
    whole_again: float | None
    """Seconds from the healing until ``verify()`` found nothing wrong any more."""
    load: tuple[tuple[str, float], ...]
    timeline: Timeline
    backends: tuple[tuple[str, int], ...] = ()
    """Successful requests by API server, as their certificates tell."""
    in_flight: int = 0
    """Requests that had begun before the fault and were lost with it: nothing saves what a lost machine had taken."""
    written: int | None = None
    """Objects whose creation was acknowledged; None where nothing was written."""
    lost: int = 0
    """How many of those do not exist."""
    broken: tuple[str, ...] = ()


@define
class FaultEntry:
    """A fault, what was promised, and every run of it. Mutable: runs are added one by one."""

    name: str
    title: str
    meaning: str
    promise: str
    limits: dict[str, float | int | None]
    runs: list[Run] = field(factory=list)
    problems: list[str] = field(factory=list)
    verdict: Verdict = "error"

    @property
    def outage(self) -> tuple[float | None, float | None]:
        """Median and worst outage over the runs; None for "did not recover"."""
        values = sorted(run.during.seconds if run.during.seconds is not None else float("inf") for run in self.runs)
        if not values:
            return None, None
        middle, worst = statistics.median(values), values[-1]
        return (None if middle == float("inf") else middle), (None if worst == float("inf") else worst)

    @property
    def median_failed(self) -> float:
        """How many requests failed in the median run, while the fault lasted."""
        return statistics.median(run.during.failed for run in self.runs)

    @property
    def failed(self) -> int:
        """The most requests that failed in one run, healing included."""
        return max((run.during.failed + run.after.failed for run in self.runs), default=0)

    def most(self, name: Literal["write_stall", "watch_gap", "whole_again"]) -> float | None:
        """The worst of a figure over all runs, None where it was not measured."""
        values = [value for run in self.runs if (value := getattr(run, name)) is not None]
        return max(values, default=None)


@define
class Step:
    """Something else that was promised and put to the test: the install, a second one, drift, a drain."""

    name: str
    title: str
    promise: str
    figures: list[tuple[str, str]] = field(factory=list)
    problems: list[str] = field(factory=list)
    load: tuple[tuple[str, float], ...] = ()
    seconds: float = 0.0
    verdict: Verdict = "error"


@define
class Comparison:
    """One fault, injected equally often into the guide's balancers and into ours; observed for ``limit`` seconds."""

    title: str
    limit: float
    guide: FaultEntry
    ours: FaultEntry


@frozen
class Untested:
    """What was not put to the test, and why."""

    title: str
    reason: str


@define
class Certificate:
    """All of it. Mutable: it is written down again after every test, so that a crash loses nothing."""

    title: str
    kind: Literal["kubernetes", "stand-ins"] = "kubernetes"
    endpoint: str = ""
    began: str = field(factory=moment)
    ended: str = ""
    seed: int = 0
    repeat: int = 1
    command: str = ""
    version: str = ""
    interrupted: str = ""
    hosts: list[HostFacts] = field(factory=list)
    facts: list[tuple[str, str]] = field(factory=list)
    checks: list[tuple[str, str]] = field(factory=list)
    steps: list[Step] = field(factory=list)
    faults: list[FaultEntry] = field(factory=list)
    comparisons: list[Comparison] = field(factory=list)
    untested: list[Untested] = field(factory=list)
    notes: list[str] = field(factory=list)
    schema: str = SCHEMA

    @property
    def entries(self) -> Iterable[Step | FaultEntry]:
        """Everything that was put to the test."""
        return [*self.steps, *self.faults, *(comparison.ours for comparison in self.comparisons)]

    @property
    def verdict(self) -> Literal["certified", "not certified", "incomplete"]:
        """Certified if something was put to the test and every promise was kept."""
        verdicts = [entry.verdict for entry in self.entries]
        if "broken" in verdicts:
            return "not certified"
        if self.interrupted or not verdicts or "error" in verdicts:
            return "incomplete"
        return "certified"

    def as_json(self) -> dict[str, object]:
        """What goes into the file."""
        return {"schema": self.schema, "verdict": self.verdict, **asdict(self)}
