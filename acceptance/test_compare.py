"""The deployment guide's balancers against ours: the same hosts, the same stand-ins, the same client, in one run.

``pytest acceptance/test_compare.py --compare``. Each fault is injected five times, and each observation ends after
12 s: "did not recover within 12 s" is a result. The guide's come first, on hosts that k8sha's have not touched.
"""

from __future__ import annotations

from random import Random

import pytest

from k8sha import Cluster

from . import facts
from .baseline import GuideBalancers
from .faults import Fault, balancer_faults, master_frozen
from .lab_cluster import lab_balancers, lab_hosts
from .record import Comparison, FaultEntry
from .session import Broken, Session
from .standin import StandIns
from .subject import Subject
from .test_install import Record
from .trial import Trial

LIMIT = 12.0
RUNS = 5


def compared() -> tuple[Fault, ...]:
    """The faults that both are put to. (A killed proxy is brought back by its unit at once: nothing to compare.)"""
    return (
        *(fault for fault in balancer_faults() if fault.name != "proxy-killed"),
        master_frozen(kubernetes=False, etcd=False),
    )


@pytest.fixture(scope="module")
def pair(session: Session) -> tuple[Subject, Subject]:
    """The guide's balancers and ours, in front of the same stand-ins."""
    lab = session.open_lab()
    balancers, masters = lab_hosts(lab, lab.topology.balancers), lab_hosts(lab, lab.topology.masters)
    vip = str(lab.topology.vip)
    stand_ins = StandIns(masters, names=(vip,))
    title = f"Lab {lab.topology.network}: the guide's balancers and k8sha's"
    certificate = session.certificate
    certificate.title, certificate.kind, certificate.endpoint = title, "stand-ins", f"{vip}:6443"
    guide = Subject(Cluster(stand_ins, GuideBalancers(balancers, vip, masters)), title, lab)
    return guide, Subject(Cluster(lab_balancers(lab, masters), stand_ins), title, lab)


@pytest.fixture(scope="module")
def measured(session: Session, pair: tuple[Subject, Subject]) -> dict[str, Comparison]:
    """Every run of every fault, of the guide's balancers and then of ours."""
    found: dict[str, list[FaultEntry]] = {}
    for subject, whose in zip(pair, ("the guide's", "k8sha's"), strict=True):
        session.tell.say(f"installing {whose} balancers")
        with session.tell.progress() as progress, subject.cluster:
            subject.cluster.install(progress)
        for fault in compared():
            entry = _runs(session, subject, fault, whose)
            found.setdefault(fault.name, []).append(entry)
    made = {name: Comparison(guide.title, LIMIT, guide, ours) for name, (guide, ours) in found.items()}
    session.certificate.comparisons = list(made.values())
    session.certificate.hosts = facts.hosts(pair[1])
    session.save()
    return made


def _runs(session: Session, subject: Subject, fault: Fault, whose: str) -> FaultEntry:
    entry = session.entry(fault)
    random = Random(f"{session.options.seed} {fault.name}")
    session.tell.begin(f"{whose}: {fault.title}", str(fault.promise))
    with session.workload("compare", subject=subject, watch=False) as client:
        trial = Trial(subject, client, random, subject.serials(), session.tell.wait)
        for _ in range(max(RUNS, session.options.repeat)):
            entry.runs.append(trial.run(fault, verify=False, most=LIMIT))
    entry.problems = [words for run in entry.runs for words in run.broken]
    entry.verdict = "broken" if entry.problems else "kept"
    session.tell.end(f"{whose}: {fault.title}", entry.verdict, facts.in_a_line(entry))
    return entry


@pytest.mark.parametrize("name", [fault.name for fault in compared()])
def test_compare(name: str, measured: dict[str, Comparison], record_property: Record) -> None:
    """Ours keeps its promise in the median run, and is never worse than the guide's."""
    comparison = measured[name]
    guide, ours = comparison.guide, comparison.ours
    for whose, entry in (("guide", guide), ("ours", ours)):
        record_property(f"{whose}_outages_seconds", [run.during.seconds for run in entry.runs])
        record_property(f"{whose}_failed_requests", [run.during.failed for run in entry.runs])
        record_property(f"{whose}_load", [run.load for run in entry.runs])
    median, limit = ours.outage[0], ours.limits["outage"]
    if limit is not None and (median is None or median > limit):
        raise Broken(f"the median outage is {median} s; promised are at most {limit} s")
    if ours.limits["failed"] is not None and ours.median_failed > ours.limits["failed"]:
        raise Broken(f"{ours.median_failed} requests failed in the median run; promised are {ours.limits['failed']}")
    assert sum(run.during.failed for run in ours.runs) <= sum(run.during.failed for run in guide.runs)
