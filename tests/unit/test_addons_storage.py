"""The proof that storage works: what it makes is gone when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from attrs import define, field

from k8sha import ControlPlane, Endpoint, Host, KubeError, Upstream
from k8sha.addons import Mirror, NfsProvisioner
from k8sha.artifacts import Artifact
from k8sha.kube import Api, Json

VOLUME = "/api/v1/persistentvolumes/pvc-1"


@define(eq=False)
class Server(Api):
    """An API server with two nodes: pods succeed, a claim is bound, and what is deleted goes at the second look."""

    provisioner: bool = True
    going: dict[str, int] = field(factory=dict)
    there: set[str] = field(factory=set)
    labels: Mapping[str, str] = field(factory=dict)

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
        if verb == "post":
            self.there.add(f"{path}/{body['metadata']['name']}")
            if path.endswith("claims"):
                self.there.add(VOLUME)
            meta = {**body["metadata"], "creationTimestamp": "2026-11-23T21:00:00Z"}
            if path == "/api/v1/namespaces":
                self.labels = meta["labels"]
            return {**body, "metadata": meta}
        if path == "/api/v1/namespaces":
            return {"items": []}
        if verb == "delete":
            self.going[path] = 2
            return {}
        if path == "/api/v1/nodes":
            return {"items": [{"metadata": {"name": name}, "spec": {}} for name in ("a", "b")]}
        self.pass_time(path)
        if path not in self.there:
            raise KubeError(verb, path, 404, "not found")
        return {"status": {"phase": "Succeeded"}, "spec": {"volumeName": "pvc-1"}}

    def pass_time(self, path: str) -> None:
        if path in self.going:
            self.going[path] -= 1
            if self.going[path] == 0:
                self.there = {item for item in self.there if not item.startswith(path)}
                if self.provisioner and path.startswith("/api/v1/namespaces/"):
                    self.going.setdefault(VOLUME, 2)


def made(api: Api) -> ControlPlane:
    plane = ControlPlane(
        hosts=[Host("master-1", "192.168.56.10")],
        endpoint=Endpoint("192.168.56.100"),
        version="1.33.13",
        source=Upstream(),
    )
    plane._seen.api = api
    return plane


@pytest.mark.parametrize(("reclaim", "provisioner"), [("Delete", True), ("Retain", False)])
def test_nothing_of_the_proof_is_left_when_it_ends(reclaim: str, provisioner: bool) -> None:
    """Neither its namespace nor its volume, whoever is to delete that: an uninstall may follow at once."""
    api = Server(lambda: "", Endpoint("192.168.56.100"), provisioner=provisioner)
    plane = made(api)
    [check] = NfsProvisioner(plane, server="nfs.example.org", path="/export", reclaim=reclaim).checks()
    assert check.look() == "written on a, read on b"
    assert api.there == set()
    # The writer is root, as a provisioner's folder asks for: no default of the cluster's keeps it out.
    assert api.labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_the_image_that_the_proof_runs_is_asked_for_before_the_first_change(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unreachable(artifacts: Iterable[Artifact]) -> tuple[()]:
        asked.extend(item.reference for item in artifacts)
        return ()

    monkeypatch.setattr("k8sha.addons.addon.unreachable", unreachable)
    monkeypatch.setattr(NfsProvisioner, "manifests", lambda self: ())
    plane = made(Server(lambda: "", Endpoint("192.168.56.100")))
    nfs = NfsProvisioner(plane, server="a", path="/b", mirror=Mirror({"docker.io": "registry.example.org/hub"}))
    list(nfs.problems())
    assert asked == ["registry.example.org/hub/library/busybox:1.37.0"]
    assert [item.reference for item in nfs.artifacts()] == asked
