"""A quorum lost for good: two masters' etcd wiped, and the cluster made anew from a backup, through the VIP."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sha import ControlPlane, Folder, Host, K8shaError, Workers
from k8sha.kube import Api, Json
from k8sha.waiting import Check, NotYet, wait_for

from .report import span
from .restore_in_lab import archives
from .resume import work_with_kills
from .rollback import Workloads
from .session import Broken, Session
from .test_install import Record
from .test_replace import KILLS

TITLE = "Quorum lost, restored"
UNDONE = "A restore taken back"
OBJECTS = 30
LATE = 10
"""Objects that are written before the backup, and after it."""
LIMIT = 45.0
"""Seconds from the call to an answering VIP, on three members."""

_NAMESPACE = "/api/v1/namespaces/k8sha-restore"


def _write(api: Api, name: str) -> None:
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "k8sha-restore"},
        "data": {"name": name},
    }
    api.apply(item)


def _written(api: Api) -> set[str]:
    """Objects that are in the backup to come."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "k8sha-restore"}})
    old = {f"old-{number}" for number in range(OBJECTS)}
    for name in sorted(old):
        _write(api, name)
    return old


def _names(api: Api) -> set[str]:
    return {item["metadata"]["name"] for item in api.get(f"{_NAMESPACE}/configmaps")["items"]}


def _away(api: Api) -> None:
    """The namespace is gone, with all that is in it."""
    api.delete(_NAMESPACE)
    _soon(
        "the namespace is gone",
        lambda: "k8sha-restore" not in {item["metadata"]["name"] for item in api.get("/api/v1/namespaces")["items"]},
    )


def _wiped(host: Host) -> None:
    """Its member stops, and finds nothing when it starts again."""
    text = "for p in $(pgrep -x etcd); do kill -KILL $p; done; rm -rf /var/lib/etcd/member"
    exit, _, err = host.execute(text, timeout=60)
    if exit != 0:
        raise Broken(f"{host}: its data could not be wiped: {err.decode(errors='replace')}")


class _Watch:
    """A watch as any controller has one: lists, watches on from there, and lists anew where it is told to."""

    def __init__(self, api: Api) -> None:
        self._api, self._end = api, threading.Event()
        self.names: set[str] = set()
        self.thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> _Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.thread.join()

    def _run(self) -> None:
        since = ""
        while not self._end.wait(0.2):
            try:
                if not since:
                    listed = self._api.get(f"{_NAMESPACE}/configmaps")
                    self.names = {item["metadata"]["name"] for item in listed["items"]}
                    since = listed["metadata"]["resourceVersion"]
                since = self._hear(since)
            except K8shaError as error:
                if getattr(error, "status", 0) == 410:
                    since = ""

    def _hear(self, since: str) -> str:
        path = f"{_NAMESPACE}/configmaps"
        for event in _events(self._api.get(path, watch="true", resourceVersion=since, timeoutSeconds="5")):
            kind, meta = event["type"], event["object"]["metadata"]
            if kind == "ERROR":
                return ""
            (self.names.discard if kind == "DELETED" else self.names.add)(meta.get("name", ""))
            since = meta["resourceVersion"]
        return since


def _events(answer: object) -> Iterator[Json]:
    """One event is decoded already; several are lines."""
    if isinstance(answer, dict):
        yield answer
    elif isinstance(answer, str):
        yield from (json.loads(line) for line in answer.splitlines() if line)


def _soon(sentence: str, holds: Callable[[], bool]) -> None:
    def look() -> str:
        if not holds():
            raise NotYet("it does not")
        return "so"

    wait_for(Check(sentence, look), timeout=120)


def test_lost_quorum_is_restored(healthy: Session, tmp_path: Path, record_property: Record) -> None:
    """Every object of the backup is back through the VIP, later ones are gone and told, and the cluster works."""
    plane = healthy.subject.plane
    if plane is None or not plane.etcd.stacked or len(plane.hosts) < 3 or healthy.lab is None:
        healthy.skip(TITLE, "needs the lab, with three masters that have Kubernetes: their data are wiped for it")
    assert plane is not None
    workers = [host for group in healthy.subject.cluster.of(Workers) for host in group.hosts]
    promise = f"objects of the backup are back, later ones gone, and the VIP answers within {LIMIT:.0f} s"
    with healthy.step("quorum-restored", TITLE, promise) as step:
        api = plane.api
        old = _written(api)
        work = _workloads(plane, workers)
        work.apply("kept", 2)
        work.settle({"kept": 2})
        backup = plane.backup([Folder(tmp_path)])
        for number in range(LATE):
            _write(api, f"late-{number}")
        work.apply("kept", 4)
        work.apply("late", 2)
        work.settle({"kept": 4, "late": 2})
        before = _revision(plane)
        with _Watch(Api(plane.kubeconfig, plane.endpoint, plane.hosts)) as watch:
            _soon("the watch has seen the late ones", lambda: "late-9" in watch.names)
            for host in plane.hosts[1:3]:
                _wiped(host)
            began = time.monotonic()
            done = plane.restore(backup, workers=workers)
            took = time.monotonic() - began
            api.close()
            found = _names(api)
            _soon("the watch has seen the way back", lambda: old <= watch.names and "late-9" not in watch.names)
        went_back = work.deployments()
        rolled = work.settle({"kept": 2})
        work.apply("kept", 3)
        work.settle({"kept": 3})  # the scheduler and the controllers are at work
        step.figures += [
            ("until the VIP answered", span(done.answering)),
            ("until nodes and agents were whole", span(took)),
            ("until nodes ran the pods of the backup and no others", span(rolled)),
            ("revisions lost, and told", str(done.lost)),
        ]
        record_property("seconds_to_answer", round(done.answering, 1))
        if not old <= found or any(name.startswith("late-") for name in found):
            raise Broken(f"{len(old & found)} of {OBJECTS} are back, and {len(found - old)} others are there")
        if went_back != {"kept": 2}:
            raise Broken(f"controllers were told of {went_back}, the backup has 2 replicas of one Deployment")
        if done.revision <= before or (done.lost or 0) < LATE:
            raise Broken(f"revision {done.revision} after {before}; lost, as told: {done.lost}")
        healthy.check_health()
        if done.answering > LIMIT * healthy.options.slack:
            raise Broken(f"the VIP answered after {done.answering:.1f} s")
        _away(api)
        plane.accept(workers=workers)


def test_restore_is_taken_back(healthy: Session, tmp_path: Path, record_property: Record) -> None:
    """The backup was the wrong one: after undo() all that was written after it is there again, and nothing is amiss."""
    plane = healthy.subject.plane
    if plane is None or not plane.etcd.stacked or healthy.lab is None:
        healthy.skip(UNDONE, "needs the lab, with Kubernetes: its data are exchanged for it")
    assert plane is not None
    workers = [host for group in healthy.subject.cluster.of(Workers) for host in group.hosts]
    with healthy.step("restore-undone", UNDONE, "all that the restore took away is back") as step:
        api = plane.api
        old = _written(api)
        backup = plane.backup([Folder(tmp_path)])
        late = {f"late-{number}" for number in range(LATE)}
        for name in sorted(late):
            _write(api, name)
        plane.restore(backup, workers=workers)
        api.close()
        if left := _names(api) & late:
            raise Broken(f"{len(left)} later objects outlived the restore")
        done = plane.undo(workers=workers)
        api.close()
        if missing := (old | late) - _names(api):
            raise Broken(f"{len(missing)} of {OBJECTS + LATE} objects are not back")
        step.figures += [("undo()", span(done.seconds))]
        record_property("seconds_to_undo", round(done.seconds, 1))
        healthy.check_health()
        _away(api)
        plane.accept(workers=workers)


def _workloads(plane: ControlPlane, workers: list[Host]) -> Workloads:
    """Deployments beside the objects, and every node that may run their pods."""
    return Workloads(plane.api, "k8sha-restore", plane.source.pause_image(plane.version), (*plane.hosts, *workers))


@pytest.mark.parametrize("at", ["changed", "began"])
def test_killed_restore(session: Session, at: str, record_property: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is killed, restoring again ends with the backup's objects, no later ones, and nothing amiss."""
    subject = session.subject  # which brings the lab up
    lab, cluster, plane = session.lab, subject.cluster, subject.plane
    if lab is None or plane is None:
        session.skip(TITLE, "needs the lab, with Kubernetes: its data are exchanged for it")
    assert lab is not None
    assert plane is not None
    workers = [host for group in cluster.of(Workers) for host in group.hosts]
    folder = archives(lab)
    shutil.rmtree(folder, ignore_errors=True)
    with cluster:
        if cluster.plan():
            cluster.install()
        plane.accept(workers=workers)  # what an earlier one has kept
        old = _written(plane.api)
        plane.backup([Folder(folder)])
        for number in range(10):
            _write(plane.api, f"late-{number}")
        before = _revision(plane)

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"{time.strftime('%X')} {text}", flush=True)

    module = Path(__file__).with_name("restore_in_lab.py")
    chain = work_with_kills(module, at=at, tell=tell)
    record_property("kills", len(chain.kills))
    record_property("seconds", round(chain.seconds, 1))
    record_property("load", session.subject.loads())
    plane.api.close()
    promise = "however often it is killed, the next run goes on, and the backup's objects are back in the end"
    with session.step(f"restore-killed-{at}", f"Restore killed ({at})", promise) as step:
        step.figures += chain.figures
        if words := chain.amiss(KILLS):
            raise Broken(words)
        with cluster:
            found = _names(plane.api)
            if missing := old - found:
                raise Broken(f"not there: {sorted(missing)}")
            if late := sorted(name for name in found if name.startswith("late-")):
                raise Broken(f"written after the backup, and there: {late}")
            if (now := _revision(plane)) <= before:
                raise Broken(f"the revision fell from {before} to {now}")
            if plan := cluster.plan():
                raise Broken(f"the plan is not empty after the restore:\n{plan}")
            cluster.verify()
            _away(plane.api)
            plane.accept(workers=workers)


def _revision(plane: ControlPlane) -> int:
    return max(view.revision for view in plane.etcd.views().values())
