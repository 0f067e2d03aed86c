"""Logging: who may do what, where passwords are, and the line that must be found."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from attrs import define, evolve, field

from k8sha import ControlPlane, Endpoint, Host, KubeError, NotYet, Upstream
from k8sha.addons import Logging, Mirror
from k8sha.addons.admission import admitting
from k8sha.addons.logs.operator import DEFINITIONS
from k8sha.kube import Api, Json
from k8sha.objects.rollout import unfinished

PODS = "/api/v1/namespaces/logging/pods"


@define(eq=False)
class Server(Api):
    """An API server of pods: each is in ``phase`` as soon as it was made."""

    phase: str = "Succeeded"
    made: list[Json] = field(factory=list)
    calls: list[str] = field(factory=list)

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
        self.calls.append(f"{verb} {path.rpartition('/')[0] if verb != 'post' else path}")
        if verb == "post":
            self.made.append(body)
            return body
        if verb == "get" and path.startswith(PODS):
            ended = {"state": {"terminated": {"message": "nothing found yet\n"}}}
            return {"status": {"phase": self.phase, "containerStatuses": [ended]}}
        if verb == "delete":
            return {}
        raise KubeError(verb, path, 404, "not found")


@pytest.fixture
def api() -> Server:
    return Server(lambda: "", Endpoint("192.168.56.100"))


@pytest.fixture
def logging(api: Server, monkeypatch: pytest.MonkeyPatch) -> Logging:
    plane = ControlPlane(
        hosts=[Host("master-1", "192.168.56.10")],
        endpoint=Endpoint("192.168.56.100"),
        version="1.33.13",
        source=Upstream(),
    )
    plane._seen.api = api
    monkeypatch.setattr(Logging, "manifests", lambda self: ())  # the definitions, megabytes of a repository elsewhere
    return Logging(plane, mirror=Mirror({"docker.elastic.co": "registry.example.org/elastic"}))


def objects(logging: Logging) -> dict[str, Json]:
    return {f"{item['kind']} {item['metadata']['name']}": item for item in logging.objects()}


def text(secret: Json, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


def test_who_writes_can_not_read_and_who_reads_can_not_write(logging: Logging) -> None:
    found = objects(logging)
    roles = yaml.safe_load(text(found["Secret logs-roles"], "roles.yml"))
    writer, reader = (roles[text(found[f"Secret logs-{user}"], "roles")] for user in ("fluent-bit", "k8sha-verify"))
    assert writer["indices"] == [
        {"names": ["logs-kubernetes-default*"], "privileges": ["auto_configure", "create_doc"]}
    ]
    assert reader == {"indices": [{"names": ["logs-kubernetes-default*"], "privileges": ["read"]}]}


def test_its_namespace_admits_what_reads_the_hosts_files(logging: Logging) -> None:
    """Where the cluster refuses such pods by default, a namespace that only warns of them gets none."""
    assert objects(logging)["Namespace logging"]["metadata"]["labels"] == admitting("privileged", logging.plane.version)


def test_passwords_are_random_and_in_secrets_alone(logging: Logging) -> None:
    found = objects(logging)
    passwords = {text(found[f"Secret logs-{user}"], "password") for user in ("fluent-bit", "k8sha-verify")}
    assert len(passwords) == 2
    others = repr([item for name, item in found.items() if not name.startswith("Secret")]) + repr(logging)
    assert not [password for password in passwords if password in others]


def test_what_operator_and_collector_are_told_can_be_read(logging: Logging) -> None:
    found = objects(logging)
    settings = yaml.safe_load(found["ConfigMap elastic-operator"]["data"]["eck.yaml"])
    assert (settings["namespaces"], settings["enable-webhook"]) == (["logging"], False)
    config = yaml.safe_load(found["ConfigMap fluent-bit"]["data"]["fluent-bit.yaml"])
    [output] = config["pipeline"]["outputs"]
    assert (output["host"], output["tls.verify"], output["http_passwd"]) == (
        "logs-es-http.logging.svc",
        True,
        "${PASSWORD}",
    )


def test_a_lines_words_can_be_searched_for(logging: Logging, api: Server) -> None:
    """Elasticsearch's template takes ``message`` apart into words, and keeps any other text as one; the filter before
    the renaming knows a line as ``log`` alone."""
    config = yaml.safe_load(objects(logging)["ConfigMap fluent-bit"]["data"]["fluent-bit.yaml"])
    kubernetes, modify = config["pipeline"]["filters"]
    assert (kubernetes["name"], kubernetes["merge_log"], kubernetes["keep_log"]) == ("kubernetes", True, True)
    assert modify == {"name": "modify", "match": "kube.*", "rename": "log message"}
    next(iter(logging.checks())).look()
    environment = {each["name"]: each.get("value") for each in api.made[0]["spec"]["containers"][0]["env"]}
    assert environment["URL"].endswith(f"/logs-kubernetes-default/_count?q=message%3A%22{environment['WORD']}%22")


def test_data_are_kept_where_there_is_a_class(logging: Logging) -> None:
    [plain] = objects(logging)["Elasticsearch logs"]["spec"]["nodeSets"]
    assert plain["podTemplate"]["spec"]["volumes"] == [{"name": "elasticsearch-data", "emptyDir": {}}]
    assert "volumeClaimTemplates" not in plain
    [kept] = objects(evolve(logging, storage_class="ssd", storage="9Gi"))["Elasticsearch logs"]["spec"]["nodeSets"]
    [claim] = kept["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "ssd"
    assert claim["spec"]["resources"] == {"requests": {"storage": "9Gi"}}
    assert "volumes" not in kept["podTemplate"]["spec"]


def test_a_class_that_is_not_there_is_refused_before_the_first_change(logging: Logging) -> None:
    kept = evolve(logging, storage_class="ssd", check_images=False)
    assert "there is no StorageClass ssd" in [problem.cause for problem in kept.problems()]


def test_images_come_from_the_mirror(logging: Logging) -> None:
    images = [item.reference for item in logging.artifacts() if item.kind == "image"]
    assert [image for image in images if image.startswith("docker.elastic.co")] == []
    assert "registry.example.org/elastic/elasticsearch/elasticsearch:9.4.3" in images
    assert len(images) == 4


@pytest.mark.parametrize("wrong", [{"replicas": 2}, {"storage": "much"}, {"memory": "2"}])
def test_settings_that_can_not_work_are_refused(logging: Logging, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Logging(logging.plane, **wrong)  # type: ignore[arg-type]


def test_a_line_is_written_and_found_by_one_pod_which_goes_afterwards(logging: Logging, api: Server) -> None:
    [check] = logging.checks()
    assert check.look() == "found"
    [pod] = api.made
    [container] = pod["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["WORD"] in environment["URL"]
    assert environment["PASSWORD"] is None
    assert container["image"] == "registry.example.org/elastic/elasticsearch/elasticsearch:9.4.3"
    assert api.calls == [f"post {PODS}", f"get {PODS}", f"delete {PODS}"]


def test_a_line_that_is_not_found_is_told_with_the_pods_last_word(logging: Logging, api: Server) -> None:
    api.phase = "Failed"
    [check] = logging.checks()
    with pytest.raises(NotYet, match="its line is not found: nothing found yet"):
        check.look()
    assert api.calls[-1] == f"delete {PODS}"


@pytest.mark.parametrize(("health", "lacks"), [("green", ""), ("yellow", "its health is yellow")])
def test_what_the_operator_makes_is_waited_for(health: str, lacks: str) -> None:
    for kind in ("Elasticsearch", "Kibana"):
        item = {"apiVersion": f"{kind.lower()}.k8s.elastic.co/v1", "kind": kind, "metadata": {"name": "logs"}}
        assert unfinished(item | {"status": {"health": health}}) == lacks
        assert unfinished(item) == "its health is not known yet"


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        ({}, ""),
        ({"observedGeneration": 1}, "its operator has not seen it yet"),
        ({"phase": "ApplyingChanges"}, "it is ApplyingChanges"),
    ],
)
def test_what_the_operator_said_before_a_change_does_not_count(said: Json, lacks: str) -> None:
    """Green was what it was before; it is green as well while its nodes are exchanged one after another."""
    item = {"apiVersion": "elasticsearch.k8s.elastic.co/v1", "kind": "Elasticsearch", "metadata": {"generation": 2}}
    status = {"health": "green", "phase": "Ready", "observedGeneration": 2}
    assert unfinished(item | {"status": status | said}) == lacks


@pytest.mark.parametrize(("count", "lacks"), [(1, ""), (3, "its health is yellow")])
def test_one_node_alone_can_not_be_more_than_yellow(count: int, lacks: str) -> None:
    item = {
        "apiVersion": "elasticsearch.k8s.elastic.co/v1",
        "kind": "Elasticsearch",
        "metadata": {"name": "logs"},
        "spec": {"nodeSets": [{"count": count}]},
        "status": {"health": "yellow"},
    }
    assert unfinished(item) == lacks


def test_the_definitions_are_pinned() -> None:
    assert "/v3.5.0/" in DEFINITIONS.url
    assert Path(DEFINITIONS.file_name).suffix == ".yaml"
