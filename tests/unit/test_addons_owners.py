"""Whose objects are whose where several add-ons of a kind are wanted."""

from __future__ import annotations

import copy

import pytest
from attrs import evolve, field, frozen

from k8sha import Cluster, ConfigError, ControlPlane, Endpoint, Host, KubeError, PreflightError, Upstream, verbs
from k8sha.addons import Addon, CsiNfs, HelmChart, NfsProvisioner, TraefikGateway
from k8sha.addons.manifests import parse
from k8sha.kube import Api, Json
from k8sha.objects import Ref
from k8sha.objects.identity import with_namespaces
from k8sha.objects.inventory import Inventory
from k8sha.policies import SampleApp

PLANE = ControlPlane(
    hosts=[Host("master-1", "192.168.56.10")],
    endpoint=Endpoint("192.168.56.100"),
    version="1.33.13",
    source=Upstream(),
)
REDIS = HelmChart(
    PLANE, chart="redis", version="1.0.0", repository="https://charts.example.org", sha256="0" * 64, into="a"
)
PROVISIONER = NfsProvisioner(PLANE, server="nfs.example.org", path="/one")


def test_one_chart_in_two_namespaces_is_two_add_ons() -> None:
    """With one inventory for both, the second would delete all of the first, its namespace included."""
    other = evolve(REDIS, into="b")
    Cluster(PLANE, REDIS, other)
    assert Inventory(REDIS.owner).path != Inventory(other.owner).path
    names = {Inventory(f"{release}.{into}").name for release, into in (("redis", "a-b"), ("redis-a", "b"))}
    assert len(names) == 2
    with pytest.raises(ConfigError, match="more than 62 characters together"):
        evolve(REDIS, release="r" * 40, into="n" * 30)


@pytest.mark.parametrize(
    ("one", "other", "remedy"),
    [
        (REDIS, evolve(REDIS, chart="valkey", release="redis"), "release="),
        (PROVISIONER, evolve(PROVISIONER, path="/two"), r'called="archive"'),
        (CsiNfs(PLANE, server="a", path="/x"), CsiNfs(PLANE, server="b", path="/x"), "a StorageClass in an add-on"),
    ],
)
def test_two_add_ons_of_one_owner_are_refused(one: Addon, other: Addon, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"each would delete the objects of the other.*{remedy}"):
        Cluster(PLANE, one, other)


class Missing(Api):
    """The API server of a cluster that is not installed yet."""

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        raise KubeError(verb, path, 0, "none has one: the cluster is not installed yet")


@frozen
class Parts(Addon):
    """An add-on of whatever objects a test gives it."""

    items: tuple[Json, ...] = field(default=(), hash=False)
    called: str = "parts"
    namespace: str = field(default="default", kw_only=True)

    @property
    def name(self) -> str:
        return self.called

    def objects(self) -> tuple[Json, ...]:
        return copy.deepcopy(self.items)


@pytest.fixture
def plane() -> ControlPlane:
    found = evolve(PLANE)
    found._seen.api = Missing(lambda: "", Endpoint("192.168.56.100"))
    return found


def told(*addons: Addon) -> list[str]:
    """What an install of these is refused for, before the first change."""
    try:
        verbs.preflight(evolve(addon, check_images=False) for addon in addons)
    except PreflightError as error:
        return [str(problem) for problem in error.problems]
    return []


def service(name: str, port: int, protocol: str | None = None) -> Json:
    ports = [{"port": 80, "nodePort": port} | ({"protocol": protocol} if protocol else {})]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}}


def test_what_two_add_ons_ask_for_is_refused_before_the_first_change(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there is a cluster already or not: the first would be made, and the second fail in the middle."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    redis = evolve(REDIS, plane=plane)
    other = evolve(redis, chart="valkey")
    monkeypatch.setattr(
        HelmChart, "objects", lambda self: ({**space, "metadata": {"name": self.into}},) * self.create_namespace
    )
    say = "say create_namespace=False to the chart"
    assert told(redis, other) == [f"v1 Namespace a: is asked for by redis and by valkey — {say} valkey"]
    assert told(redis, Parts(plane, (space,))) == [f"v1 Namespace a: is asked for by redis and by parts — {say} redis"]
    assert told(redis, evolve(other, create_namespace=False), evolve(redis, into="b"), redis) == []


def test_one_name_in_two_namespaces_is_two_objects(plane: ControlPlane) -> None:
    def item(kind: str, **more: str) -> Json:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", **more}}

    one = Parts(plane, (item("ConfigMap"), item("ClusterRole")), namespace="a")
    assert told(one, Parts(plane, (item("ConfigMap"),), "more", namespace="b")) == []
    again = Parts(plane, (item("ConfigMap", namespace="a"), item("ClusterRole")), "more", namespace="b")
    assert [line.partition(":")[0] for line in told(one, again)] == ["v1 ConfigMap a/x", "v1 ClusterRole x"]


def test_a_node_port_of_two_add_ons_is_refused_before_the_first_change(plane: ControlPlane) -> None:
    one, other = Parts(plane, (service("x", 30080),)), Parts(plane, (service("y", 30080),), "more")
    said = "node port 30080: is asked for by parts and by more — choose another one for one of the two"
    assert told(one, other) == [said]
    assert told(one, Parts(plane, (service("y", 30080, "UDP"),), "more")) == [said]


def test_the_sample_app_and_an_entrance_do_not_ask_for_one_port(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Addon, "read", lambda self, file: ())
    assert told(TraefikGateway(plane), SampleApp(plane=plane)) == []


RBAC = """
{apiVersion: v1, kind: ServiceAccount, metadata: {name: nfs, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: runner}, rules: []}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: run}
subjects: [{kind: ServiceAccount, name: nfs, namespace: default}]
roleRef: {kind: ClusterRole, name: runner, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nfs, namespace: default}
spec: {template: {spec: {containers: [{name: nfs, env: [{name: PROVISIONER_NAME, value: p}, {name: NFS_PATH, value: p}]}]}}}
"""  # noqa: E501


def test_two_provisioners_have_no_object_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no name of a provisioner: both would serve the claims of both classes."""
    monkeypatch.setattr(Addon, "read", lambda self, file: parse(RBAC) if "rbac" in file.name else ())
    other = evolve(PROVISIONER, called="archive", path="/two", storage_class="nfs-archive")
    assert NfsProvisioner(PLANE, server="n", path="/two", called="archive").storage_class == "nfs-archive"
    Cluster(PLANE, PROVISIONER, other)

    def refs(addon: Addon) -> set[Ref]:
        return {Ref.of(item) for item in with_namespaces(addon.objects(), {}, addon.namespace)}

    assert not refs(PROVISIONER) & refs(other)
    found: dict[str, Json] = {item["kind"]: item for item in other.objects()}
    assert (
        found["ClusterRoleBinding"]["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"] == "runner-archive"
    )
    assert found["ClusterRoleBinding"]["subjects"][0]["namespace"] == "nfs-provisioner-archive"
    environment = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {item["name"]: item["value"] for item in environment} == {
        "PROVISIONER_NAME": found["StorageClass"]["provisioner"],
        "NFS_PATH": "/two",
    }
