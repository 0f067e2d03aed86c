"""Pod networks as text, and manifests that are what they claim to be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from attrs import evolve

from k8sha import ConfigError, ControlPlane, Endpoint, Host, KubeError, Upstream, Workers
from k8sha.addons import Addon, Calico, HostRoutes, Manifest
from k8sha.addons.host_routes import NodeReady
from k8sha.addons.manifests import rewrite_images
from k8sha.kube import Api, Json
from k8sha.objects.identity import in_order
from k8sha.stage import Stage

MASTERS = [Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3)]
PLANE = ControlPlane(hosts=MASTERS, endpoint=Endpoint("192.168.56.100"), version="1.33.13", source=Upstream())
WORKERS = Workers(hosts=[Host("worker-1", "192.168.56.20")], plane=PLANE)
RANGES = {
    "master-1": "10.244.0.0/24",
    "master-2": "10.244.1.0/24",
    "master-3": "10.244.2.0/24",
    "worker-1": "10.244.3.0/24",
}

MANIFEST = """\
kind: ConfigMap
apiVersion: v1
metadata: {name: calico-config, namespace: kube-system}
data: {calico_backend: bird, veth_mtu: "0"}
---
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      initContainers:
      - {name: upgrade-ipam, image: "quay.io/calico/cni:v9"}
      containers:
      - name: calico-node
        image: quay.io/calico/node:v9
        env:
        - {name: CALICO_IPV4POOL_IPIP, value: Always}
        livenessProbe: {exec: {command: [/bin/calico-node, -felix-live, -bird-live]}}
        readinessProbe: {exec: {command: [/bin/calico-node, -felix-ready, -bird-ready]}}
---
kind: CustomResourceDefinition
apiVersion: apiextensions.k8s.io/v1
metadata: {name: things.example.org}
spec: {group: example.org, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1}]}
"""


def pinned(folder: Path, text: str = MANIFEST) -> Manifest:
    manifest = Manifest("calico", "v9", "http://127.0.0.1:9/calico.yaml", hashlib.sha256(text.encode()).hexdigest())
    (folder / manifest.file_name).write_text(text)
    return manifest


def test_each_node_serves_its_own_range_and_knows_the_way_to_the_others() -> None:
    net = HostRoutes(PLANE, WORKERS)
    config = json.loads(str(net._conflist(MASTERS[1], RANGES)))
    assert config["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    # Without it the plugin refuses every pod of a node that was registered anew: "already has an IP address different".
    assert config["plugins"][0]["forceAddress"] is True
    script = str(net._routes(MASTERS[1], RANGES))
    assert [line for line in script.splitlines() if line.startswith("ip -4 route replace")] == [
        "ip -4 route replace 10.244.0.0/24 via 192.168.56.10",
        "ip -4 route replace 10.244.2.0/24 via 192.168.56.12",
        "ip -4 route replace 10.244.3.0/24 via 192.168.56.20",
    ]
    assert "-s 10.244.0.0/16 ! -d 10.244.0.0/16" in script


def test_a_manifest_with_another_hash_is_refused(tmp_path: Path) -> None:
    manifest = pinned(tmp_path)
    (tmp_path / manifest.file_name).write_text(MANIFEST + "#")
    with pytest.raises(ConfigError, match="has sha256"):
        manifest.read(tmp_path)


def test_a_manifest_that_cannot_be_fetched_names_the_file_that_a_bundle_needs(tmp_path: Path) -> None:
    manifest = Manifest("calico", "v9", (tmp_path / "none.yaml").as_uri(), "0" * 64)
    with pytest.raises(ConfigError, match=r"manifests/calico-v9\.yaml"):
        manifest.read(None)


def test_images_come_from_the_callers_registry_and_nothing_else_changes(tmp_path: Path) -> None:
    items = pinned(tmp_path).read(tmp_path)
    images = rewrite_images(items, lambda image: image.replace("quay.io/calico", "registry.example.org/calico"))
    assert images == ("registry.example.org/calico/cni:v9", "registry.example.org/calico/node:v9")


def test_definitions_come_before_what_needs_them(tmp_path: Path) -> None:
    kinds = [item["kind"] for item in in_order(pinned(tmp_path).read(tmp_path))]
    assert kinds == ["CustomResourceDefinition", "ConfigMap", "DaemonSet"]


@pytest.mark.parametrize(
    ("encapsulation", "backend", "ipip", "vxlan"),
    [("ipip", "bird", "Always", "Never"), ("vxlan", "vxlan", "Never", "Always"), ("none", "bird", "Never", "Never")],
)
def test_calicos_pool_is_the_clusters_pod_network(
    tmp_path: Path, encapsulation: str, backend: str, ipip: str, vxlan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = pinned(tmp_path)
    located = Manifest("calico", "v9", (tmp_path / manifest.file_name).as_uri(), manifest.sha256)
    calico = Calico(PLANE, WORKERS, manifest=located, encapsulation=encapsulation, mtu=1400)
    config, daemon, _ = calico.objects()
    container = daemon["spec"]["template"]["spec"]["containers"][0]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert config["data"] == {"calico_backend": backend, "veth_mtu": "1400"}
    assert environment == {
        "CALICO_IPV4POOL_CIDR": "10.244.0.0/16",
        "CALICO_IPV4POOL_IPIP": ipip,
        "CALICO_IPV4POOL_VXLAN": vxlan,
    }
    assert ("-bird-live" in container["livenessProbe"]["exec"]["command"]) == (backend == "bird")


@pytest.mark.parametrize(
    ("pool", "encapsulation", "said"),
    [
        ({"ipipMode": "Always", "vxlanMode": "Never"}, "ipip", ""),
        ({"ipipMode": "CrossSubnet"}, "ipip", ""),
        ({}, "none", ""),
        ({"ipipMode": "Always"}, "vxlan", '"ipipMode": "Never", "vxlanMode": "Always"'),
        ({"vxlanMode": "CrossSubnet"}, "ipip", '"ipipMode": "Always", "vxlanMode": "Never"'),
        (None, "vxlan", ""),
    ],
)
def test_a_pool_that_is_there_keeps_its_encapsulation(
    pool: dict[str, str] | None, encapsulation: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings count when the pool is made: changed later they part the nodes from it, and cut pods off."""

    class Server(Api):
        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            if pool is None or "ippools" not in path:
                raise KubeError(verb, path, 404, "not found")
            return {"metadata": {"name": "default-ipv4-ippool"}, "spec": pool}

    plane = evolve(PLANE)
    plane._seen.api = Server(lambda: "", Endpoint("192.168.56.100"))
    monkeypatch.setattr(Addon, "problems", lambda self: iter(()))
    found = list(Calico(plane, WORKERS, encapsulation=encapsulation).problems())
    assert len(found) == bool(said)
    assert said in "".join(problem.remedy for problem in found)


def test_no_configuration_of_calico_is_left_on_any_node() -> None:
    [stage] = Calico(PLANE, WORKERS).removal_stages()
    assert isinstance(stage, Stage)
    assert {host.name for host in stage.work} == set(RANGES)
    assert {resource.key for resource in stage.work[MASTERS[0]]} == {
        "file /etc/cni/net.d/10-calico.conflist",
        "file /etc/cni/net.d/calico-kubeconfig",
    }


def test_an_unknown_release_needs_its_manifest() -> None:
    with pytest.raises(ConfigError, match="hash is not known"):
        Calico(PLANE, WORKERS, version="v1.0.0")


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        (b'{"kind":"Node","status":{"conditions":[{"type":"Ready","status":"True","message":"fine"}]}}', ()),
        (
            b'{"kind":"Node","status":{"conditions":[{"type":"Ready","status":"False","message":"cni\\nis not ready"}]}}',  # noqa: E501
            ("cni is not ready",),
        ),
        (b'{"kind":"Status","status":"Failure","message":"nodes \\"w\\" not found"}', ('nodes "w" not found',)),
        (b"it has not joined yet\n", ("it has not joined yet",)),
        (b"curl: (7) Failed\n to connect\n", ("curl: (7) Failed to connect",)),
        (b"", ("no answer",)),
    ],
)
def test_a_nodes_readiness_is_the_api_servers_word(seen: bytes, lines: tuple[str, ...]) -> None:
    assert NodeReady("worker-1").diff(seen).lines == lines
