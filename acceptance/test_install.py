"""Installing, and installing again."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from k8sha import Checked

from . import facts
from .report import span
from .session import Broken, Session

Record = Callable[[str, object], None]

MEMORY = 250.0
"""MiB that the whole process may take to install a cluster of eight hosts, pytest included."""


def test_install(session: Session, record_property: Record) -> None:
    """The cluster is installed, and verify() finds nothing wrong with it."""
    hosts = len(session.subject.cluster.hosts)
    with session.step("install", "Installed", f"{hosts} hosts become what was asked for, and verify() agrees") as step:
        began = time.monotonic()
        report = session.install()
        took = time.monotonic() - began
        step.figures += [("wall time", span(took)), ("changes", str(len(report.changed))), ("trips", str(report.trips))]
        step.figures += facts.unavoidable(report, tuple(host.name for host in session.subject.masters))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux tells it in KiB
        step.figures.append(("memory at most", f"{memory:.0f} MiB"))
        began = time.monotonic()
        session.check_health(patience=0)
        step.figures += [("checks", str(len(session.certificate.checks))), ("verify", span(time.monotonic() - began))]
        session.describe()
        record_property("seconds", round(took, 2))
        record_property("changes", len(report.changed))
        record_property("trips", report.trips)
        record_property("memory", round(memory))
        record_property("load", session.subject.loads())
        if hosts <= 8 and memory > MEMORY:
            raise Broken(f"it took {memory:.0f} MiB of memory; promised are at most {MEMORY:.0f}")


def test_install_again(healthy: Session, record_property: Record) -> None:
    """A second install changes nothing, and costs one SSH trip per host and stage."""
    with healthy.step("again", "Installed again", "nothing changes, in one SSH trip per host and stage") as step:
        plan = healthy.subject.cluster.plan()
        began = time.monotonic()
        report = healthy.install()
        took = time.monotonic() - began
        expected = healthy.expected_trips
        step.figures += [("wall time", span(took)), ("changes", str(len(report.changed))), ("trips", str(report.trips))]
        record_property("seconds", round(took, 2))
        record_property("trips", report.trips)
        record_property("expected_trips", expected)
        assert not any(isinstance(event, Checked) for event in healthy.events)
        if plan:
            raise Broken(f"the plan of what was just installed is not empty:\n{plan}")
        if report.changed:
            raise Broken(f"a second install changed something:\n{report}")
        if report.trips != expected:
            raise Broken(f"{report.trips} trips were made, one per host and stage are {expected}")
