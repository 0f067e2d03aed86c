"""The first master's machine is thrown away with its disk, and a blank one takes its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from k8sha import Cluster

from .history import outage
from .replace_in_lab import replace_first
from .report import span
from .resume import work_with_kills
from .session import Broken, Session
from .test_install import Record
from .vagrant import Lab

TITLE = "First master replaced"
KILLS = 10
"""So many steps it has at least, and is killed at each."""


def _lab(session: Session) -> Lab:
    """The lab, where there is one with Kubernetes in it: nobody's own machine is thrown away for a test."""
    if session.lab is None or session.subject.plane is None:
        session.skip(TITLE, "needs the lab, with Kubernetes: a machine is thrown away for it")
    assert session.lab is not None
    return session.lab


def test_first_master_replaced(healthy: Session, record_property: Record) -> None:
    """Its machine is destroyed, a blank one comes, and a client goes on writing through the VIP meanwhile."""
    lab, subject = _lab(healthy), healthy.subject
    assert subject.plane is not None
    first = subject.plane.hosts[0]
    promise = "a blank machine takes its place, the plan is empty after it, and what was written is there"
    with healthy.step("first-master-replaced", TITLE, promise) as step:
        with healthy.workload("replaced") as client:
            client.settle(client.now(), least=2)
            begin = client.now()
            first.close()
            lab.recreate(first.name)
            blank = client.now()
            with healthy.tell.progress() as progress:
                began = time.monotonic()
                replace_first(subject.cluster, progress)
                took = time.monotonic() - began
            whole = client.now()
            client.settle(client.now(), least=3)
            end = client.now()
            client.answers_until(end)
            lost = outage(client.history().probes, begin, blank)
            seen = outage(client.history().probes, blank, end)
        step.figures += [
            ("replaced, from a blank machine to a whole cluster", span(took)),
            (f"while its machine was destroyed, of {lost.total} requests failed", str(lost.failed)),
            (f"while it was replaced, of {seen.total} requests failed", str(seen.failed)),
        ]
        record_property("seconds", round(took, 1))
        record_property("failed_requests_during_replacement", seen.failed)
        assert whole >= blank
        problems = list(healthy.amiss(step, client, end))
        if plan := subject.cluster.plan():
            problems.append(f"the plan is not empty after the replacement:\n{plan}")
        if problems:
            raise Broken("\n".join(problems))
        healthy.check_health()


@pytest.mark.parametrize("at", ["changed", "began"])
def test_killed_replacement(
    session: Session, at: str, record_property: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is killed, replacing the first master again ends in the same healthy cluster."""
    cluster = session.subject.cluster  # which brings the lab up
    lab = _lab(session)
    _installed(cluster)
    lab.recreate(lab.topology.masters[0].name)
    cluster.close()

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"{time.strftime('%X')} {text}", flush=True)

    chain = work_with_kills(Path(__file__).with_name("replace_in_lab.py"), at=at, tell=tell)
    record_property("kills", len(chain.kills))
    record_property("seconds", round(chain.seconds, 1))
    record_property("load", session.subject.loads())
    promise = "however often it is killed, the next run goes on, and the plan is empty in the end"
    with session.step(f"replacement-killed-{at}", f"Replacement killed ({at})", promise) as step:
        step.figures += chain.figures
        if words := chain.amiss(KILLS):
            raise Broken(words)
        with cluster:
            if plan := cluster.plan():
                raise Broken(f"the plan is not empty after the replacement:\n{plan}")
            cluster.verify()


def _installed(cluster: Cluster) -> None:
    with cluster:
        if cluster.plan():
            cluster.install()
        cluster.verify()
