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
from collections.abc import Iterable

from attrs import field, frozen

from k8sha.components.agents_seen import (
    MARK,
    SET,
    SILENT,
    Agent,
    Pod,
    agents_in,
    asked,
    gone,
    kubectl,
    list_agents,
    list_nodes,
    list_pods,
    list_pods_of_hosts,
    nodes_in,
    old_in,
    owns,
    pods_in,
    words_of,
)
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Resource

__all__ = ["AgentsAnew", "AgentsOnDelete", "AgentsReplaced", "AgentsRun", "AgentsSeen"]


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
        return asked(list_agents(self.address))

    def diff(self, seen: bytes) -> Diff:
        if SILENT.encode() in seen:
            return Diff.of(SILENT)
        return Diff(tuple(f"{each.namespace}/{each.name}: restart" for each in agents_in(seen) if each.mark != self.id))

    def apply(self) -> str:
        patch = json.dumps({"spec": {"template": {"metadata": {"annotations": {MARK: self.id}}}}})
        return f"""\
{list_agents(self.address)} | while IFS='|' read -r head kind namespace name network app rest; do
  if [ "$head" = agent ] && {{ [ "$network" = true ] || [ "$app" = kube-dns ]; }}; then
    {kubectl(self.address)} -n "$namespace" patch "$kind" "$name" --type=merge -p {shlex.quote(patch)} </dev/null
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
        return asked(list_agents(self.address))

    def diff(self, seen: bytes) -> Diff:
        if SILENT.encode() in seen:
            return Diff.of(SILENT)
        late = (each for each in agents_in(seen) if each.mark != self.id or not each.seen)
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
        return asked(list_nodes(self.address), list_pods_of_hosts(self.address))

    def diff(self, seen: bytes) -> Diff:
        if SILENT.encode() in seen:
            return Diff.of(SILENT)
        if not set(nodes_in(seen)) - set(self.nodes):
            return Diff()
        return gone(old_in(seen, self.id))

    def apply(self) -> str:
        return f"""\
{list_pods_of_hosts(self.address)} | while IFS='|' read -r head kind namespace name mark ends rest; do
  if [ "$head $kind" = 'pod DaemonSet' ] && [ "$mark" != {self.id} ] && [ -z "$ends" ]; then
    {kubectl(self.address)} -n "$namespace" delete pod "$name" --wait=false --ignore-not-found </dev/null
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
        template = f'{{range .items[?(@.spec.updateStrategy.type=="OnDelete")]}}{SET}{{"\\n"}}{{end}}'
        return f"{kubectl(self.address)} get daemonsets -A -o jsonpath={shlex.quote(template)}"

    def probe(self) -> str:
        return asked(self._sets, list_pods_of_hosts(self.address))

    def diff(self, seen: bytes) -> Diff:
        if SILENT.encode() in seen:
            return Diff.of(SILENT)
        sets = {tuple(words) for words in words_of(seen, "set", 2)}
        return gone(pod for pod in old_in(seen, self.id) if (pod.namespace, pod.owner) in sets)

    def apply(self) -> str:
        return f"""\
sets=$({self._sets})
{list_pods_of_hosts(self.address)} | while IFS='|' read -r head kind namespace name mark ends owner rest; do
  if [ "$head $kind" = 'pod DaemonSet' ] && [ "$mark" != {self.id} ] && [ -z "$ends" ] &&
    printf '%s\\n' "$sets" | grep -qxF "set|$namespace|$owner"; then
    {kubectl(self.address)} -n "$namespace" delete pod "$name" --wait=false --ignore-not-found </dev/null
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
        dns = list_pods(self.address, "-l k8s-app=kube-dns")
        return asked(list_agents(self.address), list_nodes(self.address), list_pods_of_hosts(self.address), dns)

    def diff(self, seen: bytes) -> Diff:
        if SILENT.encode() in seen:
            return Diff.of(SILENT)
        nodes, pods = nodes_in(seen), pods_in(seen)
        live = {name for name, ready in nodes.items() if ready or name in self.nodes}
        lines = [f"{name} is not Ready" for name in self.nodes if not nodes.get(name)]
        for each in agents_in(seen):
            own = {pod for pod in pods if owns(each, pod)}
            if not self._whole(each, live, len(nodes) - len(live), own):
                old = self._old(pod for pod in own if pod.node in live)
                lines.append(f"{each.namespace}/{each.name}: {each.available} of {each.wanted} run{old}")
        return Diff(tuple(lines))

    def _old(self, pods: Iterable[Pod]) -> str:
        """What is told of old pods: where they run, the numbers alone say nothing."""
        old = sorted(f"{pod.name} on {pod.node}" for pod in pods if pod.mark != self.id and not pod.ends)
        more = f" and {len(old) - 3} more" if len(old) > 3 else ""
        return f"; old pods are still there, delete those that stay: {', '.join(old[:3])}{more}" if old else ""

    def _whole(self, agent: Agent, live: set[str], dead: int, pods: set[Pod]) -> bool:
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
        return tuple(sorted(set(nodes_in(seen)) - set(self.nodes)))
