"""Objects as desired state, against a small API server of our own: what is asked of it, told of it, and left alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
from attrs import define, evolve, field

from k8sha.endpoint import Endpoint
from k8sha.errors import ApplyError, ConfigError, KubeError, NotReady, PreflightError
from k8sha.events import ignore
from k8sha.kube import Api, Json
from k8sha.objects import Objects, Ref, Wanted, fields, removal
from k8sha.objects.identity import HASH, OWNER, in_order, marked
from k8sha.objects.rollout import unfinished

KINDS = {
    "v1": [
        ("Namespace", "namespaces", False),
        ("ConfigMap", "configmaps", True),
        ("Secret", "secrets", True),
        ("Service", "services", True),
        ("PersistentVolumeClaim", "persistentvolumeclaims", True),
    ],
    "apps/v1": [("Deployment", "deployments", True)],
}


def discovery(versions: list[str], group: str) -> Json:
    found = []
    for version in versions:
        resources = [
            {
                "resource": plural,
                "responseKind": {"kind": kind},
                "scope": "Namespaced" if namespaced else "Cluster",
                "verbs": ["list"],
            }
            for kind, plural, namespaced in KINDS[version]
        ]
        found.append({"version": version.rpartition("/")[2], "resources": resources})
    return {"items": [{"metadata": {"name": group}, "versions": found}]}


@define(eq=False)
class Server(Api):
    """An API server of flat fields: whoever sets one owns it, and an apply of another's is a conflict."""

    store: dict[str, Json] = field(factory=dict)
    calls: list[str] = field(factory=list)
    refuses: dict[str, KubeError] = field(factory=dict)

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
        query = query or {}
        self.requests += 1
        self.calls.append(f"{verb} {path}" + (" (dry run)" if "dryRun" in query else ""))
        if path in self.refuses:
            raise self.refuses[path]
        if path in ("/api", "/apis"):
            return discovery(["v1"], "") if path == "/api" else discovery(["apps/v1"], "apps")
        if verb == "get" and path == "/api/v1/services" and not query:
            return {"items": [copy.deepcopy(item) for at, item in self.store.items() if "/services/" in at]}
        if verb == "get" and "labelSelector" in query:
            label, _, value = query["labelSelector"].partition("=")
            plural, is_not = path.rpartition("/")[2], label.endswith("!")
            within = path + "/" if "/namespaces/" in path else ""
            there = (at for at in self.store if at.split("/")[-2] == plural and at.startswith(within))
            labels = (
                (item, item["metadata"].get("labels", {}).get(label.rstrip("!")))
                for item in map(self.store.__getitem__, there)
            )
            return {"items": [item for item, found in labels if (found == value) != is_not]}
        if verb == "get":
            if path not in self.store:
                raise KubeError("get", path, 404, "not found")
            return self.store[path]
        if verb == "delete":
            if self.store.pop(path, None) is None:
                raise KubeError("delete", path, 404, "not found")
            return {}
        assert verb == "patch"
        if kind == "merge-patch+json":
            return self._merge(path, body)
        assert kind == "apply-patch+yaml"
        return self._apply(path, body, query)

    def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
        manager, before = query["fieldManager"], self.store.get(path)
        after: Json = copy.deepcopy(before) if before else {"metadata": {"uid": path, "managedFields": []}}
        meta = after["metadata"]
        for name, value in body.get("data", {}).items():
            theirs = [
                entry
                for entry in meta["managedFields"]
                if entry["manager"] != manager and f"f:{name}" in entry["fieldsV1"].get("f:data", {})
            ]
            if theirs and after.get("data", {}).get(name) != value and "force" not in query:
                entry = theirs[0]
                how = " using v1 at 2026-11-22T00:00:00Z" if entry["operation"] == "Update" else ""
                cause = {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{entry["manager"]}"{how}',
                    "field": f".data.{name}",
                }
                raise KubeError("patch", path, 409, "conflict", {"causes": [cause]})
        after |= {key: body[key] for key in ("apiVersion", "kind")}
        after["data"] = {**after.get("data", {}), **body.get("data", {})}
        for key in ("name", "namespace", "labels", "annotations"):
            if key in body["metadata"]:
                meta[key] = body["metadata"][key]
        owned: Json = {"f:metadata": {"f:labels": {}, "f:annotations": {}}}
        if body.get("data"):
            owned["f:data"] = {f"f:{name}": {} for name in body["data"]}
        kept = [entry for entry in meta["managedFields"] if entry["manager"] != manager]
        meta["managedFields"] = [*kept, {"manager": manager, "operation": "Apply", "fieldsV1": owned}]
        if "dryRun" not in query:
            self.store[path] = after
        return after

    def _merge(self, path: str, body: Json) -> Json:
        meta = self.store[path]["metadata"]
        for part in ("labels", "annotations"):
            meta[part] = {key: value for key, value in meta.get(part, {}).items() if key not in body["metadata"][part]}
        meta["managedFields"] = [entry for entry in body["metadata"]["managedFields"] if entry]
        return self.store[path]

    def edit(self, path: str, manager: str, operation: str = "Update", **data: str) -> None:
        """Change fields as somebody else, who owns them from then on."""
        item = self.store[path]
        item["data"].update(data)
        for entry in item["metadata"]["managedFields"]:
            for name in data:
                entry["fieldsV1"].get("f:data", {}).pop(f"f:{name}", None)
            if entry["fieldsV1"].get("f:data") == {}:
                del entry["fieldsV1"]["f:data"]
        mine = {"manager": manager, "operation": operation, "fieldsV1": {"f:data": {f"f:{name}": {} for name in data}}}
        item["metadata"]["managedFields"].append(mine)


def config(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": data}


SPACE: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
ONE, TWO = "/api/v1/namespaces/n/configmaps/one", "/api/v1/namespaces/n/configmaps/two"


@pytest.fixture
def server() -> Server:
    return Server(lambda: "", Endpoint("192.168.56.100"))


def objects(server: Server, *items: Json, force: tuple[str, ...] = (), adopt: tuple[str, ...] = ()) -> Objects:
    wanted = Wanted(
        owner="parts", items=items, force=frozenset(force), adopt=frozenset(Ref.parse(text) for text in adopt)
    )
    return Objects(name="objects", api=server, wanted=wanted, pause=lambda seconds: None)


def changes(step: Objects) -> dict[str, tuple[str, ...]]:
    return {change.resource: change.diff.lines for change in step.plan("Parts", ignore)[1].changes}


def test_an_empty_plan_asks_once_for_each_kind_and_for_the_inventory(server: Server) -> None:
    step = objects(server, SPACE, config("one", a="1"), config("two", a="1"))
    step.install("Parts", ignore)
    server.calls.clear()
    _, plan = step.plan("Parts", ignore)
    assert not plan
    assert plan.requests == 3
    assert sorted(server.calls) == [
        "get /api/v1/configmaps",
        "get /api/v1/namespaces",
        "get /api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts",
    ]


def test_the_gate_is_asked_before_the_first_change_and_only_where_there_is_one(server: Server) -> None:
    def shut() -> None:
        raise NotReady("a class", 0, "it is not there")

    step = objects(server, SPACE, config("one", a="1"))
    with pytest.raises(NotReady, match="it is not there"):
        evolve(step, gate=shut).install("Parts", ignore)
    assert server.store == {}
    assert evolve(step, gate=shut).plan("Parts", ignore)[1]
    step.install("Parts", ignore)
    evolve(step, gate=shut).install("Parts", ignore)  # nothing differs


def test_only_what_differs_is_put_to_a_dry_run(server: Server) -> None:
    objects(server, SPACE, config("one", a="1"), config("two", a="1")).install("Parts", ignore)
    server.calls.clear()
    changed = objects(server, SPACE, config("one", a="2"), config("two", a="1"))
    assert changes(changed) == {"v1 ConfigMap n/one": (".data.a: 1 -> 2",)}
    assert [call for call in server.calls if "patch" in call] == [f"patch {ONE} (dry run)"]


def service(namespace: str, name: str, port: int) -> Json:
    meta = {"name": name, "namespace": namespace, "uid": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"ports": [{"port": 80, "nodePort": port}]},
    }


def test_a_node_port_that_another_service_has_is_refused_before_the_first_change(server: Server) -> None:
    """In a namespace that is still to be made as well: no dry run can tell there."""
    theirs = service("ingress", "entrance", 30080)
    server.store["/api/v1/namespaces/ingress/services/entrance"] = theirs
    before = dict(server.store)
    step = objects(server, SPACE, service("n", "ours", 30080))
    with pytest.raises(ApplyError, match=r"Service n/ours: failed .* which v1 Service ingress/entrance has"):
        step.install("Parts", ignore)
    assert server.store == before
    with pytest.raises(PreflightError) as caught:
        step.plan("Parts", ignore)
    assert [str(problem).partition(" — ")[0] for problem in caught.value.problems] == [
        "v1 Service n/ours: asks for node port 30080, which v1 Service ingress/entrance has"
    ]
    assert server.store == before
    udp = service("n", "ours", 30080)
    udp["spec"]["ports"][0]["protocol"] = "UDP"  # a number is given away once, whatever the protocol
    with pytest.raises(PreflightError, match="asks for node port 30080"):
        objects(server, SPACE, udp).plan("Parts", ignore)


def test_a_node_port_that_nobody_has_is_asked_for_though_a_dry_run_says_that_it_is_taken() -> None:
    """An API server that has not given away a port since another one was freed by another API server's hand."""

    class Stale(Server):
        def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
            if "dryRun" in query and path.endswith("/services/ours") and path not in self.store:
                raise KubeError("patch", path, 422, "spec.ports[0].nodePort: provided port is already allocated")
            return super()._apply(path, body, query)

    stale = Stale(lambda: "", Endpoint("192.168.56.100"))
    step = objects(stale, service("n", "ours", 30080))
    assert "known after the apply" in changes(step)["v1 Service n/ours"][-1]
    step.install("Parts", ignore)
    assert "/api/v1/namespaces/n/services/ours" in stale.store


def test_a_namespace_that_is_still_going_is_told_to_be_waited_for() -> None:
    class Going(Server):
        def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
            said = "unable to create new content in namespace n because it is being terminated"
            raise KubeError("patch", path, 403, f'configmaps "one" is forbidden: {said}')

    with pytest.raises(PreflightError, match="run again once it is gone"):
        objects(Going(lambda: "", Endpoint("192.168.56.100")), config("one", a="1")).plan("Parts", ignore)


def test_a_plan_changes_nothing(server: Server) -> None:
    step = objects(server, SPACE, config("one", a="1"))
    before = copy.deepcopy(server.store)
    assert len(changes(step)) == 3  # with the inventory
    assert server.store == before == {}


def test_the_inventory_is_written_before_the_first_object(server: Server) -> None:
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    made = [call for call in server.calls if call.startswith("patch") and "dry" not in call]
    assert made == [
        "patch /api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts",
        "patch /api/v1/namespaces/n",
        f"patch {ONE}",
        "patch /api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts",
    ]


@pytest.mark.parametrize("who", ["kubectl-edit", "kubectl-client-side-apply", "kubectl"])
def test_what_was_changed_with_kubectl_is_drift(server: Server, who: str) -> None:
    step = objects(server, SPACE, config("one", a="1"))
    step.install("Parts", ignore)
    server.edit(ONE, who, a="2")
    assert changes(step) == {"v1 ConfigMap n/one": (".data.a: 2 -> 1",)}
    step.install("Parts", ignore)
    assert server.store[ONE]["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("who", "operation"), [("argocd", "Apply"), ("kubectl", "Apply"), ("some-controller", "Update")]
)
def test_what_another_manager_owns_is_a_conflict_unless_it_is_forced(server: Server, who: str, operation: str) -> None:
    step = objects(server, SPACE, config("one", a="1"))
    step.install("Parts", ignore)
    server.edit(ONE, who, operation, a="2")
    before = copy.deepcopy(server.store)
    with pytest.raises(PreflightError, match=rf"v1 ConfigMap n/one \.data\.a: is owned by {who} .*force="):
        step.plan("Parts", ignore)
    with pytest.raises(ApplyError, match=rf"what is done stays done(.*\n)*.*owned by {who}"):
        step.install("Parts", ignore)  # in an install others' steps come before it
    assert server.store == before
    objects(server, SPACE, config("one", a="1"), force=("v1 ConfigMap n/one .data.a",)).install("Parts", ignore)
    assert server.store[ONE]["data"] == {"a": "1"}


def test_what_left_the_manifest_goes_and_what_has_not_our_label_stays(server: Server) -> None:
    objects(server, SPACE, config("one", a="1"), config("two", a="1")).install("Parts", ignore)
    smaller = objects(server, SPACE, config("one", a="1"))
    del server.store[TWO]["metadata"]["labels"][OWNER]
    smaller.install("Parts", ignore)
    assert TWO in server.store
    objects(server, SPACE, config("one", a="1"), config("two", a="1"), adopt=("v1 ConfigMap n/two",)).install(
        "Parts", ignore
    )
    smaller.install("Parts", ignore)
    assert TWO in server.store, "it was adopted, so it was not ours to delete"


def test_what_is_there_already_is_refused_and_its_owner_named(server: Server) -> None:
    entry = {"manager": "helm", "operation": "Update", "fieldsV1": {}}
    server.store["/api/v1/namespaces/n"] = SPACE | {"metadata": {"name": "n", "uid": "u", "managedFields": [entry]}}
    with pytest.raises(PreflightError, match=r"v1 Namespace n: is there already, made by helm .*adopt="):
        objects(server, SPACE).plan("Parts", ignore)
    server.store["/api/v1/namespaces/n"]["metadata"]["labels"] = {OWNER: "another"}
    with pytest.raises(PreflightError, match="v1 Namespace n: belongs to another"):
        objects(server, SPACE).plan("Parts", ignore)


def test_without_a_cluster_everything_is_known_later(server: Server) -> None:
    server.refuses["/api"] = KubeError("read", "admin.conf", 0, "none has one: the cluster is not installed yet")
    _, plan = objects(server, SPACE).plan("Parts", ignore)
    assert plan.changes[0].diff.lines == ("+ new (known after the API server is there)",)
    server.refuses["/api"] = KubeError("get", "/api", 0, "connection refused")
    with pytest.raises(KubeError, match="connection refused"):
        objects(server, SPACE).plan("Parts", ignore)


def test_a_webhook_that_does_not_answer_leaves_the_plan_open(server: Server) -> None:
    step = objects(server, SPACE, config("one", a="1"))
    step.install("Parts", ignore)
    server.edit(ONE, "kubectl-edit", a="2")
    server.refuses[ONE] = KubeError("patch", ONE, 500, 'failed calling webhook "w.example.org": connection refused')
    assert "known after the apply" in changes(step)["v1 ConfigMap n/one"][0]


@pytest.mark.parametrize(
    ("live", "after", "lines"),
    [
        ({"spec": {"a": 1}}, {"spec": {"a": 1}}, ()),
        ({"spec": {"a": 1}}, {"spec": {"a": 2, "b": 3}}, (".spec.a: 1 -> 2", "+ .spec.b: 3")),
        ({"spec": {"a": 1, "b": "x"}}, {"spec": {"a": 1}}, ("- .spec.b: x",)),
        (
            {"spec": {"containers": [{"name": "c", "image": "x:1"}, {"name": "d", "image": "y"}]}},
            {"spec": {"containers": [{"name": "d", "image": "y"}, {"name": "c", "image": "x:2"}]}},
            (".spec.containers[c].image: x:1 -> x:2",),
        ),
        ({"spec": {"args": ["a"]}}, {"spec": {"args": ["a", "b"]}}, ('.spec.args: ["a"] -> ["a", "b"]',)),
        (
            {"data": {"f.conf": "a\nb\n"}},
            {"data": {"f.conf": "a\nc\n"}},
            (".data[f.conf]:", "  @@ -1,2 +1,2 @@", "   a", "  -b", "  +c"),
        ),
        ({"status": {"x": 1}, "metadata": {"generation": 1}}, {"status": {"x": 2}, "metadata": {"generation": 2}}, ()),
    ],
)  # fmt: skip
def test_a_diff_is_told_field_by_field(live: Json, after: Json, lines: tuple[str, ...]) -> None:
    head = {"kind": "Any", "apiVersion": "v1", "metadata": {}}
    assert fields.changed({**head, **live}, {**head, **after}).lines == lines


def test_secrets_are_told_by_a_short_hash() -> None:
    head = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}}
    old, new = {**head, "data": {"p": "b25l"}}, {**head, "data": {"p": "dHdv", "tls.key": "a\nb"}}
    text = f"{fields.changed(old, new)}{fields.created(new)}"
    assert "b25l" not in text
    assert "dHdv" not in text
    assert "sha256" in text
    assert HASH not in marked(new, "parts")["metadata"].get("annotations", {})


@pytest.mark.parametrize("part", ["data", "stringData"])
@pytest.mark.parametrize(("value", "said"), [
    ({"pin": 12345678, "on": True, "text": "1", "none": None}, {"{}.pin is no text", "{}.on is no text"}),
    ("pin: 12345678", {"{} is no map"}),
])  # fmt: skip
def test_a_value_of_a_secret_that_is_no_text_is_refused_and_not_shown(part: str, value: Json, said: set[str]) -> None:
    item = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, part: value}
    with pytest.raises(ConfigError) as caught:
        Wanted(owner="parts", items=({"apiVersion": "v1", "kind": "List", "items": [item]},))
    assert {problem.cause for problem in caught.value.problems} == {f"its {text.format(part)}" for text in said}
    assert {problem.subject for problem in caught.value.problems} == {"parts: v1 Secret n/s"}
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_what_an_api_server_got_is_not_shown_of_a_secret(kind: str) -> None:
    item = config("one", a="1") | {"kind": kind}
    value = "&value.valueUnstructured{Value:12345678}"
    said = f"failed to create typed patch object (n/one; v1, Kind={kind}): .type: expected string, got {value}"

    class Refusing(Server):
        def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
            raise KubeError("patch", path, 500, said)

    with pytest.raises(PreflightError, match=r"\.type: expected string, got ") as caught:
        objects(Refusing(lambda: "", Endpoint("192.168.56.100")), item).plan("Parts", ignore)
    assert ("12345678" in str(caught.value)) is (kind == "ConfigMap")


OWNED = {
    "f:metadata": {"f:labels": {f"f:{OWNER}": {}}, "f:annotations": {f"f:{HASH}": {}}},
    "f:spec": {
        "f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}},
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
        "f:finalizers": {'v:"keep"': {}},
    },
}


@pytest.mark.parametrize(
    ("lost", "whole"),
    [
        ((), True),
        (("f:spec", "f:containers", 'k:{"name":"c"}', "f:image"), False),
        (("f:spec", "f:containers", 'k:{"name":"c"}'), False),
        (("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}'), False),
        (("f:spec", "f:finalizers", 'v:"keep"'), False),
        (("f:metadata", "f:labels", f"f:{OWNER}"), False),
    ],
)
def test_a_field_that_is_ours_no_more_is_noticed_without_asking(lost: tuple[str, ...], whole: bool) -> None:
    spec = {
        "containers": [{"name": "c", "image": "x", "args": ["a"]}],
        "ports": [{"port": 80}],
        "finalizers": ["keep"],
    }
    wanted = marked({"apiVersion": "v1", "kind": "Any", "metadata": {"name": "o"}, "spec": spec}, "parts")
    owned = copy.deepcopy(OWNED)
    if lost:
        *way, last = lost
        part: Json = owned
        for key in way:
            part = part[key]
        del part[last]
        part["f:other"] = {}  # an empty map would mean that all of it is ours
    entry = {"manager": "k8sha", "operation": "Apply", "fieldsV1": owned}
    live = {**wanted, "metadata": {**wanted["metadata"], "managedFields": [entry]}}
    assert fields.intact(wanted, live) is whole
    other = marked({"apiVersion": "v1", "kind": "Any", "metadata": {"name": "o"}, "spec": {}}, "parts")
    assert not fields.intact(other, live)


def test_marks_are_put_on_once() -> None:
    once = marked(config("one", a="1"), "parts")
    assert marked(once, "parts") == once


def test_namespaces_and_definitions_come_first_own_kinds_and_webhooks_last() -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x"},
        "spec": {
            "group": "x",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1"}],
        },
    }
    kinds = [
        "ValidatingWebhookConfiguration v1",
        "Thing x/v1",
        "Deployment apps/v1",
        "ConfigMap v1",
        "Namespace v1",
    ]
    items = [
        dict(zip(("kind", "apiVersion"), kind.split(), strict=True)) | {"metadata": {"name": "o"}} for kind in kinds
    ]
    assert [item["kind"] for item in in_order([*items, definition])] == [
        "Namespace",
        "CustomResourceDefinition",
        "ConfigMap",
        "Deployment",
        "Thing",
        "ValidatingWebhookConfiguration",
    ]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"kind": "ConfigMap"}, ""),
        (
            {"kind": "Deployment", "metadata": {"generation": 2}, "spec": {}, "status": {"observedGeneration": 1}},
            "its controller has not seen it yet",
        ),
        (
            {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}},
            "1 old pods are still there",
        ),
        (
            {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}},
            "",
        ),
        (
            {"kind": "Deployment", "metadata": {}, "spec": {"replicas": 1}, "status": {
                "conditions": [{"type": "Progressing", "status": "False", "message": "deadline exceeded"}]}},
            "0 of 1 pods are updated and available; Progressing=False: deadline exceeded",
        ),
        (
            {"kind": "DaemonSet", "metadata": {}, "spec": {}, "status": {
                "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}},
            "2 of 3 pods are updated and available",
        ),
        *(
            (
                {"kind": "StatefulSet", "metadata": {}, "spec": {"replicas": 3, "updateStrategy": strategy}, "status": {
                    "replicas": 3, "updatedReplicas": updated, "availableReplicas": available}},
                said,
            )
            for strategy, updated, available, said in (
                ({"type": "OnDelete"}, 0, 3, ""),
                ({"type": "OnDelete"}, 0, 2, "2 of 3 pods are updated and available"),
                ({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, 1, 3, ""),
                ({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, 0, 3,
                 "0 of 3 pods are updated and available"),
                ({"type": "RollingUpdate", "rollingUpdate": {"partition": 9}}, 0, 3, ""),
                ({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, 2, 3,
                 "2 of 3 pods are updated and available"),
                ({"type": "RollingUpdate"}, 3, 3, ""),
            )
        ),
        (
            {"kind": "DaemonSet", "metadata": {}, "spec": {"updateStrategy": {"type": "OnDelete"}}, "status": {
                "desiredNumberScheduled": 3, "updatedNumberScheduled": 0, "numberAvailable": 3}},
            "",
        ),
        ({"kind": "Job", "metadata": {}, "status": {"conditions": [
            {"type": "Failed", "status": "True", "message": "backoff"}]}}, "Failed: backoff"),
        ({"kind": "Job", "metadata": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, ""),
        (
            {"kind": "CustomResourceDefinition", "metadata": {}, "status": {"conditions": [
                {"type": "NamesAccepted", "status": "False", "message": "Thing is taken"},
                {"type": "Established", "status": "False", "message": "not all names are accepted"}]}},
            "Established is False: Thing is taken",
        ),
        (
            {"kind": "APIService", "metadata": {}, "spec": {"service": {}}, "status": {"conditions": [
                {"type": "Available", "status": "False", "message": "no endpoints"}]}},
            "Available is False: no endpoints",
        ),
        ({"kind": "APIService", "metadata": {}, "spec": {"service": None}}, ""),
    ],
)  # fmt: skip
def test_what_is_not_finished_says_why(item: Json, said: str) -> None:
    assert unfinished(item) == said


@pytest.mark.parametrize("text", ["apps/v1 Deployment kube-system/x", "v1 Namespace monitoring", "a.b/v1 Kind n/x.y"])
def test_an_object_is_read_as_it_is_printed(text: str) -> None:
    assert str(Ref.parse(text)) == text


def test_the_same_object_under_another_version_is_the_same() -> None:
    assert Ref.parse("policy/v1beta1 PodDisruptionBudget n/x") == Ref.parse("policy/v1 PodDisruptionBudget n/x")
    with pytest.raises(ConfigError, match="write it as"):
        Ref.parse("Deployment x")


def test_what_others_made_in_a_namespace_of_ours_stands_in_the_way_of_its_removal(server: Server) -> None:
    """Named, with nothing deleted. What every namespace has by itself, or from a controller, is no reason."""
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    for space, name in (("n", "kube-root-ca.crt"), ("n", "theirs"), ("n", "mesh-ca"), ("kube-node-lease", "mesh-ca")):
        item = config(name, a="1")
        meta = item["metadata"] | {"namespace": space, "uid": f"{space}-{name}"}
        server.store[f"/api/v1/namespaces/{space}/configmaps/{name}"] = item | {"metadata": meta}
    before = dict(server.store)
    gone = removal.Removal(name="removal", api=server, owner="parts")
    with pytest.raises(PreflightError) as caught:
        gone.install("Parts", ignore)
    assert [problem.cause for problem in caught.value.problems] == ["has what we did not make: ConfigMap n/theirs"]
    assert "v1 Namespace n" in caught.value.problems[0].remedy
    assert server.store == before
    del server.store["/api/v1/namespaces/n/configmaps/theirs"]
    gone.install("Parts", ignore)
    assert ONE not in server.store


def test_waiting_for_what_was_deleted_outlasts_an_answer_that_does_not_come() -> None:
    class Slow(Api):
        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            self.requests += 1
            statuses = (0, 429, 503, 404)
            raise KubeError(verb, path, statuses[self.requests - 1], "nothing that says that it is there")

    server = Slow(lambda: "", Endpoint("192.168.56.100"))
    waiting = {Ref.parse("v1 Namespace web"): ("/api/v1/namespaces/web", "1")}
    removal._await_gone(server, waiting, lambda *_: None, 5.0, lambda _: None)
    assert (server.requests, waiting) == (4, {})


def test_a_namespace_that_does_not_go_says_what_keeps_it() -> None:
    """Such as the API of a metrics server that is down: no namespace is deleted meanwhile, whatever is in it."""
    down = "Discovery failed for some groups: metrics.k8s.io/v1beta1: stale GroupVersion discovery"
    left = {"type": "NamespaceContentRemaining", "status": "False", "message": "All content removed"}
    failed = {"type": "NamespaceDeletionDiscoveryFailure", "status": "True", "message": down}
    space = SPACE | {
        "metadata": {"name": "n", "uid": "1"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"conditions": [failed, left]},
    }
    server = Server(lambda: "", Endpoint("192.168.56.100"))
    server.store["/api/v1/namespaces/n"] = space
    waiting = {Ref.of(SPACE): ("/api/v1/namespaces/n", "1")}
    with pytest.raises(NotReady) as caught:
        removal._await_gone(server, waiting, lambda *_: None, 0.0, lambda _: None)
    assert "held by kubernetes: Discovery failed" in str(caught.value)
    assert "delete its APIService" in str(caught.value)
    assert "All content removed" not in str(caught.value)
