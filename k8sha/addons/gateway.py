"""TraefikGateway: the Gateway API, which is what Ingress was replaced by, served by Traefik."""

from __future__ import annotations

from attrs import frozen

from k8sha.addons.ingress import Entrance
from k8sha.addons.manifests import Manifest
from k8sha.component import Checks
from k8sha.kube import Json
from k8sha.waiting import Check, NotYet

__all__ = ["TraefikGateway"]

_VERSION = "v3.7.9"
_API = "v1.5.1"
"""The Gateway API that this Traefik is built with (its go.mod)."""

_API_URL = "https://raw.githubusercontent.com/kubernetes-sigs/gateway-api/{}/config/crd/standard/gateway.networking.k8s.io_{}.yaml"
_API_FILES = (
    ("backendtlspolicies", "9b8818172153d72f9c84032db0be0a4a657277d13f5bbc22226ad9481ff57971"),
    ("gatewayclasses", "234ad4b2757ee1b3596a4187bb98df071c5bbdd9e1806f692f2dbf8387e6bef4"),
    ("gateways", "7416e8300eb4d8c0a71a23445609075bbacbe8bc80104584b019cfe1ebe77c31"),
    ("grpcroutes", "979f4125d44d3df24659ba00d1d04ff8e76c45423193e8aae82dd5810d7827df"),
    ("httproutes", "682203b109baecb18d38073a578f7bc2c17d22fe9b0c27bf030850abe014c370"),
    ("listenersets", "9221468d19fdfbb0026113b1ef64abac64f27607975aff2410361b8b38f0e0bb"),
    ("referencegrants", "a8902c486eed0b7339f5bb8a476ccaba0918eb038048402bdc01cbb69b0fbb51"),
    ("tlsroutes", "818e4827c469a40e2527a2851591e656782c50fea8dd44812c900d219da09345"),
    ("vap_safeupgrades", "981a4da92706cb567c051e006ff229429947f054b90cd0719c297abe14f958a1"),
)
_ROLE = Manifest(
    "traefik-gateway-rbac",
    _VERSION,
    f"https://raw.githubusercontent.com/traefik/traefik/{_VERSION}/docs/content/reference/dynamic-configuration/"
    "kubernetes-gateway-rbac.yml",
    "be058cd1029ce508e83f5f6a6d8a6b4210d37e9e4b63a350087a0de9639cf47a",
)
_NAMESPACE = "traefik"
_LABELS = {"app.kubernetes.io/name": "traefik"}


@frozen
class TraefikGateway(Entrance):
    """The Gateway API's definitions, Traefik, and the GatewayClass ``traefik``.

    A Gateway of yours has listeners on ports 80 and 443, the ports of Traefik's own; the world reaches them on every
    node at ``http_port`` and ``https_port``.
    """

    image: str = f"docker.io/library/traefik:{_VERSION}"

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return _NAMESPACE

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        api = (
            Manifest(f"gateway-api-{name}", _API, _API_URL.format(_API, name), sha256) for name, sha256 in _API_FILES
        )
        return (*api, _ROLE)

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        items = super().objects()
        for item in items:
            for subject in item.get("subjects", ()):
                subject["namespace"] = _NAMESPACE
        return (*items, *self._own())

    def _own(self) -> tuple[Json, ...]:
        named = {"name": "traefik", "namespace": _NAMESPACE, "labels": _LABELS}
        return (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**named, "name": "traefik-controller"}},
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "GatewayClass",
                "metadata": {"name": "traefik"},
                "spec": {"controllerName": "traefik.io/gateway-controller"},
            },
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named, "spec": self._deployment()},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": named,
                "spec": {"type": "NodePort", "selector": _LABELS, "ports": self.ports("web", "websecure")},
            },
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": named,
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}},
            },
        )

    def _deployment(self) -> Json:
        probe = {"httpGet": {"path": "/ping", "port": "ping"}}
        container = {
            "name": "traefik",
            "image": self.image,
            "args": [
                "--providers.kubernetesgateway",
                "--entrypoints.web.address=:80",
                "--entrypoints.websecure.address=:443",
                "--entrypoints.ping.address=:8082",
                "--ping.entrypoint=ping",
            ],
            "ports": [
                {"name": "web", "containerPort": 80},
                {"name": "websecure", "containerPort": 443},
                {"name": "ping", "containerPort": 8082},
            ],
            "readinessProbe": {**probe, "periodSeconds": 5},
            "livenessProbe": {**probe, "periodSeconds": 10},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        return {
            "replicas": self.replicas,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "serviceAccountName": "traefik-controller",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                        # A safe sysctl: ports below 1024 without any capability.
                        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
                    },
                    "topologySpreadConstraints": [self.spread(_LABELS)],
                    "containers": [container],
                },
            },
        }

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check("the GatewayClass traefik is accepted", self._accepted)
        yield from super().checks()

    def _accepted(self) -> str:
        found = self.plane.api.get("/apis/gateway.networking.k8s.io/v1/gatewayclasses/traefik")
        for condition in found.get("status", {}).get("conditions", ()):
            if condition["type"] == "Accepted" and condition["status"] == "True":
                return str(condition.get("message", ""))
        raise NotYet("its controller has not accepted it")
