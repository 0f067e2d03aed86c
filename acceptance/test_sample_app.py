"""The guide's test application: spread over the workers, answered at every node, and unharmed while each is drained."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field, fields

from k8sha import Bundle, Check, ControlPlane, Host, NotYet, Workers, wait_for
from k8sha.artifacts import Artifact, unreachable
from k8sha.policies import SampleApp
from k8sha.sources import Source

from .report import span
from .session import Broken, Session
from .subject import part
from .test_install import Record

INTERVAL = 0.05
"""Seconds between two requests to one node, each over a new connection."""

LIMIT = 5.0
"""Seconds after which a request has failed."""


@define
class Visitors:
    """One visitor for each address, who asks until the end. Mutable: it counts."""

    asked: dict[str, int] = field(factory=dict)
    failed: list[str] = field(factory=list)
    ended: set[str] = field(factory=set)
    """Whom the end has met at work."""
    _guard: threading.Lock = field(factory=threading.Lock)
    _over: threading.Event = field(factory=threading.Event)

    def _visit(self, url: str) -> None:
        while not self._over.wait(INTERVAL):
            error, began = "", time.monotonic()
            try:
                with urllib.request.urlopen(url, timeout=LIMIT) as answer:
                    said = answer.read().decode(errors="replace")
                    error = "" if " on " in said else f"answered {said[:80]!r}"
            except (urllib.error.URLError, http.client.HTTPException, OSError) as problem:
                error = repr(getattr(problem, "reason", problem))
            with self._guard:
                self.asked[url] = self.asked.get(url, 0) + 1
                if error:
                    self.failed.append(f"{url} after {time.monotonic() - began:.2f} s: {error}")
        with self._guard:
            self.ended.add(url)

    @contextmanager
    def at_work(self, urls: list[str]) -> Iterator[None]:
        """They ask meanwhile. What a visitor who was lost has not asked, nobody knows: that is a failure as well."""
        threads = [threading.Thread(target=self._visit, args=(url,), daemon=True) for url in urls]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(LIMIT + 1)
            with self._guard:
                self.failed += [f"{url} was never asked" for url in urls if not self.asked.get(url)]
                self.failed += [f"{url} was not asked to the end" for url in urls if url not in self.ended]


def available_image(source: Source) -> tuple[str, str]:
    """The busybox that every node has from a bundle, else the application's own if its registry lets us have it; and
    why there is none, empty where there is one."""
    bundled = source.image_names if isinstance(source, Bundle) else ()
    if found := sorted(name for name in bundled if "/busybox:" in name):
        return found[-1], ""
    usual = str(fields(SampleApp).image.default)
    why = ", ".join(problem.cause for problem in unreachable([Artifact("image", usual, "SampleApp")]))
    return usual, (
        f"needs an image of busybox: no bundle brings one to the nodes, and {usual} can't be had ({why}); put one "
        "into the bundle (docs/bundle.md), or open the way to that registry"
        if why
        else ""
    )


def test_sample_app(healthy: Session, record_property: Record) -> None:
    """Every worker is drained, one after the other, while every node's address is asked all the time."""
    title = "SampleApp while workers are drained"
    workers, plane = part(healthy.subject.cluster, Workers), part(healthy.subject.cluster, ControlPlane)
    if plane is None or workers is None or len(workers.hosts) < 2:
        healthy.skip(title, "needs Kubernetes and at least two workers")
    assert plane is not None
    assert workers is not None
    image, reason = available_image(plane.source)
    if reason:
        healthy.skip(title, reason)
    app = SampleApp(plane, workers=workers, image=image, check_images=False)
    with healthy.step("sample-app", title, "not one request fails while each worker is drained") as step:
        visitors, moved, began = Visitors(), 0, time.monotonic()
        try:
            app.install()
            app.verify()
            began = time.monotonic()
            nodes = (*plane.hosts, *workers.hosts)
            with visitors.at_work([f"http://{host.address}:{app.port}/" for host in nodes]):
                for host in workers.hosts:
                    moved += _replicas(plane, app, host)
                    try:
                        workers.drain(host, timeout=300)
                        _whole(plane, app)
                    finally:
                        workers.uncordon(host)
            step.figures += [
                ("failed requests", f"{len(visitors.failed)} of {sum(visitors.asked.values())}"),
                ("workers drained", str(len(workers.hosts))),
                ("replicas moved", str(moved)),
                ("wall time", span(time.monotonic() - began)),
            ]
            record_property("asked", sum(visitors.asked.values()))
            record_property("failed", len(visitors.failed))
        finally:
            app.uninstall()
        if visitors.failed:
            raise Broken("; ".join(visitors.failed[:5]))
        if moved < app.replicas:
            raise Broken(f"of {app.replicas} replicas {moved} had to leave a worker: the drains prove nothing")
        healthy.check_health()


def _replicas(plane: ControlPlane, app: SampleApp, host: Host) -> int:
    """How many replicas are on a worker."""
    pods = plane.api.get(f"/api/v1/namespaces/{app.namespace}/pods")["items"]
    return sum(pod["spec"].get("nodeName") == host.name and "deletionTimestamp" not in pod["metadata"] for pod in pods)


def _whole(plane: ControlPlane, app: SampleApp) -> None:
    """Every replica is ready again: the next drain finds the application as the first one did."""

    def look() -> str:
        path = f"/apis/apps/v1/namespaces/{app.namespace}/deployments/sample"
        ready = plane.api.get(path)["status"].get("readyReplicas", 0)
        if ready < app.replicas:
            raise NotYet(f"{ready} of {app.replicas} replicas are ready")
        return f"{ready} replicas"

    wait_for(Check("every replica of the sample is ready", look), timeout=120)
