"""SampleApp: an application to try a cluster with, of which no request fails while its nodes are emptied."""

from __future__ import annotations

from attrs import field, frozen

from k8sha.addons.addon import Addon
from k8sha.component import Checks
from k8sha.components.workers import Workers, as_workers
from k8sha.errors import ConfigError
from k8sha.hosts.host import Host
from k8sha.kube import Json, ready
from k8sha.waiting import Check, NotYet

__all__ = ["SampleApp"]

_GRACE = 10
"""Seconds that a pod serves on after it was told to end: kube-proxies on all nodes have let go of it long before."""

_SERVE = (
    "mkdir -p /tmp/www && printf '%s\\n' \"$POD on $NODE\" >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
)


@frozen(kw_only=True)
class SampleApp(Addon):
    """Replicas of a small web server, spread over the workers and answered at every node's address by a NodePort.

    A worker can be drained at any time: a disruption budget lets at most one replica go before another is ready, and
    one that ends serves on until nobody is sent to it any more. ``image`` must have a shell and busybox's httpd.
    """

    workers: tuple[Workers, ...] = field(default=(), converter=as_workers)
    image: str = "docker.io/library/busybox:1.37.0"
    replicas: int = 6
    port: int = 30090

    def __attrs_post_init__(self) -> None:
        if self.replicas < 2:
            raise ConfigError.of("SampleApp", f"{self.replicas} replicas", "take 2 or more: one can't be moved unseen")
        if not 30000 <= self.port <= 32767:
            raise ConfigError.of("SampleApp", f"port {self.port} is no NodePort", "take one of 30000-32767")

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The masters and the nodes that answer."""
        return (*self.plane.hosts, *(host for workers in self.workers for host in workers.hosts))

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return "k8sha-sample"

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        labels = {"app.kubernetes.io/name": "sample"}
        meta = {"name": "sample", "namespace": self.namespace, "labels": labels}
        selector = {"matchLabels": labels}
        spread = {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            # While one worker is empty, the others take its share at once: a rule that must hold would have them wait
            # until the scheduler has heard that the worker does not count.
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector,
            "matchLabelKeys": ["pod-template-hash"],
        }
        pod = {
            "automountServiceAccountToken": False,
            "topologySpreadConstraints": [spread],
            "terminationGracePeriodSeconds": _GRACE + 20,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container()],
        }
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        deployment = {
            "replicas": self.replicas,
            "selector": selector,
            "strategy": strategy,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        service = {
            "type": "NodePort",
            "selector": labels,
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": self.port}],
        }
        levels = {"pod-security.kubernetes.io/enforce": "restricted"}
        version = {"pod-security.kubernetes.io/enforce-version": f"v{self.plane.version.minor}"}
        return (
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": levels | version},
            },
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": meta,
                "spec": {"maxUnavailable": 1, "selector": selector},
            },
        )

    def _container(self) -> Json:
        names = {"POD": "metadata.name", "NODE": "spec.nodeName"}
        return {
            "name": "web",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", _SERVE],
            "env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in names.items()],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 2},
            "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(_GRACE)]}}},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check(f"{self.replicas} replicas are ready", self._ready)
        for host in self.hosts:
            yield Check(f"{host.name} answers on port {self.port}", lambda host=host: self._answers(host))  # type: ignore[misc]

    def _ready(self) -> str:
        """How they are spread is told and not judged: nothing goes back to a worker that was drained."""
        pods = self.plane.api.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        there = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and ready(pod)]
        nodes = [pod["spec"]["nodeName"] for pod in there]
        workers = [host.name for part in self.workers for host in part.hosts]
        counts = {name: nodes.count(name) for name in dict.fromkeys((*workers, *sorted(set(nodes))))}
        spread = ", ".join(f"{count} on {name}" for name, count in counts.items())
        if len(there) < self.replicas:
            raise NotYet(f"{len(there)} of {self.replicas} are ready: {spread or 'none'}")
        if 0 in counts.values():
            spread += f" (kubectl -n {self.namespace} rollout restart deployment sample: spreads them anew)"
        return spread

    def _answers(self, host: Host) -> str:
        address = f"[{host.address}]" if ":" in host.address else host.address
        _, out, err = self.plane.hosts[0].read(f"curl -sS --fail --max-time 5 http://{address}:{self.port}/")[0]
        if " on " not in out.decode(errors="replace"):
            raise NotYet(err.decode(errors="replace").strip() or "it answers with something else")
        return out.decode().strip()
