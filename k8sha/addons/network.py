"""The proof that a pod network works: a pod on every node reaches a pod on every other, whatever network it is.

The pods run nothing but the pause image, which every node has; the questions are put from inside each pod's own network
namespace with the host's own ``ping``. So nothing needs to be pulled, and nothing stays behind.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from k8sha.addons.admission import admitting
from k8sha.errors import NotReady
from k8sha.hosts.host import Host
from k8sha.kube import Json, ready
from k8sha.waiting import Check, NotYet, wait_for

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["network_checks"]

_PATIENCE = 60.0
"""Seconds that the pods may take to start: one sandbox a node, its image is there."""

_ASK = """\
pid=
wanted='labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox'
for id in $(ctr -n k8s.io containers ls -q "$wanted"); do
  pid=$(ctr -n k8s.io tasks ls | awk -v id="$id" '$1 == id {{ print $2 }}')
done
if [ -z "$pid" ]; then echo 'its sandbox is not running' >&2; exit 1; fi
for address in {addresses}; do
  if nsenter -t "$pid" -n ping -n -q -c 1 -W 2 "$address" >/dev/null; then echo "$address"; fi
done"""


def network_checks(plane: ControlPlane, hosts: Sequence[Host]) -> Iterator[Check]:
    """Every pod reaches every other: from each node's own pod to those on all other nodes."""
    yield Check("a pod on every node reaches a pod on every other", lambda: _all_reach_all(plane, hosts))


def _all_reach_all(plane: ControlPlane, hosts: Sequence[Host]) -> str:
    api = plane.api
    namespace = f"k8sha-verify-{secrets.token_hex(4)}"
    labels = {"app.kubernetes.io/managed-by": "k8sha", **admitting("baseline", plane.version)}
    api.request(
        "post",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
    )
    try:
        path = f"/api/v1/namespaces/{namespace}/pods"
        for host in hosts:
            api.request("post", path, _pod(host.name, plane.source.pause_image(plane.version)))
        running: dict[str, Json] = {}
        began = time.monotonic()

        def look() -> str:
            running.update({pod["metadata"]["name"]: pod for pod in api.get(path)["items"]})
            ended = [_end(pod) for pod in running.values() if pod["status"].get("phase") == "Failed"]
            if ended:  # such a pod is never started again
                raise NotReady("a pod runs on every node", time.monotonic() - began, "; ".join(ended))
            late = [name for name, pod in running.items() if not (ready(pod) and pod["status"].get("podIP"))]
            if late or len(running) < len(hosts):
                raise NotYet(f"no pod runs yet on {', '.join(late) or 'every node'}")
            return ""

        wait_for(Check("a pod runs on every node", look), timeout=_PATIENCE)
        return _ping(hosts, running)
    finally:
        api.delete(f"/api/v1/namespaces/{namespace}")


def _end(pod: Json) -> str:
    """Why a pod has ended: a kubelet whose disk is nearly full puts every one out at once."""
    status = pod["status"]
    said = ": ".join(filter(None, (status.get("reason"), status.get("message")))) or "its container ended"
    return f"{pod['metadata']['name']}: {said}"


def _pod(node: str, image: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": node},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "pause", "image": image, "imagePullPolicy": "IfNotPresent"}],
        },
    }


def _ping(hosts: Sequence[Host], pods: dict[str, Json]) -> str:
    wrong = []
    addresses = {name: pod["status"]["podIP"] for name, pod in pods.items()}
    for host in hosts:
        others = {name: address for name, address in addresses.items() if name != host.name}
        script = _ASK.format(uid=pods[host.name]["metadata"]["uid"], addresses=" ".join(others.values()) or "''")
        exit, out, err = host.read(script)[0]
        if exit != 0:
            raise NotYet(f"{host.name}: {err.decode(errors='replace').strip()[-300:]}")
        heard = set(out.decode().split())
        wrong += [f"{host.name} to {name}" for name, address in others.items() if address not in heard]
    if wrong:
        raise NotYet(f"no answer from the pod on {', '.join(wrong)}")
    return f"{len(hosts)} pods, {len(hosts) * (len(hosts) - 1)} ways"
