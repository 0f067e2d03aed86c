"""Agents of nodes after a restore: what runs in the hosts' network, such as kube-proxy and the pod network's, and
CoreDNS, all started anew.

A node that nobody vouches for may be dead: one that is powered off, or that left after the snapshot was taken. A
DaemonSet's rollout counts its pod there among the few that may be unavailable, and stops for good. So where there is
such a node, old pods are deleted at once, and what is on nodes that are not Ready is not waited for. So are those of a
DaemonSet whose strategy is OnDelete: nobody else would.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

from attrs import field, frozen

from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Resource

__all__ = ["AgentsAnew", "AgentsOnDelete", "AgentsReplaced", "AgentsRun", "AgentsSeen"]

_MARK = "k8sha-restored"
_SILENT = "the API server does not answer"

_COLUMNS = (
    ".kind",
    ".metadata.namespace",
    ".metadata.name",
    ".spec.template.spec.hostNetwork",
    ".spec.template.metadata.labels.k8s-app",
    f".spec.template.metadata.annotations.{_MARK}",
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
    f".metadata.annotations.{_MARK}",
    ".metadata.deletionTimestamp",
    ".metadata.ownerReferences[0].name",
    ".spec.nodeName",
    '.status.conditions[?(@.type=="Ready")].status',
)
_SET = "set|{.metadata.namespace}|{.metadata.name}"
_NODE = (".metadata.name", '.status.conditions[?(@.type=="Ready")].status')


@frozen
class _Agent:
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
class _Pod:
    """A pod in the hosts' network, or one of CoreDNS; ``owner`` is the set of pods that it is one of."""

    kind: str
    namespace: str
    name: str
    mark: str
    ends: bool
    owner: str
    node: str
    ready: bool


def _kubectl(address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"kubectl --kubeconfig={ADMIN_CONF} --server=https://{host}:6443 --request-timeout=20s"


def _lines(head: str, columns: tuple[str, ...]) -> str:
    said = "|".join(f"{{{column}}}" for column in columns)
    template = f'{{range .items[*]}}{head}|{said}{{"\\n"}}{{end}}'
    return f"-o jsonpath={shlex.quote(template)}"


def _listing(address: str) -> str:
    return f"{_kubectl(address)} get daemonsets,deployments -A {_lines('agent', _COLUMNS)}"


def _nodes(address: str) -> str:
    return f"{_kubectl(address)} get nodes {_lines('node', _NODE)}"


def _pods(address: str, which: str) -> str:
    return f"{_kubectl(address)} get pods -A {which} {_lines('pod', _POD)}"


def _of_hosts(address: str) -> str:
    return _pods(address, "--field-selector=spec.hostNetwork=true")


def _asked(*commands: str) -> str:
    """Shell that carries out commands up to the first that fails, which is an answer as well."""
    return f"{{ {' && '.join(commands)}; }} 2>&1 || echo '{_SILENT}'"


def _words(seen: bytes, head: str, count: int) -> Iterator[list[str]]:
    for line in seen.decode(errors="replace").splitlines():
        first, *words = line.split("|")
        if first == head and len(words) == count:
            yield words


def _agents(seen: bytes) -> Iterator[_Agent]:
    for words in _words(seen, "agent", len(_COLUMNS)):
        kind, namespace, name, network, app, mark, generation, observed, *numbers = words
        if network != "true" and app != "kube-dns":
            continue
        counts = [int(number or 0) for number in (numbers[:3] if kind == "DaemonSet" else numbers[3:])]
        yield _Agent(kind.lower(), namespace, name, mark, generation == observed, *counts)


def _pods_in(seen: bytes) -> set[_Pod]:
    return {
        _Pod(kind, namespace, name, mark, bool(ends), owner, node, ready == "True")
        for kind, namespace, name, mark, ends, owner, node, ready in _words(seen, "pod", len(_POD))
    }


def _old_in(seen: bytes, id: str) -> Iterator[_Pod]:
    """The pods of DaemonSets that are of before a restore, and do not end yet."""
    return (pod for pod in _pods_in(seen) if pod.kind == "DaemonSet" and pod.mark != id and not pod.ends)


def _gone(pods: Iterable[_Pod]) -> Diff:
    return Diff(tuple(sorted(f"- {pod.namespace}/{pod.name} on {pod.node}" for pod in pods)))


def _nodes_in(seen: bytes) -> dict[str, bool]:
    """Every node, and whether it is Ready."""
    return {name: ready == "True" for name, ready in _words(seen, "node", len(_NODE))}


def _owns(agent: _Agent, pod: _Pod) -> bool:
    if pod.namespace != agent.namespace:
        return False
    if agent.kind == "daemonset":
        return pod.kind == "DaemonSet" and pod.owner == agent.name
    return pod.kind == "ReplicaSet" and pod.owner.rpartition("-")[0] == agent.name


@frozen
class AgentsAnew(Resource):
    """The pods of every DaemonSet and Deployment in the hosts' network, and of CoreDNS, are of a revision that was made
    after the restore of this id, by a mark in their template. They are exchanged as their own strategy has it."""

    id: str
    address: str

    @property
    def key(self) -> str:
        return "agents started anew"

    def probe(self) -> str:
        return _asked(_listing(self.address))

    def diff(self, seen: bytes) -> Diff:
        if _SILENT.encode() in seen:
            return Diff.of(_SILENT)
        return Diff(tuple(f"{each.namespace}/{each.name}: restart" for each in _agents(seen) if each.mark != self.id))

    def apply(self) -> str:
        patch = json.dumps({"spec": {"template": {"metadata": {"annotations": {_MARK: self.id}}}}})
        return f"""\
{_listing(self.address)} | while IFS='|' read -r head kind namespace name network app rest; do
  if [ "$head" = agent ] && {{ [ "$network" = true ] || [ "$app" = kube-dns ]; }}; then
    {_kubectl(self.address)} -n "$namespace" patch "$kind" "$name" --type=merge -p {shlex.quote(patch)} </dev/null
  fi
done"""


@frozen
class AgentsSeen(Condition):
    """Whoever makes these agents' pods has seen their new template: pods that are made from now on are of it."""

    id: str
    address: str
    patience: float = field(default=180, kw_only=True)

    @property
    def key(self) -> str:
        return "controllers have seen the agents' change"

    def probe(self) -> str:
        return _asked(_listing(self.address))

    def diff(self, seen: bytes) -> Diff:
        if _SILENT.encode() in seen:
            return Diff.of(_SILENT)
        late = (each for each in _agents(seen) if each.mark != self.id or not each.seen)
        return Diff(tuple(f"{each.namespace}/{each.name}: its controller has not seen the change" for each in late))


@frozen
class AgentsReplaced(Resource):
    """Where there is a node that is none of ``nodes``, no DaemonSet in the hosts' network has an old pod: none waits
    for a rollout that a dead node holds up. Elsewhere that is left to their own strategy."""

    id: str
    address: str
    nodes: tuple[str, ...]

    @property
    def key(self) -> str:
        return "agents that a dead node would hold up"

    def probe(self) -> str:
        return _asked(_nodes(self.address), _of_hosts(self.address))

    def diff(self, seen: bytes) -> Diff:
        if _SILENT.encode() in seen:
            return Diff.of(_SILENT)
        if not set(_nodes_in(seen)) - set(self.nodes):
            return Diff()
        return _gone(_old_in(seen, self.id))

    def apply(self) -> str:
        return f"""\
{_of_hosts(self.address)} | while IFS='|' read -r head kind namespace name mark ends rest; do
  if [ "$head $kind" = 'pod DaemonSet' ] && [ "$mark" != {self.id} ] && [ -z "$ends" ]; then
    {_kubectl(self.address)} -n "$namespace" delete pod "$name" --wait=false --ignore-not-found </dev/null
  fi
done"""


@frozen
class AgentsOnDelete(Resource):
    """No DaemonSet in the hosts' network whose pods are exchanged only where somebody deletes them has an old one."""

    id: str
    address: str

    @property
    def key(self) -> str:
        return "agents that nobody exchanges"

    @property
    def _sets(self) -> str:
        template = f'{{range .items[?(@.spec.updateStrategy.type=="OnDelete")]}}{_SET}{{"\\n"}}{{end}}'
        return f"{_kubectl(self.address)} get daemonsets -A -o jsonpath={shlex.quote(template)}"

    def probe(self) -> str:
        return _asked(self._sets, _of_hosts(self.address))

    def diff(self, seen: bytes) -> Diff:
        if _SILENT.encode() in seen:
            return Diff.of(_SILENT)
        sets = {tuple(words) for words in _words(seen, "set", 2)}
        return _gone(pod for pod in _old_in(seen, self.id) if (pod.namespace, pod.owner) in sets)

    def apply(self) -> str:
        return f"""\
sets=$({self._sets})
{_of_hosts(self.address)} | while IFS='|' read -r head kind namespace name mark ends owner rest; do
  if [ "$head $kind" = 'pod DaemonSet' ] && [ "$mark" != {self.id} ] && [ -z "$ends" ] &&
    printf '%s\\n' "$sets" | grep -qxF "set|$namespace|$owner"; then
    {_kubectl(self.address)} -n "$namespace" delete pod "$name" --wait=false --ignore-not-found </dev/null
  fi
done"""


@frozen
class AgentsRun(Condition):
    """Those agents run on every node that is to have them, and every one of ``nodes`` is Ready.

    Any other node that is not Ready holds nothing up: no kubelet is there that could start an agent.
    """

    id: str
    address: str
    nodes: tuple[str, ...]
    patience: float = field(default=600, kw_only=True)

    @property
    def key(self) -> str:
        return "agents and nodes are ready"

    def probe(self) -> str:
        dns = _pods(self.address, "-l k8s-app=kube-dns")
        return _asked(_listing(self.address), _nodes(self.address), _of_hosts(self.address), dns)

    def diff(self, seen: bytes) -> Diff:
        if _SILENT.encode() in seen:
            return Diff.of(_SILENT)
        nodes, pods = _nodes_in(seen), _pods_in(seen)
        live = {name for name, ready in nodes.items() if ready or name in self.nodes}
        lines = [f"{name} is not Ready" for name in self.nodes if not nodes.get(name)]
        for each in _agents(seen):
            own = {pod for pod in pods if _owns(each, pod)}
            if not self._whole(each, live, len(nodes) - len(live), own):
                old = self._old(pod for pod in own if pod.node in live)
                lines.append(f"{each.namespace}/{each.name}: {each.available} of {each.wanted} run{old}")
        return Diff(tuple(lines))

    def _old(self, pods: Iterable[_Pod]) -> str:
        """What is told of old pods: where they run, the numbers alone say nothing."""
        old = sorted(f"{pod.name} on {pod.node}" for pod in pods if pod.mark != self.id and not pod.ends)
        more = f" and {len(old) - 3} more" if len(old) > 3 else ""
        return f"; old pods are still there, delete those that stay: {', '.join(old[:3])}{more}" if old else ""

    def _whole(self, agent: _Agent, live: set[str], dead: int, pods: set[_Pod]) -> bool:
        if agent.mark != self.id or not agent.seen:
            return False
        if agent.wanted == agent.fresh == agent.available:
            return True
        placed = {pod for pod in pods if pod.node}
        lost = dead if agent.kind == "daemonset" else sum(pod.node not in live for pod in placed)
        renewed = all(pod.mark == self.id and pod.ready and not pod.ends for pod in placed if pod.node in live)
        return bool(lost) and renewed and agent.available >= agent.wanted - lost

    def absent(self, seen: bytes) -> tuple[str, ...]:
        """The nodes whose kubelet was not started anew: none of ``nodes``."""
        return tuple(sorted(set(_nodes_in(seen)) - set(self.nodes)))
