"""Images and files under other names, what a cluster takes from elsewhere, and settings of add-ons that have pins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from attrs import define, evolve, field

from k8sha import Cluster, ConfigError, ControlPlane, Endpoint, Host, KubeError, NodeSettings, Upstream
from k8sha.addons import Addon, CsiNfs, IngressNginx, Manifest, MetricsServer, Mirror, NfsProvisioner, TraefikGateway
from k8sha.addons.manifests import parse, rewrite_images
from k8sha.artifacts import Artifact, ImageReference
from k8sha.errors import Problem
from k8sha.kube import Api, Json
from tests.unit.test_addons_objects import Server

PLANE = ControlPlane(
    hosts=[Host("master-1", "192.168.56.10")],
    endpoint=Endpoint("192.168.56.100"),
    version="1.33.13",
    source=Upstream(),
)
MIRROR = Mirror(
    {
        "docker.io": "registry.example.org/hub",
        "quay.io": "registry.example.org/quay",
        "quay.io/calico": "calico.example.org",
    }
)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.29", "docker.io/library/nginx:1.29"),
        ("grafana/grafana:12", "docker.io/grafana/grafana:12"),
        ("quay.io/calico/node:v3.31.7", "quay.io/calico/node:v3.31.7"),
        ("localhost/x:1", "localhost/x:1"),
        ("registry:5000/x", "registry:5000/x:latest"),
        ("registry.k8s.io/pause@sha256:abc", "registry.k8s.io/pause@sha256:abc"),
        ("registry.k8s.io/pause:3.10@sha256:abc", "registry.k8s.io/pause:3.10@sha256:abc"),
    ],
)
def test_an_image_has_one_full_name(text: str, full: str) -> None:
    assert str(ImageReference.parse(text)) == full


@pytest.mark.parametrize("text", ["", "UPPER/case:1", "a b", "-x:1"])
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an image's name"):
        ImageReference.parse(text)


@pytest.mark.parametrize(
    ("image", "mirrored"),
    [
        ("nginx:1.29", "registry.example.org/hub/library/nginx:1.29"),
        ("quay.io/prometheus/prometheus:v3", "registry.example.org/quay/prometheus/prometheus:v3"),
        ("quay.io/calico/node:v3", "calico.example.org/node:v3"),
        ("quay.io.example.org/x:1", "quay.io.example.org/x:1"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
    ],
)
def test_the_longest_beginning_counts_and_others_are_left(image: str, mirrored: str) -> None:
    assert MIRROR.image(image) == mirrored


def test_a_mirror_of_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a registry's name"):
        Mirror({"docker.io": "https://registry.example.org"})
    with pytest.raises(ConfigError, match="is not a web address"):
        Mirror(urls={"https://example.org": "files"})


OPERATOR = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator}
spec:
  template:
    spec:
      containers:
      - name: operator
        image: quay.io/p/operator:v1
        args: [--reloader=quay.io/p/reloader:v1, --url=http://quay.io/p, --level=info]
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: k8s}
spec: {image: "quay.io/prometheus/prometheus:v3", replicas: 2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {image: not-an-image}
"""


def test_images_in_arguments_and_in_operators_objects_are_found_and_nothing_else() -> None:
    items = parse(OPERATOR)
    assert rewrite_images(items, MIRROR.image) == (
        "registry.example.org/quay/p/operator:v1",
        "registry.example.org/quay/p/reloader:v1",
        "registry.example.org/quay/prometheus/prometheus:v3",
    )
    assert items[0]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "--reloader=registry.example.org/quay/p/reloader:v1",
        "--url=http://quay.io/p",
        "--level=info",
    ]
    assert items[2]["data"] == {"image": "not-an-image"}


@pytest.mark.parametrize(("text", "said"), [("a: [", "is not YAML"), ("- a", "no object"), ("{kind: X}", "no object")])
def test_what_is_no_manifest_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


class Demo(Addon):
    """An add-on of one file, which is here."""

    def manifests(self) -> tuple[Manifest, ...]:
        text = Path(__file__).with_name("cases") / "absent.txt"
        return (Manifest("demo", "v1", text.as_uri(), hashlib.sha256(b"").hexdigest()),)

    def objects(self) -> tuple[Json, ...]:
        return parse(OPERATOR)


def test_a_cluster_lists_what_it_takes_from_elsewhere() -> None:
    found = Cluster(PLANE, Demo(PLANE, mirror=MIRROR)).artifacts()
    assert Artifact("image", "registry.k8s.io/kube-apiserver:v1.33.13", "Kubernetes") in found
    assert Artifact("image", "registry.example.org/quay/p/reloader:v1", "Demo") in found
    assert [item.reference.rpartition("/")[2] for item in found if item.kind == "url" and item.owner == "Demo"] == [
        "absent.txt"
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("text", ["v1 ConfigMap web/x", "v1 ConfigMap web/x data", ".spec.replicas", ""])
def test_a_field_that_is_not_named_right_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not named right"):
        Demo(PLANE, force=[text])


@pytest.mark.parametrize("item", [{"kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "ConfigMap"}, {}])
def test_what_is_no_object_is_told_before_the_first_change(item: Json) -> None:
    class Wrong(Demo):
        def objects(self) -> tuple[Json, ...]:
            return (item,)

    [problem] = Wrong(PLANE).problems()
    assert "has no name" in problem.cause


def test_a_wrong_hash_is_told_before_the_first_change() -> None:
    class Wrong(Demo):
        def objects(self) -> tuple[Json, ...]:
            return Addon.objects(self)

    [problem] = Wrong(PLANE).problems()
    assert "has sha256" in problem.cause


@pytest.mark.parametrize(
    ("status", "told"), [(0, False), (429, False), (503, False), (400, True), (401, False), (403, False)]
)
def test_an_api_server_that_refuses_says_so_before_the_first_change_and_one_that_is_down_does_not(
    status: int, told: bool
) -> None:
    class Plain(Demo):
        def artifacts(self) -> Iterable[Artifact]:
            return ()

    plane = evolve(PLANE)
    api = Server(lambda: "", Endpoint("192.168.56.100"))
    api.refuses["/api"] = KubeError("get", "/api", status, "unable to parse requirement")
    plane._seen.api = api
    found = [str(problem) for problem in Plain(plane, check_images=False).problems()]
    assert (
        found
        == [
            f"Plain: the API server refuses: get /api: unable to parse requirement (HTTP {status}) — mend what it names"
        ]
        * told
    )


def test_an_owner_that_can_be_no_label_is_told_before_the_first_change() -> None:
    class Long(Demo):
        owner = "n" * 64  # type: ignore[assignment]

    [problem] = Long(PLANE).problems()
    assert "can't be the label of its objects" in problem.cause


@define(eq=False)
class Kubelets(Api):
    """An API server that passes on what kubelets say of themselves; of a node with None nothing is heard."""

    asking: dict[str, bool | None] = field(factory=dict)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if not self.asking:
            raise KubeError(verb, path, 0, "none has one: the cluster is not installed yet")
        if path == "/api/v1/nodes":
            return {"items": [{"metadata": {"name": name}} for name in self.asking]}
        said = self.asking[path.split("/")[4]]
        if said is None:
            raise KubeError(verb, path, 503, "error trying to reach service")
        return {"kubeletconfig": {"serverTLSBootstrap": True} if said else {}}


@pytest.mark.parametrize(
    ("declared", "asking", "said"),
    [
        (False, {}, "the kubelets serve with certificates that they signed themselves"),
        (True, {}, ""),
        (True, {"a": True, "b": False, "c": None}, "the kubelets of b serve"),
        (False, {"a": True, "b": True}, ""),
        (False, {"a": None}, "the kubelets serve"),
    ],
)
def test_metrics_server_asks_for_real_certificates_or_to_be_told_that_none_are_wanted(
    declared: bool, asking: dict[str, bool | None], said: str
) -> None:
    """Of kubelets that run their own word counts: a setting that was added since does not reach them."""
    plane = evolve(PLANE, settings=NodeSettings(kubelet={"serverTLSBootstrap": True} if declared else {}))
    plane._seen.api = Kubelets(lambda: "", Endpoint("192.168.56.100"), asking=asking)
    server = MetricsServer(plane, mirror=Mirror(urls={"https://raw.githubusercontent.com": "file:///none"}))
    found = [problem for problem in server.problems() if "can't be fetched" not in problem.cause]
    assert len(found) == bool(said)
    assert said in "".join(problem.cause for problem in found)
    assert all("MetricsServer(insecure=True)" in problem.remedy for problem in found)
    insecure = evolve(server, insecure=True).problems()
    assert [problem for problem in insecure if "can't be fetched" not in problem.cause] == []


def test_ingress_nginx_says_that_it_is_retired() -> None:
    [warning] = IngressNginx(PLANE).warnings()
    assert "March 2026" in warning


@pytest.mark.parametrize("port", [80, 29999, 32768])
def test_a_node_port_is_in_the_servers_range(port: int) -> None:
    with pytest.raises(ValueError, match="http_port"):
        TraefikGateway(PLANE, http_port=port)


@pytest.mark.parametrize("server", ["10.0.0.1", "fd00::1", "nfs.example.org"])
def test_storage_is_asked_of_the_server_that_is_given(server: str) -> None:
    [made] = [CsiNfs(PLANE, server=server, path="/export", default=True)._class("p", {"server": server})]
    assert made["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert made["mountOptions"] == ["nfsvers=4.1", "hard"]


@pytest.mark.parametrize(("server", "path"), [("a b", "/x"), ("http://nfs", "/x"), ("nfs", "export"), ("", "/x")])
def test_a_server_or_path_that_is_none_is_refused(server: str, path: str) -> None:
    with pytest.raises(ValueError):
        NfsProvisioner(PLANE, server=server, path=path)


def test_what_a_proof_runs_is_listed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Addon, "read", lambda self, file: ())
    found = NfsProvisioner(PLANE, server="nfs.example.org", path="/x", mirror=MIRROR).artifacts()
    assert "registry.example.org/hub/library/busybox:1.37.0" in {item.reference for item in found}


@pytest.mark.parametrize(
    ("check_images", "installed", "refused"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_an_image_that_nobody_could_pull_is_refused_before_the_first_change(
    check_images: bool, installed: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for where something is to change, and is not to be had from the bundle; whatever a registry would say."""

    class Page(Demo):
        def objects(self) -> tuple[Json, ...]:
            meta = {"name": "page", "namespace": "default"}
            return ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"image": "x"}},)

        def _pause(self, seconds: float) -> None:
            """There is no host whose link could tell of an interruption."""

    asked: list[Artifact] = []

    def unreachable(artifacts: Iterable[Artifact]) -> tuple[Problem, ...]:
        asked.extend(artifacts)
        return tuple(Problem(f"image {item.reference}", "can't be had") for item in asked)

    monkeypatch.setattr("k8sha.addons.addon.unreachable", unreachable)
    monkeypatch.setattr("k8sha.addons.addon.rewrite_images", lambda items, change: ("example.org/page:1",))
    plane = evolve(PLANE)
    plane._seen.api = server = Server(lambda: "", Endpoint("192.168.56.100"))
    page = Page(plane, check_images=check_images)
    if installed:
        [step] = page.stages()
        step.install("Page", lambda event: None)
    before = dict(server.store)
    assert [problem.cause for problem in page.problems()] == (["can't be had"] if refused else [])
    assert server.store == before
    assert bool(asked) == refused
