"""What a person reads: plans, reports and errors as text, and what a program reads: the same as values."""

from __future__ import annotations

import ast
import inspect
import json
import re
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import attrs
import pytest

import k8sha
from k8sha import errors, events
from k8sha.errors import (
    AccessDenied,
    ApplyError,
    BackupError,
    BundleError,
    ConfigError,
    HostBusy,
    HostErrors,
    K8shaError,
    KubeError,
    NotReady,
    PreflightError,
    ProbeError,
    Problem,
    Unreachable,
    VerifyError,
    merged,
)
from k8sha.report import Change, Diff, Plan, Report, Result, Status

from .conftest import Golden

DIFF = Diff.of("@@ -1 +1 @@", "-old", "+new")
PLAN = Plan(
    (
        Change("LoadBalancer", "haproxy", "lb-1", "file /etc/haproxy/haproxy.cfg", DIFF),
        Change("LoadBalancer", "haproxy", "lb-1", "service haproxy", Diff.of("because file /etc/h changes")),
        Change("LoadBalancer", "keepalived", "lb-2", "service keepalived", Diff.of("state: inactive -> active")),
    ),
    (Change("LoadBalancer", "keepalived", "lb-2", "the VIP", Diff.of("nobody holds it")),),
    trips=4,
)
RESULTS = (
    Result("Node", "base", "w-1", "swap", Status.UNCHANGED),
    Result("Node", "base", "w-1", "sysctl /etc/sysctl.d/90-k8sha.conf", Status.CHANGED, DIFF, 0.25),
    Result("Node", "base", "w-1", "modules", Status.FAILED, DIFF, 1.5, 1, "modprobe: FATAL: no br_netfilter\n"),
    Result("Node", "base", "w-1", "service containerd", Status.SKIPPED, DIFF),
    Result("Node", "base", "w-2", "service containerd", Status.DIVERGED, Diff.of("state: failed -> active"), 3.0),
    Result("Node", "base", "w-3", "command kubeadm join", Status.LOST, DIFF),
)
TWO = (Problem("lb-1", "port 6443 is taken by nginx", "stop it"), Problem("w-1", "its clock is 600 s off"))
ERRORS: tuple[K8shaError, ...] = (
    ConfigError.of("host name 'A;b'", "is not a DNS name", "use lower-case letters"),
    ConfigError(TWO),
    PreflightError(TWO),
    BundleError(TWO),
    BackupError(TWO),
    VerifyError(TWO),
    Unreachable("w-1", "no connection to 192.168.56.20:22: timed out", "check that the host is up"),
    AccessDenied("w-1", "sudo refused the password"),
    HostBusy("w-1", "ann@desk pid 7", process=4711),
    HostBusy("w-1", "ann@desk pid 7", orphaned=True, process=4711),
    HostErrors((Unreachable("w-1", "gone"), AccessDenied("w-2", "its host key has changed"))),
    ProbeError("w-1", "file /etc/fstab", "cat: /etc/fstab: Input/output error\n"),
    ApplyError(Report(RESULTS), (Unreachable("w-4", "the link was lost"),)),
    NotReady("w-1: etcd is healthy", 119.7, "2 of 3 members answer"),
    KubeError("get", "/readyz", 503, "etcd is not ready"),
    KubeError("connect", "192.168.56.100:6443", 0, "nothing answers"),
)


def test_a_plan_reads_like_a_diff(golden: Golden) -> None:
    golden("texts/plan.txt", f"{PLAN}\n\n{Plan()}\n\n{Plan(waits=PLAN.waits)}\n")


def test_a_report_has_a_line_for_what_happened(golden: Golden) -> None:
    golden("texts/report.txt", f"{Report(RESULTS, trips=12, seconds=34.56)}\n\n{Report()}\n")


def test_errors_name_host_cause_and_remedy(golden: Golden) -> None:
    golden("texts/errors.txt", "".join(f"{type(error).__name__}\n{error}\n\n" for error in ERRORS))


# Where the remedy is in the cause, which others word: the arithmetic of a quorum, another error's text, a check's.
WORDED_ELSEWHERE = {"components/standing.py", "etcd/changes.py", "etcd/backup.py", "verbs.py"}
LAST = {"Problem": 3, "Error.of": 3, "Unreachable": 3, "AccessDenied": 3, "HostError": 3}
"""How many arguments a call has that gives a remedy."""


def test_every_error_is_raised_with_a_remedy() -> None:
    root, without = Path(errors.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            kind = "Error.of" if name.endswith("Error.of") else name
            if len(call.args) + len(call.keywords) < LAST.get(kind, 0):
                without.append(f"{path.relative_to(root)}:{call.lineno}: {name}")
    assert [where for where in without if where.partition(":")[0] not in WORDED_ELSEWHERE] == []


# What a text calls these names, as the documentation's examples do.
VALUES = {
    "cluster": k8sha.Cluster,
    "plane": k8sha.ControlPlane,
    "etcd": k8sha.EtcdCluster,
    "workers": k8sha.Workers,
    "lb": k8sha.LoadBalancer,
    **{kind.__name__: kind for kind in (k8sha.Cluster, k8sha.ControlPlane, k8sha.EtcdCluster, k8sha.Workers)},
}
CALLED = re.compile(rf"(?<![\w.])((?:{'|'.join(VALUES)})(?:\.[a-z_]+)+)\(")
BY_ITSELF = re.compile(r"(?<![\w.$])([a-z_]+)\(\)")
"""A verb whose object goes without saying, such as "restore()"."""


def said() -> Iterator[tuple[str, str]]:
    """Every text of the package and page of the documentation, and where it is."""
    root = Path(errors.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(root)}:{node.lineno}", node.value
    for path in (*sorted((root.parent / "docs").glob("*.md")), *root.parent.glob("README*.md")):
        yield path.name, path.read_text()


def test_every_verb_that_a_text_names_is_there() -> None:
    wrong, found = [], set()
    for where, text in said():
        for name in CALLED.findall(text):
            first, *rest = name.split(".")
            kind: object = VALUES[first]
            if rest[0] == "etcd":  # a plane's own
                kind, rest = k8sha.EtcdCluster, rest[1:]
            found.add(name)
            wrong += [f"{where}: {name}()"] if rest and not callable(getattr(kind, rest[0], None)) else []
    assert wrong == []
    assert {"plane.restore", "plane.etcd.disarm", "cluster.install", "etcd.replace"} <= found


# Verbs of other things, and what only looks like one.
OTHERS = {"ask", "close", "listed", "stages", "time", "uncordon", "uninstall"}


def test_every_verb_that_a_remedy_names_by_itself_is_there() -> None:
    lines = ((where, text) for where, text in said() if "\n" not in text and "$" not in text)
    verbs = {name: where for where, text in lines for name in BY_ITSELF.findall(text) if name not in OTHERS}
    known = {name for kind in VALUES.values() for name in dir(kind) if not name.startswith("_")}
    assert {name: where for name, where in verbs.items() if name not in known} == {}
    assert {"install", "restore", "rejoin"} <= set(verbs)


def test_every_error_is_told_above() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, K8shaError)}
    leaves = {kind for kind in kinds if not any(kind is not other and issubclass(other, kind) for other in kinds)}
    assert leaves == {type(error) for error in ERRORS}
    tree = str(errors.__doc__)
    assert [kind.__name__ for kind in kinds if not kind.__name__.startswith("_") and kind.__name__ not in tree] == []


def test_an_event_is_one_of_a_closed_set_of_frozen_values() -> None:
    union = set(typing.get_args(events.Event))
    classes = {kind for _, kind in inspect.getmembers(events, inspect.isclass) if kind.__module__ == events.__name__}
    assert union == classes
    for kind in union:
        assert attrs.has(kind)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            kind.__setattr__(kind.__new__(kind), attrs.fields(kind)[0].name, "other")


def test_plans_and_reports_turn_into_json() -> None:
    for value in (PLAN, Report(RESULTS)):
        text = json.dumps(attrs.asdict(value), default=lambda item: item.value if isinstance(item, Enum) else str(item))
        assert "haproxy" in text or "containerd" in text


def test_an_empty_plan_is_false_and_waits_are_no_changes() -> None:
    assert not Plan()
    assert not Plan(waits=PLAN.waits)
    assert PLAN
    assert (PLAN + PLAN).trips == 8


def test_a_report_knows_whether_all_went_well() -> None:
    assert Report(RESULTS[:2]).ok
    assert [result.resource for result in Report(RESULTS).changed] == ["sysctl /etc/sysctl.d/90-k8sha.conf"]
    for result in RESULTS[2:]:
        assert Report((result,)).ok is (result.status is Status.SKIPPED)


def test_a_failure_shows_the_end_of_what_was_said() -> None:
    said = "\n".join(f"line {number}" for number in range(100))
    text = Result("c", "s", "h", "r", Status.FAILED, exit=9, detail=said).explain()
    assert "line 99" in text
    assert "line 80" not in text


def test_one_problem_needs_no_headline() -> None:
    assert str(PreflightError(TWO[:1])) == "lb-1: port 6443 is taken by nginx — stop it"


def test_errors_are_merged_into_one_that_says_all_once() -> None:
    gone, denied = Unreachable("w-1", "gone"), AccessDenied("w-2", "no")
    assert merged([gone]) is gone
    both = merged([HostErrors([gone, denied]), NotReady("x", 1, "y")])
    assert isinstance(both, HostErrors)
    assert both.errors[:2] == (gone, denied)
    applied = merged([ApplyError(Report(RESULTS[:3])), gone, ApplyError(Report(RESULTS[3:]), [denied])])
    assert isinstance(applied, ApplyError)
    assert applied.report.results == RESULTS
    assert applied.errors == (gone, denied)
