"""Add-ons on a real API server: planned by its dry run, installed, drifted and mended, pruned, refused, removed.

The lab's cluster is installed first where it is not there; ``K8SHA_TOPOLOGY`` may name a small one. Pods run the image
of busybox that the lab's bundle brings. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from attrs import evolve, frozen

from acceptance.lab_cluster import kubernetes_cluster
from acceptance.vagrant import Lab
from examples.own_addon import Hello
from k8sha import (
    ApplyError,
    Bundle,
    Cluster,
    ControlPlane,
    KubeError,
    NotReady,
    Plan,
    PreflightError,
    VerifyError,
    wait_for,
)
from k8sha.addons import Addon, parse
from k8sha.events import Event, Finished
from k8sha.kube import Json
from k8sha.waiting import Check, NotYet

pytestmark = pytest.mark.timeout(300, func_only=True)  # without the installation of the cluster

log = logging.getLogger(__name__)
T = TypeVar("T")
IMAGE = "k8sha.io/busybox:1.37.0"
NAMESPACE = "addon-test"


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    bundle = Bundle.find()
    if bundle is None:
        pytest.skip("there is no bundle below /var/lib/k8sha/bundles: add-ons need a cluster")
    with kubernetes_cluster(lab, bundle, bundle.version) as found:
        found.install()
        yield found


@pytest.fixture(scope="module")
def plane(cluster: Cluster) -> ControlPlane:
    return cluster.of(ControlPlane)[0]


@frozen
class Parts(Addon):
    """An add-on of whatever objects a test gives it."""

    items: tuple[Json, ...] = ()

    def objects(self) -> tuple[Json, ...]:
        return copy.deepcopy(self.items)


def parts(plane: ControlPlane, *texts: str, patience: float = 60, **more: object) -> Parts:
    items = tuple(item for text in texts for item in parse(text))
    return Parts(plane, items=items, check_images=False, patience=patience, **more)  # type: ignore[arg-type]


SPACE = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}"


def config(name: str, **data: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\ndata: {data}"


def deployment(name: str, *, image: str = IMAGE, command: str = "[sleep, infinity]", ready: str = "['true']") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: {image}
        command: {command}
        readinessProbe: {{exec: {{command: {ready}}}, periodSeconds: 1}}
"""


def definition(plural: str, kind: str, group: str = "test.k8sha.io") -> str:
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: {plural}, kind: {kind}}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}}}
"""


def names(plan: Plan) -> list[str]:
    return [change.resource for change in plan.changes]


def lines(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {change.resource: change.diff.lines for change in plan.changes}


def counted(addon: Addon, what: str, work: Callable[[], T]) -> tuple[T, int]:
    """Do it; log its time, requests and trips beside the machine's load; returns the requests too."""
    began, requests = time.monotonic(), addon.plane.api.requests
    trips = sum(host.trips for host in addon.hosts)
    done = work()
    requests = addon.plane.api.requests - requests
    trips = sum(host.trips for host in addon.hosts) - trips
    seconds, load = time.monotonic() - began, os.getloadavg()[0]
    log.info("%s %s: %.2f s, %d requests, %d trips, load %.1f", addon.name, what, seconds, requests, trips, load)
    return done, requests


@pytest.fixture
def clean(plane: ControlPlane) -> Iterator[None]:
    """Nothing of a test is left for the next one, whatever it did."""
    wipe(plane)
    yield
    wipe(plane)


def wipe(plane: ControlPlane) -> None:
    api = plane.api
    paths = [
        f"/api/v1/namespaces/{NAMESPACE}",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.test.k8sha.io",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/others.test.k8sha.io",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/k8sha-test",
        "/api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts",
        "/api/v1/namespaces/kube-system/configmaps/k8sha-addon-space",
    ]
    for path in paths:
        api.delete(path)

    def look() -> str:
        if left := [path for path in paths if api.found(path)]:
            raise NotYet(f"{left} is there")
        return ""

    wait_for(Check("nothing of the last test is left", look), timeout=60)


def by(plane: ControlPlane, manager: str, path: str, change: Json) -> None:
    """Change an object as another program would."""
    plane.api.request("patch", path, change, query={"fieldManager": manager}, kind="merge-patch+json")


def test_the_example_from_a_fresh_cluster_to_nothing_left(plane: ControlPlane) -> None:
    hello = Hello(plane, check_images=False)
    hello.uninstall()
    before = everything(plane)
    fresh, _ = counted(hello, "plan, fresh", hello.plan)
    assert names(fresh) == [
        "v1 Namespace hello",
        "v1 ConfigMap hello/page",
        "v1 Service hello/hello",
        "apps/v1 DaemonSet hello/hello",
        "v1 ConfigMap kube-system/k8sha-addon-hello",
    ]
    assert "+ new (known after namespace hello is made)" in lines(fresh)["v1 Service hello/hello"]
    report, _ = counted(hello, "install", hello.install)
    assert len(report.changed) == 4
    again, requests = counted(hello, "plan, nothing to do", hello.plan)
    assert (names(again), again.waits) == ([], ())
    assert requests == again.requests <= 5, "one inventory, one list a kind; discovery was asked before"
    nothing, _ = counted(hello, "install, nothing to do", hello.install)
    assert not nothing.changed
    wait_for(Check("the page is served", hello.look), timeout=30)
    hello.verify()
    counted(hello, "uninstall", hello.uninstall)
    assert everything(plane) == before


def everything(plane: ControlPlane) -> set[str]:
    """The name of every object in the cluster that does not come and go by itself."""
    api, found = plane.api, set()
    for kind in api.kinds(again=True).values():
        if "list" in kind.verbs and kind.kind not in ("Event", "Lease", "Endpoints", "EndpointSlice"):
            for item in api.get(kind.path())["items"]:
                meta = item["metadata"]
                if not meta.get("ownerReferences"):
                    found.add(f"{kind.kind} {meta.get('namespace', '')}/{meta['name']}")
    return found


def test_a_deleted_object_and_a_field_edited_by_hand_are_found_and_mended(plane: ControlPlane, clean: None) -> None:
    addon = parts(plane, SPACE, config("one", a="1", b="2"), config("two", c="3"), deployment("works"))
    addon.install()
    base = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    plane.api.delete(f"{base}/two")
    by(plane, "kubectl-edit", f"{base}/one", {"data": {"a": "changed", "theirs": "stays"}})
    plan = addon.plan()
    assert names(plan) == [f"v1 ConfigMap {NAMESPACE}/one", f"v1 ConfigMap {NAMESPACE}/two"]
    assert lines(plan)[f"v1 ConfigMap {NAMESPACE}/one"] == (".data.a: changed -> 1",)
    with pytest.raises(VerifyError, match=r"install\(\) mends it"):
        addon.verify()
    assert [result.resource for result in addon.install().changed] == names(plan)
    assert plane.api.get(f"{base}/one")["data"] == {"a": "1", "b": "2", "theirs": "stays"}
    assert names(addon.plan()) == []


def test_what_left_the_manifest_is_deleted_and_what_others_made_is_not(plane: ControlPlane, clean: None) -> None:
    parts(plane, SPACE, config("stays", a="1"), config("goes", a="1")).install()
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foreign"}, "data": {"x": "1"}}
    base = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    plane.api.request("post", base, foreign)
    smaller = parts(plane, SPACE, config("stays", a="1"))
    plan = smaller.plan()
    assert lines(plan)[f"v1 ConfigMap {NAMESPACE}/goes"] == ("- is in the manifest no more: deleted",)
    smaller.install()
    there = {item["metadata"]["name"] for item in plane.api.get(base)["items"]}
    assert {name for name in there if not name.endswith("-ca.crt")} == {"stays", "foreign"}  # controllers publish those
    assert names(smaller.plan()) == []
    with pytest.raises(PreflightError, match=rf"ConfigMap {NAMESPACE}/foreign.*keep=\(") as refused:
        smaller.uninstall()
    assert len(refused.value.problems) == 1
    assert plane.api.found(f"{base}/stays"), "nothing was changed"
    smaller.uninstall(keep=[f"v1 Namespace {NAMESPACE}"])
    assert plane.api.found(f"{base}/stays") is None
    assert plane.api.get(f"{base}/foreign")["data"] == {"x": "1"}
    assert plane.api.found("/api/v1/namespaces/kube-system/configmaps/k8sha-addon-parts") is None


def test_a_conflict_names_object_field_owner_and_remedy(plane: ControlPlane, clean: None) -> None:
    addon = parts(plane, SPACE, config("one", a="1"))
    addon.install()
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/one"
    by(plane, "another-tool", path, {"data": {"a": "theirs"}})
    spot = f"v1 ConfigMap {NAMESPACE}/one .data.a"
    for verb in (addon.plan, addon.install):
        with pytest.raises(PreflightError) as refused:
            verb()
        assert [str(problem) for problem in refused.value.problems] == [
            f'{spot}: is owned by another-tool — leave it out, or take it over: force=("{spot}",)'
        ]
    assert plane.api.get(path)["data"] == {"a": "theirs"}
    forced = evolve(addon, force=(spot,))
    assert lines(forced.plan())[f"v1 ConfigMap {NAMESPACE}/one"] == (".data.a: theirs -> 1",)
    forced.install()
    assert plane.api.get(path)["data"] == {"a": "1"}
    assert names(addon.plan()) == []


def test_what_was_there_before_is_refused_or_adopted_and_never_deleted(plane: ControlPlane, clean: None) -> None:
    plane.api.request("post", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": {"theirs": "1"}}})
    addon = parts(plane, SPACE, config("one", a="1"))
    with pytest.raises(PreflightError, match=rf'v1 Namespace {NAMESPACE}: is there already.*adopt=\("v1 Namespace'):
        addon.install()
    adopting = evolve(addon, adopt=(f"v1 Namespace {NAMESPACE}",))
    adopting.install()
    assert names(adopting.plan()) == []
    adopting.uninstall()
    left = plane.api.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]
    assert "deletionTimestamp" not in left
    assert left["labels"] == {"theirs": "1", "kubernetes.io/metadata.name": NAMESPACE}


@frozen
class Space(Parts):
    """Another add-on of whatever objects a test gives it."""


def test_a_namespace_is_handed_over_and_nothing_in_it_is_touched(plane: ControlPlane, clean: None) -> None:
    parts(plane, SPACE, config("one", a="1")).install()
    path = f"/api/v1/namespaces/{NAMESPACE}"
    before = {where: plane.api.get(where)["metadata"]["uid"] for where in (path, f"{path}/configmaps/one")}
    chart = parts(plane, config("one", a="1"))
    assert "stays" in lines(chart.plan())[f"v1 Namespace {NAMESPACE}"][0]
    space = Space(plane, items=parse(SPACE), check_images=False)
    with pytest.raises(PreflightError, match="belongs to parts"):
        space.install()
    space = evolve(space, adopt=(f"v1 Namespace {NAMESPACE}",))
    Cluster(space, chart).install()
    assert [names(addon.plan()) for addon in (space, chart)] == [[], []]
    assert {where: plane.api.get(where)["metadata"]["uid"] for where in before} == before
    chart.uninstall()
    space.uninstall()
    assert "k8sha.io/addon" not in plane.api.get(path)["metadata"].get("labels", {})


def test_a_namespace_that_left_the_manifest_is_let_go_of_for_what_is_in_it(plane: ControlPlane, clean: None) -> None:
    parts(plane, SPACE, config("one", a="1")).install()
    smaller = parts(plane, config("one", a="1"))
    smaller.install()
    assert names(smaller.plan()) == []
    smaller.uninstall()
    assert "deletionTimestamp" not in plane.api.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]


def test_a_definition_and_its_objects_in_one_go(plane: ControlPlane, clean: None) -> None:
    thing = (
        f"apiVersion: test.k8sha.io/v1\nkind: Thing\nmetadata: {{name: t, namespace: {NAMESPACE}}}\nspec: {{size: 3}}"
    )
    addon = parts(plane, thing, definition("things", "Thing"), SPACE)
    plan = addon.plan()
    assert lines(plan)[f"test.k8sha.io/v1 Thing {NAMESPACE}/t"] == (
        "+ new (known after its definition is established)",
        "+ .spec.size: 3",
    )
    addon.install()
    assert names(addon.plan()) == []
    foreign = {"apiVersion": "test.k8sha.io/v1", "kind": "Thing", "metadata": {"name": "foreign"}}
    path = f"/apis/test.k8sha.io/v1/namespaces/{NAMESPACE}/things"
    plane.api.request("post", path, foreign)
    with pytest.raises(PreflightError, match=r"CustomResourceDefinition things.*foreign"):
        addon.uninstall()
    plane.api.delete(f"{path}/foreign")
    addon.uninstall()
    assert plane.api.found(f"/api/v1/namespaces/{NAMESPACE}") is None


def test_a_definition_that_clashes_is_named(plane: ControlPlane, clean: None) -> None:
    [theirs] = parse(definition("things", "Thing"))
    plane.api.request("post", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", theirs)
    with pytest.raises(PreflightError, match=r"CustomResourceDefinition things.test.k8sha.io: is there already"):
        parts(plane, definition("things", "Thing")).install()
    began = time.monotonic()
    with pytest.raises(NotReady, match=r"others.test.k8sha.io: Established is False: .*Thing"):
        parts(plane, definition("others", "Thing")).install()
    assert time.monotonic() - began < 75


@pytest.mark.parametrize(
    ("what", "text", "said"),
    [
        ("image", {"image": "192.168.66.1:1/no/such:1"}, r"Deployment addon-test/stuck: 0 of 1 .*(ErrImage|ImagePull)"),
        ("rollout", {"ready": "['false']"}, r"Deployment addon-test/stuck: 0 of 1 .*pod stuck-.*Ready=False"),
        (
            "crash",
            {"command": "[sh, -c, 'echo the disk is gone >/dev/termination-log; exit 3']"},
            r"Deployment addon-test/stuck: 0 of 1 .*container main: .*exit 3: the disk is gone",
        ),
    ],
)
def test_what_never_comes_up_is_named_with_its_last_word(
    plane: ControlPlane, clean: None, what: str, text: dict[str, str], said: str
) -> None:
    addon = parts(plane, SPACE, deployment("stuck", **text), patience=20)
    began = time.monotonic()
    with pytest.raises(NotReady, match=said) as stuck:
        addon.install()
    log.info("%s: %.0f s: %s", what, time.monotonic() - began, stuck.value)
    assert time.monotonic() - began < 45
    waits = addon.plan()
    assert names(waits) == []
    assert [wait.resource for wait in waits.waits] == [f"apps/v1 Deployment {NAMESPACE}/stuck"]
    parts(plane, SPACE, deployment("stuck")).install()


WEBHOOK = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: k8sha-test}}
webhooks:
- name: down.test.k8sha.io
  clientConfig: {{service: {{name: down, namespace: {NAMESPACE}}}}}
  admissionReviewVersions: [v1]
  sideEffects: None
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {NAMESPACE}}}}}
  rules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}]
"""


def test_a_webhook_that_is_down_is_named(plane: ControlPlane, clean: None) -> None:
    parts(plane, SPACE, WEBHOOK).install()
    more = parts(plane, SPACE, WEBHOOK, config("one", a="1"))
    assert "known after the apply" in lines(more.plan())[f"v1 ConfigMap {NAMESPACE}/one"][-1]
    began = time.monotonic()
    with pytest.raises(ApplyError, match=r"ConfigMap addon-test/one.*failed calling webhook.*down.test.k8sha.io"):
        more.install()
    assert time.monotonic() - began < 60


def test_a_secret_is_never_shown(plane: ControlPlane, clean: None) -> None:
    def secret(value: str) -> str:
        return (
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {NAMESPACE}}}\nstringData: {{p: {value}}}"
        )

    first = parts(plane, SPACE, secret("hunter-one"))
    shown = str(first.plan())
    first.install()
    assert names(first.plan()) == []
    second = parts(plane, SPACE, secret("hunter-two"))
    shown += str(second.plan()) + str(second.install())
    assert "sha256" in shown
    assert "hunter" not in shown
    assert "aHVudGVy" not in shown  # the same in base64


def test_a_value_of_a_secret_that_is_no_text_is_not_shown_either(plane: ControlPlane, clean: None) -> None:
    item = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": NAMESPACE}}
    number = parts(plane, SPACE, json.dumps(item | {"stringData": {"pin": 12345678}}))
    with pytest.raises(PreflightError, match=r"its stringData\.pin is no text"):
        number.install()
    parts(plane, SPACE).install()
    with pytest.raises(KubeError, match=r"pin: expected string, got what is not shown here"):
        plane.api.apply(item | {"stringData": {"pin": 12345678}}, dry_run=True)


def test_an_install_that_was_killed_is_finished_by_the_next_and_leaves_nothing(
    plane: ControlPlane, clean: None
) -> None:
    addon = parts(plane, SPACE, config("one", a="1"), config("two", a="1"), config("three", a="1"))
    for count in (1, 2):

        def killed(event: Event, left: list[int] = [count]) -> None:  # noqa: B006 (counts down)
            if isinstance(event, Finished):
                left[0] -= 1
                if not left[0]:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            addon.install(killed)
    addon.install()
    assert names(addon.plan()) == []
    addon.uninstall()
    assert plane.api.found(f"/api/v1/namespaces/{NAMESPACE}") is None


def test_what_the_server_refuses_is_told_before_the_first_change(plane: ControlPlane, clean: None) -> None:
    wrong = (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: {NAMESPACE}}}\nspec: {{ports: [{{port: 0}}]}}"
    )
    parts(plane, SPACE).install()
    with pytest.raises(PreflightError, match=r"v1 Service addon-test/s: .*spec.ports\[0\].port"):
        parts(plane, SPACE, config("first", a="1"), wrong).install()
    assert plane.api.found(f"/api/v1/namespaces/{NAMESPACE}/configmaps/first") is None
    unknown = f"apiVersion: none.k8sha.io/v1\nkind: Nothing\nmetadata: {{name: n, namespace: {NAMESPACE}}}"
    with pytest.raises(ApplyError, match=r"none.k8sha.io/v1 Nothing .*does not know this kind"):
        parts(plane, SPACE, unknown).install()
