"""The API server: the one place where the kubernetes client is used. It loads when the first request is made.

Requests go through the cluster's endpoint, or, where that can't be reached from here, through the SSH connection of a
master, moving on to the next when one fails.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

import yaml
from attrs import define, field

from k8sha.endpoint import Endpoint
from k8sha.errors import K8shaError, KubeError, NotReady, PreflightError
from k8sha.hosts.forward import forward
from k8sha.hosts.host import Host
from k8sha.kinds import DISCOVERY, Kind, discovered
from k8sha.kubeconfig import tls_context
from k8sha.pods import alone, evictable, made_anew, namespace_ends, passes
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["FIELD_MANAGER", "Api", "Json", "ready"]

Json: TypeAlias = Any
"""What an API object is: nested dicts, lists and plain values, as JSON has them."""

FIELD_MANAGER = "k8sha"
"""Under which name our server-side applies own what they set."""

_GOT = re.compile(r"\bgot .*", re.DOTALL)
"""What a server found instead of what it expected, and all after it: it shows values as they are."""

_TRIES = 3
_REPEATABLE = ("get", "put", "patch", "delete")
"""Verbs that come to the same when they are carried out twice: a patch of ours says what is to be, as an apply does."""


@define(eq=False)
class Api:
    """A cluster's API as one user sees it. ``read_kubeconfig`` is called when the first request is made.

    ``timeout`` is that of one request, in seconds.
    """

    read_kubeconfig: Callable[[], str]
    endpoint: Endpoint
    masters: tuple[Host, ...] = ()
    timeout: float = 15.0
    requests: int = field(default=0, init=False)
    """How many requests were made so far."""
    _kinds: dict[tuple[str, str], Kind] | None = field(default=None, init=False, repr=False)
    _client: Any = field(default=None, init=False, repr=False)
    _base: str = field(default="", init=False)
    _by: str = field(default="", init=False)
    _closers: list[Callable[[], None]] = field(factory=list, init=False, repr=False)
    _guard: Any = field(factory=threading.RLock, init=False, repr=False)

    @property
    def by(self) -> str:
        """How the API was reached last: the endpoint, or the name of the master whose SSH connection carries it."""
        return self._by

    def close(self) -> None:
        """Drop connections; the next request makes new ones."""
        with self._guard:
            closers, self._closers, self._client = self._closers, [], None
        for close in reversed(closers):
            close()

    def request(
        self,
        verb: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "json",
        accept: str = "application/json",
    ) -> Json:
        """One request; returns the decoded answer, or text where it is not JSON.

        ``kind`` is the body's content type after ``application/``: ``json``, ``merge-patch+json`` or
        ``apply-patch+yaml``. An API server that ends, or a VIP that moves, takes its connections along: what can be
        repeated is asked again over a new one. So it is where the server says 429 and when to come again, within
        ``timeout``: its storage of a kind is not ready yet, after its start or after a definition was made, or it has
        too much to do. Raises KubeError with the HTTP status, 0 where nothing answered.
        """
        url = path + ("?" + urlencode(query) if query else "")
        content = None if body is None else json.dumps(body)
        headers = {"Accept": accept, "Content-Type": f"application/{kind}"}
        answer = self._answer(verb, path, url, content, headers)
        text = answer.data.decode(errors="replace")
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = text
        if answer.status >= 400:
            said = decoded.get("message", text) if isinstance(decoded, dict) else text
            details = decoded.get("details") if isinstance(decoded, dict) else None
            raise KubeError(verb, path, int(answer.status), said.strip()[:1000], details)
        return decoded

    def _answer(self, verb: str, path: str, url: str, content: str | None, headers: Mapping[str, str]) -> Any:
        import urllib3
        from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, SSLError

        left = _TRIES if verb in _REPEATABLE else 1
        late = time.monotonic() + self.timeout
        while True:
            left -= 1
            self.requests += 1
            try:
                pool = self._connected()
                answer = pool.request(
                    verb.upper(),
                    self._base + url,
                    body=content,
                    headers=headers,
                    timeout=urllib3.Timeout(connect=min(5.0, self.timeout), read=self.timeout),
                    retries=False,
                )
            except (HTTPError, OSError) as error:
                self.close()
                if not left or not isinstance(error, ProtocolError | NewConnectionError | SSLError):
                    raise KubeError(verb, path, 0, str(error)) from None
                continue
            said = answer.headers.get("Retry-After", "") if answer.status == 429 and verb in _REPEATABLE else ""
            pause = int(said) if said.isdecimal() else 0
            if not pause or time.monotonic() + pause > late:
                return answer
            left += 1
            time.sleep(pause)  # the server's own word for when to come again

    def get(self, path: str, **query: str) -> Json:
        """GET a path."""
        return self.request("get", path, query=query)

    def found(self, path: str) -> Json | None:
        """The object at a path, None where there is none."""
        try:
            return self.get(path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def _connected(self) -> Any:
        with self._guard:
            if self._client is None:
                self._connect()
            return self._client.rest_client.pool_manager

    def _connect(self) -> None:
        from kubernetes import client

        context = tls_context(yaml.safe_load(self.read_kubeconfig()))
        where = self.endpoint.address or self.endpoint.host
        server, by = f"https://{Endpoint(where, self.endpoint.port)}", str(self.endpoint)
        errors: list[str] = []
        try:
            socket.create_connection((where, self.endpoint.port), timeout=3).close()
        except OSError as error:
            errors.append(f"{self.endpoint}: {error}")
            for master in self.masters:
                try:
                    port, close = forward(master, 6443)
                except K8shaError as unreachable:
                    errors.append(str(unreachable))
                    continue
                self._closers.append(close)
                server, by = f"https://127.0.0.1:{port}", f"SSH of {master.name}"
                break
            else:
                raise KubeError("connect", str(self.endpoint), 0, "; ".join(errors)) from None
        settings = client.Configuration()
        settings.host, settings.tls_server_name, settings.retries = server, "kubernetes", False
        made = client.ApiClient(settings)  # which takes an identity from files only: the context has it instead
        made.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
        self._client, self._base, self._by = made, server, by

    def nodes(self) -> dict[str, Json]:
        """Every node object by name."""
        return {node["metadata"]["name"]: node for node in self.get("/api/v1/nodes")["items"]}

    def pods_on(self, node: str) -> list[Json]:
        """Every pod that is bound to a node."""
        return list(self.get("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")["items"])

    def cordon(self, node: str, unschedulable: bool = True) -> None:
        """Keep new pods off a node, or let them come again."""
        patch = {"spec": {"unschedulable": unschedulable}}
        self.request("patch", f"/api/v1/nodes/{node}", patch, kind="merge-patch+json")

    def drain(self, node: str, *, timeout: float = 300, force: bool = False) -> None:
        """Cordon a node, then evict its pods as their disruption budgets allow; daemons and static pods stay.

        Raises PreflightError, with nothing changed, where a pod has no controller that would make it anew elsewhere,
        unless ``force`` is given; NotReady with the pods that are left and what keeps them.
        """
        cordoned = False

        def look() -> str:
            nonlocal cordoned
            try:
                pods = [pod for pod in self.pods_on(node) if evictable(pod)]
                if not cordoned:
                    if not force and (lonely := [alone(pod) for pod in pods if not made_anew(pod)]):
                        raise PreflightError(lonely)
                    self.cordon(node)
                    cordoned = True
            except KubeError as error:
                if not passes(error):
                    raise
                raise NotYet(str(error)) from None
            left = [self._left(pod, force) for pod in pods]
            if left:
                raise NotYet("; ".join(left))
            return "no pod is left"

        stays = f"; {node} stays cordoned: drain it again to go on, or let pods come again with uncordon()"
        try:
            wait_for(Check(f"{node} is drained", look), timeout=timeout, interval=0.5)
        except NotReady as error:
            raise NotReady(error.check, error.waited, error.last + (stays if cordoned else "")) from None
        except KubeError as error:
            said = error.message + (stays if cordoned else "")
            raise KubeError(error.verb, error.object, error.status, said, error.details) from None

    def _left(self, pod: Json, force: bool) -> str:
        """What a pod that is still there waits for; it is evicted where it may be."""
        meta = pod["metadata"]
        name = f"{meta['namespace']}/{meta['name']}"
        if "deletionTimestamp" in meta:
            return f"{name}: leaving"
        if not force and not made_anew(pod):  # it has come meanwhile
            return str(alone(pod))
        return f"{name}: {self._evict(meta)}"

    def _evict(self, meta: Json) -> str:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction"
        try:
            self.request("post", path, body)
        except KubeError as error:
            if error.status == 404:
                return "gone"
            if error.status == 403 and namespace_ends(error):  # nothing more is made in it, not even an eviction
                return "leaving with its namespace"
            if error.status in (0, 429, 503, 504):  # no answer, or not yet
                return str(error)
            raise
        return "leaving"

    def apply(self, item: Json, *, dry_run: bool = False, force: bool = False) -> Json:
        """Server-side apply of one object. A field that another manager owns is an error (409) that names it, unless
        ``force`` takes it over. Of a Secret no error shows a value."""
        query = {"fieldManager": FIELD_MANAGER}
        query |= {"dryRun": "All"} if dry_run else {}
        query |= {"force": "true"} if force else {}
        path = self.path_of(item)
        try:
            return self.request("patch", path, item, query=query, kind="apply-patch+yaml")
        except KubeError as error:
            if item["kind"] != "Secret":
                raise
            said = _GOT.sub("got what is not shown here", error.message)
            raise KubeError(error.verb, error.object, error.status, said, error.details) from None

    def delete(self, path: str, *, uid: str = "") -> None:
        """Delete an object (with ``uid``, only that very one) and in the background what it owns; one that is not there
        is fine."""
        options: dict[str, Json] = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.request("delete", path, options)
        except KubeError as error:
            if error.status != 404:
                raise

    def kinds(self, *, again: bool = False) -> Mapping[tuple[str, str], Kind]:
        """Every kind that the API server has, by API version and name. Two requests, made once and ``again``."""
        if self._kinds is None or again:
            self._kinds = {
                (kind.api_version, kind.kind): kind
                for path in ("/api", "/apis")
                for kind in discovered(self.request("get", path, accept=DISCOVERY))
            }
        return self._kinds

    @property
    def kinds_known(self) -> Mapping[tuple[str, str], Kind]:
        """The kinds that it was found to have when it was last asked; none where it never was. No request."""
        return self._kinds or {}

    def path_of(self, item: Json) -> str:
        """Where an object lives; asks the API server what kinds it has. Raises KubeError for a kind it lacks."""
        version, name, meta = item["apiVersion"], item["kind"], item["metadata"]
        kind = self.kinds().get((version, name)) or self.kinds(again=True).get((version, name))
        if kind is None:
            raise KubeError("find", f"{version} {name}", 404, "the API server does not know this kind")
        return kind.path(meta.get("namespace", "default"), meta["name"])


def ready(item: Json) -> bool:
    """Whether an object's condition ``Ready`` is true."""
    conditions: Iterable[Json] = item.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
