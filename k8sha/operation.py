"""Day-2 work on hosts: stages that no install has, such as a restore, carried out under the hosts' locks."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable

from k8sha import verbs
from k8sha.errors import ApplyError
from k8sha.events import Listener
from k8sha.hosts.host import Host, holder
from k8sha.report import Outcome, Report, Result
from k8sha.stage import Step

__all__ = ["carry_out", "in_order"]


def carry_out(
    name: str, stages: Generator[Step, Outcome, None], hosts: Iterable[Host], listen: Listener, *, what: str
) -> Report:
    """Lock all these hosts, then carry out the stages in order, each being sent back what it saw.

    ``name`` is what events and results call it, ``what`` what another installer is told that finds a host locked, such
    as ``restores etcd``. Stages are as safe to run again as those of an install: what is done is probed as done.
    Raises HostBusy before anything changes; ApplyError whose report has every result so far; NotReady; or an error of
    the link.
    """
    hosts = tuple(hosts)
    began = time.monotonic()
    before = sum(host.trips for host in hosts)
    results: list[Result] = []

    def report() -> Report:
        return Report(tuple(results), sum(host.trips for host in hosts) - before, time.monotonic() - began)

    def one(stage: Step) -> Outcome:
        outcome, part = stage.install(name, listen)
        results.extend(part)
        return outcome

    with verbs.locked(hosts, listen, holder(what)):
        try:
            verbs.drive(stages, one)
        except ApplyError as error:
            results += error.report.results
            raise ApplyError(report(), error.errors) from None
    return report()


def in_order(stages: Iterable[Step]) -> Generator[Step, Outcome, None]:
    """Stages that are all known beforehand."""
    for stage in stages:  # noqa: UP028 (a stage's outcome is not sent on to a plain iterator)
        yield stage
