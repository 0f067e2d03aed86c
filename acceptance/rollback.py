"""What controllers make of a cluster that went back: Deployments from before a backup and from after it, and their pods
as the API tells of them and as nodes run them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from attrs import frozen

from k8sha import Host
from k8sha.kube import Api, Json, ready
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Workloads", "running_on"]

_SANDBOXES = """\
tasks=" $(ctr -n k8s.io tasks ls | awk '$3 == "RUNNING" {{ printf "%s ", $1 }}')"
wanted='labels."io.kubernetes.pod.namespace"=={namespace},labels."io.cri-containerd.kind"==sandbox'
for id in $(ctr -n k8s.io containers ls -q "$wanted"); do
  case $tasks in *" $id "*) ctr -n k8s.io containers info "$id" ;; esac
done"""


def running_on(host: Host, namespace: str) -> set[str]:
    """Names of the pods of a namespace that a node runs, whatever the API server says of them."""
    exit, out, err = host.read(_SANDBOXES.format(namespace=namespace))[0]
    if exit != 0:
        raise NotYet(f"{host}: {err.decode(errors='replace').strip()[-300:]}")
    return set(re.findall(r'"io\.kubernetes\.pod\.name": "([^"]+)"', out.decode()))


@frozen
class Workloads:
    """Deployments in a namespace whose pods need nothing but an image that nodes have, and the nodes that run them."""

    api: Api
    namespace: str
    image: str
    nodes: Sequence[Host]

    @property
    def _deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    def apply(self, name: str, replicas: int) -> None:
        """Have that many pods of a Deployment, be it new or there."""
        labels = {"app": name}
        containers = [{"name": "main", "image": self.image, "imagePullPolicy": "IfNotPresent"}]
        pod = {"containers": containers, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}
        self.api.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            }
        )

    def deployments(self) -> dict[str, int]:
        """The replicas that each Deployment wants."""
        return {item["metadata"]["name"]: item["spec"]["replicas"] for item in self.api.get(self._deployments)["items"]}

    def settle(self, wanted: Mapping[str, int], *, timeout: float = 120) -> float:
        """Wait until there are exactly these pods, all ready, by the API's word and on the nodes; the seconds it took.

        Raises NotReady with what differs.
        """
        began = time.monotonic()
        sentence = f"pods of {', '.join(f'{count} {name}' for name, count in wanted.items())} run, and no others"
        wait_for(Check(sentence, lambda: self._look(wanted)), timeout=timeout)
        return time.monotonic() - began

    def _look(self, wanted: Mapping[str, int]) -> str:
        pods: list[Json] = self.api.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        counted = {name: 0 for name in wanted}
        for pod in pods:
            name = pod["metadata"]["labels"].get("app", "")
            counted[name] = counted.get(name, 0) + 1
        if counted != dict(wanted):
            raise NotYet(f"the API has {counted}")
        if late := [pod["metadata"]["name"] for pod in pods if not ready(pod)]:
            raise NotYet(f"not ready: {', '.join(late)}")
        told = {(pod["spec"]["nodeName"], pod["metadata"]["name"]) for pod in pods}
        run = {(host.name, name) for host in self.nodes for name in running_on(host, self.namespace)}
        if told != run:
            raise NotYet(f"of {_named(told - run)} only the API knows, of {_named(run - told)} only nodes")
        return f"{len(pods)} pods"


def _named(pods: set[tuple[str, str]]) -> str:
    return ", ".join(f"{pod} on {node}" for node, pod in sorted(pods)) or "none"
