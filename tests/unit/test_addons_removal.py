"""What may go, what must be refused, and what is only given up."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Mapping

import pytest
from attrs import evolve

from k8sha.addons import Addon, Calico, IngressNginx, Logging
from k8sha.endpoint import Endpoint
from k8sha.errors import ApplyError, ConfigError, KubeError, PreflightError
from k8sha.events import ignore
from k8sha.kube import Json
from k8sha.objects import Ref, Removal, Wanted
from k8sha.objects.identity import HASH, OWNER
from k8sha.objects.inventory import Inventory
from k8sha.objects.others import goes_with
from tests.unit.test_addons_mirror import PLANE
from tests.unit.test_addons_objects import ONE, SPACE, Server, changes, config, objects, service

INVENTORY = "/api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts"
MADE = ("Secret shop-*", "ConfigMap shop-uuid")


@pytest.fixture
def server() -> Server:
    return Server(lambda: "", Endpoint("192.168.56.100"))


def put(server: Server, item: Json, plural: str) -> str:
    meta = item["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/{plural}/{meta['name']}"
    server.store[path] = copy.deepcopy(item) | {"metadata": {"managedFields": []} | meta | {"uid": path}}
    return path


@pytest.mark.parametrize(("name", "kind", "ours"), [
    ("shop-uuid", "ConfigMap", True), ("shop-tls", "Secret", True), ("shop-tls", "ConfigMap", False),
    ("other", "Secret", False),
])  # fmt: skip
def test_what_our_own_programs_made_goes_with_them(server: Server, name: str, kind: str, ours: bool) -> None:
    """Such as the certificate of a webhook, or an operator's id: nobody owns them by the word of the API server."""
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    put(server, config(name) | {"kind": kind}, f"{kind.lower()}s")
    gone = Removal(name="removal", api=server, owner="parts", by_pods=MADE)
    if not ours:
        with pytest.raises(PreflightError, match=f"has what we did not make: {kind} n/{name}"):
            gone.install("Parts", ignore)
        return
    gone.install("Parts", ignore)
    assert "/api/v1/namespaces/n" not in server.store


@pytest.mark.parametrize(
    ("addon", "made", "not_made"),
    [
        (IngressNginx, "Secret ingress-nginx-admission", "Secret tls"),
        (Logging, "Secret logs-kb-http-certs-public", "Secret logs-backup"),
        (Logging, "ConfigMap elastic-operator-uuid", "PersistentVolumeClaim elasticsearch-data-logs-es-all-0"),
        (Calico, "IPPool default-ipv4-ippool", "IPPool second"),
        (Calico, "IPAMBlock 10-244-0-0-26", "GlobalNetworkPolicy deny"),
    ],
)
def test_add_ons_say_what_their_programs_make(addon: type[Addon], made: str, not_made: str) -> None:
    patterns = addon(PLANE).made_by_pods
    assert any(fnmatch.fnmatchcase(made, pattern) for pattern in patterns)
    assert not any(fnmatch.fnmatchcase(not_made, pattern) for pattern in patterns)


def test_what_its_programs_make_is_told_to_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IngressNginx, "objects", lambda self: ())
    addon = IngressNginx(PLANE)
    assert addon._wanted()[0].by_pods == addon.made_by_pods


class Strict(Server):
    """Does not take an object whose ``data`` nobody gives any more, as a definition has no ``spec`` then."""

    def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
        if "/configmaps/one" in path and "data" not in body:
            raise KubeError("patch", path, 422, "data: Required value")
        return super()._apply(path, body, query)


def test_what_is_kept_stays_as_it_is_and_is_ours_no_more() -> None:
    server = Strict(lambda: "", Endpoint("192.168.56.100"))
    objects(server, SPACE, config("one", a="1"), config("two", a="1")).install("Parts", ignore)
    server.edit(ONE, "somebody", b="2")
    kept = frozenset(Ref.parse(text) for text in ("v1 ConfigMap n/one", "v1 Namespace n"))
    Removal(name="removal", api=server, owner="parts", keep=kept).install("Parts", ignore)
    assert set(server.store) == {"/api/v1/namespaces/n", ONE}
    meta = server.store[ONE]["metadata"]
    assert server.store[ONE]["data"] == {"a": "1", "b": "2"}
    assert OWNER not in meta["labels"]
    assert HASH not in meta["annotations"]
    assert [entry["manager"] for entry in meta["managedFields"]] == ["somebody"]


def test_an_adopted_object_that_left_the_manifest_keeps_what_it_needs() -> None:
    server = Strict(lambda: "", Endpoint("192.168.56.100"))
    objects(server, SPACE).install("Parts", ignore)
    entry = {"manager": "helm", "operation": "Update", "fieldsV1": {}}
    put(
        server,
        config("one", a="1") | {"metadata": {**config("one")["metadata"], "managedFields": [entry]}},
        "configmaps",
    )
    objects(server, SPACE, config("one", a="1"), adopt=("v1 ConfigMap n/one",)).install("Parts", ignore)
    objects(server, SPACE).install("Parts", ignore)
    assert server.store[ONE]["data"] == {"a": "1"}
    assert OWNER not in server.store[ONE]["metadata"]["labels"]


def test_an_object_of_ours_is_ours_at_the_second_look_too(server: Server) -> None:
    """It was not known at the first: its admission webhook did not answer, and a namespace was still to be made."""
    first = objects(server, SPACE, config("one", a="1"))
    first.install("Parts", ignore)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    step = objects(server, SPACE, space, config("one", a="2"))
    looks: list[str] = []

    class Down(Server):
        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            if path == ONE and "dryRun" in (more.get("query") or {}) and not looks:  # type: ignore[operator]
                looks.append(path)
                raise KubeError("patch", path, 500, 'failed calling webhook "w.example.org": connection refused')
            return super().request(verb, path, body, **more)  # type: ignore[arg-type]

    down = Down(lambda: "", Endpoint("192.168.56.100"), store=server.store)
    evolve(step, api=down).install("Parts", ignore)
    assert server.store[ONE]["data"] == {"a": "2"}


def test_a_service_that_gets_another_name_takes_its_node_port_along() -> None:
    class Ports(Server):
        """Gives away a node port once."""

        def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
            ports = {item["spec"]["ports"][0]["nodePort"] for at, item in self.store.items() if "/services/" in at}
            if "/services/" in path and path not in self.store and 30080 in ports:
                raise KubeError("patch", path, 422, "spec.ports[0].nodePort: provided port is already allocated")
            after = super()._apply(path, body, query)
            return after | ({"spec": body["spec"]} if "spec" in body else {})

        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            before = self.store.get(path)
            after = super().request(verb, path, body, **more)  # type: ignore[arg-type]
            if verb == "patch" and self.store.get(path) is not before and "spec" in body:
                self.store[path]["spec"] = body["spec"]
            return after

    server = Ports(lambda: "", Endpoint("192.168.56.100"))
    objects(server, SPACE, service("n", "old", 30080)).install("Parts", ignore)
    renamed = objects(server, SPACE, service("n", "new", 30080))
    assert set(changes(renamed)) >= {"v1 Service n/new", "v1 Service n/old"}
    renamed.install("Parts", ignore)
    assert [path for path in server.store if "/services/" in path] == ["/api/v1/namespaces/n/services/new"]


def test_a_service_that_is_given_up_asks_for_no_port(server: Server) -> None:
    objects(server, SPACE).install("Parts", ignore)
    path = put(server, service("n", "theirs", 30080), "services")
    ours = service("n", "theirs", 30080)
    objects(server, SPACE, ours, adopt=("v1 Service n/theirs",)).install("Parts", ignore)
    server.calls.clear()
    objects(server, SPACE, service("n", "other", 30081)).install("Parts", ignore)
    assert f"patch {path}" in server.calls
    assert path in server.store


class Cascading(Server):
    """Deletes with a namespace all that is in it."""

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if verb == "delete" and path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            for inside in [other for other in self.store if other.startswith(f"{path}/")]:
                del self.store[inside]
        return super().request(verb, path, body, **more)  # type: ignore[arg-type]


@pytest.fixture
def cascading() -> Cascading:
    return Cascading(lambda: "", Endpoint("192.168.56.100"))


def test_kinds_are_asked_for_anew_once_definitions_have_gone(server: Server) -> None:
    """Whoever looks next in the same process would ask for objects of a kind that is no more."""
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    Removal(name="removal", api=server, owner="parts").install("Parts", ignore)
    last = max(at for at, call in enumerate(server.calls) if call.startswith("delete"))
    assert "get /apis" in server.calls[last:]


def test_a_namespace_that_left_the_manifest_stays_for_what_is_still_wanted_in_it(cascading: Cascading) -> None:
    """A chart of which somebody else is to keep the namespace: its claims and pods would go with it."""
    objects(cascading, SPACE, config("one", a="1"), config("two", a="1")).install("Parts", ignore)
    uid = cascading.store[ONE]["metadata"]["uid"]
    smaller = objects(cascading, config("one", a="1"))
    (said,) = changes(smaller)["v1 Namespace n"]
    assert said == "is in the manifest no more, and holds what is: stays, and is ours no more"
    smaller.install("Parts", ignore)
    assert "delete /api/v1/namespaces/n" not in cascading.calls
    assert (cascading.store[ONE]["data"], cascading.store[ONE]["metadata"]["uid"]) == ({"a": "1"}, uid)
    assert set(cascading.store) == {"/api/v1/namespaces/n", ONE, INVENTORY}
    assert OWNER not in cascading.store["/api/v1/namespaces/n"]["metadata"]["labels"]
    assert not changes(smaller)
    Removal(name="removal", api=cascading, owner="parts").install("Parts", ignore)
    assert set(cascading.store) == {"/api/v1/namespaces/n"}


def test_a_definition_that_left_the_manifest_stays_for_its_objects() -> None:
    definition = {"spec": {"group": "example.org", "names": {"kind": "Thing"}}}
    ref = Ref.parse("apiextensions.k8s.io/v1 CustomResourceDefinition things.example.org")
    assert goes_with(ref, definition, Ref.parse("example.org/v2 Thing n/x"))
    assert not goes_with(ref, definition, Ref.parse("example.com/v1 Thing n/x"))


def test_a_namespace_is_handed_over_to_who_adopts_it(cascading: Cascading) -> None:
    """In one install, before the one that had it has let go of it; and nobody deletes it any more."""
    objects(cascading, SPACE, config("one", a="1")).install("Parts", ignore)
    labelled = copy.deepcopy(SPACE) | {"metadata": {"name": "n", "labels": {"level": "privileged"}}}
    chart = objects(cascading, config("one", a="1"))
    asking = evolve(chart, wanted=Wanted(owner="space", items=(labelled, config("quota", a="1"))))
    with pytest.raises(PreflightError, match=r'n: belongs to parts — .*left it out, take it over: adopt=\("v1 Names'):
        asking.plan("Space", ignore)
    space = evolve(asking, wanted=evolve(asking.wanted, adopt=frozenset({Ref.of(SPACE)})))
    assert f".metadata.labels[{OWNER}]: parts -> space" in changes(space)["v1 Namespace n"]
    assert "stays" in changes(chart)["v1 Namespace n"][0]
    for step in (space, chart):
        step.install("Any", ignore)
    assert not changes(space)
    assert not changes(chart)
    assert cascading.store["/api/v1/namespaces/n"]["metadata"]["labels"] == {"level": "privileged", OWNER: "space"}
    for owner in ("parts", "space"):
        Removal(name="removal", api=cascading, owner=owner).install("Any", ignore)
    assert set(cascading.store) == {"/api/v1/namespaces/n"}


CLAIM = config("grafana") | {"kind": "PersistentVolumeClaim"}


def test_data_does_not_go_with_an_add_on(cascading: Cascading) -> None:
    """A claim of ours stays, as those that a StatefulSet makes: when it leaves the manifest, and at an uninstall."""
    whole, path = objects(cascading, SPACE, CLAIM), "/api/v1/namespaces/n/persistentvolumeclaims/grafana"
    gone = Removal(name="removal", api=cascading, owner="parts")
    keeping = evolve(gone, keep=frozenset({Ref.of(SPACE)}))
    whole.install("Parts", ignore)
    with pytest.raises(PreflightError, match=r"n: has what does not go with .*: v1 Persist\S+ n/grafana — .* keep=\("):
        gone.install("Parts", ignore)
    with pytest.raises(PreflightError, match=r"n: has what does not go with .*: v1 Persist\S+ n/grafana"):
        objects(cascading).plan("Parts", ignore)
    planned, reported = keeping.plan("Parts", ignore)[1], keeping.install("Parts", ignore)[1]
    told = {f"{ref}: stays, and is ours no more" for ref in (Ref.of(SPACE), Ref.of(CLAIM))}
    assert {f"{change.resource}: {change.diff}" for change in planned.changes} == told
    assert {f"{result.resource}: {result.diff}" for result in reported} == told
    assert set(cascading.store) == {"/api/v1/namespaces/n", path}
    evolve(whole, wanted=evolve(whole.wanted, adopt=frozenset({Ref.of(SPACE), Ref.of(CLAIM)}))).install("Parts", ignore)
    del cascading.store[INVENTORY]
    whole.install("Parts", ignore)
    smaller = objects(cascading, SPACE)
    assert "holds data: stays" in changes(smaller)[str(Ref.of(CLAIM))][0]
    smaller.install("Parts", ignore)
    assert path in cascading.store
    assert OWNER not in cascading.store[path]["metadata"]["labels"]


def test_a_claim_that_somebody_has_deleted_goes_with_its_pods(cascading: Cascading) -> None:
    objects(cascading, SPACE, CLAIM).install("Parts", ignore)
    cascading.store["/api/v1/namespaces/n/persistentvolumeclaims/grafana"]["metadata"]["deletionTimestamp"] = "now"
    Removal(name="removal", api=cascading, owner="parts").install("Parts", ignore)
    assert not cascading.store


IMMUTABLE = KubeError(
    "patch", ONE, 422, "ConfigMap is invalid: data: Forbidden: field is immutable", {"causes": [{"field": "data"}]}
)


def test_what_can_not_be_changed_is_named_with_what_to_do(server: Server) -> None:
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    server.edit(ONE, "kubectl-edit", a="2")
    server.refuses[ONE] = IMMUTABLE
    with pytest.raises(PreflightError, match=r"n/one: can't be changed as asked for: \.data — .*another name"):
        objects(server, SPACE, config("one", a="1")).plan("Parts", ignore)


def storage(reclaim: str) -> Json:
    meta = {"name": "nfs"}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, "data": {"reclaim": reclaim}}


def test_a_storage_class_is_made_anew_unless_it_was_there_before_us() -> None:
    """Volumes that are there do not need it, so it may be gone for a moment."""
    path = "/apis/storage.k8s.io/v1/storageclasses/nfs"

    class Fixed(Server):
        def _apply(self, path: str, body: Json, query: Mapping[str, str]) -> Json:
            there = self.store.get(path)
            if there and body["kind"] == "StorageClass" and there["data"] != body["data"]:
                said = "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."
                raise KubeError("patch", path, 422, f'StorageClass.storage.k8s.io "nfs" is invalid: {said}')
            return super()._apply(path, body, query)

        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            if path == "/apis":
                resource = {
                    "resource": "storageclasses",
                    "responseKind": {"kind": "StorageClass"},
                    "scope": "Cluster",
                    "verbs": ["list"],
                }
                group = {
                    "metadata": {"name": "storage.k8s.io"},
                    "versions": [{"version": "v1", "resources": [resource]}],
                }
                return {"items": [group]}
            return super().request(verb, path, body, **more)  # type: ignore[arg-type]

    server = Fixed(lambda: "", Endpoint("192.168.56.100"))
    objects(server, storage("Delete")).install("Parts", ignore)
    step = objects(server, storage("Retain"))
    assert "is made anew" in changes(step)["storage.k8s.io/v1 StorageClass nfs"][0]
    step.install("Parts", ignore)
    assert server.store[path]["data"] == {"reclaim": "Retain"}
    assert not step.plan("Parts", ignore)[1]
    server.store = {path: storage("Delete") | {"metadata": {"name": "nfs", "managedFields": []}}}
    with pytest.raises(PreflightError, match=r"can't be changed as asked for: .* was there before us"):
        objects(server, storage("Retain"), adopt=("storage.k8s.io/v1 StorageClass nfs",)).plan("Parts", ignore)


def theirs(name: str, **data: str) -> Json:
    entry = {"manager": "kubectl-create", "operation": "Update", "fieldsV1": {}}
    item = config(name, **data)
    return item | {"metadata": item["metadata"] | {"managedFields": [entry]}}


def test_what_somebody_made_in_place_of_ours_is_adopted(server: Server) -> None:
    """It is in the inventory as made by us, which the one before it was; or was to be, in an install that failed."""
    objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    del server.store[ONE]
    put(server, theirs("one", a="2"), "configmaps")
    adopting = objects(server, SPACE, config("one", a="1"), adopt=("v1 ConfigMap n/one",))
    adopting.install("Parts", ignore)
    assert not changes(adopting)
    assert Inventory.read(server, "parts").adopted == {Ref.parse("v1 ConfigMap n/one")}
    objects(server, SPACE).install("Parts", ignore)
    assert ONE in server.store


def test_what_was_adopted_is_still_adopted_where_the_inventory_was_lost(server: Server) -> None:
    objects(server, SPACE).install("Parts", ignore)
    put(server, theirs("one", a="1"), "configmaps")
    adopting = objects(server, SPACE, config("one", a="1"), adopt=("v1 ConfigMap n/one",))
    adopting.install("Parts", ignore)
    del server.store[INVENTORY]
    adopting.install("Parts", ignore)
    inventory = Inventory.read(server, "parts")
    assert (inventory.made, inventory.adopted) == (
        frozenset({Ref.of(SPACE)}),
        frozenset({Ref.parse("v1 ConfigMap n/one")}),
    )


def test_what_is_wanted_and_to_be_adopted_if_need_be_is_made_by_us_where_it_was_not_there(server: Server) -> None:
    step = objects(server, SPACE, config("one", a="1"), adopt=("v1 ConfigMap n/one",))
    for _ in range(2):
        step.install("Parts", ignore)
        assert not changes(step)
        assert not Inventory.read(server, "parts").adopted


def test_what_was_adopted_keeps_the_namespace_that_it_is_in(cascading: Cascading) -> None:
    objects(cascading, SPACE).install("Parts", ignore)
    put(cascading, theirs("one", a="1"), "configmaps")
    objects(cascading, SPACE, config("one", a="1"), adopt=("v1 ConfigMap n/one",)).install("Parts", ignore)
    said = "v1 Namespace n: has what does not go with an add-on: v1 ConfigMap n/one"
    with pytest.raises(PreflightError, match=said):
        Removal(name="removal", api=cascading, owner="parts").install("Parts", ignore)
    with pytest.raises(PreflightError, match=f"{said} .*leave this in the manifest"):
        objects(cascading).plan("Parts", ignore)


@pytest.mark.parametrize("meta", [{}, {"generateName": "job-"}, {"name": ""}, None])
def test_an_object_without_a_name_is_refused(meta: Json) -> None:
    with pytest.raises(ConfigError, match=r"parts: object v1 ConfigMap .*has no name"):
        Wanted(owner="parts", items=({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta},))


def test_what_is_refused_during_an_install_is_told_with_what_was_done(server: Server) -> None:
    """In an install of several, steps before have changed things: that nothing was changed would be untrue."""
    server.store["/api/v1/namespaces/n"] = {**SPACE, "metadata": {"name": "n", "labels": {OWNER: "another"}}}
    with pytest.raises(ApplyError, match="belongs to another") as caught:
        objects(server, SPACE, config("one", a="1")).install("Parts", ignore)
    assert {result.resource: result.status.value for result in caught.value.report.results} == {
        "v1 Namespace n": "failed",
        "v1 ConfigMap n/one": "skipped",
    }
