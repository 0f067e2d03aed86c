"""Agents of nodes and their pods, as a master's kubectl tells of them: how they are asked for, and what was said."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from attrs import frozen

from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff

__all__ = [
    "MARK",
    "SET",
    "SILENT",
    "Agent",
    "Pod",
    "agents_in",
    "asked",
    "gone",
    "kubectl",
    "list_agents",
    "list_nodes",
    "list_pods",
    "list_pods_of_hosts",
    "nodes_in",
    "old_in",
    "owns",
    "pods_in",
    "words_of",
]

MARK = "k8sha-restored"
SILENT = "the API server does not answer"

_COLUMNS = (
    ".kind",
    ".metadata.namespace",
    ".metadata.name",
    ".spec.template.spec.hostNetwork",
    ".spec.template.metadata.labels.k8s-app",
    f".spec.template.metadata.annotations.{MARK}",
    ".metadata.generation",
    ".status.observedGeneration",
    ".status.desiredNumberScheduled",
    ".status.updatedNumberScheduled",
    ".status.numberAvailable",
    ".spec.replicas",
    ".status.updatedReplicas",
    ".status.availableReplicas",
)
_POD = (
    ".metadata.ownerReferences[0].kind",
    ".metadata.namespace",
    ".metadata.name",
    f".metadata.annotations.{MARK}",
    ".metadata.deletionTimestamp",
    ".metadata.ownerReferences[0].name",
    ".spec.nodeName",
    '.status.conditions[?(@.type=="Ready")].status',
)
SET = "set|{.metadata.namespace}|{.metadata.name}"
_NODE = (".metadata.name", '.status.conditions[?(@.type=="Ready")].status')


@frozen
class Agent:
    """A DaemonSet or Deployment whose pods must be started anew, and how far that is."""

    kind: str
    namespace: str
    name: str
    mark: str
    seen: bool
    wanted: int
    fresh: int
    available: int


@frozen
class Pod:
    """A pod in the hosts' network, or one of CoreDNS; ``owner`` is the set of pods that it is one of."""

    kind: str
    namespace: str
    name: str
    mark: str
    ends: bool
    owner: str
    node: str
    ready: bool


def kubectl(address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"kubectl --kubeconfig={ADMIN_CONF} --server=https://{host}:6443 --request-timeout=20s"


def _lines(head: str, columns: tuple[str, ...]) -> str:
    said = "|".join(f"{{{column}}}" for column in columns)
    template = f'{{range .items[*]}}{head}|{said}{{"\\n"}}{{end}}'
    return f"-o jsonpath={shlex.quote(template)}"


def list_agents(address: str) -> str:
    return f"{kubectl(address)} get daemonsets,deployments -A {_lines('agent', _COLUMNS)}"


def list_nodes(address: str) -> str:
    return f"{kubectl(address)} get nodes {_lines('node', _NODE)}"


def list_pods(address: str, which: str) -> str:
    return f"{kubectl(address)} get pods -A {which} {_lines('pod', _POD)}"


def list_pods_of_hosts(address: str) -> str:
    return list_pods(address, "--field-selector=spec.hostNetwork=true")


def asked(*commands: str) -> str:
    """Shell that carries out commands up to the first that fails, which is an answer as well."""
    return f"{{ {' && '.join(commands)}; }} 2>&1 || echo '{SILENT}'"


def words_of(seen: bytes, head: str, count: int) -> Iterator[list[str]]:
    for line in seen.decode(errors="replace").splitlines():
        first, *words = line.split("|")
        if first == head and len(words) == count:
            yield words


def agents_in(seen: bytes) -> Iterator[Agent]:
    for words in words_of(seen, "agent", len(_COLUMNS)):
        kind, namespace, name, network, app, mark, generation, observed, *numbers = words
        if network != "true" and app != "kube-dns":
            continue
        counts = [int(number or 0) for number in (numbers[:3] if kind == "DaemonSet" else numbers[3:])]
        yield Agent(kind.lower(), namespace, name, mark, generation == observed, *counts)


def pods_in(seen: bytes) -> set[Pod]:
    return {
        Pod(kind, namespace, name, mark, bool(ends), owner, node, ready == "True")
        for kind, namespace, name, mark, ends, owner, node, ready in words_of(seen, "pod", len(_POD))
    }


def old_in(seen: bytes, id: str) -> Iterator[Pod]:
    """The pods of DaemonSets that are of before a restore, and do not end yet."""
    return (pod for pod in pods_in(seen) if pod.kind == "DaemonSet" and pod.mark != id and not pod.ends)


def gone(pods: Iterable[Pod]) -> Diff:
    return Diff(tuple(sorted(f"- {pod.namespace}/{pod.name} on {pod.node}" for pod in pods)))


def nodes_in(seen: bytes) -> dict[str, bool]:
    """Every node, and whether it is Ready."""
    return {name: ready == "True" for name, ready in words_of(seen, "node", len(_NODE))}


def owns(agent: Agent, pod: Pod) -> bool:
    if pod.namespace != agent.namespace:
        return False
    if agent.kind == "daemonset":
        return pod.kind == "DaemonSet" and pod.owner == agent.name
    return pod.kind == "ReplicaSet" and pod.owner.rpartition("-")[0] == agent.name
