"""Five things changed by hand on different hosts: the plan names exactly those, install repairs exactly those."""

from __future__ import annotations

from random import Random

from . import drift
from .history import outage
from .report import span
from .session import Broken, Session
from .test_install import Record


def test_drift(healthy: Session, record_property: Record) -> None:
    """And nobody notices: a client keeps asking all the while."""
    cluster = healthy.subject.cluster
    made = drift.changes(healthy.managed, Random(f"{healthy.options.seed} drift"))
    if not made:
        healthy.skip("Drift", "the cluster manages no files or services on hosts")
    promise = "the plan names exactly what was changed by hand, install repairs exactly that, and no request fails"
    with healthy.step("drift", "Drift", promise) as step, healthy.workload("drift", watch=False) as client:
        client.settle(client.now(), least=2)
        begin = client.now()
        for change in made:
            exit, _, err = next(host for host in cluster.hosts if host.name == change.host).execute(change.command)
            assert exit == 0, f"{change.host}: {change.command}: {err.decode()}"
        plan = cluster.plan()
        report = healthy.install()
        client.settle(client.now(), least=2)
        end = client.now()
        client.answers_until(end)
        seen = outage(client.history().probes, begin, end)
        named = {(change.host, change.resource) for change in plan.changes}
        repaired = {(result.host, result.resource) for result in report.changed}
        wanted = {change.key for change in made}
        step.figures += [
            ("changed by hand", str(len(wanted))),
            ("named", str(len(wanted & named))),
            ("repaired", str(len(wanted & repaired))),
            (f"of {seen.total} requests failed", str(seen.failed)),
            ("wall time", span(report.seconds)),
        ]
        record_property("changed", [f"{change.host}: {change.command}" for change in made])
        record_property("seconds", round(report.seconds, 2))
        record_property("failed_requests", seen.failed)
        problems = [*drift.compare("named", made, named), *drift.compare("repaired", made, repaired)]
        if left := cluster.plan():
            problems.append(f"after the repair the plan is not empty:\n{left}")
        if seen.failed > healthy.tolerated:
            problems.append(f"meanwhile {seen}")
        problems += healthy.amiss(step, client, end)
        if problems:
            raise Broken("\n".join(problems))
        healthy.check_health()
