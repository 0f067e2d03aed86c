"""The guide's test application: spread over the workers, answered at every node, and unharmed while each is drained."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from k8sha import Check, ControlPlane, NotYet, Workers, wait_for
from k8sha.policies import SampleApp

from .report import span
from .session import Broken, Session
from .subject import part
from .test_install import Record

IMAGE = "k8sha.io/busybox:1.37.0"
"""Every node has it from a bundle, so nothing is pulled."""

INTERVAL = 0.05
"""Seconds between two requests to one node, each over a new connection."""

LIMIT = 5.0
"""Seconds after which a request has failed."""


@define
class Visitors:
    """One visitor for each address, who asks until the end. Mutable: it counts."""

    asked: int = 0
    failed: list[str] = field(factory=list)
    _guard: threading.Lock = field(factory=threading.Lock)
    _over: threading.Event = field(factory=threading.Event)

    def _visit(self, url: str) -> None:
        while not self._over.wait(INTERVAL):
            error, began = "", time.monotonic()
            try:
                with urllib.request.urlopen(url, timeout=LIMIT) as answer:
                    said = answer.read().decode(errors="replace")
                    error = "" if " on " in said else f"answered {said[:80]!r}"
            except (urllib.error.URLError, OSError) as problem:
                error = str(getattr(problem, "reason", problem))
            with self._guard:
                self.asked += 1
                if error:
                    self.failed.append(f"{url} after {time.monotonic() - began:.2f} s: {error}")

    @contextmanager
    def at_work(self, urls: list[str]) -> Iterator[None]:
        """They ask meanwhile."""
        threads = [threading.Thread(target=self._visit, args=(url,), daemon=True) for url in urls]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(LIMIT + 1)


def test_sample_app(healthy: Session, record_property: Record) -> None:
    """Every worker is drained, one after the other, while every node's address is asked all the time."""
    title = "SampleApp while workers are drained"
    workers, plane = part(healthy.subject.cluster, Workers), part(healthy.subject.cluster, ControlPlane)
    if plane is None or workers is None or len(workers.hosts) < 2:
        healthy.skip(title, "needs Kubernetes and at least two workers")
    assert plane is not None
    assert workers is not None
    app = SampleApp(plane, workers=workers, image=IMAGE, check_images=False)
    with healthy.step("sample-app", title, "not one request fails while each worker is drained") as step:
        app.install()
        try:
            app.verify()
            visitors, began = Visitors(), time.monotonic()
            nodes = (*plane.hosts, *workers.hosts)
            with visitors.at_work([f"http://{host.address}:{app.port}/" for host in nodes]):
                for host in workers.hosts:
                    try:
                        workers.drain(host, timeout=300)
                        _whole(plane, app)
                    finally:
                        workers.uncordon(host)
            step.figures += [
                ("failed requests", f"{len(visitors.failed)} of {visitors.asked}"),
                ("workers drained", str(len(workers.hosts))),
                ("wall time", span(time.monotonic() - began)),
            ]
            record_property("asked", visitors.asked)
            record_property("failed", len(visitors.failed))
        finally:
            app.uninstall()
        if visitors.failed:
            raise Broken("; ".join(visitors.failed[:5]))


def _whole(plane: ControlPlane, app: SampleApp) -> None:
    """Every replica is ready again: the next drain finds the application as the first one did."""

    def look() -> str:
        path = f"/apis/apps/v1/namespaces/{app.namespace}/deployments/sample"
        ready = plane.api.get(path)["status"].get("readyReplicas", 0)
        if ready < app.replicas:
            raise NotYet(f"{ready} of {app.replicas} replicas are ready")
        return f"{ready} replicas"

    wait_for(Check("every replica of the sample is ready", look), timeout=120)
