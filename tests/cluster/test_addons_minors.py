"""Every add-on that has pins, on the oldest and the newest Kubernetes at hand: all its objects are accepted.

No node and no pod: an API server and a controller manager on loopback, of each version that has a folder of programs
(``kube-apiserver``, ``kube-controller-manager``, and an ``etcd`` there or in the PATH) below /var/lib/k8sha/programs.
``K8SHA_PROGRAMS`` names another place; ``K8SHA_MANIFESTS`` is as in ``test_addons_accepted``. What an add-on does on
hosts is left out. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from k8sha import ClusterSettings, ControlPlane, NodeSettings, NotReady, wait_for
from k8sha.addons import Addon, KubePrometheusStack, Mirror
from k8sha.component import Requirements, Stages
from k8sha.kube import FIELD_MANAGER
from k8sha.objects.identity import Ref, expanded, marked, with_namespaces
from k8sha.waiting import Check, NotYet

from .api_server import PROGRAMS, nodeless, programs
from .test_addons import by, counted, everything, names
from .test_addons_accepted import ADDONS as SHORT
from .test_addons_accepted import REQUESTS, mirror

__all__ = ["mirror"]

pytestmark = pytest.mark.timeout(300, func_only=True)  # without the start of the programs

log = logging.getLogger(__name__)
_ROOTS = ("Namespace", "CustomResourceDefinition", "DaemonSet", "Deployment", "StatefulSet", "APIService")
_LEAVES = ("ConfigMap", "ServiceAccount", "ClusterRole", "Role", "StorageClass", "CSIDriver")
FOUND: list[Path | None] = [*programs()] or [None]
ADDONS: dict[str, tuple[type[Addon], dict[str, object]]] = {**SHORT, "kube-prometheus": (KubePrometheusStack, {})}
SETTINGS = NodeSettings(kube_proxy=KubePrometheusStack.KUBE_PROXY)
CLUSTER = ClusterSettings(
    controller_manager=KubePrometheusStack.CONTROLLER_MANAGER,
    scheduler=KubePrometheusStack.SCHEDULER,
    etcd=KubePrometheusStack.ETCD,
)


@pytest.fixture(scope="module", params=FOUND, ids=lambda folder: folder.name if folder else "none")
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The control plane of one version."""
    folder: Path | None = request.param
    if folder is None:
        pytest.skip(f"no folder of {PROGRAMS} has a kube-apiserver and a kube-controller-manager")
    with nodeless(folder, tmp_path_factory.mktemp("plane"), settings=SETTINGS, cluster=CLUSTER) as made:
        said = made.api.get("/version")["gitVersion"]
        assert said == f"v{made.version}"
        log.info("Kubernetes %s", said)
        yield made


def without_hosts(kind: type[Addon]) -> type[Addon]:
    """The same add-on, that does nothing on hosts: here they would be this machine."""

    def stages(self: Addon) -> Stages:
        yield from Addon.stages(self)

    def removal_stages(self: Addon) -> Stages:
        yield from ()

    def requirements(self: Addon) -> Requirements:
        return {}

    return type(
        kind.__name__, (kind,), {"stages": stages, "removal_stages": removal_stages, "requirements": requirements}
    )


@pytest.mark.parametrize("name", ADDONS)
def test_every_object_is_accepted_and_every_one_removed(plane: ControlPlane, mirror: Mirror, name: str) -> None:
    """Planned, applied, each object taken by a dry run of its own too, found unchanged by the next plan. A deleted
    object and an edited field are found, those alone, and mended. Then all of it is removed."""
    kind, settings = ADDONS[name]
    addon = without_hosts(kind)(plane, mirror=mirror, check_images=False, patience=5, **settings)  # type: ignore[arg-type]
    before = everything(plane)
    fresh, _ = counted(addon, "plan, fresh", addon.plan)
    install(addon)
    again, requests = counted(addon, "plan, nothing to do", addon.plan)
    assert names(again) == []
    assert requests <= REQUESTS.get(name, 20)
    accepted, said = dry_run(addon)
    log.info("%s: %d objects planned, %d accepted by a dry run", name, len(fresh.changes) - 1, accepted)
    assert said == []
    assert accepted == len(fresh.changes) - 1
    wrong = drifted(addon)
    plan, _ = counted(addon, "plan, drifted", addon.plan)
    assert sorted(names(plan)) == sorted(wrong)
    install(addon)
    assert names(addon.plan()) == []
    counted(addon, "uninstall", evolve(addon, patience=60).uninstall)

    def look() -> str:
        now = everything(plane)
        if now != before:
            raise NotYet(f"new: {sorted(now - before)}; gone: {sorted(before - now)}")
        return ""

    wait_for(Check("everything is as it was", look), timeout=30)


def install(addon: Addon) -> None:
    """Every object is applied, and pods are waited for that can't come."""
    try:
        addon.install()
    except NotReady as error:
        log.info("%s: %s", addon.name, error)


def drifted(addon: Addon) -> list[str]:
    """Delete one object, and edit a label of another that the manifest sets; the names of both."""
    api = addon.plane.api
    items = with_namespaces(expanded(addon.objects()), api.kinds(again=True), addon.namespace)
    edited = next(item for item in items if item["kind"] not in _ROOTS and item["metadata"].get("labels"))
    gone = next(item for item in items if item["kind"] in _LEAVES and item != edited)
    name = next(iter(edited["metadata"]["labels"]))
    by(addon.plane, "kubectl-edit", api.path_of(edited), {"metadata": {"labels": {name: "edited"}}})
    api.delete(api.path_of(gone))
    return [str(Ref.of(item)) for item in (edited, gone)]


def dry_run(addon: Addon) -> tuple[int, list[str]]:
    """Give every object to the API server, which changes nothing and lets no unknown field pass: how many it took
    without a word, and what it said of others."""
    api, accepted, said = addon.plane.api, 0, []
    for item in with_namespaces(expanded(addon.objects()), api.kinds(again=True), addon.namespace):
        url = f"{api.path_of(item)}?fieldManager={FIELD_MANAGER}&dryRun=All&fieldValidation=Strict"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        answer = api._answer("patch", url, url, json.dumps(marked(item, addon.owner)), headers)
        words = answer.data.decode() if answer.status >= 300 else answer.headers.get("Warning", "")
        if words:
            said.append(f"{Ref.of(item)}: {words}")
        else:
            accepted += 1
    return accepted, said
