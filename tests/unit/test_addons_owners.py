"""Whose objects are whose where several add-ons of a kind are wanted."""

from __future__ import annotations

import pytest
from attrs import evolve

from k8sha import Cluster, ConfigError, ControlPlane, Endpoint, Host, Upstream
from k8sha.addons import Addon, CsiNfs, HelmChart, NfsProvisioner
from k8sha.addons.manifests import parse
from k8sha.kube import Json
from k8sha.objects import Ref
from k8sha.objects.identity import with_namespaces
from k8sha.objects.inventory import Inventory

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
