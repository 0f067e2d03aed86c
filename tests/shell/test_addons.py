"""Images and files asked for at a small registry on loopback, and a chart rendered by a program that plays helm."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from attrs import define, evolve

from k8sha.addons import HelmChart, Manifest, Mirror
from k8sha.artifacts import Artifact, unreachable
from k8sha.components.control_plane import ControlPlane
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError, KubeError
from k8sha.hosts import Host
from k8sha.kube import Api, Json
from k8sha.sources import Upstream

PLANE = ControlPlane(
    hosts=[Host("master-1", "192.168.56.10")],
    endpoint=Endpoint("192.168.56.100"),
    version="1.33.13",
    source=Upstream(),
)


class Kinds(Api):
    """An API server that has one kind of somebody else's, and otherwise does not answer."""

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if path not in ("/api", "/apis"):
            raise KubeError(verb, path, 503, "down")
        resource = {"resource": "monitors", "responseKind": {"kind": "Monitor"}, "scope": "Namespaced"}
        group = {"metadata": {"name": "example.org"}, "versions": [{"version": "v1", "resources": [resource]}]}
        return {"items": [group] if path == "/apis" else []}


@define(eq=False)
class Down(Api):
    """An API server that does not answer."""

    said: str = "etcd changes its leader"

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        raise KubeError(verb, path, 0, self.said)


PLANE._seen.api = Kinds(lambda: "", Endpoint("192.168.56.100"))


class Registry(BaseHTTPRequestHandler):
    """``open/*`` is for everybody, ``token/*`` for who fetched a token, ``closed/*`` for nobody."""

    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
        token = self.headers.get("Authorization") == "Bearer let-me-in"
        open_to_all = repository == "open/app" and "oci.image.index" in (self.headers.get("Accept") or "")
        if open_to_all or (repository == "token/app" and token):
            self.answer(200)
        elif repository in ("token/app", "closed/app") and not token:
            realm = f"http://127.0.0.1:{self.server.server_port}/token"  # type: ignore[attr-defined]
            self.answer(401, f'Bearer realm="{realm}",service="here",scope="repository:{repository}:pull"')
        elif repository == "closed/app":
            self.answer(403)
        else:
            self.answer(200 if self.path == "/file" else 404)

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.answer(200, body=b'{"token": "let-me-in"}')

    def answer(self, status: int, challenge: str = "", body: bytes = b"") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    Registry.asked.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def image(reference: str, *, bundled: bool = False) -> Artifact:
    return Artifact("image", reference, "Demo", bundled)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open/app:1", ""),
        ("open/app@sha256:" + "a" * 64, ""),
        ("token/app:1", ""),
        ("closed/app:1", "lets nobody have it without a login"),
        ("none/app:1", "does not have it"),
    ],
)
def test_an_image_is_asked_for_as_a_runtime_asks(registry: str, name: str, said: str) -> None:
    problems = unreachable([image(f"{registry}/{name}")])
    assert [problem.subject for problem in problems] == ([f"image {registry}/{name}"] if said else [])
    assert said in "".join(problem.cause for problem in problems)


def test_a_token_is_asked_for_what_is_needed_and_no_more(registry: str) -> None:
    assert unreachable([image(f"{registry}/token/app:1")]) == ()
    assert Registry.asked == [
        "HEAD /v2/token/app/manifests/1",
        "GET /token?service=here&scope=repository%3Atoken%2Fapp%3Apull",
        "HEAD /v2/token/app/manifests/1",
    ]


def test_files_are_asked_for_bundled_ones_are_not_and_all_that_is_missing_is_told(registry: str) -> None:
    found = unreachable(
        [
            Artifact("url", f"http://{registry}/file", "Demo"),
            Artifact("url", f"http://{registry}/none", "Demo"),
            image("127.0.0.1:1/gone:1"),
            image("127.0.0.1:1/bundled:1", bundled=True),
        ]
    )
    assert [(problem.subject, problem.cause.partition(":")[0]) for problem in found] == [
        (f"url http://{registry}/none", "HTTP 404 Not Found"),
        ("image 127.0.0.1:1/gone:1", "can't be reached"),
    ]


def test_a_file_comes_through_the_mirror_and_keeps_its_hash(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: n}}")
    sum = hashlib.sha256((tmp_path / "x.yaml").read_bytes()).hexdigest()
    mirror = Mirror(urls={"https://example.org/files": tmp_path.as_uri()})
    file = Manifest("x", "v1", "https://example.org/files/x.yaml", sum)
    assert file.read(None, mirror=mirror)[0]["kind"] == "Namespace"
    with pytest.raises(ConfigError, match="has sha256"):
        Manifest("x", "v1", "https://example.org/files/x.yaml", "0" * 64).read(None, mirror=mirror)


HELM = """\
#!/bin/sh
if [ "$1" = version ]; then printf v3.18.4; exit 0; fi
echo "$@" >"$(dirname "$0")/asked"
for word; do case $last in --values) cp "$word" "$(dirname "$0")/values"; stat -c %a "$word" >"$(dirname "$0")/mode";; esac; last=$word; done
case "$*" in *"--kube-version v1.33.13"*) ;; *) exit 1;; esac
if [ -f "$(dirname "$0")/rendered" ]; then cat "$(dirname "$0")/rendered"; else cat "$(dirname "$0")/refused" >&2; exit 1; fi
if [ -f "$(dirname "$0")/next" ]; then mv "$(dirname "$0")/next" "$(dirname "$0")/rendered"; fi
"""  # noqa: E501

HOOK = '{apiVersion: v1, kind: Pod, metadata: {name: hook, annotations: {helm.sh/hook: "pre-install"}}}'


def archive(folder: Path, version: str = "1.2.3") -> str:
    """A chart's archive in a folder; returns its hash."""
    text = f"apiVersion: v2\nname: demo\nversion: {version}\n".encode()
    with tarfile.open(folder / "demo-1.2.3.tgz", "w:gz") as made:
        entry = tarfile.TarInfo("demo/Chart.yaml")
        entry.size = len(text)
        made.addfile(entry, io.BytesIO(text))
    return hashlib.sha256((folder / "demo-1.2.3.tgz").read_bytes()).hexdigest()


def chart(folder: Path, **more: object) -> HelmChart:
    helm = folder / "helm"
    helm.write_text(HELM)
    helm.chmod(0o755)
    settings: dict[str, object] = {"sha256": archive(folder), "helm": str(helm), **more}
    return HelmChart(PLANE, chart="demo", version="1.2.3", repository=folder.as_uri(), into="demo", **settings)  # type: ignore[arg-type]


def test_a_chart_is_rendered_for_this_cluster_and_its_values_are_never_in_arguments(tmp_path: Path) -> None:
    (tmp_path / "rendered").write_text("---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n---\n")
    demo = chart(tmp_path, values={"password": "hunter2"})
    assert [item["kind"] for item in demo.objects()] == ["Namespace", "ConfigMap"]
    assert [item["kind"] for item in evolve(demo, create_namespace=False).objects()] == ["ConfigMap"]
    asked = (tmp_path / "asked").read_text()
    assert "hunter2" not in asked
    assert "hunter2" not in repr(demo)
    assert "--namespace demo --include-crds --skip-tests --kube-version v1.33.13" in asked
    assert json.loads((tmp_path / "values").read_text()) == {"password": "hunter2"}
    assert (tmp_path / "mode").read_text() == "600\n"


def test_a_chart_that_needs_a_newer_kubernetes_is_refused_in_helms_words(tmp_path: Path) -> None:
    said = "chart requires kubeVersion: >=1.99.0 which is incompatible with Kubernetes v1.33.13"
    (tmp_path / "refused").write_text(f"Error: {said}\n")
    problems = list(chart(tmp_path).problems())
    assert [problem.cause for problem in problems] == [f"helm refuses it: Error: {said}"]
    assert [problem.remedy for problem in problems] == ["take a version of the chart that is for Kubernetes 1.33.13"]
    (tmp_path / "refused").write_text("Error: values don't meet the specifications of the schema\n")
    assert [problem.remedy for problem in chart(tmp_path).problems()] == ["correct the chart's values"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"helm_version": "v4"}, "is v3.18.4, not v4"),
        ({"helm_version": "v3.1"}, r"is v3.18.4, not v3.1"),
        ({"helm": "/none/helm"}, "there is no /none/helm"),
        ({"sha256": "0" * 64}, "has sha256"),
    ],
)
def test_another_helm_or_another_archive_is_refused(tmp_path: Path, more: dict[str, str], said: str) -> None:
    (tmp_path / "rendered").write_text("")
    with pytest.raises(ConfigError, match=said):
        chart(tmp_path, **more).objects()


def test_an_archive_of_another_version_is_refused(tmp_path: Path) -> None:
    demo = chart(tmp_path, values={"a": 1})
    other = evolve(demo, sha256=archive(tmp_path, "9.9.9"))
    assert other.values == demo.values == '{"a": 1}'
    with pytest.raises(ConfigError, match=r"the archive holds demo 9\.9\.9"):
        other.objects()


CONFIG = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {password: %s}}"


def test_a_chart_that_makes_up_values_is_refused_with_the_objects_that_differ(tmp_path: Path) -> None:
    """Each look would find other ones, so no install of it would ever be done."""
    demo = chart(tmp_path, check_images=False)
    (tmp_path / "rendered").write_text(CONFIG % "one")
    assert list(demo.problems()) == []
    (tmp_path / "next").write_text(CONFIG % "two")
    [problem] = demo.problems()
    assert problem.cause == "it makes random values: two renderings differ in ConfigMap demo/c"
    assert "values=" in problem.remedy


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.test.org}
spec: {group: test.org, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1}]}
"""


def test_a_chart_is_told_what_the_server_has_and_what_it_brings_itself(tmp_path: Path) -> None:
    """Without the second, objects that depend on a kind of its own would come with the second install."""
    demo = chart(tmp_path, check_images=False)
    (tmp_path / "rendered").write_text(CONFIG % "one")
    assert list(demo.problems()) == []
    assert (tmp_path / "asked").read_text().endswith("--api-versions example.org/v1,example.org/v1/Monitor\n")
    (tmp_path / "rendered").write_text(DEFINITION)
    assert len(demo.objects()) == 2
    asked = "--api-versions example.org/v1,example.org/v1/Monitor,test.org/v1,test.org/v1/Thing\n"
    assert (tmp_path / "asked").read_text().endswith(asked)


def test_a_chart_is_not_rendered_for_less_than_there_is(tmp_path: Path) -> None:
    """What depends on a kind would be taken for gone, and be deleted."""
    (tmp_path / "rendered").write_text(CONFIG % "one")
    plane = evolve(PLANE)
    plane._seen.api = api = Down(lambda: "", Endpoint("192.168.56.100"))
    demo = evolve(chart(tmp_path), plane=plane)
    with pytest.raises(KubeError, match="etcd changes its leader"):
        list(demo.stages())
    api.said = "none has one: the cluster is not installed yet"
    assert len(list(demo.stages())) == 1


@pytest.mark.parametrize(("hooks", "count"), [("refuse", None), ("skip", 0), ("apply", 1)])
def test_hooks_are_refused_unless_told_otherwise(tmp_path: Path, hooks: str, count: int | None) -> None:
    (tmp_path / "rendered").write_text(HOOK)
    demo = chart(tmp_path, hooks=hooks)
    if count is None:
        with pytest.raises(ConfigError, match=r"Pod hook is a hook \(pre-install\)"):
            demo.objects()
    else:
        assert len(evolve(demo, create_namespace=False).objects()) == count
