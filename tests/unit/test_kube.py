"""Requests to an API server whose connections are lost, or that says to come again: repeated where that is the same."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest
import urllib3
from attrs import define, field

from k8sha import kube
from k8sha.endpoint import Endpoint
from k8sha.errors import KubeError, NotReady, PreflightError
from k8sha.kube import Api, Json
from k8sha.waiting import wait_for


@define(eq=False)
class Server:
    """Closes so many connections without an answer to the request on them, or answers them with ``instead``, and does
    what it is asked from then on."""

    lost: int
    instead: bytes = b""
    asked: list[str] = field(factory=list)
    _plug: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self._plug.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._plug.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65536).decode().split(" ", 1)[0])
                if len(self.asked) <= self.lost:
                    connection.sendall(self.instead)
                else:
                    body = json.dumps({"items": []})
                    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def end(self) -> None:
        self._plug.shutdown(socket.SHUT_RDWR)
        self._plug.close()


class Plain(Api):
    """An API without TLS, which its connections are not about."""

    def _connect(self) -> None:
        self._client = SimpleNamespace(rest_client=SimpleNamespace(pool_manager=urllib3.PoolManager()))
        self._base = f"http://127.0.0.1:{self.endpoint.port}"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found = Server(request.param)
    thread = threading.Thread(target=found.serve)
    thread.start()
    yield found
    found.end()
    thread.join()


def api(server: Server) -> Api:
    return Plain(lambda: "", Endpoint("127.0.0.1", server.port))


@pytest.mark.parametrize("server", [1, 2], indirect=True)
@pytest.mark.parametrize("verb", ["get", "patch", "delete"])
def test_what_can_be_repeated_is(server: Server, verb: str) -> None:
    asked = api(server)
    assert asked.request(verb, "/api/v1/nodes") == {"items": []}
    assert server.asked == [verb.upper()] * (server.lost + 1)
    assert asked.requests == server.lost + 1


@pytest.mark.parametrize("server", [1], indirect=True)
def test_what_can_not_be_is_not(server: Server) -> None:
    with pytest.raises(KubeError, match="post /api/v1/namespaces") as caught:
        api(server).request("post", "/api/v1/namespaces", {})
    assert caught.value.status == 0
    assert server.asked == ["POST"]


@pytest.mark.parametrize("server", [9], indirect=True)
def test_one_that_never_answers_is_given_up(server: Server) -> None:
    with pytest.raises(KubeError):
        api(server).get("/api/v1/nodes")
    assert server.asked == ["GET"] * 3


TOO_EARLY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
NOT_ALLOWED = TOO_EARLY.replace(b"Retry-After: 1\r\n", b"")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, for none of which time passes."""
    found: list[float] = []
    monkeypatch.setattr(kube.time, "sleep", found.append)
    return found


@pytest.mark.parametrize("server", [4], indirect=True)
def test_one_that_says_when_to_come_again_is_asked_then(server: Server, naps: list[float]) -> None:
    server.instead = TOO_EARLY
    assert api(server).get("/api/v1/nodes") == {"items": []}
    assert (server.asked, naps) == (["GET"] * 5, [1.0] * 4)


@pytest.mark.parametrize("server", [99], indirect=True)
@pytest.mark.parametrize(
    ("verb", "instead", "timeout"), [("get", TOO_EARLY, 0.5), ("get", NOT_ALLOWED, 15.0), ("post", TOO_EARLY, 15.0)]
)
def test_what_it_says_is_told_where_there_is_no_time_or_it_names_none(
    server: Server, naps: list[float], verb: str, instead: bytes, timeout: float
) -> None:
    """An eviction that a disruption budget forbids is one: draining has a time and a word of its own for it."""
    server.instead = instead
    asked = api(server)
    asked.timeout = timeout
    with pytest.raises(KubeError) as caught:
        asked.request(verb, "/api/v1/nodes", {} if verb == "post" else None)
    assert (caught.value.status, server.asked, naps) == (429, [verb.upper()], [])


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks of a drain."""
    monkeypatch.setattr(kube, "wait_for", functools.partial(wait_for, pause=lambda seconds: None))


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}


@define(eq=False)
class Evicting(Api):
    """A node with one pod. Evictions are answered with these, one after another; then the pod is gone."""

    answers: list[KubeError] = field(factory=list)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if path.endswith("/eviction"):
            raise self.answers.pop(0)
        pods = [{"metadata": {"namespace": "n", "name": "p"} | OWNED}] if self.answers else []
        return {"items": pods, "metadata": {}, "spec": {}}


def refused(status: int, reason: str = "") -> KubeError:
    details = {"causes": [{"reason": reason, "message": "n is being terminated"}]} if reason else None
    return KubeError("post", "/eviction", status, "refused", details)


def test_a_drain_outlasts_what_passes() -> None:
    """Also a pod whose namespace is being deleted, which refuses its eviction: the pods of a ``verify`` just before."""
    passing = [refused(429), refused(0), refused(503), refused(504), refused(403, "NamespaceTerminating"), refused(404)]
    server = Evicting(lambda: "", Endpoint("192.168.56.100"), answers=passing)
    server.drain("w1")
    assert server.answers == []


@pytest.mark.parametrize("error", [refused(403), refused(403, "Other"), refused(500)], ids=str)
def test_a_drain_ends_with_a_refusal_that_stays(error: KubeError) -> None:
    with pytest.raises(KubeError, match=r"refused; w1 stays cordoned: drain it again to go on, or .* uncordon"):
        Evicting(lambda: "", Endpoint("192.168.56.100"), answers=[error]).drain("w1")


@define(eq=False)
class Seen(Api):
    """A node whose pods are these, look after look; nothing needs to be evicted."""

    looks: list[list[Json]] = field(factory=list)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        assert not path.endswith("/eviction")
        return {"items": self.looks.pop(0) if path.endswith("/pods") else [], "metadata": {}, "spec": {}}


@pytest.mark.parametrize(
    ("meta", "looks"), [({}, 1), ({"deletionTimestamp": "2026-11-23T20:59:00Z"}, 2)], ids=["ended", "being deleted"]
)
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_drain_waits_for_pods_that_ended_because_they_are_deleted(phase: str, meta: Json, looks: int) -> None:
    """Such a pod was still on a node that counted as drained."""
    pod = {"metadata": {"namespace": "n", "name": "p"} | meta, "status": {"phase": phase}}
    server = Seen(lambda: "", Endpoint("192.168.56.100"), looks=[[pod], []])
    server.drain("w1")
    assert len(server.looks) == 2 - looks


@define(eq=False)
class Failing(Api):
    """A node with these pods. Its requests, but evictions, fail so often; ``asked`` are those that did not."""

    pods: list[Json] = field(factory=list)
    fails: list[KubeError] = field(factory=list)
    asked: list[str] = field(factory=list)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if self.fails and not path.endswith("/eviction"):
            raise self.fails.pop(0)
        self.asked.append(f"{verb} {path.rpartition('/')[2]}")
        if path.endswith("/eviction"):
            self.pods.clear()
        return {"items": list(self.pods), "metadata": {}, "spec": {}}


def failing(*pods: Json, fails: Iterable[KubeError] = ()) -> Failing:
    return Failing(lambda: "", Endpoint("192.168.56.100"), pods=list(pods), fails=list(fails))


def a_pod(**meta: Json) -> Json:
    return {"metadata": {"namespace": "web", "name": "by-hand"} | meta}


@pytest.mark.parametrize("statuses", [(0, 0), (429,), (500, 503), (504,)])
def test_a_drain_outlasts_an_api_server_that_is_away(statuses: tuple[int, ...]) -> None:
    """A VIP that moved just then left the node cordoned, and its pods on it."""
    server = failing(a_pod(**OWNED), fails=[refused(status) for status in statuses])
    server.drain("w1")
    assert server.asked == ["get pods", "patch w1", "post eviction", "get pods"]


def test_one_that_stays_away_is_told_and_what_stays_cordoned() -> None:
    away = [refused(503)] * 9
    with pytest.raises(NotReady) as caught:
        failing(fails=away).drain("w1", timeout=0)
    assert "cordoned" not in str(caught.value)
    with pytest.raises(NotReady, match=r"web/by-hand: leaving; w1 stays cordoned: drain it again to go on"):
        failing(a_pod(deletionTimestamp="2026-11-23T20:59:00Z")).drain("w1", timeout=0)
    with pytest.raises(KubeError, match="not installed yet"):
        failing(fails=[KubeError("read", "admin.conf", 0, "the cluster is not installed yet")]).drain("w1")


def test_a_pod_that_nobody_would_make_again_stops_a_drain_before_it_begins() -> None:
    """It was evicted, which was the end of it; kubectl asks for --force there."""
    server = failing(a_pod())
    with pytest.raises(PreflightError, match=r"^web/by-hand: has no controller.*force=True$"):
        server.drain("w1")
    assert server.asked == ["get pods"]
    server.drain("w1", force=True)
    assert server.asked[1:] == ["get pods", "patch w1", "post eviction", "get pods"]


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(annotations={"kubernetes.io/config.mirror": "x"}),
        a_pod(ownerReferences=[{"kind": "DaemonSet", "controller": True}]),
        a_pod() | {"status": {"phase": "Succeeded"}},
    ],
    ids=["static", "daemon", "ended"],
)
def test_what_stays_on_a_node_anyhow_stops_no_drain(pod: Json) -> None:
    server = failing(pod)
    server.drain("w1")
    assert server.asked == ["get pods", "patch w1"]


def test_pods_of_a_proof_go_without_a_word() -> None:
    """A ``verify`` that was killed has left some."""
    server = failing(a_pod(namespace="k8sha-verify-0badcafe"))
    server.drain("w1")
    assert "post eviction" in server.asked
