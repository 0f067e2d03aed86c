"""How requests from outside reach Services: the small interface of an entrance, and ingress-nginx behind it."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen, validators

from k8sha.addons.addon import Addon
from k8sha.addons.manifests import Manifest
from k8sha.component import Checks
from k8sha.kube import Json
from k8sha.waiting import Check, NotYet

__all__ = ["Entrance", "IngressNginx"]

_NODE_PORTS = validators.and_(validators.ge(30000), validators.le(32767))
"""The API server's own range, unless its ``service-node-port-range`` says otherwise."""


@frozen
class Entrance(Addon):
    """What lets requests in: ``replicas`` pods, reached on every node at ``http_port`` and ``https_port``."""

    http_port: int = field(default=30080, kw_only=True, validator=_NODE_PORTS)
    https_port: int = field(default=30443, kw_only=True, validator=_NODE_PORTS)
    replicas: int = field(default=2, kw_only=True, validator=validators.ge(1))

    def ports(self, http: str, https: str) -> list[Json]:
        """The ports of its Service, whose pods call them so."""
        return [
            {"name": name, "port": port, "targetPort": target, "nodePort": node_port, "protocol": "TCP"}
            for name, port, target, node_port in (
                ("http", 80, http, self.http_port),
                ("https", 443, https, self.https_port),
            )
        ]

    def spread(self, labels: Json) -> Json:
        """Its pods on different nodes where there are several."""
        return {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check(f"every node answers on port {self.http_port}", self._answers)

    def _answers(self) -> str:
        """Any answer of HTTP will do, an error as well: without a route it is a 404, and that is the entrance's own.

        So this proves the way to it from every node, and nothing of what is behind it.
        """
        asking = self.plane.hosts[0]
        nodes = self.plane.api.nodes()
        addresses = {
            name: next(item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")
            for name, node in nodes.items()
        }
        ask = "curl -s -o /dev/null --max-time 5 -w '%{{http_code}}' http://{host}:{port}/ || echo"
        urls = [address if ":" not in address else f"[{address}]" for address in addresses.values()]
        said = asking.read(*(ask.format(host=url, port=self.http_port) for url in urls))
        silent = [
            name for name, (_, out, _) in zip(addresses, said, strict=True) if out.decode().strip() in ("", "000")
        ]
        if silent:
            raise NotYet(f"no answer from {', '.join(silent)}")
        return f"{len(addresses)} nodes"


@frozen
class IngressNginx(Entrance):
    """The last release of ingress-nginx, for clusters whose Ingress objects need it.

    Upstream retired it in March 2026: nobody mends its vulnerabilities any more. New clusters take a Gateway.
    """

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        return (
            Manifest(
                "ingress-nginx",
                "v1.15.1",
                "https://raw.githubusercontent.com/kubernetes/ingress-nginx/controller-v1.15.1/deploy/static/provider/"
                "baremetal/deploy.yaml",
                "16b9b62df45b8ed8f1ecaed0341d583b3360e4b63c41fe00413f6a1fa2f95bec",
            ),
        )

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return "ingress-nginx"

    @property
    def made_by_pods(self) -> tuple[str, ...]:
        """See :attr:`Addon.made_by_pods`: the certificate of its webhook, by a Job of its manifest."""
        return ("Secret ingress-nginx-admission",)

    def warnings(self) -> Iterator[str]:
        """See :meth:`Component.warnings`."""
        yield (
            "upstream retired ingress-nginx in March 2026: v1.15.1 is the last release, and nobody mends its "
            "vulnerabilities; take TraefikGateway for what is new"
        )

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        items = super().objects()
        for item in items:
            if item["kind"] == "Service" and item["metadata"]["name"] == "ingress-nginx-controller":
                for port in item["spec"]["ports"]:
                    port["nodePort"] = self.http_port if port["name"] == "http" else self.https_port
            if item["kind"] == "Deployment":
                item["spec"]["replicas"] = self.replicas
                labels = item["spec"]["selector"]["matchLabels"]
                item["spec"]["template"]["spec"]["topologySpreadConstraints"] = [self.spread(labels)]
        return items
