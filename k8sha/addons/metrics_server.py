"""MetricsServer: what ``kubectl top`` and autoscalers ask, with the kubelets' certificates checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen, validators

from k8sha.addons.addon import Addon
from k8sha.addons.manifests import Manifest
from k8sha.component import Checks, Stages
from k8sha.errors import KubeError, Problem
from k8sha.kube import Json
from k8sha.objects.others import at_once
from k8sha.resources.files import Absent, File
from k8sha.resources.service import Service
from k8sha.stage import Stage
from k8sha.waiting import Check, NotYet

__all__ = ["MetricsServer"]

_VERSION = "v0.9.0"
_URL = "https://raw.githubusercontent.com/kubernetes-sigs/metrics-server/{}/manifests/base/{}.yaml"
_FILES = (
    ("apiservice", "03266df7891b56dfffebb855a031b524ed20c6736846417ccd491dd91c6c0ec3"),
    ("deployment", "18970227f17d0c6cb8e7a4a1cdde847117703afd3b0777badf8a006cfea252c2"),
    ("rbac", "510be174d47ae7d05ae6908ccb7ca7111008f18b5d1a920ebc6de6582c23b854"),
    ("service", "1ce19a57f4769906255c3410a38a01fb0f803e21976ce160f506a90638cbb5c7"),
)
_IMAGE = f"registry.k8s.io/metrics-server/metrics-server:{_VERSION}"
_LABELS = {"k8s-app": "metrics-server"}
_APPROVER = "/usr/libexec/k8sha/approve-kubelet-certificates"
_UNIT = "k8sha-approve-kubelet-certificates"

_ASK_FOR_ONE = (
    "echo 'serverTLSBootstrap: true' >>/var/lib/kubelet/config.yaml && systemctl restart kubelet (and the same line in "
    "the ConfigMap kube-system/kubelet-config, for nodes to come)"
)


@frozen
class MetricsServer(Addon):
    """metrics-server with ``replicas`` pods.

    The kubelets get serving certificates of the cluster's CA (``NodeSettings(kubelet={"serverTLSBootstrap": True})``).
    What Kubernetes leaves open is who approves them: here a timer on every master, once a minute, which lets through
    only a request of a node for its own name and addresses. ``insecure=True`` is the lab's way: no such certificates,
    no approver, and metrics-server believes whoever answers on a kubelet's port.
    """

    replicas: int = field(default=2, kw_only=True, validator=validators.ge(1))
    insecure: bool = field(default=False, kw_only=True)

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return "kube-system"

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        return tuple(
            Manifest(f"metrics-server-{name}", _VERSION, _URL.format(_VERSION, name), sha256) for name, sha256 in _FILES
        )

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`: the release's base, made whole as its own overlays for a release do."""
        items = super().objects()
        for item in items:
            item["metadata"]["labels"] = {**item["metadata"].get("labels", {}), **_LABELS}
            if item["kind"] == "Service":
                item["spec"]["selector"] = _LABELS
            if item["kind"] == "Deployment":
                self._complete(item["spec"])
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "metrics-server", "namespace": "kube-system", "labels": _LABELS},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}},
        }
        return (*items, budget)

    def _complete(self, spec: Json) -> None:
        spec["replicas"], spec["selector"] = self.replicas, {"matchLabels": _LABELS}
        spec["template"]["metadata"] = {"labels": _LABELS}
        pod = spec["template"]["spec"]
        pod["containers"][0]["image"] = _IMAGE
        if self.insecure:
            pod["containers"][0]["args"].append("--kubelet-insecure-tls")
        if self.replicas > 1:
            spec["strategy"]["rollingUpdate"]["maxUnavailable"] = 1
            apart = {"labelSelector": {"matchLabels": _LABELS}, "topologyKey": "kubernetes.io/hostname"}
            pod["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        if not self.insecure:
            yield from self._certificate_problems()
        yield from super().problems()

    def _certificate_problems(self) -> Iterator[Problem]:
        """Kubelets that do not ask for a certificate: by their own word where there is a cluster, as settings that were
        given since change nothing of them; else as declared."""
        lab = "or give MetricsServer(insecure=True) in a lab"
        asks = self._kubelets_ask()
        if not asks and not self.plane.settings.kubelet.get("serverTLSBootstrap"):
            cause = "the kubelets serve with certificates that they signed themselves"
            yield Problem(self.name, cause, f'give NodeSettings(kubelet={{"serverTLSBootstrap": True}}), {lab}')
        elif wrong := sorted(name for name, ask in asks.items() if not ask):
            cause = f"the kubelets of {', '.join(wrong)} serve with certificates that they signed themselves"
            yield Problem(self.name, cause, f"on each of them: {_ASK_FOR_ONE}, {lab}")

    def _kubelets_ask(self) -> dict[str, bool]:
        """Whether each kubelet that answers asks the cluster for its serving certificate."""
        api = self.plane.api

        def ask(node: str) -> bool | None:
            try:
                running = api.get(f"/api/v1/nodes/{node}/proxy/configz")["kubeletconfig"]
            except KubeError:  # it is down; when it comes back it is as its file says
                return None
            return bool(running.get("serverTLSBootstrap"))

        try:
            nodes = sorted(api.nodes())
        except KubeError:  # no cluster, or one that this very install mends
            return {}
        answers = zip(nodes, at_once(ask, nodes), strict=True)
        return {node: answer for node, answer in answers if answer is not None}

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        if not self.insecure:
            script, unit, timer = (File(path, text, mode=mode) for path, text, mode in _files())
            running = Service(f"{_UNIT}.timer", watches=(timer, unit))
            yield Stage("approver of kubelet certificates", dict.fromkeys(self.hosts, (script, unit, timer, running)))
        yield from super().stages()

    def removal_stages(self) -> Stages:
        """See :meth:`Addon.removal_stages`. The certificates stay; without an approver they are not renewed."""
        stopped = Service(f"{_UNIT}.timer", active=False)
        absent = tuple(Absent(path) for path, _, _ in _files())
        yield Stage("approver of kubelet certificates", dict.fromkeys(self.hosts, (stopped, *absent)))

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check("the metrics API answers for every node", self._answers)

    def _answers(self) -> str:
        nodes = set(self.plane.api.nodes())
        try:
            found = self.plane.api.get("/apis/metrics.k8s.io/v1beta1/nodes")["items"]
        except KubeError as error:
            raise NotYet(str(error)) from None
        if missing := sorted(nodes - {item["metadata"]["name"] for item in found}):
            raise NotYet(f"it knows nothing of {', '.join(missing)}")
        return f"{len(nodes)} nodes"


def _files() -> tuple[tuple[str, str, str], ...]:
    """The approver's files on a master: path, text, mode."""
    script = (Path(__file__).parent / "approve_kubelet.sh").read_text()
    folder = "/etc/systemd/system"
    return (
        (_APPROVER, script, "0755"),
        (f"{folder}/{_UNIT}.service", _SERVICE, "0644"),
        (f"{folder}/{_UNIT}.timer", _TIMER, "0644"),
    )


_SERVICE = f"""\
# Written by k8sha.
[Unit]
Description=Approval of the kubelets' serving certificates

[Service]
Type=oneshot
ExecStart={_APPROVER}
"""

_TIMER = """\
# Written by k8sha.
[Unit]
Description=Approval of the kubelets' serving certificates, once a minute

[Timer]
OnBootSec=30
OnUnitActiveSec=60
AccuracySec=5

[Install]
WantedBy=timers.target
"""
