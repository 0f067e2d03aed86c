"""Planned work, which nobody may notice: the VIP handed over, a worker drained."""

from __future__ import annotations

import time

from k8sha import LoadBalancer, NotReady

from . import budget
from .history import outage
from .report import seconds, span
from .session import Broken, Session
from .subject import part
from .test_install import Record


def test_balancer_drained(healthy: Session, record_property: Record) -> None:
    """The balancer that holds the VIP is taken out of service, and put back."""
    subject = healthy.subject
    title = "Balancer drained"
    lb = part(subject.cluster, LoadBalancer)
    if lb is None:
        healthy.skip(title, "needs balancers of k8sha's own")
    assert lb is not None
    with healthy.step("balancer-drained", title, "the VIP is handed over, and no request fails") as step:
        with healthy.workload("drained") as client:
            client.settle(client.now(), least=2)
            holder = subject.holders()[0]
            begin = client.now()
            try:
                lb.drain(holder)
                after = subject.holders()
                client.settle(client.now(), least=3)
            finally:
                lb.undrain(holder)
            client.settle(client.now(), least=3)
            end = client.now()
            client.answers_until(end)
            seen = outage(client.history().probes, begin, end)
        step.figures += [
            (f"of {seen.total} requests failed", str(seen.failed)),
            ("slowest answer", seconds(seen.slowest)),
        ]
        record_property("failed_requests", seen.failed)
        record_property("slowest_seconds", round(seen.slowest, 3))
        problems = list(healthy.amiss(step, client, end))
        if [host.name for host in after] == [holder.name] or len(after) != 1:
            problems.append(
                f"after {holder.name} was drained the VIP was on {', '.join(map(str, after)) or 'no balancer'}"
            )
        if seen.failed > healthy.tolerated:
            problems.append(str(seen))
        if problems:
            raise Broken("\n".join(problems))
        healthy.check_health()


def test_worker_drained(healthy: Session, record_property: Record) -> None:
    """A worker is emptied though a disruption budget stands in the way, and takes pods again afterwards."""
    subject = healthy.subject
    title = "Worker drained"
    workers = subject.workers
    if workers is None or len(workers.hosts) < 2:
        healthy.skip(title, "needs Kubernetes and at least two workers")
    assert workers is not None
    promise = (
        f"never fewer than {budget.LEAST} of {budget.REPLICAS} pods are ready, and a budget that allows nothing is kept"
    )
    with healthy.step("worker-drained", title, promise) as step, budget.Pods(workers.plane.api) as pods:
        victim = pods.busiest(tuple(host.name for host in workers.hosts))
        host = next(host for host in workers.hosts if host.name == victim)
        try:
            pods.allow(0)
            try:
                workers.drain(host, timeout=6)
            except NotReady:
                pass  # just so: the budget allows nothing
            else:
                raise Broken(f"{victim} was emptied though the disruption budget allowed no eviction")
            if pods.on(victim) == 0:
                raise Broken(f"pods left {victim} though the disruption budget allowed no eviction")
            pods.allow(budget.REPLICAS - budget.LEAST)
            began = time.monotonic()
            with pods.watched() as fewest:
                workers.drain(host, timeout=180)
                pods.all_ready()
            took = time.monotonic() - began
            left = pods.on(victim)
        finally:
            workers.uncordon(host)
        step.figures += [("wall time", span(took)), ("fewest ready", f"{fewest()} of {budget.REPLICAS}")]
        record_property("seconds", round(took, 2))
        record_property("fewest_ready", fewest())
        if left:
            raise Broken(f"{left} pods were left on {victim}")
        if fewest() < budget.LEAST:
            raise Broken(f"only {fewest()} pods were ready at one moment; the budget asks for {budget.LEAST}")
        healthy.check_health()
