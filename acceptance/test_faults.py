"""Every fault that fits the cluster, under load: at rest, broken, healed, whole again.

The kubelet stopped on a master is not among them. Static pods live on without it: API server and etcd would not notice,
and neither would a client.
"""

from __future__ import annotations

import pytest

from .faults import catalogue
from .session import Session
from .test_install import Record

NAMES = (
    "holder-frozen",
    "proxy-stopped",
    "proxy-killed",
    "proxy-hung",
    "master-power-cut",
    "master-frozen",
    "etcd-leader-killed",
    "etcd-member-killed",
    "etcd-member-hung",
)


@pytest.mark.parametrize("name", NAMES)
def test_fault(name: str, healthy: Session, record_property: Record) -> None:
    """The fault costs no more than what was promised, and the cluster is whole again afterwards."""
    fault = next(fault for fault in catalogue(healthy.subject) if fault.name == name)
    if missing := fault.missing(healthy.subject):
        healthy.skip(fault.title, f"needs {missing}")
    try:
        healthy.put_to_the_test(fault)
    finally:
        entry = healthy.certificate.faults[-1]
        record_property("promise", entry.promise)
        record_property("seed", healthy.options.seed)
        for run in entry.runs:
            record_property("outage_seconds", run.during.seconds)
            record_property("failed_requests", run.during.failed)
            record_property("requests", run.during.total)
            record_property("lost_in_flight", run.in_flight)
            record_property("failed_on_return", run.after.failed)
            record_property("longest_gap_seconds", round(run.during.gap, 3))
            record_property("write_stall_seconds", run.write_stall)
            record_property("watch_gap_seconds", run.watch_gap)
            record_property("whole_again_seconds", run.whole_again)
            record_property("load", run.load)
